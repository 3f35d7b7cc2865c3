"""Compares the meaning of a response with that of the recorded one.

Compared are the status, the form of Location, X-Error, X-Required-Permission, the presence of X-Jenkins and
X-More-Data, how X-Text-Size relates to offset and length, the kind of the body, and in JSON the keys that the shuttle's
client reads. Job names, queue items and build numbers differ: each recorded one is mapped to one of the server's, and
the mapping must hold throughout a scenario (two triggers that were the same item must be the same item here).
"""

import json
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

from yarl import URL

from tests.contract.jenkins.exchanges import Exchange
from tests.support.answer import Answer

READ_KEYS = {
    *("_class", "items", "id", "why", "cancelled", "executable", "number", "building", "result", "queueId", "actions"),
    *("parameters", "name", "value", "builds", "allBuilds", "description", "property", "parameterDefinitions"),
    *("anonymous", "crumb", "crumbRequestField", "quietingDown", "buildable"),
}
# Keys that only the newer generation has and that the shuttle reads there.
NEWER_KEYS = {"stuck", "blocked", "buildable", "inProgress", "executor", "idle", "task", "inQueue", "queueItem"}
# Each difference as text, with the recorded and the actual value.
Differences = Iterator[tuple[str, object, object]]


@dataclass
class Matches:
    """Maps recorded numbers to the server's numbers; a pair is fixed once it was seen, in both directions."""

    here: dict[tuple[str, int], int] = field(default_factory=dict)

    def same(self, kind: str, recorded: int, here: int) -> bool:
        key = (kind, recorded)
        if key not in self.here and not any(k == kind and value == here for (k, _), value in self.here.items()):
            self.here[key] = here
        return self.here.get(key) == here

    def item(self, recorded: int) -> int:
        """The queue item here; the recorded number itself if it was never mapped."""
        return self.here.get(("item", recorded), recorded)

    def build(self, job: str, recorded: int) -> int:
        return self.here.get((f"build of {job}", recorded), recorded)


@dataclass(frozen=True)
class Comparison:
    """Compares with a server at `url` whose job names are `prefix` + the recorded names; `ignoring` names JSON keys."""

    url: str
    prefix: str
    matches: Matches
    ignoring: frozenset[str] = frozenset()

    def differences(self, recorded: Exchange, query: str, answer: Answer) -> Differences:
        """`query` is the query that was sent in place of the recorded one."""
        keys = READ_KEYS | (NEWER_KEYS if recorded.generation == "2.568" else set())
        if recorded.status != answer.status:
            yield "status", recorded.status, f"{answer.status} {answer.body[:300]!r}"
            return
        before, now = recorded.answer_headers, {name.lower(): value for name, value in answer.headers.items()}
        for name in ("x-jenkins", "x-more-data", "x-text-size", "www-authenticate"):
            if (name in before) != (name in now):
                yield name, before.get(name), now.get(name)
        for name in ("x-error", "x-required-permission"):
            if before.get(name, "").strip() != self._recorded_names(now.get(name, "")).strip():
                yield name, before.get(name), now.get(name)
        yield from self._location(before.get("location"), now.get("location"))
        if "x-text-size" in before and "x-text-size" in now and recorded.method != "HEAD":
            yield from _log(recorded, query, answer, int(before["x-text-size"]), int(now["x-text-size"]))
        kinds = [headers.get("content-type", "").split(";")[0] for headers in (before, now)]
        if recorded.answer_bytes and kinds[0] != kinds[1]:
            yield "Content-Type", kinds[0], kinds[1]
        elif kinds[0] == "application/json" and recorded.answer_body:
            there, here = json.loads(recorded.answer_body), json.loads(self._recorded_names(answer.text))
            keys -= self.ignoring
            yield from self._json(self._read(there, keys), self._read(here, keys), "", _job_of(recorded, there))

    def _recorded_names(self, text: str) -> str:
        return text.replace(self.prefix, "")

    def _location(self, before: str | None, now: str | None) -> Differences:
        if before is None or now is None:
            if before != now:
                yield "Location", before, now
            return
        if not URL(before).is_absolute() or not URL(now).is_absolute():
            forms = [re.sub(r"/[0-9]+/$", "/N/", place) for place in (before, self._recorded_names(now))]
            if forms[0] != forms[1]:
                yield "Location's form", before, now
            return
        # Jenkins copies the host from the Host header: 127.0.0.1 is the server itself; another name came with the
        # recorded request.
        host = URL(self.url if URL(before).host == "127.0.0.1" else before).origin()
        if URL(now).origin() != host:
            yield "Location's host", before, now
        forms = [re.sub(r"[0-9]+/$", "N/", URL(place).path) for place in (before, self._recorded_names(now))]
        if forms[0] != forms[1]:
            yield "Location's form", before, now
        items = [re.search(r"/queue/item/([0-9]+)/$", place) for place in (before, now)]
        if items[0] and items[1] and not self.matches.same("item", int(items[0][1]), int(items[1][1])):
            yield "Location's item", before, now

    def _json(self, there: Any, here: Any, at: str, job: str) -> Differences:
        if isinstance(there, dict) and isinstance(here, dict):
            for key in sorted(there.keys() | here.keys()):
                if (key in there) != (key in here):
                    yield f"{at}.{key}", there.get(key, "absent"), here.get(key, "absent")
                else:
                    yield from self._json(there[key], here[key], f"{at}.{key}", job)
        elif isinstance(there, list) and isinstance(here, list):
            if at == ".items":
                there, here = self._of_this_scenario(there, here)
            if len(there) != len(here):
                yield f"length of {at}", there, here
            for index, (one, other) in enumerate(zip(there, here, strict=False)):
                yield from self._json(one, other, f"{at}[{index}]", job)
        elif not self._same_value(there, here, at.rpartition(".")[2], job):
            yield at, there, here

    def _of_this_scenario(self, there: list[Any], here: list[Any]) -> tuple[list[Any], list[Any]]:
        """The scenario's own items of a queue that others may use as well, with their recorded numbers."""
        known = {here: recorded for (kind, recorded), here in self.matches.here.items() if kind == "item"}
        ours = {known[item["id"]]: item for item in here if item["id"] in known}
        recorded = {item["id"]: item for item in there if item["id"] in known.values()}
        return [recorded[number] for number in sorted(recorded)], [ours[number] for number in sorted(ours)]

    def _same_value(self, there: Any, here: Any, key: str, job: str) -> bool:
        if isinstance(there, int) and isinstance(here, int) and not isinstance(there, bool):
            if key in {"id", "queueId"}:
                return self.matches.same("item", there, here)
            if key == "number":
                return self.matches.same(f"build of {job}", there, here)
        if key == "why" and isinstance(there, str) and isinstance(here, str):
            return _without_numbers(there) == _without_numbers(here)
        if key == "crumb":
            return isinstance(here, str) and bool(here)
        return bool(there == here)

    def _read(self, value: Any, keys: Set[str]) -> Any:
        """The keys that the client reads. Actions without parameters are dropped, the value of SECS is replaced."""
        if isinstance(value, list):
            return [self._read(entry, keys) for entry in value]
        if not isinstance(value, dict):
            return value
        if value.get("name") == "SECS" and "value" in value:
            value = value | {"value": "seconds"}
        read = {key: self._read(entry, keys) for key, entry in value.items() if key in keys}
        if isinstance(read.get("id"), str):
            del read["id"]  # a build has its number also here
        if "actions" in read:
            read["actions"] = [action for action in read["actions"] if action.get("parameters")]
        if "property" in read:
            read["property"] = [entry for entry in read["property"] if entry.get("parameterDefinitions")]
        return read


def _log(recorded: Exchange, query: str, answer: Answer, recorded_size: int, size: int) -> Differences:
    """Check how X-Text-Size relates to the requested start and the length of the body."""
    relations = {
        "X-Text-Size against start": (recorded_size - _start(recorded.query or recorded.body), size - _start(query)),
        "X-Text-Size against the body": (recorded_size - recorded.answer_bytes, size - len(answer.body)),
        "length of the body": (recorded.answer_bytes, len(answer.body)),
    }
    for what, (before, now) in relations.items():
        if _sign(before) != _sign(now):
            yield what, before, now


def _start(query: str) -> int:
    found = re.search(r"start=(-?[0-9]+)", query)
    return int(found[1]) if found else 0


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _without_numbers(why: str) -> str:
    return re.sub(r"ETA: [^)]*", "ETA", re.sub(r"Expires in .*", "Expires", re.sub(r"#[0-9]+", "#N", why)))


def _job_of(recorded: Exchange, body: dict[str, Any]) -> str:
    """The job of the builds in the response."""
    found = re.search(r"/job/([^/]+)(?:/[0-9]+)?/[^/]*(?:/json)?$", recorded.path)
    return found[1] if found else str(body.get("task", {}).get("name", ""))
