"""When a 401 means wrong credentials, and the names of permissions."""

import pytest

from shuttle.errors import JenkinsRefusedError, JenkinsUnavailableError
from shuttle.jenkins.credentials import CredentialsCheck, permission_name
from tests.unit.jenkins.fake_jenkins import Clock, answers, answers_json, resets


def test_a_401_means_wrong_credentials_only_after_ten_seconds():
    clock = Clock()
    check = CredentialsCheck(clock)
    for _ in range(5):
        with pytest.raises(JenkinsUnavailableError, match="still starting"):
            check.answered(401)
        clock.seconds += 2
    with pytest.raises(JenkinsRefusedError, match="correct them"):
        check.answered(401)


@pytest.mark.parametrize("status", [200, 403, 404, 503, None])
def test_any_other_answer_restarts_the_ten_seconds(status):
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


async def test_a_starting_jenkins_does_not_mean_wrong_credentials(fake, connect):
    """Refused, 503, some 401, 503, running: the recorded order, with long pauses between the queries."""
    # aiohttp repeats a GET once if its connection breaks.
    begins = (resets, resets, answers(503), answers(401), answers(401), answers(503), answers(401))
    fake.on("GET", "/", *begins, answers_json({"number": 1, "building": True}))
    clock = Clock()
    client = connect(clock=clock)
    for _ in range(6):
        with pytest.raises(JenkinsUnavailableError):
            await client.build("app", 1)
        clock.seconds += 8
    assert (await client.build("app", 1)).building


async def test_a_401_to_a_change_of_a_job_counts_as_well(fake, connect):
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
def test_permissions_have_the_names_of_jenkins_pages(permission, name):
    assert permission_name(permission) == name
