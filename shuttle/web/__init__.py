"""The HTTP API: thin handlers, one module per resource. `routes` is the table of routes, `server` assembles it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING

from aiohttp import web

from shuttle.lifecycle import Services
from shuttle.lifecycle.accept import Acceptance
from shuttle.lifecycle.membership import Membership
from shuttle.standing import Standing
from shuttle.worker import Worker

if TYPE_CHECKING:
    from shuttle.web.auth import Gate
    from shuttle.web.body_room import BodyRoom
    from shuttle.web.callers import Callers
    from shuttle.web.error_forms import ErrorForm
    from shuttle.web.readiness import Readiness

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)
ACCEPTANCE: web.AppKey[Acceptance] = web.AppKey("acceptance", Acceptance)
# Typed by name, because their modules import this one.
BODY_ROOM: web.AppKey["BodyRoom"] = web.AppKey("body_room")
CALLERS: web.AppKey["Callers"] = web.AppKey("callers")
# The form of all errors of a listener; absent = it depends on the path.
ERROR_FORM: web.AppKey["ErrorForm"] = web.AppKey("error_form")
GATE: web.AppKey["Gate"] = web.AppKey("gate")
READINESS: web.AppKey["Readiness"] = web.AppKey("readiness")
MEMBERSHIP: web.AppKey[Membership] = web.AppKey("membership", Membership)
WORKER: web.AppKey[Worker] = web.AppKey("worker", Worker)
STARTED_AT: web.AppKey[datetime] = web.AppKey("started_at", datetime)
# The caller's standing, set by the gate; handlers pass it to every action.
STANDING: web.RequestKey[Standing] = web.RequestKey("standing", Standing)
# Set just before the headers of a streamed response are sent: from then on an error can only cut the connection.
STREAMING: web.RequestKey[bool] = web.RequestKey("streaming", bool)


class Role(IntEnum):
    """Who may call a route. A higher role includes the lower ones; AGENT routes check the build's own tokens."""

    ANYBODY = 0
    READER = 1
    CONTROLLER = 2
    AGENT = 3


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the table from which the router and the OpenAPI document are built."""

    method: str
    path: str
    handler: Handler
    role: Role
    summary: str
    # SHUTTLE_LEGACY_ANONYMOUS admits callers without a token here; the actions decide what they may do.
    open_to_anonymous: bool = False
    # Below `/-/state`: tokens and errors have the form that `bldst` expects, and a path may end with a slash.
    state_api: bool = False
    # The state token of a build is accepted as well.
    open_to_builds: bool = False
    # Other paths with the same placeholders that are answered alike.
    synonyms: tuple[str, ...] = ()
