"""Hostile builds that rewrite, replace, remove and read everything that they can reach."""

import asyncio
import base64
import time

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment
from tests.support.agent_api import BUILD_UUID, RUN_TOKEN, SETUP_TOKEN, AgentApi, source_archive
from tests.support.image_builder import DIGEST, Notes, builder_program
from tests.unit.pipelines.agent import Agent, everything_under, is_running, long_time
from tests.unit.pipelines.builds import SCRIPT, shuttle

IMAGE = PIPELINES["docker-image"].build(PIPELINES["docker-image"].Options())
PASSWORD = "s3cr3t-of-the-registry"
ENCODED = base64.b64encode(f"user:{PASSWORD}".encode()).decode()

# The build token is not searched for: it stays in the environment of the step's first process. After `begin` it can
# only claim further branches, which get no credentials.
READ_EVERYTHING = f"""\
for secret in {SETUP_TOKEN[:-1]}[{SETUP_TOKEN[-1]}] {RUN_TOKEN[:-1]}[{RUN_TOKEN[-1]}] {ENCODED[:-1]}[{ENCODED[-1]}] \
{PASSWORD[:-1]}[{PASSWORD[-1]}]; do
  if grep -slae "$secret" /proc/[0-9]*/environ /proc/[0-9]*/cmdline; then echo found; fi
  if grep -rlae "$secret" HOME; then echo found; fi
done
"""


async def test_script_file_rewritten_by_the_build_is_not_run(each_agent: Agent) -> None:
    done = each_agent.home / "done"
    build = f"yes 'touch {done}' | head -c 100000 >{each_agent.script_file}; mkdir dist; echo x >dist/file\n"
    each_agent.give("yes", "head", "touch")
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console
    assert api.artifacts == {"file": b"x\n"}
    assert not done.exists()


async def test_programs_that_a_build_prepends_to_path_are_not_run(each_agent: Agent) -> None:
    mine = each_agent.home / "mine"
    mine.mkdir()
    done = each_agent.home / "done"
    names = " ".join(path.name for path in each_agent.programs.iterdir())
    build = f"""\
printf '#!/bin/sh\\necho "$0 $*" >>{done}\\n' >{mine}/fake; chmod 755 {mine}/fake
for name in {names} true unshare; do ln -s fake {mine}/$name; done
exec 2>/dev/null
/bin/mkdir dist; echo x >dist/file
exit 9
"""
    each_agent.give("ln")
    each_agent.environment = {"PATH": f"{mine}:{each_agent.programs}"}
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (9, {"main": 9})
    assert not done.exists(), done.read_text()


async def test_removing_folders_loses_neither_log_nor_exit_status(each_agent: Agent) -> None:
    build = "echo one; sleep 0.2; rm -rf ../../workspace@* ../shuttle; echo two; sleep 0.3; echo three; exit 4\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (4, {"main": 4})
    assert api.log.startswith("-----> Running build.sh\none\ntwo\nthree\n")
    assert list(each_agent.home.glob("workspace*")) == [each_agent.workspace]


async def test_forged_files_outside_of_the_source_have_no_effect(each_agent: Agent) -> None:
    build = """\
mkdir -p ../shuttle
for folder in ../shuttle ../../workspace@*; do
  for name in status report.json builder digest failure local_images log marker claimed; do
    echo 'ended 0' >$folder/$name
  done
done
exit 5
"""
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (5, {"main": 5})
    assert api.log == "-----> Running build.sh\n-----> build.sh ended with exit status 5.\n"
    assert api.reports["failure"]["reason"] == "build_failed"


async def test_build_finds_no_token_in_processes_and_files(each_agent: Agent) -> None:
    build = READ_EVERYTHING.replace("HOME", str(each_agent.home)) + "cat /proc/$PPID/cmdline >/dev/null && echo read\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert api.log == "-----> Running build.sh\nread\n", api.log
    assert run.status == 0


async def test_no_command_line_of_a_call_has_a_token(each_agent: Agent) -> None:
    seen = each_agent.home / "command_lines"
    each_agent.program("curl", f'#!/bin/sh\nprintf "%s\\n" "$@" >>"{seen}"\nexec /usr/bin/curl "$@"\n')
    async with shuttle("echo hello\n") as api:
        each_agent.url = api.url
        await each_agent.run(SCRIPT)
    said = seen.read_text()
    assert "/claim\n" in said
    assert "/begin\n" in said
    assert "Bearer" not in said
    assert not [token for token in (SETUP_TOKEN, RUN_TOKEN) if token in said]


async def test_links_and_special_files_in_dist_are_skipped(each_agent: Agent) -> None:
    each_agent.give("mkfifo", "ln", "mknod")
    build = """\
mkdir dist dist/folder
echo x >dist/file
mkfifo dist/fifo
mknod dist/device c 1 5
ln -s ../build.sh dist/link
ln -s /etc dist/folder/link
"""
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console + api.log
    assert api.artifacts == {"file": b"x\n"}


async def test_script_build_finds_no_registry_credentials(agent: Agent) -> None:
    with_registry = AgentEnvironment(
        app_id="app", build_id="1", build_uuid=BUILD_UUID, registries={"registry.example": ("user", PASSWORD)}
    )
    build = "#!/bin/sh\n" + READ_EVERYTHING.replace("HOME", str(agent.home))
    async with AgentApi(with_registry, source_archive({"build.sh": build})) as api:
        agent.url = api.url
        await agent.run(SCRIPT)
    assert api.log == "-----> Running build.sh\n"


async def test_run_in_a_dockerfile_finds_no_credentials_and_cannot_change_the_push(each_agent: Agent) -> None:
    """The fake builder runs RUN as a normal process, without any isolation."""
    each_agent.program("buildah", builder_program("buildah", f"{each_agent.home}/notes"))
    notes = Notes(each_agent.home / "notes")
    destination = "registry.example/org/app:1.0"
    wanted = AgentEnvironment(
        app_id="app",
        build_id="1",
        build_uuid=BUILD_UUID,
        destinations=[destination],
        registries={destination: ("user", PASSWORD)},
    )
    attack = READ_EVERYTHING.replace("HOME", str(each_agent.home / "workspace@*"))
    attack += "for f in ../../workspace@*; do echo evil/image:1 >$f/reference; echo sha256:0 >$f/digest; done\n"
    files = {"Dockerfile": "FROM scratch\nRUN sh ./attack.sh\n", "attack.sh": attack}
    async with AgentApi(wanted, source_archive(files)) as api:
        each_agent.url = api.url
        run = await each_agent.run(IMAGE)
    assert run.status == 0, run.console + api.log
    assert "found" not in api.log, api.log
    assert api.reports["image"]["image"] == destination
    assert api.reports["image"]["digest"] == DIGEST
    assert [call[-1] for call in notes.calls if call[1] == "push"] == [f"docker://{destination}"]
    assert everything_under(each_agent.workspace) == []


async def test_forged_marker_files_do_not_block_the_next_build(each_agent: Agent) -> None:
    async with shuttle("mkdir ../../workspace@shuttle-x; mkfifo ../../workspace@shuttle-x/marker\n") as api:
        each_agent.url = api.url
        assert (await each_agent.run(SCRIPT)).status == 0
    async with shuttle("echo next\n") as api, asyncio.timeout(20):
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (0, {"main": 0}), run.console
    assert list(each_agent.home.glob("workspace@shuttle*")) == []


async def test_collector_stopped_by_the_build_still_delivers_and_ends(each_agent: Agent) -> None:
    """The build finds the collector by the pipe that is its own standard output."""
    stop = (
        "for process in /proc/[0-9]*; do\n"
        "  [ /proc/$$/fd/1 -ef $process/fd/0 ] && kill -STOP ${process#/proc/}\n"
        "done\necho 'the last word'\n"
    )
    async with shuttle(stop) as api, asyncio.timeout(20):
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (0, {"main": 0}), run.console
    assert "the last word\n" in api.log
    async with asyncio.timeout(5):
        while each_agent.processes():
            await asyncio.sleep(0.05)


async def test_unreadable_folders_of_a_build_are_removed(each_agent: Agent) -> None:
    each_agent.obeys_permissions = True
    build = "for folder in ../../workspace@*; do mkdir -p $folder/a/b; chmod 0 $folder/a; done\n"
    async with shuttle(build) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (0, {"main": 0}), run.console
    assert "does not answer" not in run.console
    assert list(each_agent.home.glob("workspace*")) == [each_agent.workspace]


async def test_runner_stopped_by_the_build_still_reports_the_exit_status(each_agent: Agent) -> None:
    async with shuttle("kill -STOP $PPID; exit 3\n") as api, asyncio.timeout(20):
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (3, {"main": 3}), run.console


async def test_forged_pid_of_the_runner_has_no_effect(each_agent: Agent) -> None:
    """The supervisor signals that pid: a build in a pid namespace could have it kill what the build cannot see."""
    async with shuttle("echo 'runner 4194303' >>/proc/$PPID/fd/5; sleep 0.5; exit 3\n") as api, asyncio.timeout(20):
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (3, {"main": 3}), run.console


async def test_argument_with_the_name_of_the_marker_hides_no_process(each_agent: Agent) -> None:
    forever = long_time()
    async with shuttle(f"setsid sleep {forever} &\nsleep 0.1\n", {"SHUTTLE_RUN": "mine"}) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert run.status == 0, run.console
    assert not is_running(forever)


@pytest.mark.slow
async def test_stop_ends_the_upload_of_a_dist_full_of_links(each_agent: Agent) -> None:
    links = "mkdir dist; i=0; while [ $i -lt 2000 ]; do ln -s nowhere dist/$i; i=$((i+1)); done\n"
    each_agent.give("ln")
    async with shuttle(links) as api, asyncio.timeout(100):
        each_agent.url = api.url
        step = await each_agent.start(SCRIPT)
        await api.until(lambda: "artifacts begin" in api.stages)
        began = time.monotonic()
        step.stop_as_jenkins_does()
        await step.ended()
    assert time.monotonic() - began < 8
    assert api.ends == {"main": 143}


@pytest.mark.slow
async def test_folder_nested_too_deep_in_dist_fails_with_a_reason(each_agent: Agent) -> None:
    deep = "mkdir dist; cd dist; i=0; while [ $i -lt 1200 ]; do mkdir d; cd d; i=$((i+1)); done; echo x >file\n"
    async with shuttle(deep) as api:
        each_agent.url = api.url
        run = await each_agent.run(SCRIPT)
    assert (run.status, api.ends) == (1, {"main": 1}), run.console
    assert api.reports["failure"]["reason"] == "artifact_refused"
