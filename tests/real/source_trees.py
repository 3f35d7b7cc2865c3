"""Generated trees of files like those of large public projects: thousands of files, the same in every run.

Each tree has the characteristics of its kind of project. The modes are those that git keeps.
"""

import random
from collections.abc import Callable
from pathlib import Path

_COUNT = 2000


class Tree:
    """A tree of files below `root` that tests fill."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = root
        self._random = random.Random(seed)

    def file(self, path: str, content: bytes | None = None, *, executable: bool = False) -> None:
        """A file. Without `content` it has a few hundred bytes, rarely some hundred thousand."""
        target = self._place(path)
        target.write_bytes(self._content() if content is None else content)
        target.chmod(0o755 if executable else 0o644)

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._place(path).symlink_to(target)

    def folder(self, path: str) -> None:
        """An empty folder."""
        self._place(f"{path}/x")

    def _place(self, path: str) -> Path:
        place = self._root / path
        for folder in reversed(place.relative_to(self._root).parents):
            (self._root / folder).mkdir(mode=0o755, exist_ok=True)
        return place

    def _content(self) -> bytes:
        size = self._random.choice([0, 1, 511, 512, 513, *[self._random.randrange(2000)] * 95])
        if self._random.random() < 0.002:
            size = 300_000
        return self._random.randbytes(size // 4) + b"text \r\n\t" * (size * 3 // 32)


def kernel(tree: Tree) -> None:
    """An operating system's: names that differ in case only, links between folders, many small headers."""
    for number in range(_COUNT):
        tree.file(f"drivers/net/ethernet/vendor{number % 60}/chip-{number}.{'ch'[number % 2]}")
    for name in ("TCPMSS", "tcpmss", "DSCP", "dscp", "MARK", "mark"):
        tree.file(f"include/uapi/linux/netfilter/xt_{name}.h")
    tree.link("arch/arm64/boot/dts/arm", "../../../arm/boot/dts/arm")
    tree.link("scripts/dtc/include-prefixes/dt-bindings", "../../../include/dt-bindings")
    tree.link("tools/build", "/usr/src/build")
    for name in ("scripts/checkpatch.pl", "scripts/config", "tools/run.sh"):
        tree.file(name, b"#!/usr/bin/perl\n", executable=True)


def javascript(tree: Tree) -> None:
    """A JavaScript monorepo with its modules: scopes, deep folders, links to programs and between packages."""
    for number in range(_COUNT):
        package = f"node_modules/@scope{number % 9}/package-{number % 200}"
        nested = "/node_modules/".join(f"dependency-{level}" for level in range(number % 4))
        tree.file(f"{package}/{nested}/dist/chunk.[hash]-{number}.js")
    for number in range(40):
        tree.file(f"node_modules/tool-{number}/bin/cli.js", b"#!/usr/bin/env node\n", executable=True)
        tree.link(f"node_modules/.bin/tool-{number}", f"../tool-{number}/bin/cli.js")
        tree.link(f"node_modules/workspace-{number}", f"../packages/workspace-{number}")
        tree.file(f"packages/workspace-{number}/package.json", b"{}\n")
    tree.file("packages/app/src/routes/[id]/(group)/@modal/page$.tsx")
    tree.file(".gitignore")


def python(tree: Tree) -> None:
    """A Python project with its virtual environment: links to the system's interpreter, names of many languages."""
    for number in range(_COUNT):
        tree.file(f"lib/package{number % 150}/tests/data/case {number}.txt")
    for name in ("python", "python3", "python3.11"):
        tree.link(f".venv/bin/{name}", "/usr/bin/python3")
    tree.link(".venv/lib64", "lib")
    tree.folder(".venv/include")
    for name in (
        "größe",
        "日本語",
        "emoji 😀",
        "e\u0301 and \u00e9",
        "back\\slash",
        "new\nline",
        "tab\t",
        "'\"$(id)`;&|",
        "-rf",
    ):
        tree.file(f"lib/tests/names/{name}/{name}.py")
    tree.file("lib/tests/__init__.py", b"")


def system(tree: Tree) -> None:
    """The overlay of a root file system: units that are masked, links to places of the running system."""
    for number in range(_COUNT):
        tree.file(f"usr/share/zoneinfo/Area{number % 30}/City_{number}")
    tree.link("etc/localtime", "/usr/share/zoneinfo/UTC")
    tree.link("etc/resolv.conf", "/run/resolv.conf")
    tree.link("etc/systemd/system/x.service", "/dev/null")
    tree.link("var/run", "/run")
    tree.link("proc-self", "/proc/self")
    tree.link("up", "../../../..")
    tree.link("loop", "loop")
    for number in range(300):
        tree.link(f"bin/applet-{number}", "busybox")
    tree.file("bin/busybox", executable=True)


def java(tree: Tree) -> None:
    """A Java project: long paths, and files of some megabytes of zeros and of noise."""
    for number in range(_COUNT):
        package = "/".join(f"component{level}" for level in range(5 + number % 10))
        tree.file(f"module-{number % 25}/src/main/java/org/example/{package}/AbstractFactoryOfThings{number}.java")
    name = "ClassWithAVeryLongName" * 11
    tree.file(f"module-0/src/test/{'/'.join([name] * 15)}/{name}.java")
    tree.file("gradlew", b"#!/bin/sh\n", executable=True)
    tree.file("lib/zeros.bin", bytes(3_000_000))
    tree.file("lib/noise.jar", random.Random(1).randbytes(3_000_000))


SHAPES: dict[str, Callable[[Tree], None]] = {
    shape.__name__: shape for shape in (kernel, javascript, python, system, java)
}
