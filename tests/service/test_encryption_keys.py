"""A lost or wrong key is an error at the start, and no new key is made for data that another key encrypted."""

import shutil
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from shuttle.cli.examination import examine
from shuttle.errors import SettingsError
from tests.support.inprocess import NO_JENKINS, running_shuttle, script_request

pytestmark = pytest.mark.slow

OURS, ANOTHER = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
async def sealed(tmp_path: Path) -> Path:
    """The data of a service that has accepted a build, with its key file."""
    async with running_shuttle(tmp_path) as shuttle:
        await shuttle.submit("/app/1", webhooks={"status": "http://127.0.0.1:9/", "logs": "http://127.0.0.1:9/"})
        await shuttle.delete("/app/1")
    return tmp_path


async def refused(folder: Path, **settings: str) -> str:
    """The error of `serve`, which `doctor` must report as well."""
    with pytest.raises(SettingsError) as caught:
        async with running_shuttle(folder, **settings):
            pass
    message = caught.value.message
    assert message.endswith(".")
    assert "\n" not in message
    with pytest.MonkeyPatch.context() as environment:
        for name, value in ({"SHUTTLE_DATA_DIR": str(folder / "data"), "JENKINS_URL": NO_JENKINS} | settings).items():
            environment.setenv(name, value)
        findings = await examine(try_jobs=False)
    assert message in [finding.sentence for finding in findings if finding.verdict == "problem"]
    return message


async def test_a_lost_key_file_is_not_replaced_by_a_new_one(sealed: Path):
    key = sealed / "data" / "encryption.key"
    key.rename(sealed / "kept")
    assert "restore the file from the backup" in await refused(sealed)
    assert not key.exists()
    shutil.copy(sealed / "kept", key)
    async with running_shuttle(sealed) as shuttle:
        assert (await shuttle.build("/app/1"))["state"] == "stopped"


@pytest.mark.parametrize("content", [ANOTHER, "", "no key"], ids=["another key", "empty", "no key"])
async def test_a_wrong_key_file_is_an_error_and_not_overwritten(sealed: Path, content: str):
    (sealed / "data" / "encryption.key").write_text(content)
    message = await refused(sealed)
    assert "encryption.key" in message
    assert (sealed / "data" / "encryption.key").read_text() == content
    assert ANOTHER not in message


async def test_keys_of_the_environment_must_include_the_key_of_the_data(sealed: Path):
    key = (sealed / "data" / "encryption.key").read_text()
    assert "SHUTTLE_ENCRYPTION_KEYS" in await refused(sealed, SHUTTLE_ENCRYPTION_KEYS=ANOTHER)
    async with running_shuttle(sealed, SHUTTLE_ENCRYPTION_KEYS=f"{ANOTHER},{key}") as shuttle:
        assert (await shuttle.build("/app/1"))["arguments"] == {}
        replayed = await shuttle.get("/app/1/status")
        assert replayed.status == 200


async def test_a_build_whose_key_was_removed_is_shown_without_its_encrypted_fields(tmp_path: Path):
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=ANOTHER) as shuttle:
        await shuttle.submit("/app/1", arguments={"A": "b"})
        await shuttle.delete("/app/1")
        await shuttle.until("/app/1")
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=f"{OURS},{ANOTHER}") as shuttle:
        await shuttle.post("/app/2", script_request(arguments={"A": "c"}))
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=OURS) as shuttle:
        old, new = await shuttle.build("/app/1"), await shuttle.build("/app/2")
    assert (old["arguments"], old["state"]) == (None, "stopped")
    assert new["arguments"] == {"A": "c"}


async def test_status_whose_key_was_removed_is_not_sent_again(tmp_path: Path):
    """If it were pending, no other status would be sent, and the next start would be refused."""
    once = {"SHUTTLE_WEBHOOK_SCHEDULE_SECONDS": "0"}
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=ANOTHER, **once) as shuttle:
        await shuttle.submit("/app/1", webhooks={"status": "http://127.0.0.1:9/"})
        await shuttle.delete("/app/1")
        await shuttle.until_shown("/app/1", lambda build: build["receivers"][0]["state"] == "gave_up")
        [given_up, *_] = (await shuttle.get("/-/deliveries?app_id=app&state=gave_up")).json["deliveries"]
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=f"{OURS},{ANOTHER}") as shuttle:
        await shuttle.post("/app/2", script_request())
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=OURS) as shuttle:
        for call in (f"/-/deliveries/{given_up['delivery_id']}/replay", "/-/deliveries/replay?app_id=app"):
            refusal = await shuttle.post(call)
            assert (refusal.status, refusal.json["code"]) == (409, "conflict")
            assert "add that key to SHUTTLE_ENCRYPTION_KEYS" in refusal.json["message"]
    async with running_shuttle(tmp_path, SHUTTLE_ENCRYPTION_KEYS=OURS):
        pass


async def test_the_first_start_makes_a_private_key_file(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "encryption.key").touch()  # left by a process that was killed while it wrote the file
    async with running_shuttle(tmp_path):
        key = tmp_path / "data" / "encryption.key"
        assert (key.stat().st_mode & 0o777, len(key.read_text())) == (0o600, 44)
