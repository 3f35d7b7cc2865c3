"""Bodies and answers about the artifacts of a build."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, Field, RootModel

from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Code, Message, Metadata, Name, Size


def _aware(at: datetime) -> datetime:
    """A time without a zone is UTC, as existing clients mean it."""
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("write a time whose year in UTC is 1 to 9999") from None


_Time = Annotated[datetime, AfterValidator(_aware)]


class ArtifactChange(StateBody):
    """The fields to change; null and absent ones stay."""

    artifact_name: Name | None = None
    artifact_type: Name | None = None
    artifact_path: Message | None = Field(None, validation_alias=AliasChoices("artifact_path", "artifact_location"))
    storage_backend: Name | None = None
    storage_region: Name | None = None
    storage_bucket: Name | None = None
    storage_key: Message | None = None
    size_bytes: Size | None = None
    checksum: Name | None = Field(None, validation_alias=AliasChoices("checksum", "checksum_value"))
    checksum_algorithm: Name | None = Field(None, validation_alias=AliasChoices("checksum_algorithm", "checksum_type"))
    is_resumable: bool | None = None
    is_final: bool | None = None
    expires_at: _Time | None = None
    metadata: Metadata | None = None


class NewArtifact(ArtifactChange):
    """A reference to what a build has made; the name defaults to the type."""

    state_code: Code | None = None


class ArtifactForBldst(ResponseBody):
    """An artifact: an uploaded file (type `file`, backend `shuttle`), or a reference."""

    id: str
    build_id: str
    artifact_name: str
    artifact_type: str
    artifact_path: str | None
    artifact_location: str | None
    storage_backend: str | None
    storage_region: str | None
    storage_bucket: str | None
    storage_key: str | None
    size_bytes: int | None
    checksum: str | None
    checksum_algorithm: str
    state_code: int
    is_resumable: bool
    is_final: bool
    expires_at: Instant | None
    metadata: dict[str, Any] | None
    created_at: Instant
    updated_at: Instant
    deleted_at: Instant | None


class ArtifactsForBldst(RootModel[list[ArtifactForBldst]]):
    """Artifacts, the oldest first."""
