"""Builds that print numbers for some seconds, each to its own receiver, and a check that all of it has arrived."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any

from tests.support.product import Product, Receiver

SUCCEEDED = ["queued", "pending", "succeeded"]
# Ten parts, half a second apart, unless `part_seconds` says otherwise.
_PARTS = 10
_LINES = 100


@dataclass
class CountedBuilds:
    """The builds of one test by app and id; `product` is called at the balancer."""

    product: Product
    receivers: dict[tuple[str, str], Receiver] = field(default_factory=dict)

    async def submit(
        self, app_id: str, build_id: str = "1", *, at: int | None = None, part_seconds: float = 0.5, **fields: Any
    ) -> Receiver:
        """Request a build, by default at the balancer. The replica that gets the first one of an app owns the app."""
        receiver = self.receivers[app_id, build_id] = self.product.receiver(f"{app_id}-{build_id}")
        parts = " ".join(map(str, range(_PARTS)))
        numbers = f"seq $((i * {_LINES})) $((i * {_LINES} + {_LINES - 1}))"
        script = (
            f"#!/bin/sh\necho ran >> {self._mark(app_id, build_id)}\n"
            f"for i in {parts}; do {numbers}; sleep {part_seconds}; done\n"
        )
        called = self.product if at is None else self.product.at(at)
        await called.submit(app_id, build_id, script, receiver, asks=100, **fields)
        return receiver

    def _mark(self, app_id: str, build_id: str) -> Any:
        return self.product.folder / f"{app_id}-{build_id}.ran"

    async def until_running(self) -> None:
        """Wait until some of each log has arrived."""
        for receiver in self.receivers.values():
            await receiver.until(lambda receiver=receiver: b"\n150\n" in receiver.log, 60)

    async def until_whole(self, seconds: float = 90) -> None:
        """Wait for the end of all builds; each has run once, and everything of it has arrived, in order."""
        numbers = [b"%d" % number for number in range(_PARTS * _LINES)]
        for (app_id, build_id), receiver in self.receivers.items():
            await receiver.until(lambda receiver=receiver: receiver.final and receiver.log_ended, seconds)
            log = bytes(receiver.log)
            assert receiver.words() == SUCCEEDED, (app_id, build_id, receiver.final)
            assert receiver.final is not None
            assert (receiver.final["log_bytes"], receiver.final["log_sha256"]) == (
                len(log),
                hashlib.sha256(log).hexdigest(),
            )
            assert [line for line in log.splitlines() if line.isdigit()] == numbers, (app_id, build_id)
            build = await self._record(app_id, build_id, seconds)
            assert await self.product.archived_log(build["build_uuid"], seconds) == log
            assert self._mark(app_id, build_id).read_text().split() == ["ran"]

    async def _record(self, app_id: str, build_id: str, seconds: float) -> dict[str, Any]:
        """The build's record; after a 503 it is requested again."""
        async with asyncio.timeout(seconds):
            while True:
                async with self.product.session.get(f"{self.product.url}/{app_id}/{build_id}") as response:
                    if response.status != 503:
                        assert response.status == 200, await response.text()
                        found: dict[str, Any] = await response.json()
                        return found

    def calls(self) -> int:
        """How many requests all receivers have got so far."""
        return sum(receiver.calls for receiver in self.receivers.values())

    def assert_no_bug_was_logged(self) -> None:
        """No replica has logged a traceback."""
        for replica in self.product.replicas:
            at = replica.output().find("Traceback")
            assert at < 0, replica.output()[max(at - 1000, 0) : at + 3000]


async def answer_to_post(product: Product) -> tuple[int, bool, float]:
    """The status of a POST, whether it has Retry-After, and the seconds that it took."""
    body = {"source": {"url": "https://example.com/a.tar.gz"}, "pipeline": "script"}
    began = asyncio.get_running_loop().time()
    async with product.session.post(f"{product.url}/refused/1", json=body) as response:
        took_seconds = asyncio.get_running_loop().time() - began
        return response.status, "Retry-After" in response.headers, took_seconds
