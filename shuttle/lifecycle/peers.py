"""Requests to other replicas: a call that only the owner of an app can answer is passed on to the owner."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Container, Mapping
from contextlib import asynccontextmanager

import aiohttp
from yarl import URL

from shuttle.errors import NotOwnerError
from shuttle.lifecycle.owner_waits import OwnerWaits
from shuttle.peer_signature import HEADER, PeerSignature
from shuttle.store import Database
from shuttle.store.ownership import owner_of
from shuttle.store.replicas import Replica

PREFIX = "/-/peers/builds"
_CONNECT_SECONDS = 2.0
# Longer than the owner needs to make a log durable, and shorter than the 30 s after which an agent repeats a push.
_CALL_SECONDS = 25.0


class Peers:
    """Finds the owner of a build's app, and sends it signed requests. Safe for any number of tasks of one loop."""

    def __init__(self, database: Database, signature: PeerSignature, session: aiohttp.ClientSession) -> None:
        self._database = database
        self.signature = signature
        self._session = session
        self._calls = OwnerWaits()

    async def owner(self, build_uuid: str) -> Replica | None:
        """The other replica that owns the build's app; None = this process, or nobody. Raises StoreError."""
        if self._database.alone:
            return None
        owner = await self._database.run(owner_of, build_uuid)
        return None if owner is None or owner.instance == self._database.instance else owner

    @asynccontextmanager
    async def request(
        self,
        owner: Replica,
        method: str,
        path_and_query: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: AsyncIterable[bytes] | None = None,
        seconds: float = _CALL_SECONDS,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer of the replica.

        Raises NotOwnerError if it does not answer within `seconds`, or is considered dead meanwhile: another replica
        may own the app now. The seconds begin anew with each chunk of the body, because the owner limits how slowly an
        agent may send.
        """
        path = f"{PREFIX}/{path_and_query}"
        signed = {**(headers or {}), HEADER: self.signature.sign(method, path)}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        try:
            async with (
                self._calls.waiting(owner.instance, seconds) as begin_anew,
                self._session.request(
                    method,
                    URL(owner.url.rstrip("/") + path, encoded=True),
                    headers=signed,
                    data=None if body is None else _noting_chunks(body, begin_anew),
                    timeout=limits,
                    allow_redirects=False,
                ) as answer,
            ):
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise NotOwnerError from None

    def end_calls_except(self, instances: Container[str]) -> None:
        """End the requests to replicas that are not in `instances`: a dead one may be frozen, and never answer."""
        self._calls.end(lambda instance: instance not in instances)


async def _noting_chunks(body: AsyncIterable[bytes], note: Callable[[], None]) -> AsyncIterator[bytes]:
    async for chunk in body:
        note()
        yield chunk
