"""Recorded scenarios: exactly the shuttle's requests, in the order of a build."""

import pytest

from tests.contract.jenkins.coverage import covers
from tests.contract.jenkins.exchanges import exchanges
from tests.contract.jenkins.situations import finished, left_with_a_number

FIRST, SECOND = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"


@pytest.mark.slow
@pytest.mark.needs("token")
@covers(*(f"L-shuttle-0{number:02}" for number in range(1, 14)), "L-shuttle-015")
async def test_two_builds_of_an_app_run_one_after_another(replay):
    server = replay.server
    quick = exchanges()["L-shuttle-001"].body.replace("sleep 4", "sleep 1.5")
    await replay("L-shuttle-001", body=quick)
    await replay("L-shuttle-002")
    await server.until(lambda: left_with_a_number(replay, 215))
    await replay("L-shuttle-003")
    # The property in config.xml holds the second build back from the job's first run on.
    await replay("L-shuttle-004")
    for number in (5, 6, 7, 8):
        await replay(f"L-shuttle-0{number:02}")
    shown = await replay.ask("GET", f"/job/{replay.job('shuttle1')}/1/api/json?tree=description")
    assert shown.json["description"] == "Build #3 - sha abc <b>"

    async def on_an_executor():
        computers = await replay.ask("GET", f"/computer/api/json?{exchanges()['L-shuttle-009'].query}")
        executors = [executor for computer in computers.json["computer"] for executor in computer["executors"]]
        return any(replay.job("shuttle1") in (each["currentExecutable"] or {}).get("url", "") for each in executors)

    await server.until(on_an_executor)
    # The shuttle does not depend on which executor it is, and on other idle ones.
    await replay("L-shuttle-009", ignoring=frozenset({"number", "currentExecutable"}))
    jobs = await replay("L-shuttle-010", ignoring=frozenset({"jobs"}))
    [ours] = [job for job in jobs.json["jobs"] if job["name"] == replay.job("shuttle1")]
    assert [(build["number"], build["building"], build["result"]) for build in ours["builds"]] == [(1, True, None)]
    assert ours["description"].startswith("managed by the build shuttle; pipeline script; digest sha256:")

    await server.until(lambda: finished(replay, "shuttle1", 1))
    log = await replay("L-shuttle-011")
    assert f"\r\nnot traced {FIRST}\r\n" in log.text
    assert f"\r\nnumber 1 job {replay.job('shuttle1')} url " in log.text
    assert "tok-en-1" not in log.text
    await replay.server.until(lambda: left_with_a_number(replay, 216))
    await server.until(lambda: finished(replay, "shuttle1", 2))
    await replay("L-shuttle-012")
    await replay("L-shuttle-013")
    await replay("L-shuttle-015")


@pytest.mark.needs("token")
@covers("L-shuttle-016", "L-shuttle-017")
async def test_declarative_linter_validates_a_pipeline(replay):
    good = await replay("L-shuttle-016")
    assert good.text == "Jenkinsfile successfully validated.\n"
    bad = await replay("L-shuttle-017")
    assert bad.text.startswith("Errors encountered validating Jenkinsfile:\n")
