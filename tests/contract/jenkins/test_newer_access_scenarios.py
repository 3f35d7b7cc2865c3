"""Recorded scenarios of 2.568: access, and the use of crumbs."""

import pytest

from tests.contract.jenkins.coverage import covers_newer
from tests.contract.jenkins.newer_situations import create
from tests.contract.jenkins.test_access_scenarios import ABOUT_ITSELF, cookie_of, crumb_of

pytestmark = pytest.mark.needs("matrix")


@covers_newer(*(f"A-auth-0{number:02}" for number in range(1, 16)))
async def test_responses_to_users_with_different_permissions(replay):
    for number in range(1, 16):
        await replay(f"A-auth-0{number:02}", ignoring=ABOUT_ITSELF)


@covers_newer(*(f"A-auth-0{number}" for number in range(16, 22)))
async def test_password_needs_a_crumb_and_a_token_does_not(replay):
    issued = await replay("A-auth-016")
    await replay("A-auth-017")
    await replay("A-auth-018", headers=crumb_of(issued))
    await replay("A-auth-019", headers=crumb_of(issued) | cookie_of(issued))
    assert "SameSite=Lax" in issued.headers["Set-Cookie"]
    assert cookie_of(issued)["Cookie"].startswith("JSESSIONID=")
    await replay("A-auth-020", headers={"Cookie": "JSESSIONID=stale"})
    await replay("A-auth-021")


@covers_newer("E-trigger-no-001", "E-trigger-no-002", "C-trigger-012", "I-log-026")
async def test_missing_permission_is_named_and_invisible_job_gets_404(replay):
    await create(replay, "c1", "echo up")
    await replay("E-trigger-no-001")
    await replay("E-trigger-no-002")
    await replay("C-trigger-012")
    await create(replay, "part2")
    await replay("I-log-026")
