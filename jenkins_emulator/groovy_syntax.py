"""The parser for the Groovy of a rendered Jenkinsfile: calls with strings, numbers, lists, named arguments and blocks.

Anything else is a ScriptError with its position. It is strict, so that what runs here also runs in a real Jenkins.
"""

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from jenkins_emulator.groovy_strings import ScriptError, read_string


class Token(NamedTuple):
    """A token. `kind` is word, number, string, newline, end or the punctuation itself; lines and columns start at 1."""

    kind: str
    text: str
    line: int
    column: int


@dataclass(frozen=True)
class Word:
    """A bare name used as a value: `any`, `true`."""

    name: str


@dataclass
class Call:
    """`name(args, key: value) { block }`; `block` is None without braces."""

    name: str
    line: int
    column: int
    positional: list["Value"] = field(default_factory=list)
    named: dict[str, "Value"] = field(default_factory=dict)
    block: "list[Call] | None" = None


Value = str | int | Word | Call | list["Value"]

_SKIPPED = re.compile(r"[ \t\f]+|//[^\n]*|/\*.*?\*/", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[0-9]+(?![A-Za-z0-9_.])")


def tokens(script: str) -> list[Token]:
    """The script's tokens, the last of kind `end`; raises ScriptError if none matches."""
    script = script.replace("\r\n", "\n").replace("\r", "\n")
    found: list[Token] = []
    at, line, line_start = 0, 1, 0

    def add(kind: str, text: str, length: int) -> None:
        nonlocal at, line, line_start
        found.append(Token(kind, text, line, at - line_start + 1))
        move(length)

    def move(length: int) -> None:
        nonlocal at, line, line_start
        passed = script[at : at + length]
        at += length
        if "\n" in passed:
            line += passed.count("\n")
            line_start = at - (len(passed) - passed.rindex("\n") - 1)

    while at < len(script):
        char = script[at]
        if skipped := _SKIPPED.match(script, at):
            move(len(skipped.group()))
        elif char in "\n;":
            add("newline", char, 1)
        elif char in "{}()[],:":
            add(char, char, 1)
        elif char == "'":
            text, length = read_string(script, at, line, at - line_start + 1)
            add("string", text, length)
        elif matched := _WORD.match(script, at):
            add("word", matched.group(), len(matched.group()))
        elif matched := _NUMBER.match(script, at):
            add("number", matched.group(), len(matched.group()))
        else:
            raise ScriptError(f"unexpected char: {char!r}, which this Jenkins does not run", line, at - line_start + 1)
    found.append(Token("end", "", line, at - line_start + 1))
    return found


def parse(script: str) -> list[Call]:
    """The calls at the top of the script."""
    return _Parser(tokens(script)).statements(until="end")


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self, kind: str | None = None) -> Token:
        token = self._next
        if kind is not None and token.kind != kind:
            raise self._unexpected(f"expecting '{kind}', found '{token.text}'")
        self._at += 1
        return token

    def _unexpected(self, message: str | None = None) -> ScriptError:
        token = self._next
        return ScriptError(message or f"unexpected token: {token.text}", token.line, token.column)

    def _skip_newlines(self) -> None:
        while self._next.kind == "newline":
            self._at += 1

    def statements(self, until: str) -> list[Call]:
        found: list[Call] = []
        self._skip_newlines()
        while self._next.kind != until:
            if self._next.kind == "end":
                raise self._unexpected(f"expecting '{until}', found ''")
            found.append(self._call(statement=True))
            # Groovy parses `a {…} b {…}` on one line as one chained call; a real Jenkins refuses it too.
            if self._next.kind not in ("newline", until, "end"):
                raise self._unexpected(f"Expected a line break before '{self._next.text}'")
            self._skip_newlines()
        self._take(until)
        return found

    def _call(self, *, statement: bool) -> Call:
        name = self._take("word")
        call = Call(name.text, name.line, name.column)
        if self._next.kind == "(":
            self._take("(")
            self._arguments(call, closed_by=")")
            self._take(")")
        elif statement and self._next.kind in ("string", "number", "word", "["):
            self._arguments(call, closed_by=None)
        if statement and self._next.kind == "{":
            self._take("{")
            call.block = self.statements(until="}")
        return call

    def _arguments(self, call: Call, *, closed_by: str | None) -> None:
        if closed_by:
            self._skip_newlines()
        while closed_by is None or self._next.kind != closed_by:
            if self._next.kind == "word" and self._tokens[self._at + 1].kind == ":":
                key = self._take("word")
                self._take(":")
                if key.text in call.named:
                    raise ScriptError(f"{key.text} is given twice", key.line, key.column)
                call.named[key.text] = self._value()
            else:
                call.positional.append(self._value())
            if closed_by:
                self._skip_newlines()
            if self._next.kind != ",":
                return
            self._take(",")
            self._skip_newlines()

    def _value(self) -> Value:
        token = self._next
        match token.kind:
            case "string":
                return self._take().text
            case "number":
                return int(self._take().text)
            case "[":
                return self._list()
            case "word" if self._tokens[self._at + 1].kind == "(":
                return self._call(statement=False)
            case "word":
                return Word(self._take().text)
        raise self._unexpected()

    def _list(self) -> list[Value]:
        self._take("[")
        items: list[Value] = []
        self._skip_newlines()
        while self._next.kind != "]":
            items.append(self._value())
            self._skip_newlines()
            if self._next.kind == ",":
                self._take(",")
                self._skip_newlines()
            elif self._next.kind != "]":
                raise self._unexpected()
        self._take("]")
        return items
