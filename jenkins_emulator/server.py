"""`shuttle jenkins`: the emulated Jenkins as an HTTP server on 127.0.0.1, for demos and tests only."""

import asyncio
import resource
import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from aiohttp import web

from jenkins_emulator.answers import Answers, RefusedError
from jenkins_emulator.call import Call
from jenkins_emulator.clock import Clock, SystemClock
from jenkins_emulator.controller import Controller
from jenkins_emulator.faults import Faults
from jenkins_emulator.generations import GENERATIONS, NEWEST
from jenkins_emulator.permissions import ADMINISTRATOR, OVERALL_READ, READER, SHUTTLE_USER
from jenkins_emulator.routes_top import NOTICE, answer
from jenkins_emulator.security import Account, Security
from jenkins_emulator.startup import Phase, Startup

_MAX_BODY_BYTES = 64 << 20
# Each running build has four open files, and each polling client a connection.
_OPEN_FILES = 65536


class EmulatedJenkins:
    """One server with one home directory. `start` and `close` can be repeated, even with a home left by a SIGKILL."""

    def __init__(
        self,
        home: Path,
        *,
        port: int = 0,
        generation: str = NEWEST,
        executors: int = 2,
        user: str | None = None,
        token: str | None = None,
        password: str | None = None,
        permissions: Iterable[str] = SHUTTLE_USER,
        reader_token: str | None = None,
        accounts: Iterable[Account] = (),
        labels: Iterable[str] = (),
        clock: Clock | None = None,
        log_poll_seconds: float = 0.02,
        quiet_period_seconds: float = 5.0,
        leave_seconds: float = 0.0,
        start_seconds: float = 0.0,
        root_url: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Without any account there is no access control, and POSTs need a crumb.

        `generation` is one of GENERATIONS. `user` has `permissions`; `reader_token` adds a user `reader` who may only
        read; `accounts` are further users. `labels` are valid in `agent { label '…' }` besides the node's names.
        `leave_seconds` is how long an item that may start still waits, `start_seconds` the time between leaving the
        queue and the existence of its build (`executable: null`). JENKINS_URL and BUILD_URL are derived from
        `root_url` and absent without it; `environment` is what `sh` inherits.
        """
        self.port = port
        self.generation = GENERATIONS[generation]
        self._clock = clock or SystemClock()
        self._accounts = list(accounts)
        if user is not None:
            self._accounts.append(Account(user, token, password, frozenset(permissions)))
        if reader_token is not None:
            self._accounts.append(Account("reader", reader_token, permissions=READER))
        self._answers = Answers(self.generation)
        self._security = Security(self._accounts, self._answers)
        self._make_controller: Callable[[], Controller] = lambda: Controller(
            home.resolve(),
            generation=self.generation,
            executors=executors,
            labels=labels,
            clock=self._clock,
            log_poll_seconds=log_poll_seconds,
            quiet_period_seconds=quiet_period_seconds,
            leave_seconds=leave_seconds,
            start_seconds=start_seconds,
            root_url=root_url,
            environment=environment,
        )
        self._controller: Controller | None = None
        self._runner: web.AppRunner | None = None
        self.startup = Startup()

    @property
    def url(self) -> str:
        """The address without a final slash; valid once the server listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def faults(self) -> Faults:
        """The faults that a test can cause; available after `load`."""
        if self._controller is None:
            raise RuntimeError("the emulated Jenkins has not been started")
        return Faults(self._controller)

    async def start(self) -> None:
        """Listen, read the home directory, and resume running builds."""
        await self.listen()
        self.load()

    async def listen(self, phase: Phase = Phase.STARTING) -> None:
        """Accept connections, and answer as a starting Jenkins: with 503, or as `phase` says."""
        self.startup.enter(phase)
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._answers = Answers(self.generation)
        # Sessions end with the server.
        self._security = Security(self._accounts, self._answers)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024)
        await site.start()
        [(_, self.port)] = [address[:2] for address in self._runner.addresses]

    def load(self) -> None:
        """Read the home directory; from then on requests are answered normally."""
        _raise_open_files_limit()
        controller = self._make_controller()
        controller.load()
        self._controller = controller
        self.startup.enter(Phase.UP)

    async def close(self) -> None:
        """Stop listening; running scripts continue. Idempotent, also without `start`."""
        self.startup.end()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._controller is not None:
            await self._controller.close()
            self._controller = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        refusal = await self.startup.refusal(request, self._answers)
        if refusal is not None or self._controller is None:
            return refusal or self._answers.starting(is_read=True)
        try:
            principal = self._security.authenticate(request)
            call = Call(request, principal, self._controller, self._answers, self._security)
            self._admit(call)
            return await answer(call)
        except RefusedError as refused:
            return refused.response

    def _admit(self, call: Call) -> None:
        if not call.is_read:
            self._security.check_crumb(call.request, call.principal)
        if call.path[:1] == ["login"]:
            return
        if call.path[:1] == ["whoAmI"] and self.generation.anonymous_who_am_i:
            return
        call.need(OVERALL_READ)


def _raise_open_files_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _serve(jenkins: EmulatedJenkins, announce: Callable[[str], None]) -> None:
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
    generation: str = NEWEST,
    executors: int = 2,
    user: str | None = None,
    token: str | None = None,
    administrator: bool = False,
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGINT or SIGTERM; `announce` gets one line with the address once requests are answered."""
    jenkins = EmulatedJenkins(
        home,
        port=port,
        generation=generation,
        executors=executors,
        user=user,
        token=token,
        permissions=ADMINISTRATOR if administrator else SHUTTLE_USER,
    )
    asyncio.run(_serve(jenkins, announce))
