"""Creating, updating and deleting jobs: only our own ones, and only if needed."""

import asyncio
import threading

import jenkins
import pytest
from aiohttp import web

from jenkins_pipelines.config_xml import marker
from shuttle.errors import ForeignJobError, JenkinsRefusedError, JenkinsUnavailableError
from shuttle.jenkins import StopCommand
from shuttle.jenkins.jobs import job_path
from tests.unit.jenkins.fake_jenkins import ERROR_PAGE, answers, answers_json, resets
from tests.unit.jenkins.test_jenkins_session import CrumbIssuer

XML = (
    '<?xml version="1.1" encoding="UTF-8"?><flow-definition><definition class="Cps"><script>é</script>'
    "<sandbox>true</sandbox></definition></flow-definition>"
).encode()
DIGEST, OTHER_DIGEST = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PARAMETERS = [{}, {"parameterDefinitions": [{"name": "BUILD_UUID"}, {"name": "SHUTTLE_URL"}]}]


def job(name="app", digest=DIGEST, **changed):
    return answers_json({"name": name, "description": marker("script", digest), "property": PARAMETERS} | changed)


EXISTS = answers(400, ERROR_PAGE, **{"X-Error": "A job already exists with the name  app"})
EXISTS_IN_GERMAN = answers(400, ERROR_PAGE, **{"X-Error": "Es existiert bereits ein Job mit dem Namen app"})
MISSING = answers(404, ERROR_PAGE)


async def test_a_missing_job_is_created_with_the_given_config(fake, connect):
    fake.on("POST", "/createItem", answers(200))
    await connect().apply_job("app", XML, DIGEST)
    [created] = fake.asked("POST", "/")
    assert created.path_qs == "/createItem?name=app"
    assert created.body == XML
    assert created.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert created.headers["Authorization"].startswith("Basic ")


async def test_an_unchanged_job_costs_two_queries(fake, connect):
    fake.on("GET", "/job/app/api/json", job())
    fake.on("GET", "/job/app/config.xml", answers(200, XML))
    await connect().apply_job("app", XML, DIGEST)
    assert [(seen.method, seen.path_qs.partition("?")[0]) for seen in fake.seen] == [
        ("GET", "/job/app/api/json"),
        ("GET", "/job/app/config.xml"),
    ]


@pytest.mark.parametrize("kept", [XML.replace(b"true", b"false"), b"<flow-definition", b""])
async def test_an_edited_job_is_repaired_with_one_warning(fake, connect, kept, capsys):
    fake.on("GET", "/job/app/api/json", job())
    fake.on("GET", "/job/app/config.xml", answers(200, kept), answers(200, kept), answers(200, XML))
    fake.on("POST", "/job/app/config.xml", answers(200))
    client = connect()
    for _ in range(3):
        await client.apply_job("app", XML, DIGEST)
    assert [seen.body for seen in fake.asked("POST", "/job/app/config.xml")] == [XML, XML]
    assert capsys.readouterr().out.count("edited by hand") == 1


async def test_each_further_edit_of_a_job_is_reported(fake, connect, capsys):
    edited = answers(200, XML.replace(b"true", b"false"))
    fake.on("GET", "/job/app/api/json", job())
    fake.on("GET", "/job/app/config.xml", edited, answers(200, XML), edited)
    fake.on("POST", "/job/app/config.xml", answers(200))
    client = connect()
    for _ in range(3):
        await client.apply_job("app", XML, DIGEST)
    assert capsys.readouterr().out.count("edited by hand") == 2


HIDDEN_CONFIG = {
    "403": answers(403, ERROR_PAGE, **{"X-Required-Permission": "hudson.model.Item.Configure"}),
    "404": answers(404, ERROR_PAGE),
}


@pytest.mark.parametrize("hidden", HIDDEN_CONFIG.values(), ids=HIDDEN_CONFIG.keys())
async def test_an_unreadable_config_xml_names_the_missing_permission(fake, connect, hidden):
    fake.on("GET", "/job/app/api/json", job())
    fake.on("GET", "/job/app/config.xml", hidden)
    with pytest.raises(JenkinsRefusedError, match=r"config\.xml of the job app: .* lacks the permission Job/Configure"):
        await connect().apply_job("app", XML, DIGEST)
    assert not fake.asked("POST", "/")


HIDDEN_JOBS = {"older": "A job already exists with the name  app", "newer": ""}


@pytest.mark.parametrize("x_error", HIDDEN_JOBS.values(), ids=HIDDEN_JOBS.keys())
async def test_a_hidden_job_names_the_missing_permission(fake, connect, x_error):
    fake.on("POST", "/createItem", answers(400, ERROR_PAGE, **{"X-Error": x_error}))
    with pytest.raises(JenkinsRefusedError, match="lacks the permission Job/Read"):
        await connect().apply_job("app", XML, DIGEST)


@pytest.mark.parametrize("found", [job(digest=OTHER_DIGEST), job(property=[{}])], ids=["other digest", "no parameters"])
async def test_a_job_that_differs_is_updated(fake, connect, found):
    fake.on("GET", "/job/app/api/json", found)
    fake.on("POST", "/job/app/config.xml", answers(200))
    await connect().apply_job("app", XML, DIGEST)
    assert [seen.body for seen in fake.asked("POST", "/job/app/config.xml")] == [XML]


FOREIGN = {
    "no description": job(description=None),
    "another description": job(description="our nightly build"),
    "only like ours": job(description="managed by the build shuttle"),
    "another name": job(name="APP"),
}


@pytest.mark.parametrize("found", FOREIGN.values(), ids=FOREIGN.keys())
async def test_a_foreign_job_is_neither_changed_nor_deleted(fake, connect, found):
    fake.on("GET", "/job/app/api/json", found)
    client = connect()
    with pytest.raises(ForeignJobError, match=r"rename it|SHUTTLE_JENKINS_FOLDER"):
        await client.apply_job("app", XML, DIGEST)
    with pytest.raises(ForeignJobError):
        await client.delete_job("app")
    assert {seen.method for seen in fake.seen} == {"GET"}


@pytest.mark.parametrize("exists", [EXISTS, EXISTS_IN_GERMAN], ids=["English", "German"])
async def test_a_job_that_another_replica_creates_meanwhile_is_accepted(fake, connect, exists):
    fake.on("GET", "/job/app/api/json", MISSING, job())
    fake.on("GET", "/job/app/config.xml", answers(200, XML))
    fake.on("POST", "/createItem", exists)
    await connect().apply_job("app", XML, DIGEST)
    assert len(fake.asked("POST", "/")) == 1


@pytest.mark.parametrize("exists", [EXISTS, EXISTS_IN_GERMAN], ids=["English", "German"])
async def test_missing_folders_are_created_one_by_one(fake, connect, exists):
    fake.on("POST", "/job/ci/job/builds/createItem", MISSING, answers(200))
    fake.on("POST", r"/createItem\?name=ci&", answers(302))
    fake.on("POST", r"/job/ci/createItem\?name=builds&", exists)
    fake.on("GET", "/job/ci/job/builds/api/json", answers_json({"name": "builds"}))
    await connect().apply_job("ci/builds/app", XML, DIGEST)
    folder = "&mode=com.cloudbees.hudson.plugins.folder.Folder"
    assert [seen.path_qs for seen in fake.asked("POST", "/")] == [
        "/job/ci/job/builds/createItem?name=app",
        "/createItem?name=ci" + folder,
        "/job/ci/createItem?name=builds" + folder,
        "/job/ci/job/builds/createItem?name=app",
    ]


async def test_a_folder_that_cannot_be_created_names_the_missing_plugin(fake, connect):
    fake.on("POST", "/createItem", answers(400, ERROR_PAGE, **{"X-Error": "No such mode"}))
    with pytest.raises(JenkinsUnavailableError, match="Folders plugin"):
        await connect().apply_job("ci/app", XML, DIGEST)


async def test_jenkins_is_asked_for_english(fake, connect):
    """Its messages are in the language of the request, or else in that of its machine; some are shown to callers."""
    fake.on("GET", "/job/app/api/json", MISSING, job())
    fake.on("POST", "/createItem", answers(200))
    fake.on("POST", "/job/app/1/stop", answers(302))
    client = connect()
    await client.apply_job("app", XML, DIGEST)
    await client.stop("app", 1, StopCommand.STOP)
    assert [seen.headers.get("Accept-Language") for seen in fake.seen] == ["en"] * len(fake.seen)


async def test_delete_job_is_idempotent(fake, connect):
    fake.on("GET", "/job/app/api/json", job(), MISSING)
    fake.on("DELETE", "/job/app/", answers(204))
    client = connect()
    await client.delete_job("app")
    await client.delete_job("app")
    assert len(fake.asked("DELETE", "/job/app/")) == 1


@pytest.mark.parametrize("status", [400, 500])
async def test_deleting_a_job_can_be_retried_if_its_build_does_not_end_in_time(fake, connect, status):
    fake.on("GET", "/job/app/api/json", job())
    fake.on("DELETE", "/job/app/", answers(status, ERROR_PAGE), answers(204))
    client = connect()
    with pytest.raises(JenkinsUnavailableError, match="still ending the job's running build"):
        await client.delete_job("app")
    await client.delete_job("app")


async def test_deletions_leave_threads_for_other_changes(fake, connect):
    fake.on("GET", "/job/old", job(name="old"))
    fake.on("DELETE", "/job/old", fake.hang)
    fake.on("POST", "/createItem", answers(200))
    client = connect(job_threads=2)
    deletions = [asyncio.create_task(client.delete_job("old")) for _ in range(5)]
    await fake.was_asked("DELETE", "/job/old")
    await client.apply_job("new", XML, DIGEST)
    assert len(fake.asked("DELETE", "/job/old")) == 1
    for deletion in deletions:
        deletion.cancel()
    await asyncio.wait(deletions)


@pytest.mark.parametrize("status", [500, 503])
async def test_a_5xx_is_not_treated_as_a_missing_job(fake, connect, status):
    fake.on("GET", "/job/app/api/json", answers(status, ERROR_PAGE))
    with pytest.raises(JenkinsUnavailableError):
        await connect().apply_job("app", XML, DIGEST)
    assert not fake.asked("POST", "/")


CHANGES = {"create": (MISSING, "POST", "/createItem"), "update": (job(digest=OTHER_DIGEST), "POST", "/job/app/config")}


@pytest.mark.parametrize(("found", "method", "path"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("behaviour", [answers(500, ERROR_PAGE), answers(503), resets], ids=["500", "503", "reset"])
async def test_a_change_that_fails_is_unavailable_and_not_repeated(fake, connect, found, method, path, behaviour):
    fake.on("GET", "/job/app/api/json", found)
    fake.on(method, path, behaviour)
    with pytest.raises(JenkinsUnavailableError):
        await connect().apply_job("app", XML, DIGEST)
    assert len(fake.asked(method, path)) == 1


@pytest.mark.parametrize(("found", "method", "path"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_without_permission_names_the_permission(fake, connect, found, method, path):
    fake.on("GET", "/job/app/api/json", found)
    fake.on(method, path, answers(403, ERROR_PAGE, **{"X-Required-Permission": "hudson.model.Item.Create"}))
    with pytest.raises(JenkinsRefusedError, match="Job/Create"):
        await connect().apply_job("app", XML, DIGEST)


async def test_a_change_that_takes_too_long_times_out(fake, connect):
    fake.on("POST", "/createItem", fake.hang)
    with pytest.raises(JenkinsUnavailableError):
        await connect(request_timeout_seconds=0.1).apply_job("app", XML, DIGEST)


async def test_an_invalid_crumb_is_renewed(fake, connect):
    issuer = CrumbIssuer(fake)
    fake.on("GET", "/job/", MISSING)
    created: list[str] = []

    async def create(request: web.Request) -> web.StreamResponse:
        guarded = await issuer.guard(request)
        if guarded.status == 302:
            created.append(request.query["name"])
            return web.Response(status=200)
        return guarded

    fake.on("POST", "/createItem", create)
    shared_headers = dict(jenkins.DEFAULT_HEADERS)
    client = connect(fake.url)
    await client.apply_job("one", XML, DIGEST)
    issuer.forget()
    await client.apply_job("two", XML, DIGEST)
    assert created == ["one", "two"]
    assert shared_headers == jenkins.DEFAULT_HEADERS, "a crumb is for one Jenkins only"


async def test_the_number_of_threads_is_limited(fake, connect):
    fake.on("POST", "/createItem", fake.hang)
    client = connect(job_threads=2)
    tasks = [asyncio.create_task(client.apply_job(f"app{number}", XML, DIGEST)) for number in range(6)]
    await fake.was_asked("POST", "/createItem", times=2)
    assert sum(thread.name.startswith("jenkins-jobs") for thread in threading.enumerate()) == 2
    fake.released.set()
    await asyncio.wait(tasks)


def test_paths_of_folders_and_of_names_with_spaces():
    assert job_path("ci/builds/app 1") == "job/ci/job/builds/job/app%201/"
