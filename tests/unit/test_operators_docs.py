"""The tables for operators have every reason, metric and log field that the code has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY

from shuttle import metrics

_ROOT = Path(__file__).parents[2]
_LOG_CALLS = {"debug", "info", "warning", "error", "exception"}


def test_every_reason_is_explained():
    assert _reasons_in_python() | _reasons_in_shell() == _first_column("operating.md", "Reasons")


def test_every_metric_is_explained():
    assert metrics.ACCEPTED  # importing the module registers them
    families = {family.name: family.type for family in REGISTRY.collect() if family.name.startswith("shuttle_")}
    names = {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}
    assert names == _first_column("monitoring.md", "Metrics")


def test_every_field_of_a_log_line_is_explained():
    renderer = {"timestamp", "level", "event", "exception"}
    passed = {
        keyword.arg
        for call in _calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in _LOG_CALLS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in {"log", "_log"}
        for keyword in call.keywords
        if keyword.arg not in {None, "exc_info"}
    }
    assert renderer | passed == _first_column("monitoring.md", "Log lines")


def test_log_events_in_the_changelog_exist():
    changed = (
        (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("need the new texts:\n")[2].partition("\n- ")[0]
    )
    texts = {node.value for node in _nodes() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    events = re.findall(r"^  - `([^`]+)`$", changed, re.MULTILINE)
    assert events
    texts |= {f"{text.partition(':')[0]}: …" for text in texts}
    assert set(events) - texts == set()


def _reasons_in_python() -> set[str]:
    """The reasons in calls like `Ending(state, reason, …)` and `BuildFailedError(reason, …)`."""
    place = {"Ending": 1, "BuildFailedError": 0, "RefusedError": 0, "Fault": 1}
    found = set()
    for call in _calls():
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        if name in place and len(call.args) > place[name]:
            reason = call.args[place[name]]
            if isinstance(reason, ast.Constant):
                found.add(str(reason.value))
    return found


def _reasons_in_shell() -> set[str]:
    scripts = _ROOT.joinpath("jenkins_pipelines", "shell").glob("*.sh")
    used = re.compile(r"^[^#\n]*\b(?:fail|refuse_link_out|conclude 143 stopped) ([a-z]+(?:_[a-z]+)+) ", re.MULTILINE)
    return {reason for script in scripts for reason in used.findall(script.read_text(encoding="utf-8"))}


def _calls() -> Iterator[ast.Call]:
    return (node for node in _nodes() if isinstance(node, ast.Call))


def _nodes() -> Iterator[ast.AST]:
    for path in _ROOT.joinpath("shuttle").rglob("*.py"):
        yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def _first_column(page: str, heading: str) -> set[str]:
    """The names in the first column of the first table after the heading."""
    text = (_ROOT / "docs" / page).read_text(encoding="utf-8")
    table = text.partition(f"\n## {heading}\n")[2].partition("\n|")[2].partition("\n\n")[0]
    return {name for row in table.splitlines() for name in re.findall(r"`([a-z_]+)`", row.split(" | ")[0])}
