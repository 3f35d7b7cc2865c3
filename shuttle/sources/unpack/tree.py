"""The tree that unpacking would make: no path may have two meanings, and none may pass through a link."""

from collections.abc import Iterator

from shuttle.sources.unpack.entries import Entry, RefusedError, damaged, show


class Tree:
    """Gathers all entries of an archive; the one top-level directory is known only at the end.

    A path keeps the kind of its first entry, so the order in which an agent unpacks cannot matter: nothing is written
    through a link, whether it came earlier or later. Files and links may come again as what they are; the last one
    wins. Where a symbolic link points does not matter.
    """

    def __init__(self, max_paths: int) -> None:
        self._max_paths = max_paths
        # Path to "" for a file, "/" for a directory, "@target" for a symlink: half a million need room.
        self._kinds: dict[str, str] = {}
        # Of paths that come more than once: how many entries are still superseded, and whether the last is a hard link.
        self._repeated: dict[str, tuple[int, bool]] = {}
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
        if entry.kind == "hardlink" and entry.target == entry.path:
            return
        if entry.kind != "directory" and entry.path in self._kinds:
            count, _ = self._repeated.get(entry.path, (0, False))
            self._repeated[entry.path] = count + 1, entry.kind == "hardlink"
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
        if kind == "/":
            raise RefusedError(
                "archive_link_escapes",
                f"The hard link {show(entry.path)} leads to no file that came before it in the archive.",
            )
        if kind:
            entry.kind, entry.target = "symlink", kind[1:]

    def finish(self) -> str:
        """The one directory at the top that holds everything, with its slash; "" = there are several entries.

        Raises:
            RefusedError: there is no file at all.
        """
        if not self._has_files:
            raise RefusedError("archive_empty", "The archive holds no files.")
        (top, *others) = self._tops
        return f"{top}/" if not others and self._kinds[top] == "/" else ""

    def is_superseded(self, entry: Entry) -> bool:
        """Whether it must not be unpacked: busybox does not replace by a link, or a link by another.

        A superseded file stays where a file follows, since a hard link between them means the first. GNU tar's hard
        link of a file to itself, for a file that was named twice, adds nothing. Ask once an entry, in their order.
        """
        if entry.kind == "hardlink" and entry.target == entry.path:
            return True
        count, ends_as_hardlink = self._repeated.get(entry.path, (0, False))
        if entry.kind == "directory" or not count:
            return False
        self._repeated[entry.path] = count - 1, ends_as_hardlink
        return entry.kind != "file" or ends_as_hardlink

    def _set(self, path: str, kind: str) -> None:
        known = self._kinds.setdefault(path, kind)
        if known[:1] == kind[:1] == "@":
            self._kinds[path] = kind
        elif known != kind:
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
