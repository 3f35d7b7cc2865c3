"""The table of what differs between the generations, as README.md shows it."""

from pathlib import Path

import jenkins_emulator
from jenkins_emulator.generations import NEW, OLD, table


def test_the_readme_shows_the_table() -> None:
    readme = (Path(jenkins_emulator.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in readme


def test_every_row_differs() -> None:
    assert [name for name, value in vars(OLD).items() if getattr(NEW, name) == value] == []
