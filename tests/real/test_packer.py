"""The packer-image pipeline with packer itself, and its docker builder with a docker daemon and a registry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.docker_daemon import DOCKER, digest_of, docker, docker_and_registry
from tests.unit.pipelines.agent import Agent
from tests.unit.pipelines.packer_cases import *  # noqa: F403 - the tests that the stand-in passes, too
from tests.unit.pipelines.packer_cases import reason, run, shuttle

HCL = """\
variable "fruit" {
  default = "banana"
}
variable "name" {
  type = string
}
source "file" "out" {
  content = "${var.fruit} for ${var.name}"
  target  = "out/text.txt"
}
build {
  name    = "img"
  sources = ["source.file.out"]
}
"""


@pytest.fixture
def packer_agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(tmp_path, "dash")
    agent.give("packer", "docker", "readlink")
    yield agent
    agent.clean_up()


async def test_hcl_template_in_the_folder_of_the_source(packer_agent: Agent) -> None:
    api = shuttle(template=".", files={"image.pkr.hcl": HCL}, only="img.file.*,other")
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"out/text.txt": b"banana for you"}
    assert "-----> The template has no builders of these names: other\n" in api.log


async def test_hcl_variables_of_other_types_take_json(packer_agent: Agent) -> None:
    """packer itself refuses a string for such a variable, and takes one for the types string, number and bool."""
    hcl = """\
variable "zones" {
  type = list(string)
}
variable"tags"{ type = map(string) }
variable  ports {
  default = [80]
}
variable "text" {
  type = string
}
variable "count" {
  type = number
}
source "file" "out" {
  content = "${join("+", var.zones)} ${var.tags["a"]} ${var.ports[0]} ${var.text} ${var.count + 1}"
  target  = "out/text.txt"
}
build {
  sources = ["source.file.out"]
}
"""
    arguments = {"zones": '["a", "${b}"]', "tags": '{"a": "c d"}', "ports": "[8080]", "text": '["e"]', "count": "2"}
    api = shuttle(template="i.pkr.hcl", files={"i.pkr.hcl": hcl}, arguments=arguments)
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"out/text.txt": b'a+${b} c d 8080 ["e"] 3'}


async def test_hcl_variables_are_passed_although_a_default_has_lines_like_those_of_inspect(packer_agent: Agent) -> None:
    default = "<<EOF\nfirst\n> quoted\nEOF\n"
    api = shuttle(template="i.pkr.hcl", files={"i.pkr.hcl": f'variable "alpha" {{\n  default = {default}}}\n{HCL}'})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert api.artifacts == {"out/text.txt": b"banana for you"}


async def test_hcl_template_that_asks_for_plugins_is_built_by_a_packer_without_init(packer_agent: Agent) -> None:
    api = shuttle(template="i.pkr.hcl", files={"i.pkr.hcl": "# packer { required_plugins {} }\n" + HCL})
    ended = await run(packer_agent, api)
    assert ended.status == 0, ended.console + api.log
    assert "Usage" not in api.log


@pytest.mark.parametrize(
    ("options", "expected", "sentence"),
    [
        ({"arguments": {}}, "variable_missing", "requires a value of: name;"),
        ({"only": "typo"}, "no_such_builder", "no builder of the name typo; it has: img.file.out."),
    ],
)
async def test_missing_variable_and_unknown_builder_of_hcl_are_reported(
    packer_agent: Agent, options: dict[str, Any], expected: str, sentence: str
) -> None:
    api = shuttle(template="image.pkr.hcl", files={"image.pkr.hcl": HCL}, **options)
    assert (await run(packer_agent, api)).status != 0
    assert reason(api)[0] == expected, api.log
    assert sentence in reason(api)[1]


async def test_builder_of_hcl_that_fails_is_not_said_to_be_missing(packer_agent: Agent) -> None:
    hcl = """\
source "file" "good" {
  content = "x"
  target  = "out/text.txt"
}
source "null" "bad" {
  communicator = "none"
}
build {
  sources = ["source.file.good", "source.null.bad"]
  provisioner "shell-local" {
    only   = ["null.bad"]
    inline = ["exit 3"]
  }
}
"""
    api = shuttle(template="i.pkr.hcl", files={"i.pkr.hcl": hcl}, arguments={}, only="file.good,null.bad,typo")
    assert (await run(packer_agent, api)).status != 0
    assert reason(api)[1].startswith("packer could not build null.bad: Script exited"), api.log
    assert "-----> The template has no builders of these names: typo\n" in api.log


async def test_docker_image_is_built_tagged_pushed_and_removed_from_the_agent(packer_agent: Agent) -> None:
    async with docker_and_registry() as (host, registry):
        packer_agent.environment |= {"DOCKER_HOST": host}
        api = shuttle(DOCKER, arguments={"docker_repo_server": registry, "version": "0.21"})
        ended = await run(packer_agent, api)
        assert ended.status == 0, ended.console + api.log
        tagged = f"{registry}/org/role:0.21"
        report = api.reports["built"]
        assert (report["image"], report["digest"]) == (tagged, await digest_of(registry))
        found = [(one["type"], one["location"].partition(":")[0]) for one in report["artifacts"]]
        assert found[0] == ("packer.post-processor.docker-import", "sha256")
        assert report["artifacts"][1:] == [
            {"type": "packer.post-processor.docker-tag", "location": tagged, "state": 50}
        ]
        _, images = await docker(host, "images", "--all", "--format", "{{.Repository}}:{{.Tag}}")
        assert images == "base:1\n"
        assert "    docker-ubuntu: provisioned\n" in api.log
        missing = shuttle(DOCKER, arguments={"version": "0.21"})
        await run(packer_agent, missing)
        assert reason(missing)[0] == "variable_missing"
        assert "docker_repo_server" in reason(missing)[1]
