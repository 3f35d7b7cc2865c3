"""`shuttle migrate --from … --to …`: where the URLs come from, what is printed, and what is refused."""

import asyncio
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from shuttle.settings import Settings
from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.postgres_server import PASSWORD
from tests.unit.move.service import StoppedService, copied, stopped_service

TARGET = f"postgresql://u:{PASSWORD}@127.0.0.1:9/x"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def servers() -> Iterator[OnPostgres]:
    with on_postgres() as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StoppedService:
    return asyncio.run(stopped_service(tmp_path_factory.mktemp("made") / "data"))


@pytest.fixture
def service(
    made: StoppedService, servers: OnPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StoppedService:
    """The environment has all settings of the new service but DATABASE_URL."""
    keys = f"{servers.settings['SHUTTLE_ENCRYPTION_KEYS']},{made.key}"
    for name, value in (servers.settings | {"DATABASE_URL": "", "SHUTTLE_ENCRYPTION_KEYS": keys}).items():
        monkeypatch.setenv(name, value)
    return copied(made, tmp_path / "data")


@pytest.mark.slow
async def test_service_is_moved_and_not_served_from_its_file_any_more(
    service: StoppedService, servers: OnPostgres, run, monkeypatch: pytest.MonkeyPatch
):
    url = servers.server.new_migrated_url()
    ran = await run("migrate", "--from", f"sqlite:///{service.path}", "--to", url)
    assert ran.code == 0, ran.err
    *lines, last = ran.out.splitlines()
    rows = {fields[0]: fields[1:] for fields in (line.split("\t") for line in lines)}
    assert rows["builds"][:3] == ["7", "7", ""]
    assert rows["objects"][:3] == ["9", "9", str(sum(map(len, service.objects.values())))]
    assert all(before == after for *_, before, after in rows.values())
    assert last == f"{service.path} was moved; start `shuttle serve` with DATABASE_URL"
    assert PASSWORD not in ran.out + ran.err
    monkeypatch.setenv("SHUTTLE_DATA_DIR", str(service.folder))
    refused = await run("migrate")
    assert (refused.code, refused.out) == (2, "")
    place = url.rpartition("@")[2]
    assert refused.err.startswith(f"shuttle: This database was moved to postgresql://{place}: set DATABASE_URL")
    examined = json.loads((await run("doctor", "--no-jobs", "--json")).out)["findings"]
    [finding] = [one for one in examined if one["subject"] == "database"]
    assert (finding["verdict"], "was moved to" in finding["sentence"]) == ("problem", True)


@pytest.mark.parametrize("by", ["standard input", "environment", "file", "direct url"])
async def test_target_can_be_named_without_showing_its_password(
    service: StoppedService, tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch, by: str
):
    """The target closes each connection, so that nothing is moved."""
    called = []

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(by)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        url = TARGET.replace(":9/", f":{server.sockets[0].getsockname()[1]}/")
        options = ["--to", "-"] if by == "standard input" else []
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{url}\n"))
        if by == "environment":
            monkeypatch.setenv("DATABASE_URL", url)
        elif by == "direct url":
            monkeypatch.setenv("DATABASE_URL", TARGET)
            monkeypatch.setenv("SHUTTLE_DATABASE_MIGRATE_URL", url)
        elif by == "file":
            (tmp_path / "url").write_text(url)
            monkeypatch.delenv("DATABASE_URL")
            monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
        ran = await run("migrate", "--from", f"sqlite:///{service.path}", *options)
    assert called
    assert (ran.code, ran.out) == (1, "")
    assert PASSWORD not in ran.err


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "sentence"),
    [
        (["--to", TARGET], {}, 2, "--to and --json need --from"),
        (["--json"], {}, 2, "--to and --json need --from"),
        (["--from", TARGET], {}, 2, "--from: write sqlite:///PATH"),
        (["--from", "shuttle.db"], {}, 2, "--from: write postgresql://"),
        (["--from", "sqlite:////a.db"], {}, 2, "set DATABASE_URL, or name it with --to"),
        (["--from", "sqlite:////a.db", "--to", "sqlite:////b.db"], {}, 2, "--to: write postgresql://"),
        (["--from", "sqlite:////a.db", "--to", TARGET], {}, 2, "SHUTTLE_ENCRYPTION_KEYS: PostgreSQL needs a key"),
        (["--from", "sqlite:////nowhere/a.db"], {"DATABASE_URL": TARGET}, 2, "S3_BUCKET: PostgreSQL needs"),
    ],
)
async def test_wrong_usage_is_refused_in_one_sentence(
    run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], environment: dict[str, str], code: int, sentence: str
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = await run("migrate", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert sentence in ran.err
    assert PASSWORD not in ran.err
    assert not os.path.lexists("/a.db")
