"""The bodies of packer over REST. Answers leave out fields that are empty, as packerd does."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema

Status = Literal["pending", "running", "failed", "complete"]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
_MAX_TEXT = 64 * 1024


class Sent(BaseModel):
    """A body that a caller sends; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


def _or_empty(value: Any) -> Any:
    """null counts as absent."""
    return "" if value is None else value


def _or_none_given(value: Any) -> Any:
    return [] if value is None else value


def _or_false(value: Any) -> Any:
    return False if value is None else value


_ShortText = Annotated[str, Field(max_length=_MAX_TEXT), BeforeValidator(_or_empty)]


class Variable(Sent):
    """A variable of the template. `secret`: its value is masked, whatever its name is."""

    key: Annotated[str, Field(min_length=1)]
    value: str
    secret: bool = False


class NewBuildrequest(Sent):
    """A request to build the template of a git repository; "" counts as absent.

    `git`: the template finds the folder .git in its repository. packerd has no such field: its templates always do.
    """

    giturl: Annotated[str, Field(min_length=1), BeforeValidator(_or_empty)]
    branch: _ShortText = ""
    templatepath: _ShortText = ""
    buildonly: _ShortText = ""
    buildvars: Annotated[list[Variable], BeforeValidator(_or_none_given)] = []
    git: Annotated[bool, BeforeValidator(_or_false)] = False


class Answered(BaseModel):
    """The body of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def sent(self) -> dict[str, Any]:
        """The fields, without optional ones that are empty."""
        return self.model_dump(exclude_defaults=True)


class Link(Answered):
    """A link; the href begins at the root of this API."""

    rel: str
    href: str


class Links(RootModel[list[Link]]):
    """Links."""


class Buildrequest(Answered):
    """A request without its variables; `responses` are the ids of its runs."""

    id: str
    giturl: str
    branch: str = ""
    templatepath: str = ""
    buildonly: str = ""
    responses: list[str]
    responselinks: list[Link]


class Buildstage(Answered):
    """A stage of a run. `log` is the end of its log, up to 1 MiB."""

    name: str
    status: Status
    log: str = ""
    start: Time = ""
    end: Time = ""


class Buildresponse(Answered):
    """A run of a request. `images` are ids of images on the agent; `eta` counts the seconds until its expected end."""

    id: str
    buildrequestid: str
    status: Status
    buildstages: list[Buildstage]
    buildrequest: list[Link]
    images: list[str] = []
    artifacts: list[Link] = []
    eta: Annotated[int, WithJsonSchema({"type": "integer", "format": "int32"})] = 0


class Health(Answered):
    """The health of the service: `ok`, `poor` or `bad` by how full its disk is; `err` without database or Jenkins."""

    status: Literal["ok", "poor", "bad", "err"]
    diskpercentfull: int
    goroutines: int


class Stopped(Answered):
    """The stop is recorded."""

    status: Annotated[str, WithJsonSchema({"type": "string", "enum": ["OK"]})] = "OK"


class Error(Answered):
    """`code` is the HTTP status, or a number of this API; `message` is a sentence."""

    code: int
    message: str
