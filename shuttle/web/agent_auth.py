"""Check of the tokens in an agent's calls: the build token claims a build; each attempt has a setup and a run token.

A token of no attempt gets the same 401 as an unknown build, at the same cost: it is looked up by its digest, and only
the build that it belongs to is compared with the path. The token of a replaced attempt gets 410.
"""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from shuttle.build import Build
from shuttle.errors import GoneError, StoreError, UnauthorizedError
from shuttle.lifecycle.build_spec import token_digest
from shuttle.store.builds import find_build
from shuttle.store.claims import Claim, build_of_token, find_run_token, find_setup_token
from shuttle.web import SERVICES, Handler
from shuttle.web.auth import token_in
from shuttle.web.description import described_as

SUPERSEDED = "A newer attempt of this step has replaced this one."

AgentHandler = Callable[[web.Request, Build, Claim], Awaitable[web.StreamResponse]]


async def check_build_token(request: web.Request) -> str:
    """The build_uuid in the path, if the caller presents the token of that build.

    Raises:
        UnauthorizedError: the token is not that of this build.
    """
    build_uuid = _build_uuid_in(request)
    owner = await request.app[SERVICES].database.run(build_of_token, _digest_in(request))
    if owner != build_uuid:
        raise _unauthorized()
    return build_uuid


def with_setup_token(handler: AgentHandler) -> Handler:
    """Check the setup token. After `begin` only `begin` itself accepts it: the user's code could have read it.

    Raises:
        UnauthorizedError: no attempt of this build has the token. GoneError: a newer attempt replaced the attempt, or
            the build is final.
    """

    async def checked(request: web.Request) -> web.StreamResponse:
        services, build_uuid, digest = request.app[SERVICES], _build_uuid_in(request), _digest_in(request)
        claim = await services.database.run(find_setup_token, digest)
        if claim is None or claim.build_uuid != build_uuid:
            raise _unauthorized()
        build = await services.database.run(find_build, build_uuid)
        if build is None:
            raise _unauthorized()
        if claim.voided_at is not None or build.state.final:
            raise GoneError(
                "The token is no longer valid: a newer attempt has replaced this one, or the build has ended."
            )
        return await handler(request, build, claim)

    return described_as(checked, handler, UnauthorizedError, GoneError, StoreError)


async def claim_of_run_token(request: web.Request) -> Claim:
    """The attempt whose run token the caller presents; the call shows that its supervisor runs.

    Raises:
        UnauthorizedError: no attempt of this build has the token. GoneError: a newer attempt has replaced this one.
    """
    services, build_uuid, digest = request.app[SERVICES], _build_uuid_in(request), _digest_in(request)
    opened = services.logs.find(build_uuid)
    claim = opened.claim_of_run_token(digest) if opened is not None else None
    if claim is None:
        # An open log knows all claims, but the database is asked all the same: a faster 401 would reveal that the
        # build runs.
        claim = await services.database.run(find_run_token, digest)
    if claim is None or claim.build_uuid != build_uuid:
        raise _unauthorized()
    if claim.voided_at is not None:
        raise GoneError(SUPERSEDED)
    if opened is not None:
        opened.last_call_at = asyncio.get_running_loop().time()
    return claim


def with_run_token(handler: AgentHandler) -> Handler:
    """Check the run token; 410 once the build is final."""

    async def checked(request: web.Request) -> web.StreamResponse:
        claim = await claim_of_run_token(request)
        build = await request.app[SERVICES].database.run(find_build, claim.build_uuid)
        if build is None or build.state.final:
            raise GoneError("The build has ended and accepts nothing more.")
        return await handler(request, build, claim)

    return described_as(checked, handler, UnauthorizedError, GoneError, StoreError)


def _build_uuid_in(request: web.Request) -> str:
    """The build_uuid in the path, in lower case."""
    return request.match_info["build_uuid"].lower()


def _digest_in(request: web.Request) -> str:
    """The SHA-256 (hex) of the caller's token; without a token, that of the empty string."""
    return token_digest(token_in(request.headers.get("Authorization", "")))


def _unauthorized() -> UnauthorizedError:
    return UnauthorizedError("Send a token of this build.", headers={"WWW-Authenticate": "Bearer"})
