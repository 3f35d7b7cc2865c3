"""Joins the shell scripts of `shell/` into the one step of a pipeline."""

from collections.abc import Mapping
from importlib.resources import files

from jenkins_pipelines.models import Sh

# Jenkins traces a script (`+ command`) that names no interpreter, and a trace would show the token.
_FIRST_LINE = "#!/bin/sh\n"

# Variables of the step whose values are scripts, for other shells (`sh -c`) and for `eval`. Process lists show these
# texts, so they have no secrets and no comments.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "library": ("calls", "log", "ending"),
    "signals": ("signals",),
    "runner": ("runner",),
    "first": ("first",),
    "starter": ("become", "start"),
    "orphan": ("orphan",),
}
_SUPERVISOR = ("programs", "stages", "processes", "claim", "fetch")


def supervisor(*names: str) -> Sh:
    """The `sh` step that claims the build, fetches its files and then runs the named scripts of `shell/`.

    The brace group makes the shell read the whole file before it runs anything, because the user's code can overwrite
    that file.
    """
    return Sh(script=_FIRST_LINE + "{\n" + "".join([*_texts(), *map(text, (*_SUPERVISOR, *names))]) + "\nexit\n}\n")


def text(name: str) -> str:
    """The text of `shell/<name>.sh`."""
    return files("jenkins_pipelines").joinpath("shell", f"{name}.sh").read_text(encoding="utf-8")


def _texts() -> list[str]:
    return [
        f"{variable}={_quoted(_without_comments(''.join(map(text, names))))}\n" for variable, names in _TEXTS.items()
    ]


def _quoted(script: str) -> str:
    """One word of the shell. A here-document would cost a process for each text."""
    return "'" + script.rstrip("\n").replace("'", "'\\''") + "'"


def _without_comments(script: str) -> str:
    lines = script.splitlines(keepends=True)
    return "".join(line for line in lines if line.strip() and not line.lstrip().startswith("# "))
