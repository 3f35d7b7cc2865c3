"""Checks that a notice sent through DATABASE_URL arrives at the connection on which notices are received."""

import asyncio
import uuid
from typing import Any

import psycopg

from shuttle.store.postgres_connection import parameters_of

_WITHIN_SECONDS = 5.0


async def notices_arrive(database_url: str, listen_url: str) -> bool:
    """Whether a notice that is sent at `database_url` is received at `listen_url`, "" = the same URL.

    LISTEN through a pooler that pools transactions succeeds, and receives nothing. Raises psycopg.Error if a server
    cannot be reached.
    """
    channel = f"shuttle_doctor_{uuid.uuid4().hex}"
    async with await _connect(listen_url or database_url) as listening, await _connect(database_url) as sending:
        await listening.execute(f"LISTEN {channel}")
        await sending.execute("SELECT pg_notify(%s, '')", (channel,))
        try:
            async with asyncio.timeout(_WITHIN_SECONDS):
                async for _ in listening.notifies():
                    return True
        except TimeoutError:
            return False
    return False


async def _connect(url: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(**parameters_of(url), autocommit=True, prepare_threshold=None)
