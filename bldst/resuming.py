"""bldst build resume and resume-context."""

from typing import Any, Dict, Iterator, List

from bldst.answers import printable
from bldst.run import Run

_ORCHESTRATION = ("platform", "pipeline", "job")
_MASKED = "******"
_OWN = ("BUILD_ID", "RESUME_FROM_STATE", "LAST_SUCCESSFUL_STATE")
# Variables that change how the shell, the loader or this tool works. The lines for a shell must not set them.
_STEERING = frozenset(
    [
        "PATH",
        "IFS",
        "ENV",
        "BASH_ENV",
        "BASHOPTS",
        "SHELLOPTS",
        "PROMPT_COMMAND",
        "PS0",
        "PS1",
        "PS2",
        "PS3",
        "PS4",
        "CDPATH",
        "GLOBIGNORE",
        "EXECIGNORE",
        "FUNCNEST",
        "POSIXLY_CORRECT",
        "TMOUT",
        "LANG",
        "LANGUAGE",
        "LOCPATH",
        "HOME",
        "PWD",
        "OLDPWD",
        "TMPDIR",
        "SHELL",
        "UID",
        "EUID",
        "GID",
        "PPID",
        "FPATH",
        "ZDOTDIR",
        "HISTFILE",
        "MAIL",
        "MAILPATH",
        "OPTIND",
        "OPTARG",
        "_",
    ]
)
_STEERING_PREFIXES = ("LD_", "DYLD_", "BASH_", "BLDST_", "BUILDSTATE_", "PYTHON", "PERL5", "GIT_", "LC_")


def resume(run: Run) -> int:
    """Ask for a successor of the build; print the context from which it continues, with the request as one field.

    The context does not know of --from-state, so the state at which the successor begins is that of the request.
    """
    config = {name: run.fields.pop(name) for name in _ORCHESTRATION if name in run.fields}
    body: Dict[str, Any] = {"request_source": "bldst", **run.fields}
    if config:
        body["orchestration_config"] = config
    request = run.ask_object("POST", "/builds/{build}/resume", body=body)
    data = {**run.ask_object("GET", "/builds/{build}/resume-context"), "resume_request": request}
    if "resume_from_state" in request:
        data["resume_from_state"] = request["resume_from_state"]
    if run.output.chosen in ("table", "text"):
        run.output.show_data(data, run.command)
    else:
        run.output.json(data)
    return 0


def show_context(run: Run) -> int:
    """Print the context of a resume; as lines for a shell with `-o env`."""
    context = run.ask_object("GET", "/builds/{build}/resume-context")
    if run.output.chosen == "env":
        lines = environment_lines(context)
    elif run.output.chosen == "yaml":
        from bldst.yaml_text import yaml_lines

        lines = yaml_lines(context)
    else:
        run.output.show_data(context, run.command)
        return 0
    for line in lines:
        run.output.line(line)
    return 0


def environment_lines(context: Dict[str, Any]) -> Iterator[str]:
    """Yield `NAME='value'` lines. A variable that a shell must not take becomes a comment that says why."""
    own: List[Any] = [context.get(name) for name in ("build_id", "resume_from_state", "last_successful_state")]
    for name, value in zip(_OWN, own):
        yield f"{name}={quoted(value)}"
    variables = context.get("variables")
    for name, value in sorted(variables.items()) if isinstance(variables, dict) else ():
        reason = _reason_to_skip(name, value)
        yield f"# {printable(name)}: {reason}" if reason else f"{name}={quoted(value)}"


def quoted(value: Any) -> str:
    """Quote a value for a shell."""
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return "'" + text.replace("\0", "").replace("'", "'\\''") + "'"


def _reason_to_skip(name: str, value: Any) -> str:
    if not name.isascii() or not name.isidentifier():
        return "not the name of a shell variable"
    if name in _OWN or name in _STEERING or name.startswith(_STEERING_PREFIXES):
        return "left out, because the name has a meaning of its own"
    if value == _MASKED:
        return "sensitive, and not shown to this key"
    return ""
