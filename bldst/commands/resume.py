"""bldst resume-request and resumable-state."""

from bldst.grammar import Command, Noun, Option

_CONFIGURATION = (
    Option("--state --state-code", "state_code", "int"),
    Option("--strategy", "resume_strategy", about="from_artifact, rerun_state or skip_to_next"),
    Option("--required-artifacts", "required_artifacts", "list"),
    Option("--required-variables", "required_variables", "list"),
    Option("--command", "resume_command"),
    Option("--timeout", "resume_timeout_seconds", "int"),
    Option("--description", "description"),
    Option("--resumable/--not-resumable", "is_resumable", "flag"),
)
_COLUMNS = "state_code is_resumable resume_strategy required_artifacts required_variables"

TABLE = (
    Noun(
        "resume-request",
        "Requests to resume a build",
        (
            Command(
                "get",
                "Show a request and its progress",
                positionals="request_id",
                request="GET /resume-requests/{request_id}",
                output="row",
            ),
            Command(
                "update",
                "Report the progress of a request, if another CI system runs the build",
                positionals="request_id",
                options=(
                    Option("--status", "orchestration_status", about="triggered, running, completed or failed"),
                    Option("--job-id", "orchestration_job_id"),
                    Option("--job-url", "orchestration_job_url"),
                    Option("--error", "error_message"),
                ),
                request="PATCH /resume-requests/{request_id}",
                done="the request is changed",
            ),
        ),
    ),
    Noun(
        "resumable-state",
        "States from which the builds of a project can continue",
        (
            Command(
                "create",
                "Define a resumable state",
                positionals="project_id",
                options=_CONFIGURATION,
                required="state_code",
                request="POST /projects/{project_id}/resumable-states",
                fixed={"is_resumable": True},
                done="builds can continue from state {state_code}",
            ),
            Command(
                "list",
                "List them",
                positionals="project_id",
                request="GET /projects/{project_id}/resumable-states",
                output="rows",
                columns=_COLUMNS,
            ),
            Command(
                "get",
                "Show one",
                positionals="project_id state_code",
                options=_CONFIGURATION[:1],
                request="GET /projects/{project_id}/resumable-states/{state_code}",
                output="row",
            ),
            Command(
                "update",
                "Change one",
                positionals="project_id state_code",
                options=_CONFIGURATION,
                request="PUT /projects/{project_id}/resumable-states/{state_code}",
                done="the resumable state is changed",
            ),
        ),
    ),
)
