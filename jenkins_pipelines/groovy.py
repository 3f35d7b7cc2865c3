"""Renders a pipeline as declarative Groovy, in a small subset: single-quoted strings, every section on its own lines.

A real Jenkins does not compile sections that share a line, and does not interpolate single-quoted strings, so a `$` in
a script is left to the shell. Only constructs that were recorded as working are used.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from jenkins_pipelines.errors import PipelineError
from jenkins_pipelines.models import Branch, Echo, Pipeline, Sh, Stage, Step, Timeout, WithEnv

# A string constant of a class file holds at most 65,535 bytes.
_MOST_STRING_BYTES = 65_535
# The backslash is escaped first, because the other escapes contain one.
_ESCAPES = {"\\": "\\\\", "\r": "\\r", "\b": "\\b", "\f": "\\f"}
# Control characters except tab and LF, and what else XML 1.0 forbids: Jenkins keeps the script in a config.xml.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_INDENT = "  "


def jenkinsfile(pipeline: Pipeline, *, agent_label: str | None, keep_builds: int) -> str:
    """The whole script; raises PipelineError for text that Groovy cannot represent."""
    body = [
        *_agent(agent_label),
        *_block("options", _options(keep_builds)),
        *_block("stages", (line for stage in pipeline.stages for line in _stage(stage))),
        *(_block("post", _block("failure", _steps(pipeline.on_failure))) if pipeline.on_failure else ()),
    ]
    return "\n".join(_block("pipeline", body)) + "\n"


def string(text: str) -> str:
    """`text` as a Groovy string literal, triple-quoted if it has several lines."""
    escaped = text
    for character, escape in _ESCAPES.items():
        escaped = escaped.replace(character, escape)
    unwritable = _UNWRITABLE.search(escaped)
    if unwritable:
        raise PipelineError(f"A pipeline's text cannot hold the character U+{ord(unwritable[0]):04X}; remove it.")
    if len(text.encode()) > _MOST_STRING_BYTES:
        raise PipelineError(f"A string of a pipeline may have {_MOST_STRING_BYTES} bytes at most; split the script.")
    if "\n" not in text:
        return "'" + escaped.replace("'", "\\'") + "'"
    if escaped.endswith("'"):
        escaped = escaped[:-1] + "\\'"
    escaped = escaped.replace("'''", "\\'\\'\\'")
    return f"'''{escaped}'''"


def _agent(label: str | None) -> Iterator[str]:
    if label is None:
        yield "agent any"
    else:
        yield from _block("agent", [f"label {string(label)}"])


def _options(keep_builds: int) -> list[str]:
    return [
        "durabilityHint('MAX_SURVIVABILITY')",
        "disableConcurrentBuilds()",
        f"buildDiscarder(logRotator(numToKeepStr: '{keep_builds}'))",
        "skipDefaultCheckout()",
    ]


def _stage(stage: Stage) -> Iterator[str]:
    state = {} if stage.state is None else {"SHUTTLE_STATE": str(stage.state)}
    if stage.parallel:
        branches = (line for branch in stage.parallel for line in _branch(branch, state))
        return _block(f"stage({string(stage.name)})", _block("parallel", branches))
    return _stage_of_steps(stage.name, stage.steps, state)


def _branch(branch: Branch, variables: Mapping[str, str]) -> Iterator[str]:
    return _stage_of_steps(branch.name, branch.steps, {"SHUTTLE_BRANCH": branch.name, **variables})


def _stage_of_steps(name: str, steps: tuple[Step, ...], variables: Mapping[str, str]) -> Iterator[str]:
    if variables:
        steps = (WithEnv(variables=dict(variables), steps=steps),)
    return _block(f"stage({string(name)})", _block("steps", _steps(steps)))


def _steps(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        match step:
            case Sh():
                yield f"sh {string(step.script)}"
            case Echo():
                yield f"echo {string(step.message)}"
            case WithEnv():
                pairs = ", ".join(string(f"{name}={value}") for name, value in step.variables.items())
                yield from _block(f"withEnv([{pairs}])", _steps(step.steps))
            case Timeout():
                yield from _block(f"timeout(time: {step.seconds}, unit: 'SECONDS')", _steps(step.steps))


def _block(head: str, body: Iterable[str]) -> Iterator[str]:
    yield f"{head} {{"
    for line in body:
        # Only the first line of a statement is indented: further lines belong to the text of a triple-quoted string.
        yield _INDENT + line
    yield "}"
