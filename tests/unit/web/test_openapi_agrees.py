"""The OpenAPI document agrees with the router, because both are built from one table."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import validate

from shuttle.web import Role
from shuttle.web.description import description_of
from shuttle.web.openapi import document, path_of
from shuttle.web.routes import ROUTES
from tests.support.inprocess import running_shuttle, script_request

METHODS = {"get", "head", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def operations(described: dict[str, Any]) -> set[tuple[str, str]]:
    return {(method.upper(), path) for path, item in described["paths"].items() for method in item if method in METHODS}


def test_every_route_is_described_and_nothing_else(described: dict[str, Any]):
    routes = {(route.method, path_of(route)) for route in ROUTES}
    assert operations(described) == routes | {("HEAD", path) for method, path in routes if method == "GET"}


@pytest.mark.slow
def test_document_is_valid_openapi(described: dict[str, Any]):
    validate(described)


async def test_every_described_path_is_routed(tmp_path: Path, described: dict[str, Any]):
    """No described path answers 404 because its route is missing."""
    async with running_shuttle(tmp_path, SHUTTLE_TOKENS="controller:only-others-have-it") as shuttle:
        for method, path in operations(described):
            answer = await shuttle.ask(method, re.sub(r"{\w+}", "x", path))
            open_to_all = described["paths"][path][method.lower()]["security"] == []
            is_routed = answer.status != 404 or "nothing at this address" not in answer.text
            assert is_routed if open_to_all else answer.status == 401, (method, path)


def test_every_path_parameter_is_described(described: dict[str, Any]):
    for path, item in described["paths"].items():
        for operation in item.values():
            named = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)


def test_every_route_has_the_security_schemes_of_its_role(described: dict[str, Any]):
    for route in ROUTES:
        operation = described["paths"][path_of(route)][route.method.lower()]
        schemes = {name for choice in operation["security"] for name in choice}
        callers = {"bearer", "key"} if route.state_api else {"bearer", "basic"}
        wanted = {Role.ANYBODY: set(), Role.AGENT: {"build"}}.get(route.role, callers)
        assert schemes == wanted
        assert schemes <= set(described["components"]["securitySchemes"])


def test_every_schema_reference_resolves(described: dict[str, Any]):
    found = set(re.findall(r"#/components/schemas/(\w+)", str(described)))
    assert found
    assert found <= set(described["components"]["schemas"])


def test_every_object_that_is_sent_is_described_with_all_its_fields(described: dict[str, Any]):
    """So `assert_described` fails for a response with an undescribed field, or without a described one."""
    bodies = [description_of(route.handler).body for route in ROUTES]
    parts = {"AutoResume", "Source", "Destination", "Webhooks", "ReportedReference"}
    requests = {*parts, *(body.__name__ for body in bodies if isinstance(body, type))}
    open_fields = {"Error": {"field"}, "LegacyStatusEvent": {"reason"}}
    for name, schema in described["components"]["schemas"].items():
        if name not in requests and "properties" in schema:
            assert schema["additionalProperties"] is False, name
            assert set(schema["properties"]) - set(schema["required"]) == open_fields.get(name, set()), name


@pytest.mark.parametrize("status", ["queued", "pending", "succeeded", "failed", "timedout"])
def test_statuses_for_receivers_are_described(described: dict[str, Any], status: str):
    sent = described["webhooks"]["status"]["post"]["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    forms = [described["components"]["schemas"][form["$ref"].rpartition("/")[2]]["properties"] for form in sent]
    of_the_new_api = [form for form in forms if "sequence" in form]
    assert [set(form) & {"log_sha256", "log_bytes", "image", "digest", "artifacts"} for form in of_the_new_api] == [
        set(),
        {"log_sha256", "log_bytes", "image", "digest", "artifacts"},
    ]
    assert any(status in form["status"]["enum"] for form in of_the_new_api)


def test_build_request_is_described_field_by_field(described: dict[str, Any]):
    schema = described["components"]["schemas"]["BuildRequest"]
    assert set(script_request()) <= set(schema["properties"])
    assert {"destination", "webhooks", "metadata", "arguments", "secret_arguments", "labels"} <= set(
        schema["properties"]
    )
    assert schema["required"] == ["source"]
    post = described["paths"]["/{app_id}/{build_id}"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/BuildRequest")


def test_every_route_is_in_the_table_once_and_can_be_added():
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert all(web.Application().router.add_route(route.method, route.path, route.handler) for route in ROUTES)


def test_body_is_required_unless_it_may_be_empty() -> None:
    paths = document()["paths"]
    assert paths["/{app_id}/{build_id}"]["post"]["requestBody"]["required"] is True
    assert paths["/{app_id}/{build_id}/rebuild"]["post"]["requestBody"]["required"] is False
