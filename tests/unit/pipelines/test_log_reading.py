"""The supervisor reads its log although a program that it needs for that fails: by TERM, or because of a full disk."""

import asyncio

import pytest

from tests.unit.pipelines.agent import Agent, only_step
from tests.unit.pipelines.builds import RUNNING, SCRIPT, shuttle

# Functions that stand for programs of the agent. A TERM ends them while `fails` holds.
DD_KILLED = 'dd() { case $* in *count=16) ! fails || return 143 ;; esac; command "$dd_path" "$@"; }'
SEEK_KILLED = 'dd() { case $* in *skip=*) ! fails || return 143 ;; esac; command "$dd_path" "$@"; }'
CUT_KILLED = 'dd() { case $* in *seek=*) ! fails || return 143 ;; esac; command "$dd_path" "$@"; }'
WC_KILLED = 'wc() { ! fails || return 143; command "$wc_path" "$@"; }'
LS_KILLED = 'ls() { ! fails || return 143; command "$ls_path" "$@"; }'
# Each chunk fills the disk after 7 bytes.
DISK_FULL = """\
dd() {
  case $* in
    *count=16) command "$dd_path" bs=7 count=1 && [ ! -s "$chunk" ] ;;
    *) command "$dd_path" "$@" ;;
  esac
}
"""
FAULTS = {
    "dd is killed": DD_KILLED,
    "dd is killed before it has a position": SEEK_KILLED,
    "wc is killed": WC_KILLED,
    "the disk is full": DISK_FULL,
}


def script_with(fault: str, condition: str) -> str:
    """The step of the pipeline `script`; while the condition holds, the fault comes twice."""
    fails = f"fails() {{ {condition} && [ ! -e ../2 ] && {{ [ ! -e ../1 ] || : >../2; : >../1; }}; }}"
    start = 'eval "$library"\n'
    script = only_step(SCRIPT).script
    assert start in script
    return script.replace(start, f"{start}{fails}\n{fault}\n")


# The supervisor has a deadline from the end of the build on.
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
async def test_log_is_complete_although_it_could_not_be_read_at_once(
    each_agent: Agent, fault: str, ended: bool
) -> None:
    condition = f'[ -{"n" if ended else "z"} "$deadline" ]'
    build = f"echo one; while [ ! -e {each_agent.home}/go ]; do sleep 0.1; done; echo two; exit 3\n"
    async with shuttle(build) as api, asyncio.timeout(25):
        each_agent.url = api.url
        step = await each_agent.start_script(script_with(FAULTS[fault], condition))
        await api.until(lambda: "one\n" in api.log)
        (each_agent.home / "go").touch()
        run = await step.ended()
    assert (run.status, api.ends) == (3, {"main": 3}), run.console
    assert api.log == f"{RUNNING}one\ntwo\n-----> build.sh ended with exit status 3.\n"
    assert not api.late


@pytest.mark.parametrize("fault", [CUT_KILLED, LS_KILLED], ids=["dd is killed", "ls is killed"])
async def test_stages_have_their_place_in_the_log_although_a_program_was_killed(each_agent: Agent, fault: str) -> None:
    """Neither the log nor the end of the stage arrives at first, so the log has to be cut there."""
    build = (
        f"echo one; while [ ! -e {each_agent.home}/go ]; do sleep 0.1; done; mkdir dist; echo >dist/file; echo two\n"
    )
    async with shuttle(build) as api, asyncio.timeout(25):
        each_agent.url = api.url
        step = await each_agent.start_script(script_with(fault, "[ -e ../go ]"))
        await api.until(lambda: "one\n" in api.log)
        api.held["file"] = asyncio.Event()
        api.faults["progress"].extend([503] * 3)
        api.faults["log"].extend([503] * 100)
        (each_agent.home / "go").touch()
        await api.until(lambda: "file" in api.waiting)
        api.faults["log"].clear()
        api.held.pop("file").set()
        assert (await step.ended()).status == 0
    built = len(f"{RUNNING}one\ntwo\n")
    assert [event["offset"] for event in api.progress] == [0, 0, 0, built, built, len(api.log)]
    assert api.log == f"{RUNNING}one\ntwo\n-----> Uploading file\n"
    assert not api.late
