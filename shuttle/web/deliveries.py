"""The ledger of status deliveries, for operators: what was delivered, what was given up, and again."""

from dataclasses import asdict
from typing import Any

from aiohttp import web

from shuttle.errors import InvalidRequestError, NotFoundError
from shuttle.events import instant_text
from shuttle.store.ledger import DeliveryRow
from shuttle.web import PORTS, STANDING
from shuttle.web.answers import json_answer

_MOST = 200
_STATES = ("pending", "delivered", "gave_up")


async def list_deliveries(request: web.Request) -> web.StreamResponse:
    """`GET /-/deliveries?app_id=&build_id=&state=`: newest first, 200 at most."""
    state = request.query.get("state")
    if state is not None and state not in _STATES:
        raise InvalidRequestError(f"Choose one of: {', '.join(_STATES)}.", field="state")
    rows = await request.app[PORTS].store.deliveries(
        app_id=request.query.get("app_id"), build_id=request.query.get("build_id"), state=state, limit=_MOST
    )
    return json_answer({"deliveries": [_form(row) for row in rows]})


def _form(row: DeliveryRow) -> dict[str, Any]:
    due_at = row.next_attempt_at
    return asdict(row) | {"next_attempt_at": None if due_at is None else instant_text(due_at)}


async def replay_one(request: web.Request) -> web.StreamResponse:
    """`POST /-/deliveries/<id>/replay`: deliver it again now, whatever became of it."""
    text = request.match_info["delivery_id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFoundError("There is no such delivery.")
    return await _replay(request, delivery_id=int(text), app_id=None, build_id=None)


async def replay_given_up(request: web.Request) -> web.StreamResponse:
    """`POST /-/deliveries/replay?app_id=&build_id=`: everything that was given up on, of one app or build."""
    app_id = request.query.get("app_id")
    if app_id is None:
        raise InvalidRequestError("Name the app whose deliveries to replay.", field="app_id")
    build_id = request.query.get("build_id")
    store = request.app[PORTS].store
    if build_id is None and not await store.has_app(app_id):
        raise NotFoundError(f"No build of {app_id} was ever accepted.")
    if build_id is not None and await store.build_of(app_id, build_id, request[STANDING]) is None:
        raise NotFoundError(f"There is no build {build_id} of {app_id}.")
    return await _replay(request, delivery_id=None, app_id=app_id, build_id=build_id)


async def _replay(
    request: web.Request, *, delivery_id: int | None, app_id: str | None, build_id: str | None
) -> web.StreamResponse:
    replayed = await request.app[PORTS].store.replay(delivery_id=delivery_id, app_id=app_id, build_id=build_id)
    if delivery_id is not None and not replayed:
        raise NotFoundError("There is no such delivery.")
    return json_answer({"status": "OK", "replayed": replayed})
