"""The table of differences between the two recorded Jenkins generations; README.md in this folder shows it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any


def _differs(what: str) -> Any:
    return field(metadata={"what": what})


@dataclass(frozen=True)
class Generation:
    """The behaviour of one generation; every field is a row of the table in README.md."""

    version: str = _differs("version in `X-Jenkins`")
    not_found_names_version: bool = _differs("`X-Jenkins` on a 404 (never on that of `DELETE`)")
    conflict_names_version: bool = _differs("`X-Jenkins` on the 409 of a disabled job")
    starting_post_names_version: bool = _differs("`X-Jenkins` on the 503 of a POST while Jenkins starts")
    absolute_locations: bool = _differs("absolute `Location` for other answers than the trigger's")
    challenge: str = _differs("`WWW-Authenticate` of a 401")
    plain_session_cookie: bool = _differs("session cookie named plainly `JSESSIONID`, with `SameSite=Lax`")
    anonymous_who_am_i: bool = _differs("`whoAmI` answers users without Overall/Read")
    equal_trigger_status: int = _differs("trigger with the parameters of a waiting item")
    not_parameterized_status: int = _differs("`buildWithParameters` of a job without parameters")
    trigger_errors_name_version: bool = _differs("`X-Jenkins` on this 500 or 400")
    forced_end_status: int = _differs("`term` and `kill`")
    replay_refuses_passwords: bool = _differs("replay of a build with password parameters is refused")
    deletes_running_builds: bool = _differs("`doDelete` of a running build deletes it")
    job_delete_ends_builds: bool = _differs("deleting a job ends its running builds first and waits for them")
    lint_accepts_unknown_steps: bool = _differs("the linter accepts unknown steps")
    refuses_trailing_dot: bool = _differs("a job's name must not end in a dot")
    node_name: str = _differs("name of the built-in node")
    node_display_name: str = _differs("display name of the built-in node")
    names_busy_node: bool = _differs("`why` of a build that waits for an executor names the node")
    explains_placeholders: bool = _differs("placeholder tasks show `name` and `url`; `stuck` if no node has the label")
    shows_queue_item: bool = _differs("a job shows `inQueue` and `queueItem`")
    shows_in_progress: bool = _differs("a build shows `inProgress`")
    size_counts_unserved: bool = _differs("`X-Text-Size` of a running build counts text that the body lacks")
    lines_an_answer: int | None = _differs("lines in one `progressiveText` answer of a running build")
    serves_notes: bool = _differs("hidden notes in `progressiveText`")
    negative_start_status: int = _differs("`progressiveText` from a negative start")
    finish_line_seconds: float = _differs("seconds from `building: false` to the line `Finished: …`")
    prints_durability: bool = _differs("console: `Running in Durability level: …`")
    prints_get_context: bool = _differs("console of a stage that `when` skips: `[Pipeline] getContext`")
    prints_aborted_exit_code: bool = _differs("console of an interrupted step: `script returned exit code …`")
    prints_error_id: bool = _differs("console of an aborted build: `…ErrorAction$ErrorId: …`")
    prints_resume_wait: bool = _differs("console after a restart: `Waiting to resume part of …`")
    prints_pause: bool = _differs("console at a shutdown: `Pausing (shutting down)`")


OLD = Generation(
    version="2.263.4",
    not_found_names_version=False,
    conflict_names_version=True,
    starting_post_names_version=False,
    absolute_locations=True,
    challenge='Basic realm="Jenkins"',
    plain_session_cookie=False,
    anonymous_who_am_i=False,
    equal_trigger_status=201,
    not_parameterized_status=500,
    trigger_errors_name_version=True,
    forced_end_status=200,
    replay_refuses_passwords=False,
    deletes_running_builds=True,
    job_delete_ends_builds=False,
    lint_accepts_unknown_steps=False,
    refuses_trailing_dot=False,
    node_name="master",
    node_display_name="master",
    names_busy_node=False,
    explains_placeholders=False,
    shows_queue_item=False,
    shows_in_progress=False,
    size_counts_unserved=False,
    lines_an_answer=None,
    serves_notes=False,
    negative_start_status=500,
    finish_line_seconds=0.0,
    prints_durability=True,
    prints_get_context=False,
    prints_aborted_exit_code=True,
    prints_error_id=False,
    prints_resume_wait=True,
    prints_pause=False,
)

NEW = Generation(
    version="2.568.1",
    not_found_names_version=True,
    conflict_names_version=False,
    starting_post_names_version=True,
    absolute_locations=False,
    challenge='Basic realm="Jenkins", charset="UTF-8"',
    plain_session_cookie=True,
    anonymous_who_am_i=True,
    equal_trigger_status=303,
    not_parameterized_status=400,
    trigger_errors_name_version=False,
    forced_end_status=302,
    replay_refuses_passwords=True,
    deletes_running_builds=False,
    job_delete_ends_builds=True,
    lint_accepts_unknown_steps=True,
    refuses_trailing_dot=True,
    node_name="built-in",
    node_display_name="Built-In Node",
    names_busy_node=True,
    explains_placeholders=True,
    shows_queue_item=True,
    shows_in_progress=True,
    size_counts_unserved=True,
    lines_an_answer=10_000,
    serves_notes=True,
    negative_start_status=200,
    finish_line_seconds=0.1,
    prints_durability=False,
    prints_get_context=True,
    prints_aborted_exit_code=False,
    prints_error_id=True,
    prints_resume_wait=False,
    prints_pause=True,
)

GENERATIONS = {"2.263": OLD, "2.568": NEW}
NEWEST = "2.568"


def table() -> Iterator[str]:
    """The lines of README.md's table."""
    yield "| what | 2.263.4 | 2.568.1 |"
    yield "|---|---|---|"
    for each in fields(Generation):
        shown = [_shown(getattr(generation, each.name)) for generation in (OLD, NEW)]
        yield f"| {each.metadata['what']} | {' | '.join(shown)} |"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "no limit"
    return f"`{value}`" if isinstance(value, str) else str(value)
