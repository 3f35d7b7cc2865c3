"""`shuttle jenkins`: the embedded Jenkins as an HTTP server on 127.0.0.1, for demos and tests only."""

import asyncio
import html
import resource
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from aiohttp import web

from shuttle.embedded.jenkins import exported, exported_queue
from shuttle.embedded.jenkins.answers import Answers, RefusedError, not_found, redirect, starting
from shuttle.embedded.jenkins.call import Call
from shuttle.embedded.jenkins.clock import Clock, SystemClock
from shuttle.embedded.jenkins.controller import Controller
from shuttle.embedded.jenkins.declarative import compile_pipeline
from shuttle.embedded.jenkins.groovy_strings import ScriptError
from shuttle.embedded.jenkins.jobs import BadNameError, check_name
from shuttle.embedded.jenkins.routes_items import answer_item, create_item
from shuttle.embedded.jenkins.routes_queue import answer_queue
from shuttle.embedded.jenkins.security import CRUMB_FIELD, Security
from shuttle.embedded.jenkins.tree import Bean

NOTICE = "Embedded Jenkins: for demos and tests only. It runs a small part of declarative pipelines."

_ADMINISTER = "hudson.model.Hudson.Administer"
_READ = "hudson.model.Hudson.Read"
_MAX_BODY_BYTES = 64 << 20
# Each running build has four files open, each poller a connection.
_OPEN_FILES = 65536


class EmbeddedJenkins:
    """One server over one home directory; `start` and `close` may be called again, also on a home left by a SIGKILL."""

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        executors: int = 2,
        user: str | None = None,
        token: str | None = None,
        password: str | None = None,
        reader_token: str | None = None,
        labels: Iterable[str] = ("master", "built-in"),
        clock: Clock | None = None,
        log_poll_seconds: float = 0.02,
        quiet_period_seconds: float = 5.0,
        start_seconds: float = 0.0,
        root_url: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Without `user` there is no access control and POSTs need a crumb; `reader_token` adds a user `reader`.

        `start_seconds` is how long a queue item has left before its build is known (`executable: null`); `root_url` is
        what JENKINS_URL and BUILD_URL come from, absent without it; `environment` is what `sh` inherits.
        """
        self.port = port
        self._clock = clock or SystemClock()
        self._security = Security(user, token, password, reader_token)
        self._make_controller: Callable[[], Controller] = lambda: Controller(
            home.resolve(),
            executors=executors,
            labels=labels,
            clock=self._clock,
            log_poll_seconds=log_poll_seconds,
            quiet_period_seconds=quiet_period_seconds,
            start_seconds=start_seconds,
            root_url=root_url,
            environment=environment,
        )
        self._answers = Answers()
        self._controller: Controller | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address, without a slash at the end; valid once it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, read the home directory, go on with what ran."""
        await self.listen()
        self.load()

    async def listen(self) -> None:
        """Answer 503, as Jenkins does while it starts."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._answers = Answers()
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        [(_, self.port)] = [address[:2] for address in self._runner.addresses]

    def load(self) -> None:
        """Read the home directory; from now on requests are answered."""
        _raise_open_files_limit()
        controller = self._make_controller()
        controller.load()
        self._controller = controller

    async def close(self) -> None:
        """Stop listening; running scripts go on by themselves. Harmless when not started, or twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._controller is not None:
            await self._controller.close()
            self._controller = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._controller is None:
            return starting()
        try:
            principal = self._security.authenticate(request)
            call = Call(request, principal, self._controller, self._answers, self._security)
            self._admit(call)
            return await self._route(call)
        except RefusedError as refused:
            return refused.response

    def _admit(self, call: Call) -> None:
        if not call.is_read:
            self._security.check_crumb(call.request, call.principal)
        if self._security.is_on and call.principal.is_anonymous and call.path[:1] != ["login"]:
            raise self._answers.forbidden(None, _READ)

    async def _route(self, call: Call) -> web.StreamResponse:  # noqa: PLR0911  # one line a route
        controller = call.controller
        match call.path:
            case ["job", _, *_]:
                return await answer_item(call)
            case ["queue", *rest]:
                return await answer_queue(call, rest)
            case ["api", "json"]:
                return call.json(exported.root(controller, call.base, secured=self._security.is_on))
            case ["createItem"]:
                return await create_item(call, controller.top)
            case ["computer", "api", "json"]:
                return call.json(exported_queue.computers(controller, call.base))
            case ["computer", "(master)", "api", "json"]:
                return call.json(exported_queue.computer(controller, call.base))
            case ["crumbIssuer", "api", "json"]:
                return self._crumb(call)
            case ["whoAmI" | "me", "api", "json"]:
                return call.json(_who(call, call.path[0]))
            case ["quietDown" | "cancelQuietDown" as action]:
                call.need_post()
                call.need(_ADMINISTER)
                controller.quiet_down(quiet=action == "quietDown")
                return redirect(f"{call.base}/")
            case ["checkJobName"]:
                return _check_job_name(call)
            case ["pipeline-model-converter", "validate"]:
                return await _validate(call)
            case [] | ["login"]:
                return self._answers.page(200, NOTICE)
        raise not_found()

    def _crumb(self, call: Call) -> web.Response:
        crumb, cookie = self._security.issue_crumb(call.request, call.principal)
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
    known = not call.principal.is_anonymous
    rights = {"anonymous": not known, "authenticated": True, "authorities": ["authenticated"] if known else []}
    return Bean("hudson.security.WhoAmI", {**rights, "name": name})


def _check_job_name(call: Call) -> web.Response:
    """A fragment of a page: without X-Jenkins, as recorded."""
    name = call.request.query.get("value", "")
    message = ""
    try:
        check_name(name)
    except BadNameError as error:
        message = str(error)
    if not message and call.controller.top.find([name]) is not None:
        message = f"A job already exists with the name \u2018{name}\u2019"
    return web.Response(text=html.escape(message), content_type="text/html")


async def _validate(call: Call) -> web.Response:
    """The declarative linter: 200 in both cases, the text tells."""
    call.need_post()
    script = (await call.parameters()).get("jenkinsfile", "")
    try:
        compile_pipeline(script)
    except ScriptError as error:
        return web.Response(text=f"Errors encountered validating Jenkinsfile:\n{error.excerpt(script)}")
    return web.Response(text="Jenkinsfile successfully validated.\n")


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(jenkins: EmbeddedJenkins, announce: Callable[[str], None]) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await jenkins.start()
    announce(f"{NOTICE} Listening on {jenkins.url}")
    await stopped.wait()
    await jenkins.close()


def run(
    home: Path,
    *,
    port: int,
    executors: int = 2,
    user: str | None = None,
    token: str | None = None,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets one line with the address once requests are answered."""
    jenkins = EmbeddedJenkins(home, port=port, executors=executors, user=user, token=token)
    asyncio.run(_serve(jenkins, announce))
