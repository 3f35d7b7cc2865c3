"""Removes the queries of source URLs from the records of builds that were accepted before queries were secret.

Revision 0008, after 0007. The sealed plan keeps the whole URL. The query was in the record itself, in sentences about
the source, in the log's first lines and in statuses that quote such a sentence. In lines of a log that is not archived
yet it is replaced by stars, because the number of bytes must not change.
"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# The log's first lines show up to this many characters of a URL.
_LINE_CHARACTERS = 300


def upgrade() -> None:
    """Go forward."""
    connection = op.get_bind()
    # SQLite must not leave the overwritten text in free pages of its file.
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    found = connection.execute(
        sa.text(
            "SELECT build_uuid, source_url, message, waiting_for, preamble, archived_at, metadata_json FROM builds"
            " WHERE source_url LIKE 'http%' AND (source_url LIKE '%?%' OR source_url LIKE '%#%')"
        )
    ).all()
    for row in found:
        if row.source_url != _without_query(row.source_url):
            _hide(connection, row)


def _without_query(url: str) -> str:
    place, mark, _ = url.partition("#")[0].partition("?")
    return f"{place}?…" if mark else place


def _with_stars(url: str) -> str:
    place, mark, query = url.partition("?")
    return place + mark + "".join("*" * len(character.encode()) for character in query)


def _hide(connection: sa.Connection, row: Any) -> None:
    url = row.source_url
    shown = _without_query(url)
    connection.execute(
        sa.text(
            "UPDATE builds SET source_url = :url, message = :message, waiting_for = :waiting_for, preamble = :preamble"
            " WHERE build_uuid = :build_uuid"
        ),
        {
            "build_uuid": row.build_uuid,
            "url": shown,
            "message": row.message and row.message.replace(url, shown),
            "waiting_for": row.waiting_for and row.waiting_for.replace(url, shown),
            "preamble": _first_lines(row.preamble, url, shown if row.archived_at else _with_stars(url)),
        },
    )
    query = sa.text("SELECT event_id, body FROM events WHERE build_uuid = :build_uuid")
    for event in connection.execute(query, {"build_uuid": row.build_uuid}).all():
        # The metadata, which comes first, belongs to the caller and is not changed.
        head = f'{{"id":{row.metadata_json},'.encode()
        if event.body.startswith(head):
            body = head + event.body[len(head) :].replace(_in_json(url), _in_json(shown))
            change = sa.text("UPDATE events SET body = :body WHERE event_id = :event_id")
            connection.execute(change, {"body": body, "event_id": event.event_id})


def _first_lines(preamble: str, url: str, shown: str) -> str:
    return preamble.replace(url, shown).replace(url[:_LINE_CHARACTERS], shown[:_LINE_CHARACTERS])


def _in_json(text: str) -> bytes:
    return json.dumps(text)[1:-1].encode()
