"""Jenkins' JSON: exported objects, and the parameter `tree=`, which selects their properties."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r"[^\[\],{}]+|[\[\],]|\{[^}]*\}")
_RANGE = re.compile(r"\{(\d*)(,?)(\d*)\}")


class TreeError(Exception):
    """The value of `tree=` is invalid; Jenkins answers 500."""


@dataclass(frozen=True)
class Tree:
    """The selected properties by name, and the range `{start,end}` of a list."""

    children: Mapping[str, "Tree"] = field(default_factory=dict)
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Bean:
    """An exported object.

    `properties` are values, or functions that compute them when selected. `brief` are the properties of a nested object
    below the requested depth (None: all, as for parameters and causes); `hidden` ones are shown only by `tree=`.
    """

    cls: str | None
    properties: Mapping[str, Any]
    brief: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()


def parse_tree(text: str) -> Tree:
    """`a,b[c,d]{0,5}` as a Tree."""
    tokens = _TOKEN.findall(text.replace(" ", ""))
    if "".join(tokens) != text.replace(" ", ""):
        raise TreeError(text)
    tokens.reverse()
    tree = Tree(_children(tokens))
    if tokens:
        raise TreeError(text)
    return tree


def _children(tokens: list[str]) -> dict[str, Tree]:
    children: dict[str, Tree] = {}
    while tokens and tokens[-1] != "]":
        name = tokens.pop()
        if name in "[,":
            raise TreeError(name)
        inner: dict[str, Tree] = {}
        start, end = 0, None
        if tokens and tokens[-1] == "[":
            tokens.pop()
            inner = _children(tokens)
            if not tokens or tokens.pop() != "]":
                raise TreeError(name)
        if tokens and tokens[-1].startswith("{"):
            start, end = _range(tokens.pop())
        children[name] = Tree(inner, start, end)
        if tokens and tokens[-1] == ",":
            tokens.pop()
        elif tokens and tokens[-1] != "]":
            raise TreeError(tokens[-1])
    return children


def _range(text: str) -> tuple[int, int | None]:
    """The range of `{M,N}` (N excluded), `{M,}`, `{,N}` or `{N}` (one element)."""
    matched = _RANGE.fullmatch(text)
    if matched is None or not (matched.group(1) or matched.group(3)):
        raise TreeError(text)
    first, comma, last = matched.groups()
    if not comma:
        return int(first), int(first) + 1
    return int(first or 0), int(last) if last else None


def render(bean: Bean, tree: Tree | None, depth: int) -> Any:
    """The JSON of `bean`: the properties that `tree` selects, or all of them with nested objects to `depth` levels."""
    return _by_depth(bean, depth) if tree is None else _by_tree(bean, tree)


def _by_tree(value: Any, tree: Tree) -> Any:
    value = _given(value)
    if isinstance(value, list):
        return [_by_tree(item, tree) for item in value[tree.start : tree.end]]
    if not isinstance(value, Bean):
        return value
    shown = _class(value)
    for name, property_value in value.properties.items():
        if name in tree.children:
            shown[name] = _by_tree(property_value, tree.children[name])
    return shown


def _by_depth(value: Any, depth: int) -> Any:
    value = _given(value)
    if isinstance(value, list):
        return [_by_depth(item, depth) for item in value]
    if not isinstance(value, Bean):
        return value
    shown = _class(value)
    for name, property_value in value.properties.items():
        if name in value.hidden or (depth < 0 and value.brief is not None and name not in value.brief):
            continue
        shown[name] = _by_depth(property_value, depth if value.brief is None else depth - 1)
    return shown


def _given(value: Any) -> Any:
    return value() if callable(value) else value


def _class(bean: Bean) -> dict[str, Any]:
    return {} if bean.cls is None else {"_class": bean.cls}
