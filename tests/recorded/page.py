"""Reads and writes the recorded examples of a page in docs/: the block after each `<!-- recorded: name -->`."""

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"(<!-- recorded: ([a-z0-9-]+) -->\n```\w*\n)(.*?)(```)", re.DOTALL)


def shown(page: Path) -> dict[str, str]:
    """The examples on the page, by name."""
    return {name: text for _, name, text, _ in _BLOCK.findall(page.read_text(encoding="utf-8"))}


def written(page: str, examples: Mapping[str, str]) -> str:
    """The text of the page with these examples instead of its own."""
    return _BLOCK.sub(lambda block: f"{block[1]}{examples[block[2]]}{block[4]}", page)
