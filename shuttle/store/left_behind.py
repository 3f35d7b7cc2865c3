"""What a build has left for one that resumes it, together with what the build that it resumes itself has left."""

from typing import NamedTuple

from shuttle.build import Build
from shuttle.store.builds import find_build
from shuttle.store.record_artifacts import ArtifactRow, references_and_files
from shuttle.store.record_variables import VariableRow, variables_of
from shuttle.store.tx import Tx


class LeftArtifact(NamedTuple):
    """An artifact, and the build that has made it."""

    build: Build
    row: ArtifactRow


def line_of(tx: Tx, build: Build) -> list[Build]:
    """The build, the one that it resumes, and so on, as far as they are recorded.

    A build does not repeat the states before the one at which it begins, so it lacks what these have made.
    """
    line = [build]
    while (older := line[-1].resume_from) is not None and (found := find_build(tx, older)) is not None:
        line.append(found)
    return line


def artifacts_left(tx: Tx, line: list[Build]) -> list[LeftArtifact]:
    """The resumable artifacts. Of several with the same name only the newest build's counts."""
    left, names = [], set[str]()
    for build in line:
        rows = references_and_files(tx, build.build_uuid)
        left += [LeftArtifact(build, row) for row in rows if row.resumable and row.name not in names]
        names |= {row.name for row in rows}
    return left


def variables_left(tx: Tx, line: list[Build]) -> list[VariableRow]:
    """The variables, sorted by name. Of several with the same name only the newest build's counts."""
    left = {row.name: row for build in reversed(line) for row in variables_of(tx, build.build_uuid)}
    return [left[name] for name in sorted(left)]
