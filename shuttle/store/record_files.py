"""Files that are uploaded to the record of a build, for the build that resumes it."""

from shuttle.build import Build, State
from shuttle.errors import NotFoundError
from shuttle.store.agent import ArtifactLimits, check_room_for_file, record_artifact
from shuttle.store.builds import Artifact, lock_build
from shuttle.store.record_artifacts import ArtifactRow, known_artifact
from shuttle.store.record_states import EndedBuildError
from shuttle.store.records import note_call
from shuttle.store.tx import Tx


def check_file(tx: Tx, build_uuid: str, name: str, size_bytes: int, limits: ArtifactLimits) -> None:
    """Check whether the build takes this file; a failed one still does, for its successor.

    Raises:
        EndedBuildError: it has succeeded. ConflictError: the file would exceed the limits.
    """
    if _locked(tx, build_uuid).state is State.SUCCEEDED:
        raise EndedBuildError
    check_room_for_file(tx, build_uuid, name, size_bytes, limits)


def record_file(
    tx: Tx, build_uuid: str, file: Artifact, limits: ArtifactLimits, *, state_code: int | None
) -> tuple[Build, ArtifactRow, bool]:
    """Record an uploaded file, which replaces one of the same name; returns the build, the file, and whether it is new.

    `state_code` None = the current state. Raises what `check_file` raises.
    """
    build = _locked(tx, build_uuid)
    code = build.state_code if state_code is None else state_code
    is_new = record_artifact(tx, build_uuid, file, limits, check=check_file, state_code=code)
    note_call(tx, build_uuid)
    return build, known_artifact(tx, build_uuid, file.name), is_new


def _locked(tx: Tx, build_uuid: str) -> Build:
    build = lock_build(tx, build_uuid)
    if build is None:
        raise NotFoundError("Build not found")
    return build
