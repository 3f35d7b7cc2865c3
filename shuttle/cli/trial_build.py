"""The doctor's trial build of one line: accepted, run by a Jenkins agent and followed to its end, as in the service.

For the duration of the build a real shuttle runs in this process, with a temporary directory and a token of its own. It
listens on the service's port, or on another one if a running service uses it.
"""

import asyncio
import errno
import logging
import os
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from yarl import URL

from shuttle.app import shuttle_parts
from shuttle.build import FINAL
from shuttle.cli.agent_programs import SCRIPT, program_findings
from shuttle.cli.client import ShuttleClient
from shuttle.cli.findings import Finding, fine, problem, warning
from shuttle.cli.pack import source_url
from shuttle.errors import SettingsError, ShuttleError
from shuttle.jenkins import Jenkins
from shuttle.settings import Settings, load_settings
from shuttle.web.server import make_runner, make_web

APP_ID = "shuttle-doctor"

_BUILD_ID = "1"
_SUBJECT = "trial build"
_PAUSE_SECONDS = 0.1
_SHOWN_LINES = 6
_NO_DECLARATIVE = "No such DSL method 'pipeline'"


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of the trial build at its end, or at the end of the time limit.

    `build` is the shuttle's long form, `waits` the reason in Jenkins' queue, `console` the text of Jenkins' console.
    """

    build: Mapping[str, Any]
    waits: str | None
    console: str
    log_arrived: bool
    log: str = ""


class TrialBuild:
    """One trial build; `number` is Jenkins' build number, None before it has one.

    With `programs`, it also lists the versions of the agent's programs.
    """

    def __init__(self, settings: Settings, wait_seconds: float, *, programs: bool = False) -> None:
        self._script = SCRIPT if programs else ""
        self._settings = settings
        self._wait_seconds = wait_seconds
        self.number: int | None = None

    async def run(self) -> AsyncIterator[Finding]:
        """Findings on whether the build is claimed, its log arrives and its end is reported."""
        with _silence(), tempfile.TemporaryDirectory(prefix="shuttle-doctor-") as folder:
            with _listen(self._settings) as (listening, is_usual):
                address = _address(self._settings, listening, is_usual=is_usual)
                if not is_usual:
                    sentence = f"port {self._settings.port} is in use; instead the agent must reach {address}."
                    yield warning(_SUBJECT, sentence)
                began = time.monotonic()
                async with _shuttle(self._settings, Path(folder), listening, address) as (client, jenkins):
                    observed = await self._observe(Path(folder), client, jenkins)
            seconds = time.monotonic() - began
        wrong = diagnosis(observed, address, self._settings.shuttle_jenkins_agent_label, self._wait_seconds)
        if wrong is None:
            yield fine(_SUBJECT, f"was claimed, sent its log and succeeded, {seconds:.1f} s after its request.")
            for finding in program_findings(observed.log):
                yield finding
        else:
            yield problem(_SUBJECT, wrong)

    async def _observe(self, folder: Path, client: ShuttleClient, jenkins: Jenkins) -> Observed:
        line = f"shuttle-doctor {secrets.token_hex(8)}"
        await client.submit(
            APP_ID, _BUILD_ID, {"source": {"url": _source(folder, line, self._script)}, "pipeline": "script"}
        )
        build, waits = await self._wait(client, jenkins)
        log = b"".join([part async for part in client.log(APP_ID, _BUILD_ID, offset=0, follow=False)])
        console = b""
        if self.number is not None and build["state"] != "succeeded":
            try:
                console = await jenkins.console_tail(build["jenkins"]["job"], self.number)
            except ShuttleError:
                console = b""
        return Observed(build, waits, console.decode(errors="replace"), line.encode() in log, log.decode())

    async def _wait(self, client: ShuttleClient, jenkins: Jenkins) -> tuple[dict[str, Any], str | None]:
        """The build at its end or after `wait_seconds`, and the last reason in Jenkins' queue."""
        until = time.monotonic() + self._wait_seconds
        while True:
            build = await client.build(APP_ID, _BUILD_ID)
            self.number = build["jenkins"]["build_number"]
            if build["state"] in FINAL or time.monotonic() > until:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        if build["state"] in FINAL:
            return build, None
        return build, await _reason(build, self.number, jenkins)


def diagnosis(observed: Observed, address: str, label: str, wait_seconds: float) -> str | None:
    """What is wrong and what to do about it; None if the build succeeded."""
    build = observed.build
    jenkins_says = _last_lines(observed.console)
    claimed = build["timestamps"]["running_at"] is not None
    if build["state"] == "succeeded":
        return None if observed.log_arrived else "succeeded, but its log did not arrive."
    if _NO_DECLARATIVE in observed.console:
        return "Jenkins lacks the plugin Pipeline: Declarative (pipeline-model-definition); install it."
    if observed.waits is not None:
        wanted = f"the label {label} (SHUTTLE_JENKINS_AGENT_LABEL)" if label else "no label"
        return f"no agent took it within {wait_seconds:g} s. It asks for {wanted}; Jenkins says: {observed.waits}"
    if not claimed and build["jenkins"]["build_number"] is not None:
        needs = f"an agent must be free, have curl and reach {address} (BUILD_SHUTTLE_HOST)"
        return f"Jenkins began it, but no agent claimed it: {needs}.{jenkins_says}"
    if build["state"] in FINAL:
        return f"{build['state']}: {build['message']}{jenkins_says}"
    return f"did not end within {wait_seconds:g} s. It waits for: {build['waiting_for']}{jenkins_says}"


async def _reason(build: Mapping[str, Any], number: int | None, jenkins: Jenkins) -> str | None:
    """Why it waits, as Jenkins' queue says; None if it is not in the queue."""
    try:
        if number is None:
            item = (await jenkins.waiting()).get(build["build_uuid"])
        else:
            item = (await jenkins.waiting_nodes()).get((build["jenkins"]["job"], number))
    except ShuttleError:
        return None
    return None if item is None else item.why


def _last_lines(console: str) -> str:
    lines = [line for line in console.splitlines() if line.strip()][-_SHOWN_LINES:]
    return f" Jenkins says: {' | '.join(lines)}" if lines else ""


def _source(folder: Path, line: str, further: str) -> str:
    source = folder / "source"
    source.mkdir()
    script = source / "build.sh"
    script.write_text(f"#!/bin/sh\necho '{line}'\n{further}")
    script.chmod(0o755)
    return source_url(str(source))


@contextmanager
def _listen(settings: Settings) -> Iterator[tuple[socket.socket, bool]]:
    """The listening socket, and whether it has the service's port.

    Raises SettingsError: the service could not listen there.
    """
    family = socket.AF_INET6 if ":" in settings.shuttle_bind else socket.AF_INET
    try:
        listening, is_usual = socket.create_server((settings.shuttle_bind, settings.port), family=family), True
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            where = f"{settings.shuttle_bind}, port {settings.port}"
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "its host name is unknown"
            raise SettingsError(
                f"The service cannot listen at {where}: {reason}; correct SHUTTLE_BIND or PORT."
            ) from None
        listening, is_usual = socket.create_server((settings.shuttle_bind, 0), family=family), False
    with listening:
        yield listening, is_usual


def _address(settings: Settings, listening: socket.socket, *, is_usual: bool) -> str:
    """The base URL that the agent calls."""
    if settings.build_shuttle_host and is_usual:
        return settings.build_shuttle_host
    named = URL(settings.build_shuttle_host).host if settings.build_shuttle_host else None
    host = named or (settings.shuttle_bind if settings.binds_loopback else socket.gethostname())
    return str(URL.build(scheme="http", host=host, port=listening.getsockname()[1]))


@asynccontextmanager
async def _shuttle(
    settings: Settings, folder: Path, listening: socket.socket, address: str
) -> AsyncIterator[tuple[ShuttleClient, Jenkins]]:
    """Run the service with an empty directory; yields a client of it and its Jenkins, the only one in `settings`."""
    token = secrets.token_urlsafe(32)
    temporary = load_settings(
        None,
        jenkins_url=settings.jenkins_url.get_secret_value(),
        shuttle_data_dir=folder / "data",
        database_url="",
        s3_bucket="",
        shuttle_tokens=f"controller:{token}",
        shuttle_shutdown_seconds=2,
    )
    async with AsyncExitStack() as stack:
        services, worker, membership, _ = await stack.enter_async_context(shuttle_parts(temporary, address))
        runner = make_runner(make_web(services, worker, membership), shutdown_seconds=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, listening).start()
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.shuttle_bind, settings.shuttle_bind)  # noqa: S104
        url = URL.build(scheme="http", host=here, port=listening.getsockname()[1])
        yield (
            await stack.enter_async_context(ShuttleClient(str(url), token)),
            services.controllers.of(services.controllers.only),
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress the service's log lines in the doctor's output."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
