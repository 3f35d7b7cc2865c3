"""Decoding of Groovy's '…' and '''…''' strings, and the error for a script that cannot be compiled."""

import re

_ESCAPE = re.compile(r"u+([0-9A-Fa-f]{4})|([0-3]?[0-7]{1,2})|([bfnrt\\'\"$])|(\n)")
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

# Frames of the recorded stack trace; users skip them.
_TRACE = (
    "\tat org.codehaus.groovy.control.ErrorCollector.failIfErrors(ErrorCollector.java:310)\n"
    "\tat org.jenkinsci.plugins.workflow.cps.CpsFlowExecution.parseScript(CpsFlowExecution.java:571)\n"
    "\tat org.jenkinsci.plugins.workflow.cps.CpsFlowExecution.start(CpsFlowExecution.java:523)\n"
    "\tat org.jenkinsci.plugins.workflow.job.WorkflowRun.run(WorkflowRun.java:337)\n"
    "\tat hudson.model.ResourceController.execute(ResourceController.java:97)\n"
    "\tat hudson.model.Executor.run(Executor.java:429)\n"
)


class ScriptError(Exception):
    """The script does not compile; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"{message} @ line {line}, column {column}.")
        self.message = message
        self.line = line
        self.column = column

    def excerpt(self, script: str) -> str:
        """The message and the position in the source, as Jenkins prints them."""
        lines = script.split("\n")
        source = lines[self.line - 1] if self.line <= len(lines) else ""
        return f"WorkflowScript: {self.line}: {self}\n   {source}\n   {' ' * (self.column - 1)}^\n\n"

    def console(self, script: str) -> str:
        """The text in the log of a build of this script."""
        head = "org.codehaus.groovy.control.MultipleCompilationErrorsException: startup failed:\n"
        return f"{head}{self.excerpt(script)}1 error\n\n{_TRACE}"


def read_string(script: str, start: int, line: int, column: int) -> tuple[str, int]:
    """The value of the string literal that begins at `start`, and the literal's length with its quotes."""
    quote = "'''" if script.startswith("'''", start) else "'"
    at = start + len(quote)
    parts: list[str] = []
    while not script.startswith(quote, at):
        if at >= len(script) or (script[at] == "\n" and quote == "'"):
            raise ScriptError("expecting ''', found the end of the line or script", line, column)
        if script[at] != "\\":
            parts.append(script[at])
            at += 1
            continue
        escape = _ESCAPE.match(script, at + 1)
        if escape is None:
            raise ScriptError(f"unexpected escape: \\{script[at + 1 : at + 2]}", line, column)
        parts.append(_decode(escape))
        at = escape.end()
    # Two \uXXXX of a surrogate pair are one character.
    value = "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return value, at + len(quote) - start


def _decode(escape: re.Match[str]) -> str:
    unicode_digits, octal_digits, simple, line_break = escape.groups()
    if unicode_digits:
        return chr(int(unicode_digits, 16))
    if octal_digits:
        return chr(int(octal_digits, 8))
    if line_break:
        return ""  # a backslash at the end of a line joins it with the next
    return _SIMPLE.get(simple, simple)
