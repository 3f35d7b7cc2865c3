"""Jobs and folders with their directories; names ignore case, as in Jenkins."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from jenkins_emulator import config_xml
from jenkins_emulator.builds import Build
from jenkins_emulator.files import write_text
from jenkins_emulator.sealing import Seal

_UNSAFE = "?*/\\%!@#$^&|<>[]:;"


class BadNameError(Exception):
    """Jenkins refuses the name; the text is the value of X-Error."""


def check_name(name: str, *, refuses_trailing_dot: bool) -> None:
    """Check a name by Jenkins' rules, in Jenkins' order.

    Jenkins' messages have curly quotes; in X-Error each of them is a space, but not at the beginning (recorded).
    """
    if not name:
        raise BadNameError("No name is specified")
    if name in (".", ".."):
        raise BadNameError(f"{name}  is not an allowed name")
    for char in name:
        if ord(char) < 32 or ord(char) == 127:
            raise BadNameError("No control code is allowed")
        if char in _UNSAFE:
            raise BadNameError(f"{char}  is an unsafe character")
    if refuses_trailing_dot and name.endswith("."):
        raise BadNameError("A name cannot end with  . ")


class Job:
    """A pipeline job; create it through its folder."""

    def __init__(self, parent: "Folder", name: str, root: Element, seal: Seal) -> None:
        """`root` is the parsed config.xml."""
        self.parent = parent
        self.name = name
        self.directory = parent.directory / "jobs" / name
        self.builds: dict[int, Build] = {}
        self.next_number = 1
        self.is_deleted = False
        # Builds that have left the queue and have no number yet.
        self.starting = 0
        self._seal = seal
        self._set_root(root)

    @property
    def full_name(self) -> str:
        """The name with its folders: `folder/job`."""
        return f"{self.parent.full_name}/{self.name}".lstrip("/")

    @property
    def last_build(self) -> Build | None:
        """The newest."""
        return next(self.newest(), None)

    def newest(self) -> Iterator[Build]:
        """Newest first."""
        return iter(list(reversed(self.builds.values())))

    def running(self) -> Build | None:
        """The newest running build."""
        return next((build for build in self.newest() if build.is_building), None)

    def estimated_seconds(self) -> float | None:
        """The mean of the last three successful builds."""
        done = [build.duration_seconds for build in self.newest() if build.result == "SUCCESS"][:3]
        return sum(done) / len(done) if done else None

    def configure(self, root: Element) -> None:
        """Take a new config.xml."""
        config_xml.seal_defaults(root, self._seal)
        self._set_root(root)
        self.save()

    def save(self, *, rewritten: bool = False) -> None:
        """Write config.xml."""
        self.directory.mkdir(parents=True, exist_ok=True)
        write_text(self.directory / "config.xml", config_xml.write(self.root, rewritten=rewritten))

    def config_text(self) -> str:
        """The stored config.xml."""
        return (self.directory / "config.xml").read_text(encoding="utf-8")

    def set_disabled(self, *, disabled: bool) -> None:
        """Stop or allow new builds."""
        config_xml.set_disabled(self.root, disabled=disabled)
        self._set_root(self.root)
        self.save(rewritten=True)

    def describe(self, text: str) -> None:
        """Set the description."""
        config_xml.set_description(self.root, text)
        self._set_root(self.root)
        self.save(rewritten=True)

    def new_build(self, **facts: object) -> Build:
        """The next build, on disk and in memory."""
        build = Build(self, self.next_number, **facts)  # type: ignore[arg-type]  # checked by Build itself
        build.save(self._seal)
        self.next_number += 1
        write_text(self.directory / "nextBuildNumber", str(self.next_number))
        self.builds[build.number] = build
        return build

    def discard_old_builds(self) -> None:
        """Delete the oldest builds, as the build discarder says."""
        keep = self.definition.builds_to_keep
        if keep is not None:
            for build in [build for build in self.newest() if not build.is_building][keep:]:
                self.delete_build(build)

    def delete_build(self, build: Build) -> None:
        """Delete a build and its files; a running one continues without a record."""
        self.builds.pop(build.number, None)
        build.is_deleted = True
        shutil.rmtree(build.directory, ignore_errors=True)

    def load_builds(self) -> None:
        """Read the files of an earlier process."""
        numbers = [int(path.parent.name) for path in self.directory.glob("builds/*/build.json")]
        self.builds = {number: Build.load(self, number, self._seal) for number in sorted(numbers)}
        counter = self.directory / "nextBuildNumber"
        recorded = int(counter.read_text()) if counter.exists() else 1
        self.next_number = max([recorded, *(number + 1 for number in self.builds)])

    def _set_root(self, root: Element) -> None:
        self.root = root
        self.definition = config_xml.definition(root, self._seal)


class Folder:
    """A folder, or the root (without a name); names of items ignore case."""

    def __init__(self, parent: "Folder | None", name: str, directory: Path, seal: Seal) -> None:
        """`directory` contains `jobs/`."""
        self.parent = parent
        self.name = name
        self.directory = directory
        self.items: dict[str, Job | Folder] = {}
        self._seal = seal

    @property
    def full_name(self) -> str:
        """The name with the folders above."""
        return f"{self.parent.full_name}/{self.name}".lstrip("/") if self.parent is not None else ""

    def find(self, names: list[str]) -> "Job | Folder | None":
        """The item at a path of names, or None."""
        item: Job | Folder | None = self
        for name in names:
            item = item.items.get(name.lower()) if isinstance(item, Folder) else None
        return item

    def jobs(self) -> Iterator[Job]:
        """Every job in the folder and its subfolders."""
        for item in self.items.values():
            if isinstance(item, Folder):
                yield from item.jobs()
            else:
                yield item

    def add(self, name: str, root: Element) -> "Job | Folder":
        """Create an item from its config.xml."""
        directory = self.directory / "jobs" / name
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        if root.tag == config_xml.FOLDER_TAG:
            write_text(directory / "config.xml", config_xml.write(root))
        item = self._open(name, root)
        if isinstance(item, Job):
            item.configure(root)
        return item

    def remove(self, item: "Job | Folder") -> None:
        """Delete an item and all its files."""
        self.items.pop(item.name.lower(), None)
        for job in [item] if isinstance(item, Job) else item.jobs():
            job.is_deleted = True
            for build in job.builds.values():
                build.is_deleted = True
        shutil.rmtree(item.directory, ignore_errors=True)

    def load(self) -> None:
        """Read the files of an earlier process."""
        for config in sorted(self.directory.glob("jobs/*/config.xml")):
            item = self._open(config.parent.name, config_xml.read(config.read_bytes()))
            if isinstance(item, Folder):
                item.load()
            else:
                item.load_builds()

    def _open(self, name: str, root: Element) -> "Job | Folder":
        item: Job | Folder
        if root.tag == config_xml.FOLDER_TAG:
            item = Folder(self, name, self.directory / "jobs" / name, self._seal)
        else:
            item = Job(self, name, root, self._seal)
        self.items[name.lower()] = item
        return item
