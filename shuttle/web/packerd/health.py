"""The health of the service in the form of packer over REST."""

import asyncio
import math
import shutil
from pathlib import Path
from typing import Literal

from aiohttp import web

from shuttle.errors import NotAcceptableError
from shuttle.web import READINESS, SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.description import describe
from shuttle.web.packerd.models import Health
from shuttle.web.readiness import OK

_POOR_PERCENT = 90
_BAD_PERCENT = 95
_FULL_PERCENT = 100


@describe(Health, errors=(NotAcceptableError,))
async def get_health(request: web.Request) -> web.StreamResponse:
    """`GET /health`: always 200; `err` while the database or Jenkins is away."""
    states = await request.app[READINESS].states()
    if not states["database"] == states["jenkins"] == OK:
        return json_answer(health_without_services())
    percent = await asyncio.to_thread(_percent_full, request.app[SERVICES].settings.shuttle_data_dir)
    return json_answer(Health(status=_status(percent), diskpercentfull=percent, goroutines=len(asyncio.all_tasks())))


def health_without_services() -> Health:
    """The health while the database or Jenkins is away."""
    return Health(status="err", diskpercentfull=_FULL_PERCENT, goroutines=len(asyncio.all_tasks()))


def _percent_full(folder: Path) -> int:
    """How full the disk of the folder is, for this user, rounded up."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return _FULL_PERCENT
    return math.ceil(_FULL_PERCENT * usage.used / max(1, usage.used + usage.free))


def _status(percent: int) -> Literal["ok", "poor", "bad"]:
    if percent > _BAD_PERCENT:
        return "bad"
    return "poor" if percent > _POOR_PERCENT else "ok"
