"""Files in /proc of all processes."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_of_processes(name: str) -> Iterator[Path]:
    """`/proc/<pid>/<name>` of each process; it may have ended. Path.glob raises ProcessLookupError in that case."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208 - names, not paths
        yield Path("/proc", pid, name)
