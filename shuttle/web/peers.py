"""Requests between replicas: a call that only the owner of an app can answer is passed on to it, signed.

These routes are not part of the API for callers and agents, and answer only to replicas.
"""

from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import web

from shuttle.errors import InvalidRequestError, NotFoundError, NotOwnerError
from shuttle.lifecycle.peers import PREFIX
from shuttle.lifecycle.replica_log import MAX_BLOCK_BYTES, WAIT_SECONDS, read_or_wait, while_readable
from shuttle.peer_signature import HEADER
from shuttle.store.builds import find_build
from shuttle.web import SERVICES, Handler, agent, agent_log, agent_results
from shuttle.web.agent_auth import with_run_token, with_setup_token
from shuttle.web.description import described_as

_BUILD = PREFIX + "/{build_uuid:[^/]+}"
_PASSED_ON = ("Content-Type", "Content-Length", "Content-Encoding", "Authorization")
_PASSED_BACK = ("Content-Type", "Retry-After", "WWW-Authenticate")


def at_owner(handler: Handler) -> Handler:
    """Pass the call of an agent on to the replica that owns the build's app, if that is another one."""

    async def passed_on(request: web.Request) -> web.StreamResponse:
        services, build_uuid = request.app[SERVICES], request.match_info["build_uuid"].lower()
        if services.logs.find(build_uuid) is None:
            owner = await services.peers.owner(build_uuid)
            if owner is not None:
                query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
                call = f"{build_uuid}/{request.path.rstrip('/').rpartition('/')[2]}{query}"
                headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
                async with services.peers.request(
                    owner, request.method, call, headers=headers, body=_body_of(request)
                ) as answer:
                    # No call of an agent has these answers. So the signature is wrong, or the owner runs an earlier
                    # version, which does not know the call.
                    if answer.status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
                        raise NotOwnerError
                    back = {
                        name: value
                        for name, value in answer.headers.items()
                        if name in _PASSED_BACK or name.startswith("Shuttle-")
                    }
                    return web.Response(status=answer.status, body=await answer.read(), headers=back)
        return await handler(request)

    return described_as(passed_on, handler, NotOwnerError)


async def _body_of(request: web.Request) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


def from_replica(handler: Handler) -> Handler:
    """Admit only requests that another replica has signed."""

    async def checked(request: web.Request) -> web.StreamResponse:
        signature = request.app[SERVICES].peers.signature
        signature.check(request.method, request.raw_path, request.headers.get(HEADER, ""))
        return await handler(request)

    return checked


async def get_log(request: web.Request) -> web.StreamResponse:
    """`GET …/log?offset=N&limit=N&wait=SECONDS`: bytes of a log that this replica writes, and the log's size."""
    services = request.app[SERVICES]
    offset, limit, wait = (_number(request, name) for name in ("offset", "limit", "wait"))
    build = await services.database.run(find_build, request.match_info["build_uuid"].lower())
    if build is None:
        raise NotFoundError("There is no such build.")
    async with while_readable(build, services):
        reader = await services.logs.reader(build)
        block = await read_or_wait(reader, int(offset), min(int(limit), MAX_BLOCK_BYTES), min(wait, WAIT_SECONDS))
    headers = {
        "Shuttle-Log-Size": str(reader.size_bytes),
        "Shuttle-Log-Complete": "true" if reader.complete else "false",
    }
    return web.Response(body=block, content_type="application/octet-stream", headers=headers)


def _number(request: web.Request, name: str) -> float:
    try:
        return float(request.query[name])
    except (KeyError, ValueError):
        raise InvalidRequestError("Write a number.", field=name) from None


def add_peer_routes(app: web.Application) -> None:
    """Add the routes for other replicas."""
    app.router.add_get(f"{_BUILD}/log", from_replica(get_log), allow_head=False)
    app.router.add_post(f"{_BUILD}/log", from_replica(agent_log.post_log))
    app.router.add_post(f"{_BUILD}/claim", from_replica(agent.post_claim))
    app.router.add_post(f"{_BUILD}/begin", from_replica(with_setup_token(agent.post_begin)))
    app.router.add_post(f"{_BUILD}/progress", from_replica(with_run_token(agent_results.post_progress)))
