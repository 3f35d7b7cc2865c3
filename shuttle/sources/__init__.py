"""Where code comes from: one fetcher a scheme, and the one place where archives of strangers are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """The original bytes in a local file: their count, SHA-256 as lower-case hex, and the type that was declared."""

    path: Path
    size_bytes: int
    sha256: str
    content_type: str


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """What a source may cost us: see the settings of the same names."""

    max_source_bytes: int
    max_expanded_bytes: int
    max_ratio: int = 200
    ratio_from_bytes: int = 64 * 1024 * 1024
    max_entries: int = 500_000


class SourceFetcher(Protocol):
    """Brings one scheme's source into a local file. Safe for any number of tasks of one loop."""

    async def fetch(self, url: str, into: Path, limits: SourceLimits, headers: Mapping[str, str]) -> FetchedSource:
        """Stream `url` (userinfo = credentials) into the file `into`, never whole in memory.

        The `headers` are sent to its host only.

        Raises:
            BuildFailedError: it will not get better (`source_not_found`, `source_refused`, `source_too_large`, …).
            UnavailableError: it may get better: the caller tries again until the stage timeout.
        """


Fetchers = Mapping[str, SourceFetcher]
