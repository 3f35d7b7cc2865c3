"""The body of a request that resumes a build: which build, from which state, and perhaps another source."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from shuttle.errors import InvalidRequestError
from shuttle.request.shape import BuildRequest, ResumeFrom, Source, refuse

_OWN = frozenset({"resume_from", "source"})


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """A request to resume the build `build_id` of the same app.

    `state_code` None = the state in which it failed. `source` None = its stored source, or with `latest` the newest
    commit of its branch. `automatic`: nobody asks for it, the failed build's `auto_resume` does. `recorded` are further
    fields, such as a reason, that lists of the requests show; a request with others is no other one.
    """

    build_id: str
    state_code: int | None = None
    source: Source | None = field(default=None, repr=False)
    ignored_fields: tuple[str, ...] = ()
    latest: bool = False
    automatic: bool = False
    recorded: Mapping[str, Any] = field(default_factory=dict)


def is_resume(value: Any) -> bool:
    """Whether the body asks to resume a build."""
    return isinstance(value, dict) and value.get("resume_from") is not None


def read_resume_request(value: dict[str, Any]) -> ResumeRequest:
    """Check the shape of the body; its source is checked later, because that depends on the build's pipeline.

    Raises InvalidRequestError, which names the field.
    """
    for name, given in value.items():
        if name in BuildRequest.model_fields and name not in _OWN and given is not None:
            raise InvalidRequestError(f"Leave {name} out: a resumed build takes it from the earlier build.", field=name)
    try:
        wanted = ResumeFrom.model_validate(value["resume_from"])
        source = None if value.get("source") is None else Source.model_validate(value["source"])
    except ValidationError as error:
        refuse(error, "resume_from" if error.title == ResumeFrom.__name__ else "source")
    if wanted.latest and source is not None:
        raise InvalidRequestError("Give either latest or a source, not both.", field="resume_from.latest")
    ignored = tuple(name for name in value if name not in BuildRequest.model_fields)
    return ResumeRequest(wanted.build_id, wanted.state, source, ignored, latest=wanted.latest is True)
