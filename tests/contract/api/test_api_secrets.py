"""Secrets in every field that can hold one appear nowhere (docs/contract.md, "Masking")."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from shuttle.lifecycle.build_spec import read_spec
from tests.support.inprocess import Shuttle, running_jenkins, running_shuttle
from tests.support.product import TOKEN, archive
from tests.support.receivers import Receiver, answering

SECRETS = {
    "source": "source-pass/word@1",
    "status": "status-pässword-2",
    "logs": "sole-token-of-logs-3",
    "header": "value-of-a-header-4",
    "argument": "secret argument \"5\" with $HOME 'quotes'",
    "multi-line": "first line of six\nsecond line of six",
    "destination": "push-password-7",
    "operator": "operators-registry-8",
    "controller": "controllers-token-9",
    "failing source": "password-of-a-404-10",
    "failing hook": "password-of-a-broken-hook-11",
}


def forms(secret: str) -> Iterator[bytes]:
    """The forms in which a secret may appear in bytes."""
    for line in secret.split("\n"):
        raw = line.encode()
        yield raw
        yield quote(line, safe="").encode()
        yield json.dumps(line)[1:-1].encode()
        for shift in range(3):  # the part of the base64 text that does not depend on the bytes around it
            encoded = base64.b64encode(b"x" * shift + raw)
            whole = encoded[4 if shift else 0 : len(encoded) // 4 * 4 - 4]
            yield whole
            yield whole.replace(b"+", b"-").replace(b"/", b"_")


def assert_nowhere(text: bytes, where: object, secrets: dict[str, str]) -> None:
    for name, secret in secrets.items():
        for form in forms(secret):
            assert form not in text, f"{name} is in {where}"


@pytest.fixture
async def sources() -> AsyncIterator[str]:
    """A password-protected archive whose build prints its secrets in every form."""
    script = """
echo "raw: $SECRET"; printf '%s' "$SECRET" | base64 | tr -d '\\n'; echo
for shift in x xx xxx; do printf '%s%s' "$shift" "$SECRET" | base64 -w 0; echo; done
printf '%s' "$SECRET" | base64 -w 0 | tr '+/' '-_'; echo
echo "$LINES_OF_IT"; printf '%s' "$SECRET" | head -c 10; sleep 0.1; printf '%s\\n' "$SECRET" | tail -c +11
echo "plain: $PLAIN"; env
cat <<'END'
"""
    script += quote(SECRETS["argument"], safe="") + "\nEND\n"

    async def serve(request: web.Request) -> web.Response:
        wanted = "Basic " + base64.b64encode(f"user:{SECRETS['source']}".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=404)
        return web.Response(body=archive({"build.sh": "#!/bin/sh\n" + script}))

    app = web.Application()
    app.router.add_get("/{what}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_secrets_are_shown_nowhere(tmp_path: Path, sources: str, capfd: pytest.CaptureFixture[str]):
    settings = {
        "SHUTTLE_TOKENS": f"controller:{SECRETS['controller']}",
        "EXTRA_DOCKER_REGISTRY_CONFIG": json.dumps(
            {"registry.example.com": {"username": "op", "password": SECRETS["operator"]}}
        ),
    }
    paths = ["/app/1", "/app/2", "/other/3"]
    answers: list[bytes] = []
    async with (
        Receiver(answering(200)) as statuses,
        Receiver(answering(200)) as logs,
        Receiver(answering(500)) as broken,
        running_jenkins(tmp_path) as jenkins,
        running_shuttle(tmp_path, jenkins.url, **settings) as shuttle,
    ):
        shuttle.headers = {"Authorization": f"Bearer {SECRETS['controller']}"}

        def with_userinfo(url: str, userinfo: str) -> str:
            return url.replace("://", f"://{userinfo}@")

        body = {
            "source": {"url": f"http://user:{quote(SECRETS['source'], safe='')}@{sources}/a"},
            "destination": {"image": f"docker://user:{SECRETS['destination']}@registry.example.com/o/r"},
            "pipeline": "script",
            "webhooks": {
                "status": [
                    with_userinfo(f"{statuses.url}/s", f"user:{quote(SECRETS['status'])}"),
                    with_userinfo(f"{broken.url}/s", f"user:{SECRETS['failing hook']}"),
                ],
                "logs": {"url": f"{logs.url}/l", "headers": {"X-Key": SECRETS["header"]}},
            },
            "arguments": {
                "SECRET": SECRETS["argument"],
                "LINES_OF_IT": SECRETS["multi-line"],
                "PLAIN": "not a secret",
            },
            "secret_arguments": ["SECRET", "LINES_OF_IT"],
        }
        failing = {
            "source": {"url": f"http://user:{SECRETS['failing source']}@{sources}/a"},
            "pipeline": "script",
            "webhooks": {"logs": with_userinfo(f"{logs.url}/l", SECRETS["logs"])},
        }
        wrong = {**body, "webhooks": {"status": with_userinfo("http://h:0/", f"user:{SECRETS['status']}")}}
        for path, sent in zip(paths, (body, failing, wrong), strict=True):
            answers.append((await shuttle.post(path, sent)).body)
        assert b'"status":"error"' in answers[2]
        assert (await shuttle.until(paths[0]))["state"] == "succeeded"
        assert (await shuttle.until(paths[1]))["reason"] == "source_not_found"
        tokens = {}
        for number, path in enumerate(paths[:2]):
            build = await shuttle.build(path)
            spec = await read_spec(build["build_uuid"], shuttle.services.database, shuttle.services.vault)
            tokens[f"token {number}"] = spec.token
            job = build["jenkins"]["job"]
            answers += [(await shuttle.get(path + what)).body for what in ("", "/status", "/logs", "/artifacts")]
            pages = (f"/job/{job}/api/json?depth=2", f"/job/{job}/config.xml", f"/job/{job}/1/api/json")
            answers += [await jenkins.read(page) for page in pages]
        others = ("/app", "/-/builds", "/-/deliveries", "/metrics", "/readyz", "/octhc", "/-/openapi.json")
        answers += [(await shuttle.get(path)).body for path in others]
        answers += [bytes(exchange.body) for exchange in (*statuses.exchanges, *logs.exchanges, *broken.exchanges)]
        log = (await shuttle.get("/app/1/logs")).body.decode()
        # The receivers got their credentials, in headers.
        expected = "Basic " + base64.b64encode(f"user:{SECRETS['status']}".encode()).decode()
        assert statuses.exchanges[0].headers["Authorization"] == expected
        assert logs.exchanges[0].headers["X-Key"] == SECRETS["header"]

    assert log.count("[secret]") >= 8
    assert "plain: not a secret" in log
    assert "raw: [secret]\n" in log
    secrets = {**SECRETS, **tokens, "Jenkins": TOKEN}
    for answer in answers:
        assert_nowhere(answer, answer[:80], secrets)
    captured = capfd.readouterr()
    assert_nowhere((captured.out + captured.err).encode(), "the shuttle's output", secrets)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".key")]
    assert any(path.name == "shuttle.db" for path in kept)
    assert any(path.name == "log" for path in kept)
    unprinted = {name: secret for name, secret in secrets.items() if name not in {"argument", "multi-line"}}
    for file in kept:
        # Output that a build prints is not masked in Jenkins' own console, because the shuttle does not read it there.
        wanted = unprinted if file.name == "log" else secrets
        assert_nowhere(file.read_bytes(), file.relative_to(tmp_path), wanted)


@pytest.mark.asyncio(loop_scope="module")
async def test_errors_do_not_repeat_refused_values(idle: Shuttle):
    """An error about an invalid field does not repeat a secret in it."""
    secret = "planted-in-a-wrong-field-12"
    script = {"source": {"url": "http://h/"}, "pipeline": "script"}
    header = {"url": "http://h/", "headers": {"X": f"{secret}\n"}}
    bodies: list[dict[str, Any]] = [
        {"source": {"url": f"http://user:{secret}@h:99999/"}},
        {"source": {"url": f"nonsense://user:{secret}@h/"}},
        {"source": {"url": [secret]}},
        {"source": {"url": "http://h/", "checksum": secret}},
        {"source": {"url": "http://h/"}, "destination": {"image": f"docker://u:{secret}@h/UPPER"}},
        {"source": {"url": "http://h/"}, "destination": {"image": f"docker://u:{secret}@h/a:{secret}/"}},
        {**script, "webhooks": {"logs": f"http://u:{secret}@[::"}},
        {**script, "webhooks": {"logs": f"failover(http://u:{secret}@h"}},
        {**script, "webhooks": {"logs": header}},
        {**script, "arguments": {"A": [secret]}},
        {**script, "timeout_seconds": secret},
        {**script, "labels": {"a": [secret]}},
    ]
    for body in bodies:
        answer = await idle.post("/refused/1", body)
        assert answer.status == 400, body
        assert secret not in answer.body.decode()
        assert secret not in str(answer.headers)
    torn = json.dumps(bodies[0])[:-3].encode()
    assert secret not in (await idle.post("/refused/1", torn)).body.decode()
