"""Uploads: the source of a request is stored before its build is recorded; a uuid has one source at a time."""

import asyncio
import uuid
from collections.abc import Callable

from shuttle.build import Build
from shuttle.errors import ObjectStoreError, StoreError
from shuttle.lifecycle import Services
from shuttle.lifecycle.read_request import DecodedSource
from shuttle.objects.names import source_object
from shuttle.store.pending_uploads import Hold, begin_deletion, end_deletion, hold_upload
from shuttle.store.tx import Tx

# Existing callers wait 60 s for the answer; an object store that does not respond would delay it by 90 s.
_PUT_TIMEOUT_SECONDS = 45.0
# A request waits this long for an upload of another source under the same uuid, in any process.
_WAIT_SECONDS = 10.0
_LOOK_SECONDS = 1.0


class Uploads:
    """Stores sources under uuids that callers may have chosen. Safe for any number of tasks and processes."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def store(
        self, build_uuid: str, source: DecodedSource, find_recorded: Callable[[Tx], Build | None]
    ) -> Build | str:
        """Store the source, and return its uuid: `build_uuid`, or a random one if another build has that already.

        Returns the build instead if `find_recorded` finds one, because an equal request was recorded meanwhile. Other
        sources of the uuid are kept waiting until the build is recorded, or until `delete`.

        Raises:
            StoreError: another upload takes too long. ObjectStoreError. What `find_recorded` raises.
        """
        try:
            async with asyncio.timeout(_PUT_TIMEOUT_SECONDS):
                held = await self._hold(build_uuid, source, find_recorded)
                if held is Hold.TAKEN:
                    build_uuid = str(uuid.uuid4())
                    held = await self._hold(build_uuid, source, find_recorded)
                if isinstance(held, Build):
                    return held
                name = source_object(build_uuid)
                await self._services.objects.put(
                    name, source.path, content_type=source.content_type, sha256=source.sha256
                )
                return build_uuid
        except TimeoutError:
            raise ObjectStoreError("The object store did not store the source in time.") from None

    async def _hold(
        self, build_uuid: str, source: DecodedSource, find_recorded: Callable[[Tx], Build | None]
    ) -> Build | Hold:
        """Returns HELD, TAKEN or the recorded build."""
        new_object = await self._services.objects.head(source_object(build_uuid)) is None
        deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
        with self._services.signals.listen(build_uuid) as changes:
            while True:
                held = await self._services.database.run(
                    hold_upload, build_uuid, source.sha256, find_recorded, new_object=new_object
                )
                if held is not Hold.WAIT:
                    return held
                if asyncio.get_running_loop().time() > deadline:
                    raise StoreError("Another source is being stored under this uuid; send the request again later.")
                await changes.wait(_LOOK_SECONDS)

    async def delete(self, build_uuid: str, holder: str) -> None:
        """Delete the stored source if `holder` still holds the upload, and no build was recorded with it."""
        if await self._services.database.run(begin_deletion, build_uuid, holder):
            await self._services.objects.delete(source_object(build_uuid))
            await self._services.database.run(end_deletion, build_uuid)
