"""The table of differences between the generations in README.md."""

from pathlib import Path

import jenkins_emulator
from jenkins_emulator.generations import NEW, OLD, table


def test_readme_shows_the_table_of_generations() -> None:
    readme = (Path(jenkins_emulator.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert "\n".join(table()) in readme


def test_every_row_differs_between_the_generations() -> None:
    assert [name for name, value in vars(OLD).items() if getattr(NEW, name) == value] == []
