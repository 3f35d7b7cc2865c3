"""bldst build, state and failure: the record of a build."""

from bldst.grammar import BUILD, Command, Fields, Noun, Option

_STATE = Option("--state", "state_code", "code", about="the state's number or name")
# The Jenkins jobs that use --state-code have codes up to 999, so 100 is not the end of their builds.
_STATE_CODE = Option(
    "--state-code", "state_code", "code", also={100: {"final": False}}, about="like --state; 100 does not end the build"
)
_STATUS = Option("--status", "status", about="text for this state")
_MESSAGE = Option("--message", "message")
_METADATA = Option("--metadata", "metadata", "json")

_CREATE = (
    Option("--build-number", "build_number"),
    Option("--project-id", "project_id", "id", about="id or name"),
    Option("--platform-id", "platform_id", "id", about="id or name of a recorded platform"),
    Option("--os-version-id", "os_version_id", "id"),
    Option("--image-type-id", "image_type_id", "id"),
    Option("--os-distribution-id", "os_distribution_id", "id"),
    Option("--cloud-provider-id", "cloud_provider_id", "id"),
    Option("--image-variant-id", "image_variant_id", "id"),
    Option("--created-by", "created_by"),
    Option("--concourse-url", "concourse_pipeline_url"),
    Option("--concourse-job", "concourse_job_name"),
    Option("--description", "description"),
    Option("--name", "name"),
    Option("--platform", "platform", about="any name"),
    Option("--os-version --os", "os_version"),
    Option("--image-type --type", "image_type"),
    Option("--os-distribution", "os_distribution"),
    Option("--cloud-provider", "cloud_provider"),
    Option("--image-variant", "image_variant"),
    Option("--start-state", "start_state", "int"),
    Option("--id", "build_id", about="the build's number or name"),
    Option("--pipeline-url", "pipeline_url"),
    Option("--commit", "commit_hash"),
    _METADATA,
)

_ADD_STATE = (
    Option("--state --state-code", "state", "int"),
    _STATUS,
    Option("--error-message", "error_message"),
    Option("--storage-type", "artifact_storage_type"),
    Option("--storage-path", "artifact_storage_path"),
    Option("--artifact-size", "artifact_size_bytes", "int"),
    Option("--checksum", "artifact_checksum"),
    Option("--artifact-metadata", "artifact_metadata", "json"),
)

_FAILURE = (
    Option("--state --state-code", "state", "int", about="where it failed; -1 is the current state"),
    Option("--type --code", "failure_type"),
    _MESSAGE,
    Option("--error --error-message", "error_message"),
    Option("--component", "component"),
    Option("--details", "error_details", "json"),
    Option("--retryable/--not-retryable", "retryable", "flag"),
    Option("--retry-attempt", "retry_attempt", "int"),
)


def _take_message(fields: Fields) -> None:
    """A failure has one message; a second, different text becomes a detail."""
    message = fields.pop("message", None)
    if message is None or fields.setdefault("error_message", message) == message:
        return
    fields.setdefault("error_details", {"message": message})


def _failure(names: str, about: str) -> Command:
    return Command(
        names,
        about,
        positionals=BUILD,
        options=_FAILURE,
        required="error_message",
        request="POST /builds/{build}/failures",
        fixed={"state": -1, "failure_type": "BUILD_FAILED"},
        prepare=_take_message,
        done="the failure is recorded: {error_message}",
    )


def _update_state(names: str) -> Command:
    return Command(
        names,
        "Record a state, or a new status of it",
        positionals=BUILD,
        options=(_STATE, _STATE_CODE, _STATUS, _MESSAGE, _METADATA),
        required="state_code",
        request="POST /builds/{build}/state",
        done="state {state_code} is recorded",
    )


_BUILD_COLUMNS = "id project.name build_number current_state status platform.name start_time"

TABLE = (
    Noun(
        "build",
        "Builds and their states",
        (
            Command(
                "create",
                "Record a new build and print its id",
                options=_CREATE,
                request="POST /builds",
                output="build-id",
                done="build {build_number} is recorded",
            ),
            Command("get", "Show a build", positionals=BUILD, request="GET /builds/{build}", output="row"),
            Command(
                "list",
                "List builds, the newest first",
                options=(
                    Option("--project-id --project", "project_id", "id"),
                    Option("--platform", "platform"),
                    Option("--status", "status"),
                    Option("--skip", "skip", "int"),
                    Option("--limit", "limit", "int"),
                ),
                request="GET /builds",
                output="rows",
                columns=_BUILD_COLUMNS,
            ),
            Command(
                "update",
                "Change a build's fields",
                positionals=BUILD,
                options=(
                    Option("--current-state --state", "current_state", "int"),
                    _STATUS,
                    Option("--end-time", "end_time"),
                    Option("--ami-id", "ami_id"),
                    Option("--image-id", "image_id"),
                    Option("--packer-manifest", "packer_manifest", "json"),
                ),
                request="PUT /builds/{build}",
                done="the build is changed",
            ),
            Command(
                "add-state",
                "Record a state",
                positionals=BUILD,
                options=_ADD_STATE,
                required="state",
                request="POST /builds/{build}/states",
                done="state {state} is recorded",
            ),
            _update_state("update-state"),
            Command(
                "states",
                "List the states of a build",
                positionals=BUILD,
                request="GET /builds/{build}/states",
                output="rows",
                columns="state status start_time end_time duration_seconds",
            ),
            _failure("add-failure record-failure", "Record a failure"),
            _failure("fail", "Record a failure and end the build"),
            Command(
                "complete",
                "End a build with success",
                positionals=BUILD,
                options=(Option("--state-code --state", "current_state", "int"), _MESSAGE),
                request="PUT /builds/{build}",
                fixed={"status": "completed"},
                done="the build is completed",
            ),
            Command(
                "failures",
                "List the failures of a build",
                positionals=BUILD,
                request="GET /builds/{build}/failures",
                output="rows",
                columns="state failure_type error_message component created_at",
            ),
            Command(
                "resume",
                "Ask for a build that continues this one, and print what it continues with",
                positionals=BUILD,
                options=(
                    Option("--from-state", "resume_from_state", "int"),
                    Option("--to-state", "resume_to_state", "int"),
                    Option("--reason", "resume_reason"),
                    Option("--requested-by", "requested_by"),
                    Option("--platform", "platform"),
                    Option("--pipeline", "pipeline"),
                    Option("--job", "job"),
                    Option("--latest", "latest", "flag", about="with the newest commit of the branch"),
                    _METADATA,
                ),
                run="resuming:resume",
            ),
            Command(
                "resume-context",
                "Show what a resumed build needs; -o env prints lines for a shell",
                positionals=BUILD,
                run="resuming:show_context",
                formats=("yaml", "env"),
            ),
            Command(
                "resume-requests",
                "List the requests to resume a build",
                positionals=BUILD,
                request="GET /builds/{build}/resume-requests",
                output="rows",
                columns="id resume_from_state orchestration_status resume_reason created_at",
            ),
            Command("report", "Summarize a build and its children", positionals=BUILD, run="report:report"),
            Command(
                "watch",
                "Print the states of a build until it ends",
                positionals=BUILD,
                options=(Option("--interval", "interval", "int", about="seconds between two requests (default 5)"),),
                run="watch:watch",
            ),
        ),
    ),
    Noun(
        "state",
        "The state of a build",
        (
            _update_state("update"),
            Command(
                "get",
                "Show the state and its history",
                positionals=BUILD,
                request="GET /builds/{build}/state",
                output="row",
            ),
        ),
    ),
    Noun("failure", "Failures of a build", (_failure("record", "Record a failure"),)),
)
