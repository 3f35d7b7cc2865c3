"""The bodies of packer over REST. Answers leave out fields that are empty, as the field's service does."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema

Status = Literal["pending", "running", "failed", "complete"]
_TEXT = WithJsonSchema({"type": "string"})
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
_MAX_TEXT = 64 * 1024


class Sent(BaseModel):
    """A body that is sent; other fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


def _absent_if_null(value: Any) -> Any:
    return [] if value is None else value


class Variable(Sent):
    """A variable of the template. `secret`: its value is masked, whatever its name is."""

    key: Annotated[str, Field(min_length=1)]
    value: str
    secret: bool = False


class NewBuildrequest(Sent):
    """A request to build the template of a git repository; "" counts as absent."""

    giturl: Annotated[str, Field(min_length=1)]
    branch: Annotated[str | None, Field(max_length=_MAX_TEXT), _TEXT] = None
    templatepath: Annotated[str | None, Field(max_length=_MAX_TEXT), _TEXT] = None
    buildonly: Annotated[str | None, Field(max_length=_MAX_TEXT), _TEXT] = None
    buildvars: Annotated[list[Variable], BeforeValidator(_absent_if_null)] = []


class Answered(BaseModel):
    """A body that is answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def sent(self) -> dict[str, Any]:
        """The fields without those that may be left out and are empty."""
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
    """A run of a request. `images` are ids of local images; `eta` is the expected time until its end, in seconds."""

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

    status: Literal["OK"] = "OK"


class Error(Answered):
    """`code` is the HTTP status, or a number of this API; `message` is a sentence."""

    code: int
    message: str
