"""Reads and writes the recorded examples of a page in docs/: the block after each `<!-- recorded: name -->`."""

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"(<!-- recorded: ([a-z0-9-]+) -->\n```\w*\n)(.*?)(```)", re.DOTALL)
_NAME = re.compile(r"<!-- recorded: (.*?) -->")


def shown(page: Path) -> dict[str, str]:
    """The examples on the page, by name. Raises ValueError as `written` does."""
    text = page.read_text(encoding="utf-8")
    _check_blocks(text)
    return {name: example for _, name, example, _ in _BLOCK.findall(text)}


def written(page: str, examples: Mapping[str, str]) -> str:
    """The text of the page with these examples instead of its own.

    Raises:
        ValueError: the page names an example that was not recorded, lacks one, or has no block below a name.
    """
    _check_blocks(page)
    named = {name for _, name, _, _ in _BLOCK.findall(page)}
    if unknown := named - examples.keys():
        raise ValueError(f"Record {', '.join(sorted(unknown))}, or remove them from the page.")
    if missing := examples.keys() - named:
        raise ValueError(f"Put a block for {', '.join(sorted(missing))} on the page.")
    return _BLOCK.sub(lambda block: f"{block[1]}{examples[block[2]]}{block[4]}", page)


def _check_blocks(page: str) -> None:
    blocks = {start.start() for start in _BLOCK.finditer(page)}
    for comment in _NAME.finditer(page):
        if comment.start() not in blocks:
            raise ValueError(f"Put a block ```http directly below the comment recorded: {comment[1]}.")
