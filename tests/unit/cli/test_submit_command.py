"""`shuttle submit`: the request that reaches the service, and the output for the user."""

import base64
import io
import json
import tarfile

import pytest

from shuttle.cli import client
from shuttle.cli.pack import MAX_ARCHIVE_BYTES


async def test_every_option_becomes_its_field(service, run, monkeypatch):
    service.says("POST", "/shop/7", {"status": "OK"})
    monkeypatch.setenv("FROM_HERE", "s3cret")

    ran = await run(
        *("submit", "shop", "7", "--source", "https://code.example.com/a.tgz"),
        *("--destination", "docker://registry.example.com/shop/web:7", "--pipeline", "docker-image"),
        *("--arg", "A=1", "--arg", "B=x=y", "--secret-arg", "FROM_HERE"),
        *("--status-webhook", "https://hooks.example.com/s", "--log-webhook", "https://hooks.example.com/l"),
        *("--timeout", "60", "--label", "team=web", "--metadata", '{"n": [1]}'),
    )

    assert (ran.code, ran.out) == (0, "")
    assert "shop 7 is accepted" in ran.err
    assert service.asked[0].body == {
        "source": {"url": "https://code.example.com/a.tgz"},
        "destination": {"url": "docker://registry.example.com/shop/web:7"},
        "pipeline": "docker-image",
        "arguments": {"A": "1", "B": "x=y", "FROM_HERE": "s3cret"},
        "secret_arguments": ["FROM_HERE"],
        "webhooks": {"status": ["https://hooks.example.com/s"], "logs": ["https://hooks.example.com/l"]},
        "timeout_seconds": 60,
        "labels": {"team": "web"},
        "metadata": {"n": [1]},
    }


@pytest.mark.parametrize("by", ["standard input", "environment"])
async def test_destination_with_a_password_can_be_kept_out_of_the_command_line(service, run, monkeypatch, by):
    service.says("POST", "/web/7", {"status": "OK"})
    url = "docker://pusher:s3cret@registry.example.com/shop/web"
    if by == "environment":
        monkeypatch.setenv("SHUTTLE_DESTINATION", url)
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{url}\n"))
    option = ["--destination", "-"] if by == "standard input" else []
    assert (await run("submit", "web", "7", "--source", "https://example.com/a.tar.gz", *option)).code == 0
    assert service.asked[0].body["destination"] == {"url": url}


async def test_git_source_with_a_password_is_read_from_standard_input(service, run, monkeypatch):
    service.says("POST", "/web/7", {"status": "OK"})
    url = "git+https://reader:s3cret@git.example.com/shop#main"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{url}\n"))
    ran = await run("submit", "web", "7", "--source", "-", "--subdir", "services/web", "--submodules")
    assert ran.code == 0
    assert service.asked[0].body == {"source": {"url": url, "subdir": "services/web", "submodules": True}}


async def test_fields_without_an_option_are_left_to_the_service(service, run):
    service.says("POST", "/shop/7", {"status": "OK"})
    await run("submit", "shop", "7", "--source", "https://code.example.com/a.tgz")
    assert service.asked[0].body == {"source": {"url": "https://code.example.com/a.tgz"}}


@pytest.mark.parametrize("metadata", ["{}", '""', "0", "null"])
async def test_empty_metadata_is_sent_unchanged(service, run, metadata):
    service.says("POST", "/shop/7", {"status": "OK"})
    await run("submit", "shop", "7", "--source", "https://code.example.com/a.tgz", "--metadata", metadata)
    assert service.asked[0].body["metadata"] == json.loads(metadata)


async def test_directory_is_sent_as_an_archive_without_git_history(service, run, tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("ref: x")
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.txt").write_text("hello")
    script = tmp_path / "build.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    service.says("POST", "/shop/7", {"status": "OK"})

    assert (await run("submit", "shop", "7", "--source", str(tmp_path))).code == 0
    assert (await run("submit", "shop", "7", "--source", str(tmp_path))).code == 0

    first, second = (asked.body["source"]["url"] for asked in service.asked)
    assert first == second, "a repeated submit must be a repeat"
    with tarfile.open(fileobj=io.BytesIO(_decoded(first))) as archive:
        assert sorted(archive.getnames()) == ["build.sh", "src", "src/a.txt"]
        assert archive.getmember("build.sh").mode & 0o111


async def test_archive_file_is_sent_unchanged(service, run, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 as it is")
    service.says("POST", "/shop/7", {"status": "OK"})
    await run("submit", "shop", "7", "--source", str(tmp_path / "a.zip"))
    assert _decoded(service.asked[0].body["source"]["url"]) == b"PK\x03\x04 as it is"


async def test_source_too_large_for_a_request_is_refused_by_the_command(service, run, tmp_path):
    with (tmp_path / "big.tar").open("wb") as big:
        big.truncate(MAX_ARCHIVE_BYTES + 1)
    ran = await run("submit", "shop", "7", "--source", str(tmp_path / "big.tar"))
    assert ran.code == 2
    assert "larger than 47 MiB" in ran.err
    assert service.asked == []


async def test_ids_are_sent_unchanged(service, run):
    service.says("POST", "/a%20b%25/v1%2B%C3%A9", {"status": "OK"})
    assert (await run("submit", "a b%", "v1+é", "--source", "https://code.example.com/a.tgz")).code == 0


async def test_json_has_replayed_and_the_warnings_of_the_service(service, run):
    headers = {"Shuttle_Replayed": "true", "Shuttle_Warnings": "short secret", "Shuttle_Ignored_Fields": "colour"}
    service.says("POST", "/shop/7", {"status": "OK"}, **headers)
    ran = await run("submit", "shop", "7", "--source", "https://code.example.com/a.tgz", "--json")
    assert json.loads(ran.out) == {
        "app_id": "shop",
        "build_id": "7",
        "replayed": True,
        "warnings": ["short secret"],
        "ignored_fields": ["colour"],
    }


async def test_refusal_of_the_service_is_one_sentence_that_names_the_field(service, run):
    refusal = {"status": "error", "code": "invalid_request", "message": "Write a tag.", "field": "destination.url"}
    service.says("POST", "/shop/7", refusal, status=400)
    ran = await run("submit", "shop", "7", "--source", "https://code.example.com/a.tgz")
    assert (ran.code, ran.out, ran.err) == (1, "", "shuttle: destination.url: Write a tag.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "/no/such/place"], "neither a URL nor a file"),
        (["--source", "https://h/a", "--arg", "NOWHERE_SET"], "--arg NOWHERE_SET"),
        (["--source", "https://h/a", "--label", "team"], "--label team: write NAME=VALUE"),
        (["--source", "https://h/a", "--metadata", "{1}"], "--metadata is not JSON"),
        ([], "Missing option"),
    ],
)
async def test_wrong_usage_exits_2_without_a_request(service, run, arguments, said):
    ran = await run("submit", "shop", "7", *arguments)
    assert ran.code == 2
    assert said in ran.err
    assert service.asked == []


async def test_follow_shows_the_log_and_exits_with_the_result(service, run, final_build):
    service.says("POST", "/shop/7", {"status": "OK"})
    service.will("GET", "/shop/7/logs", _log(b"hello\nworld", complete=True))
    service.says("GET", "/shop/7", final_build | {"timestamps": {"finished_at": None}})
    service.says("GET", "/shop/7", final_build | {"state": "failed", "reason": "unstable", "message": "Not well."})
    ran = await run("submit", "shop", "7", "--source", "https://code.example.com/a.tgz", "--follow")
    assert (ran.code, ran.out) == (1, "hello\nworld")
    assert ran.err.endswith("shuttle: shop 7 failed: Not well.\n")


async def test_follow_with_json_prints_the_final_build(service, run, final_build):
    service.says("POST", "/shop/7", {"status": "OK"})
    service.says("GET", "/shop/7", final_build | {"timestamps": {"finished_at": None}, "log": {"bytes": 6}})
    service.says("GET", "/shop/7", final_build)
    service.will("GET", "/shop/7/logs", _log(b"world", complete=True))
    ran = await run("submit", "shop", "7", "--source", "https://code.example.com/a.tgz", "--follow", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, final_build)
    assert [asked.query for asked in service.asked if asked.path == "/shop/7/logs"] == [
        {"offset": "6", "follow": "true"}
    ]


@pytest.mark.parametrize("as_json", [False, True])
async def test_follow_survives_a_restart_of_the_service(service, run, final_build, monkeypatch, as_json: bool):
    monkeypatch.setattr(client, "_RECONNECT_PAUSE_SECONDS", 0.01)
    unavailable = {"status": "error", "code": "store_unavailable", "message": "The database does not answer."}
    service.says("POST", "/shop/7", {"status": "OK"})
    service.says("GET", "/shop/7", unavailable, status=503)
    service.says("GET", "/shop/7", final_build)
    service.will("GET", "/shop/7/logs", _log(b"", complete=True))
    command = ["submit", "shop", "7", "--source", "https://code.example.com/a.tgz", "--follow"]
    assert (await run(*command, *(["--json"] if as_json else []))).code == 0


def _decoded(url: str) -> bytes:
    head, _, text = url.partition(",")
    assert head in {"data:application/gzip;base64", "data:application/octet-stream;base64"}
    return base64.b64decode(text)


def _log(text: bytes, *, complete: bool):
    from aiohttp import web

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=text, headers={"Shuttle-Log-Complete": "true" if complete else "false"})

    return answer
