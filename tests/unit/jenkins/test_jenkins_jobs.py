"""Creating, updating and deleting jobs: only our own, only when needed, never by guessing."""

import asyncio
import threading

import jenkins
import pytest
from aiohttp import web

from jenkins_pipelines.config_xml import marker
from shuttle.errors import ForeignJobError, JenkinsRefusedError, JenkinsUnavailableError
from shuttle.jenkins.jobs import job_path
from tests.unit.jenkins.fake_jenkins import ERROR_PAGE, answers, answers_json, resets
from tests.unit.jenkins.test_jenkins_session import CrumbIssuer

XML = '<?xml version="1.1" encoding="UTF-8"?><flow-definition>é</flow-definition>'.encode()
DIGEST, OTHER_DIGEST = "sha256:" + "a" * 64, "sha256:" + "b" * 64
PARAMETERS = [{}, {"parameterDefinitions": [{"name": "BUILD_UUID"}, {"name": "SHUTTLE_URL"}]}]


def job(name="app", digest=DIGEST, **changed):
    return answers_json({"name": name, "description": marker("script", digest), "property": PARAMETERS} | changed)


EXISTS = answers(400, ERROR_PAGE, **{"X-Error": "A job already exists with the name  app"})
MISSING = answers(404, ERROR_PAGE)


async def test_a_missing_job_is_created_with_the_bytes_given(fake, connect):
    fake.on("POST", "/createItem", answers(200))
    await connect().apply_job("app", XML, DIGEST)
    [created] = fake.asked("POST", "/")
    assert created.path_qs == "/createItem?name=app"
    assert created.body == XML
    assert created.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert created.headers["Authorization"].startswith("Basic ")


async def test_an_equal_job_costs_one_question(fake, connect):
    fake.on("GET", "/job/app/api/json", job())
    await connect().apply_job("app", XML, DIGEST)
    assert [(seen.method, seen.path_qs.partition("?")[0]) for seen in fake.seen] == [("GET", "/job/app/api/json")]


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


async def test_a_job_that_somebody_else_creates_meanwhile_is_taken_as_it_is(fake, connect):
    fake.on("GET", "/job/app/api/json", MISSING, job())
    fake.on("POST", "/createItem", EXISTS)
    await connect().apply_job("app", XML, DIGEST)
    assert len(fake.asked("POST", "/")) == 1


async def test_missing_folders_are_created_one_by_one(fake, connect):
    fake.on("POST", "/job/ci/job/builds/createItem", MISSING, answers(200))
    fake.on("POST", r"/createItem\?name=ci&", answers(302))
    fake.on("POST", r"/job/ci/createItem\?name=builds&", EXISTS)
    await connect().apply_job("ci/builds/app", XML, DIGEST)
    folder = "&mode=com.cloudbees.hudson.plugins.folder.Folder"
    assert [seen.path_qs for seen in fake.asked("POST", "/")] == [
        "/job/ci/job/builds/createItem?name=app",
        "/createItem?name=ci" + folder,
        "/job/ci/createItem?name=builds" + folder,
        "/job/ci/job/builds/createItem?name=app",
    ]


async def test_a_folder_that_cannot_be_made_says_what_is_missing(fake, connect):
    fake.on("POST", "/createItem", answers(400, ERROR_PAGE, **{"X-Error": "No such mode"}))
    with pytest.raises(JenkinsUnavailableError, match="Folders plugin"):
        await connect().apply_job("ci/app", XML, DIGEST)


async def test_our_job_is_deleted_and_a_missing_one_is_fine(fake, connect):
    fake.on("GET", "/job/app/api/json", job(), MISSING)
    fake.on("DELETE", "/job/app/", answers(204))
    client = connect()
    await client.delete_job("app")
    await client.delete_job("app")
    assert len(fake.asked("DELETE", "/job/app/")) == 1


@pytest.mark.parametrize("status", [500, 503])
async def test_trouble_is_not_taken_for_a_missing_job(fake, connect, status):
    fake.on("GET", "/job/app/api/json", answers(status, ERROR_PAGE))
    with pytest.raises(JenkinsUnavailableError):
        await connect().apply_job("app", XML, DIGEST)
    assert not fake.asked("POST", "/")


CHANGES = {"create": (MISSING, "POST", "/createItem"), "update": (job(digest=OTHER_DIGEST), "POST", "/job/app/config")}


@pytest.mark.parametrize(("found", "method", "path"), CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("behaviour", [answers(500, ERROR_PAGE), answers(503), resets], ids=["500", "503", "reset"])
async def test_a_change_that_fails_is_unknown_and_sent_once(fake, connect, found, method, path, behaviour):
    fake.on("GET", "/job/app/api/json", found)
    fake.on(method, path, behaviour)
    with pytest.raises(JenkinsUnavailableError):
        await connect().apply_job("app", XML, DIGEST)
    assert len(fake.asked(method, path)) == 1


@pytest.mark.parametrize(("found", "method", "path"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_without_permission_names_it(fake, connect, found, method, path):
    fake.on("GET", "/job/app/api/json", found)
    fake.on(method, path, answers(403, ERROR_PAGE, **{"X-Required-Permission": "hudson.model.Item.Create"}))
    with pytest.raises(JenkinsRefusedError, match=r"hudson\.model\.Item\.Create"):
        await connect().apply_job("app", XML, DIGEST)


async def test_a_change_that_takes_too_long_is_given_up(fake, connect):
    fake.on("POST", "/createItem", fake.hang)
    with pytest.raises(JenkinsUnavailableError):
        await connect(request_timeout_seconds=0.1).apply_job("app", XML, DIGEST)


async def test_a_crumb_that_jenkins_forgot_is_fetched_again(fake, connect):
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


async def test_no_more_threads_than_allowed(fake, connect):
    fake.on("POST", "/createItem", fake.hang)
    client = connect(job_threads=2)
    tasks = [asyncio.create_task(client.apply_job(f"app{number}", XML, DIGEST)) for number in range(6)]
    await fake.was_asked("POST", "/createItem", times=2)
    assert sum(thread.name.startswith("jenkins-jobs") for thread in threading.enumerate()) == 2
    fake.released.set()
    await asyncio.wait(tasks)


def test_folders_and_odd_names_in_paths():
    assert job_path("ci/builds/app 1") == "job/ci/job/builds/job/app%201/"
