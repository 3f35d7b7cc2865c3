"""When a 401 counts, and how permissions are called."""

import pytest

from shuttle.errors import JenkinsRefusedError, JenkinsUnavailableError
from shuttle.jenkins.credentials import CredentialsCheck, permission_name
from tests.unit.jenkins.fake_jenkins import Clock, answers, answers_json, resets


def test_a_401_is_unknown_until_it_has_been_steady_for_ten_seconds():
    clock = Clock()
    check = CredentialsCheck(clock)
    for _ in range(5):
        with pytest.raises(JenkinsUnavailableError, match="still starting"):
            check.answered(401)
        clock.seconds += 2
    with pytest.raises(JenkinsRefusedError, match="correct them"):
        check.answered(401)


@pytest.mark.parametrize("status", [200, 403, 404, 503, None])
def test_anything_else_between_begins_anew(status):
    clock = Clock()
    check = CredentialsCheck(clock)
    with pytest.raises(JenkinsUnavailableError):
        check.answered(401)
    clock.seconds += 6
    if status is None:
        check.no_answer()
    else:
        check.answered(status)
    clock.seconds += 6
    with pytest.raises(JenkinsUnavailableError):
        check.answered(401)


async def test_a_start_of_jenkins_is_never_taken_for_wrong_credentials(fake, connect):
    """Refused, 503, 401 for a while, 503, up again: as recorded, with long pauses between the questions."""
    # aiohttp repeats a GET once when its connection breaks.
    begins = (resets, resets, answers(503), answers(401), answers(401), answers(503), answers(401))
    fake.on("GET", "/", *begins, answers_json({"number": 1, "building": True}))
    clock = Clock()
    client = connect(clock=clock)
    for _ in range(6):
        with pytest.raises(JenkinsUnavailableError):
            await client.build("app", 1)
        clock.seconds += 8
    assert (await client.build("app", 1)).building


async def test_changes_of_jobs_count_as_well(fake, connect):
    fake.on("POST", "/createItem", answers(401))
    clock = Clock()
    client = connect(clock=clock)
    fake.on("GET", "/job/app/api/json", answers(401), answers(404), answers(401))
    fake.on("GET", "/api/json", answers(401))
    with pytest.raises(JenkinsUnavailableError):
        await client.apply_job("app", b"<flow-definition/>", "sha256:0")
    clock.seconds += 10
    with pytest.raises(JenkinsUnavailableError):
        await client.apply_job("app", b"<flow-definition/>", "sha256:0")
    clock.seconds += 10
    with pytest.raises(JenkinsRefusedError):
        await client.apply_job("app", b"<flow-definition/>", "sha256:0")


@pytest.mark.parametrize(
    ("permission", "name"),
    [
        ("hudson.model.Item.Cancel", "Job/Cancel"),
        ("hudson.model.Hudson.Read", "Overall/Read"),
        ("hudson.model.Run.Update", "Run/Update"),
        ("hudson.model.Computer.Build", "Agent/Build"),
        ("odd", "odd"),
        ("", ""),
    ],
)
def test_permissions_as_jenkins_pages_call_them(permission, name):
    assert permission_name(permission) == name
