"""bldst artifact: references to what a build made. Several grammars, one request."""

from bldst.grammar import BUILD, Command, Dialect, Noun, Option

_FLAGS = (
    Option("--resumable --is-resumable/--not-resumable", "is_resumable", "flag", about="a build can continue from it"),
    Option("--final --is-final/--not-final", "is_final", "flag", about="it is a result of the build"),
)
_PLACE = (
    Option("--name --artifact-name", "artifact_name"),
    Option("--type --artifact-type", "artifact_type"),
    Option("--path --artifact-path --artifact-location", "artifact_path"),
)
_CREATE = (
    *_PLACE,
    Option("--state --state-code", "state_code", "int"),
    Option("--backend", "storage_backend"),
    Option("--region", "storage_region"),
    Option("--bucket", "storage_bucket"),
    Option("--key", "storage_key"),
    Option("--size --size-bytes", "size_bytes", "int"),
    Option("--checksum --checksum-value", "checksum"),
    Option("--checksum-algorithm --checksum-type", "checksum_algorithm"),
    Option("--expires-at", "expires_at"),
    Option("--metadata", "metadata", "json"),
    *_FLAGS,
)
# The Jenkins library leaves out a flag that is false.
_JENKINS = Dialect("--artifact-type --artifact-location", {"is_resumable": False, "is_final": False})

CREATE = {
    "positionals": BUILD,
    "options": _CREATE,
    "required": "artifact_type artifact_path",
    "request": "POST /builds/{build}/artifacts",
    "dialects": (_JENKINS,),
    "done": "artifact {artifact_name} is recorded",
}
_COLUMNS = "id artifact_name artifact_type state_code is_resumable is_final artifact_path"

TABLE = (
    Noun(
        "artifact",
        "What a build made, and where it is",
        (
            Command("create register record", "Record an artifact", **CREATE),  # type: ignore[arg-type]
            Command(
                "list",
                "List artifacts",
                positionals=BUILD,
                options=(
                    Option("--state --state-code", "state_code", "int"),
                    Option("--type --artifact-type", "artifact_type"),
                    *_FLAGS,
                ),
                request="GET /builds/{build}/artifacts",
                output="rows",
                columns=_COLUMNS,
            ),
            Command(
                "list-resumable",
                "List the artifacts that a build can continue from",
                positionals=BUILD,
                request="GET /builds/{build}/artifacts",
                fixed={"is_resumable": True},
                output="rows",
                columns=_COLUMNS,
            ),
            Command(
                "get",
                "Show an artifact",
                positionals="build artifact_id",
                request="GET /builds/{build}/artifacts/{artifact_id}",
                output="row",
            ),
            Command(
                "update",
                "Change an artifact",
                positionals="build artifact_id",
                options=(*_PLACE, *_FLAGS, Option("--metadata", "metadata", "json")),
                request="PATCH /builds/{build}/artifacts/{artifact_id}",
                done="the artifact is changed",
            ),
            Command(
                "delete",
                "Delete an artifact's record; what it refers to stays",
                positionals="build artifact_id",
                options=(Option("--yes -y", "yes", "flag", about="without asking"),),
                request="DELETE /builds/{build}/artifacts/{artifact_id}",
                confirm="delete the artifact {artifact_id}?",
                done="the artifact is deleted",
            ),
        ),
    ),
)
