"""Agent calls with a wrong token read nothing but digests, whether or not the build exists."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from shuttle.errors import UnauthorizedError
from shuttle.lifecycle.build_spec import token_digest
from shuttle.store.claims import Claim, claims_of, token_digest_of
from shuttle.web import SERVICES, Handler
from shuttle.web.agent import get_environment, post_begin, post_claim
from shuttle.web.agent_auth import with_run_token, with_setup_token
from shuttle.web.agent_results import post_report

KNOWN, UNKNOWN = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


class DigestsOnly:
    """A database that has only digests to read."""

    async def run(self, query: object, build_uuid: str) -> list[Claim] | str | None:
        if query is claims_of:
            digests = token_digest("setup"), token_digest("run")
            claim = Claim(1, KNOWN, "", "nonce", *digests, False, None, None, None, None)
            return [claim] if build_uuid == KNOWN else []
        assert query is token_digest_of
        return token_digest("token") if build_uuid == KNOWN else None


@pytest.mark.parametrize("build_uuid", [KNOWN, UNKNOWN])
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
@pytest.mark.parametrize(
    "handler",
    [with_setup_token(get_environment), with_setup_token(post_begin), post_claim, with_run_token(post_report)],
)
async def test_wrong_token_is_refused_without_reading_the_build(
    build_uuid: str, headers: dict[str, str], handler: Handler
):
    services: Any = SimpleNamespace(database=DigestsOnly(), logs=SimpleNamespace(find=lambda _: None))
    app = web.Application()
    app[SERVICES] = services
    request = make_mocked_request("GET", "/", headers=headers, match_info={"build_uuid": build_uuid}, app=app)
    with pytest.raises(UnauthorizedError):
        await handler(request)
