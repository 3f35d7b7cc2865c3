"""The packer-image pipeline with stand-ins for packer, docker, berks and kitchen; tests/real has packer and docker."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.packer_program import DIGEST, IMAGE, packer_program
from tests.unit.pipelines.agent import SHELLS, Agent
from tests.unit.pipelines.builds import until
from tests.unit.pipelines.packer_cases import *  # noqa: F403 - the tests that packer itself passes, too
from tests.unit.pipelines.packer_cases import KIND, NULL, TEMPLATE, reason, run, shell_local, shuttle

# Records arguments, folder and a variable of the environment; not the program whose name it has.
STAND_IN = """#!/bin/sh
printf '%s\\n' "NAME $*" "in ${{PWD##*/}}, version $version" >>'{notes}'
[ -z "$2" ] || true
exit {status}
"""


@pytest.fixture(params=SHELLS)
def packer_agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, request.param)
    agent.program("packer", packer_program())
    yield agent
    agent.clean_up()


def stand_in(agent: Agent, name: str, status: int = 0) -> Path:
    """Put a program that only records its calls on the agent's PATH; returns the file of its notes."""
    notes = agent.home / f"notes-{name}"
    agent.program(name, STAND_IN.format(notes=notes, status=status).replace("NAME", name, 1))
    return notes


def docker_template(**builder: Any) -> dict[str, Any]:
    docker = {"type": "docker", "name": "docker-ubuntu", "image": "base:1", "commit": True} | builder
    tag = {"type": "docker-tag", "repository": "host.example/org/role", "tag": ["0.21"]}
    return {"builders": [docker], "post-processors": [[tag, {"type": "docker-push"}]]}


@pytest.mark.parametrize("name", ["a.pkr.hcl", "a.pkr.json"])
async def test_plugins_of_templates_in_a_folder_are_fetched(packer_agent: Agent, name: str) -> None:
    notes = stand_in(packer_agent, "packer")
    plugins = {"a.pkr.hcl": "packer { required_plugins {} }", "a.pkr.json": '{"packer": {"required_plugins": {}}}'}
    await run(packer_agent, shuttle(files={f"templates/{name}": plugins[name]}, arguments={}, template="templates"))
    assert "packer init templates\n" in notes.read_text()


async def test_docker_image_is_reported_and_removed_from_docker(packer_agent: Agent) -> None:
    notes = stand_in(packer_agent, "docker")
    api = shuttle(docker_template(), arguments={})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    tagged = "host.example/org/role:0.21"
    assert api.reports["built"] == {
        "id": "built",
        "artifacts": [
            {"type": "packer.post-processor.docker-import", "location": IMAGE, "state": 50},
            {"type": "packer.post-processor.docker-tag", "location": tagged, "state": 50},
        ],
        "image": tagged,
        "digest": DIGEST,
    }
    calls = [line for line in notes.read_text().splitlines() if line.startswith("docker")]
    assert calls == [f"docker rmi {tagged}", f"docker image inspect {IMAGE}", f"docker rmi {IMAGE}"]


# Two builders push the same tag at the same time, and the first pushes it to a second repository.
PUSHES = r"""#!/bin/sh
[ "$1" = build ] || exit 0
push() { echo "1,,ui,message,    $1 (docker-push): 1: digest: sha256:$2 size: 735"; }
image() {
  for line in builder-id,packer.post-processor.docker-tag "id,$2" end; do echo "1,$1,artifact,0,$line"; done
}
push 'builder a' FIRST
push 'builder a' OTHER
push b OTHER
image 'builder a' h/org/a:1
image b h/org/b:1
"""


async def test_digest_of_the_image_is_that_of_its_own_builder(packer_agent: Agent) -> None:
    first = "1" * 64
    packer_agent.program("packer", PUSHES.replace("FIRST", first).replace("OTHER", "2" * 64))
    api = shuttle(arguments={}, clean=False)
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert (api.reports["built"]["image"], api.reports["built"]["digest"]) == ("h/org/a:1", f"sha256:{first}")


def manifest_entry(kind: str, artifact: str, run: str, *files: str) -> dict[str, Any]:
    listed = [{"name": name, "size": 1} for name in files]
    return {
        "name": "x",
        "builder_type": kind,
        "build_time": 1,
        "files": listed or None,
        "artifact_id": artifact,
        "packer_run_uuid": run,
        "custom_data": {"artifact_id": "not-one", "packer_run_uuid": "now"},
    }


def manifest(last_run: str, *entries: dict[str, Any]) -> str:
    return json.dumps({"builds": entries, "last_run_uuid": last_run}, indent=2)


# Builds a file and an image; a manifest of the folder `written` replaces that of the source.
WRITES_MANIFEST = """#!/bin/sh
[ "$1" = build ] || exit 0
printf 1 >made.txt; printf 2 >left.txt
[ ! -f written/manifest.json ] || cp written/manifest.json manifest.json
for line in 'builder-id,packer.file' 'id,File' 'files-count,1' 'file,0,made.txt' end; do
  echo "1,a,artifact,0,$line"
done
for line in 'builder-id,mitchellh.amazonebs' 'id,eu-west-1:ami-1' end; do echo "1,b,artifact,0,$line"; done
"""


# What packer 1.6.6 says of a template in HCL whose build has no name; newer versions write `<0>`. `-machine-readable`
# would be one line, with the line ends between variables written as those in a value are.
INSPECTS_HCL = r"""#!/bin/sh
[ "$1" = inspect ] || exit 0
[ "$2" != -machine-readable ] || exit 1
printf '%s\n' 'Packer Inspect: HCL2 mode

> input-variables:

var.alpha: "first\n> quoted\nvar.typo: b\n"
var.beta: "x"

> local-variables:


> builds:

  > <UNNAMED0>:

    sources:

      file.out

    provisioners:

      <no provisioner>
'
"""


@pytest.mark.parametrize("unnamed", ["unnamed build ", ""])
async def test_builds_of_hcl_without_a_name_are_named_as_only_takes_them(packer_agent: Agent, unnamed: str) -> None:
    packer_agent.program("packer", INSPECTS_HCL.replace("UNNAMED", unnamed))
    api = shuttle(files={"i.pkr.hcl": ""}, template="i.pkr.hcl", arguments={}, only="typo")
    assert (await run(packer_agent, api)).status != 0
    assert reason(api) == ("no_such_builder", "The template has no builder of the name typo; it has: file.out.")


async def test_builder_of_hcl_that_fails_is_not_said_to_be_missing(packer_agent: Agent) -> None:
    lines = "1,file.good,artifact,0,end", "1,null.bad,error,exit 3"
    packer_agent.program("packer", f'#!/bin/sh\n[ "$1" != build ] || printf "%s\\n" {" ".join(map(repr, lines))}\n')
    only = "file.good,null.bad,typo"
    api = shuttle(files={"i.pkr.hcl": ""}, template="i.pkr.hcl", arguments={}, only=only)
    await run(packer_agent, api)
    assert reason(api) == ("packer_failed", "packer could not build null.bad: exit 3")
    assert "-----> The template has no builders of these names: typo\n" in api.log


async def test_lines_in_the_default_of_an_hcl_variable_are_not_read_as_lines_of_packer(packer_agent: Agent) -> None:
    packer_agent.program("packer", INSPECTS_HCL)
    api = shuttle(files={"i.pkr.hcl": ""}, template="i.pkr.hcl", arguments={"alpha": "1", "beta": "2", "typo": "3"})
    await run(packer_agent, api)
    assert "-----> The template declares no such variables, so packer does not get them: typo\n" in api.log


async def test_artifacts_that_only_the_manifest_lists_are_reported_too(packer_agent: Agent) -> None:
    packer_agent.program("packer", WRITES_MANIFEST)
    packer_agent.give("cp")
    earlier = manifest_entry("amazon-ebs", "eu-west-1:ami-0", "before")
    written = manifest(
        "now",
        *[earlier] * 2_000,  # packer keeps every run's entries, if the manifest is committed
        manifest_entry("file", "File", "now", "made.txt", "left.txt", "removed.txt"),
        manifest_entry("amazon-ebs", "eu-west-1:ami-1", "now"),
        manifest_entry("amazon-ebs", 'us-1:ami-2,"<&>\\', "now"),
        manifest_entry("qemu", "VM", "now", "disk.qcow2"),
        manifest_entry("null", "Null", "now"),
    )
    files: dict[str, bytes | str] = {"manifest.json": manifest("before", earlier)}
    api = shuttle(files=files | {"written/manifest.json": written})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"made.txt": b"1", "left.txt": b"2"}
    found = [(one["type"], one["location"]) for one in api.reports["built"]["artifacts"]]
    assert found == [("mitchellh.amazonebs", "eu-west-1:ami-1"), ("amazon-ebs", 'us-1:ami-2,"<&>\\')]
    unchanged = shuttle(files=files)
    assert (await run(packer_agent, unchanged)).status == 0
    assert unchanged.artifacts == {"made.txt": b"1"}
    assert [one["location"] for one in unchanged.reports["built"]["artifacts"]] == ["eu-west-1:ami-1"]


async def test_log_says_how_many_results_a_build_does_not_show(packer_agent: Agent) -> None:
    packer_agent.program("packer", WRITES_MANIFEST)
    packer_agent.give("cp")
    written = manifest(
        "now", *(manifest_entry("amazon-ebs", f"eu-west-1:ami-{number}", "now") for number in range(202))
    )
    api = shuttle(files={"written/manifest.json": written})
    assert (await run(packer_agent, api)).status == 0
    assert len(api.reports["built"]["artifacts"]) == 200
    assert "-----> packer lists 202 results; the build shows the first 200 only.\n" in api.log


@pytest.mark.slow
async def test_images_stay_with_clean_false_and_are_removed_after_a_failed_test(packer_agent: Agent) -> None:
    notes = stand_in(packer_agent, "docker")
    ended = await run(packer_agent, shuttle(docker_template(), arguments={}, clean=False))
    assert ended.status == 0
    assert not notes.exists()
    stand_in(packer_agent, "kitchen", status=20)
    api = shuttle(docker_template(), arguments={}, files={".kitchen.yml": ""})
    await run(packer_agent, api)
    assert reason(api) == ("kitchen_failed", "kitchen test ended with exit status 20.")
    assert "docker rmi host.example/org/role:0.21" in notes.read_text()


@pytest.mark.slow
async def test_berks_and_kitchen_run_where_the_source_has_their_files(packer_agent: Agent) -> None:
    packer_agent.give("bash")
    berks, kitchen = stand_in(packer_agent, "berks"), stand_in(packer_agent, "kitchen")
    files: dict[str, bytes | str] = {
        "Berksfile": "",
        ".kitchen.yml": "",
        "gen-kitchen-dockerfile.sh": 'echo "generated for ${version}" [[ yes ]]\n',
    }
    api = shuttle(files=files, arguments={"version": "0.21", "name": "x"})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert berks.read_text() == "berks vendor\nin source, version 0.21\n"
    assert kitchen.read_text() == "kitchen test --destroy=always\nin source, version 0.21\n"
    assert "generated for 0.21 [[ yes ]]\n" in api.log
    never = shuttle(files=files, berks="never", kitchen="never")
    assert (await run(packer_agent, never)).status == 0
    assert "-----> berks: never\n" in never.log
    assert "-----> kitchen: never\n" in never.log


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [("berks", "Berksfile", "no_berks"), ("kitchen", ".kitchen.yml", "no_kitchen"), ("packer", "README", "no_packer")],
)
async def test_program_that_the_agent_lacks_is_named(packer_agent: Agent, name: str, file: str, expected: str) -> None:
    (packer_agent.programs / name).unlink(missing_ok=True)
    api = shuttle(files={file: ""})
    await run(packer_agent, api)
    assert reason(api)[0] == expected
    assert f"the agent has no {name}" in reason(api)[1].replace("The", "the")


async def test_other_program_of_that_name_is_named(packer_agent: Agent) -> None:
    packer_agent.program("packer", "#!/bin/sh\necho usage: packer dictfile >&2\nexit 1\n")
    api = shuttle()
    await run(packer_agent, api)
    assert reason(api)[0] == "no_packer"
    assert "is another program than HashiCorp's packer" in reason(api)[1]


async def test_failed_berks_ends_the_build_before_packer(packer_agent: Agent) -> None:
    stand_in(packer_agent, "berks", status=5)
    api = shuttle(files={"Berksfile": ""})
    assert (await run(packer_agent, api)).status == 5
    assert reason(api)[0] == "berks_failed"
    assert "RunPacker begin" not in api.stages


async def test_exit_0_with_an_error_is_no_success(packer_agent: Agent) -> None:
    packer_agent.program("packer", packer_program().replace("return 1 if errors else 0", "return 0"))
    api = shuttle(shell_local("exit 3"))
    assert (await run(packer_agent, api)).status != 0
    assert reason(api)[0] == "packer_failed"


async def test_output_of_validate_that_is_a_fifo_does_not_block_the_build(packer_agent: Agent) -> None:
    replaces = "cd ../../*@shuttle*/environment/packer; rm validated; mkfifo validated; echo template_invalid >outcome"
    api = shuttle(shell_local(f"PATH=$PATH:/usr/bin:/bin; {replaces}; exit 3"))
    async with asyncio.timeout(20):
        ended = await run(packer_agent, api)
    assert ended.status != 0
    assert reason(api)[0] == "template_invalid", api.log


# An id and a text that are cut within a character, and bytes that are not UTF-8.
ODD_TEXT = r"""#!/bin/sh
[ "$1" = build ] || exit 0
text=a
for _ in 1 2 3 4 5 6 7 8 9 10; do text=$text'ääääääääääääääääääääääääääääääääääääääääääääääääääääääääääää'; done
for line in builder-id,amazon-ebs "id,$text" end 'builder-id,gr\303\274n\377' 'id,\342\202\254\355\240\200\\"' end; do
  printf "1,a,artifact,0,$line\n"
done
printf "1,b,error,$text\n"
"""


async def test_results_and_errors_that_are_cut_within_a_character_or_are_no_utf8_are_reported(
    packer_agent: Agent,
) -> None:
    cut = "a" + "ä" * 499 + "?"
    packer_agent.program("packer", ODD_TEXT)
    failed = shuttle()
    await run(packer_agent, failed)
    assert reason(failed) == ("packer_failed", f"packer could not build b: {cut}")
    packer_agent.program("packer", ODD_TEXT.replace("1,b,error,", "1,b,ui,say,"))
    api = shuttle()
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert [(one["type"], one["location"]) for one in api.reports["built"]["artifacts"]] == [
        ("amazon-ebs", cut),
        ("grün?", '€???\\"'),
    ]


async def test_stop_lets_packer_clean_up_and_shows_what_it_says(packer_agent: Agent) -> None:
    packer_agent.program(
        "packer",
        '#!/bin/sh\n[ "$1" = build ] || exit 0\ntrap \'echo "1,,ui,error,Cancelling build"; exit 1\' TERM\n'
        'echo "1,,ui,say,==> docker-ubuntu: begins"\n'
        'while :; do echo "1,,ui,say,==> docker-ubuntu: waits"; sleep 0.1; done\n',
    )
    api = shuttle(TEMPLATE | {"builders": [NULL]})
    async with api:
        packer_agent.url = api.url
        step = await packer_agent.start(KIND.build(KIND.Options()))
        await api.until(lambda: "begins\n" in api.log)
        api.stop_cause = "stopped"
        ended = await step.ended()
    assert ended.status == 143
    assert "Cancelling build\n" in api.log
    assert not (packer_agent.workspace / "source").exists()


async def test_stop_while_the_template_is_validated_starts_no_build(packer_agent: Agent) -> None:
    packer_agent.program(
        "packer",
        f'#!/bin/sh\necho "$1" >>{packer_agent.workspace}/calls\n[ "$1" = validate ] || exit 0\n'
        "trap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n",
    )
    calls = packer_agent.workspace / "calls"
    api = shuttle(TEMPLATE | {"builders": [NULL]})
    async with api:
        packer_agent.url = api.url
        step = await packer_agent.start(KIND.build(KIND.Options()))
        await until(lambda: calls.exists() and calls.read_text().endswith("validate\n"))
        api.stop_cause = "stopped"
        step.stop_as_jenkins_does()
        ended = await step.ended()
    assert (ended.status, calls.read_text()) == (143, "inspect\nvalidate\n")


@pytest.mark.slow
async def test_temporary_files_of_a_killed_supervisor_are_removed_by_the_next_build(
    packer_agent: Agent, request: pytest.FixtureRequest
) -> None:
    temporary = Path(mkdtemp(prefix="short-"))
    request.addfinalizer(lambda: shutil.rmtree(temporary))
    packer_agent.environment["TMPDIR"] = str(temporary)
    packer_agent.program(
        "packer",
        '#!/bin/sh\n[ "$1" = build ] || exit 0\n: >"$TMPDIR/left"\n'
        'while :; do echo "1,,ui,say,==> docker-ubuntu: waits"; sleep 0.1; done\n',
    )
    async with shuttle(TEMPLATE | {"builders": [NULL]}) as api:
        packer_agent.url = api.url
        step = await packer_agent.start(KIND.build(KIND.Options()))
        await api.until(lambda: "waits\n" in api.log)
        step.process.kill()
        await step.ended()
    assert [path.name for path in temporary.glob("packer-*/*")] == ["left"]
    packer_agent.program("packer", packer_program())
    assert (await run(packer_agent, shuttle())).status == 0
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"template": "../packer.json"}, "template"),
        ({"template": "a/../../b"}, "template"),
        ({"template": "-x"}, "template"),
        ({"only": "a\nb"}, "only"),
        ({"only": [1]}, "only"),
        ({"keep": ["/etc/*"]}, "keep"),
        ({"keep": ["../*"]}, "keep"),
        ({"variables": {"a": "\0"}}, "variables"),
        ({"secret_variables": ["a"]}, "secret_variables"),
        ({"on_error": "ask"}, "on_error"),
        ({"parallel": -1}, "parallel"),
        ({"other": 1}, "other"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValidationError, match=error):
        KIND.Options.model_validate(options, strict=True)


def test_options_are_recorded_as_they_are_read_again() -> None:
    given = {
        "template": "/a/b.json",
        "only": ["x", "y"],
        "except": " z one, ",
        "keep": ["*.iso", "a b"],
        "validate": False,
    }
    recorded = KIND.Options.model_validate(given, strict=True).model_dump(mode="json")
    assert (recorded["template"], recorded["only"], recorded["keep"]) == ("a/b.json", "x,y", "*.iso\na b")
    assert recorded["except"] == "z one"
    assert KIND.Options.model_validate(recorded).model_dump(mode="json") == recorded
