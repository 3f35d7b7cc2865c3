"""The tree that unpacking would make: no path may have two meanings, and no link may lead out."""

import posixpath
from collections.abc import Iterator

from shuttle.sources.unpack.entries import Entry, RefusedError, damaged, show

# More than any program follows (Linux 40, Go 255): what is longer, or runs in a circle, leads nowhere.
_MAX_HOPS = 300


class Tree:
    """Gathers all entries of an archive; the one top-level directory is known only at the end.

    A path keeps the kind and the target of its first entry, so the order in which an agent unpacks cannot matter:
    nothing is written through a link, whether it came earlier or later. Only files may come twice; the last one wins.
    """

    def __init__(self, max_paths: int) -> None:
        self._max_paths = max_paths
        # Path to "" for a file, "/" for a directory, "@target" for a symlink: half a million need room.
        self._kinds: dict[str, str] = {}
        self._tops: set[str] = set()
        self._has_files = False

    def add(self, entry: Entry) -> None:
        """Take an entry.

        Raises:
            RefusedError: it contradicts an earlier entry, or is a hardlink to something that did not come earlier.
        """
        if not entry.path:
            if entry.kind != "directory":
                raise damaged("an entry without a name")
            return
        self.follow_hardlink(entry)
        self._has_files |= entry.kind != "directory"
        self._tops.add(entry.path.partition("/")[0])
        self._set(entry.path, {"symlink": f"@{entry.target}", "directory": "/"}.get(entry.kind, ""))
        for folder in _folders(entry.path):
            if self._kinds.get(folder) == "/":
                break
            self._set(folder, "/")

    def follow_hardlink(self, entry: Entry) -> None:
        """A hardlink to a symlink is one more symlink, and becomes one. Raises RefusedError."""
        if entry.kind != "hardlink":
            return
        kind = self._kinds.get(entry.target, "/")
        if kind == "/" or entry.target == entry.path:
            raise RefusedError(
                "archive_link_escapes",
                f"The hard link {show(entry.path)} leads to no file that came before it in the archive.",
            )
        if kind:
            entry.kind, entry.target = "symlink", kind[1:]

    def finish(self) -> str:
        """The one directory at the top that holds everything, with its slash; "" = there are several entries.

        Raises:
            RefusedError: there is no file at all, or a link leads out of what will be unpacked.
        """
        if not self._has_files:
            raise RefusedError("archive_empty", "The archive holds no files.")
        (top, *others) = self._tops
        prefix = f"{top}/" if not others and self._kinds[top] == "/" else ""
        links = {path.removeprefix(prefix): kind[1:] for path, kind in self._kinds.items() if kind[:1] == "@"}
        for path, target in links.items():
            if not _stays_inside(path, target, links):
                raise RefusedError("archive_link_escapes", f"The link {show(path)} in the archive leads out of it.")
        return prefix

    def _set(self, path: str, kind: str) -> None:
        known = self._kinds.setdefault(path, kind)
        if known != kind:
            if "@" in {known[:1], kind[:1]}:
                raise RefusedError(
                    "archive_link_escapes", f"The archive uses {show(path)} as a link and as something else."
                )
            raise RefusedError("archive_conflict", f"The archive has {show(path)} as a file and as a directory.")
        if len(self._kinds) > self._max_paths:
            raise RefusedError("archive_too_large", f"The archive makes more than {self._max_paths} files and folders.")


def _folders(path: str) -> Iterator[str]:
    """The folders that hold `path`, innermost first."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)


def _stays_inside(link: str, target: str, links: dict[str, str]) -> bool:
    """Walk as the kernel does, through every further link on the way; `..` at the root leads out.

    A circle has no end for the kernel; a program that takes its text for a path must stay inside, too.
    """
    here = link.split("/")[:-1]
    ahead: list[str] = []
    onward: str | None = target
    for _ in range(_MAX_HOPS):
        if onward is None:
            return not ahead
        if onward.startswith("/"):
            return False
        ahead.append(onward)
        onward = _walk(here, ahead, links)
    return not posixpath.normpath(posixpath.join(posixpath.dirname(link), target)).startswith("..")


def _walk(here: list[str], ahead: list[str], links: dict[str, str]) -> str | None:
    """Go on until a link's text comes up, or None: at the end (nothing ahead), or outside (something ahead)."""
    while ahead:
        part, _, rest = ahead.pop().partition("/")
        if rest:
            ahead.append(rest)
        if part == "..":
            if not here:
                ahead.append(part)
                return None
            here.pop()
        elif part not in {"", "."}:
            onward = links.get("/".join([*here, part]))
            if onward is not None:
                return onward
            here.append(part)
    return None
