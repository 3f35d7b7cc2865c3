"""The shell scripts beside this module, and how a step is made of them."""

from importlib.resources import files

from jenkins_pipelines.models import Sh

# Jenkins traces a script (`+ command`) unless it names its interpreter; a trace would show the token.
_FIRST_LINE = "#!/bin/sh -e\n"


def step(*names: str, inner: tuple[str, ...] = ()) -> Sh:
    """One `sh` step that runs the named scripts of `shell/` as one text, in order; each starts where the last ended.

    `inner` are scripts for a second shell, which the step finds as the text of its variable `inner`.
    """
    texts = [_FIRST_LINE]
    if inner:
        texts += ["inner=$(cat <<'END_OF_INNER'\n", *map(_text, inner), "END_OF_INNER\n)\n"]
    return Sh(script="".join([*texts, *map(_text, names)]))


def _text(name: str) -> str:
    return files("jenkins_pipelines").joinpath("shell", f"{name}.sh").read_text(encoding="utf-8")
