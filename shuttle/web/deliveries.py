"""The ledger of status deliveries for operators: list them, and deliver again."""

import re
from dataclasses import asdict, replace

from aiohttp import web

from shuttle.clock import Clock
from shuttle.delivery import DeliveryState
from shuttle.errors import InvalidRequestError, NotFoundError, StoreError
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


@describe(Replayed, errors=(NotFoundError, StoreError))
async def replay_one(request: web.Request) -> web.StreamResponse:
    """`POST /-/deliveries/<id>/replay`: deliver it again now, in whatever state it is."""
    text = request.match_info["delivery_id"]
    if not re.fullmatch(WHOLE_NUMBER, text):
        raise NotFoundError("There is no such delivery.")
    if not await request.app[SERVICES].database.run(replay_delivery, int(text)):
        raise NotFoundError("There is no such delivery.")
    return json_answer(Replayed(replayed=1))


@describe(
    Replayed,
    errors=(InvalidRequestError, NotFoundError, StoreError),
    parameters=(replace(_OF_APP, required=True), _OF_BUILD),
)
async def replay_given_up(request: web.Request) -> web.StreamResponse:
    """`POST /-/deliveries/replay?app_id=&build_id=`: send again what was given up for an app or a build."""
    app_id = query_text(request, "app_id")
    if app_id is None:
        raise InvalidRequestError("Name the app whose deliveries are to be replayed.", field="app_id")
    build_id = query_text(request, "build_id")
    database = request.app[SERVICES].database
    if build_id is None and not await database.run(has_app, app_id):
        raise NotFoundError(f"There is no app {app_id}: no build of it was ever accepted.")
    if build_id is not None and await database.run(newest_of_pair, app_id, build_id, request[STANDING]) is None:
        raise NotFoundError(f"There is no build {build_id} of {app_id}.")
    replayed, after = 0, 0
    while chosen := await database.run(
        replay_batch, app_id=app_id, build_id=build_id, after=after, limit=_REPLAYED_AT_ONCE
    ):
        replayed, after = replayed + len(chosen), chosen[-1]
    return json_answer(Replayed(replayed=replayed))
