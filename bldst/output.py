"""Prints data to stdout, as the command and `--output` want it."""

import json
from typing import Any, Optional, TextIO

from bldst.errors import CommandError
from bldst.grammar import Command


class Output:
    """Stdout with the format that was asked for.

    Without one, a person at a terminal gets tables. A program gets JSON: pipelines parse what `build get` prints.
    """

    def __init__(self, stream: TextIO, chosen: Optional[str]) -> None:
        self._stream = stream
        self.chosen = chosen

    def show(self, command: Command, data: Any, *, announces: bool = False) -> None:
        """Print the data of an answer."""
        if command.output in ("row", "rows") or self.chosen in ("json", "table"):
            self.show_data(data, command)
        elif command.output in ("id", "build-id"):
            prefix = "Build ID: " if announces and command.output == "build-id" else ""
            self.line(prefix + _id_of(data))

    def show_data(self, data: Any, command: Command) -> None:
        """Print a row or a list of rows."""
        if self.wants_json:
            self.json(data)
            return
        from bldst.tables import as_table, as_text

        render = as_text if self.chosen == "text" else as_table
        for line in render(data, command.columns):
            self.line(line)

    @property
    def wants_json(self) -> bool:
        """Whether data are printed as JSON."""
        return self.chosen == "json" or (self.chosen is None and not self._stream.isatty())

    def json(self, data: Any) -> None:
        """Print JSON; other characters than ASCII only if the stream is UTF-8."""
        utf8 = (getattr(self._stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
        self.line(json.dumps(data, indent=2, ensure_ascii=not utf8))

    def line(self, text: str) -> None:
        """Print a line as it is."""
        self._stream.write(text + "\n")

    def flush(self) -> None:
        """Write out what was printed."""
        self._stream.flush()


def _id_of(data: Any) -> str:
    found = (data.get("id") or data.get("build_id")) if isinstance(data, dict) else None
    if not found:
        raise CommandError("the answer has no id")
    return str(found)
