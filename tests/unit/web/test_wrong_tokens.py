"""A wrong token costs the same whether or not the build exists: the queries do not depend on the uuid."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from shuttle.errors import UnauthorizedError
from shuttle.lifecycle.build_spec import token_digest
from shuttle.store.claims import Claim, build_of_token, find_run_token, find_setup_token
from shuttle.web import SERVICES, Handler
from shuttle.web.agent import get_environment, post_begin, post_claim
from shuttle.web.agent_auth import with_run_token, with_setup_token
from shuttle.web.agent_results import post_report

KNOWN, UNKNOWN = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
CLAIM = Claim(1, KNOWN, "", "nonce", token_digest("setup"), token_digest("run"), False, None, None, None, None)


class Tokens:
    """A database that has only digests of tokens, and records the queries."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    async def run(self, query: object, *values: str) -> Claim | str | None:
        self.asked.append((query, *values))
        known: dict[tuple[object, ...], Claim | str] = {
            (build_of_token, token_digest("token")): KNOWN,
            (find_setup_token, CLAIM.setup_digest): CLAIM,
            (find_run_token, CLAIM.run_digest): CLAIM,
        }
        assert query in {each for each, _ in known}
        return known.get((query, *values))


class OpenLog:
    """The log of a build that runs; it has the claims in memory."""

    last_call_at = 0.0

    def claim_of_run_token(self, digest: str) -> Claim | None:
        return CLAIM if digest == CLAIM.run_digest else None


HANDLERS = [with_setup_token(get_environment), with_setup_token(post_begin), post_claim, with_run_token(post_report)]


async def refused(handler: Handler, build_uuid: str, headers: dict[str, str], *, running: bool) -> list[Any]:
    """The queries that the database gets before the 401."""
    database, logs = Tokens(), {KNOWN: OpenLog()} if running else {}
    services: Any = SimpleNamespace(database=database, logs=SimpleNamespace(find=logs.get))
    app = web.Application()
    app[SERVICES] = services
    request = make_mocked_request("GET", "/", headers=headers, match_info={"build_uuid": build_uuid}, app=app)
    with pytest.raises(UnauthorizedError):
        await handler(request)
    return database.asked


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("handler", HANDLERS)
async def test_wrong_token_causes_the_same_queries_for_a_known_and_an_unknown_build(
    headers: dict[str, str], running: bool, handler: Handler
):
    known = await refused(handler, KNOWN, headers, running=running)
    assert known == await refused(handler, UNKNOWN, headers, running=running)
    assert len(known) == 1


@pytest.mark.parametrize("token", ["token", "setup", "run"])
@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_token_of_one_build_opens_no_other(token: str, handler: Handler):
    await refused(handler, UNKNOWN, {"Authorization": f"Bearer {token}"}, running=True)
