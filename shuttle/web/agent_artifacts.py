"""Upload of artifacts by the supervisor: one file of a build at a time, and checked against the limits first."""

import asyncio
import re
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TypeVar
from urllib.parse import quote, unquote_to_bytes
from weakref import WeakValueDictionary

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import BodyTooLargeError, ConflictError, GoneError, InvalidRequestError
from shuttle.objects.local import ARTIFACT_PREFIX, local_disk
from shuttle.objects.names import artifact_object
from shuttle.store.agent import ArtifactLimits, check_artifact, record_artifact
from shuttle.store.builds import Artifact
from shuttle.store.claims import Claim
from shuttle.store.platforms import platform_record
from shuttle.store.tx import Tx
from shuttle.web import SERVICES
from shuttle.web.agent_models import ArtifactStored
from shuttle.web.answers import json_answer
from shuttle.web.body import chunks_of, refuse_encoded
from shuttle.web.description import BYTES_ERRORS, OBJECT_ERRORS, describe
from shuttle.web.names import raw_segments

_Recorded = TypeVar("_Recorded")
CheckUpload = Callable[[Tx, str, str, int, ArtifactLimits], None]
RecordUpload = Callable[[Tx, str, Artifact, ArtifactLimits], _Recorded]

_MAX_ARTIFACTS = 1000
_NAME_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[^/\x00-\x1f\x7f-\x9f]+")
_CONTENT_TYPE = re.compile(r"[!-~]+/[ -~]{1,200}")
# S3 accepts keys of 1,024 bytes; the build's uuid and `/artifacts/` precede the name.
_MAX_NAME_BYTES = 900


class ArtifactUploads:
    """One lock per build: its files are stored one after the other, so that each is counted before the next one."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, build_uuid: str) -> asyncio.Lock:
        """The build's lock, to be held while a file is received and stored."""
        return self._locks.setdefault(build_uuid, asyncio.Lock())


UPLOADS: web.AppKey[ArtifactUploads] = web.AppKey("uploads", ArtifactUploads)


@describe(ArtifactStored, body="*/*", errors=(*BYTES_ERRORS, ConflictError, GoneError, *OBJECT_ERRORS))
async def put_artifact(request: web.Request, build: Build, claim: Claim) -> web.StreamResponse:
    """`PUT …/artifacts/<name>`: store the file under the build's uuid; record its sha256 and size.

    The file of a platform's branch belongs to the record of that platform.
    """
    services = request.app[SERVICES]
    of_platform = await services.database.run(platform_record, build, claim.branch)
    build_uuid = build.build_uuid if of_platform is None else of_platform.build_uuid
    name = artifact_name(raw_segments(request)[4:])
    artifact, _ = await store_upload(request, build_uuid, name, check=check_artifact, record=_record)
    return json_answer(ArtifactStored(sha256=artifact.sha256, bytes=artifact.size_bytes))


def _record(tx: Tx, build_uuid: str, artifact: Artifact, limits: ArtifactLimits) -> Artifact:
    record_artifact(tx, build_uuid, artifact, limits)
    return artifact


async def store_upload(
    request: web.Request, build_uuid: str, name: str, *, check: CheckUpload, record: RecordUpload[_Recorded]
) -> tuple[Artifact, _Recorded]:
    """Receive the body, store it under the build's uuid and record it; returns the file, and what `record` returns.

    Raises BodyTooLargeError, and what `check` and `record` raise.
    """
    services = request.app[SERVICES]
    refuse_encoded(request)
    limits = ArtifactLimits(max_count=_MAX_ARTIFACTS, max_bytes=services.settings.shuttle_max_artifacts_bytes)
    async with request.app[UPLOADS].lock(build_uuid):
        await services.database.run(check, build_uuid, name, request.content_length or 0, limits)
        with local_disk(), NamedTemporaryFile(dir=services.settings.shuttle_data_dir, prefix=ARTIFACT_PREFIX) as file:
            content_type = _content_type(request.headers.get("Content-Type", ""))
            artifact = Artifact(name, *await _receive(request, file), content_type)
            await services.database.run(check, build_uuid, name, artifact.size_bytes, limits)
            stored = artifact_object(build_uuid, name)
            path = Path(file.name)
            await services.objects.put(stored, path, content_type=content_type, sha256=artifact.sha256)
        try:
            return artifact, await services.database.run(record, build_uuid, artifact, limits)
        except (ConflictError, GoneError, InvalidRequestError):  # for example, the build has ended meanwhile
            await services.objects.delete(stored)
            raise


async def _receive(request: web.Request, file: IO[bytes]) -> tuple[int, str]:
    """Write the body to the file; returns its size and SHA-256."""
    limit_bytes = request.app[SERVICES].settings.shuttle_max_artifact_bytes
    digest, size_bytes = sha256(), 0
    async for chunk in chunks_of(request):
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise BodyTooLargeError(f"An artifact may have at most {limit_bytes} bytes (SHUTTLE_MAX_ARTIFACT_BYTES).")
        digest.update(chunk)
        await asyncio.to_thread(file.write, chunk)
    file.flush()
    return size_bytes, digest.hexdigest()


def _content_type(header: str) -> str:
    """The header as sent if it is valid in a response, else application/octet-stream."""
    return header if _CONTENT_TYPE.fullmatch(header) else "application/octet-stream"


def artifact_name(raw: list[str]) -> str:
    """The file's relative name, decoded once (agents send slashes as %2F); 400 if it could leave its folder."""
    try:
        name = unquote_to_bytes("/".join(raw).encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError:
        raise InvalidRequestError("Percent-encode the artifact's name as UTF-8.", field="name") from None
    if not all(_NAME_SEGMENT.fullmatch(segment) for segment in name.split("/")):
        raise InvalidRequestError("Name the artifact by ordinary file names joined by /.", field="name")
    if len(quote(name)) > _MAX_NAME_BYTES:
        raise InvalidRequestError("Give the artifact a shorter name, or pack the files into one.", field="name")
    return name
