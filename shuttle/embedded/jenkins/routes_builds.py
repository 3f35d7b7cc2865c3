"""Builds: their record, their log as it grows, and the three ways to end one."""

from aiohttp import web
from aiohttp.web import ContentCoding

from shuttle.embedded.jenkins import exported
from shuttle.embedded.jenkins.answers import empty, not_found, redirect
from shuttle.embedded.jenkins.builds import Build
from shuttle.embedded.jenkins.call import Call
from shuttle.embedded.jenkins.console import read_plain
from shuttle.embedded.jenkins.jobs import Job

_CANCEL, _DELETE, _UPDATE = "hudson.model.Item.Cancel", "hudson.model.Run.Delete", "hudson.model.Run.Update"
# Up to here a log is one body with its length, beyond it is streamed in pieces.
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
    """By number, or by Jenkins' permalinks."""
    if name.isdecimal():
        return job.builds.get(int(name))
    if name == "lastBuild":
        return job.last_build
    return next((build for build in job.newest() if build.result in _LAST.get(name, ())), None)


def answer_delete_build(call: Call, job: Job, name: str) -> web.Response:
    """`doDelete` of a build: the record is gone at once; what runs goes on."""
    call.need_post()
    call.need(_DELETE)
    build = find_build(job, name)
    if build is not None:
        job.delete_build(build)
    return redirect(exported.item_url(call.base, job))


async def answer_build(call: Call, build: Build, path: list[str]) -> web.StreamResponse:  # noqa: PLR0911  # one line a route
    """`/job/<name>/<number>/…`."""
    match path:
        case ["api", "json"]:
            return call.json(exported.build(build, call.base))
        case ["logText", "progressiveText"]:
            return await _progressive_text(call, build)
        case ["consoleText"]:
            return await _send_log(call, build, 0, build.log_bytes, dict(_TEXT), crlf=False)
        case ["buildNumber"]:
            return web.Response(text=str(build.number), content_type="text/plain", charset="US-ASCII")
        case ["stop" | "term" | "kill" as how]:
            return await _end(call, build, how)
        case ["submitDescription"]:
            return await _describe(call, build)
        case [] | ["console"] if call.is_read:
            return call.answers.page(200, f"{build.job.full_name} #{build.number}")
    raise not_found()


async def _end(call: Call, build: Build, how: str) -> web.Response:
    call.need_post()
    call.need(_CANCEL)
    if how == "stop":
        call.controller.stop(build, call.principal.name)
        return redirect(_url(call, build))
    if how == "term":
        call.controller.term(build, call.principal.name)
    else:
        await call.controller.kill(build)
    return empty()


async def _describe(call: Call, build: Build) -> web.Response:
    call.need_post()
    call.need(_UPDATE)
    call.controller.describe(build, (await call.parameters()).get("description", ""))
    return redirect(_url(call, build))


def _url(call: Call, build: Build) -> str:
    return f"{exported.item_url(call.base, build.job)}{build.number}/"


async def _progressive_text(call: Call, build: Build) -> web.StreamResponse:
    """The log from a raw offset on; X-Text-Size is the next one, X-More-Data is there only while the build runs."""
    more = build.is_building  # read together with the size: an end in between must not hide its last lines
    size = build.log_bytes
    start = (await call.parameters()).get("start") or "0"
    try:
        offset = int(start)
    except ValueError as error:
        raise call.answers.refused(500, f"no offset: {start}") from error
    if offset < 0:
        raise call.answers.refused(500, f"no offset: {start}")
    if offset > size:
        offset = 0  # recorded: beyond the end the whole log comes again
    headers = {**_TEXT, "X-Text-Size": str(size)}
    if more:
        headers["X-More-Data"] = "true"
    return await _send_log(call, build, offset, size, headers, crlf=True)


async def _send_log(
    call: Call, build: Build, start: int, end: int, headers: dict[str, str], *, crlf: bool
) -> web.StreamResponse:
    gzip = "gzip" in call.request.headers.get("Accept-Encoding", "")
    pieces = read_plain(build.log_path, start, end, crlf=crlf) if end > start else iter(())
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
