"""Imitates a supervisor: makes the calls of a build's agent without a shell and a process."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp

FULL_PUSH_BYTES = 4 * 1024 * 1024
# Pauses after calls without a response, like those of the real supervisor.
_FAILED_PAUSES_SECONDS = (0.5, 0.5, 1, 1, 2, 2, 5)


@dataclass
class Supervisor:
    """Pushes the main stream of one build. `form` has the parameters of the Jenkins build; `session` is the agent's.

    `offset` is the next byte that the shuttle wants, `pause_seconds` the pause that it requested before the next call.
    """

    session: aiohttp.ClientSession
    url: str
    form: dict[str, str]
    offset: int = 0
    pause_seconds: float = 0.0
    failures: int = 0
    _run_token: str = ""

    async def begin(self) -> None:
        """Claim the build and call `begin`."""
        claim = {"number": 1, "nonce": uuid4().hex}
        tokens = await self._answer("claim", self.form["SHUTTLE_TOKEN"], json=claim)
        self._run_token = tokens["run_token"]
        await self._answer("begin", tokens["setup_token"])

    async def push(self, raw: bytes, *, ended: bool = False) -> bool:
        """Push bytes that begin at `offset`; False = there was no response, so push them again."""
        end = "&end=1&exit=0" if ended else ""
        what = f"log?stream=main&offset={self.offset}{end}"
        try:
            async with self._call(what, self._run_token, data=raw) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return self._failed()
        if response.status == 503:  # the database was too slow
            return self._failed()
        if response.status != 409:  # after a crash the shuttle may request bytes again that it had acknowledged
            _checked(response)
        self.failures = 0
        self.offset = int(response.headers["Shuttle-Log-Offset"])
        self.pause_seconds = float(response.headers.get("Shuttle-Log-Pause", "0.2"))
        return True

    async def _answer(self, what: str, token: str, **sent: object) -> Any:
        """Call until the answer is not a 503."""
        while True:
            async with self._call(what, token, **sent) as response:
                if response.status != 503:
                    return await _checked(response).json()
            await asyncio.sleep(_FAILED_PAUSES_SECONDS[0])

    def _failed(self) -> bool:
        self.pause_seconds = _FAILED_PAUSES_SECONDS[min(self.failures, len(_FAILED_PAUSES_SECONDS) - 1)]
        self.failures += 1
        return False

    async def push_all(self, raw: bytes, *, ended: bool = False) -> None:
        """Push all bytes in as many calls as necessary, with the pauses that the responses name."""
        until = self.offset + len(raw)
        while self.offset < until or ended:
            begin = len(raw) - (until - self.offset)
            part = raw[begin : begin + FULL_PUSH_BYTES]
            is_last = self.offset + len(part) == until
            answered = await self.push(part, ended=ended and is_last)
            if answered and is_last:
                break
            await asyncio.sleep(self.pause_seconds)

    def _call(self, what: str, token: str, **sent: object) -> "aiohttp.client._RequestContextManager":
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        if "json" in sent:
            del headers["Content-Type"]
        url = f"{self.url}/-/builds/{self.form['BUILD_UUID']}/{what}"
        return self.session.post(url, headers=headers, **sent)  # type: ignore[arg-type]


def _checked(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    if response.status != 200:
        raise SystemExit(f"unexpected: {response.status} from {response.url.path}")
    return response
