"""The supervisor's log: every byte of a build reaches the shuttle."""

import asyncio
import functools
import random
import shutil
from pathlib import Path

import pytest

from jenkins_pipelines.shell_scripts import text
from tests.support.agent_api import Cut, CutHeaders, NoOffset
from tests.unit.pipelines.agent import Agent
from tests.unit.pipelines.builds import RUNNING, SCRIPT, shuttle, until

BYTES = {
    "nothing": b"",
    "no final newline": b"one\ntwo",
    "newlines": b"\n\n\n",
    "every byte": bytes(range(256)) * 2,
    "progress bars": b"1%\r2%\r\r\n100%\r\n",
    "invalid utf-8": b"\xff\xfe\xc3\n\xe2\x82",
    "several chunks": random.Random(0).randbytes(9_000_001),
}

# A `cat` for which the disk is full if it is the collector: without arguments, and with a file as its output.
FULL_DISK = """#!/bin/sh
if [ $# != 0 ] || [ ! -f /proc/$$/fd/1 ]; then exec {cat} "$@"; fi
dd bs=1024 count=4 2>/dev/null
exit 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", BYTES)
async def test_every_byte_of_the_log_arrives(each_agent: Agent, kind: str) -> None:
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


async def test_output_arrives_while_the_build_runs_even_without_newline(each_agent: Agent) -> None:
    build = f"for n in 1 2 3; do printf .; while [ ! -e {each_agent.home}/$n ]; do sleep 0.1; done; done\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        for count in (1, 2, 3):
            await api.until(functools.partial(api.has_logged, RUNNING + "." * count))
            (each_agent.home / str(count)).touch()
        assert (await step.ended()).status == 0


async def test_log_arrives_in_order_after_an_outage_of_the_shuttle(each_agent: Agent) -> None:
    home = each_agent.home
    each_agent.give("seq", "touch")
    build = f"echo one; while [ ! -e {home}/away ]; do sleep 0.1; done; seq 2000; touch {home}/ran; exit 3\n"
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


async def test_log_is_sent_again_after_the_shuttle_lost_its_disk(each_agent: Agent) -> None:
    each_agent.give("seq")
    build = f"seq 500000; echo half; while [ ! -e {each_agent.home}/lost ]; do sleep 0.1; done; echo end\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: api.logs["main"].endswith(b"half\n"))
        whole = api.log
        api.logs["main"].clear()
        (each_agent.home / "lost").touch()
        assert (await step.ended()).status == 0
    assert api.log == whole + "end\n"


async def test_pushes_shrink_until_a_proxy_accepts_them(each_agent: Agent) -> None:
    """nginx accepts bodies of 1 MiB by default."""
    output = random.Random(0).randbytes(5_000_001)
    async with shuttle("cat output\n", output=output) as api:
        each_agent.url = api.url
        api.most_push_bytes = 1024 * 1024
        run = await each_agent.run(SCRIPT)
    assert bytes(api.logs["main"]) == RUNNING.encode() + output
    assert (run.status, api.ends) == (0, {"main": 0})


@pytest.mark.slow
@pytest.mark.parametrize("faults", [(NoOffset, 500, CutHeaders), (401, Cut, 404)])
async def test_failed_pushes_neither_lose_nor_duplicate_a_byte(each_agent: Agent, faults) -> None:
    build = "for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.05; done\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        api.faults["log"].extend(faults)
        run = await each_agent.run(SCRIPT)
    assert api.log == RUNNING + "".join(f"{number}\n" for number in range(1, 9))
    assert (run.status, api.ends) == (0, {"main": 0})
    assert not api.faults["log"]


async def test_claim_with_lost_response_is_repeated_with_the_same_nonce(agent: Agent) -> None:
    async with shuttle("echo hello\n") as api:
        agent.url = api.url
        api.faults["claim"].extend([CutHeaders, Cut])
        assert (await agent.run(SCRIPT)).status == 0
    assert len(api.nonces[0]) == 32
    assert len(set(api.nonces)) == 1


async def test_stages_are_reported_with_their_state_and_their_place_in_the_log(each_agent: Agent) -> None:
    async with shuttle("mkdir dist; echo >dist/file; printf unfinished\n") as api:
        each_agent.url = api.url
        assert (await each_agent.run(SCRIPT)).status == 0
    size = len(RUNNING) + len("unfinished")
    assert [(event["stage"], event.get("state"), event["offset"]) for event in api.progress] == [
        ("fetch", 10, 0),
        ("fetch", None, 0),
        ("build", 20, 0),
        ("build", None, size),
        ("artifacts", 95, size),
        ("artifacts", None, len(api.log)),
    ]
    assert not api.late


async def test_parallel_branch_has_its_own_claim_and_stream(agent: Agent) -> None:
    async with shuttle("echo hello\n") as api:
        agent.url = api.url
        agent.environment = {"SHUTTLE_BRANCH": "linux.x86-64"}
        assert (await agent.run(SCRIPT)).status == 0
    assert api.branches == ["linux.x86-64"]
    assert api.logs["linux.x86-64"].endswith(b"hello\n")
    assert api.ends == {"linux.x86-64": 0}


@pytest.mark.slow
async def test_silent_build_makes_no_further_calls(agent: Agent) -> None:
    async with shuttle("sleep 1.5\n") as api:
        agent.url = api.url
        await agent.run(SCRIPT)
    assert [size for _, _, size in api.pushes] == [len(RUNNING), 0], "the first line, and the end"


@pytest.mark.slow
async def test_log_above_its_limit_does_not_fill_the_disk_of_the_agent(each_agent: Agent) -> None:
    size = each_agent.home / "size"
    each_agent.give("head", "readlink", "seq")
    build = f"""\
head -c 300000 /dev/zero
while [ ! -e {each_agent.home}/full ]; do sleep 0.1; done
head -c 30000000 /dev/zero
# The file is truncated between two pushes; on a loaded machine one takes seconds.
for look in $(seq 100); do
  for fd in /proc/$PPID/fd/4 /proc/[0-9]*/fd/4; do
    case $(readlink $fd) in {each_agent.home}/*log*) wc -c <$fd >{size} ;; esac
  done
  [ "$(cat {size})" -ge 1000000 ] || break
  sleep 0.2
done
exit 5
"""
    async with shuttle(build) as api:
        each_agent.url = api.url
        api.claim_answer = {"log": {"max_bytes": 100_000}}
        step = await each_agent.start(SCRIPT)
        # On a loaded machine the first push may have only a part of them, and beyond the limit nothing more is sent.
        await api.until(lambda: len(api.log) > 100_000)
        (each_agent.home / "full").touch()
        run = await step.ended()
    assert (run.status, api.ends) == (5, {"main": 5})
    # Its chunks are smaller than the largest one, so the file has to be truncated for its limit alone.
    assert int(size.read_text()) < 1_000_000, "what was sent before the limit, and what came since the last cut"
    assert len(api.logs["main"]) < 1_000_000


async def test_full_disk_of_the_agent_fails_the_build_with_a_reason(agent: Agent) -> None:
    agent.program("cat", FULL_DISK.format(cat=shutil.which("cat")))
    # A program that ignores the broken pipe would otherwise succeed with only a part of its log.
    build = "trap '' PIPE; n=0; while [ $n -lt 5000 ]; do echo 'one of many lines' || :; n=$((n + 1)); done; exit 0\n"
    async with shuttle(build) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1})
    assert api.reports["failure"]["reason"] == "output_lost"
    assert api.log.startswith(RUNNING + "one of many lines\n")
    assert api.log.endswith("-----> The agent could not write all of the build's output; free space on its disk.\n")


async def test_push_leaves_no_process_behind(each_agent: Agent) -> None:
    """The watcher of the log's growth has a `sleep` as child process; here it would last for a minute."""
    functions = text("calls") + text("log") + "nap() { sleep 60; }\n"
    setup = f"trap 'terminated=1' TERM INT HUP\ncollector=$$ paused='' watcher='' work={each_agent.home}\nopen_log\n"
    watched = 'until grep -qsE "^[0-9]+ \\(.*\\) . $watcher " /proc/[0-9]*/stat; do :; done\n'
    script = f"#!/bin/sh\n{functions}{setup}watch_growth\n{watched}unwatch_growth\n"
    assert await each_agent.script(script) == (0, b"")
    async with asyncio.timeout(10):  # a busy machine ends a killed process later than its parent
        await until(lambda: not each_agent.processes())


async def test_push_that_ends_at_once_ends_its_watcher(each_agent: Agent) -> None:
    """A process that was just forked can lose a TERM; then waiting for its end would never return."""
    functions = text("calls") + text("log")
    tries = "for n in 1 2 3 4 5 6 7 8 9 10; do watch_growth; unwatch_growth; done\n" * 50
    setup = f"trap 'terminated=1' TERM INT HUP\ncollector=$$ paused='' watcher='' work={each_agent.home}\n"
    async with asyncio.timeout(20):
        assert await each_agent.script("#!/bin/sh\n" + functions + setup + tries) == (0, b"")


def test_agent_scripts_write_nothing_to_tmp() -> None:
    """Other users of the agent can read /tmp. What packer writes there is in a folder that they cannot open."""
    scripts = {path.name: path.read_text() for path in Path("jenkins_pipelines/shell").glob("*.sh")}
    assert [name for name, script in scripts.items() if "/tmp" in script] == ["claim.sh"]
    assert 'mkdir -m 700 "$temporary"' in scripts["packer.sh"]
