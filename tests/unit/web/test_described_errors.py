"""Each error that a handler raises, itself or through functions of the web package, is in its route's description."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest

from shuttle.errors import LegacyRefusalError, ShuttleError
from shuttle.web import Route
from shuttle.web.openapi import document, errors_of, path_of
from shuttle.web.packerd.routes import PACKERD_ROUTES
from shuttle.web.packerd.swagger import document as swagger
from shuttle.web.routes import ROUTES


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {path_of(route)}")
def test_every_error_that_a_handler_raises_is_described(route: Route):
    responses = document()["paths"][path_of(route)][route.method.lower()]["responses"]
    described = {(error.status, error.code) for error in errors_of(route)}
    for error in raised_by(route.handler, set()) - {LegacyRefusalError}:
        assert (error.status, error.code) in described, error
        assert str(error.status) in responses


@pytest.mark.parametrize("route", PACKERD_ROUTES, ids=lambda route: f"{route.method} {path_of(route)}")
def test_every_error_of_packer_over_rest_is_described(route: Route):
    responses = swagger()["paths"][path_of(route)][route.method.lower()]["responses"]
    described = {(error.status, error.code) for error in errors_of(route)}
    for error in raised_by(route.handler, set()):
        assert (error.status, error.code) in described, error
        assert str(error.status) in responses


def raised_by(function: Callable[..., Any], seen: set[Any]) -> set[type[ShuttleError]]:
    """The errors that the function and the web functions it names raise, except those that a `try` does not pass on."""
    if function in seen:
        return set()
    seen.add(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = inspect.getclosurevars(function)
    known = {**names.globals, **names.nonlocals}
    return {
        error
        for node, caught in calls(tree, known, ())
        for error in errors_in(node, known, seen)
        if not issubclass(error, caught)
    }


def errors_in(call: ast.Call, known: dict[str, Any], seen: set[Any]) -> set[type[ShuttleError]]:
    called = value_of(call.func, known)
    if isinstance(called, type) and issubclass(called, ShuttleError):
        return {called}
    if isinstance(called, FunctionType) and called.__module__.startswith("shuttle.web"):
        return raised_by(called, seen)
    passed = [value_of(argument, known) for argument in call.args]
    return {error for each in passed if isinstance(each, FunctionType) for error in raised_by(each, seen)}


def calls(
    node: ast.AST, known: dict[str, Any], caught: tuple[type, ...]
) -> Iterator[tuple[ast.Call, tuple[type, ...]]]:
    if isinstance(node, ast.Try):
        kinds = tuple(
            kind for handler in node.handlers if not raises_again(handler) for kind in kinds_of(handler, known)
        )
        for tried in node.body:
            yield from calls(tried, known, (*caught, *kinds))
        for other in (*node.handlers, *node.orelse, *node.finalbody):
            yield from calls(other, known, caught)
        return
    if isinstance(node, ast.Call):
        yield node, caught
    for child in ast.iter_child_nodes(node):
        yield from calls(child, known, caught)


def raises_again(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def kinds_of(handler: ast.ExceptHandler, known: dict[str, Any]) -> list[type]:
    named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [kind for each in named if isinstance(kind := value_of(each, known), type)]


def value_of(node: ast.AST | None, known: dict[str, Any]) -> Any:
    """The value of a name, or of a name in a module."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute) and isinstance(module := value_of(node.value, known), ModuleType):
        return getattr(module, node.attr, None)
    return None
