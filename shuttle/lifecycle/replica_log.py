"""The log of a build wherever it is written: in this process, by another replica, or archived."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from urllib.parse import urlencode

from shuttle.build import Build
from shuttle.errors import NotOwnerError, StoreError, UnavailableError
from shuttle.lifecycle import Services
from shuttle.logs import LogReader
from shuttle.store.replicas import Replica
from shuttle.store.request_time import is_limited

# How long the owner waits for more bytes before it answers without any.
WAIT_SECONDS = 10.0
# How long the owner may take for an answer, in addition to that wait.
_ANSWER_SECONDS = 5.0
MAX_BLOCK_BYTES = 256 * 1024
# A log that another replica writes is asked for at most this often, so that a fast one is read in larger blocks.
_POLL_SECONDS = 0.05
_RETRY_SECONDS = 0.3
# A reader waits for so long while an app changes hands: after the lease of a dead owner, the new one needs a moment.
_LONGEST_CHANGE_SECONDS = 30.0


async def open_reader(build: Build, services: Services) -> LogReader:
    """A reader of the build's log. Raises SpoolError, StoreError, NotOwnerError (no owner within 30 s)."""
    if services.database.alone or build.archived_at is not None:
        return services.library.reader(build)
    reader = ReplicaLog(build, services)
    await reader.refresh()
    return reader


class ReplicaLog:
    """A LogReader that follows the log when its app gets another owner; the bytes at an offset are the same there."""

    def __init__(self, build: Build, services: Services) -> None:
        self._build = build
        self._services = services
        self._block = b""
        self._block_offset = 0
        self._local: LogReader | None = None
        self._local_epoch: int | None = None
        # Kept between calls, because a caller that follows a log ends each wait after some seconds, and waits again.
        self._unreadable_since: float | None = None
        self.size_bytes = 0
        self.complete = False

    async def refresh(self) -> None:
        """Find out the size."""
        await self._ask(0, 0, 0)

    async def read(self, offset: int, limit_bytes: int) -> bytes:
        """See the port."""
        if offset >= self.size_bytes or limit_bytes <= 0:
            return b""
        if self._is_local:
            return await self._ask(offset, limit_bytes, 0)
        if not self._block_offset <= offset < self._block_offset + len(self._block):
            self._block, self._block_offset = await self._ask(offset, MAX_BLOCK_BYTES, 0), offset
        first = offset - self._block_offset
        return self._block[first : first + limit_bytes]

    async def grown_beyond(self, offset: int) -> None:
        """See the port."""
        while self.size_bytes <= offset and not self.complete:
            block = await self._ask(offset, MAX_BLOCK_BYTES, WAIT_SECONDS)
            if block and not self._is_local:
                self._block, self._block_offset = block, offset

    async def _ask(self, offset: int, limit_bytes: int, wait_seconds: float) -> bytes:
        """The bytes from `offset`, from the process that has the log; waits while the app gets another owner.

        Waits for the database only if a response has begun: before that, StoreError becomes a 503 in time.
        """
        clock = asyncio.get_running_loop().time
        while True:
            began_at = clock()
            try:
                block = await self._ask_once(offset, limit_bytes, wait_seconds)
            except (UnavailableError, NotOwnerError) as error:
                if isinstance(error, StoreError) and is_limited():
                    raise
                if self._unreadable_since is None:
                    self._unreadable_since = began_at
                if clock() - self._unreadable_since > _LONGEST_CHANGE_SECONDS:
                    raise
            else:
                self._unreadable_since = None
                return block
            await asyncio.sleep(_RETRY_SECONDS)

    async def _ask_once(self, offset: int, limit_bytes: int, wait_seconds: float) -> bytes:
        owner = None if self._is_local else await self._services.peers.owner(self._build.build_uuid)
        if owner is not None:
            return await self._ask_peer(owner, offset, limit_bytes, wait_seconds)
        return await self._read_here(offset, limit_bytes, wait_seconds)

    @property
    def _is_local(self) -> bool:
        """Whether this process still has the log: it has owned the app all the time, or the log is archived.

        While another process owned the app, it may have archived the log; then the spool here no longer grows.
        """
        return self._local is not None and (
            self._build.archived_at is not None or self._epoch == self._local_epoch is not None
        )

    @property
    def _epoch(self) -> int | None:
        owned = self._services.owned.ownership(self._build.app_id)
        return None if owned is None else owned.epoch

    async def _read_here(self, offset: int, limit_bytes: int, wait_seconds: float) -> bytes:
        if not self._is_local:
            epoch = self._epoch
            build = await self._services.current(self._build)
            async with while_readable(build, self._services):
                reader = await self._services.logs.reader(build)
            self._build, self._local, self._local_epoch = build, reader, epoch
        local = self._local
        assert local is not None  # noqa: S101 - set just above
        async with while_readable(self._build, self._services):
            block = await read_or_wait(local, offset, limit_bytes, wait_seconds)
            if wait_seconds and not block and not local.complete and not self._services.lease.is_held:
                raise NotOwnerError  # without the database nothing is written here, and another replica may own the app
        self.size_bytes, self.complete = max(self.size_bytes, local.size_bytes), local.complete
        return block

    async def _ask_peer(self, owner: Replica, offset: int, limit_bytes: int, wait_seconds: float) -> bytes:
        query = urlencode({"offset": offset, "limit": limit_bytes, "wait": wait_seconds})
        path, seconds = f"{self._build.build_uuid}/log?{query}", wait_seconds + _ANSWER_SECONDS
        async with self._services.peers.request(owner, "GET", path, seconds=seconds) as answer:
            if answer.status != 200:
                raise NotOwnerError
            block = await answer.read()
            self.size_bytes = max(self.size_bytes, int(answer.headers["Shuttle-Log-Size"]))
            self.complete = answer.headers["Shuttle-Log-Complete"] == "true"
        if wait_seconds:
            await asyncio.sleep(_POLL_SECONDS)
        return block


def while_readable(build: Build, services: Services) -> AbstractAsyncContextManager[None]:
    """End the block with NotOwnerError when the app is lost, because the log then grows in another process only."""
    return nullcontext() if build.archived_at is not None else services.owned.while_owned(build.app_id)


async def read_or_wait(reader: LogReader, offset: int, limit_bytes: int, wait_seconds: float) -> bytes:
    """The bytes from `offset`; without any, waits up to `wait_seconds` for more."""
    if wait_seconds and reader.size_bytes <= offset and not reader.complete:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                await reader.grown_beyond(offset)
    return await reader.read(offset, limit_bytes)
