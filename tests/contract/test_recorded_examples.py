"""The examples in docs/legacy-api.md are what the service says."""

from pathlib import Path

import pytest

from tests.legacy_examples import record, shown, written

pytestmark = pytest.mark.timeout(240)  # they are one conversation from the first POST to a Jenkins that is down


async def test_every_example_of_the_page_is_what_the_service_answers(tmp_path: Path):
    examples = await record(tmp_path)
    on_page = shown()
    assert set(on_page) == set(examples)
    for name, text in examples.items():
        assert on_page[name] == text, f"{name}: python -m tests.legacy_examples writes the page anew"


def test_an_example_that_differs_is_written_in_its_place():
    page = "a\n<!-- recorded: x-y -->\n```http\nold\n```\nb ```http\nelse\n```\n"
    assert written(page, {"x-y": "new\n"}) == "a\n<!-- recorded: x-y -->\n```http\nnew\n```\nb ```http\nelse\n```\n"
