"""Programs of a test on the PATH of the agents that an emulated Jenkins starts."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def agent_programs(folder: Path, **texts: str) -> Iterator[Path]:
    """Write these programs, and put them before all others; start the Jenkins within. Yields their folder."""
    programs = folder / "programs"
    programs.mkdir()
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        yield programs
