"""`ARG NAME` is inserted after every FROM of a Dockerfile in any spelling, and nowhere else."""

import shlex

import pytest

from jenkins_pipelines.shell_scripts import with_programs
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
    "a keyword alone on its line": ("FROM\\\n  a\nRUN\\\n x\n", "FROM\\\n  a\nARG A\nARG B\nRUN\\\n x\n"),
    "words separated by other blanks": ("FROM\va\f\n\vFROM\tb\n", "FROM\va\f\nARG A\nARG B\n\vFROM\tb\nARG A\nARG B\n"),
    "from within a continued run": (
        "FROM a\nRUN echo \\\n from b \\\n\n# FROM c\n && x\n",
        "FROM a\nARG A\nARG B\nRUN echo \\\n from b \\\n\n# FROM c\n && x\n",
    ),
    "from in a comment": ("# FROM x\nFROM a\n#FROM b\n", "# FROM x\nFROM a\nARG A\nARG B\n#FROM b\n"),
    "a word that only begins with from": (
        "FROM a\nLABEL x \\\nFROMAGE=1\n",
        "FROM a\nARG A\nARG B\nLABEL x \\\nFROMAGE=1\n",
    ),
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


async def read(agent: Agent, dockerfile: str, *arguments: str) -> str:
    """The copy of the Dockerfile; the images are listed in `base_images`."""
    (agent.workspace / "Dockerfile.read").write_bytes(dockerfile.encode())
    for name in ("arguments", "base_images", "mounts"):
        (agent.workspace / name).touch()
    remember = "".join(f"remember_argument {shlex.quote(argument)}\n" for argument in arguments)
    script = (
        f"#!/bin/sh\nnewline='\n'\n{with_programs('dockerfile')}work=$PWD\n{remember}read_dockerfile copy Dockerfile\n"
    )
    status, output = await agent.script(script)
    assert (status, output) == (0, b"")
    return (agent.workspace / "Dockerfile").read_bytes().decode()


@pytest.mark.parametrize("form", FORMS)
async def test_arguments_are_declared_after_every_from(each_agent: Agent, form: str) -> None:
    dockerfile, expected = FORMS[form]
    assert await read(each_agent, dockerfile, "A=1", "B=2") == expected


IMAGES = {
    "from, any case, over several lines": (
        "FROM --platform=linux/amd64 127.0.0.1:5000/a:1 AS x\nfrom \\\n docker.io/b\n",
        ["127.0.0.1:5000/a:1", "docker.io/b"],
    ),
    "a default": ("ARG REGISTRY=r:1\nFROM ${REGISTRY}/base\nFROM $REGISTRY/b\n", ["r:1/base", "r:1/b"]),
    "an argument instead of the default": ("ARG GIVEN=r:1\nFROM ${GIVEN}/base\n", ["given:5/base"]),
    "an argument without a default": ("ARG GIVEN\nFROM $GIVEN/base\n", ["given:5/base"]),
    "several on a line, quoted": (
        'ARG R="r:1" T=\'2\'\nFROM "${R}/base":${T}\n',
        ["r:1/base:2"],
    ),
    "a default made of others": ("ARG T=2\nARG I=r:1/base:${T}\nFROM $I\n", ["r:1/base:2"]),
    "defaults in braces": (
        "ARG E=\nARG GIVEN\nFROM ${NO:-r:1}/a\nFROM ${E:-r:2}/b\nFROM ${E-r:3}c\nFROM ${GIVEN:+r:4}/d\n",
        ["r:1/a", "r:2/b", "c", "r:4/d"],
    ),
    "more braces": (
        "ARG E=\nARG GIVEN\nFROM ${NO+r:5}e\nFROM ${NO:-${GIVEN:-x}}/f\nFROM ${NO:-${E:-r:6}/g}\nFROM ${GIVEN:-x}/h\n",
        ["e", "given:5/f", "r:6/g", "given:5/h"],
    ),
    "what the builder would take for an option": ("FROM ${NO:--i}\nFROM a\nCOPY --from=--authfile=x y z\n", ["a"]),
    "what only the builder knows": (
        "ARG TARGETARCH\nFROM r/a-$TARGETARCH\nFROM ${GIVEN}/b\nFROM ${A#x}/c\nFROM ${A\nFROM r/d$\nFROM $\n",
        [],
    ),
    "an argument of a stage is not one of the next FROM": ("FROM a\nARG R=r:1\nFROM $R/b\n", ["a"]),
    "stages are not listed as images": (
        "FROM a AS Base\nFROM scratch\nFROM base as two\nFROM TWO\nCOPY --from=0 x x\nCOPY --from=BASE x x\n",
        ["a"],
    ),
    "copy --from": (
        "FROM a\nCOPY --chown=1:2 --from=r:1/b:2 x x\ncopy --link --from=c x x\nCOPY x --from=d\n",
        ["a", "r:1/b:2", "c"],
    ),
    "run --mount": (
        "FROM a\nRUN --mount=type=bind,from=r:1/b,target=/x --mount=from=c x\nRUN --mount=type=cache,target=/x x\n",
        ["a", "r:1/b", "c"],
    ),
    "options in quotes, of ONBUILD, on the next line": (
        "FROM a\nCOPY --from=\"r:1/b\" x x\nONBUILD copy --fr\\om=c x x\nRUN\\\n --mount='type=bind,from=r:2/d' x\n",
        ["a", "r:1/b", "c", "r:2/d"],
    ),
    "a value of two lines": ("ARG LINES\nFROM $LINES\nFROM a\n", ["a"]),
    "values that double with each line": (
        "ARG A0=a\n" + "".join(f"ARG A{n + 1}=$A{n}$A{n}\n" for n in range(40)) + "FROM $A40\nFROM b\n",
        ["b"],
    ),
    "defaults within defaults, a thousand deep": (
        f"FROM {'${NO:-' * 600}a{'}' * 600}\nFROM ${{NO:-${{NO:-b}}}}\n",
        ["b"],
    ),
    "variables of a stage": (
        "ARG H=r:1\nFROM a\nARG S=r:2\nCOPY --from=$H/b x x\nCOPY --from=$S/c x x\nCOPY --from=$GIVEN/d x x\n",
        ["a", "r:1/b", "r:2/c", "given:5/d"],
    ),
    "variables of an earlier stage": (
        "ARG H=r:1\nFROM a\nARG H\nARG S=r:2\nFROM e\nCOPY --from=$S/f x x\nCOPY --from=$H/g x x\n",
        ["a", "e", "r:1/g"],
    ),
    "commands in values are not run": (
        "ARG R=$(touch made)`touch made`;\nFROM $R/a\nFROM `touch${IFS}made`\nARG x;touch=1\n",
        [],
    ),
}


@pytest.mark.parametrize("form", IMAGES)
async def test_images_of_a_dockerfile_are_listed(each_agent: Agent, form: str) -> None:
    dockerfile, expected = IMAGES[form]
    await read(each_agent, dockerfile, "GIVEN=given:5", "LINES=b\n--authfile=x")
    assert (each_agent.workspace / "base_images").read_text().splitlines() == expected
    assert not (each_agent.workspace / "made").exists()
