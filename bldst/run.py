"""Runs a command that was read: sends its request, prints the answer."""

from importlib import import_module
from typing import Any, BinaryIO, Callable, Dict, List, Mapping, Optional, TextIO

from bldst.answers import Answer, printable
from bldst.client import Client
from bldst.command_line import Line
from bldst.errors import CommandError, UsageError
from bldst.grammar import Command, Fields
from bldst.output import Output
from bldst.settings import Settings


class Run:
    """One command with its settings, its words and its streams."""

    def __init__(
        self,
        command: Command,
        line: Line,
        *,
        settings: Settings,
        output: Output,
        stdin: TextIO,
        say: Callable[[str], None],
    ) -> None:
        self.command = command
        self.fields: Fields = dict(line.fields)
        self.places: Dict[str, Any] = line.places
        self.settings = settings
        self.output = output
        self.stdin = stdin
        self.say = say
        self._client: Optional[Client] = None

    @property
    def client(self) -> Client:
        """The connection to the service; made when it is first needed."""
        if self._client is None:
            self._client = Client(self.settings, self.say)
        return self._client

    def ask(self, method: str, path: str, query: Optional[Fields] = None, body: Any = None) -> Any:
        """Send a request and return the data of its answer.

        Args:
            method: The method.
            path: May contain `{name}` of a positional or a field, and a part in brackets that is kept only if it can be
                filled. A field in the path is removed from `fields`, which are sent in the query or the body.
            query: The query's parameters.
            body: Sent as JSON.

        Raises:
            CommandError: It was not done.
        """
        answer = self.client.send(method, self.fill(path), query, body)
        self._warn_of_ignored_fields(answer)
        return answer.require_success()

    def upload(self, path: str, file: BinaryIO, size_bytes: int, query: Optional[Fields] = None) -> Fields:
        """Send a file by PUT, and return the object of the answer.

        Raises:
            CommandError: It was not done, or the answer is something else.
        """
        answer = self.client.send("PUT", self.fill(path), query, file=file, size_bytes=size_bytes)
        return require_object(answer.require_success())

    def ask_object(self, method: str, path: str, query: Optional[Fields] = None, body: Any = None) -> Fields:
        """Like `ask`, for an answer that is an object.

        Raises:
            CommandError: It was not done, or the answer is something else.
        """
        return require_object(self.ask(method, path, query, body))

    def fill(self, path: str) -> str:
        """Return the path with its names replaced by percent-encoded values."""
        head, bracket, rest = path.partition("[")
        if bracket:
            part, _, tail = rest.partition("]")
            has_all = all(name in self.fields or name in self.places for name in _names(part))
            path = head + (part if has_all else "") + tail
        for name in _names(path):
            value = self.places[name] if name in self.places else self.fields.pop(name)
            path = path.replace("{" + name + "}", _encoded(str(value)))
        return path

    def _warn_of_ignored_fields(self, answer: Answer) -> None:
        ignored = answer.header("Shuttle-Ignored-Fields")
        if ignored:
            self.say("the service ignored: " + printable(ignored))

    def read_stdin(self, *, line: bool = False) -> str:
        """Return what stdin contains, or one line of it, without the newline that `echo` adds.

        Raises:
            CommandError: It is not UTF-8.
        """
        try:
            text = self.stdin.readline() if line else self.stdin.read()
        except UnicodeDecodeError:
            raise CommandError("stdin is not UTF-8") from None
        return text[:-1] if text.endswith("\n") else text

    def confirm(self) -> None:
        """Ask for a confirmation, if the command needs one.

        Raises:
            UsageError: There is nobody to ask.
            CommandError: The answer is not yes.
        """
        if not self.command.confirm or self.fields.get("yes"):
            return
        if not self.stdin.isatty():
            raise UsageError("there is no terminal to ask on: add --yes")
        self.say(self.command.confirm.format(**self.places) + " [y/N]")
        if self.read_stdin(line=True).strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was done")


def run_command(run: Run) -> int:
    """Do the work of a command and return its exit code.

    Raises:
        UsageError: The command line is wrong.
        CommandError: The service did not do it.
    """
    command = run.command
    if command.run:
        module, _, function = command.run.partition(":")
        work: Callable[[Run], int] = getattr(import_module("bldst." + module), function)
        return work(run)
    run.confirm()
    path = run.fill(command.path)
    sent = run.fields
    if command.method == "GET":
        data = run.ask("GET", path, query=sent)
    else:
        data = run.ask(command.method, path, body=None if command.method == "DELETE" else sent)
    run.output.show(command, data, announces=run.settings.announces_build_id)
    if command.done:
        run.say(sentence(command.done, sent, data))
    return 0


def sentence(template: str, sent: Mapping[str, Any], answer: Any) -> str:
    """Fill the names of a sentence from the answer, else from what was sent."""
    values = {**sent, **(answer if isinstance(answer, dict) else {})}
    return printable(template.format_map(_Known(values)))


class _Known(Dict[str, Any]):
    """Values for a template; a name without one becomes a dash."""

    def __missing__(self, name: str) -> str:
        return "-"


def require_object(data: Any) -> Fields:
    """Return the data of an answer if they are an object.

    Raises:
        CommandError: They are something else.
    """
    if not isinstance(data, dict):
        raise CommandError("the answer is not the JSON object that was expected")
    return data


def objects(data: Any) -> List[Fields]:
    """Return the objects of a list; an empty list for anything else."""
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def _names(path: str) -> List[str]:
    return [part.partition("}")[0] for part in path.split("{")[1:]]


def _encoded(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
