"""Freed memory is returned to the system repeatedly; a C library without these functions causes no error."""

import asyncio
import gc

import pytest

from shuttle import memory
from shuttle.serve import collect_less_often


async def test_memory_is_returned_repeatedly(monkeypatch: pytest.MonkeyPatch):
    calls: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(memory, "_EVERY_SECONDS", 0.01)
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(
        memory, "_function", lambda _: lambda padding: loop.call_soon_threadsafe(calls.put_nowait, padding)
    )
    giving = asyncio.create_task(memory.trim_memory())
    async with asyncio.timeout(5):
        assert [await calls.get(), await calls.get()] == [0, 0]
    giving.cancel()


async def test_nothing_happens_with_another_c_library(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(memory, "_function", lambda _: None)
    memory.map_large_allocations()
    async with asyncio.timeout(5):
        await memory.trim_memory()


def test_garbage_collection_is_enabled_again_after_the_imports():
    thresholds = gc.get_threshold()
    gc.disable()
    try:
        collect_less_often()
        assert gc.isenabled()
    finally:
        gc.set_threshold(*thresholds)
        gc.enable()
