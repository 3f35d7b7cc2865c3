"""What the demo shows with several replicas: the owner of an app is killed, and another replica continues its build."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from shuttle.cli.client import ShuttleClient
from shuttle.cli.demo.receiver import ReceivedBuild
from shuttle.cli.demo.screen import Screen
from shuttle.cli.demo.service import Replica, Service
from shuttle.cli.failures import CommandError

Result = TypeVar("Result")

# The first three lines are the service's.
_LINES_BEFORE_THE_KILL = 6
_TAKEN_WITHIN_SECONDS = 60
_POLL_SECONDS = 0.1


class FollowedLog:
    """A log that is read from `reader` while it grows, and shown on the screen."""

    def __init__(self, reader: Replica, screen: Screen) -> None:
        self.reader = reader.name
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._lines = 0
        self._client: ShuttleClient = reader.client
        self._screen = screen
        self._killed_at: float | None = None
        self._changed = asyncio.Condition()

    @property
    def sha256(self) -> str:
        """The SHA-256 of the bytes so far, in hex."""
        return self._hash.hexdigest()

    async def follow(self, app_id: str, build_id: str) -> None:
        """Read the log to its end."""
        async for piece in self._client.log(app_id, build_id, offset=0, follow=True):
            if self._killed_at is not None:
                seconds = time.monotonic() - self._killed_at
                self._screen.event("reader", f"gets the bytes from {self.bytes} on, {seconds:.1f} s after the kill")
                self._killed_at = None
            self._screen.log(piece)
            self.bytes += len(piece)
            self._hash.update(piece)
            self._lines += piece.count(b"\n")
            async with self._changed:
                self._changed.notify_all()
        self._screen.end_log()

    async def until_lines(self, count: int) -> None:
        """Wait until it has that many lines."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._lines >= count)

    def owner_was_killed(self) -> None:
        """The next piece is the first one after the kill; the screen shows that."""
        self._killed_at = time.monotonic()


async def show_takeover(service: Service, build: ReceivedBuild, screen: Screen) -> FollowedLog:
    """Follow the build's log at one replica, and kill the app's owner meanwhile; returns the whole log.

    Raises:
        CommandError: the log cannot be read, it ended too early, or nobody took the app over.
    """
    owner = await _owner(service.client, service.replicas)
    reader = next(replica for replica in service.replicas if replica is not owner)
    screen.event("owner", f"{owner.name} owns the app {build.app_id}; its log is followed at {reader.name}")
    log = FollowedLog(reader, screen)
    following = asyncio.create_task(log.follow(build.app_id, build.build_id), name="follow the demo's log")
    try:
        await _before_the_end(following, log.until_lines(_LINES_BEFORE_THE_KILL))
        owner = await _owner(reader.client, service.replicas)
        await owner.child.kill()
        service.replicas.remove(owner)
        log.owner_was_killed()
        screen.event("kill", f"{owner.name}, process {owner.child.pid}, by SIGKILL after {log.bytes} bytes of the log")
        killed_at = time.monotonic()
        owner = await _before_the_end(following, _owner(reader.client, service.replicas))
        seconds = time.monotonic() - killed_at
        screen.event("takeover", f"{owner.name} owns the app {build.app_id} now, {seconds:.1f} s after the kill")
        await following
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError, CommandError):
            await following
    return log


async def _owner(client: ShuttleClient, candidates: list[Replica]) -> Replica:
    """Ask until one of the candidates owns an app; the demo has one app only."""
    try:
        async with asyncio.timeout(_TAKEN_WITHIN_SECONDS):
            while True:
                with_apps = {entry["name"] for entry in await client.replicas() if entry["apps"]}
                for replica in candidates:
                    if replica.name in with_apps:
                        return replica
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        raise CommandError(f"No replica owned the app within {_TAKEN_WITHIN_SECONDS} s.") from None


async def _before_the_end(following: asyncio.Task[None], step: Awaitable[Result]) -> Result:
    """Wait for the step; raises the error of `following`, or CommandError if the log ends first."""
    waiting = asyncio.ensure_future(step)
    try:
        await asyncio.wait({waiting, following}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            following.result()
            raise CommandError("The build ended before another replica had taken it over.")
        return waiting.result()
    finally:
        waiting.cancel()
