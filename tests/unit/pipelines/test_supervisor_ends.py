"""The end of the supervisor: it has the build's exit status, and no process of the build survives it."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support.agent_api import NoOffset
from tests.support.processes import files_of_processes
from tests.unit.pipelines.agent import (
    SHELLS,
    Agent,
    end_processes,
    everything_under,
    is_running,
    long_time,
    only_step,
    processes_with,
)
from tests.unit.pipelines.builds import RUNNING, SCRIPT, shuttle, until
from tests.unit.pipelines.namespaces import needs_namespaces


def nothing_is_left(agent: Agent) -> bool:
    return list(agent.home.glob("workspace*")) == [agent.workspace] and not everything_under(agent.workspace)


@pytest.mark.parametrize(("build", "status"), [("exit 42", 42), ("nosuchprogram", 127)])
@pytest.mark.parametrize("namespace", [False, True])
async def test_exit_status_is_that_of_the_build(each_agent: Agent, build: str, status: int, namespace: bool) -> None:
    if namespace:
        each_agent.give("unshare")
    async with shuttle(f"{build}\n") as api:
        each_agent.url = api.url
        api.faults["log"].append(NoOffset)
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (status, {"main": status}), api.log
    assert api.reports["failure"]["message"] == f"build.sh ended with exit status {status}."


KILLED = {"TERM": 143, "KILL": 137, "INT": 130, "QUIT": 131, "ABRT": 134, "USR1": 138}


@pytest.mark.parametrize("namespace", [False, True])
@pytest.mark.parametrize("name", KILLED)
async def test_build_killed_by_a_signal_adds_nothing_to_its_log(each_agent: Agent, name: str, namespace: bool) -> None:
    if namespace:
        each_agent.give("unshare")
    async with shuttle(f"ulimit -c 0; printf partial; kill -{name} $$; echo deaf\n") as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (KILLED[name], {"main": KILLED[name]}), api.log
    assert api.log == RUNNING + f"partial\n-----> build.sh ended with exit status {KILLED[name]}.\n"
    assert api.reports["failure"]["message"] == f"build.sh ended with exit status {KILLED[name]}."


@pytest.mark.parametrize("namespace", [False, True])
async def test_build_can_catch_every_signal(each_agent: Agent, namespace: bool) -> None:
    """A shell starts background commands with INT and QUIT ignored, and no shell below can change that."""
    if namespace:
        each_agent.give("unshare")
    build = 'for name in INT QUIT TERM HUP; do trap "echo caught $name" $name; kill -$name $$; done\n'
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0
    assert api.log == RUNNING + "caught INT\ncaught QUIT\ncaught TERM\ncaught HUP\n"


async def test_silent_build_calls_at_the_requested_interval_and_is_stopped(each_agent: Agent) -> None:
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


async def test_build_that_suspended_itself_can_clean_up_at_a_stop(each_agent: Agent) -> None:
    async with shuttle("trap 'echo caught; exit 7' TERM; echo begun; kill -STOP $$\n") as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        step.stop_as_jenkins_does()
        run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143})
    assert api.log.endswith("The build is stopped.\ncaught\n")


# Counts how often TERM comes. It takes blocked signals one by one: a shell, or a handler in Python, would count two
# that come in quick succession as one.
_COUNT = """\
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("begun", sys.argv[1], flush=True)
signal.sigwait({signal.SIGTERM})
again = signal.sigtimedwait({signal.SIGTERM}, 0.4)
print(sys.argv[1], "got", "two" if again else "one", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("namespace", [False, True])
async def test_stop_sends_each_process_a_single_term(each_agent: Agent, namespace: bool) -> None:
    """Some programs take a second TERM as an order to exit at once, without finishing their work."""
    if namespace:
        each_agent.give("unshare")
    # With pauses between the signals, as on a busy machine.
    slow_kill = 'kill() { command kill "$@"; sleep 0.05; }\n'
    slow = only_step(SCRIPT).script.replace("end_by() {", f"{slow_kill}end_by() {{")
    count = f"{sys.executable} count"
    build = f"{count} leader & {count} group & setsid {count} session & wait\n"
    async with shuttle(build, count=_COUNT.encode()) as api, asyncio.timeout(25):
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 3}
        step = await each_agent.start_script(slow)
        await api.until(lambda: api.log.count("begun") == 3)
        step.stop_as_jenkins_does()
        await step.ended()
    assert [line for line in sorted(api.log.splitlines()) if " got " in line] == [
        "group got one",
        "leader got one",
        "session got one",
    ]


@pytest.mark.slow
async def test_build_that_ignores_term_is_killed_after_the_grace_period(each_agent: Agent) -> None:
    forever = long_time()
    async with shuttle(f"trap '' TERM; echo begun; sleep {forever}; sleep {forever}\n") as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        began = time.monotonic()
        step.stop_as_jenkins_does()
        run = await step.ended()
    assert 1 <= time.monotonic() - began < 9
    assert (run.status, api.ends) == (143, {"main": 143})
    assert not is_running(forever)


@pytest.mark.parametrize("call", ["environment", "source.tar.gz", "begin", "progress", "file"])
async def test_stop_by_jenkins_is_reported_in_every_phase(each_agent: Agent, call: str) -> None:
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
    assert ("built\n" in api.log) == (call == "file")
    assert nothing_is_left(each_agent)


@pytest.mark.parametrize("killed_call", [True, False])
async def test_stop_by_jenkins_during_the_claim_is_reported(each_agent: Agent, killed_call: bool) -> None:
    """The shuttle has recorded the claim, so it waits for the supervisor to report the end."""
    async with shuttle("true\n") as api, asyncio.timeout(20):
        each_agent.url = api.url
        api.claim_recorded = asyncio.Event()
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: api.claims)
        if killed_call:
            step.stop_as_jenkins_does()
        else:
            os.kill(step.process.pid, signal.SIGTERM)
        api.claim_recorded.set()
        run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143}), run.console
    assert api.reports["end"]["reason"] == "aborted_in_jenkins"
    assert len(set(api.nonces)) == 1
    assert nothing_is_left(each_agent)


# busybox runs its own programs, so no test can replace them.
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
@pytest.mark.parametrize(("program", "call"), [("cat", "*app_id"), ("sed", "s/[[]*")])
async def test_stop_that_comes_while_a_variable_is_set_is_not_lost(
    tmp_path: Path, shell: str, program: str, call: str
) -> None:
    """bash 5.2 runs no trap between two `$(…)` of one command, and then cannot read the second one."""
    agent = Agent(tmp_path, shell)
    real = (agent.programs / program).readlink()
    stop = "read -r _ _ _ _ _ leader _ </proc/$$/stat; kill -TERM $leader"
    agent.program(program, f'#!/bin/sh\nfor last; do :; done\ncase $last in {call}) {stop} ;; esac\nexec {real} "$@"\n')
    async with shuttle("echo built; exit 3\n") as api, asyncio.timeout(20):
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert api.ends == {"main": 143 if program == "cat" else 3}, run.console
    assert run.status == api.ends["main"]


@pytest.mark.slow
async def test_stop_waits_for_a_process_that_is_just_being_started(agent: Agent) -> None:
    starting, forever = agent.home / "starting", long_time()
    real = (agent.programs / "sh").readlink()
    agent.program("sh", f'#!{real}\n[ "$3" != process ] || {{ : >{starting}; sleep 0.3; }}\nexec {real} "$@"\n')
    async with shuttle(f"sleep {forever}\n") as api:
        agent.url = api.url
        step = await agent.start(SCRIPT)
        await until(starting.exists)
        step.stop_as_jenkins_does()
        run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143})
    assert api.log == RUNNING + "-----> The build is stopped.\n"
    assert not is_running(forever)
    assert nothing_is_left(agent)


async def test_stop_by_jenkins_ends_a_running_build(each_agent: Agent) -> None:
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


@pytest.mark.slow
async def test_setting_the_agent_clock_back_does_not_delay_a_stop(each_agent: Agent) -> None:
    forever = long_time()
    before = each_agent.home / "asked-before"
    real = shutil.which("date")
    each_agent.program(
        "date", f'#!/bin/sh\n[ -e {before} ] && exec {real} -d "1 hour ago" "$@"\n: >{before}\nexec {real} "$@"\n'
    )
    async with shuttle(f"trap '' TERM; echo begun; while :; do sleep {forever}; done\n") as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 0}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        before.unlink(missing_ok=True)
        step.stop_as_jenkins_does()
        async with asyncio.timeout(25):
            run = await step.ended()
    assert (run.status, api.ends) == (143, {"main": 143})
    assert not is_running(forever)


@pytest.mark.slow
async def test_superseded_attempt_ends(agent: Agent) -> None:
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


@pytest.mark.slow
async def test_rest_of_the_log_and_the_end_are_sent_after_jenkins_has_reported_the_end(each_agent: Agent) -> None:
    """The shuttle says `over` then, but still accepts calls; here it refuses the last one at first."""
    output = b"0123456789abcde\n" * 600_000
    build = "trap 'cat output; exit 7' TERM; echo begun; while :; do sleep 0.05; done\n"
    async with shuttle(build, output=output) as api, asyncio.timeout(25):
        each_agent.url = api.url
        api.idle_seconds = "0.1"
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        api.held["progress"] = asyncio.Event()
        api.stop_cause = "over"
        await api.until(lambda: "progress" in api.waiting)
        api.faults["log"].append(503)
        api.held.pop("progress").set()
        assert (await step.ended()).status == 143
    assert api.log.startswith(f"{RUNNING}begun\n-----> The build is stopped: over.\n")
    assert api.log.endswith(output.decode())
    assert api.ends == {"main": 143}


@pytest.mark.slow
async def test_rest_of_the_log_is_sent_in_the_background_after_a_stop(each_agent: Agent) -> None:
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


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
async def test_rest_of_the_log_is_sent_through_the_proxy_of_the_agents_environment(
    each_agent: Agent, variable: str
) -> None:
    """The host of this agent's shuttle has no address: the fake shuttle is reached only as a proxy."""
    async with shuttle(f"echo begun; sleep {long_time()}\n") as api:
        each_agent.url = "http://shuttle.invalid"
        each_agent.environment = {variable: api.url.replace("://", "://user:s3%20cr3t@"), "no_proxy": "localhost"}
        api.claim_answer = {"stop_grace_seconds": 0}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        await api.stop()
        step.stop_as_jenkins_does()
        await step.ended()
        assert not [command for command in commands_of(each_agent) if b"cr3t" in command]
        await api.start()
        async with asyncio.timeout(30):
            await api.until(lambda: api.ends)
    assert api.log == RUNNING + "begun\n-----> The build is stopped.\n"
    await until(lambda: nothing_is_left(each_agent))


@pytest.mark.slow
@pytest.mark.parametrize("ended", [False, True])
async def test_stop_by_jenkins_is_not_delayed_by_a_hanging_shuttle(each_agent: Agent, ended: bool) -> None:
    """Even if the build has already ended: without a stop, sending its end is retried for 15 minutes."""
    build = "echo begun; exit 3\n" if ended else f"trap '' TERM; echo begun; sleep {long_time()}; sleep 600\n"
    async with shuttle(build) as api, asyncio.timeout(25):
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        calls = {name: asyncio.Event() for name in ("progress", "report", "log")}
        if ended:
            api.held["report"] = calls["report"]
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "report" in api.waiting if ended else "begun" in api.log)
        api.held = dict(calls)
        began = time.monotonic()
        step.stop_as_jenkins_does()
        run = await step.ended()
        assert time.monotonic() - began < 9
        for call in calls.values():
            call.set()
        api.held.clear()
        await api.until(lambda: api.ends)
    assert api.ends == {"main": run.status}
    assert run.status == (3 if ended else 143)
    await until(lambda: nothing_is_left(each_agent))


@pytest.mark.slow
async def test_stop_with_the_longest_grace_and_a_hanging_shuttle_takes_fifteen_seconds_at_most(agent: Agent) -> None:
    """Jenkins waits 20 s. A hidden process keeps the build's output open."""
    hidden = long_time()
    build = (
        f"trap '' TERM; env -i $(command -v setsid) $(command -v sleep) {hidden} & echo begun; sleep 600; sleep 600\n"
    )
    async with shuttle(build) as api, asyncio.timeout(25):
        agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 10}
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        api.held = {name: asyncio.Event() for name in ("progress", "report", "log")}
        began = time.monotonic()
        step.stop_as_jenkins_does()
        await step.ended()
        took = time.monotonic() - began
        for call in api.held.values():
            call.set()
        api.held.clear()
        await api.until(lambda: api.ends)
    assert 10 <= took < 15
    end_processes(hidden)


@pytest.mark.slow
async def test_unreachable_shuttle_delays_the_end_only_once(each_agent: Agent) -> None:
    """The delay is not repeated at the boundaries of stages."""
    each_agent.limits = {"retry_seconds": 2}
    async with (
        shuttle(f"echo begun; while [ ! -e {each_agent.home}/away ]; do sleep 0.1; done; echo over\n") as api,
        asyncio.timeout(25),
    ):
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        await api.stop()
        began = time.monotonic()
        (each_agent.home / "away").touch()
        assert (await step.ended()).status == 0
        assert time.monotonic() - began < 5
        await api.start()
        await api.until(lambda: api.ends)
    assert api.log == RUNNING + "begun\nover\n"


@pytest.mark.slow
async def test_shuttle_lost_during_an_upload_is_awaited_only_once(agent: Agent) -> None:
    agent.limits = {"retry_seconds": 4}
    async with shuttle("mkdir dist; echo >dist/file\n") as api, asyncio.timeout(25):
        agent.url = api.url
        api.held["file"] = asyncio.Event()
        step = await agent.start(SCRIPT)
        await api.until(lambda: "file" in api.waiting)
        await api.stop()
        api.held.pop("file").set()
        began = time.monotonic()
        assert (await step.ended()).status == 1
        assert time.monotonic() - began < 8
        await api.start()
        await api.until(lambda: api.ends)
    assert api.reports["failure"]["reason"] == "artifact_refused"


def commands_of(agent: Agent) -> list[bytes]:
    """The command lines of the agent's processes."""
    found = []
    for file in files_of_processes("cmdline"):
        with contextlib.suppress(OSError):
            found.append(file.read_bytes())
    return [command for command in found if str(agent.home).encode() in command]


async def test_build_that_removes_programs_of_the_agent_leaves_no_process_behind(each_agent: Agent) -> None:
    """Without `sleep` the calls have no pauses; the background sender was busy for 15 minutes."""
    gone = f"{each_agent.programs}/curl {each_agent.programs}/sleep"
    async with shuttle(f"rm {gone}\n") as api, asyncio.timeout(25):
        each_agent.url = api.url
        await each_agent.run(SCRIPT)
        await until(lambda: not commands_of(each_agent))


async def test_stages_that_could_not_be_reported_at_once_are_reported_later(each_agent: Agent) -> None:
    waiting = f"while [ ! -e {each_agent.home}/go ]; do sleep 0.1; done"
    build = f"mkdir dist; echo >dist/file; echo begun; {waiting}; printf unfinished\n"
    async with shuttle(build) as api, asyncio.timeout(25):
        each_agent.url = api.url
        calls = each_agent.home / "calls"
        each_agent.program("curl", f'#!/bin/sh\necho >>{calls}\nexec {shutil.which("curl")} "$@"\n')
        api.faults["progress"].extend([500, 502, 503])
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "build begin" in api.stages)
        await api.stop()
        (each_agent.home / "go").touch()
        await until(lambda: not is_running(str(each_agent.home / "go")))
        earlier_bytes = calls.stat().st_size
        # Two more calls: the second one began after the build's end.
        await until(lambda: calls.stat().st_size > earlier_bytes + 1)
        await api.start()
        assert (await step.ended()).status == 0
    assert api.stages == [
        "fetch begin",
        "fetch end succeeded",
        "build begin",
        "build end succeeded",
        "artifacts begin",
        "artifacts end succeeded",
    ]
    assert api.log == RUNNING + "begun\nunfinished\n-----> Uploading file\n"
    assert not api.late


async def test_refused_stage_reports_do_not_delay_the_build(agent: Agent) -> None:
    async with shuttle("echo built\n") as api, asyncio.timeout(25):
        agent.url = api.url
        api.faults["progress"].extend([503] * 100)
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (0, {"main": 0})


@pytest.mark.slow
async def test_step_ends_once_the_background_sender_has_its_own_environment(agent: Agent) -> None:
    """Jenkins kills processes that have the step's environment; in this test the window for that is half a second."""
    agent.program("env", f'#!/bin/sh\nsleep 0.5\nexec {shutil.which("env")} "$@"\n')
    async with shuttle(f"echo begun; sleep {long_time()}\n") as api:
        agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 0}
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        await api.stop()
        step.stop_as_jenkins_does()
        await step.ended()
        [folder] = agent.home.glob("workspace@shuttle-main-*")
        assert processes_with(f"SHUTTLE_FORWARDS={folder}")
        await api.start()
        await api.until(lambda: api.ends)
    await until(lambda: nothing_is_left(agent))


WAYS_TO_STAY = {
    "background": "{leave} &",
    "nohup": "nohup {leave} >/dev/null 2>&1 &",
    "setsid": "setsid {leave} &",
    "double fork": "( ( {leave} ) & )",
    "detached": "( setsid nohup {leave} <&- >&- 2>&- & )",
    "ignores signals": "( trap '' TERM HUP INT; {leave} & )",
    "empty environment": "env -i {sleep} &",
    "empty environment, group of its own": "env -i {timeout} 600 {leave} &",
    "empty environment, session of its own": "env -i {setsid} {sleep} &",
    "stopped": "{leave} & kill -STOP $!",
    "writer": "sh -c 'while :; do echo >>../written; sleep 0.01; done' {leave} &",
}


def _to_stay(way: str, time: str) -> str:
    sleep, setsid, timeout = map(shutil.which, ("sleep", "setsid", "timeout"))
    return way.format(leave=f"sleep {time}", sleep=f"{sleep} {time}", setsid=setsid, timeout=timeout)


@pytest.mark.slow
@pytest.mark.parametrize("namespace", [False, True])
async def test_processes_left_running_are_ended_and_logged(each_agent: Agent, namespace: bool) -> None:
    if namespace:
        each_agent.give("unshare")
    times = [long_time() for _ in WAYS_TO_STAY]
    ways = [_to_stay(way, time) for time, way in zip(times, WAYS_TO_STAY.values(), strict=True)]
    async with shuttle("\n".join([*ways, "sleep 0.2; exit 6\n"])) as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        run = await each_agent.run(SCRIPT)
    assert run.status == 6, api.log
    assert "-----> Processes that were left running are ended.\n" in api.log
    assert [way for time, way in zip(times, WAYS_TO_STAY, strict=True) if is_running(time)] == []


# The unshare of busybox cannot make such a namespace.
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
async def test_process_without_any_mark_cannot_escape_a_pid_namespace(tmp_path: Path, shell: str) -> None:
    needs_namespaces()
    agent = Agent(tmp_path, shell)
    forever = long_time()
    agent.give("unshare")
    other_limit = "if (ulimit -w 5) 2>/dev/null; then ulimit -w 5; else ulimit -x 5; fi"
    async with shuttle(f"{other_limit}\nenv -i /usr/bin/setsid /usr/bin/sleep {forever} & sleep 0.1\n") as api:
        agent.url = api.url
        await agent.run(SCRIPT)
    assert "left running" in api.log
    assert not is_running(forever)


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
async def test_build_with_empty_environment_can_clean_up_in_a_namespace(tmp_path: Path, shell: str) -> None:
    needs_namespaces()
    agent = Agent(tmp_path, shell)
    agent.give("unshare")
    other = long_time()
    build = (
        f"/usr/bin/setsid /usr/bin/env -i /bin/sh ./wait other {other} &\nexec /usr/bin/env -i /bin/sh ./wait itself\n"
    )
    wait = b"trap 'echo cleaned up $1; exit 7' TERM; echo begun $1; while :; do /bin/sleep 0.05; done\n"
    async with shuttle(build, wait=wait) as api, asyncio.timeout(25):
        agent.url = api.url
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun other" in api.log and "begun itself" in api.log)
        step.stop_as_jenkins_does()
        await step.ended()
    assert "cleaned up itself\n" in api.log
    assert "cleaned up other\n" in api.log
    assert not is_running(other)


async def test_runner_and_its_watchdog_end_with_the_user_process(each_agent: Agent) -> None:
    """The watchdog signals the pid of the user's process, which another process may have later."""
    async with shuttle("mkdir dist; echo >dist/file\n") as api, asyncio.timeout(25):
        each_agent.url = api.url
        api.held["file"] = asyncio.Event()
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "file" in api.waiting)
        await until(lambda: not [command for command in commands_of(each_agent) if b"\0runner\0" in command])
        api.held.pop("file").set()
        await step.ended()


@pytest.mark.slow
async def test_killed_supervisor_leaves_no_process_behind(each_agent: Agent) -> None:
    times = [long_time(), long_time(), long_time()]
    script = f"trap '' TERM\nsleep {times[0]} &\nsetsid sleep {times[1]} &\necho begun\nsleep {times[2]}\n"
    async with shuttle(script) as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        step = await each_agent.start(SCRIPT)
        await until(lambda: "begun\n" in api.log)
        step.process.kill()
        async with asyncio.timeout(25):
            while any(map(is_running, times)):
                await asyncio.sleep(0.05)
        await step.ended()


async def test_supervisor_killed_while_the_build_is_paused_leaves_no_process_behind(each_agent: Agent) -> None:
    paused_early = only_step(SCRIPT).script.replace("most_unsent=268435456", "most_unsent=100000")
    async with shuttle("while :; do echo 0123456789012345678901234567890123456789; done\n") as api:
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 0}
        step = await each_agent.start_script(paused_early)
        await api.until(lambda: "0123456789" in api.log)
        api.held["log"] = asyncio.Event()
        async with asyncio.timeout(20):
            await until(lambda: ("cat", "stopped") in _states(each_agent))
            step.process.kill()
            # The push, which still hangs, must not keep other processes alive.
            await until(lambda: "cat" not in {name for name, _ in _states(each_agent)})
            api.held.pop("log").set()
            await step.ended()
            await until(lambda: not each_agent.processes())


def _states(agent: Agent) -> set[tuple[str, str]]:
    """The names of all processes, and whether they are stopped."""
    states = set()
    for pid in agent.processes():
        with contextlib.suppress(OSError):
            lines = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines()[:3])
            states.add((lines["Name"], "stopped" if lines["State"].startswith("T") else "running"))
    return states


@pytest.mark.slow
@pytest.mark.parametrize("namespace", [False, True])
async def test_build_can_clean_up_after_the_supervisor_is_killed(each_agent: Agent, namespace: bool) -> None:
    """Both a daemon and the main process, which may have emptied its environment if it is in a pid namespace."""
    if namespace:
        each_agent.give("unshare")
    in_namespace = namespace and each_agent.shell != "busybox"  # its unshare cannot make the namespace
    emptied = "/usr/bin/env -i " if in_namespace else ""
    wait = "trap ': >$1-caught; exit 7' TERM; echo begun $1; while :; do /bin/sleep 0.05; done\n"
    build = f"cd ../..; setsid sh ./wait daemon &\nexec {emptied}/bin/sh ./wait main\n"
    (each_agent.home / "wait").write_text(wait)
    async with shuttle(build) as api, asyncio.timeout(25):
        each_agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 1}
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: api.log.count("begun") == 2)
        step.process.kill()
        await step.ended()
        await until(lambda: not each_agent.processes())
    assert {path.name for path in each_agent.home.glob("*-caught")} == {"daemon-caught", "main-caught"}


@pytest.mark.slow
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
async def test_stopped_daemon_in_a_namespace_gets_a_single_term(tmp_path: Path, shell: str) -> None:
    """The namespace's first process sends TERM to what a build leaves running, but not after a stop sent it."""
    needs_namespaces()
    agent = Agent(tmp_path, shell)
    agent.give("unshare")
    build = f"setsid {sys.executable} count daemon &\nwhile :; do sleep 0.05; done\n"
    async with shuttle(build, count=_COUNT.encode()) as api, asyncio.timeout(25):
        agent.url = api.url
        api.claim_answer = {"stop_grace_seconds": 3}
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        step.stop_as_jenkins_does()
        await step.ended()
    assert "daemon got one\n" in api.log


async def test_build_that_kills_its_runner_ends(agent: Agent) -> None:
    async with shuttle("echo begun; kill -KILL $PPID; sleep 0.1\n") as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (137, {"main": 137})


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signal_to_the_shell_alone_stops_the_build(agent: Agent, signal_number: int) -> None:
    forever = long_time()
    async with shuttle(f"echo begun; sleep {forever}\n") as api:
        agent.url = api.url
        step = await agent.start(SCRIPT)
        await api.until(lambda: "begun" in api.log)
        os.kill(step.process.pid, signal_number)
        assert (await step.ended()).status == 143
    assert not is_running(forever)
