"""Joins the shell scripts of `shell/` into the one step of a pipeline."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jenkins_pipelines.models import Sh

# Jenkins traces a script (`+ command`) that names no interpreter, and a trace would show the token.
_FIRST_LINE = "#!/bin/sh\n"

# Variables of the step whose values are scripts, for other shells (`sh -c`) and for `eval`. Process lists show these
# texts, so they have no secrets.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "library": ("calls", "log", "ending"),
    "signals": ("signals",),
    "runner": ("runner",),
    "first": ("first",),
    "starter": ("become", "start"),
    "orphan": ("orphan",),
}
_BEFORE, _AFTER = ("programs", "stages", "processes", "claim", "fetch"), ("succeed",)
# Programs that a script runs in other processes, by the variables that have them as their values. These are set before
# the script.
_PROGRAMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "dockerfile": {"dockerfile_awk": ("dockerfile", "dockerfile_options", "dockerfile_variables")},
    "packer": {
        "packer_step": ("packer_step",),
        "packer_variables_awk": ("packer_variables",),
        "packer_lines_awk": ("packer_lines",),
    },
}


def supervisor(*names: str) -> Sh:
    """The `sh` step that claims the build, fetches its files and runs the named scripts of `shell/`, then succeeds.

    The brace group makes the shell read the whole file before it runs anything, because the user's code can overwrite
    that file.
    """
    return Sh(
        script=_FIRST_LINE
        + "{\n"
        + "".join([*_texts(), *map(with_programs, (*_BEFORE, *names, *_AFTER))])
        + "\nexit\n}\n"
    )


def with_programs(name: str) -> str:
    """The script `shell/<name>.sh` without its comments, after its programs, if it has some."""
    programs = (
        _variable(variable, names, "awk" if variable.endswith("_awk") else "sh")
        for variable, names in _PROGRAMS.get(name, {}).items()
    )
    return "".join([*programs, _without_comments(text(name))])


def without_comments(name: str) -> str:
    """The script `shell/<name>.sh` without its comments."""
    return _without_comments(text(name))


@cache  # each build needs 20 of these files
def text(name: str, suffix: str = "sh") -> str:
    """The text of a file of `shell/`."""
    return files("jenkins_pipelines").joinpath("shell", f"{name}.{suffix}").read_text(encoding="utf-8")


def _texts() -> list[str]:
    return [_variable(variable, names, "sh") for variable, names in _TEXTS.items()]


def _variable(variable: str, names: tuple[str, ...], suffix: str) -> str:
    script = _without_comments("".join(text(name, suffix) for name in names))
    return f"{variable}={_quoted(_without_indents(script) if suffix == 'awk' else script)}\n"


def _quoted(script: str) -> str:
    """One word of the shell. A here-document would cost a process for each text."""
    return "'" + script.rstrip("\n").replace("'", "'\\''") + "'"


@cache
def _without_comments(script: str) -> str:
    lines = script.splitlines(keepends=True)
    return "".join(line for line in lines if line.strip() and not _is_comment(line.strip()))


def _without_indents(program: str) -> str:
    """An awk program, whose strings end on their line, without indents: those of packer-image have 600 bytes."""
    return "".join(line.lstrip(" ") for line in program.splitlines(keepends=True))


def _is_comment(line: str) -> bool:
    return line == "#" or line.startswith("# ")
