"""Recorded scenarios: access, and the use of crumbs."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.job_xml import job_xml
from tests.contract.jenkins.situations import XML
from tests.support.answer import Answer

# Descriptions of Jenkins itself and of jobs that others created.
ABOUT_ITSELF = frozenset({"description", "jobs"})


def crumb_of(answer: Answer) -> dict[str, str]:
    return {answer.json["crumbRequestField"]: answer.json["crumb"]}


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


@pytest.mark.needs("open")
@covers(*(f"A-nosec-00{number}" for number in range(1, 8)))
async def test_without_access_control_posts_need_a_crumb_and_its_session_cookie(replay):
    await replay("A-nosec-001", ignoring=ABOUT_ITSELF)
    await replay("A-nosec-002")
    issued = await replay("A-nosec-003")
    await replay("A-nosec-004", body=job_xml())
    await replay("A-nosec-005", body=job_xml(), headers=crumb_of(issued))
    await replay("A-nosec-006", body=job_xml(), headers=crumb_of(issued) | cookie_of(issued))
    await replay("A-nosec-007", body=job_xml(), headers={"Authorization": "Basic eDp5"})


@pytest.mark.needs("token")
@covers("B-sec-001", "B-sec-002", "B-sec-003", "B-sec-007", "B-sec-013", "B-sec-014")
async def test_anonymous_requests_and_wrong_credentials(replay):
    for exchange in ("B-sec-001", "B-sec-002", "B-sec-003", "B-sec-007", "B-sec-013"):
        await replay(exchange)
    await replay("B-sec-014", body=job_xml())


@pytest.mark.needs("token")
@covers("B-sec-004", "B-sec-005", "B-sec-006", "B-sec-008", "B-sec-009", "B-sec-010", "B-sec-011", "L-shuttle-014")
async def test_token_gives_full_access(replay):
    a_user = frozenset({"name"})
    await replay("B-sec-004", ignoring=ABOUT_ITSELF)
    for name in ("a1", "p1"):
        await replay.ask("POST", f"/createItem?name={replay.job(name)}", data=job_xml(), headers=XML)
    listed = await replay.ask("GET", "/api/json?tree=jobs[name,color]")
    assert {job["name"] for job in listed.json["jobs"]} >= {replay.job("a1"), replay.job("p1")}
    await replay("B-sec-005", ignoring=ABOUT_ITSELF)
    await replay("B-sec-006", ignoring=ABOUT_ITSELF)
    await replay("B-sec-008")
    await replay("B-sec-009", ignoring=a_user)
    await replay("B-sec-010", ignoring=frozenset({"property", "description"}) | a_user)
    await replay("B-sec-011")
    await replay("L-shuttle-014", ignoring=a_user)


@pytest.mark.needs("password")
@covers("B-sec-012", "B-sec-015", "B-sec-016", "B-sec-017")
async def test_password_needs_a_crumb_and_its_session_cookie(replay):
    issued = await replay("B-sec-012")
    await replay("B-sec-015", body=job_xml())
    await replay("B-sec-016", body=job_xml(), headers=crumb_of(issued))
    await replay("B-sec-017", body=job_xml(), headers=crumb_of(issued) | cookie_of(issued))


@pytest.mark.needs("token")
@covers("B-sec-018", "B-sec-019", "B-sec-041", "B-sec-043")
async def test_token_needs_no_crumb_and_an_invalid_one_is_ignored(replay):
    await replay("B-sec-018", body=job_xml())
    await replay("B-sec-019", body=job_xml())
    await replay("B-sec-041")
    await replay("B-sec-043")


@pytest.mark.needs("reader")
@covers("B-sec-022", "B-sec-040", "B-sec-049", "B-sec-054")
async def test_reader_sees_jobs_but_cannot_change_them(replay):
    await replay.ask("POST", f"/createItem?name={replay.job('b1')}", data=job_xml(), headers=XML)
    await replay("B-sec-022", body=job_xml())
    await replay("B-sec-040")
    await replay("B-sec-049")
    await replay("B-sec-054", body=job_xml())
