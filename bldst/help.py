"""What `--help` prints."""

from typing import Iterable, Iterator, Optional, Tuple

from bldst.commands import NOUNS, load
from bldst.grammar import BUILD, Command, Noun, Option

_GENERAL = """
Everywhere: --output|-o|--format table|json|text, --config FILE, --verbose, --help
Settings: BLDST_API_URL, BLDST_API_KEY, BLDST_JWT_TOKEN, BLDST_BUILD_ID, BLDST_DEBUG, BLDST_TIMEOUT, else ~/.bldst.yaml
Exit codes: 0 done, 1 refused or not reached, 2 the command line is wrong
"""


def help_text(noun: Optional[Noun], command: Optional[Command]) -> str:
    """Return the help of the program, of a noun or of a command."""
    if noun is None:
        lines = [
            "usage: bldst COMMAND ...",
            "",
            *_rows((name, load(name).about) for name in NOUNS),
            "",
            "bldst COMMAND --help",
        ]
    elif command is None:
        rows = ((", ".join(command.names), command.about) for command in noun.commands)
        lines = [f"usage: bldst {noun.name} COMMAND ...", "", *_rows(rows)]
    else:
        lines = [f"usage: bldst {noun.line(command)} {_usage(command)}".rstrip(), "", command.about]
        options = [
            *command.options,
            *([Option("--build-id", BUILD, about="instead of BUILD")] if command.has_build else ()),
        ]
        lines += ["", *_rows((_names(option), option.about) for option in options)] if options else []
    return "\n".join(lines) + "\n" + _GENERAL


def _usage(command: Command) -> str:
    words = [name.rstrip("?.").upper() + ("..." if name.endswith("...") else "") for name in command.positionals]
    return " ".join([*words, *(["[options]"] if command.options else [])])


def _names(option: Option) -> str:
    names = ", ".join((*option.names, *option.negative))
    return names if option.kind == "flag" else f"{names} {option.kind.upper()}"


def _rows(rows: Iterable[Tuple[str, str]]) -> Iterator[str]:
    listed = list(rows)
    width = max(len(name) for name, _ in listed)
    for name, about in listed:
        yield f"  {name.ljust(width)}  {about}".rstrip()
