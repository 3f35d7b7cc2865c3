"""Bodies and answers about projects. A name is cut to 50 characters; `name_full` and `app_id` have the whole one."""

from pydantic import RootModel

from shuttle.events import instant_text
from shuttle.store.projects import Project
from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Description, Name
from shuttle.web.state.reference_models import short
from shuttle.web.storable import Text


class ProjectChange(StateBody):
    """Fields to change; null and absent ones stay. A project cannot be renamed."""

    name: Name | None = None
    description: Description | None = None
    parent_project_id: Text | None = None


class NewProject(ProjectChange):
    """A new project; its name is that of an app. `parent_project_id` is the uuid or the name of a project."""

    name: Name


class ProjectEntry(ResponseBody):
    """A project, which is an app of this service."""

    id: str
    name: str
    name_full: str
    app_id: str
    description: str | None
    parent_project_id: str | None
    is_active: bool
    created_at: Instant
    updated_at: Instant
    deactivated_at: Instant | None
    child_projects: list[str]


class Projects(RootModel[list[ProjectEntry]]):
    """Projects, the oldest first."""


def project_entry(project: Project) -> ProjectEntry:
    """The project for display; `child_projects` is always empty."""
    return ProjectEntry(
        id=project.project_id,
        name=short(project.app_id),
        name_full=project.app_id,
        app_id=project.app_id,
        description=project.description,
        parent_project_id=project.parent_id,
        is_active=project.deactivated_at is None,
        created_at=instant_text(project.created_at),
        updated_at=instant_text(project.updated_at),
        deactivated_at=project.deactivated_at and instant_text(project.deactivated_at),
        child_projects=[],
    )
