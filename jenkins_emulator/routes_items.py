"""Routes of jobs and folders: create, show, configure, trigger, disable, delete."""

import json
from xml.etree.ElementTree import Element

from aiohttp import web

from jenkins_emulator import exported
from jenkins_emulator.answers import RefusedError, bare, created, empty, redirect
from jenkins_emulator.call import Call
from jenkins_emulator.config_xml import FOLDER_TAG, ConfigError, folder_config, read
from jenkins_emulator.durations import parse_delay
from jenkins_emulator.jobs import BadNameError, Folder, Job, check_name
from jenkins_emulator.permissions import BUILD, CONFIGURE, CREATE, DELETE
from jenkins_emulator.routes_builds import answer_build, answer_delete_build, find_build

_XML = {"Content-Type": "application/xml"}


async def answer_item(call: Call) -> web.StreamResponse:
    """`/job/<name>/job/<name>/…`."""
    path = list(call.path)
    item: Job | Folder = call.controller.top
    while len(path) >= 2 and path[0] == "job" and isinstance(item, Folder):
        found = item.find([path[1]]) if call.view.may_read else None
        if found is None and call.request.method == "DELETE":
            raise RefusedError(empty(404))
        if found is None:
            raise call.answers.not_found()
        item, path = found, path[2:]
    if isinstance(item, Folder):
        return await _answer_folder(call, item, path)
    return await _answer_job(call, item, path)


async def _answer_folder(call: Call, folder: Folder, path: list[str]) -> web.StreamResponse:
    match path:
        case ["api", "json"]:
            return call.json(exported.item(folder, call.controller, call.view))
        case ["createItem"]:
            return await create_item(call, folder)
        case ["config.xml"] if call.is_read:
            call.need(CONFIGURE)
            return web.Response(body=(folder.directory / "config.xml").read_bytes(), headers=_XML)
    return await _answer_any(call, folder, path)


async def _answer_job(call: Call, job: Job, path: list[str]) -> web.StreamResponse:  # noqa: PLR0911  # one line a route
    match path:
        case ["api", "json"]:
            asked_as = call.base + call.request.rel_url.raw_path.removesuffix("/").removesuffix("api/json")
            return call.json(exported.item(job, call.controller, call.view, asked_as))
        case ["config.xml"]:
            return await _config(call, job)
        case ["buildWithParameters"]:
            return await _build_with_parameters(call, job)
        case ["build"]:
            return await _build(call, job)
        case ["submitDescription"]:
            return await _describe(call, job)
        case ["disable" | "enable" as action]:
            return _set_disabled(call, job, disabled=action == "disable")
        case [number, "doDelete"] if (build := find_build(job, number)) is not None:
            return answer_delete_build(call, job, build)
        case [number, *rest] if (build := find_build(job, number)) is not None:
            return await answer_build(call, build, rest)
    return await _answer_any(call, job, path)


async def _answer_any(call: Call, item: Job | Folder, path: list[str]) -> web.StreamResponse:
    match path:
        case [] if call.request.method == "DELETE":
            await _delete(call, item)
            return empty(204)
        case ["doDelete"]:
            call.need_post()
            await _delete(call, item)
            return redirect(call.location("/"))
        case [] | ["configure"] if call.is_read:
            return call.answers.page(200, item.full_name)
    raise call.answers.not_found()


async def _delete(call: Call, item: Job | Folder) -> None:
    call.need(DELETE)
    if not await call.controller.delete(item, call.principal.name):
        raise call.answers.refused(500, "Failed to interrupt and stop the builds of the job")


async def create_item(call: Call, folder: Folder) -> web.Response:
    """`POST createItem?name=…`: the checks in Jenkins' order; XML, a copy, or a folder by `mode`."""
    call.need_post()
    call.need(CREATE)
    given = await call.parameters()
    mode = given.get("mode")
    has_type = "Content-Type" in call.request.headers
    if not has_type and mode != "copy":
        raise _bad(call, "No Content-Type header set")
    if "name" not in given:
        raise _bad(call, "Query parameter 'name' is required")
    name = given["name"].strip()
    try:
        check_name(name, refuses_trailing_dot=call.answers.generation.refuses_trailing_dot)
    except BadNameError as error:
        raise _bad(call, str(error)) from error
    if folder.find([name]) is not None:
        raise _bad(call, f"A job already exists with the name  {name} " if call.view.may_read else "")
    if mode == "copy":
        return _copy(call, folder, name, given.get("from", ""))
    if has_type and call.request.content_type in ("application/xml", "text/xml"):
        folder.add(name, await _posted_config(call))
        return empty()
    if mode is None:
        raise _bad(call, "No mode given")
    if mode != FOLDER_TAG:
        raise _bad(call, f"No such item type: {mode}")
    return redirect(call.location(f"{exported.item_url('', folder.add(name, folder_config()))}configure"))


def _bad(call: Call, error: str) -> Exception:
    return call.answers.refused(400, error, {"X-Error": error})


def _copy(call: Call, folder: Folder, name: str, source_name: str) -> web.Response:
    source = folder.find([source_name])
    if not isinstance(source, Job):
        raise _bad(call, f"No such job: {source_name}")
    copy = folder.add(name, read(source.config_text().encode()))
    return redirect(call.location(f"{exported.item_url('', copy)}configure"))


async def _posted_config(call: Call) -> Element:
    try:
        return read(await call.request.read())
    except ConfigError as error:
        raise call.answers.refused(500, "Oops! A problem occurred while processing the request.") from error


async def _config(call: Call, job: Job) -> web.Response:
    call.need(CONFIGURE)
    if call.is_read:
        return web.Response(body=job.config_text().encode(), headers=_XML)
    call.need_post()
    root = await _posted_config(call)
    if root.tag == FOLDER_TAG:
        raise call.answers.refused(500, "Oops! A problem occurred while processing the request.")
    job.configure(root)
    call.controller.queue.maintain()
    return empty()


async def _build_with_parameters(call: Call, job: Job) -> web.Response:
    call.need_post()
    call.need(BUILD)
    given = await call.parameters()
    if not job.definition.parameters:
        generation = call.answers.generation
        text = f"{job.full_name} is not parameterized"
        raise call.answers.bare(
            generation.not_parameterized_status, text, names_version=generation.trigger_errors_name_version
        )
    return _schedule(call, job, given)


async def _build(call: Call, job: Job) -> web.Response:
    call.need_post()
    call.need(BUILD)
    given = await call.parameters()
    if not job.definition.parameters:
        return _schedule(call, job, given)
    if "json" not in given:
        raise bare(400, "Nothing is submitted")
    try:
        submitted = json.loads(given["json"])
        values = {str(each["name"]): str(each["value"]) for each in submitted["parameter"]}
    except (ValueError, KeyError, TypeError) as error:
        raise call.answers.refused(500, "cannot read the submitted json") from error
    _schedule(call, job, {**values, **{name: given[name] for name in ("delay",) if name in given}})
    return created(exported.item_url(call.base, job))


def _schedule(call: Call, job: Job, given: dict[str, str]) -> web.Response:
    if job.definition.disabled:
        names_version = call.answers.generation.conflict_names_version
        raise call.answers.bare(409, f"{job.full_name} is not buildable", names_version=names_version)
    try:
        delay_seconds = parse_delay(given["delay"]) if "delay" in given else None
    except ValueError as error:
        raise call.answers.refused(500, str(error)) from error
    item, is_new = call.controller.schedule(job, given, call.principal.name, delay_seconds)
    status = 201 if is_new else call.answers.generation.equal_trigger_status
    return created(f"{call.base}/queue/item/{item.id}/", status)


async def _describe(call: Call, job: Job) -> web.Response:
    call.need_post()
    call.need(CONFIGURE)
    job.describe((await call.parameters()).get("description", ""))
    return redirect(call.location(exported.item_url("", job)))


def _set_disabled(call: Call, job: Job, *, disabled: bool) -> web.Response:
    call.need_post()
    call.need(CONFIGURE)
    job.set_disabled(disabled=disabled)
    return redirect(call.location(exported.item_url("", job)))
