"""The types of fields that several bodies below `/-/state` have, with their limits."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from shuttle.request import compact_json
from shuttle.web.storable import STORABLE

_MAX_METADATA_BYTES = 64 * 1024


def _of_limited_size(value: dict[str, Any]) -> dict[str, Any]:
    # The length of the escaped text, which is never shorter than the UTF-8 that was sent.
    if len(compact_json(value)) > _MAX_METADATA_BYTES:
        raise ValueError(f"as compact JSON in ASCII it may have at most {_MAX_METADATA_BYTES} bytes")
    return value


def _not_a_boolean(value: Any) -> Any:
    # Numbers may be written as text, and pydantic would also take true as 1.
    if isinstance(value, bool):
        raise ValueError("write a whole number")  # noqa: TRY004 - pydantic reports no TypeError
    return value


def _number_as_text(value: Any) -> Any:
    """A number counts as text, because CI systems number their builds and jobs."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Name = Annotated[str, Field(min_length=1, max_length=128), STORABLE]
NumberOrName = Annotated[Name, BeforeValidator(_number_as_text)]
ShortName = Annotated[str, Field(min_length=1, max_length=50), STORABLE]
DisplayName = Annotated[str, Field(min_length=1, max_length=100), STORABLE]
Description = Annotated[str, Field(max_length=500), STORABLE]
Message = Annotated[str, Field(max_length=4096), STORABLE]
NumberOrMessage = Annotated[Message, BeforeValidator(_number_as_text)]
Color = Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")]
# -1 means an error; 0 to 100 are usual, but the Jenkins library uses codes up to 999.
Code = Annotated[int, Field(ge=-1, le=999), BeforeValidator(_not_a_boolean)]
# Databases count in 64 bits.
Size = Annotated[int, Field(ge=0, lt=2**63)]
RetryCount = Annotated[int, Field(ge=0, le=1_000_000)]
Metadata = Annotated[dict[str, Any], AfterValidator(_of_limited_size)]
