"""Jenkins' JSON: exported objects, and the `tree=` parameter that chooses among their properties."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r"[^\[\],{}]+|[\[\],]|\{[^}]*\}")
_RANGE = re.compile(r"\{(\d*)(,?)(\d*)\}")


class TreeError(Exception):
    """A `tree=` that cannot be read; Jenkins answers 500."""


@dataclass(frozen=True)
class Tree:
    """The chosen properties by name, and `{start,end}` where the property is a list."""

    children: Mapping[str, "Tree"] = field(default_factory=dict)
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class Bean:
    """An exported object.

    `properties` are values or functions that give them when chosen; `brief` are those shown where the object is nested
    and the depth is used up (None: all, as parameters and causes); `hidden` are shown by `tree=` only.
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
    """`{M,N}` is M to N without N, `{M,}` and `{,N}` are open, `{N}` is the Nth alone."""
    matched = _RANGE.fullmatch(text)
    if matched is None or not (matched.group(1) or matched.group(3)):
        raise TreeError(text)
    first, comma, last = matched.groups()
    if not comma:
        return int(first), int(first) + 1
    return int(first or 0), int(last) if last else None


def render(bean: Bean, tree: Tree | None, depth: int) -> Any:
    """JSON of `bean`: what `tree` chooses, or everything with nested objects shown `depth` levels deep."""
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
