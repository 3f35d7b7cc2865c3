"""Responses of a starting Jenkins; a test enters the phases one by one.

Recorded: connections are refused (`EmulatedJenkins.close`), then accepted but not answered, then 503, then 401 for a
valid token, then 503 again, then normal responses. `EmulatedJenkins.load` ends the start.
"""

import asyncio
from enum import StrEnum

from aiohttp import web

from jenkins_emulator.answers import Answers, RefusedError


class Phase(StrEnum):
    """How requests are answered."""

    SILENT = "accepted, not answered until the next phase"
    STARTING = "503"
    DENYING = "401, also for a valid token"
    UP = "answered"


class Startup:
    """The current phase of the start."""

    def __init__(self) -> None:
        """Begin without answering requests."""
        self._phase = Phase.SILENT
        self._changed = asyncio.Event()
        self._is_closing = False

    def enter(self, phase: Phase) -> None:
        """Enter a phase; it also applies to the requests that a silent phase held."""
        self._is_closing = False
        self._phase = phase
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """End the start because the server closes: held requests lose their connection."""
        self._is_closing = True
        self._changed.set()

    async def refusal(self, request: web.Request, answers: Answers) -> web.StreamResponse | None:
        """The response of this phase, None once requests are answered normally."""
        while self._phase is Phase.SILENT and not self._is_closing:
            await self._changed.wait()
        is_read = request.method in ("GET", "HEAD")
        if self._is_closing:
            if request.transport is not None:
                request.transport.abort()
            return answers.starting(is_read=is_read)
        match self._phase:
            case Phase.STARTING:
                return answers.starting(is_read=is_read)
            case Phase.DENYING if "Authorization" in request.headers:
                return _denied(answers)
            case Phase.DENYING:
                return answers.starting(is_read=is_read)
        return None


def _denied(answers: Answers) -> web.StreamResponse:
    refused: RefusedError = answers.unauthorized("unknown")
    return refused.response
