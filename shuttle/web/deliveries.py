"""The ledger of status deliveries for operators: list them, and deliver again."""

import re
from dataclasses import asdict, replace

from aiohttp import web

from shuttle.clock import Clock
from shuttle.delivery import DeliveryState
from shuttle.errors import ConflictError, InvalidRequestError, NotFoundError, StoreError
from shuttle.events import instant_text
from shuttle.store.builds import has_app
from shuttle.store.ledger import DeliveryRow, find_deliveries, replay_batch, replay_delivery
from shuttle.store.permitted import newest_of_pair
from shuttle.web import SERVICES, STANDING
from shuttle.web.answers import json_answer
from shuttle.web.builds import WHOLE_NUMBER
from shuttle.web.description import Parameter, describe
from shuttle.web.event_models import Deliveries, DeliveryEntry, Replayed
from shuttle.web.storable import query_text

_MOST = 200
# Each transaction of a replay takes some 20 ms; requests for builds are recorded between two of them.
_REPLAYED_AT_ONCE = 500
_OF_APP = Parameter("app_id", {"type": "string"}, "Only of this app.")
_OF_BUILD = Parameter("build_id", {"type": "string"}, "Only of this build.")


@describe(
    Deliveries,
    errors=(InvalidRequestError, StoreError),
    parameters=(_OF_APP, _OF_BUILD, Parameter("state", {"enum": list(DeliveryState)}, "Only in this state.")),
)
async def list_deliveries(request: web.Request) -> web.StreamResponse:
    """`GET /-/deliveries?app_id=&build_id=&state=`: newest first, 200 at most."""
    state = request.query.get("state")
    if state is not None and state not in set(DeliveryState):
        raise InvalidRequestError(f"Choose one of: {', '.join(DeliveryState)}.", field="state")
    rows = await request.app[SERVICES].database.run(
        find_deliveries,
        app_id=query_text(request, "app_id"),
        build_id=query_text(request, "build_id"),
        state=None if state is None else DeliveryState(state),
        limit=_MOST,
    )
    return json_answer(Deliveries(deliveries=[delivery_entry(row, request.app[SERVICES].clock) for row in rows]))


def delivery_entry(row: DeliveryRow, clock: Clock) -> DeliveryEntry:
    """The delivery for display; its next attempt is converted to the wall clock."""
    due_at = row.next_attempt_at and clock.shown(row.next_attempt_at)
    return DeliveryEntry(**asdict(row) | {"next_attempt_at": None if due_at is None else instant_text(due_at)})


@describe(Replayed, errors=(NotFoundError, ConflictError, StoreError))
async def replay_one(request: web.Request) -> web.StreamResponse:
    """`POST /-/deliveries/<id>/replay`: deliver it again now, in whatever state it is."""
    text = request.match_info["delivery_id"]
    if not re.fullmatch(WHOLE_NUMBER, text):
        raise NotFoundError("There is no such delivery.")
    services = request.app[SERVICES]
    found = await services.database.run(replay_delivery, int(text), services.vault.open)
    if not found.chosen:
        raise NotFoundError("There is no such delivery.")
    _refuse_unsendable(len(found.chosen), len(found.unsendable))
    return json_answer(Replayed(replayed=1))


@describe(
    Replayed,
    errors=(InvalidRequestError, NotFoundError, ConflictError, StoreError),
    parameters=(replace(_OF_APP, required=True), _OF_BUILD),
)
async def replay_given_up(request: web.Request) -> web.StreamResponse:
    """`POST /-/deliveries/replay?app_id=&build_id=`: send again what was given up for an app or a build."""
    app_id = query_text(request, "app_id")
    if app_id is None:
        raise InvalidRequestError("Name the app whose deliveries are to be replayed.", field="app_id")
    build_id = query_text(request, "build_id")
    database, unseal = request.app[SERVICES].database, request.app[SERVICES].vault.open
    if build_id is None and not await database.run(has_app, app_id):
        raise NotFoundError(f"There is no app {app_id}: no build of it was ever accepted.")
    if build_id is not None and await database.run(newest_of_pair, app_id, build_id, request[STANDING]) is None:
        raise NotFoundError(f"There is no build {build_id} of {app_id}.")
    chosen, unsendable, after = 0, 0, 0
    while (
        batch := await database.run(
            replay_batch, unseal, app_id=app_id, build_id=build_id, after=after, limit=_REPLAYED_AT_ONCE
        )
    ).chosen:
        chosen, unsendable, after = chosen + len(batch.chosen), unsendable + len(batch.unsendable), batch.chosen[-1]
    _refuse_unsendable(chosen, unsendable)
    return json_answer(Replayed(replayed=chosen))


def _refuse_unsendable(chosen: int, unsendable: int) -> None:
    """Raise ConflictError if some were left alone, although the others are sent again."""
    if unsendable:
        raise ConflictError(
            f"{unsendable} of {chosen} deliveries cannot be sent again, because the key of their receivers is missing;"
            " add that key to SHUTTLE_ENCRYPTION_KEYS."
        )
