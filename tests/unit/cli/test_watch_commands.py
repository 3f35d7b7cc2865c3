"""`shuttle status`, `logs`, `stop`, `builds` and `deliveries`."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from aiohttp import web

from shuttle.cli import client


async def test_status_shows_known_fields_and_omits_unknown_ones(service, run, final_build):
    service.says("GET", "/shop/7", final_build)
    ran = await run("status", "shop", "7")
    assert ran.code == 0
    assert "state:       succeeded" in ran.out
    assert "artifacts:   shop.tar" in ran.out
    assert "digest" not in ran.out


async def test_status_of_a_failed_build_exits_1_and_says_why(service, run, final_build):
    service.says("GET", "/shop/7", final_build | {"state": "timedout", "reason": "timeout", "message": "Too long."})
    ran = await run("status", "shop", "7", "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["reason"] == "timeout"
    assert ran.err == "shuttle: shop 7 timedout: Too long.\n"


async def test_unknown_build_exits_1_with_the_message_of_the_service(service, run):
    service.says("GET", "/shop/8", {"status": "error", "code": "not_found", "message": "No such build."}, status=404)
    ran = await run("status", "shop", "8")
    assert (ran.code, ran.err) == (1, "shuttle: No such build.\n")


async def test_logs_begin_at_the_offset_and_are_printed_unchanged(service, run):
    service.will("GET", "/shop/7/logs", _log("π\n\x1b[1mno newline".encode(), complete=True))
    ran = await run("logs", "shop", "7", "--offset", "12")
    assert ran.out == "π\n\x1b[1mno newline"
    assert service.asked[0].query == {"offset": "12"}


async def test_following_continues_at_the_right_byte_after_a_restart_of_the_service(service, run, monkeypatch):
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Shuttle-Log-Complete": "false"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b"first ")
        assert request.transport is not None
        request.transport.close()
        return response

    async def unavailable(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPServiceUnavailable(text="<html>starting</html>", content_type="text/html")

    monkeypatch.setattr(client, "_RECONNECT_PAUSE_SECONDS", 0.01)
    service.will("GET", "/shop/7/logs", cut)
    service.will("GET", "/shop/7/logs", unavailable)
    service.will("GET", "/shop/7/logs", _log(b"second ", complete=False))
    service.will("GET", "/shop/7/logs", _log(b"third", complete=True))
    ran = await run("logs", "shop", "7", "--follow")
    assert (ran.code, ran.out) == (0, "first second third")
    assert [asked.query["offset"] for asked in service.asked] == ["0", "6", "6", "13"]


async def test_bytes_that_a_killed_service_sends_again_are_printed_once(service, run):
    """A killed service has less of the log than it had sent: its response begins before the requested offset."""
    service.will("GET", "/shop/7/logs", _log(b"first second ", complete=False))
    service.will("GET", "/shop/7/logs", _log(b"st second third ", complete=False, first=3))
    service.will("GET", "/shop/7/logs", _log(b"third fourth", complete=True, first=13))
    ran = await run("logs", "shop", "7", "--follow")
    assert (ran.code, ran.out) == (0, "first second third fourth")
    assert [asked.query["offset"] for asked in service.asked] == ["0", "13", "19"]


async def test_following_survives_a_connection_that_died_silently(service, run, monkeypatch):
    monkeypatch.setattr(client, "_QUIET_SECONDS", 0.4)
    monkeypatch.setattr(client, "_RECONNECT_FOR_SECONDS", 0.02)
    monkeypatch.setattr(client, "_RECONNECT_PAUSE_SECONDS", 0.01)
    ended = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Shuttle-Log-Complete": "false"})
        await response.prepare(request)
        await response.write(b"first ")
        await ended.wait()
        return response

    service.will("GET", "/shop/7/logs", silent)
    service.will("GET", "/shop/7/logs", _log(b"second", complete=True))
    ran = await run("logs", "shop", "7", "--follow")
    ended.set()
    assert (ran.code, ran.out) == (0, "first second")


async def test_redirect_is_not_followed_with_the_token(service, run):
    async def elsewhere(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPMovedPermanently(f"{service.url}/elsewhere")

    service.will("GET", "/shop/7", elsewhere)
    assert (await run("status", "shop", "7", "--token", "t0")).code == 3
    assert [asked.path for asked in service.asked] == ["/shop/7"]


@pytest.mark.slow
async def test_closed_output_pipe_gives_no_traceback(service):
    service.will("GET", "/shop/7/logs", _log(b"line\n" * 1_000_000, complete=True))
    script = '"$0" -m shuttle logs shop 7 | head -n 1'
    root = Path(__file__).parents[3]
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, sys.executable, cwd=root, stdout=PIPE, stderr=PIPE
    )
    assert await process.communicate() == (b"line\n", b"")


async def test_unreachable_service_exits_3_and_says_what_to_do(run, monkeypatch, unused_tcp_port):
    monkeypatch.setenv("SHUTTLE_URL", f"http://s3cret:s3cret@127.0.0.1:{unused_tcp_port}")
    for command in (["status", "a", "1"], ["logs", "a", "1"], ["stop", "a", "1"], ["builds"], ["deliveries", "list"]):
        ran = await run(*command, "--token", "s3cret")
        assert ran.code == 3
        assert ran.err == (
            f"shuttle: No answer from http://127.0.0.1:{unused_tcp_port} (connection refused):"
            " start it with `shuttle serve`, or name another address in SHUTTLE_URL.\n"
        )


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "answered 404, but it is not a shuttle"),
        (413, "answered 413: a proxy there accepts no body of this size; raise its limit."),
        (502, "answered 502: a proxy there cannot reach the service; check that it runs."),
        (504, "answered 504: a proxy there got no answer from the service in time."),
    ],
)
async def test_other_server_or_proxy_at_the_address_exits_3(service, run, status, said):
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text="<html>", content_type="text/html")

    service.will("GET", "/shop/7", page)
    ran = await run("status", "shop", "7")
    assert ran.code == 3
    assert said in ran.err


async def test_token_is_sent_as_bearer_and_userinfo_of_the_url_as_basic(service, run, monkeypatch, final_build):
    service.says("GET", "/shop/7", final_build)
    await run("status", "shop", "7", "--token", "t0")
    monkeypatch.setenv("SHUTTLE_URL", service.url.replace("//", "//t0%40:@"))
    await run("status", "shop", "7")
    assert [asked.authorization for asked in service.asked] == ["Bearer t0", "Basic dDBAOg=="]


async def test_private_certificate_authority_is_read_from_the_setting(run, monkeypatch, tmp_path):
    monkeypatch.setenv("SHUTTLE_CA_FILE", str(tmp_path / "none.pem"))
    ran = await run("status", "a", "1")
    assert ran.code == 2
    assert "SHUTTLE_CA_FILE" in ran.err
    Path(tmp_path, "none.pem").write_text("no certificate")
    assert (await run("status", "a", "1")).code == 2


async def test_stop_sends_the_request(service, run):
    service.says("DELETE", "/shop/7", {"status": "OK"})
    ran = await run("stop", "shop", "7")
    assert (ran.code, service.asked[0].method) == (0, "DELETE")


async def test_builds_are_lines_of_fields_without_a_terminal(service, run, final_build):
    service.says("GET", "/-/builds", {"builds": [final_build], "next": "c1"})
    ran = await run("builds", "--limit", "1", "--state", "succeeded")
    assert ran.out == "shop\t7\tsucceeded\t\t2030-01-01T10:00:00.000Z\n"
    assert "--before c1" in ran.err
    assert service.asked[0].query == {"limit": "1", "state": "succeeded"}


async def test_builds_of_one_app_as_json(service, run, final_build):
    page = {"builds": [final_build], "next": None}
    service.says("GET", "/shop", page)
    ran = await run("builds", "shop", "--json")
    assert json.loads(ran.out) == page


async def test_receivers_of_statuses_and_log_of_a_build_are_shown(service, run, final_build):
    over = {"at": "2030-01-01T10:00:01.000Z", "to": "b.example", "why": "a.example is down. Failed over to b.example."}
    endpoint = {"kind": "failover", "host": "a.example, b.example", "attempts": 3, "failing_since": None}
    receiver = endpoint | {
        "state": "done",
        "acked_offset": None,
        "lag_bytes": None,
        "last_error": None,
        "failovers": [],
    }
    sink = endpoint | {"state": "behind", "acked_offset": 4, "lag_bytes": 7, "last_error": "500", "failovers": [over]}
    service.says("GET", "/shop/7", final_build | {"receivers": [receiver], "sinks": [sink]})
    ran = await run("deliveries", "show", "shop", "7")
    assert ran.out.splitlines() == [
        "status\tfailover\ta.example, b.example\tdone\t\t\t\t3\t",
        "log\tfailover\ta.example, b.example\tbehind\t\t4\t7\t3\t500",
        "log\t2030-01-01T10:00:01.000Z\tb.example\ta.example is down. Failed over to b.example.",
    ]
    ran = await run("deliveries", "show", "shop", "7", "--json")
    assert json.loads(ran.out) == {"receivers": [receiver], "sinks": [sink]}


async def test_deliveries_are_listed_and_replayed(service, run):
    entry = {
        "delivery_id": 3,
        "app_id": "shop",
        "build_id": "7",
        "sequence": 3,
        "receiver": "hooks.example.com",
        "state": "gave_up",
        "tries": 12,
        "next_attempt_at": None,
        "last_error": "500",
    }
    service.says("GET", "/-/deliveries", {"deliveries": [entry]})
    ran = await run("deliveries", "list", "--app", "shop", "--state", "gave_up")
    assert ran.out == "3\tshop\t7\t3\thooks.example.com\tgave_up\t12\t\t500\n"
    assert service.asked[-1].query == {"app_id": "shop", "state": "gave_up"}

    service.says("POST", "/-/deliveries/3/replay", {"status": "OK", "replayed": 1})
    assert (await run("deliveries", "replay", "3")).err == "Deliveries that are due again now: 1\n"
    service.says("POST", "/-/deliveries/replay", {"status": "OK", "replayed": 2})
    assert (
        await run("deliveries", "replay", "--app", "shop", "--build", "7")
    ).err == "Deliveries that are due again now: 2\n"
    assert service.asked[-1].query == {"app_id": "shop", "build_id": "7"}
    assert (await run("deliveries", "replay")).code == 2
    assert (await run("deliveries", "replay", "3", "--app", "shop")).code == 2
    assert (await run("deliveries", "replay", "3", "--build", "7")).code == 2


def _log(text: bytes, *, complete: bool, first: int | None = None):
    async def answer(_request: web.Request) -> web.StreamResponse:
        headers = {"Shuttle-Log-Complete": "true" if complete else "false"}
        if first is not None:
            headers["Shuttle-Log-Offset"] = str(first)
        return web.Response(body=text, headers=headers)

    return answer
