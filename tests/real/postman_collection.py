"""A Postman collection of the build state API, made from its OpenAPI document.

`CALLS` is one use of the API: what a pipeline and its operator would call, in order, with the ids of earlier answers.
Statuses and shapes that each answer must have come from the document.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

PREFIX = "/-/state"
_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
_COMPONENTS = "#/components/schemas/"


class Call(NamedTuple):
    """A request to the path of an operation, below `/-/state`.

    `body` is sent as JSON, or as it is if it is bytes. `saves` are variables and the fields of the answer for them,
    `named` the variables of path parameters that are not named like the parameter, `same` fields of the answer that
    have the value of a variable.
    """

    method: str
    path: str
    status: int = 200
    body: Any = None
    saves: Mapping[str, str] = {}
    named: Mapping[str, str] = {}
    same: Mapping[str, str] = {}
    has_key: bool = True


def _of_build(method: str, rest: str, status: int = 200, body: Any = None, **more: Any) -> Call:
    return Call(method, "/builds/{build}" + rest, status, body, **more)


_SERVICE = (
    Call("GET", "/health", has_key=False),
    Call("GET", "/ready", has_key=False),
    Call("GET", "/status", has_key=False),
    Call("POST", "/token", body={"username": "ci", "password": "{{key}}"}, same={"access_token": "key"}),
    Call("GET", "/users/me"),
    Call("GET", "/users/me", 401, has_key=False),
    Call("GET", "/bldst", has_key=False),
    Call("GET", "/report.sh", has_key=False),
    Call("GET", "/pip/simple/buildstate-cli", has_key=False, saves={"wheel": r"/buildstate_cli-[^\"#<]+?\.whl/"}),
    Call("GET", "/pip/simple/buildstate-cli/{wheel}", has_key=False),
)
_PROJECTS = (
    Call("POST", "/projects", 201, {"name": "images"}, saves={"project_id": "id"}),
    Call("POST", "/projects", 200, {"name": "images"}, same={"id": "project_id"}),
    Call("POST", "/projects", 422, {"name": ""}),
    Call("GET", "/projects"),
    Call("GET", "/projects/{project_id}", same={"id": "project_id"}),
    Call("PUT", "/projects/{project_id}", body={"description": "Base images"}),
    Call("GET", "/projects/{project_id}", 404, named={"project_id": "nothing"}),
)
_CODE, _RESUMABLE = {"name": "build", "code": 48}, {"state_code": 25, "required_variables": ["subnet"]}
_CODES = (
    Call("POST", "/projects/{project_id}/state-codes", 201, _CODE, saves={"state_code_id": "id"}),
    Call("GET", "/projects/{project_id}/state-codes"),
    Call("GET", "/projects/{project_id}/state-codes/{state_code_id}", same={"project_id": "project_id"}),
    Call("PUT", "/projects/{project_id}/state-codes/{state_code_id}", body={"color": "#00FF00"}),
    Call("DELETE", "/projects/{project_id}/state-codes/{state_code_id}", 204),
    Call("POST", "/state-codes", 201, {**_CODE, "project_id": "{{project_id}}"}, saves={"state_code_id": "id"}),
    Call("GET", "/state-codes"),
    Call("GET", "/state-codes/{state_code_id}", same={"id": "state_code_id"}),
    Call("PUT", "/state-codes/{state_code_id}", body={"description": "packer runs"}),
    Call("DELETE", "/state-codes/{state_code_id}", 204),
    Call("POST", "/projects/{project_id}/resumable-states", 201, _RESUMABLE, saves={"code": "state_code"}),
    Call("GET", "/projects/{project_id}/resumable-states"),
    Call("GET", "/projects/{project_id}/resumable-states/{code}", same={"project_id": "project_id"}),
    Call("PUT", "/projects/{project_id}/resumable-states/{code}", body={"resume_strategy": "rerun_state"}),
)
_NEW = {"build_number": "7", "project_id": "{{project_id}}", "platform_id": "{{platforms}}", "os_version": "rhel-9"}
_VARIABLE = {"variable_key": "subnet", "variable_value": "s-1"}
_BUILDS = (
    Call("POST", "/builds", 201, _NEW, saves={"build": "id"}, same={"project_id": "project_id"}),
    Call("POST", "/builds", 200, _NEW, same={"id": "build"}),
    Call("POST", "/builds", 409, {**_NEW, "os_version": "rhel-8"}),
    Call("GET", "/builds"),
    _of_build("GET", "", same={"id": "build"}),
    _of_build("GET", "", 404, named={"build": "nothing"}),
    _of_build("PUT", "", body={"ami_id": "ami-1", "status": None}),
    _of_build("PATCH", "", body={"image_id": "image-1"}),
    _of_build("POST", "/states", 201, {"state": 10, "status": "validating"}, same={"build_id": "build"}),
    _of_build("POST", "/state", body={"state_code": 25, "message": "packer"}, same={"build_id": "build"}),
    _of_build("POST", "/states", 422, {"state": "x"}),
    _of_build("GET", "/states"),
    _of_build("GET", "/state", same={"build_id": "build"}),
    _of_build(
        "POST", "/artifacts", 201, {"artifact_type": "ami", "artifact_path": "s3://b/k"}, saves={"artifact": "id"}
    ),
    _of_build("GET", "/artifacts"),
    _of_build("GET", "/artifacts/{artifact}", same={"id": "artifact"}),
    _of_build("PATCH", "/artifacts/{artifact}", body={"is_final": True}),
    _of_build("PUT", "/artifacts/{artifact}", body={"size_bytes": 7}),
    _of_build("PUT", "/artifacts/{artifact}/content", 201, b"the disk", named={"artifact": "file"}),
    _of_build("GET", "/artifacts/{artifact}/content", named={"artifact": "file"}),
    _of_build("DELETE", "/artifacts/{artifact}", 204),
    _of_build("POST", "/variables", 201, _VARIABLE, saves={"key_": "variable_key"}),
    _of_build("GET", "/variables"),
    _of_build("GET", "/variables/dict"),
    _of_build("GET", "/variables/{key}", named={"key": "key_"}, same={"build_id": "build"}),
    _of_build("PATCH", "/variables/{key}", body={"is_required_for_resume": True}, named={"key": "key_"}),
    _of_build("PUT", "/variables/{key}", body={"variable_value": "s-2"}, named={"key": "key_"}),
    _of_build("DELETE", "/variables/{key}", 204, named={"key": "key_"}),
    _of_build("GET", "/variables/{key}", 404, named={"key": "key_"}),
    _of_build("POST", "/variables", 201, _VARIABLE),
    _of_build("POST", "/jobs", 201, {"platform": "concourse", "job": "build"}, saves={"job": "id"}),
    _of_build("GET", "/jobs"),
    _of_build("GET", "/jobs/{job}", same={"id": "job"}),
    _of_build("PATCH", "/jobs/{job}", body={"status": "failed"}),
    _of_build("POST", "/resume", 409, {}),
    _of_build("POST", "/failures", 201, {"state": 25, "failure_type": "packer", "error_message": "No room."}),
    _of_build("GET", "/failures"),
    _of_build("POST", "/states", 400, {"state": 30}),
    _of_build("GET", "/resume-context", same={"build_id": "build"}),
    _of_build("POST", "/resume", 201, {"resume_reason": "room"}, saves={"resume": "id"}, same={"build_id": "build"}),
    _of_build("POST", "/resume", 200, {"resume_reason": "room"}, same={"id": "resume"}),
    _of_build("GET", "/resume"),
    Call("GET", "/resume-requests/{resume}", same={"id": "resume"}),
    Call("PATCH", "/resume-requests/{resume}", body={"orchestration_status": "running"}),
    Call("GET", "/dashboard/summary"),
    Call("GET", "/dashboard/recent"),
    Call("GET", "/dashboard/platform/{platform}", named={"platform": "platforms"}),
)


def _calls(paths: Mapping[str, Any]) -> Iterator[Call]:
    """All calls. The six kinds of reference data have the same five."""
    kinds = [path.removeprefix(PREFIX) for path in paths if f"{path}/{{reference_id}}" in paths]
    yield from _SERVICE
    yield from _PROJECTS
    for path in kinds:
        named = {"reference_id": path.strip("/")}
        yield Call("POST", path, 201, {"name": "one"}, saves={named["reference_id"]: "id"})
        yield Call("GET", path)
        yield Call("GET", f"{path}/{{reference_id}}", named=named, same={"id": named["reference_id"]})
        yield Call("PUT", f"{path}/{{reference_id}}", body={"description": "Changed"}, named=named)
    yield from _CODES
    yield from _BUILDS
    for path in kinds:
        yield Call("DELETE", f"{path}/{{reference_id}}", 204, named={"reference_id": path.strip("/")})
    yield Call("DELETE", "/projects/{project_id}", 204)


def collection(document: Mapping[str, Any]) -> dict[str, Any]:
    """The collection, with the variables `url` and `key`. Raises ValueError for operations that no call uses."""
    calls = list(_calls(document["paths"]))
    called = {(call.method, PREFIX + call.path) for call in calls}
    unused = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith(f"{PREFIX}/") and method != "head"
    } - called
    if unused:
        raise ValueError(f"No call of the collection uses {sorted(unused)}.")
    variables = {"nothing": "nothing-of-this-name", "file": "disk.img"}
    return {
        "info": {"name": "Build state", "schema": _SCHEMA},
        "item": [_item(call, document) for call in calls],
        "variable": [{"key": name, "value": value} for name, value in variables.items()],
    }


def _item(call: Call, document: Mapping[str, Any]) -> dict[str, Any]:
    path = re.sub(r"{(\w+)}", lambda part: f"{{{{{call.named.get(part[1], part[1])}}}}}", call.path)
    headers = {"X-API-Key": "{{key}}"} if call.has_key else {}
    request: dict[str, Any] = {"method": call.method, "url": f"{{{{url}}}}{PREFIX}{path}"}
    if call.body is not None:
        is_file = isinstance(call.body, bytes)
        headers["Content-Type"] = "application/octet-stream" if is_file else "application/json"
        request["body"] = {"mode": "raw", "raw": call.body.decode() if is_file else json.dumps(call.body)}
    request["header"] = [{"key": name, "value": value} for name, value in headers.items()]
    script = {"type": "text/javascript", "exec": list(_script(call, document))}
    name = f"{call.method} {call.path} {call.status}"
    return {"name": name, "request": request, "event": [{"listen": "test", "script": script}]}


def _script(call: Call, document: Mapping[str, Any]) -> Iterator[str]:
    """The lines of JavaScript that check the answer, and keep ids for later calls."""
    operation = document["paths"][PREFIX + call.path][call.method.lower()]
    yield f"pm.test('status', () => pm.response.to.have.status({call.status}));"
    content = operation["responses"][str(call.status)]["content"]
    schema = content.get("application/json", {}).get("schema")
    if schema is not None:
        shape = json.dumps(_with_definitions(schema, document["components"]["schemas"]))
        yield f"pm.test('shape', () => pm.response.to.have.jsonSchema({shape}));"
    elif call.status == 204:
        yield "pm.test('no body', () => pm.expect(pm.response.text()).to.equal(''));"
    else:
        yield "pm.test('body', () => pm.expect(pm.response.text()).not.to.equal(''));"
    for field, variable in call.same.items():
        wanted = f"pm.variables.get({variable!r})"
        yield f"pm.test({field!r}, () => pm.expect(pm.response.json()[{field!r}]).to.equal({wanted}));"
    for variable, field in call.saves.items():
        value = f"pm.response.text().match({field})[0]" if field.startswith("/") else f"pm.response.json()[{field!r}]"
        yield f"pm.collectionVariables.set({variable!r}, {value});"


def _with_definitions(schema: Any, components: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with the components to which it refers, in the form of JSON Schema draft 7."""
    found: dict[str, Any] = {}
    names = _references(schema)
    while names:
        name = names.pop()
        found[name] = components[name]
        names |= _references(components[name]) - found.keys()
    whole: dict[str, Any] = json.loads(
        json.dumps({**schema, "definitions": found}).replace(_COMPONENTS, "#/definitions/")
    )
    # Draft 7 ignores what is beside a reference.
    return {"allOf": [{"$ref": whole.pop("$ref")}], **whole} if "$ref" in whole else whole


def _references(schema: Any) -> set[str]:
    return set(re.findall(f'"{_COMPONENTS}([^"]+)"', json.dumps(schema)))
