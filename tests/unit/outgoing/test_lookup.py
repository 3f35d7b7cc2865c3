"""A name whose server does not answer delays no other name."""

import asyncio
import socket
import threading
from collections import Counter

import pytest

from shuttle.outgoing import lookup
from shuttle.outgoing.lookup import AddressInfos, Lookups

_SEVERAL_TIMES_THE_THREADS = 200


class NameServers:
    """Replaces the resolver. Lookups of `*.slow.example` hang until `answer` is called; all others return at once."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._answering = threading.Event()

    def answer(self) -> None:
        self._answering.set()

    def getaddrinfo(self, host: str, port: int, family: int = 0, kind: int = 0):
        self.asked[host] += 1
        if host.endswith(".slow.example"):
            self._answering.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        address = host if host[0].isdigit() else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.fixture
def name_servers(monkeypatch):
    made = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.answer()


@pytest.fixture
def lookups(name_servers):
    made = Lookups()
    yield made
    made.close()


def begin(lookups: Lookups, *hosts: str) -> list[asyncio.Task[AddressInfos]]:
    return [asyncio.create_task(lookups.addresses(host, 9092)) for host in hosts]


def names(zone: str) -> list[str]:
    return [f"host{number}.{zone}" for number in range(_SEVERAL_TIMES_THE_THREADS)]


async def finished(tasks: list[asyncio.Task[AddressInfos]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_ip_address_does_not_wait_for_hanging_lookups(lookups):
    hanging = begin(lookups, *names("slow.example"))
    async with asyncio.timeout(5):
        ((*_, where),) = await lookups.addresses("203.0.113.7", 9092)
    assert where == ("203.0.113.7", 9092)
    assert not any(task.done() for task in hanging)


async def test_name_that_was_quick_does_not_wait_for_hanging_lookups(lookups):
    await lookups.addresses("quick.example", 9092)
    hanging = begin(lookups, *names("slow.example"))
    async with asyncio.timeout(5):
        await lookups.addresses("quick.example", 9092)
    assert not any(task.done() for task in hanging)


async def test_new_name_does_not_wait_for_names_known_to_be_slow(lookups, name_servers, monkeypatch):
    monkeypatch.setattr(lookup, "_SLOW_SECONDS", 0.0)
    first = begin(lookups, *names("slow.example"))
    name_servers.answer()
    await finished(first)
    monkeypatch.undo()
    again = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", again.getaddrinfo)
    hanging = begin(lookups, *names("slow.example"))
    async with asyncio.timeout(5):
        await lookups.addresses("new.example", 9092)
    assert not any(task.done() for task in hanging)
    again.answer()
    await finished(hanging)


async def test_simultaneous_lookups_of_one_name_share_a_thread(lookups, name_servers):
    waiting = begin(lookups, *["one.slow.example"] * _SEVERAL_TIMES_THE_THREADS)
    await lookups.addresses("quick.example", 9092)
    waiting[0].cancel()
    name_servers.answer()
    await finished(waiting)
    assert waiting[0].cancelled()
    assert all(isinstance(task.exception(), socket.gaierror) for task in waiting[1:])
    assert name_servers.asked == {"one.slow.example": 1, "quick.example": 1}
