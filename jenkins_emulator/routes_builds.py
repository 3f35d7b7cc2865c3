"""Routes of builds: their record, their growing log, and stop, term and kill."""

from aiohttp import web
from aiohttp.web import ContentCoding

from jenkins_emulator import exported
from jenkins_emulator.answers import empty, redirect
from jenkins_emulator.builds import Build
from jenkins_emulator.call import Call
from jenkins_emulator.console import end_of_lines, read_text
from jenkins_emulator.jobs import Job
from jenkins_emulator.permissions import BUILD, CANCEL, DELETE_BUILD, UPDATE_BUILD

# Up to this size a log is one body with its length; a larger one is streamed in pieces.
_ONE_BODY_BYTES = 1 << 18
_TEXT = {"Content-Type": "text/plain;charset=utf-8", "X-Content-Type-Options": "nosniff"}
_LAST = {
    "lastCompletedBuild": ("SUCCESS", "UNSTABLE", "FAILURE", "ABORTED", "NOT_BUILT"),
    "lastSuccessfulBuild": ("SUCCESS", "UNSTABLE"),
    "lastStableBuild": ("SUCCESS",),
    "lastFailedBuild": ("FAILURE",),
    "lastUnsuccessfulBuild": ("UNSTABLE", "FAILURE", "ABORTED", "NOT_BUILT"),
}


def find_build(job: Job, name: str) -> Build | None:
    """The build with a number or a permalink of Jenkins."""
    if name.isdecimal():
        return job.builds.get(int(name))
    if name == "lastBuild":
        return job.last_build
    return next((build for build in job.newest() if build.result in _LAST.get(name, ())), None)


def answer_delete_build(call: Call, job: Job, build: Build) -> web.Response:
    """`doDelete` of a build. For a running build a newer Jenkins only shows its page and deletes nothing."""
    call.need_post()
    call.need(DELETE_BUILD)
    if build.is_building and not call.answers.generation.deletes_running_builds:
        return call.answers.page(200, f"{build.job.full_name} #{build.number}")
    job.delete_build(build)
    return redirect(call.location(exported.item_url("", job)))


async def answer_build(call: Call, build: Build, path: list[str]) -> web.StreamResponse:  # noqa: PLR0911  # one line a route
    """`/job/<name>/<number>/…`."""
    match path:
        case ["api", "json"]:
            return call.json(exported.build(build, call.view))
        case ["logText", "progressiveText"]:
            return await _progressive_text(call, build)
        case ["consoleText"]:
            return await _send_log(call, build, 0, build.log_bytes, dict(_TEXT), crlf=False)
        case ["buildNumber"]:
            return web.Response(text=str(build.number), content_type="text/plain", charset="US-ASCII")
        case ["stop" | "term" | "kill" as how]:
            return await _end(call, build, how)
        case ["replay", "rebuild"]:
            return _replay(call, build)
        case ["submitDescription"]:
            return await _describe(call, build)
        case [] | ["console"] if call.is_read:
            return call.answers.page(200, f"{build.job.full_name} #{build.number}")
    raise call.answers.not_found()


async def _end(call: Call, build: Build, how: str) -> web.Response:
    call.need_post()
    call.need(CANCEL)
    match how:
        case "stop":
            call.controller.stop(build, call.principal.name)
        case "term":
            call.controller.term(build, call.principal.name)
        case "kill":
            await call.controller.kill(build)
    if how != "stop" and call.answers.generation.forced_end_status == 200:
        return empty()
    return redirect(_location(call, build))


async def _describe(call: Call, build: Build) -> web.Response:
    call.need_post()
    call.need(UPDATE_BUILD)
    call.controller.describe(build, (await call.parameters()).get("description", ""))
    return redirect(_location(call, build))


def _replay(call: Call, build: Build) -> web.Response:
    """Build again with the same parameters; the newer generation refuses password parameters."""
    call.need_post()
    call.need(BUILD)
    if call.answers.generation.replay_refuses_passwords and any(parameter.secret for parameter in build.parameters):
        error = "Replay is not allowed when password parameters are used."
        raise call.answers.refused(400, error, {"X-Error": error})
    given = {parameter.name: parameter.value for parameter in build.parameters}
    call.controller.schedule(build.job, given, call.principal.name, 0.0)
    return redirect(call.location(exported.item_url("", build.job)))


def _location(call: Call, build: Build) -> str:
    return call.location(f"{exported.item_url('', build.job)}{build.number}/")


async def _progressive_text(call: Call, build: Build) -> web.StreamResponse:
    """The log from a raw offset; X-Text-Size is the next offset, X-More-Data is sent while lines can still be added."""
    generation = call.answers.generation
    # Read before the size: if the build ends in between, its last lines are not hidden.
    more = build.is_building or build.is_logging
    end = build.log_bytes
    size = build.file_bytes if generation.size_counts_unserved else end
    start = (await call.parameters()).get("start") or "0"
    try:
        offset = int(start)
    except ValueError as error:
        raise call.answers.refused(500, f"no offset: {start}") from error
    headers = {**_TEXT, "X-Text-Size": str(size)}
    if more:
        headers["X-More-Data"] = "true"
    if offset < 0:
        if generation.negative_start_status != 200:
            raise call.answers.refused(generation.negative_start_status, f"no offset: {start}")
        return web.Response(headers=headers)
    if offset > size:
        offset = 0  # recorded: an offset beyond the end gives the whole log again
    if more and generation.lines_an_answer is not None:
        end = end_of_lines(build.log_path, offset, end, generation.lines_an_answer)
    return await _send_log(call, build, offset, end, headers, crlf=True, notes=generation.serves_notes)


async def _send_log(
    call: Call, build: Build, start: int, end: int, headers: dict[str, str], *, crlf: bool, notes: bool = False
) -> web.StreamResponse:
    gzip = "gzip" in call.request.headers.get("Accept-Encoding", "")
    pieces = read_text(build.log_path, start, end, crlf=crlf, notes=notes) if end > start else iter(())
    if end - start <= _ONE_BODY_BYTES:
        response = web.Response(body=b"".join(pieces), headers=headers)
        if gzip:
            response.enable_compression(ContentCoding.gzip)
        return response
    streamed = web.StreamResponse(headers=headers)
    if gzip:
        streamed.enable_compression(ContentCoding.gzip)
    await streamed.prepare(call.request)
    if call.request.method != "HEAD":
        for piece in pieces:
            await streamed.write(piece)
    await streamed.write_eof()
    return streamed
