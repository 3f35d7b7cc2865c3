"""The service on PostgreSQL: a start while the server is down, a server that hangs, and a wrong password."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from shuttle.cli.postgres_examination import examine_postgres
from shuttle.settings import load_settings
from tests.support.command_line import exit_code_of
from tests.support.free_port import free_port
from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.postgres_server import PASSWORD, USER
from tests.support.product import running_product
from tests.support.shuttle_process import shuttle_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def running() -> Iterator[OnPostgres]:
    with on_postgres() as started:
        yield started


@pytest.fixture
def postgres(running: OnPostgres) -> OnPostgres:
    """With a new database."""
    return replace(running, settings=running.settings | {"DATABASE_URL": running.server.new_url()})


async def test_calls_are_answered_503_in_time_while_the_server_hangs(postgres: OnPostgres, tmp_path: Path):
    async with running_product(tmp_path, postgres=postgres) as product:
        receiver = product.receiver()
        await product.submit("app", "1", "echo done", receiver)
        await receiver.until(lambda: receiver.final and receiver.log_ended)
        assert receiver.words() == ["queued", "pending", "succeeded"]
        assert await product.archived_log((await product.build("app", "1"))["build_uuid"]) == bytes(receiver.log)
        postgres.server.pause()
        try:
            for method, path in (("POST", "app/2"), ("DELETE", "app/1")):
                began = time.monotonic()
                async with product.session.request(method, f"{product.url}/{path}", json=source()) as response:
                    assert (response.status, int(response.headers["Retry-After"]) > 0) == (503, True)
                    assert PASSWORD not in await response.text()
                assert time.monotonic() - began < 8, "3 s are promised; the rest is for a busy machine"
        finally:
            postgres.server.resume()
        await product.submit("app", "3", "echo done", asks=50)
        await product.until_state("app", "3", "succeeded")
        assert PASSWORD not in product.shuttle.output()


def source() -> dict[str, object]:
    return {"source": {"url": "http://127.0.0.1:9/a.tgz"}, "pipeline": "script"}


async def test_a_start_waits_for_a_server_that_is_down_and_readyz_shows_it(postgres: OnPostgres, tmp_path: Path):
    own = f"127.0.0.1:{free_port()}"
    tls = {"SHUTTLE_PACKERD_BIND": own, "SHUTTLE_PACKERD_TLS_CERT": "auto"}
    url, shuttle = shuttle_process(tmp_path, **postgres.settings, **tls)
    postgres.server.stop()
    starting = asyncio.create_task(shuttle.start())
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/readyz") as response:
                        body = await response.json()
                        assert response.status == 503
                        if "does not answer" in body["checks"]["database"]:
                            break
                await asyncio.sleep(0.05)
            async with session.get(f"{url}/healthz") as response:
                assert response.status == 200
            async with session.post(f"{url}/app/1", json=source()) as response:
                assert (response.status, (await response.json())["code"]) == (503, "store_unavailable")
                assert int(response.headers["Retry-After"]) > 0
            async with session.get(f"https://{own}/build/queue", ssl=False) as response:
                assert (response.status, (await response.json())["code"]) == (503, 503)
    finally:
        postgres.server.start()
    await starting
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/app/1", json=source()) as response:
            assert response.status == 200
        async with session.get(f"https://{own}/build/queue", ssl=False) as response:
            assert response.status == 204
    assert PASSWORD not in shuttle.output()
    await shuttle.kill()


async def test_a_start_with_a_wrong_password_ends_with_one_sentence(postgres: OnPostgres, tmp_path: Path):
    wrong = postgres.server.url(password="not-the-password")
    _, shuttle = shuttle_process(tmp_path, **postgres.settings | {"DATABASE_URL": wrong})
    with pytest.raises(AssertionError, match="exited with"):
        await shuttle.start()
    last = shuttle.output().strip().splitlines()[-1]
    assert "refuses the user or the password of DATABASE_URL" in last
    assert "not-the-password" not in shuttle.output()


async def test_the_doctor_examines_notices_and_replicas(
    postgres: OnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    async def doctor(**settings: str) -> str:
        for name, value in ({"SHUTTLE_DATA_DIR": str(tmp_path / "data")} | postgres.settings | settings).items():
            monkeypatch.setenv(name, value)
        await exit_code_of("doctor", "--no-jobs")
        return capsys.readouterr().out

    url, shuttle = shuttle_process(tmp_path, **postgres.settings)
    await shuttle.start()
    said = await doctor()
    assert re.search("fine +notices +arrive", said), said
    assert f"can be reached at {url}" in said
    await shuttle.kill()
    # NOTIFY reaches only connections to the same database: nothing arrives, as behind a pooler that pools transactions.
    said = await doctor(SHUTTLE_DATABASE_LISTEN_URL=postgres.server.new_url())
    assert re.search("warning +notices +do not arrive", said), said
    assert f"cannot be reached at {url}" in said
    assert PASSWORD not in said


async def test_the_doctor_tries_the_url_of_migrations(postgres: OnPostgres):
    """The service's own user may not create tables; another one migrates."""
    server, owner = postgres.server, postgres.server.new_url()
    name = owner.rpartition("/")[2]
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'of-the-service'")
    served = server.url(name).replace(f"{USER}:{PASSWORD}", f"{name}:of-the-service")

    async def said(migrate_url: str) -> str:
        own = {"DATABASE_URL": served, "SHUTTLE_DATABASE_MIGRATE_URL": migrate_url}
        found = [finding async for finding in examine_postgres(load_settings(postgres.settings | own))]
        return "\n".join(f"{finding.verdict.value} {finding.subject}: {finding.sentence}" for finding in found)

    refusal = "problem database: its user may not create tables"
    assert refusal in await said("")
    with_owner = await said(owner)
    assert "fine migrations: " in with_owner
    assert refusal not in with_owner
    name_of_setting = "SHUTTLE_DATABASE_MIGRATE_URL"
    for wrong, sentence in (
        (server.url(name, password="wrong"), f"refuses the user or the password of {name_of_setting}"),
        (server.new_url(), f"problem migrations: {name_of_setting} is another database"),
        (served, f"problem migrations: the user of {name_of_setting} may not create tables"),
    ):
        assert sentence in await said(wrong)
