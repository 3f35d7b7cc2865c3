"""The table of routes about builds below `/-/state`; `routes` has it as a part."""

from shuttle.web import Handler, Role, Route
from shuttle.web.state import (
    PREFIX,
    artifact_content,
    artifacts,
    builds,
    dashboard,
    failures,
    jobs,
    resumes,
    states,
    variables,
)

_BUILD = "/builds/{build:[^/]+}"
# The id of a request to resume suffices. If the path has a build, too, it must be the one that is resumed.
_ANY_BUILD = "/builds/{_build:[^/]+}"


def _route(method: str, path: str, handler: Handler, role: Role, summary: str, *synonyms: str) -> Route:
    """A row; the paths begin after `/-/state`. The state token of a build opens it, too."""
    paths = [PREFIX + each for each in (path, *synonyms)]
    return Route(
        method, paths[0], handler, role, summary, state_api=True, open_to_builds=True, synonyms=tuple(paths[1:])
    )


def _read(path: str, handler: Handler, summary: str, *synonyms: str) -> Route:
    return _route("GET", path, handler, Role.READER, summary, *synonyms)


def _write(method: str, path: str, handler: Handler, summary: str, *synonyms: str) -> Route:
    return _route(method, path, handler, Role.CONTROLLER, summary, *synonyms)


BUILD_ROUTES: tuple[Route, ...] = (
    _write("POST", "/builds", builds.post_build, "Record a build that another CI system runs."),
    Route("GET", f"{PREFIX}/builds", builds.list_builds, Role.READER, "Builds, the newest first.", state_api=True),
    _read(_BUILD, builds.get_build, "A build with its states, failures and children."),
    _write("PUT", _BUILD, builds.put_build, "Change a build, or end a record."),
    _write("PATCH", _BUILD, builds.put_build, "Change a build, or end a record."),
    _write("POST", f"{_BUILD}/states", states.post_states, "Report a state of a build."),
    _write("POST", f"{_BUILD}/state", states.post_state, "Report a state of a build, perhaps by its name."),
    _read(f"{_BUILD}/states", states.list_states, "The states of a build."),
    _read(f"{_BUILD}/state", states.get_state, "The current state of a build, and its history."),
    _write("POST", f"{_BUILD}/failures", failures.post_failure, "Report a failure.", f"{_BUILD}/failure"),
    _read(f"{_BUILD}/failures", failures.list_failures, "The failures of a build."),
    _write("POST", f"{_BUILD}/artifacts", artifacts.post_artifact, "Record where an artifact is stored."),
    _read(f"{_BUILD}/artifacts", artifacts.list_artifacts, "The artifacts of a build."),
    _read(f"{_BUILD}/artifacts/{{artifact:[^/]+}}", artifacts.get_artifact, "One artifact."),
    _write("PATCH", f"{_BUILD}/artifacts/{{artifact:[^/]+}}", artifacts.patch_artifact, "Change an artifact."),
    _write("PUT", f"{_BUILD}/artifacts/{{artifact:[^/]+}}", artifacts.patch_artifact, "Change an artifact."),
    _write("DELETE", f"{_BUILD}/artifacts/{{artifact:[^/]+}}", artifacts.delete_one, "Hide an artifact."),
    _write("PUT", f"{_BUILD}/artifacts/{{artifact:[^/]+}}/content", artifact_content.put_content, "Upload a file."),
    _read(f"{_BUILD}/artifacts/{{artifact:[^/]+}}/content", artifact_content.get_content, "The bytes of a file."),
    _write("POST", f"{_BUILD}/variables", variables.post_variable, "Set a variable."),
    _read(f"{_BUILD}/variables", variables.list_variables, "The variables of a build."),
    _read(f"{_BUILD}/variables/dict", variables.get_texts, "The values of the variables by their names."),
    _read(f"{_BUILD}/variables/{{key:[^/]+}}", variables.get_variable, "One variable."),
    _write("PATCH", f"{_BUILD}/variables/{{key:[^/]+}}", variables.patch_variable, "Change a variable."),
    _write("PUT", f"{_BUILD}/variables/{{key:[^/]+}}", variables.patch_variable, "Change a variable."),
    _write("DELETE", f"{_BUILD}/variables/{{key:[^/]+}}", variables.delete_one, "Delete a variable."),
    _write("POST", f"{_BUILD}/jobs", jobs.post_job, "Record a job that runs a build in a CI system."),
    _read(f"{_BUILD}/jobs", jobs.list_jobs, "The jobs that run a build in CI systems."),
    _read(f"{_BUILD}/jobs/{{job:[^/]+}}", jobs.get_job, "One job."),
    _write("PATCH", f"{_BUILD}/jobs/{{job:[^/]+}}", jobs.patch_job, "Change a job."),
    _read(
        f"{_BUILD}/resume-context",
        resumes.get_context,
        "The state, artifacts and variables from which a successor of a build starts.",
    ),
    _write("POST", f"{_BUILD}/resume", resumes.post_resume, "Resume a build where it failed."),
    _read(f"{_BUILD}/resume", resumes.list_resumes, "The requests to resume a build.", f"{_BUILD}/resume-requests"),
    Route(
        "GET",
        f"{PREFIX}/resume-requests/{{resume:[^/]+}}",
        resumes.get_resume,
        Role.READER,
        "One request to resume a build.",
        state_api=True,
        synonyms=(f"{PREFIX}{_ANY_BUILD}/resume/{{resume:[^/]+}}",),
    ),
    Route(
        "PATCH",
        f"{PREFIX}/resume-requests/{{resume:[^/]+}}",
        resumes.patch_resume,
        Role.CONTROLLER,
        "Report the progress of a request in the CI system.",
        state_api=True,
        synonyms=(f"{PREFIX}{_ANY_BUILD}/resume/{{resume:[^/]+}}",),
    ),
    Route(
        "GET",
        f"{PREFIX}/dashboard/summary",
        dashboard.get_summary,
        Role.READER,
        "The numbers of builds, and the newest builds.",
        state_api=True,
    ),
    Route("GET", f"{PREFIX}/dashboard/recent", dashboard.get_recent, Role.READER, "The newest builds.", state_api=True),
    Route(
        "GET",
        f"{PREFIX}/dashboard/platform/{{platform:[^/]+}}",
        dashboard.get_platform,
        Role.READER,
        "The newest builds of a platform.",
        state_api=True,
    ),
)
