"""Tail: Jenkins' text, transformed, into the spool, from the last checkpoint to the end."""

import asyncio
from collections.abc import Awaitable, Callable
from copy import copy
from typing import Protocol

from shuttle.build import Build, Checkpoint
from shuttle.jenkins import LogResponse
from shuttle.jenkins.budget import PollPace
from shuttle.lifecycle import Ports
from shuttle.lifecycle.plan import Plan
from shuttle.logs.spool import Spool
from shuttle.logs.transform import LogTransform

# A checkpoint costs a row update; what a takeover must read again is bounded by these two.
_CHECKPOINT_SECONDS = 2.0
_CHECKPOINT_BYTES = 8 * 1024 * 1024


class Kept(Protocol):
    """Where the log's bytes go: a spool, or the sum that stands in for one."""

    @property
    def size_bytes(self) -> int:
        """How much there is now."""

    def append(self, text: bytes) -> None:
        """Add to the end."""


class Tail:
    """One build's way through Jenkins' text: where the next response starts and where its bytes go.

    A response that is cut is asked for again from its start; the transformation being pure, its bytes come out the
    same and those that the spool has already are dropped.
    """

    def __init__(self, kept: Kept, transform: LogTransform, jenkins_offset: int, log_offset: int) -> None:
        self.kept = kept
        self.transform = transform
        self.jenkins_offset = jenkins_offset
        self.log_offset = log_offset

    async def take(self, response: LogResponse) -> None:
        """Transform and spool a whole response; cut in the middle, it leaves us where we were."""
        transform, log_offset = copy(self.transform), self.log_offset
        async for chunk in response.chunks:
            log_offset = self._write(log_offset, transform.feed(chunk))
        self.transform, self.log_offset, self.jenkins_offset = transform, log_offset, response.next_start

    def _write(self, log_offset: int, text: bytes) -> int:
        known = self.kept.size_bytes - log_offset
        if known < len(text):
            self.kept.append(text[known:] if known > 0 else text)
        return log_offset + len(text)

    def end(self) -> None:
        """The text is over: write what the transformer still holds back."""
        self.log_offset = self._write(self.log_offset, self.transform.finish())

    def checkpoint(self) -> Checkpoint | None:
        """Where we are, if a takeover can start here."""
        state = self.transform.state()
        return None if state is None else Checkpoint(self.jenkins_offset, self.log_offset, state)


def resume(build: Build, plan: Plan, spool: Spool) -> Tail:
    """At the last checkpoint if the spool reaches that far, else at the beginning of Jenkins' text."""
    preamble = build.preamble.encode()
    spool_preamble(build, spool)
    at = build.checkpoint
    if at is None or spool.size_bytes < at.log_offset:
        return Tail(spool, LogTransform(plan.log_rules, written_bytes=len(preamble)), 0, len(preamble))
    transform = LogTransform(plan.log_rules, at.transformer, written_bytes=at.log_offset)
    return Tail(spool, transform, at.jenkins_offset, at.log_offset)


def spool_preamble(build: Build, spool: Spool) -> None:
    """Put what is recorded of the preamble into the spool, if it is not there yet."""
    preamble = build.preamble.encode()
    if spool.size_bytes < len(preamble):
        spool.append(preamble[spool.size_bytes :])


async def _as_its_text_says() -> bool:
    return True


async def tail(
    build: Build, plan: Plan, ports: Ports, is_over: Callable[[], Awaitable[bool]] = _as_its_text_says
) -> None:
    """Read Jenkins' text to its end, which is there when `is_over` says so of the build, too.

    Raises:
        JenkinsUnavailableError, JenkinsRefusedError: call again, it goes on where it was.
        JenkinsNotFoundError: the build is gone.
        SpoolError: the disk does not take the log.
    """
    current = await ports.store.build(build.build_uuid) or build
    spool = ports.library.spool(build.build_uuid)
    at = resume(current, plan, spool)
    saves = Saves(build.build_uuid, spool, at.log_offset, ports)
    await read_to_the_end(build, at, ports, saves.save_if_worth_it, is_over)


async def read_to_the_end(
    build: Build,
    at: Tail,
    ports: Ports,
    after_response: Callable[[Tail], Awaitable[None]],
    is_over: Callable[[], Awaitable[bool]] = _as_its_text_says,
) -> None:
    """Follow Jenkins' text from `at`; `after_response` is awaited after each whole one.

    An answer without the header that promises more is the end only of a build that `is_over`: a proxy that leaves it
    out, or a log that a restart of Jenkins cut back, would end the log in the middle for good.
    """
    assert build.build_number is not None  # noqa: S101 - only a numbered build has a text
    with PollPace(ports.polls) as pace:
        while True:
            before = at.jenkins_offset
            async with ports.jenkins.log(build.job_name, build.build_number, before) as response:
                await at.take(response)
            await after_response(at)
            if not response.more and await is_over():
                break
            await asyncio.sleep(pace.next_delay(received_bytes=at.jenkins_offset - before))
    at.end()


class Saves:
    """Checkpoints, as seldom as a takeover may cost: see the two limits above."""

    def __init__(self, build_uuid: str, spool: Spool, log_offset: int, ports: Ports) -> None:
        self._build_uuid = build_uuid
        self._spool = spool
        self._ports = ports
        self._offset = log_offset
        self._at = ports.now()

    async def save_if_worth_it(self, tail: Tail) -> None:
        """Commit a checkpoint when enough bytes or time have passed since the last one."""
        grown = tail.log_offset - self._offset
        seconds = (self._ports.now() - self._at).total_seconds()
        if not grown or (grown < _CHECKPOINT_BYTES and seconds < _CHECKPOINT_SECONDS):
            return
        checkpoint = tail.checkpoint()
        if checkpoint is not None:
            await self._spool.sync()
            await self._ports.store.checkpoint(self._build_uuid, checkpoint)
            self._offset, self._at = tail.log_offset, self._ports.now()
