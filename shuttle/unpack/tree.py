"""The tree of files that unpacking would make: a path has one kind, and no path leads through a link."""

from collections.abc import Iterator

from shuttle.unpack.entries import Entry, RefusedError, damaged, show


class Tree:
    """Collects the paths of all entries of an archive.

    A path keeps the kind of its first entry. So the order in which an agent unpacks does not matter, and nothing is
    written through a link, whether the link comes earlier or later. A file or link may be repeated with the same kind;
    the last one counts. A symbolic link may point anywhere.
    """

    def __init__(self, max_paths: int) -> None:
        self._max_paths = max_paths
        # For each path "" (file), "/" (directory) or "@target" (symlink). Short texts, as there may be half a million.
        self._kinds: dict[str, str] = {}
        # For each repeated path: how many of the entries that follow are superseded, and whether the last one is a hard
        # link.
        self._repeated: dict[str, tuple[int, bool]] = {}
        self._tops: set[str] = set()
        self._has_files = False

    def add(self, entry: Entry) -> None:
        """Add an entry.

        Raises:
            RefusedError: it contradicts an earlier entry, or is a hard link to a file that does not precede it.
        """
        if not entry.path:
            if entry.kind != "directory":
                raise damaged("an entry without a name")
            return
        entry = self.resolved(entry)
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

    def resolved(self, entry: Entry) -> Entry:
        """The entry; a symlink in the place of a hard link to a symlink. Raises RefusedError."""
        if entry.kind != "hardlink":
            return entry
        kind = self._kinds.get(entry.target, "/")
        if kind == "/":
            raise RefusedError(
                "archive_link_escapes",
                f"The hard link {show(entry.path)} does not point to a file that precedes it in the archive.",
            )
        return entry._replace(kind="symlink", target=kind[1:]) if kind else entry

    def finish(self) -> str:
        """The single top-level directory with a slash at its end; "" = there is more than one top-level entry.

        Raises:
            RefusedError: there are no files.
        """
        if not self._has_files:
            raise RefusedError("archive_empty", "The archive holds no files.")
        (top, *others) = self._tops
        return f"{top}/" if not others and self._kinds[top] == "/" else ""

    def is_superseded(self, entry: Entry) -> bool:
        """Whether to leave the entry out, because busybox does not replace a file by a link, or a link by another one.

        A superseded file is kept if the last entry of its path is a file, too: a hard link that precedes this last
        entry in the archive refers to the earlier file. A hard link of a file to itself, which GNU tar writes if the
        file was named twice, is left out. Call this method once for each entry, in the order of the archive.
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
            raise RefusedError("archive_too_large", f"The archive has more than {self._max_paths} files and folders.")


def _folders(path: str) -> Iterator[str]:
    """The parent folders of `path`, innermost first."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
