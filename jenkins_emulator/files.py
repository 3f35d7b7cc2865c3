"""Atomic writes of small files: readers see the old or the new text, even after a SIGKILL."""

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace `path` atomically (mode 0600)."""
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    new.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` with the JSON of `value`."""
    write_text(path, json.dumps(value))


def read_json(path: Path) -> Any:
    """The value of a file that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
