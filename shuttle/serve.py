"""The process of the service: its limits and log, its port, its signals; runs what `app` composes."""

import asyncio
import gc
import os
import resource
import signal
import socket
import ssl
import sys
from contextlib import AsyncExitStack
from typing import Any

import structlog
from aiohttp import web

from shuttle.app import shuttle_parts
from shuttle.memory import map_large_allocations
from shuttle.settings import Settings, names_without_effect
from shuttle.web import READINESS
from shuttle.web.packerd import PREFIX
from shuttle.web.packerd.tls import packerd_tls
from shuttle.web.server import make_callers, make_packerd_web, make_runner, make_web, time_limits, tls_listener
from shuttle.web.server_log import EventLoopLog, redirect_server_log
from shuttle.web.waiting import WaitingSite

log = structlog.get_logger()

# With 1,000 running builds, each needs a connection to Jenkins, one to a sink, and a spool file.
_OPEN_FILES = 16_384
_BACKLOG = 1024
# asyncio accepts up to `backlog` connections at once, before the first of them is counted against the limit.
_ACCEPTED_AT_ONCE = 32


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; unfinished builds continue at the next start."""
    os.umask(0o077)
    configure_logs()
    raise_open_files_limit()
    collect_less_often()
    map_large_allocations()
    for name in names_without_effect(os.environ):
        log.warning("this setting has no effect any more", setting=name)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(EventLoopLog())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = _listen((settings.shuttle_bind, settings.port))
    packerd = None if settings.packerd_address is None else _listen(settings.packerd_address)
    tls = packerd_tls(settings)
    port = listening.getsockname()[1]
    own_url = f"http://{_reachable_host(settings)}:{port}"
    public_url = settings.build_shuttle_host or own_url
    replica_url = settings.shuttle_replica_url or own_url
    async with AsyncExitStack() as stack:
        callers, times = make_callers(settings), time_limits(settings)
        waiting = [WaitingSite(listening, callers, times)]
        if packerd is not None:
            waiting.append(WaitingSite(packerd, callers, times, root=PREFIX, tls=tls))
        if settings.postgres_url:
            for each in waiting:
                stack.push_async_callback(each.close)
                await each.start()
        parts = shuttle_parts(settings, public_url, replica_url, lambda why: _say(waiting, why))
        starting = asyncio.ensure_future(stack.enter_async_context(parts))
        if not await _before_stop(starting, stop):
            return
        services, worker, membership, stop_work = starting.result()
        await asyncio.gather(*(each.close() for each in waiting))
        site = make_web(services, worker, membership)
        runner = make_runner(site, shutdown_seconds=1.0)
        await runner.setup()
        await web.SockSite(runner, listening, backlog=_ACCEPTED_AT_ONCE).start()
        listening.listen(_BACKLOG)
        log.info("serving", bind=settings.shuttle_bind, port=port, replica=settings.replica_name)
        if packerd is not None:
            await _serve_packerd(stack, site, packerd, tls)
            _say_packerd(settings, packerd)
        await stop.wait()
        log.info("stopping; unfinished builds continue at the next start, or with another replica")
        if len(membership.replicas) > 1:
            site[READINESS].drain()
            await stop_work()
            await asyncio.sleep(settings.shuttle_drain_seconds)  # until the balancer sends no more requests
        await runner.cleanup()


async def _serve_packerd(
    stack: AsyncExitStack, site: web.Application, listening: socket.socket, tls: ssl.SSLContext | None
) -> None:
    runner = make_runner(make_packerd_web(site), shutdown_seconds=1.0)
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    if tls is None:
        await web.SockSite(runner, listening, backlog=_ACCEPTED_AT_ONCE).start()
    else:
        listener = tls_listener(runner, listening, tls)
        stack.push_async_callback(listener.close)
        listener.start()
    listening.listen(_BACKLOG)


def _say(waiting: list[WaitingSite], why: str) -> None:
    for each in waiting:
        each.say(why)


async def _before_stop(starting: asyncio.Future[Any], stop: asyncio.Event) -> bool:
    """Wait for the start; returns False if a stop was requested first, which cancels the start."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return False
    return True


def _listen(address: tuple[str, int]) -> socket.socket:
    """Bind the port before any build is resumed: a port in use ends the start, and with port 0 the port is known."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    return socket.create_server(address, family=family, backlog=_BACKLOG)


def _say_packerd(settings: Settings, listening: socket.socket) -> None:
    log.info("serving packer over REST", bind=settings.shuttle_packerd_bind, port=listening.getsockname()[1])
    if settings.shuttle_packerd_anonymous:
        log.warning(
            "SHUTTLE_PACKERD_ANONYMOUS: anyone who can reach this port may start and stop builds of packer over REST"
        )


def _reachable_host(settings: Settings) -> str:
    """The host in the URL that agents call; agents on other machines may need BUILD_SHUTTLE_HOST."""
    if not settings.binds_loopback:
        return socket.gethostname()
    return f"[{settings.shuttle_bind}]" if ":" in settings.shuttle_bind else settings.shuttle_bind


def configure_logs() -> None:
    """Log to stderr, one JSON object per line; tracebacks have no local variables, which could hold secrets."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    redirect_server_log()


def collect_less_often() -> None:
    """Raise the thresholds of Python's garbage collector.

    Reference cycles are rare here, and each collection visits the tasks of all waiting builds. With the default
    thresholds a fifth fewer POSTs per second were accepted (50 connections, measured alternately in four rounds).
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()  # the command disables it during the imports


def raise_open_files_limit() -> None:
    """Raise the soft limit of open files to _OPEN_FILES, or to the hard limit if that is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
