"""Recorded scenarios: creating, configuring, finding and deleting jobs."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.job_xml import job_xml, sh, step
from tests.contract.jenkins.situations import create, has_build, trigger

pytestmark = pytest.mark.needs("token")


@covers(
    "B-sec-020", "B-sec-021", "B-sec-038", "B-sec-039", "B-sec-042", "B-sec-044", "B-sec-045", "B-sec-046", "B-sec-057"
)
async def test_job_names_are_case_insensitive(replay):
    await create(replay, "b1")
    await replay("B-sec-020", body=job_xml())
    await replay("B-sec-021", body=job_xml())
    await replay("B-sec-038")
    found = await replay("B-sec-039")
    assert found.json["name"] == replay.job("b1")
    for exchange in ("B-sec-042", "B-sec-044", "B-sec-045", "B-sec-046", "B-sec-057"):
        await replay(exchange)


@covers("B-sec-023", "B-sec-024", "B-sec-025", "B-sec-026", "B-sec-027", "B-sec-028", "E-misc-015")
async def test_valid_and_invalid_job_names(replay):
    for exchange in ("B-sec-023", "B-sec-024", "B-sec-025", "B-sec-026", "B-sec-027", "B-sec-028", "E-misc-015"):
        await replay(exchange, body=job_xml())


@covers(*(f"B-sec-0{number}" for number in range(29, 38)))
async def test_valid_and_invalid_job_definitions(replay):
    await replay("B-sec-029", body=job_xml())
    await replay("B-sec-030", body=job_xml())
    for exchange in ("B-sec-031", "B-sec-032", "B-sec-033", "B-sec-034", "B-sec-035"):
        await replay(exchange)
    await replay("B-sec-036", body=job_xml(step(sh("echo žluť 😀"))))
    await replay("B-sec-037", body=job_xml("pipeline { nope"))


@covers("B-sec-047", "B-sec-048", "B-sec-050", "B-sec-051", "B-sec-052", "B-sec-053", "B-sec-056")
async def test_job_is_read_changed_and_copied(replay):
    await create(replay, "b1")
    config = await replay("B-sec-047")
    assert config.text.startswith(('<?xml version="1.1"', "<?xml version='1.1'"))
    await replay("B-sec-048")
    await replay("B-sec-050", body=job_xml().replace("lab pipeline", "changed"))
    changed = await replay.ask("GET", f"/job/{replay.job('b1')}/api/json?tree=description")
    assert changed.json["description"] == "changed"
    await replay("B-sec-051", body=job_xml())
    await replay("B-sec-052")
    await replay("B-sec-053")
    await create(replay, "f1")
    await replay("B-sec-056")


@covers("E-misc-011", "E-misc-012", "E-misc-013", "E-misc-014")
async def test_job_in_a_folder_is_built(replay):
    await replay("E-misc-011")
    await replay("E-misc-012", body=job_xml(quiet=0))
    await replay("E-misc-013")

    async def started():
        item = await replay.ask("GET", f"/queue/item/{replay.matches.item(63)}/api/json")
        return bool(item.json.get("executable"))

    await replay.server.until(started)
    await replay("E-misc-014")


@pytest.mark.needs("reader")
@covers(
    "D-ctl-047", "D-ctl-052", "D-ctl-053", "D-ctl-054", "D-ctl-055", "D-ctl-056", "D-ctl-048", "D-ctl-057", "D-ctl-058"
)
async def test_idle_job_is_deleted(replay):
    await replay("D-ctl-047", body=job_xml())
    for exchange in ("D-ctl-052", "D-ctl-053", "D-ctl-054", "D-ctl-055", "D-ctl-056"):
        await replay(exchange)
    await replay("D-ctl-048", body=job_xml())
    await replay("D-ctl-057")
    await replay("D-ctl-058")


@covers("D-ctl-049", "D-ctl-059", "D-ctl-060", "D-ctl-061", "D-ctl-062", "D-ctl-063")
async def test_running_job_is_deleted_immediately(replay):
    await replay("D-ctl-049", body=job_xml())
    replay.matches.same("item", 39, await trigger(replay, "d3"))
    await replay.server.until(lambda: has_build(replay, "d3"))
    for exchange in ("D-ctl-059", "D-ctl-060", "D-ctl-061"):
        await replay(exchange)
    # This response was recorded after the deletion; the comparison does not depend on that.
    await replay("D-ctl-062")
    await replay("D-ctl-063", body=job_xml())


@covers("D-ctl-050", "D-ctl-065", "D-ctl-066", "D-ctl-067", "D-ctl-051", "D-ctl-068", "D-ctl-069")
async def test_triggered_or_waiting_job_is_deleted(replay):
    await replay("D-ctl-050", body=job_xml())
    replay.matches.same("item", 41, await trigger(replay, "d4"))
    await replay.server.until(lambda: has_build(replay, "d4"))
    await replay("D-ctl-065")
    await replay("D-ctl-066")
    await replay("D-ctl-067")
    await replay("D-ctl-051", body=job_xml())
    replay.matches.same("item", 42, await trigger(replay, "d5", delay="60sec"))
    await replay("D-ctl-068")
    await replay("D-ctl-069")


@covers("D-ctl-043", "D-ctl-044", "D-ctl-045", "D-ctl-046")
async def test_disabled_job_refuses_builds(replay):
    await create(replay, "c1")
    for exchange in ("D-ctl-043", "D-ctl-044", "D-ctl-045", "D-ctl-046"):
        await replay(exchange)
