"""A build with the maximum number of secrets: preparing the search for them must not block the service."""

import threading
from pathlib import Path

import pytest

from shuttle.lifecycle import build_logs
from shuttle.logs import transform
from shuttle.logs.mask import Masker
from tests.contract.agent_caller import agent_of
from tests.support.inprocess import running_jenkins, running_shuttle


@pytest.mark.slow
async def test_search_for_a_thousand_secrets_is_prepared_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []

    class Observed(Masker):
        def __init__(self, *args: object) -> None:
            threads.append(threading.get_ident())
            super().__init__(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(transform, "Masker", Observed)
    monkeypatch.setattr(build_logs, "Masker", Observed)
    secrets = {f"A{number}": f"secret-{number:04}" for number in range(1000)}
    fields = {"arguments": secrets, "secret_arguments": list(secrets)}
    async with (
        running_jenkins(tmp_path) as jenkins,
        running_shuttle(tmp_path, jenkins.url, SHUTTLE_JENKINS_AGENT_LABEL="nowhere") as shuttle,
    ):
        await shuttle.submit("/app/1", "echo $A999", **fields)
        await shuttle.until("/app/1", "queued")
        agent = await agent_of(shuttle, "/app/1")
        await agent.claim()
        report = {"id": "one", "state": "failed", "reason": "no_dockerfile", "message": "printed secret-0007 here"}
        assert (await agent.ask("POST", "report", json=report)).status == 200
        await shuttle.ask("DELETE", "/app/1")
    assert len(threads) >= 2
    assert threading.get_ident() not in threads
