"""Projects, which are the apps of this service."""

from aiohttp import web

from shuttle.build import job_name_of
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError, StoreError
from shuttle.request.ids import check_id
from shuttle.store.projects import (
    change_project,
    create_project,
    deactivate_project,
    known_project,
    page_of_projects,
)
from shuttle.web import SERVICES
from shuttle.web.description import describe
from shuttle.web.state.answers import IGNORED_HEADERS, NO_CONTENT, answer, created, created_replies, no_content
from shuttle.web.state.bodies import SHAPE_ERRORS, read_shape
from shuttle.web.state.details import InvalidShapeError, invalid_id
from shuttle.web.state.names import key_in
from shuttle.web.state.pages import PAGE_QUERY, WITH_DEACTIVATED, flag_of, page_of
from shuttle.web.state.project_models import NewProject, ProjectChange, ProjectEntry, Projects, project_entry
from shuttle.web.state.reference_models import short


@describe(
    body=NewProject,
    replies=created_replies(ProjectEntry),
    errors=(*SHAPE_ERRORS, NotFoundError, ConflictError, StoreError),
)
async def post_project(request: web.Request) -> web.StreamResponse:
    """`POST /-/state/projects`: 201, or 200 if there is an equal one."""
    body = await read_shape(request, NewProject)
    services = request.app[SERVICES]
    try:
        app_id = check_id("name", body.name)
    except InvalidRequestError as error:
        raise invalid_id("name", error) from None
    project, is_new = await services.database.run(
        create_project,
        app_id,
        job_name_of(app_id, services.settings.shuttle_jenkins_folder or None),
        description=body.description,
        parent=body.parent_project_id,
    )
    return created(request, project_entry(project), is_new=is_new)


@describe(Projects, parameters=(*PAGE_QUERY, WITH_DEACTIVATED), errors=(InvalidShapeError, StoreError))
async def list_projects(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/projects`: the oldest first."""
    page, with_deactivated = page_of(request), flag_of(request, WITH_DEACTIVATED.name) or False
    found = await request.app[SERVICES].database.run(
        page_of_projects, skip=page.skip, limit=page.limit, with_deactivated=with_deactivated
    )
    return answer(request, Projects([project_entry(project) for project in found]))


@describe(ProjectEntry, errors=(NotFoundError, StoreError))
async def get_project(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/projects/<uuid or name>`: also a deleted one, whose builds remain."""
    key = key_in(request, "project_id", "Project")
    return answer(request, project_entry(await request.app[SERVICES].database.run(known_project, key)))


@describe(ProjectEntry, body=ProjectChange, errors=(*SHAPE_ERRORS, NotFoundError, StoreError), headers=IGNORED_HEADERS)
async def put_project(request: web.Request) -> web.StreamResponse:
    """`PUT /-/state/projects/<uuid or name>`: change description or parent. Its name is that of an app, and stays."""
    key, body = key_in(request, "project_id", "Project"), await read_shape(request, ProjectChange)
    database = request.app[SERVICES].database
    app_id = (await database.run(known_project, key)).app_id
    if body.name not in {None, app_id, short(app_id)}:
        raise InvalidRequestError("A project cannot be renamed; create another one.", field="name")
    project = await database.run(change_project, key, description=body.description, parent=body.parent_project_id)
    return answer(request, project_entry(project))


@describe(replies=NO_CONTENT, errors=(NotFoundError, StoreError))
async def delete_project(request: web.Request) -> web.StreamResponse:
    """`DELETE /-/state/projects/<uuid or name>`: lists leave it out, and its builds remain."""
    await request.app[SERVICES].database.run(deactivate_project, key_in(request, "project_id", "Project"))
    return no_content()
