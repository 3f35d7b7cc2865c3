"""Sources: the interface of the fetchers, one for each URL scheme, and the limits of a source."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """The fetched bytes in a local file, their number, their SHA-256 in lower-case hex, and the declared type."""

    path: Path
    size_bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """The largest source that is accepted; see the settings of the same names."""

    max_source_bytes: int
    max_expanded_bytes: int
    max_ratio: int = 200
    ratio_from_bytes: int = 64 * 1024 * 1024
    max_entries: int = 500_000


class SourceFetcher(Protocol):
    """Fetches sources of one URL scheme into a local file. Safe for any number of tasks of one event loop."""

    async def fetch(self, url: str, into: Path, limits: SourceLimits, headers: Mapping[str, str]) -> FetchedSource:
        """Stream `url` into the file `into`, without holding the whole source in memory.

        Userinfo in `url` is used as credentials. `headers` are sent to its host only.

        Raises:
            BuildFailedError: a retry is pointless (`source_not_found`, `source_refused`, `source_too_large`, …).
            UnavailableError: a retry may succeed; the caller retries until the stage's timeout.
        """


Fetchers = Mapping[str, SourceFetcher]
