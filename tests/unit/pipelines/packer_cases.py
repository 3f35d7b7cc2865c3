"""What the pipeline packer-image does with packer: tests for a stand-in, and in tests/real for packer itself.

Both provide the fixture `packer_agent`, an agent that has packer.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment
from tests.support.agent_api import BUILD_UUID, AgentApi, source_archive
from tests.unit.pipelines.agent import Agent, Run, everything_under

KIND = PIPELINES["packer-image"]
PACKER = KIND.build(KIND.Options())
SECRET = "s3cr3t \"quoted\" 'pass\\nword'"
TEXT = {"type": "file", "name": "text", "content": "{{user `greeting`}} to {{user `name`}}", "target": "out/text.txt"}
NULL = {"type": "null", "name": "docker-ubuntu", "communicator": "none"}
TEMPLATE: dict[str, Any] = {
    "variables": {"greeting": "hello", "name": None, "version": "{{env `version`}}"},
    "builders": [NULL, TEXT],
}


def shell_local(*commands: str) -> dict[str, Any]:
    """A template whose null builder runs these commands; the file builder does not."""
    return TEMPLATE | {"provisioners": [{"type": "shell-local", "only": ["docker-ubuntu"], "inline": list(commands)}]}


def shuttle(
    packer_json: dict[str, Any] | str = TEMPLATE,
    /,
    *,
    files: dict[str, bytes | str] | None = None,
    arguments: dict[str, str] | None = None,
    own: dict[str, str] | None = None,
    links: dict[str, str] | None = None,
    **options: Any,
) -> AgentApi:
    """A fake shuttle whose only build has this packer.json; `options` are those of the request."""
    arguments = {"name": "you"} if arguments is None else arguments
    checked = KIND.Options.model_validate(options).model_dump(mode="json")
    environment = AgentEnvironment(
        app_id="app",
        build_id="1",
        build_uuid=BUILD_UUID,
        arguments=arguments,
        variables=arguments | checked.pop("variables"),
        own_variables=own or {},
        options=checked,
    )
    text = packer_json if isinstance(packer_json, str) else json.dumps(packer_json)
    given = {"packer.json": text, "out/.keep": ""} | (files or {})
    return AgentApi(environment, source_archive(given, links=links))


async def run(agent: Agent, api: AgentApi) -> Run:
    async with api:
        agent.url = api.url
        return await agent.run(PACKER)


def reason(api: AgentApi) -> tuple[str, str]:
    failure = api.reports["failure"]
    return failure["reason"], failure["message"]


async def test_stages_log_and_file_of_a_build(packer_agent: Agent) -> None:
    api = shuttle(shell_local("echo 'one, two'; printf 'a\\\\nb\\n'"))
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    stages = ("fetch", "RunBerksVendor", "RunPacker", "KitchenTest", "DockerClean")
    assert api.stages == [text for stage in stages for text in (f"{stage} begin", f"{stage} end succeeded")]
    states = {(event["stage"], event["event"]): event["state"] for event in api.progress if "state" in event}
    assert [states[stage, "begin"] for stage in stages] == [10, 20, 25, 75, 95]
    assert states["RunPacker", "end"] == 50
    assert api.artifacts == {"out/text.txt": b"hello to you"}
    assert api.reports == {}, "the null builder's artifact is not listed"
    for text in (
        "-----> no Berksfile\n",
        "-----> Running packer on packer.json\n",
        "    docker-ubuntu: one, two\n",
        "    docker-ubuntu: a\\nb\n",
        "\n\n==> Builds finished. The artifacts of successful builds are:\n",
        "--> text: Stored file: out/text.txt\n",
        "-----> no .kitchen.yml\n",
        "-----> no image to remove\n",
    ):
        assert text in api.log
    assert "ui,say" not in api.log
    assert everything_under(packer_agent.workspace) == []
    assert list(packer_agent.home.glob("workspace*")) == [packer_agent.workspace]


async def test_arguments_are_variables_and_environment(packer_agent: Agent) -> None:
    value = 'a "b"\n$(id) {x} ü'
    api = shuttle(
        shell_local("echo version=$version api=$BLDST_API_URL"),
        arguments={"name": value, "version": "0.21", "BLDST_API_URL": "https://shuttle/-/state"},
        own={"greeting": "hi", "PATH": "/other"},
    )
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts["out/text.txt"].decode() == f"hi to {value}"
    assert "version=0.21 api=https://shuttle/-/state\n" in api.log


async def test_variables_are_not_in_the_environment(packer_agent: Agent) -> None:
    template = shell_local("env | grep -c sundial || :")
    template = template | {"variables": template["variables"] | {"my.name-1": ""}}
    api = shuttle(template, variables={"my.name-1": "sundial", "name": "x"}, arguments={})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert "    docker-ubuntu: 0\n" in api.log


async def test_undeclared_and_expanded_variables_are_named_in_the_log(packer_agent: Agent) -> None:
    api = shuttle(arguments={"name": "{{env `HOME`}}", "typo": "1", "other": "{{"}, own={"GIT_COMMIT": "1"})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    undeclared = "-----> The template declares no such variables, so packer does not get them: typo, other\n"
    assert undeclared in api.log
    assert "-----> packer expands {{…}} in the values of these variables: name\n" in api.log
    assert api.artifacts["out/text.txt"].decode() == f"hello to {packer_agent.home}"


@pytest.mark.parametrize(
    ("template", "request_", "expected", "sentence"),
    [
        (TEMPLATE, {"arguments": {}}, "variable_missing", "requires a value of: name;"),
        (TEMPLATE, {"only": "typo"}, "no_such_builder", "no builder of the name typo; it has: docker-ubuntu, text."),
        (TEMPLATE, {"except": ["docker-ubuntu", "text"]}, "nothing_built", "packer has built nothing"),
        (TEMPLATE, {"template": "other.json"}, "no_template", "The source has no other.json"),
        (TEMPLATE | {"builders": []}, {}, "template_invalid", "packer does not accept packer.json"),
        ("{", {}, "template_invalid", "packer does not accept packer.json"),
        ("{", {"validate": False}, "packer_failed", "packer ended with exit status 1"),
        (
            shell_local("exit 3"),
            {},
            "packer_failed",
            "packer could not build docker-ubuntu: Script exited with non-zero",
        ),
    ],
)
async def test_each_failure_has_its_reason(
    packer_agent: Agent, template: Any, request_: dict[str, Any], expected: str, sentence: str
) -> None:
    api = shuttle(template, **request_)
    ended = await run(packer_agent, api)
    assert ended.status != 0, api.log
    found, message = reason(api)
    assert found == expected, api.log
    assert sentence in message
    assert f"-----> {message}\n" in api.log
    assert api.stages[-2:] == ["RunPacker begin", "RunPacker end failed"]
    assert api.artifacts == {}


async def test_existing_builders_of_only_are_built_and_unknown_ones_named(packer_agent: Agent) -> None:
    api = shuttle(only=["text", "typo"])
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert "-----> The template has no builders of these names: typo. It has: docker-ubuntu, text\n" in api.log
    assert "Build 'docker-ubuntu'" not in api.log
    assert list(api.artifacts) == ["out/text.txt"]


async def test_files_of_keep_and_dist_are_uploaded_but_not_links(packer_agent: Agent) -> None:
    packer_agent.give("ln")
    commands = (
        "mkdir -p dist disks/a; printf 1 >dist/one; printf 2 >disks/a/two; printf 3 >'x y.iso'; ln -s /etc/passwd p.iso"
    )
    api = shuttle(shell_local(f"PATH=$PATH:/usr/bin:/bin; {commands}"), keep=["disks", "*.iso", "none*"])
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {
        "out/text.txt": b"hello to you",
        "one": b"1",
        "disks/a/two": b"2",
        "x y.iso": b"3",
    }
    assert "-----> Not uploaded, because it is a link: p.iso\n" in api.log
    assert "-----> No file matches the pattern in keep: none*\n" in api.log


async def test_missing_file_that_packer_lists_fails_the_build(packer_agent: Agent) -> None:
    provisioner = {"type": "shell-local", "only": ["text"], "inline": ["true"]}
    outside = packer_agent.home / "outside.txt"
    builders = [TEXT | {"target": str(outside)}]
    api = shuttle(TEMPLATE | {"builders": builders, "provisioners": [provisioner]})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert f"-----> Not uploaded, because it is not in the source's folder: {outside}\n" in api.log
    assert api.artifacts == {}


async def test_file_whose_target_has_empty_or_dot_parts_is_uploaded_once(packer_agent: Agent) -> None:
    targets = ("out//text.txt", "././out/.//.///text.txt", "/././/out/./two.txt", "out/./.three.")
    builders: list[dict[str, Any]] = [TEXT | {"name": target, "target": target} for target in targets]
    builders[2]["target"] = "{{pwd}}" + targets[2]
    files: dict[str, bytes | str] = {"disks/a/one": "1", "b/two.iso": "2"}
    api = shuttle(TEMPLATE | {"builders": builders}, files=files, keep=["disks/.//a/", "b//*.iso"])
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert sorted(api.artifacts) == ["b/two.iso", "disks/a/one", "out/.three.", "out/text.txt", "out/two.txt"]
    assert "Not uploaded" not in api.log


async def test_template_that_is_a_link_out_of_the_source_is_refused(packer_agent: Agent) -> None:
    packer_agent.give("readlink")
    api = shuttle(template="linked.json", links={"linked.json": "/etc/hosts"})
    ended = await run(packer_agent, api)
    assert ended.status != 0
    assert reason(api)[0] == "no_template"


async def test_secret_variable_is_in_no_command_line_and_nothing_is_left(
    packer_agent: Agent, request: pytest.FixtureRequest
) -> None:
    # The sockets of packer's plugins have at most 107 bytes.
    temporary = Path(mkdtemp(prefix="short-"))
    request.addfinalizer(lambda: shutil.rmtree(temporary))
    packer_agent.environment["TMPDIR"] = str(temporary)
    commands = "for each in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$each 2>/dev/null; done | grep -c 's3cr3[t]' || :"
    modes = "ls -l ../../*@shuttle*/environment/packer/variables.json | cut -c 1-10"
    api = shuttle(
        shell_local(f'PATH=$PATH:/usr/bin:/bin; {commands}; {modes}; echo "$password" >$TMPDIR/left'),
        arguments={"name": SECRET, "password": SECRET},
    )
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts["out/text.txt"].decode() == f"hello to {SECRET}"
    assert "    docker-ubuntu: 0\n" in api.log, "the count of command lines with the secret"
    assert "    docker-ubuntu: -rw-------\n" in api.log
    assert "s3cr3t" not in api.log + ended.console
    assert everything_under(temporary) == []
    assert list(packer_agent.home.glob("workspace*")) == [packer_agent.workspace]
    assert not [path for path in Path(packer_agent.home).rglob("*") if path.is_file() and "s3cr3t" in _text(path)]


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if os.access(path, os.R_OK) else ""


async def test_log_is_live(packer_agent: Agent) -> None:
    go_on = packer_agent.home / "go-on"
    api = shuttle(shell_local("echo waiting", f"until [ -e '{go_on}' ]; do /bin/sleep 0.05; done", "echo over"))
    async with api:
        packer_agent.url = api.url
        step = await packer_agent.start(PACKER)
        await api.until(lambda: "docker-ubuntu: waiting\n" in api.log)
        assert "over" not in api.log
        go_on.touch()
        ended = await step.ended()
    assert ended.status == 0, ended.console + api.log
    assert "    docker-ubuntu: over\n" in api.log


async def test_process_that_a_provisioner_leaves_running_does_not_delay_the_end(packer_agent: Agent) -> None:
    """It has packer's standard output, although its own goes elsewhere: packer 1.6.6 passes further descriptors on."""
    api = shuttle(shell_local("PATH=$PATH:/usr/bin:/bin; setsid sleep 600 >/dev/null 2>&1 & printf 'no line end'"))
    async with asyncio.timeout(20):
        ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"out/text.txt": b"hello to you"}
    assert "    docker-ubuntu: no line end\n" in api.log
    assert "packer has ended" not in api.log


async def test_manifest_that_is_no_file_does_not_block_the_build(packer_agent: Agent) -> None:
    api = shuttle(shell_local("PATH=$PATH:/usr/bin:/bin; mkfifo manifest.json packer-manifest.json"))
    async with asyncio.timeout(20):
        ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"out/text.txt": b"hello to you"}


async def test_name_of_a_build_may_have_commas(packer_agent: Agent) -> None:
    """packer does not escape them in its machine-readable lines."""
    template = shell_local("exit 3") | {"builders": [NULL | {"name": "one, two"}, TEXT | {"name": "a,text"}]}
    template["provisioners"][0]["only"] = ["one, two"]
    api = shuttle(template)
    assert (await run(packer_agent, api)).status != 0
    found, message = reason(api)
    assert found == "packer_failed"
    assert message.startswith("packer could not build one, two: Script exited with non-zero exit status: 3")
    good = shuttle(template | {"provisioners": []})
    ended = await run(packer_agent, good)
    assert ended.status == 0, ended.console + good.log
    assert good.artifacts == {"out/text.txt": b"hello to you"}
    assert ",artifact" not in api.log + good.log


async def test_results_that_a_provisioner_forges_do_not_hurt_the_supervisor(packer_agent: Agent) -> None:
    folder = "cd ../../*@shuttle*/environment/packer"
    forged = "echo no_such_builder >outcome; ln -s /dev/zero validated2; rm -f inspected; mkdir tags images error files"
    api = shuttle(shell_local("PATH=$PATH:/usr/bin:/bin", f"{folder}; {forged}"))
    ended = await run(packer_agent, api)
    assert ended.status != 0
    assert reason(api)[0] in {"no_such_builder", "packer_failed", "results_lost"}
    assert everything_under(packer_agent.workspace) == []


async def test_results_that_cannot_be_written_fail_the_build(packer_agent: Agent) -> None:
    api = shuttle(shell_local("PATH=$PATH:/usr/bin:/bin; cd ../../*@shuttle*/environment/packer; mkdir files"))
    ended = await run(packer_agent, api)
    assert ended.status != 0
    assert reason(api)[0] == "results_lost"
    assert api.artifacts == {}
