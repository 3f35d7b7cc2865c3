"""The supervisor: every byte of a build reaches the shuttle, and nothing of a build outlives it."""

import asyncio
import functools
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment
from tests.agent_api import BUILD_UUID, AgentApi, Cut, CutHeaders, NoOffset, source_archive
from tests.unit.pipelines.agent import SHELLS, Agent, everything_under, is_running, long_time

SCRIPT = PIPELINES["script"].build(PIPELINES["script"].Options())
RUNNING = "-----> Running build.sh\n"


def shuttle(build: str, arguments: dict[str, str] | None = None, **files: bytes) -> AgentApi:
    """One whose only build runs this script."""
    environment = AgentEnvironment(app_id="app", build_id="1", build_uuid=BUILD_UUID, arguments=arguments or {})
    return AgentApi(environment, source_archive({"build.sh": "#!/bin/sh\n" + build, **files}))


async def until(holds: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    while not holds():
        await asyncio.sleep(0.01)


def nothing_is_left(agent: Agent) -> bool:
    return list(agent.home.glob("workspace*")) == [agent.workspace] and not everything_under(agent.workspace)


BYTES = {
    "nothing": b"",
    "no final newline": b"one\ntwo",
    "newlines": b"\n\n\n",
    "every byte": bytes(range(256)) * 2,
    "progress bars": b"1%\r2%\r\r\n100%\r\n",
    "invalid utf-8": b"\xff\xfe\xc3\n\xe2\x82",
    "several chunks": random.Random(0).randbytes(9_000_001),
}


@pytest.mark.parametrize("kind", BYTES)
async def test_every_byte_arrives(each_agent: Agent, kind: str) -> None:
    async with shuttle("cat output\n", output=BYTES[kind]) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console
    assert bytes(api.logs["main"]) == RUNNING.encode() + BYTES[kind]
    assert api.ends == {"main": 0}


async def test_both_outputs_arrive_in_the_order_in_which_they_were_written(each_agent: Agent) -> None:
    async with shuttle("echo 1; echo 2 >&2; echo 3; echo 4 >/dev/stderr; echo 5 >/dev/stdout\n") as api:
        each_agent.url = api.url
        await each_agent.run(SCRIPT)
    assert api.log == RUNNING + "1\n2\n3\n4\n5\n"


async def test_output_arrives_while_the_build_runs_and_waits_for_no_newline(each_agent: Agent) -> None:
    build = f"for n in 1 2 3; do printf .; while [ ! -e {each_agent.home}/$n ]; do sleep 0.02; done; done\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        for count in (1, 2, 3):
            await api.until(functools.partial(api.has_logged, RUNNING + "." * count))
            (each_agent.home / str(count)).touch()
        assert (await step.ended()).status == 0


async def test_a_shuttle_that_is_away_for_a_while_gets_everything_in_order(each_agent: Agent) -> None:
    home = each_agent.home
    each_agent.give("seq", "touch")
    build = f"echo one; while [ ! -e {home}/away ]; do sleep 0.02; done; seq 2000; touch {home}/ran; exit 3\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "one\n" in api.log)
        await api.stop()
        (home / "away").touch()
        await until((home / "ran").exists)
        await api.start()
        run = await step.ended()
    lines = "".join(f"{number}\n" for number in range(1, 2001))
    assert api.log == f"{RUNNING}one\n{lines}-----> build.sh ended with exit status 3.\n"
    assert (run.status, api.ends) == (3, {"main": 3})


async def test_a_shuttle_whose_disk_is_lost_gets_everything_again(each_agent: Agent) -> None:
    each_agent.give("seq")
    build = f"seq 500000; echo half; while [ ! -e {each_agent.home}/lost ]; do sleep 0.02; done; echo end\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: api.logs["main"].endswith(b"half\n"))
        whole = api.log
        api.logs["main"].clear()
        (each_agent.home / "lost").touch()
        assert (await step.ended()).status == 0
    assert api.log == whole + "end\n"


@pytest.mark.parametrize("faults", [(NoOffset, 500, CutHeaders), (401, Cut, 404)])
async def test_no_answer_to_a_push_loses_or_doubles_a_byte(each_agent: Agent, faults) -> None:
    build = "for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.05; done\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        api.faults["log"].extend(faults)
        run = await each_agent.run(SCRIPT)
    assert api.log == RUNNING + "".join(f"{number}\n" for number in range(1, 9))
    assert (run.status, api.ends) == (0, {"main": 0})
    assert not api.faults["log"]


async def test_a_claim_whose_answer_is_lost_is_repeated_with_its_nonce(agent: Agent) -> None:
    async with shuttle("echo hello\n") as api:
        agent.url = api.url
        api.faults["claim"].extend([CutHeaders, Cut])
        assert (await agent.run(SCRIPT)).status == 0
    assert len(api.nonces[0]) == 32
    assert len(set(api.nonces)) == 1


async def test_a_parallel_branch_has_a_claim_and_a_stream_of_its_own(agent: Agent) -> None:
    async with shuttle("echo hello\n") as api:
        agent.url = api.url
        agent.environment = {"SHUTTLE_BRANCH": "linux.x86-64"}
        assert (await agent.run(SCRIPT)).status == 0
    assert api.branches == ["linux.x86-64"]
    assert api.logs["linux.x86-64"].endswith(b"hello\n")
    assert api.ends == {"linux.x86-64": 0}


@pytest.mark.parametrize(
    ("build", "status"), [("exit 42", 42), ("kill -TERM $$", 143), ("kill -KILL $$", 137), ("nosuchprogram", 127)]
)
@pytest.mark.parametrize("namespace", [False, True])
async def test_the_exit_status_is_the_builds_own(each_agent: Agent, build: str, status: int, namespace: bool) -> None:
    if namespace:
        each_agent.give("unshare")
    async with shuttle(f"{build}\n") as api:
        each_agent.url = api.url
        api.faults["log"].append(NoOffset)
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (status, {"main": status}), api.log
    assert api.reports["failure"]["message"] == f"build.sh ended with exit status {status}."


async def test_a_silent_build_costs_no_calls(agent: Agent) -> None:
    async with shuttle("sleep 1.5\n") as api:
        agent.url = api.url
        await agent.run(SCRIPT)
    assert [size for _, _, size in api.pushes] == [len(RUNNING), 0], "the first line, and the end"


async def test_a_silent_build_asks_as_often_as_the_shuttle_wants_and_is_stopped(each_agent: Agent) -> None:
    async with shuttle("trap 'echo caught; exit 7' TERM; echo begun; while :; do sleep 0.05; done\n") as api:
        each_agent.url = api.url
        api.idle_seconds = "0.1"
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        api.stop_cause = "timeout"
        run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143})
    assert api.log.startswith(RUNNING + "begun\n-----> The build is stopped: timeout.\n")
    assert api.log.endswith("caught\n")
    assert api.stages[-1] == "build end stopped"
    assert api.reports == {}
    assert nothing_is_left(each_agent)


async def test_a_build_that_ignores_term_is_killed_after_the_grace(each_agent: Agent) -> None:
    forever = long_time()
    async with shuttle(f"trap '' TERM; echo begun; sleep {forever}; sleep {forever}\n") as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        began = time.monotonic()
        step.stop_as_jenkins_does()
        run = await step.ended()
    assert 1 <= time.monotonic() - began < 5
    assert (run.status, api.ends) == (143, {"main": 143})
    assert not is_running(forever)


@pytest.mark.parametrize("call", ["environment", "source.tar.gz", "begin", "file", "report"])
async def test_a_stop_by_jenkins_in_every_phase_is_an_end_of_its_own(each_agent: Agent, call: str) -> None:
    async with shuttle("mkdir dist; echo >dist/file; echo built\n") as api:
        each_agent.url = api.url
        api.held[call] = asyncio.Event()
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: call in api.waiting)
        del api.held[call]
        step.stop_as_jenkins_does()
        run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143}), run.console
    assert api.reports["end"] == {
        "id": "end",
        "state": "failed",
        "reason": "aborted_in_jenkins",
        "message": "The build was aborted in Jenkins.",
    }
    assert ("built\n" in api.log) == (call in {"file", "report"})
    assert nothing_is_left(each_agent)


async def test_a_stop_by_jenkins_while_the_build_runs(each_agent: Agent) -> None:
    forever = long_time()
    async with shuttle(f"echo begun; sleep {forever}\n") as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        step.stop_as_jenkins_does()
        run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143})
    assert api.log == RUNNING + "begun\n-----> The build is stopped.\n"
    assert not is_running(forever)
    assert nothing_is_left(each_agent)


async def test_an_attempt_that_was_superseded_ends(agent: Agent) -> None:
    forever = long_time()
    async with shuttle(f"echo begun; sleep {forever}\n") as api:
        agent.url = api.url
        api.idle_seconds = "0.1"
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        api.over = True
        assert (await step.ended()).status == 143
    assert not is_running(forever)
    assert nothing_is_left(agent)


async def test_what_a_stop_cannot_send_in_time_is_sent_later_by_nobodys_process(each_agent: Agent) -> None:
    forever = long_time()
    async with shuttle(f"echo begun; sleep {forever}\n") as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 0}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        await api.stop()
        began = time.monotonic()
        step.stop_as_jenkins_does()
        run = await step.ended()
        assert time.monotonic() - began < 12
        assert run.status == 143
        step.stop_as_jenkins_does()
        await api.start()
        await api.until(lambda: api.ends)
    assert api.log == RUNNING + "begun\n-----> The build is stopped.\n"
    assert api.reports["end"]["reason"] == "aborted_in_jenkins"
    await until(lambda: nothing_is_left(each_agent))


async def test_a_log_beyond_its_limit_does_not_fill_the_agents_disk(each_agent: Agent) -> None:
    size = each_agent.home / "size"
    each_agent.give("head", "readlink")
    build = f"""\
head -c 300000 /dev/zero
while [ ! -e {each_agent.home}/full ]; do sleep 0.02; done
head -c 30000000 /dev/zero
sleep 0.5
for fd in /proc/$PPID/fd/4 /proc/[0-9]*/fd/4; do
  case $(readlink $fd) in {each_agent.home}/*log*) wc -c <$fd >{size} ;; esac
done
exit 5
"""
    async with shuttle(build) as api:
        each_agent.url = api.url
        api.claim_answer = {"log": {"max_bytes": 100_000}}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: len(api.log) >= 300_000)
        (each_agent.home / "full").touch()
        run = await step.ended()
    assert (run.status, api.ends) == (5, {"main": 5})
    assert int(size.read_text()) < 6_000_000, "the limit, what was read before, what came since the last look"
    assert len(api.logs["main"]) < 6_000_000


WAYS_TO_STAY = {
    "background": "{leave} &",
    "nohup": "nohup {leave} >/dev/null 2>&1 &",
    "setsid": "setsid {leave} &",
    "double fork": "( ( {leave} ) & )",
    "detached": "( setsid nohup {leave} <&- >&- 2>&- & )",
    "deaf": "( trap '' TERM HUP INT; {leave} & )",
}


@pytest.mark.parametrize("namespace", [False, True])
async def test_what_a_build_leaves_running_is_ended_and_named(each_agent: Agent, namespace: bool) -> None:
    if namespace:
        each_agent.give("unshare")
    outside = each_agent.home / "written"
    times = [long_time() for _ in WAYS_TO_STAY]
    ways = [way.format(leave=f"sleep {time}") for time, way in zip(times, WAYS_TO_STAY.values(), strict=True)]
    ways.append(f"while :; do echo >>{outside}; sleep 0.01; done &")
    async with shuttle("\n".join([*ways, "sleep 0.2; exit 6\n"])) as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        run = await each_agent.run(SCRIPT)
    assert run.status == 6, api.log
    assert "-----> Processes that were left running are ended.\n" in api.log
    assert [way for time, way in zip(times, WAYS_TO_STAY, strict=True) if is_running(time)] == []
    written = outside.stat().st_size
    await asyncio.sleep(0.1)
    assert outside.stat().st_size == written


def needs_namespaces() -> None:
    """A user needs a user namespace for the others."""
    user = () if os.geteuid() == 0 else ("--user", "--map-current-user")
    if subprocess.run(("unshare", *user, "--pid", "--fork", "true"), check=False).returncode:
        why = "this machine gives its users no namespaces"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


# busybox has an unshare of its own, which cannot.
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
async def test_in_a_pid_namespace_not_even_an_empty_environment_escapes(tmp_path: Path, shell: str) -> None:
    needs_namespaces()
    agent = Agent(tmp_path, shell)
    forever = long_time()
    agent.give("unshare")
    async with shuttle(f"env -i /usr/bin/setsid /usr/bin/sleep {forever} & sleep 0.1\n") as api:
        agent.url = api.url
        await agent.run(SCRIPT)
    assert "left running" in api.log
    assert not is_running(forever)


async def test_a_supervisor_that_is_killed_leaves_no_build_behind(each_agent: Agent) -> None:
    times = [long_time(), long_time()]
    script = f"trap '' TERM\nsleep {times[0]} &\necho begun\nwhile :; do sleep {times[1]}; done\n"
    async with shuttle(script) as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        step = await each_agent.start(SCRIPT)
        await until(lambda: "begun\n" in api.log)
        step.process.kill()
        async with asyncio.timeout(10):
            while any(map(is_running, times)):
                await asyncio.sleep(0.05)
        await step.ended()


async def test_a_build_that_kills_its_runner_ends(agent: Agent) -> None:
    async with shuttle("echo begun; kill -KILL $PPID; sleep 0.1\n") as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (137, {"main": 137})


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_to_the_shell_alone_stops_the_build_too(agent: Agent, signal_number: int) -> None:
    forever = long_time()
    async with shuttle(f"echo begun; sleep {forever}\n") as api:
        agent.url = api.url
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        os.kill(step.process.pid, signal_number)
        assert (await step.ended()).status == 143
    assert not is_running(forever)


def test_no_script_of_the_agents_names_a_path_outside_of_its_own() -> None:
    """Nothing goes to /tmp, where other users of the agent could see it."""
    for path in Path("jenkins_pipelines/shell").glob("*.sh"):
        assert "/tmp" not in path.read_text(), path
