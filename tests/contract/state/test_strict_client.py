"""An existing client checks every answer with strict models, and rejects a whole list if one entry does not fit.

The models here are those of this client (`bldst` 0.0.4), with their limits.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from tests.contract.state.conftest import CONTROLLER
from tests.support.inprocess import Shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

Short = Annotated[str, Field(min_length=1, max_length=50)]
Long = Annotated[str, Field(min_length=1, max_length=100)]
Prose = Annotated[str, Field(max_length=500)] | None


class Platform(BaseModel):
    name: Short
    cloud_provider: Short
    region: Annotated[str, Field(max_length=50)] | None = None
    id: str
    created_at: datetime
    deactivated_at: datetime | None = None


class OsVersion(BaseModel):
    name: Short
    version: Short
    id: str
    created_at: datetime
    deactivated_at: datetime | None = None


class ImageType(BaseModel):
    name: Short
    description: Prose = None
    id: str
    created_at: datetime
    deactivated_at: datetime | None = None


class Dated(BaseModel):
    """Cloud providers, OS distributions and image variants."""

    name: Short
    display_name: Long
    description: Prose = None
    id: uuid.UUID
    start_date: datetime
    end_date: datetime | None = None


class Project(BaseModel):
    name: Short
    description: Prose = None
    parent_project_id: uuid.UUID | None = None
    id: uuid.UUID
    is_active: bool
    created_at: datetime
    updated_at: datetime
    child_projects: "list[Project]" = []


class StateCode(BaseModel):
    code: Annotated[int, Field(ge=0, le=100)]
    name: Short
    display_name: Long
    description: Prose = None
    color: Annotated[str, Field(pattern=r"^#[0-9A-Fa-f]{6}$")] | None = None
    is_terminal: bool = False
    sort_order: int = 0
    id: uuid.UUID
    project_id: uuid.UUID
    created_at: datetime
    updated_at: datetime


class User(BaseModel):
    id: int
    username: str
    email: str
    full_name: str | None
    is_active: bool
    created_at: datetime
    updated_at: datetime


MODELS: dict[str, type[BaseModel]] = {
    "platforms": Platform,
    "os_versions": OsVersion,
    "image_types": ImageType,
    "cloud-providers": Dated,
    "os-distributions": Dated,
    "image-variants": Dated,
    "projects": Project,
}


def accepted(model: type[BaseModel], *bodies: Any) -> None:
    for body in bodies:
        model.model_validate(body)


@pytest.mark.parametrize(("path", "model"), MODELS.items(), ids=list(MODELS))
async def test_client_accepts_every_entry_and_list(state: Shuttle, name: str, path: str, model: type[BaseModel]):
    names = [name, name + "é" * 110, f"{name} {'x' * 44}y", f"{name}-{'长' * 50}"]
    for each in names:
        answer = await state.post(f"/-/state/{path}", {"name": each})
        assert answer.status == 201
        accepted(model, answer.json)
        assert answer.json["name_full"] == each
        accepted(model, (await state.get(f"/-/state/{path}/{answer.json['id']}")).json)
    await state.delete(f"/-/state/{path}/{name}")
    accepted(model, *(await state.get(f"/-/state/{path}?skip=0&limit=1000&include_deactivated=true")).json)


async def test_client_accepts_apps_that_builds_have_made(state: Shuttle, name: str):
    for app in (f"{name}-{'x' * 100}", "%20".join(["a", name]), name):
        headers = {"Authorization": f"Bearer {CONTROLLER}"}
        assert (await state.post(f"/{app}/1", script_request(), headers=headers)).status == 200
    accepted(Project, *(await state.get("/-/state/projects?limit=1000")).json)


async def test_client_accepts_every_list_of_state_codes(state: Shuttle, name: str):
    project = (await state.post("/-/state/projects", {"name": name})).json["id"]
    meanings: tuple[dict[str, Any], ...] = (
        {"is_initial": True},
        {"is_final": True},
        {"is_error": True},
        {"code": 999},
        {"display_name": "x" * 100},
    )
    for number, meaning in enumerate(meanings):
        body = {"name": f"{name}-{number}-{'x' * 60}", **meaning}
        assert (await state.post(f"/-/state/projects/{project}/state-codes", body)).status == 201
    found = (await state.get("/-/state/state-codes?skip=0&limit=100")).json
    assert len(found) == 3
    accepted(StateCode, *found)


async def test_client_accepts_users_and_tokens(state: Shuttle):
    accepted(User, (await state.get("/-/state/users/me")).json)
    token = (await state.post("/-/state/token", b"username=x&password=" + CONTROLLER.encode())).json
    assert isinstance(token["access_token"], str)
    assert isinstance(token["expires_in"], int)
