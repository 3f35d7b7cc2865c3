"""What a failed build has left for the one that resumes it: uploaded files, and variables."""

import asyncio
import re
from dataclasses import dataclass, field
from hashlib import sha256

from shuttle.errors import ConflictError, ObjectNotFoundError
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_spec import BuildSpec
from shuttle.objects import ObjectInfo, ObjectStore
from shuttle.objects.names import artifact_object
from shuttle.request import Resumed
from shuttle.store.builds import find_build
from shuttle.store.left_behind import LeftArtifact, artifacts_left, line_of, variables_left
from shuttle.store.record_artifacts import ArtifactRow
from shuttle.store.record_variables import VariableRow
from shuttle.store.tx import Tx

# Names that can be file names, and are not hidden files.
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# The folder of the variables beside the files.
VARIABLES = "variables"
# A build may have 1000 files, and a store in S3 has 16 threads.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class LeftBehind:
    """Uploaded files with the builds that have them, and variables, sensitive ones in plain text."""

    files: list[LeftArtifact] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict, repr=False)


async def left_behind(spec: BuildSpec, branch: str, services: Services) -> LeftBehind:
    """What the build that `spec` resumes has left. For a platform's branch: what that platform's record has left.

    Left out: variables whose names are no file names, and files that would be in the folder of the variables.
    """
    resumed = resumed_by(spec, branch)
    if resumed is None:
        return LeftBehind()
    files, rows = await services.database.run(_read, resumed.build_uuid)
    variables = {
        row.name: row.value if row.sealed is None else services.vault.open(row.sealed).decode()
        for row in rows
        if _FILE_NAME.fullmatch(row.name)
    }
    return LeftBehind([file for file in files if file.row.name.split("/")[0] != VARIABLES], variables)


async def left_secrets(build_uuid: str, services: Services) -> list[str]:
    """The values of the sensitive variables that the build has left."""
    _, rows = await services.database.run(_read, build_uuid)
    return [services.vault.open(row.sealed).decode() for row in rows if row.sealed is not None]


def resumed_by(spec: BuildSpec, branch: str) -> Resumed | None:
    """The build that this one resumes. For a platform's branch: the record that this branch resumes."""
    return None if spec.resumes is None else spec.resumes.platforms.get(branch, spec.resumes)


def _read(tx: Tx, build_uuid: str) -> tuple[list[LeftArtifact], list[VariableRow]]:
    """The uploaded files and the variables that the build has left; nothing if it is deleted."""
    build = find_build(tx, build_uuid)
    if build is None:
        return [], []
    line = line_of(tx, build)
    return [file for file in artifacts_left(tx, line) if file.row.reference is None], variables_left(tx, line)


async def check_files(build_uuid: str, services: Services) -> None:
    """Check whether the object store has the uploaded files that the build has left as they were recorded.

    A file is read only if the store does not know its checksum: in a directory, and in S3 if another program has
    written the object. Its bytes are compared once more on the agent.

    Raises:
        ConflictError: a file is missing or has changed; the message names it. ObjectStoreError.
    """
    files, _ = await services.database.run(_read, build_uuid)
    for first in range(0, len(files), _AT_ONCE):
        some = files[first : first + _AT_ONCE]
        names = [artifact_object(owner.build_uuid, row.name) for owner, row in some]
        heads = await asyncio.gather(*(services.objects.head(name) for name in names))
        for (_, row), name, head in zip(some, names, heads, strict=True):
            await _check_file(row, name, head, services.objects)


async def _check_file(row: ArtifactRow, name: str, head: ObjectInfo | None, objects: ObjectStore) -> None:
    absent = ConflictError(f"The artifact {row.name} is not, or no longer, in the object store.")
    if head is None:
        raise absent
    try:
        same = head.size_bytes == row.size_bytes and (head.sha256 or await _digest(objects, name)) == row.sha256
    except ObjectNotFoundError:
        raise absent from None
    if not same:
        raise ConflictError(f"The artifact {row.name} has another checksum than it had when it was uploaded.")


async def _digest(objects: ObjectStore, name: str) -> str:
    digest = sha256()
    async with objects.open(name) as opened:
        async for chunk in opened.chunks:
            digest.update(chunk)
    return digest.hexdigest()
