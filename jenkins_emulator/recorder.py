"""The journal of a running build on disk: engine lines, outcomes of steps, copied output.

A resumed build runs its pipeline from the beginning with the same recorder. Recorded actions are not repeated, so no
step runs twice and no line is written twice. Every append to the log is announced in the journal first: after a SIGKILL
the last announcement shows whether the append is complete. Files are not fsynced: a power cut can lose the last moments
of a build.
"""

import json
import os
from pathlib import Path
from typing import Any

from jenkins_emulator.console import note

_COPY_BYTES = 1 << 20


class Recorder:
    """The files `journal.jsonl` and `log` of one build; used from the event loop only."""

    def __init__(self, directory: Path) -> None:
        """Open or create both files in `directory`, and complete an append that was cut off."""
        self.log_path = directory / "log"
        self._journal_path = directory / "journal.jsonl"
        self._written: set[str] = set()
        self._values: dict[str, Any] = {}
        self._copied: dict[str, int] = {}
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._log = os.open(self.log_path, flags, 0o600)
        self._journal = os.open(self._journal_path, flags, 0o600)
        self.size_bytes = os.fstat(self._log).st_size
        self.visible_bytes = 0
        self._recover()

    def close(self) -> None:
        """Close both files; idempotent."""
        for fd in (self._log, self._journal):
            if fd >= 0:
                os.close(fd)
        self._log = self._journal = -1

    @property
    def is_open(self) -> bool:
        """Whether records are still possible."""
        return self._log >= 0

    @property
    def is_resumed(self) -> bool:
        """Whether an earlier process recorded something here."""
        return bool(self._written)

    def line(self, key: str, text: str, *, linked: str = "") -> None:
        """Write `text` as a line of the log, once per `key`; `linked` is the part that a hidden note precedes."""
        if key in self._written:
            return
        self._written.add(key)
        raw = _with_notes(key, text, linked)
        self._announce({"k": key, "at": self.size_bytes, "text": text, "linked": linked})
        self._append(raw)

    def recall(self, key: str) -> Any:
        """The value recorded under `key`, or None."""
        return self._values.get(key)

    def remember(self, key: str, value: Any) -> Any:
        """Record a JSON value under `key` once; returns the first recorded value."""
        if key not in self._values:
            self._announce({"k": key, "value": value})
            self._values[key] = value
        return self._values[key]

    def end_line(self, key: str) -> None:
        """End an unfinished line, once per `key`, so that a new line begins."""
        if self.size_bytes > self.visible_bytes:
            self.line(key, "")

    def copy(self, key: str, source_fd: int, *, final: bool) -> bool:
        """Append the lines of `source_fd` that follow the last copy; a partial last line only if `final`.

        A call copies at most 1 MiB; returns whether there may be more.
        """
        start = self._copied.get(key, 0)
        data = os.pread(source_fd, _COPY_BYTES, start)
        full = len(data) == _COPY_BYTES
        if not final:
            whole = data.rfind(b"\n") + 1
            if whole or not full:  # a line of more than 1 MiB is copied in pieces
                data = data[:whole]
        if not data:
            return False
        self._announce({"k": key, "at": self.size_bytes, "from": start, "n": len(data)})
        self._append(data)
        self._copied[key] = start + len(data)
        return full

    def _announce(self, record: dict[str, Any]) -> None:
        _write_all(self._journal, json.dumps(record, separators=(",", ":")).encode() + b"\n")

    def _append(self, data: bytes) -> None:
        _write_all(self._log, data)
        last_line_end = data.rfind(b"\n")
        if last_line_end >= 0:
            self.visible_bytes = self.size_bytes + last_line_end + 1
        self.size_bytes += len(data)

    def _recover(self) -> None:
        journal_bytes = 0
        last_append: tuple[int, dict[str, Any]] | None = None
        for raw in self._journal_path.read_bytes().splitlines(keepends=True):
            if not raw.endswith(b"\n"):
                break  # an incomplete announcement: its append has not begun
            record = json.loads(raw)
            if "value" in record:
                self._values[record["k"]] = record["value"]
            else:
                last_append = (journal_bytes, record)
                self._take(record)
            journal_bytes += len(raw)
        os.ftruncate(self._journal, journal_bytes)
        if last_append is not None:
            self._finish_append(*last_append)
        self.visible_bytes = _last_line_end(self._log, self.size_bytes)

    def _take(self, record: dict[str, Any]) -> None:
        if "text" in record:
            self._written.add(record["k"])
        else:
            self._copied[record["k"]] = record["from"] + record["n"]

    def _finish_append(self, journal_offset: int, record: dict[str, Any]) -> None:
        raw = _with_notes(record["k"], record["text"], record["linked"]) if "text" in record else b""
        wanted = record["at"] + (len(raw) if raw else record["n"])
        if self.size_bytes == wanted:
            return
        os.ftruncate(self._log, record["at"])
        self.size_bytes = record["at"]
        if raw:
            self._append(raw)
        else:
            # The source still has these bytes: remove the announcement, and let the next copy repeat it.
            os.ftruncate(self._journal, journal_offset)
            self._copied[record["k"]] = record["from"]


def _with_notes(key: str, text: str, linked: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape") + b"\n"
    if not linked:
        return raw
    before, found, after = raw.partition(linked.encode())
    return before + note(key) + found + after


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _last_line_end(fd: int, size: int) -> int:
    while size > 0:
        start = max(0, size - _COPY_BYTES)
        found = os.pread(fd, size - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        size = start
    return 0
