"""The user's process gets every argument exactly, whatever its name and value, and no other program is affected."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jenkins_pipelines.environment import AgentEnvironment
from tests.support.agent_api import BUILD_UUID, TOKENS, AgentApi, source_archive
from tests.unit.pipelines.agent import SHELLS, Agent
from tests.unit.pipelines.builds import SCRIPT
from tests.unit.pipelines.hostile_names import HOSTILE_NAMES

# The kernel runs `/bin/cat /proc/self/environ ./build.sh`. It prints the exact environment, with a NUL after each
# variable, and then this line.
SHOW_ENVIRONMENT = "#!/bin/cat /proc/self/environ\n"
MARK = SHOW_ENVIRONMENT.encode()

# The loader warns about a value of LD_PRELOAD that is no library, in the middle of the output that the tests read.
names = st.one_of(
    st.sampled_from([name for name in HOSTILE_NAMES if name != "LD_PRELOAD"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True),
)
values = st.one_of(
    st.sampled_from(
        [
            "",
            "\n",
            "x\n\n",
            " a  b ",
            "$(touch pwned)",
            "`id`",
            "'\"\\",
            "-n",
            "=",
            "%s%n",
            "\ud800",
            "é\U0001f680",
            ".",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40),
)


async def environment_of_the_users_process(agent: Agent, arguments: dict[str, str]) -> dict[str, str]:
    """The environment of the user's process in a complete build, without the marker of the build's processes."""
    environment = AgentEnvironment(app_id="an app", build_id="b-1", build_uuid=BUILD_UUID, arguments=arguments)
    async with AgentApi(environment, source_archive({"build.sh": SHOW_ENVIRONMENT})) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    before, mark, after = bytes(api.logs["main"]).removeprefix(b"-----> Running build.sh\n").rpartition(MARK)
    assert (mark, after) == (MARK, b"")
    pairs = [pair.partition(b"=") for pair in before.split(b"\0")[:-1]]
    found = {name.decode(): value.decode("utf-8", "surrogatepass") for name, _, value in pairs}
    del found["SHUTTLE_RUN"]
    return found


def expected(agent: Agent, arguments: dict[str, str]) -> dict[str, str]:
    ordinary = {
        "PATH": str(agent.programs),
        "HOME": str(agent.home),
        "LANG": "C.UTF-8",
        "CI": "true",
        "SHUTTLE_APP_ID": "an app",
        "SHUTTLE_BUILD_ID": "b-1",
    }
    return ordinary | arguments


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(arguments=st.dictionaries(names, values, max_size=16))
async def test_user_process_gets_exactly_its_arguments(shell: str, arguments: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as home:
        agent = Agent(Path(home), shell)
        found = await environment_of_the_users_process(agent, arguments)
        assert found == expected(agent, arguments)


@pytest.mark.parametrize("shell", SHELLS)
async def test_user_process_gets_all_hostile_names_at_once(shell: str, tmp_path: Path) -> None:
    agent = Agent(tmp_path, shell)
    arguments = {name: f"/hostile '{name}'\n" for name in HOSTILE_NAMES} | {"LD_PRELOAD": "libc.so.6"}
    found = await environment_of_the_users_process(agent, arguments)
    assert found == expected(agent, arguments)


@pytest.mark.parametrize("shell", SHELLS)
async def test_build_with_hostile_arguments_ends_normally(shell: str, tmp_path: Path) -> None:
    """After the user's process the supervisor still has its token, its address and its programs."""
    agent = Agent(tmp_path, shell)
    # These three break the user's own shell and loader, as expected; this test needs a working one.
    spared = ("LD_PRELOAD", "PATH", "OPTIND")
    arguments = {name: "http://127.0.0.1:1/hostile" for name in HOSTILE_NAMES if name not in spared}
    build = '#!/bin/sh\nmkdir dist; printf %s "$SHUTTLE_TOKEN" >dist/token\n'
    environment = AgentEnvironment(app_id="a", build_id="1", build_uuid=BUILD_UUID, arguments=arguments)
    async with AgentApi(environment, source_archive({"build.sh": build})) as api:
        agent.url = api.url
        run = await agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.artifacts == {"token": b"http://127.0.0.1:1/hostile"}
    assert not any(token in run.console + api.log for token in TOKENS)


@pytest.mark.parametrize("shell", SHELLS)
async def test_long_argument_value_arrives_unchanged(shell: str, tmp_path: Path) -> None:
    agent = Agent(tmp_path, shell)
    arguments = {"LONG": "é" * 60_000, "N" * 300: "long name"}
    found = await environment_of_the_users_process(agent, arguments)
    assert found == expected(agent, arguments)
