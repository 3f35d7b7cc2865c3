"""PostgreSQL fails over to a synchronous standby while builds run: nothing that was answered is lost."""

import asyncio
import hashlib
import signal
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.on_postgres import OnPostgres, on_postgres
from tests.support.postgres_server import PASSWORD, USER, Standby
from tests.support.product import running_replicas

pytestmark = pytest.mark.timeout(240)

APPS = ("a", "b", "c", "d")
SCRIPT = """#!/bin/sh
echo ran >> {ran}
for i in 1 2 3 4 5 6 7 8 9 10; do seq $((i * 100)) $((i * 100 + 99)); sleep 0.5; done
"""


@pytest.mark.long
async def test_builds_continue_on_the_standby_that_was_promoted(tmp_path: Path):
    with tempfile.TemporaryDirectory(prefix="shuttle-tests-standby-") as folder, on_postgres() as postgres:
        standby = Standby(Path(folder), postgres.server)
        standby.start()
        try:
            async with running_replicas(
                tmp_path, 2, postgres=postgres, DATABASE_URL=_url(postgres, standby)
            ) as product:
                receivers = {app_id: product.receiver(app_id) for app_id in APPS}
                for app_id, receiver in receivers.items():
                    await product.submit(app_id, "1", SCRIPT.format(ran=tmp_path / app_id), receiver, asks=20)
                await receivers["a"].until(lambda: len(receivers["a"].log) > 500)
                postgres.server.stop(signal.SIGKILL)
                await asyncio.to_thread(standby.promote)
                late = product.receiver("late")
                await product.submit("late", "1", "#!/bin/sh\necho late\n", late, asks=100)
                for app_id, receiver in (receivers | {"late": late}).items():
                    await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, 120)
                    assert receiver.words() == ["queued", "pending", "succeeded"], app_id
                    assert receiver.final["log_sha256"] == hashlib.sha256(bytes(receiver.log)).hexdigest()
                assert [(tmp_path / app_id).read_text().split() for app_id in APPS] == [["ran"]] * len(APPS)
                assert all("Traceback" not in replica.output() for replica in product.replicas)
        finally:
            standby.stop()


def _url(postgres: OnPostgres, standby: Standby) -> str:
    """The URL of both hosts, of which the replicas use the primary."""
    database = urlsplit(postgres.settings["DATABASE_URL"]).path
    hosts = f"127.0.0.1:{postgres.server.port},127.0.0.1:{standby.port}"
    return f"postgresql://{USER}:{PASSWORD}@{hosts}{database}?target_session_attrs=read-write"
