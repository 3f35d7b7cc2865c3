"""`python -m tests.recorded` records the examples of docs/api.md and docs/legacy-api.md again."""

import asyncio
import tempfile
from pathlib import Path

from tests.recorded import legacy_api, new_api
from tests.recorded.page import DOCS, written


def main() -> None:
    """Record both pages."""
    for name, record in (("legacy-api.md", legacy_api.record), ("api.md", new_api.record)):
        with tempfile.TemporaryDirectory() as folder:
            examples = asyncio.run(record(Path(folder)))
        page = DOCS / name
        page.write_text(written(page.read_text(encoding="utf-8"), examples), encoding="utf-8")


if __name__ == "__main__":
    main()
