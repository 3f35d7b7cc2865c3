"""Replays recorded exchanges against another Jenkins: the same requests, with that server's names and numbers."""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

import aiohttp
from yarl import URL

from tests.contract.jenkins.exchanges import Exchange, exchanges
from tests.contract.jenkins.meaning import Comparison, Matches
from tests.contract.jenkins.servers import ServerUnderTest
from tests.support.answer import Answer

# Names that are invalid because of the whole name: no prefix is added.
UNTOUCHED_NAMES = {"", ".."}


class Replay:
    """The conversation of a scenario; `replayed` has the ids of the compared exchanges."""

    def __init__(self, server: ServerUnderTest, http: aiohttp.ClientSession) -> None:
        self.server = server
        self.matches = Matches()
        self.replayed: list[str] = []
        self._http = http

    async def __call__(
        self,
        exchange: str,
        *,
        query: str | None = None,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        ignoring: frozenset[str] = frozenset(),
    ) -> Answer:
        """Send the recorded request with these parts replaced, and compare the response; `ignoring` names JSON keys."""
        recorded = exchanges(self.server.generation)[exchange]
        answer = await self._send(recorded, query, recorded.body if body is None else body, headers or {})
        self.replayed.append(exchange)
        comparison = Comparison(self.server.url, self.server.prefix, self.matches, ignoring)
        asked = (recorded.query or recorded.body) if query is None else query
        differences = list(comparison.differences(recorded, asked, answer))
        assert not differences, f"{recorded.name}: (what, recorded, here) = {differences}"
        return answer

    async def ask(
        self, method: str, path_qs: str, *, data: str | bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request outside the recording as the user with the token; the path is used unchanged."""
        return await self._request(method, path_qs, data, {**self.authorization("token"), **(headers or {})})

    def job(self, name: str) -> str:
        """The name here of a recorded job."""
        return self.server.prefix + name

    async def _send(self, recorded: Exchange, query: str | None, body: str, headers: Mapping[str, str]) -> Answer:
        # The recording has `<…>` in the place of a secret; the scenario says what is sent instead.
        sent = {name: value for name, value in recorded.headers.items() if name != "Authorization" and "<" not in value}
        sent |= self.authorization(recorded.authorization) | dict(headers)
        query = self._query_here(recorded.query if query is None else query)
        target = self._path_here(recorded.path) + (f"?{query}" if query else "")
        return await self._request(recorded.method, target, body or None, sent)

    async def _request(self, method: str, target: str, data: str | bytes | None, headers: Mapping[str, str]) -> Answer:
        url = URL(self.server.url + target, encoded=True)
        untyped = ["Content-Type"] if "Content-Type" not in headers else []
        sent = data.encode() if isinstance(data, str) else data
        async with self._http.request(
            method, url, data=sent, headers=headers, allow_redirects=False, skip_auto_headers=untyped
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    def authorization(self, whose: str) -> dict[str, str]:
        """The Authorization header of a user, or for `token`, `password` or user:password."""
        if whose == "nobody" or (whose == "token" and not self.server.credentials):
            return {}
        user, password = self.server.credentials[whose] if ":" not in whose else tuple(whose.split(":", 1))
        return {"Authorization": aiohttp.encode_basic_auth(user, password)}

    def _path_here(self, path: str) -> str:
        def job(match: re.Match[str]) -> str:
            number = f"/{self.matches.build(match[1], int(match[2]))}" if match[2] else ""
            return f"/job/{self.job(match[1])}{number}"

        path = re.sub(r"/job/([^/]+)(?:/([0-9]+)(?=/|$))?", job, path)
        return re.sub(r"(?<=/queue/item/)[0-9]+", lambda match: str(self.matches.item(int(match[0]))), path)

    def _query_here(self, query: str) -> str:
        def renamed(match: re.Match[str]) -> str:
            name = unquote(match[2])
            return match[0] if name in UNTOUCHED_NAMES else match[1] + quote(self.job(name), safe="")

        query = re.sub(r"((?:^|&)(?:name|value|from)=)([^&]*)", renamed, query)
        return re.sub(r"(?<=\bid=)[0-9]+", lambda match: str(self.matches.item(int(match[0]))), query)
