"""The examples in the pages of docs/ that show calls agree with the service's responses."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shuttle.web import Route, packerd
from shuttle.web.packerd.routes import PACKERD_ROUTES
from shuttle.web.routes import ROUTES
from shuttle.web.state import PREFIX
from shuttle.web.state.references import COLLECTIONS
from tests.recorded import legacy_api, new_api, packer_api, state_api
from tests.recorded.page import DOCS, shown, written

_PAGES = {
    "api.md": new_api.record,
    "legacy-api.md": legacy_api.record,
    "state-api.md": state_api.record,
    "packer-api.md": packer_api.record,
}
_ROUTES = (*ROUTES, *(replace(route, path=packerd.PREFIX + route.path) for route in PACKERD_ROUTES))


@pytest.mark.slow
@pytest.mark.timeout(240)  # a page is one conversation, from the first POST to a Jenkins that is down
@pytest.mark.parametrize(("page", "record"), _PAGES.items(), ids=list(_PAGES))
async def test_examples_of_the_page_agree_with_the_service(
    page: str, record: Callable[[Path], Awaitable[dict[str, str]]], tmp_path: Path
):
    examples = await record(tmp_path)
    on_page = shown(DOCS / page)
    assert set(on_page) == set(examples)
    for name, text in examples.items():
        assert on_page[name] == text, f"{name}: python -m tests.recorded writes the page anew"


def test_every_route_has_an_example():
    """An example of another kind of reference data than platforms is its POST; its other calls are the same."""
    called = [text.split(" ", 2)[:2] for page in _PAGES for text in shown(DOCS / page).values()]
    assert {_route_of(method, target) for method, target in called} >= {
        (each.method, each.path) for each in _ROUTES if not _is_shown_for_platforms(each)
    }


def _is_shown_for_platforms(route: Route) -> bool:
    others = [PREFIX + path for each in COLLECTIONS[1:] for path in each.paths]
    return route.method != "POST" and route.path.startswith(tuple(others))


def _route_of(method: str, target: str) -> tuple[str, str] | None:
    """The route that the router would select; None for a request that a receiver got."""
    path, method = target.partition("?")[0], "GET" if method == "HEAD" else method
    for route in _ROUTES:
        pattern = re.sub(r"{\w+:([^{}]*)}", r"\1", route.path)
        named = path.removesuffix("/") if route.state_api else path
        if route.method == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), named):
            return route.method, route.path
    return None


def test_changed_example_is_replaced_in_its_page():
    page = "a\n<!-- recorded: x-y -->\n```http\nold\n```\nb ```http\nelse\n```\n"
    assert written(page, {"x-y": "new\n"}) == "a\n<!-- recorded: x-y -->\n```http\nnew\n```\nb ```http\nelse\n```\n"


@pytest.mark.parametrize(
    ("page", "error"),
    [
        ("<!-- recorded: x -->\n\n```http\n```\n", "directly below the comment recorded: x"),
        ("<!-- recorded: X -->\n```http\n```\n", "recorded: X"),
        ("<!-- recorded: x -->\n```http\n```\n<!-- recorded: y -->\n```http\n```\n", "Record y,"),
        ("no example", "Put a block for x "),
    ],
    ids=["no block below the name", "name of another form", "not recorded", "not on the page"],
)
def test_page_that_does_not_fit_the_examples_is_refused(page: str, error: str):
    with pytest.raises(ValueError, match=error):
        written(page, {"x": "new\n"})
