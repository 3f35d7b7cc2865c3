"""Routes outside of jobs and the queue: the root, users, crumbs, executors, quieting down, the linter."""

import html

from aiohttp import web

from jenkins_emulator import exported, exported_queue
from jenkins_emulator.answers import redirect
from jenkins_emulator.call import Call
from jenkins_emulator.declarative import UnknownStepError, compile_pipeline
from jenkins_emulator.groovy_strings import ScriptError
from jenkins_emulator.jobs import BadNameError, check_name
from jenkins_emulator.permissions import ADMINISTER, CANCEL
from jenkins_emulator.routes_items import answer_item, create_item
from jenkins_emulator.routes_queue import answer_queue
from jenkins_emulator.security import CRUMB_FIELD
from jenkins_emulator.tree import Bean

NOTICE = "Emulated Jenkins: for demos and tests only. It runs a small part of declarative pipelines."


async def answer(call: Call) -> web.StreamResponse:  # noqa: PLR0911  # one line a route
    """Every route."""
    controller = call.controller
    match call.path:
        case ["job", _, *_]:
            return await answer_item(call)
        case ["queue", *rest]:
            return await answer_queue(call, rest)
        case ["api", "json"]:
            return call.json(exported.root(controller, call.view, secured=call.security.is_on))
        case ["createItem"]:
            return await create_item(call, controller.top)
        case ["computer", *rest]:
            return _computer(call, rest)
        case ["crumbIssuer", "api", "json"]:
            return _crumb(call)
        case ["whoAmI" | "me", "api", "json"]:
            return call.json(_who(call, call.path[0]))
        case ["quietDown" | "cancelQuietDown" as action]:
            call.need_post()
            call.need(ADMINISTER)
            controller.quiet_down(quiet=action == "quietDown")
            return redirect(call.location("/"))
        case ["checkJobName"]:
            return _check_job_name(call)
        case ["pipeline-model-converter", "validate"]:
            return await _validate(call)
        case [] | ["login"]:
            return call.answers.page(200, NOTICE)
    raise call.answers.not_found()


def _computer(call: Call, path: list[str]) -> web.StreamResponse:
    controller = call.controller
    # The newer generation also accepts the node's old name.
    nodes = (f"({call.answers.generation.node_name})", "(master)")
    match path:
        case ["api", "json"]:
            return call.json(exported_queue.computers(controller, call.view))
        case [name, "api", "json"] if name in nodes:
            return call.json(exported_queue.computer(controller, call.view))
        case [name, "executors", number, "stop"] if name in nodes and number.isdecimal():
            call.need_post()
            call.need(CANCEL)
            if int(number) < len(controller.executors.slots):
                controller.stop_executor(int(number), call.principal.name)
                return redirect(call.location(f"/computer/{name}/"))
    raise call.answers.not_found()


def _crumb(call: Call) -> web.Response:
    crumb, cookie = call.security.issue_crumb(call.request, call.principal)
    shown = {"crumb": crumb, "crumbRequestField": CRUMB_FIELD}
    response = call.json(Bean("hudson.security.csrf.DefaultCrumbIssuer", shown))
    if cookie is not None:
        response.headers["Set-Cookie"] = cookie
    return response


def _who(call: Call, route: str) -> Bean:
    name = call.principal.name or "anonymous"
    if route == "me":
        person = {"absoluteUrl": f"{call.base}/user/{name}", "description": None, "fullName": name, "id": name}
        return Bean("hudson.model.User", {**person, "property": []})
    anonymous = call.principal.is_anonymous
    authorities = ["anonymous" if anonymous else "authenticated"]
    shown = {"anonymous": anonymous, "authenticated": True, "authorities": authorities, "name": name}
    return Bean("hudson.security.WhoAmI", shown)


def _check_job_name(call: Call) -> web.Response:
    """The check of a job's name. As recorded, the body is a part of a page, and the header X-Jenkins is missing."""
    name = call.request.query.get("value", "")
    message = ""
    try:
        check_name(name, refuses_trailing_dot=call.answers.generation.refuses_trailing_dot)
    except BadNameError as error:
        message = str(error)
    if not message and call.controller.top.find([name]) is not None:
        message = f"A job already exists with the name \u2018{name}\u2019"
    return web.Response(text=html.escape(message), content_type="text/html")


async def _validate(call: Call) -> web.Response:
    """The declarative linter: always 200; the text has the result."""
    call.need_post()
    script = (await call.parameters()).get("jenkinsfile", "")
    valid = "Jenkinsfile successfully validated.\n"
    try:
        compile_pipeline(script)
    except ScriptError as error:
        if isinstance(error, UnknownStepError) and call.answers.generation.lint_accepts_unknown_steps:
            return web.Response(text=valid)
        return web.Response(text=f"Errors encountered validating Jenkinsfile:\n{error.excerpt(script)}")
    return web.Response(text=valid)
