"""Prints rows: as a table on a terminal, elsewhere one line of tab-separated fields per row."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print the rows. None and "" are empty cells; cells are never interpreted as markup."""
    texts = [tuple("" if cell is None else str(cell) for cell in row) for row in rows]
    if not sys.stdout.isatty():
        for row in texts:
            print("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in texts:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
