"""The query of a source's URL and the values of its headers are shown nowhere."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.support.inprocess import running_jenkins, running_shuttle
from tests.support.product import archive
from tests.support.receivers import Receiver, answering

SIGNATURE = "signa/ture+of=1"
QUERY = f"expires=20301231&sig={quote(SIGNATURE, safe='')}&v=2"


@pytest.fixture
async def host() -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A host that serves an archive for the signed URL only, and the requests that it received."""
    requests: list[web.Request] = []
    script = f"#!/bin/sh\necho 'signed: {SIGNATURE} 20301231 v=2'\necho 'as sent: {QUERY}'\n"

    async def serve(request: web.Request) -> web.Response:
        requests.append(request)
        if request.query.get("sig") != SIGNATURE and request.headers.get("X-Key") != SIGNATURE:
            return web.Response(status=404)
        return web.Response(body=archive({"build.sh": script}))

    app = web.Application()
    app.router.add_get("/{what}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", requests
    await runner.cleanup()


async def test_query_of_a_source_is_shown_nowhere_and_its_values_are_masked(
    tmp_path: Path, host: tuple[str, list[web.Request]], capfd: pytest.CaptureFixture[str]
):
    url, requests = host
    refused = quote("refused/signature=2", safe="")
    async with (
        Receiver(answering(200)) as receiver,
        running_jenkins(tmp_path) as jenkins,
        running_shuttle(tmp_path, jenkins.url) as shuttle,
    ):
        webhooks = {"status": f"{receiver.url}/s", "logs": f"{receiver.url}/l"}
        body = {"source": {"url": f"{url}/a?{QUERY}#part"}, "pipeline": "script", "webhooks": webhooks}
        await shuttle.post("/app/1", body)
        await shuttle.post("/other/2", {**body, "source": {"url": f"{url}/b?sig={refused}"}})
        assert (await shuttle.until("/app/1"))["state"] == "succeeded"
        assert (await shuttle.until("/other/2"))["reason"] == "source_not_found"
        assert (await shuttle.build("/app/1"))["source"]["url"] == f"{url}/a?…"
        paths = ("/app/1", "/app/1/status", "/app/1/logs", "/other/2", "/other/2/logs", "/app", "/other", "/-/builds")
        answers = [(await shuttle.get(path)).body for path in paths]
        answers += [bytes(exchange.body) for exchange in receiver.exchanges]
        log = answers[2].decode()

    assert requests[0].raw_path == f"/a?{QUERY}"
    assert log.startswith(f"-----> Source: {url}/a?…\n")
    assert "signed: [secret] [secret] v=2\n" in log
    assert "as sent: expires=[secret]&sig=[secret]&v=2\n" in log
    captured = capfd.readouterr()
    data = [file.read_bytes() for file in tmp_path.rglob("shuttle.db*")]
    for text in (*answers, captured.out.encode(), captured.err.encode(), *data):
        for secret in (SIGNATURE, quote(SIGNATURE, safe=""), refused, "expires="):
            assert secret.encode() not in text.replace(b"as sent: expires=", b"")


@pytest.mark.slow
async def test_headers_of_a_source_are_sent_to_its_host_and_shown_nowhere(
    tmp_path: Path, host: tuple[str, list[web.Request]], capfd: pytest.CaptureFixture[str]
):
    url, requests = host
    async with running_jenkins(tmp_path) as jenkins, running_shuttle(tmp_path, jenkins.url) as shuttle:
        source = {"url": f"{url}/a", "headers": {"X-Key": SIGNATURE}}
        answer = await shuttle.post("/app/1", {"source": source, "pipeline": "script"})
        assert "Shuttle-Ignored-Fields" not in answer.headers
        assert (await shuttle.until("/app/1"))["state"] == "succeeded"
        answers = [(await shuttle.get(path)).body for path in ("/app/1", "/app/1/status", "/app/1/logs", "/app")]
        schema = (await shuttle.get("/-/openapi.json")).json["components"]["schemas"]["Source"]

    assert requests[0].headers["X-Key"] == SIGNATURE
    assert "signed: [secret] 20301231 v=2\n" in answers[2].decode()
    assert "headers" in schema["properties"]
    captured = capfd.readouterr()
    data = [file.read_bytes() for file in tmp_path.rglob("shuttle.db*")]
    for text in (*answers, captured.out.encode(), captured.err.encode(), *data):
        assert SIGNATURE.encode() not in text
