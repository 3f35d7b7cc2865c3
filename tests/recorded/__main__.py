"""`python -m tests.recorded` records the examples of the pages of docs/ that show calls again."""

import asyncio
import sys
import tempfile
from pathlib import Path

from tests.recorded import legacy_api, new_api, packer_api, state_api
from tests.recorded.page import DOCS, written

_PAGES = {
    "legacy-api.md": legacy_api.record,
    "api.md": new_api.record,
    "state-api.md": state_api.record,
    "packer-api.md": packer_api.record,
}


def main() -> None:
    """Record all pages, or those that the arguments name."""
    for name, record in _PAGES.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as folder:
            examples = asyncio.run(record(Path(folder)))
        page = DOCS / name
        page.write_text(written(page.read_text(encoding="utf-8"), examples), encoding="utf-8")


if __name__ == "__main__":
    main()
