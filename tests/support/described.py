"""Checks that what the service sends is as OpenAPI says: a response, with its headers and its JSON, and a status."""

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from shuttle.web import packerd
from shuttle.web.openapi import document, path_of
from shuttle.web.packerd.swagger import document as swagger
from shuttle.web.routes import ROUTES
from shuttle.web.state import PREFIX
from tests.support import packerd_table

# Errors of any route (see the document's `info`): other methods, and requests that break the rules of HTTP.
_OF_ANY_ROUTE = {405, 417}
# Of any answer by RFC 9110, and for browsers.
_USUAL_HEADERS = {
    *("connection", "content-disposition", "content-length", "content-type", "date", "etag", "server"),
    *("transfer-encoding", "x-content-type-options", "cache-control"),
}
_ROUTES = [
    (re.compile(re.sub(r"{\w+(?::([^{}]*))?}", lambda part: part[1] or "[^/]+", path)), path_of(route))
    for route in ROUTES
    for path in (route.path, *route.synonyms)
]


def assert_described(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Fail unless the document describes the response. Paths that are not routes need no description."""
    if f"{path}/".startswith(f"{packerd.PREFIX}/"):
        assert_packerd_described(method, path.removeprefix(packerd.PREFIX), status, headers, body)
        return
    operation = _operation(method.lower(), path.partition("?")[0])
    if operation is None or status in _OF_ANY_ROUTE:
        return
    where = f"{method} {path} answers {status}: {body[:300]!r}"
    assert str(status) in operation["responses"], f"an undescribed status: {where}"
    described = {name.lower() for name in operation["responses"][str(status)]["headers"]}
    undescribed = {name.lower() for name in headers} - described - _USUAL_HEADERS
    assert not undescribed, f"undescribed headers {undescribed}: {where}"
    if method == "HEAD" or (status in {200, 204} and not body):
        return
    content = operation["responses"][str(status)]["content"]
    media_type = headers.get("Content-Type", "").partition(";")[0]
    assert media_type in content or "*/*" in content, f"an undescribed {media_type}: {where}"
    if media_type == "application/json" and media_type in content and "schema" in content[media_type]:
        _assert_valid(content[media_type]["schema"], body, where)


def assert_packerd_described(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """The same for packer over REST, whose paths begin at its root, and whose description is swagger 2.0."""
    plain, where = path.partition("?")[0], f"{method} {path} answers {status}: {body[:300]!r}"
    operation = next(
        (
            operations.get("get" if method == "HEAD" else method.lower())
            for each, operations in swagger()["paths"].items()
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", each), plain)
        ),
        None,
    )
    value = _value(body) if body and headers["Content-Type"].startswith("application/json") else None
    if value is not None:
        problems = packerd_table.problems_of(method, plain, status, value)
        assert not problems, f"{problems} in {where}"
    if operation is None or status in _OF_ANY_ROUTE:
        return
    assert str(status) in operation["responses"], f"an undescribed status: {where}"
    response = operation["responses"][str(status)]
    usual = _USUAL_HEADERS | {"retry-after", "www-authenticate"}
    undescribed = {name.lower() for name in headers} - {name.lower() for name in response.get("headers", {})} - usual
    assert not undescribed, f"undescribed headers {undescribed}: {where}"
    if value is not None and "schema" in response:
        validator = Draft202012Validator({**response["schema"], "definitions": swagger()["definitions"]})
        assert not [error.message for error in validator.iter_errors(value)], where


def assert_status_described(body: bytes) -> None:
    """Fail unless the document says that receivers of statuses get such a body."""
    content = document()["webhooks"]["status"]["post"]["requestBody"]["content"]
    _assert_valid(content["application/json"]["schema"], body, f"the status {body[:1000]!r}")


def _assert_valid(schema: Any, body: bytes, where: str) -> None:
    problems = [error.message[:300] for error in _validator(json.dumps(schema)).iter_errors(_value(body))]
    assert not problems, f"{problems} in {where}"


def _operation(method: str, path: str) -> dict[str, Any] | None:
    plain = path if path.startswith("/-/") else "/" + "/".join(part for part in path.split("/") if part)
    plain = plain.removesuffix("/") if plain.startswith(PREFIX) else plain
    for pattern, described in _ROUTES:
        operation: dict[str, Any] | None = document()["paths"][described].get(method)
        if operation is not None and pattern.fullmatch(plain):
            return operation
    return None


def _value(body: bytes) -> Any:
    """Parse the JSON; a lone surrogate, which the validator does not accept, becomes a question mark."""
    return json.loads(json.dumps(json.loads(body), ensure_ascii=False).encode("utf-8", "replace"))


@cache
def _validator(schema: str) -> Draft202012Validator:
    # The dialect of OpenAPI 3.1 is Draft 2020-12 with additional keywords that do not affect validation.
    return Draft202012Validator({**json.loads(schema), "components": document()["components"]})
