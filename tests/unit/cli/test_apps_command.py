"""`shuttle apps prune`: it lists the idle apps, and deletes only if told so."""

import json

import pytest

FIRST = {"app_id": "packer-a", "ended_at": "2030-01-01T10:00:00.000Z"}
SECOND = {"app_id": "packer-b", "ended_at": "2030-01-02T10:00:00.000Z"}
PRUNE = ("apps", "prune", "--pipeline", "packer-image", "--idle", "30d")
QUERY = {"pipeline": "packer-image", "idle_seconds": "2592000"}


async def test_without_yes_idle_apps_of_all_pages_are_listed(service, run):
    service.says("GET", "/-/apps/idle", {"apps": [FIRST], "next": "packer-a"})
    service.says("GET", "/-/apps/idle", {"apps": [SECOND], "next": None})
    ran = await run(*PRUNE)
    assert ran.out == "packer-a\t2030-01-01T10:00:00.000Z\npacker-b\t2030-01-02T10:00:00.000Z\n"
    assert ran.err == "2 Jenkins jobs would be deleted; add --yes to delete them\n"
    assert [asked.query for asked in service.asked] == [QUERY | {"after": ""}, QUERY | {"after": "packer-a"}]


async def test_with_yes_the_jobs_are_deleted_until_no_app_is_left(service, run):
    service.says("POST", "/-/apps/prune", {"apps": [FIRST], "next": "packer-a"})
    service.says("POST", "/-/apps/prune", {"apps": [SECOND], "next": None})
    ran = await run(*PRUNE, "--yes", "--json")
    assert json.loads(ran.out) == {"deleted": True, "apps": [FIRST, SECOND]}
    assert [(asked.method, asked.query) for asked in service.asked] == [("POST", QUERY), ("POST", QUERY)]


@pytest.mark.parametrize("duration", ["30", "d", "-1d", "1.5d", "30 days", ""])
async def test_duration_needs_a_number_and_a_unit(service, run, duration):
    ran = await run(*PRUNE[:-1], duration)
    assert (ran.code, service.asked) == (2, [])
    assert "--idle" in ran.err
