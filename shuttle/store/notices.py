"""Notices between processes: a transaction's notices are sent by NOTIFY, and every process listens.

They are sent when the transaction commits, and only say which rows to read again. A lost notice only causes a delay,
because every process also polls the database.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import structlog

from shuttle.store.tx import Notice, Topic, Tx

log = structlog.get_logger()

_CHANNEL = "build_shuttle"
# PostgreSQL refuses a payload of 8,000 bytes; a line has less than 100.
_LINES = 50
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 5.0


def send_notices(tx: Tx) -> None:
    """Send the notices of the transaction to the other processes, when it commits."""
    lines = [f"{topic.value} {build_uuid}" for topic, build_uuid in dict.fromkeys(tx.notices)]
    for first in range(0, len(lines), _LINES):
        payload = "\n".join([tx.instance, *lines[first : first + _LINES]])
        statement = "SELECT pg_notify(%(channel)s, %(payload)s)"
        tx.connection.exec_driver_sql(statement, {"channel": _CHANNEL, "payload": payload})


class NoticeListener:
    """Receives the notices of other processes.

    After each new connection it passes on one notice of every topic, because earlier ones may be lost.
    """

    def __init__(self, parameters: dict[str, Any], instance: str, receive: Callable[[Sequence[Notice]], None]) -> None:
        """`parameters` are those of libpq; `receive` gets the notices of one transaction."""
        self._parameters = parameters
        self._instance = instance
        self._receive = receive

    async def run(self) -> None:
        """Run until cancelled."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True) as connection:
                    await connection.execute(f"LISTEN {_CHANNEL}")
                    pause_seconds = _FIRST_PAUSE_SECONDS
                    self._receive([Notice(topic, "") for topic in Topic])
                    async for notification in connection.notifies():
                        self._receive([*self._read(notification.payload)])
            except psycopg.Error:
                log.warning("notices of other replicas cannot be received now; everything is polled meanwhile")
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def _read(self, payload: str) -> Iterator[Notice]:
        """The notices in a payload; none if this process has sent it. Topics of a newer version are ignored."""
        instance, *lines = payload.split("\n")
        known = {topic.value for topic in Topic}
        for topic, _, build_uuid in (line.partition(" ") for line in lines if instance != self._instance):
            if topic in known:
                yield Notice(Topic(topic), build_uuid)
