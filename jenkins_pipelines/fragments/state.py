"""Steps that report to the record of a build (docs/state.md), with sh and curl.

They need BLDST_API_URL, BLDST_API_KEY and BLDST_BUILD_ID in the step's environment; a job can have them as parameters.
"""

from collections.abc import Mapping, Sequence
from shlex import quote

from jenkins_pipelines.models import Parameter, Sh
from jenkins_pipelines.shell_scripts import without_comments

PARAMETERS = (
    Parameter(name="BLDST_API_URL", description="The shuttle's URL with /-/state at its end."),
    Parameter(name="BLDST_API_KEY", kind="password", description="A token that may write the record."),
    Parameter(name="BLDST_BUILD_ID", description="The uuid of the record."),
)


def report_state(code: int, text: str) -> Sh:
    """Report that the build is in this state from now on, which ends the earlier state."""
    return _calling("report_state", str(code), text)


def record_artifact(name: str, *, kind: str, path: str) -> Sh:
    """Record a result of the build that is stored elsewhere; `kind` is its type, `path` a URL or a path."""
    return _calling("record_artifact", name, kind, path)


def checkpoint(name: str, *, code: int, files: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> Sh:
    """Upload files and record variables from which another build can continue, then report the state."""
    kept = [f"{key}={value}" for key, value in (variables or {}).items()]
    return _calling("checkpoint", name, str(code), *(_path(file) for file in files), *kept)


def on_failure(text: str) -> Sh:
    """Report a failure in the current state; it is a step for `Fragment.on_failure`."""
    return _calling("on_failure", text)


def resumable_step(code: int, text: str, script: str) -> Sh:
    """A script that reports this state. A build that is resumed at a later state skips it, and says so."""
    return _library(f"is_done {code} && exit 0\n{_line('report_state', str(code), text)}{script}\n")


def _path(file: str) -> str:
    """A word with a `=` is a variable, so no file may have one in its path."""
    if "=" in file:
        raise ValueError("the path of a file in a checkpoint cannot have a =")
    return file


def _calling(function: str, *arguments: str) -> Sh:
    return _library(_line(function, *arguments))


def _line(*words: str) -> str:
    return " ".join(map(quote, words)) + "\n"


def _library(script: str) -> Sh:
    # Jenkins traces a script that names no interpreter.
    return Sh(script="#!/bin/sh\nset -eu\n" + without_comments("report") + script)
