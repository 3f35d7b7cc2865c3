"""`shuttle submit --legacy`: the request to `POST /` and the output for the user; also against the real service."""

import json
from uuid import UUID

import pytest

from tests.support.inprocess import running_shuttle

SOURCE = ("--source", "https://code.example.com/a.tgz")
APP_UUID = "0c3a6c52-6b0e-4a52-9d0b-1f1b1a6a2c11"
APP = f"shop-{APP_UUID}"
OK = {"status": "ok"}


@pytest.fixture
def refused_first(service):
    """A service without a configured registry."""
    service.says("POST", "/", {"status": "Bad Request - missing fields."}, status=400)
    return service


async def test_every_option_becomes_its_field(service, run, monkeypatch):
    service.says("POST", "/", OK)
    monkeypatch.setenv("FROM_HERE", "s3cret")

    ran = await run(
        *("submit", APP, "7", *SOURCE, "--legacy", "--space", "live"),
        *("--destination", "docker://pusher:s3cret%21@registry.example.com:5000/team/apps"),
        *("--arg", "A=1", "--arg", "FROM_HERE"),
        *("--status-webhook", "https://hooks.example.com/s", "--callback-auth", "hmac 1700000000 abc"),
        *("--kafka-hosts", "kafka-1.example.com:9092,kafka-2.example.com:9092"),
    )

    assert (ran.code, ran.out, ran.err) == (0, "", f"{APP} 7 is accepted\n")
    body = service.asked[0].body
    assert UUID(body.pop("build_uuid"))
    assert body == {
        "app": "shop",
        "space": "live",
        "app_uuid": APP_UUID,
        "build_number": 7,
        "sources": "https://code.example.com/a.tgz",
        "build_args": {"A": "1", "FROM_HERE": "s3cret"},
        "callback": "https://hooks.example.com/s",
        "callback_auth": "hmac 1700000000 abc",
        "kafka_hosts": "kafka-1.example.com:9092,kafka-2.example.com:9092",
        "gm_registry_host": "registry.example.com:5000",
        "gm_registry_repo": "team/apps",
        "gm_registry_auth": {"username": "pusher", "password": "s3cret!"},
    }


async def test_app_uuid_is_derived_from_name_and_space(service, run):
    service.says("POST", "/", OK)
    for space in ("default", "default", "live"):
        await run("submit", "shop", "7", *SOURCE, "--legacy", "--space", space)
    first, second, elsewhere = (asked.body for asked in service.asked)
    assert first == second, "a repeated submit must be a repeat"
    assert {UUID(body["app_uuid"]).version for body in (first, elsewhere)} == {5}
    assert first["app_uuid"] != elsewhere["app_uuid"]
    assert first["build_uuid"] != elsewhere["build_uuid"]


async def test_another_number_gives_another_build_uuid(service, run):
    service.says("POST", "/", OK)
    for number in ("7", "8"):
        await run("submit", APP, number, *SOURCE, "--legacy")
    assert len({asked.body["build_uuid"] for asked in service.asked}) == 2


async def test_missing_number_and_image_are_left_to_the_service(service, run):
    service.says("POST", "/", OK)
    service.says("GET", f"/{APP}", {"builds": [], "next": None})
    await run("submit", APP, *SOURCE, "--legacy")
    assert set(service.asked[0].body) == {"app", "space", "app_uuid", "build_uuid", "sources"}


async def test_json_has_the_form_of_the_new_api(service, run):
    service.says("POST", "/", OK, Shuttle_Replayed="true")
    ran = await run("submit", APP, "007", *SOURCE, "--legacy", "--json")
    assert json.loads(ran.out) == {
        "app_id": APP,
        "build_id": "7",
        "replayed": True,
        "warnings": [],
        "ignored_fields": [],
    }


async def test_refusal_in_the_old_wording_is_explained(refused_first, run):
    ran = await run("submit", APP, "7", *SOURCE, "--legacy")
    assert ran.code == 1
    assert ran.err == (
        "shuttle: Bad Request - missing fields. Without --destination, DOCKER_REGISTRY_HOST and DOCKER_REPO of the"
        " service name the image.\n"
    )


async def test_refusal_with_a_destination_is_shown_unchanged(refused_first, run):
    ran = await run("submit", APP, "7", *SOURCE, "--legacy", "--destination", "docker://registry.example.com/team")
    assert (ran.code, ran.err) == (1, "shuttle: Bad Request - missing fields.\n")


async def test_unreadable_number_does_not_hide_that_the_build_started(service, run):
    service.says("POST", "/", OK)
    service.says("GET", f"/{APP}", {"status": "error", "code": "unauthorized", "message": "Send a token."}, status=401)
    ran = await run("submit", APP, *SOURCE, "--legacy")
    build_uuid = service.asked[0].body["build_uuid"]
    assert ran.code == 1
    assert ran.err == f"shuttle: {APP} is being built (uuid {build_uuid}), but its number is unknown: Send a token.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--legacy", "--pipeline", "script", "--timeout", "5"], "--pipeline, --timeout: not in the older API"),
        (["--legacy", "--secret-arg", "A=b"], "--secret-arg: "),
        (["--legacy", "--log-webhook", "https://h/l"], "--log-webhook: "),
        (["--legacy", "--status-webhook", "https://a", "--status-webhook", "https://b"], "has only one callback"),
        (["--legacy", "--destination", "docker://registry.example.com/team:7"], "leave the tag out"),
        (["--legacy", "--destination", "registry.example.com/team"], "--destination: Name the image"),
        (["--legacy", "v7"], "BUILD v7: the older API needs a whole number"),
        (["7", "--space", "live", "--kafka-hosts", "k:1"], "--space, --kafka-hosts: only with --legacy"),
        ([], "Give the BUILD"),
    ],
)
async def test_wrong_usage_exits_2_without_a_request(service, run, arguments, said):
    ran = await run("submit", "shop", *SOURCE, *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert service.asked == []


async def test_secret_in_a_refused_destination_is_not_shown(service, run):
    ran = await run(
        "submit", "shop", *SOURCE, "--legacy", "--destination", "docker://u:s3cret@registry.example.com/A B"
    )
    assert ran.code == 2
    assert "s3cret" not in ran.err


async def test_follow_shows_the_log_and_exits_with_the_result(service, run, final_build):
    service.says("POST", "/", OK)
    log = {"Shuttle_Log_Complete": "true"}
    service.says("GET", f"/{APP}/7/logs", "hello", **log)
    service.says("GET", f"/{APP}/7", final_build | {"state": "failed", "message": "Not well."})
    ran = await run("submit", APP, "7", *SOURCE, "--legacy", "--follow")
    assert (ran.code, ran.out) == (1, '"hello"')


async def test_stop_that_comes_too_late_is_reported(service, run, final_build):
    service.says("DELETE", f"/{APP}/7", OK)
    service.says("GET", f"/{APP}/7", final_build)
    ran = await run("stop", APP, "7")
    assert (ran.code, ran.err) == (1, f"shuttle: {APP} 7 has already ended: succeeded.\n")


@pytest.mark.slow
async def test_commands_work_with_a_number_chosen_by_the_service(run, monkeypatch, tmp_path):
    async with running_shuttle(tmp_path, DOCKER_REGISTRY_HOST="registry.example.com", DOCKER_REPO="team") as shuttle:
        monkeypatch.setenv("SHUTTLE_URL", shuttle.url)
        submitted = [await run("submit", "shop", *SOURCE, "--legacy", "--json") for _ in range(2)]
        assert [ran.code for ran in submitted] == [0, 0], submitted
        first, second = (json.loads(ran.out) for ran in submitted)
        assert (first["build_id"], second["build_id"]) == ("1", "2")

        for asked in (first, second):
            ran = await run("stop", asked["app_id"], asked["build_id"])
            assert (ran.code, ran.err) == (0, f"{asked['app_id']} {asked['build_id']} will be stopped\n")
        ran = await run("status", second["app_id"], "2", "--json")
        assert (ran.code, json.loads(ran.out)["state"], json.loads(ran.out)["api"]) == (1, "stopped", "legacy")
        ran = await run("logs", second["app_id"], "2", "--follow")
        assert ran.code == 0
        assert "stopped on request" in ran.out
