"""The demo's output: one line per event with the seconds since the start; coloured on a terminal, plain elsewhere."""

import re
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

_WIDTH_OF_PICTURE = 124
_STYLES = {"status": "bold cyan", "log": "dim", "kafka": "dim magenta", "kill": "bold red", "takeover": "bold green"}


class Screen:
    """Prints events as they happen; with `record` the output can be saved as an SVG afterwards."""

    def __init__(self, *, record: bool = False) -> None:
        self._soft_wrap = not record  # an SVG has a fixed width
        self._console = Console(
            record=record,
            highlight=False,
            width=_WIDTH_OF_PICTURE if record else None,
            force_terminal=True if record else None,
        )
        self._started_at = time.monotonic()
        self._unfinished_line = b""

    def event(self, kind: str, text: str) -> None:
        """Print an event on one line, with the time."""
        line = Text.assemble(
            (f"{time.monotonic() - self._started_at:6.2f} s  ", "dim"),
            (f"{kind:<9} ", _STYLES.get(kind, "bold")),
            text,
        )
        self._console.print(line, soft_wrap=self._soft_wrap)

    def log(self, piece: bytes) -> None:
        """Show bytes of the log as they arrive, in whole lines."""
        *lines, self._unfinished_line = (self._unfinished_line + piece).split(b"\n")
        for line in lines:
            self._log_line("log", line)

    def message(self, piece: bytes) -> None:
        """Show what a Kafka message added to the log, usually a line."""
        for line in piece.split(b"\n")[: -1 if piece.endswith(b"\n") else None]:
            self._log_line("kafka", line)

    def end_log(self) -> None:
        """Show an unfinished last line: no more bytes follow."""
        if self._unfinished_line:
            self._log_line("log", self._unfinished_line)
            self._unfinished_line = b""

    def fact(self, name: str, text: str, where: str) -> None:
        """Show an entry of the summary: what it is, and below it where it is."""
        self._console.print(Text.assemble((f"  {name:<10}", "bold"), text), soft_wrap=self._soft_wrap)
        self._console.print(Text(f"            {where}"), soft_wrap=self._soft_wrap)

    def line(self, text: str = "", *, style: str = "") -> None:
        """Show a line without a time."""
        self._console.print(Text(text, style=style), soft_wrap=self._soft_wrap)

    def save(self, path: Path) -> None:
        """Write the output as an SVG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self._console.export_svg(title="shuttle demo")
        # Without the fonts, which viewers would fetch from another server.
        path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL), encoding="utf-8")

    def _log_line(self, kind: str, line: bytes) -> None:
        self._console.print(
            Text.assemble(
                (f"{time.monotonic() - self._started_at:6.2f} s  ", "dim"),
                (f"{kind:<9} ", _STYLES[kind]),
                # Colours of a build's output are kept; other control sequences are removed.
                Text.from_ansi(line.decode(errors="replace")),
            ),
            soft_wrap=self._soft_wrap,
        )
