"""Reads a command line by the tables in `bldst/commands/`.

An option that takes a value takes the next word, whatever that looks like: a message may begin with a dash. Options of
all commands (`--output`, `--config`, `--verbose`, `--help`) may be anywhere, unless the command has one of that name.
"""

from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from bldst.commands import ELSEWHERE, load
from bldst.errors import UsageError
from bldst.grammar import BUILD, KEY, Command, Fields, Noun, Option
from bldst.option_values import NOT_AN_ID, read_value

_FORMATS = ("table", "json", "text")
_OUTPUT = Option("--output -o --format", "output")
_CONFIG = Option("--config", "config")
_VERBOSE = Option("--verbose -v --debug", "verbose", "flag")
_HELP = Option("--help -h", "help", "flag")
_VERSION = Option("--version", "version", "flag")
_EVERYWHERE = (_OUTPUT, _CONFIG, _VERBOSE, _HELP)
_BUILD_ID = Option("--build-id", BUILD, "id")


class Line:
    """A command line that was read."""

    def __init__(self) -> None:
        self.noun: Optional[Noun] = None
        self.command: Optional[Command] = None
        self.general: Fields = {}
        self.fields: Fields = {}
        self.places: Dict[str, Any] = {}

    @property
    def output(self) -> Optional[str]:
        """The output format that was asked for."""
        return self.general.get("output")


def read_line(words: Sequence[str], build_id: Optional[str]) -> Line:
    """Read a command line; without a command it asks for help or the version.

    Args:
        words: The words after the program's name.
        build_id: The build of a line that names none.

    Raises:
        UsageError: It has no such command or option, or lacks something.
    """
    line = Line()
    used: List[str] = []
    free = list(_read_options(line, words, used))
    if line.command is None:
        if not (line.general.get("help") or line.general.get("version")):
            raise UsageError("there is no command: bldst --help")
        return line
    if line.general.get("help"):
        return line
    _check_output(line, line.command)
    line.places = _places(line, line.command, free, build_id)
    _complete(line, line.command, used)
    return line


def _read_options(line: Line, words: Sequence[str], used: List[str]) -> Iterator[str]:
    """Take options and the words of the command; yield the others."""
    rest = iter(words)
    for word in rest:
        if word == "--":
            yield from rest
        elif word.startswith("-") and word != "-" and not _is_key(line, word):
            name, equals, text = word.partition("=")
            option = _find_option(line, name)
            used.append(name)
            if option.kind == "flag":
                _set_flag(line, option, name, text if equals else None)
            else:
                value = text if equals else next(rest, None)
                if value is None:
                    raise UsageError(f"{name} needs a value")
                _set_value(line, option, name, value)
        elif line.command is not None or not _take_command_word(line, word):
            yield word
    if line.noun is not None and line.command is None:
        line.command = line.noun.default_command
        if line.command is None and not line.general.get("help"):
            raise UsageError(f"{line.noun.name} needs a command: bldst {line.noun.name} --help")


def _is_key(line: Line, word: str) -> bool:
    """Whether the word is the key of a command that takes one: a key may begin with a dash."""
    if line.command is None or KEY not in line.command.positionals:
        return False
    return not any(word.partition("=")[0] in option.names for option in _EVERYWHERE)


def _take_command_word(line: Line, word: str) -> bool:
    """Take the noun or the command; False if the word is not a command's name, but follows the default command."""
    if line.noun is None:
        line.noun = load(word)
        line.command = line.noun.only_command
        return True
    noun, name = ELSEWHERE.get((line.noun.name, word), (line.noun.name, word))
    line.noun = load(noun)
    line.command = line.noun.command(name)
    if line.command is not None:
        return True
    line.command = line.noun.default_command
    if line.command is None:
        raise UsageError(_unknown(line.noun.name, word, line.noun.words))
    return False


def _find_option(line: Line, name: str) -> Option:
    options: Tuple[Option, ...] = _EVERYWHERE
    if line.command is not None:
        options = (*line.command.options, *((_BUILD_ID,) if line.command.has_build else ()), *_EVERYWHERE)
    elif line.noun is None:
        options = (*_EVERYWHERE, _VERSION)
    for option in options:
        if name in option.names or name in option.negative:
            return option
    if line.command is None or line.noun is None:
        raise UsageError(f"there is no option {name} before the command: bldst --help")
    known = [known for option in options for known in (*option.names, *option.negative)]
    raise UsageError(_unknown(line.noun.line(line.command), name, known))


def _target(line: Line, option: Option) -> Fields:
    return line.general if option in (*_EVERYWHERE, _VERSION) else line.fields


def _set_flag(line: Line, option: Option, name: str, text: Optional[str]) -> None:
    if text not in (None, "true", "false"):
        raise UsageError(f"{name} takes true or false, or no value")
    _target(line, option)[option.field] = (text != "false") == (name in option.names)


def _set_value(line: Line, option: Option, name: str, text: str) -> None:
    value = read_value(option.kind, name, text)
    target = _target(line, option)
    if option.repeated:
        target.setdefault(option.field, []).append(value)
        return
    target[option.field] = value
    if isinstance(value, (int, str)):
        target.update(option.also.get(value, {}))


def _check_output(line: Line, command: Command) -> None:
    formats = (*_FORMATS, *command.formats)
    if line.output is not None and line.output not in formats:
        raise UsageError("--output is one of {}, not {!r}".format(", ".join(formats), line.output))


def _places(line: Line, command: Command, free: List[str], build_id: Optional[str]) -> Dict[str, Any]:
    """Assign the free words to the command's positionals; the build may be in an option or in the environment."""
    wanted = [name for name in command.positionals if name.rstrip("?.") not in line.fields]
    places: Dict[str, Any] = {BUILD: line.fields.pop(BUILD)} if BUILD in line.fields else {}
    if BUILD in wanted and build_id and _leaves_out_build(wanted, free):
        places[BUILD] = build_id
        wanted.remove(BUILD)
    if BUILD in wanted and wanted[-1].endswith("...") and free and "=" in free[0]:
        raise UsageError(f"{_name_of(line)} needs {_described([BUILD])}")
    for name in wanted:
        if name.endswith("..."):
            places[name[:-3]], free = free, []
        elif free:
            places[name.rstrip("?")] = _positional(name, free.pop(0))
        elif not name.endswith("?"):
            raise UsageError(f"{_name_of(line)} needs {_described(wanted)}")
    if free and KEY in places:
        raise UsageError(f"{_name_of(line)} takes one word")  # any of them may be the key
    if free:
        raise UsageError(f"{_name_of(line)} takes no further word {free[0]!r}")
    return places


def _leaves_out_build(wanted: List[str], free: List[str]) -> bool:
    needed = [name for name in wanted if not name.endswith(("?", "..."))]
    if len(free) < len(needed):
        return True
    return wanted[-1].endswith("...") and "=" in free[0]


def _positional(name: str, word: str) -> str:
    if name == BUILD:
        return str(read_value("id", "--build-id", word))
    if word in NOT_AN_ID and not name.endswith("?"):
        raise UsageError("no {}: the word is empty".format(name.replace("_", " ")))
    return word


def _described(wanted: List[str]) -> str:
    """The required positionals, for the error of a line that lacks them."""
    needed = [name for name in wanted if not name.endswith(("?", "..."))]
    words = ["the id of a build (or BLDST_BUILD_ID)" if name == BUILD else name.upper() for name in needed]
    return " and ".join(words)


def _complete(line: Line, command: Command, used: List[str]) -> None:
    for dialect in command.dialects:
        if dialect.marks.intersection(used):
            line.fields = {**dialect.defaults, **line.fields}
    line.fields = {**command.fixed, **line.fields}
    if command.prepare:
        command.prepare(line.fields)
    for field in command.required:
        if field not in line.fields:
            names = [option.names[0] for option in command.options if option.field == field]
            raise UsageError(f"{_name_of(line)} needs {names[0]}")


def _name_of(line: Line) -> str:
    return line.noun.line(line.command) if line.noun and line.command else ""


def _unknown(place: str, word: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(word, known, 1)
    suggestion = f"did you mean {close[0]}?" if close else f"bldst {place} --help"
    return "{} has no {} {}: {}".format(place, "option" if word[:1] == "-" else "command", word, suggestion)
