"""What the demo shows: one line an event, with the seconds since the start; coloured on a terminal, plain elsewhere."""

import re
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

_WIDTH_OF_PICTURE = 124
_STYLES = {"status": "bold cyan", "log": "dim", "kafka": "dim magenta"}


class Screen:
    """Prints events as they happen; with `record` the same can be saved as a picture afterwards."""

    def __init__(self, *, record: bool = False) -> None:
        self._soft_wrap = not record  # a picture has an edge
        self._console = Console(
            record=record,
            highlight=False,
            width=_WIDTH_OF_PICTURE if record else None,
            force_terminal=True if record else None,
        )
        self._started_at = time.monotonic()
        self._unfinished_line = b""

    def event(self, kind: str, text: str) -> None:
        """One line."""
        line = Text.assemble(
            (f"{time.monotonic() - self._started_at:6.2f} s  ", "dim"),
            (f"{kind:<9} ", _STYLES.get(kind, "bold")),
            text,
        )
        self._console.print(line, soft_wrap=self._soft_wrap)

    def log(self, piece: bytes) -> None:
        """Bytes of the log, as they came; shown by whole lines."""
        *lines, self._unfinished_line = (self._unfinished_line + piece).split(b"\n")
        for line in lines:
            self._log_line("log", line)

    def message(self, piece: bytes) -> None:
        """What a message of Kafka added to the log: mostly a line."""
        for line in piece.split(b"\n")[: -1 if piece.endswith(b"\n") else None]:
            self._log_line("kafka", line)

    def end_log(self) -> None:
        """No more bytes follow."""
        if self._unfinished_line:
            self._log_line("log", self._unfinished_line)
            self._unfinished_line = b""

    def fact(self, name: str, text: str, where: Path | str) -> None:
        """One thing of the summary: what it is, and under it where it is."""
        self._console.print(Text.assemble((f"  {name:<10}", "bold"), text), soft_wrap=self._soft_wrap)
        self._console.print(Text(f"            {where}"), soft_wrap=self._soft_wrap)

    def line(self, text: str = "", *, style: str = "") -> None:
        """A line without a time."""
        self._console.print(Text(text, style=style), soft_wrap=self._soft_wrap)

    def save(self, path: Path) -> None:
        """Write what was shown as an SVG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self._console.export_svg(title="shuttle demo")
        # The fonts would be fetched from elsewhere by whoever looks at it.
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")

    def _log_line(self, kind: str, line: bytes) -> None:
        self._console.print(
            Text.assemble(
                (f"{time.monotonic() - self._started_at:6.2f} s  ", "dim"),
                (f"{kind:<9} ", _STYLES[kind]),
                # A build may colour its output; what else it could tell a terminal to do is left out.
                Text.from_ansi(line.decode(errors="replace")),
            ),
            soft_wrap=self._soft_wrap,
        )
