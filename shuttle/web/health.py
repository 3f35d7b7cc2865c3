"""Whether we are well: the process, what it depends on, the old probe's form, and figures for Prometheus."""

import asyncio
from collections.abc import Awaitable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from shuttle.errors import ShuttleError
from shuttle.web import PORTS
from shuttle.web.answers import json_answer

_PATIENCE_SECONDS = 5.0


async def healthz(request: web.Request) -> web.StreamResponse:
    """`GET /healthz`: the process serves."""
    return json_answer({"status": "OK"})


async def readyz(request: web.Request) -> web.StreamResponse:
    """`GET /readyz`: database, object store and Jenkins, each named; 503 if any is out of reach."""
    ports = request.app[PORTS]
    names = ("database", "object_store", "jenkins")
    checks = (ports.store.ping(), ports.objects.check(), ports.jenkins.check())
    states = dict(zip(names, await asyncio.gather(*map(_state, checks)), strict=True))
    ready = all(state == "ok" for state in states.values())
    body = {"status": "OK" if ready else "not ready", "checks": states}
    return json_answer(body, status=200 if ready else 503)


async def octhc(request: web.Request) -> web.StreamResponse:
    """`GET /octhc`: the old shuttle's probe; bad when the database or Jenkins is out of reach."""
    ports = request.app[PORTS]
    states = await asyncio.gather(_state(ports.store.ping()), _state(ports.jenkins.check()))
    good = all(state == "ok" for state in states)
    return web.Response(text=f"overall_status={'good' if good else 'bad'}", status=200 if good else 503)


async def _state(check: Awaitable[None]) -> str:
    """`ok`, or one sentence that says what is wrong."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await check
    except TimeoutError:
        return f"It did not answer within {_PATIENCE_SECONDS:g} seconds."
    except ShuttleError as error:
        return error.message
    return "ok"


async def metrics(request: web.Request) -> web.StreamResponse:
    """`GET /metrics`: Prometheus' text format; never a build's id, never a secret."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
