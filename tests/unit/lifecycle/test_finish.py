"""The final state and the log's checksum: without an agent's log, with one, with Jenkins' console, on a broken disk."""

import asyncio
from hashlib import sha256
from typing import Any

import pytest

from shuttle.build import STOP_ENDINGS, Build, Ending, State, StopCause
from shuttle.errors import JenkinsNotFoundError, JenkinsUnavailableError, StoreError
from shuttle.lifecycle.archive_log import archive_log
from shuttle.lifecycle.build_log import BuildLog
from shuttle.lifecycle.finish import finish
from shuttle.lifecycle.run import finalize
from shuttle.logs.spool import SpoolError
from shuttle.objects.names import log_object
from shuttle.store.agent import Failure, record_report
from tests.unit.lifecycle.one_build import NUMBER, OneBuild

FAILED = Ending(State.FAILED, "build_failed", "The build failed; its log says why.")
ABORTED = Ending(State.FAILED, "aborted_in_jenkins", "Somebody aborted it.")
NOT_CLAIMED = Ending(State.FAILED, "not_claimed", "No step ever called.")
CONSOLE = b"No agent has the label x.\n"
PREAMBLE = "-----> Source\n"


async def finished(one: OneBuild, ending: Ending) -> Build:
    async with asyncio.timeout(5):
        await finish(await one.row(), one.spec, ending, one.services)
    build = await one.row()
    assert (build.state, build.reason) == (ending.state, ending.reason)
    return build


async def text_of(one: OneBuild) -> str:
    """The archived log, which must be that of the recorded checksum."""
    build = await one.row()
    await archive_log(build, one.services)
    async with one.services.objects.open(log_object(one.build_uuid)) as opened:
        raw = b"".join([chunk async for chunk in opened.chunks])
    assert (len(raw), sha256(raw).hexdigest()) == (build.log_bytes, build.log_sha256)
    return raw.decode()


async def logged(one: OneBuild, text: bytes = b"output\n", *, exit_status: int | None = None) -> BuildLog:
    """The log of a running build that has this text; with an exit status its supervisor has ended, too."""
    await one.running()
    build_log = await one.services.logs.open(one.build_uuid)
    assert build_log is not None
    build_log.take(build_log.claims[0], "main", 0, text)
    if exit_status is not None:
        await one.end(build_log.claims[0], exit_status=exit_status)
    return build_log


async def test_log_of_a_build_without_an_agent_is_preamble_and_reason(one: OneBuild):
    await one.staging()
    await finished(one, Ending(State.FAILED, "source_not_found", "The source does not exist."))
    assert await text_of(one) == f"{PREAMBLE}-----> The source does not exist.\n"
    assert one.jenkins.calls == []


async def test_success_needs_no_reason_and_no_console(one: OneBuild):
    await logged(one, exit_status=0)
    await finished(one, Ending(State.SUCCEEDED))
    assert await text_of(one) == f"{PREAMBLE}output\n"
    assert one.jenkins.calls == []


async def test_log_of_an_unclaimed_build_has_the_console_of_jenkins(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("console_tail", CONSOLE)
    await finished(one, NOT_CLAIMED)
    assert await text_of(one) == f"{PREAMBLE}{CONSOLE.decode()}-----> No step ever called.\n"


async def test_secrets_in_the_console_are_masked(one: OneBuild):
    await one.queued(number=NUMBER)
    one.jenkins.answers("console_tail", f"SHUTTLE_TOKEN={one.spec.token}\n".encode())
    await finished(one, NOT_CLAIMED)
    assert one.spec.token not in await text_of(one)


@pytest.mark.parametrize("claimed", [False, True])
@pytest.mark.parametrize("error", [JenkinsUnavailableError("It is away."), JenkinsNotFoundError("There is none.")])
async def test_build_ends_without_a_console_that_jenkins_does_not_show(one: OneBuild, error: Exception, claimed: bool):
    await (logged(one) if claimed else one.queued(number=NUMBER))
    one.jenkins.answers("console_tail", error)
    await finished(one, ABORTED)
    output = "output\n" if claimed else ""
    assert await text_of(one) == f"{PREAMBLE}{output}-----> Somebody aborted it.\n"


async def test_end_does_not_wait_long_for_the_console(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shuttle.lifecycle.finish._CONSOLE_SECONDS", 0.01)

    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    await one.queued(number=NUMBER)
    one.jenkins.answers("console_tail", hang)
    await finished(one, NOT_CLAIMED)
    assert await text_of(one) == f"{PREAMBLE}-----> No step ever called.\n"


@pytest.mark.parametrize("cause", [StopCause.STOPPED, StopCause.SPOOL_UNWRITABLE])
async def test_stop_needs_no_console(one: OneBuild, cause: StopCause):
    await one.queued(number=NUMBER)
    await finished(one, STOP_ENDINGS[cause])
    assert one.jenkins.calls == []


@pytest.mark.parametrize(
    ("exit_status", "ending", "reported", "asked"),
    [
        (None, FAILED, False, True),  # Jenkins ended it
        (1, FAILED, False, False),  # the log ends with the user's own error
        (1, ABORTED, False, True),  # the supervisor knows only that it got TERM
        (1, ABORTED, True, False),
        (None, FAILED, True, True),
    ],
)
async def test_console_is_read_unless_a_supervisor_explained_the_end(
    one: OneBuild, exit_status: int | None, ending: Ending, reported: bool, asked: bool
):
    await logged(one, exit_status=exit_status)
    if reported:
        failure = Failure("no_space", "The agent's disk is full.")
        report = {"failure": failure, "facts": {}, "values": {}, "seal": bytes}
        await one.database.run(record_report, one.build_uuid, "r1", b"{}", **report)  # type: ignore[arg-type]
    one.jenkins.answers("console_tail", CONSOLE)
    await finished(one, ending)
    assert (CONSOLE.decode() in await text_of(one)) is asked
    assert bool(one.jenkins.called("console_tail")) is asked


@pytest.mark.parametrize("settings", [{"SHUTTLE_JENKINS_CONSOLE": "full"}])
async def test_console_that_is_the_log_itself_is_not_added(one: OneBuild):
    await logged(one)
    await finished(one, FAILED)
    assert one.jenkins.calls == []


async def test_bytes_after_the_end_are_acknowledged_and_dropped(one: OneBuild):
    build_log = await logged(one)
    await finished(one, STOP_ENDINGS[StopCause.STOPPED])
    assert build_log.take(build_log.claims[0], "main", 7, b"late\n") == 12
    assert await text_of(one) == f"{PREAMBLE}output\n-----> The build was stopped on request.\n"
    assert one.services.logs.find(one.build_uuid) is None


async def test_end_waits_for_the_database(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    build_log = await logged(one, exit_status=0)
    close, left = build_log.close, [StoreError("The database is away.")] * 2

    async def close_later() -> None:
        if left:
            raise left.pop()
        await close()

    monkeypatch.setattr(build_log, "close", close_later)
    await finished(one, Ending(State.SUCCEEDED))
    assert await text_of(one) == f"{PREAMBLE}output\n"


async def test_build_ends_although_its_log_is_lost_with_its_disk(one: OneBuild, monkeypatch: pytest.MonkeyPatch):
    async def open_(_: str) -> Any:
        raise SpoolError("The disk is gone.")

    await logged(one)
    monkeypatch.setattr(one.services.logs, "open", open_)
    one.jenkins.answers("console_tail", CONSOLE)
    build = await finished(one, ABORTED)
    assert build.log_ending == f"{CONSOLE.decode()}-----> Somebody aborted it.\n"


async def test_bytes_that_are_lost_after_the_end_are_named_in_the_log(one: OneBuild):
    """The record gets the checksum of what is left."""
    await logged(one, b"first\nsecond\n", exit_status=0)
    await finished(one, Ending(State.SUCCEEDED))
    one.services.library.spool(one.build_uuid).truncate(len(PREAMBLE) + 6)
    before = await one.row()
    await finalize(one.build_uuid, None, one.services)
    build = await one.row()
    async with one.services.objects.open(log_object(one.build_uuid)) as opened:
        raw = b"".join([chunk async for chunk in opened.chunks])
    assert raw.startswith(f"{PREAMBLE}first\n".encode())
    assert b"second" not in raw
    assert raw.count(b"\n") == 3
    assert build.log_sha256 == sha256(raw).hexdigest() != before.log_sha256


async def test_build_that_ended_meanwhile_keeps_its_end(one: OneBuild):
    await one.queued(number=NUMBER)
    build = await one.row()
    one.jenkins.answers("console_tail", CONSOLE)
    await finished(one, STOP_ENDINGS[StopCause.STOPPED])
    assert await finish(build, one.spec, NOT_CLAIMED, one.services) is None
    assert (await one.row()).reason == "stopped"
