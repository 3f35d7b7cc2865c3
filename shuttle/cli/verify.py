"""`shuttle logs --verify`: compare the copies of a log with the checksum in the final status."""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from shuttle.app import object_store
from shuttle.cli.client import ShuttleClient
from shuttle.cli.failures import CommandError
from shuttle.errors import ObjectNotFoundError, ObjectStoreError, ShuttleError
from shuttle.kafka.access import access_to
from shuttle.kafka.connector import BrokerConnector
from shuttle.kafka.topic import READER_ANSWER_BYTES, messages_of
from shuttle.objects.names import log_object
from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.kafka_url import read_kafka_url, shown_hosts
from shuttle.settings import Settings, load_settings


class LogDiffersError(CommandError):
    """A copy of the log differs from the checksum in the final status."""

    code = "log_differs"


class NotVerifiableError(CommandError):
    """The build has not ended, so there is no checksum of its log yet."""

    code = "not_verifiable"


@dataclass(frozen=True, slots=True)
class Checked:
    """One copy of the log: its name, and what is wrong with it (None: it is equal).

    `unread` = the copy was left out, for the reason in `problem`.
    """

    copy: str
    problem: str | None
    unread: bool = False


async def verify(client: ShuttleClient, app_id: str, build_id: str, sink: str) -> list[Checked]:
    """Compare the copies of the log with the checksum: `GET …/logs`, the archive, and the topic of `sink` (or "").

    The archive is left out if the object store of the local settings does not have it, or if that is a directory which
    this user may not read: every machine has such a setting, also one on which another user runs the service.

    Raises:
        NotVerifiableError: the build has not ended.
    """
    build = await client.build(app_id, build_id)
    if build["log"]["sha256"] is None:
        raise NotVerifiableError(f"{app_id} {build_id} has not ended; its log has no checksum yet.")
    settings = load_settings()
    checked = [await _compare("GET …/logs", client.log(app_id, build_id, offset=0, follow=False), build)]
    checked += await _archive(settings, build)
    if sink:
        address = read_kafka_url(sink, "--sink")
        name = f"kafka {shown_hosts(address)}/{address.topic}"
        checked.append(await _compare(name, _joined(sink, settings, build), build))
    return checked


async def _archive(settings: Settings, build: dict[str, Any]) -> list[Checked]:
    """Check the archive in the object store of the local settings; nothing if the build's log is not in that store."""
    objects = object_store(settings)
    try:
        async with objects.open(log_object(build["build_uuid"])) as found:
            return [await _compare("archive", found.chunks, build)]
    except ObjectNotFoundError:
        return []
    except ObjectStoreError as error:
        return [Checked("archive", error.message.rstrip("."), unread=not settings.s3_bucket)]
    finally:
        await objects.close()


async def _joined(sink: str, settings: Settings, build: dict[str, Any]) -> AsyncIterator[bytes]:
    """The topic's lines without duplicates and without the final message.

    Raises:
        LogDiffersError: a line is missing or cut, a duplicate differs from its line, or the final message is missing.
    """
    address = read_kafka_url(sink, "--sink")
    policy = AddressPolicy(allow_loopback=True, allow_networks=settings.shuttle_allow_networks)
    connector = BrokerConnector(CheckingResolver(policy), READER_ANSWER_BYTES)
    size_bytes, offset, ended, seen = build["log"]["bytes"], 0, False, _Seen()
    messages = messages_of(
        build["build_uuid"],
        address,
        access_to(address, settings),
        connector,
        timeout_seconds=settings.shuttle_kafka_request_timeout_seconds,
    )
    try:
        # Closed explicitly: a difference ends the loop early, and the consumer must not outlive it.
        async with aclosing(messages):
            async for message in messages:
                if message.offset > offset:
                    raise LogDiffersError(f"bytes {offset} to {message.offset} are missing")
                if message.offset == size_bytes:
                    ended = True
                elif message.offset == offset:
                    if message.cut:
                        raise LogDiffersError(f"the line at {offset} is cut")
                    seen.add(offset, message.text)
                    yield message.text
                    offset += len(message.text)
                elif not message.cut and not seen.has(message.offset, message.text):
                    raise LogDiffersError(f"a duplicate at {message.offset} differs from the first line")
    finally:
        await connector.close()
    if not ended:
        raise LogDiffersError("the end is missing")


class _Seen:
    """The lines so far, in 16 bytes each, because a log has millions of them."""

    def __init__(self) -> None:
        self._offsets, self._sums = array("Q"), array("Q")

    def add(self, offset: int, line: bytes) -> None:
        """Add the next line."""
        self._offsets.append(offset)
        self._sums.append(_sum(line))

    def has(self, offset: int, line: bytes) -> bool:
        """Whether exactly this line was added with this offset."""
        index = bisect_left(self._offsets, offset)
        return self._offsets[index : index + 1].tolist() == [offset] and self._sums[index] == _sum(line)


def _sum(line: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(line, digest_size=8).digest())


async def _compare(copy: str, pieces: AsyncIterator[bytes], build: dict[str, Any]) -> Checked:
    hashed, size_bytes = hashlib.sha256(), 0
    try:
        async for piece in pieces:
            hashed.update(piece)
            size_bytes += len(piece)
    except ShuttleError as error:
        return Checked(copy, error.message.rstrip("."))
    if size_bytes != build["log"]["bytes"]:
        return Checked(copy, f"has {size_bytes} bytes, the final status says {build['log']['bytes']}")
    if hashed.hexdigest() != build["log"]["sha256"]:
        return Checked(copy, "has another SHA-256 than the final status says")
    return Checked(copy, None)
