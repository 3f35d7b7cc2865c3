"""What a command is made of: its words, its options, the request it sends, how the answer is printed.

The command lines that pipelines contain were written for different versions of this tool. So an option has several
names, and several commands send the same request. All of that is data in `bldst/commands/`.
"""

from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

BUILD = "build"
"""The positional that is also taken from `--build-id` or from BLDST_BUILD_ID."""

KEY = "key"
"""The positional that is the caller's key: it may begin with a dash, and no error repeats it."""

Fields = Dict[str, Any]


class Option:
    """An option, with all of its names.

    Args:
        names: The names, separated by spaces; `--x/--not-x` for a flag and its opposite.
        field: The field of the request that gets the value.
        kind: `text`, `id` (a text that must not be empty), `int`, `code` (a number or a name), `json`, `list`
            (separated by commas), or `flag`, which takes no value.
        also: Further fields for certain values, for instance `{100: {"final": False}}`.
        repeated: Each use adds a value to a list.
        about: What it means, for the help.
    """

    def __init__(
        self,
        names: str,
        field: str,
        kind: str = "text",
        *,
        also: Optional[Mapping[Any, Fields]] = None,
        repeated: bool = False,
        about: str = "",
    ) -> None:
        positive, _, negative = names.partition("/")
        self.names = tuple(positive.split())
        self.negative = tuple(negative.split())
        self.field = field
        self.kind = kind
        self.also = also or {}
        self.repeated = repeated
        self.about = about


class Dialect:
    """Default values of fields, for a command line that contains one of the options `marks`."""

    def __init__(self, marks: str, defaults: Fields) -> None:
        self.marks = frozenset(marks.split())
        self.defaults = defaults


class Command:
    """One command.

    Args:
        names: Its name and synonyms, separated by spaces.
        about: One line for the help.
        positionals: Names of the words after the command; `NAME?` may be absent, `NAME...` takes all that follow.
        options: What it takes.
        required: Fields that must be given.
        request: Method and path; `{name}` in the path is a positional or a field, which is then left out of the body.
        fixed: Fields that are always sent, unless an option gives another value.
        dialects: Further defaults, by the options that were used.
        prepare: Changes the fields before they are sent.
        output: `id`, `build-id`, `row`, `rows` or `done`.
        done: The sentence on stderr after success; `{field}` is one of the request or of the answer.
        columns: The columns of a table.
        run: `module:function` of `bldst` that does the work instead of `request`, imported only when it is used.
        confirm: The question that is asked before the request, unless there is `--yes`.
        formats: Output formats beside table, json and text.
    """

    def __init__(
        self,
        names: str,
        about: str,
        *,
        positionals: str = "",
        options: Sequence[Option] = (),
        required: str = "",
        request: str = "",
        fixed: Optional[Fields] = None,
        dialects: Sequence[Dialect] = (),
        prepare: Optional[Callable[[Fields], None]] = None,
        output: str = "done",
        done: str = "",
        columns: str = "",
        run: str = "",
        confirm: str = "",
        formats: Tuple[str, ...] = (),
    ) -> None:
        self.names = tuple(names.split())
        self.about = about
        self.positionals = tuple(positionals.split())
        self.options = tuple(options)
        self.required = tuple(required.split())
        self.method, _, self.path = request.partition(" ")
        self.fixed = fixed or {}
        self.dialects = tuple(dialects)
        self.prepare = prepare
        self.output = output
        self.done = done
        self.columns = tuple(columns.split())
        self.run = run
        self.confirm = confirm
        self.formats = formats

    @property
    def has_build(self) -> bool:
        """Whether the command is about a build."""
        return BUILD in self.positionals


class Noun:
    """A group of commands: `build`, `artifact`. `default` is the command if the next word names none of them."""

    def __init__(self, name: str, about: str, commands: Sequence[Command], default: str = "") -> None:
        self.name = name
        self.about = about
        self.commands = tuple(commands)
        self.default_command = self.command(default)

    def command(self, name: str) -> Optional[Command]:
        """Return the command with this name or synonym."""
        return next((command for command in self.commands if name in command.names), None)

    @property
    def only_command(self) -> Optional[Command]:
        """The command of a noun that has one of its own name, like `checkpoint`."""
        return self.command(self.name)

    @property
    def words(self) -> Sequence[str]:
        """The names of its commands."""
        return [name for command in self.commands for name in command.names]

    def line(self, command: Command) -> str:
        """The words that begin a line with this command."""
        return self.name if command is self.only_command else f"{self.name} {command.names[0]}"
