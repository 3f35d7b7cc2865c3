"""Sources: their kinds, fetchers and archives. Here: fetched bytes, and the limits of a source."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FetchedSource:
    """The fetched bytes in a local file, their number, their SHA-256 in lower-case hex, and the declared type.

    `commit` and `branch` are those of a git source; `branch` None = the request named a tag or a commit.
    """

    path: Path
    size_bytes: int
    sha256: str
    content_type: str
    commit: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """The largest source that is accepted; the first two limits are settings of the service.

    An archive is refused as a bomb if it expands to more than `max_ratio` times its size and to more than
    `ratio_from_bytes`.
    """

    max_source_bytes: int
    max_expanded_bytes: int
    max_ratio: int = 200
    ratio_from_bytes: int = 64 * 1024 * 1024
    max_entries: int = 500_000
