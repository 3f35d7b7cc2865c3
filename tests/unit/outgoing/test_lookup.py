"""Names whose servers hang hold up no others."""

import asyncio
import socket
import threading
from collections import Counter

import pytest

from shuttle.outgoing import lookup
from shuttle.outgoing.lookup import Found, Lookups

_SEVERAL_TIMES_THE_THREADS = 200


class NameServers:
    """Those of `*.slow.example` answer nobody until `answer` is called; all others answer at once."""

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


def begin(lookups: Lookups, *hosts: str) -> list[asyncio.Task[Found]]:
    return [asyncio.create_task(lookups.addresses(host, 9092)) for host in hosts]


def names(zone: str) -> list[str]:
    return [f"host{number}.{zone}" for number in range(_SEVERAL_TIMES_THE_THREADS)]


async def finished(tasks: list[asyncio.Task[Found]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_address_waits_for_no_name(lookups):
    hanging = begin(lookups, *names("slow.example"))
    async with asyncio.timeout(5):
        ((*_, where),) = await lookups.addresses("203.0.113.7", 9092)
    assert where == ("203.0.113.7", 9092)
    assert not any(task.done() for task in hanging)


async def test_a_name_that_was_quick_waits_for_none_that_hangs(lookups):
    await lookups.addresses("well.example", 9092)
    hanging = begin(lookups, *names("slow.example"))
    async with asyncio.timeout(5):
        await lookups.addresses("well.example", 9092)
    assert not any(task.done() for task in hanging)


async def test_a_new_name_waits_for_none_that_is_known_to_hang(lookups, name_servers, monkeypatch):
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


async def test_many_who_need_one_name_hold_one_thread(lookups, name_servers):
    waiting = begin(lookups, *["one.slow.example"] * _SEVERAL_TIMES_THE_THREADS)
    await lookups.addresses("well.example", 9092)
    waiting[0].cancel()
    name_servers.answer()
    await finished(waiting)
    assert waiting[0].cancelled()
    assert all(isinstance(task.exception(), socket.gaierror) for task in waiting[1:])
    assert name_servers.asked == {"one.slow.example": 1, "well.example": 1}
