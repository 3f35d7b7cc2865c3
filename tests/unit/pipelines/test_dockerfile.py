"""`ARG NAME` after every FROM, wherever a Dockerfile hides one, and nowhere else."""

import pytest

from jenkins_pipelines.shell_scripts import text
from tests.unit.pipelines.agent import Agent

FORMS = {
    "one stage": ("FROM a\nRUN x\n", "FROM a\nARG A\nARG B\nRUN x\n"),
    "any case, indented": (" \tfrom a\nrun x\n", " \tfrom a\nARG A\nARG B\nrun x\n"),
    "several stages": (
        "FROM a AS one\nRUN x\nFROM one\nCOPY . .\n",
        "FROM a AS one\nARG A\nARG B\nRUN x\nFROM one\nARG A\nARG B\nCOPY . .\n",
    ),
    "no newline at the end": ("FROM a", "FROM a\nARG A\nARG B\n"),
    "crlf": ("FROM a\r\nRUN x\r\n", "FROM a\r\nARG A\nARG B\nRUN x\r\n"),
    "byte order mark": ("\ufeffFROM a\n", "\ufeffFROM a\nARG A\nARG B\n"),
    "arguments before": ("ARG TAG=1\nFROM a:$TAG\n", "ARG TAG=1\nFROM a:$TAG\nARG A\nARG B\n"),
    "from over several lines": (
        "FROM --platform=x \\\n  # a comment within\n\n  a \\  \n  AS one\nRUN x\n",
        "FROM --platform=x \\\n  # a comment within\n\n  a \\  \n  AS one\nARG A\nARG B\nRUN x\n",
    ),
    "from within a continued run": (
        "FROM a\nRUN echo \\\n from b \\\n\n# FROM c\n && x\n",
        "FROM a\nARG A\nARG B\nRUN echo \\\n from b \\\n\n# FROM c\n && x\n",
    ),
    "from in a comment": ("# FROM x\nFROM a\n#FROM b\n", "# FROM x\nFROM a\nARG A\nARG B\n#FROM b\n"),
    "fromage is no from": ("FROM a\nLABEL x \\\nFROMAGE=1\n", "FROM a\nARG A\nARG B\nLABEL x \\\nFROMAGE=1\n"),
    "another escape": (
        "# syntax=x\n# Escape = `\nFROM a\nRUN dir c:\\\nFROM b\nRUN x `\nFROM c\n",
        "# syntax=x\n# Escape = `\nFROM a\nARG A\nARG B\nRUN dir c:\\\nFROM b\nARG A\nARG B\nRUN x `\nFROM c\n",
    ),
    "an escape directive that comes too late": (
        "# a comment\n# escape=`\nFROM a\nRUN x \\\nFROM b\n",
        "# a comment\n# escape=`\nFROM a\nARG A\nARG B\nRUN x \\\nFROM b\n",
    ),
    "an escaped escape ends the instruction": (
        "FROM a\nRUN x \\\\\nFROM b\n",
        "FROM a\nARG A\nARG B\nRUN x \\\\\nFROM b\nARG A\nARG B\n",
    ),
    "heredoc": (
        "FROM a\nRUN <<EOF\nFROM b\nEOF\nFROM c\n",
        "FROM a\nARG A\nARG B\nRUN <<EOF\nFROM b\nEOF\nFROM c\nARG A\nARG B\n",
    ),
    "heredoc quoted, indented, two of them": (
        "FROM a\nCOPY <<-'ONE' 3<<\"TWO\" /x/\nFROM b\n\tONE\nONE \nFROM c\nTWO\nFROM d\n",
        "FROM a\nARG A\nARG B\nCOPY <<-'ONE' 3<<\"TWO\" /x/\nFROM b\n\tONE\nONE \nFROM c\nTWO\nFROM d\nARG A\nARG B\n",
    ),
    "what looks like a heredoc and is none": (
        "FROM a\nRUN echo \"x <<EOF\" '<<EOF' \\<<EOF $((1 << 2)) <<<EOF\nFROM b\n",
        "FROM a\nARG A\nARG B\nRUN echo \"x <<EOF\" '<<EOF' \\<<EOF $((1 << 2)) <<<EOF\nFROM b\nARG A\nARG B\n",
    ),
    "heredoc of an instruction that has none": (
        "FROM a\nLABEL x=<<EOF\nFROM b\n",
        "FROM a\nARG A\nARG B\nLABEL x=<<EOF\nFROM b\nARG A\nARG B\n",
    ),
    "shell patterns and options are text": (
        "FROM a\nCOPY * -n $X \\\n /\n",
        "FROM a\nARG A\nARG B\nCOPY * -n $X \\\n /\n",
    ),
    "empty": ("", ""),
}


async def insert(agent: Agent, dockerfile: str) -> str:
    (agent.workspace / "Dockerfile").write_bytes(dockerfile.encode())
    script = "#!/bin/sh\n" + text("dockerfile") + "work=$PWD\ninsert_arguments ' A B' <Dockerfile\n"
    status, output = await agent.script(script)
    assert status == 0, output
    return output.decode()


@pytest.mark.parametrize("form", FORMS)
async def test_arguments_come_after_every_from(each_agent: Agent, form: str) -> None:
    dockerfile, expected = FORMS[form]
    assert await insert(each_agent, dockerfile) == expected


async def test_the_images_of_the_from_lines_are_listed(each_agent: Agent) -> None:
    await insert(each_agent, "FROM --platform=linux/amd64 127.0.0.1:5000/a:1 AS x\nfrom \\\n docker.io/b\n")
    assert (each_agent.workspace / "base_images.txt").read_text() == "127.0.0.1:5000/a:1\ndocker.io/b\n"
