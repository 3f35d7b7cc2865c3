"""The `tree=` parameter."""

import pytest

from jenkins_emulator.tree import Bean, TreeError, parse_tree, render

BUILDS = [Bean("Run", {"number": n, "result": None, "url": f"u{n}"}, brief=("number", "url")) for n in (5, 4, 3, 2, 1)]
JOB = Bean("Job", {"name": "j", "builds": lambda: BUILDS, "allBuilds": BUILDS, "actions": [Bean(None, {"x": 1})]},
           brief=("name",), hidden=("allBuilds",))  # fmt: skip


@pytest.mark.parametrize(
    ("tree", "numbers"),
    [
        ("builds[number]", [5, 4, 3, 2, 1]),
        ("builds[number]{0,2}", [5, 4]),
        ("builds[number]{1,3}", [4, 3]),
        ("builds[number]{,1}", [5]),
        ("builds[number]{3,}", [2, 1]),
        ("builds[number]{2}", [3]),
        ("allBuilds[number]{0,10}", [5, 4, 3, 2, 1]),
    ],
)
def test_range_selects_entries_of_a_list(tree: str, numbers: list[int]) -> None:
    shown = render(JOB, parse_tree(tree), 0)
    assert shown == {"_class": "Job", tree.split("[", maxsplit=1)[0]: [{"_class": "Run", "number": n} for n in numbers]}


def test_nested_properties_are_selected() -> None:
    assert render(JOB, parse_tree("name,actions[x],builds[url]{0,1}"), 0) == {
        "_class": "Job",
        "name": "j",
        "builds": [{"_class": "Run", "url": "u5"}],
        "actions": [{"x": 1}],
    }


def test_depth_shows_nested_objects_completely() -> None:
    assert render(JOB, None, 0)["builds"][0] == {"_class": "Run", "number": 5, "url": "u5"}
    assert render(JOB, None, 1)["builds"][0] == {"_class": "Run", "number": 5, "result": None, "url": "u5"}
    assert "allBuilds" not in render(JOB, None, 1)


@pytest.mark.parametrize("tree", ["a[", "a]", "a[b", "[a]", "a{x}", "a{}", "a[b]]", "a b]"])
def test_invalid_tree_is_refused(tree: str) -> None:
    with pytest.raises(TreeError):
        parse_tree(tree)
