"""Packs the modules of bldst for download: as one file that Python runs, and as a wheel.

The bytes depend on nothing but the modules: every replica of a version hands out the same file with the same checksum.
"""

import base64
import functools
import hashlib
import io
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from bldst import __version__

_PROJECT = "buildstate-cli"
_WHEEL_NAME = f"buildstate_cli-{__version__}"
_OLDEST_PYTHON = "3.8"
_MAIN = b"import sys\n\nfrom bldst.__main__ import main\n\nsys.exit(main())\n"
_METADATA = f"""\
Metadata-Version: 2.1
Name: {_PROJECT}
Version: {__version__}
Summary: The command line of the build state API of Build Shuttle
License: Apache-2.0
Requires-Python: >={_OLDEST_PYTHON}
"""
_WHEEL = "Wheel-Version: 1.0\nGenerator: build-shuttle\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_ENTRY_POINTS = "[console_scripts]\nbldst = bldst.__main__:main\n"


@functools.cache
def bldst_file() -> bytes:
    """Return the program as one file: `python3 bldst` and `./bldst` run it."""
    return b"#!/usr/bin/env python3\n" + _archive({**_modules(), "__main__.py": _MAIN})


@functools.cache
def wheel() -> tuple[str, bytes]:
    """Return the name and the content of the wheel."""
    folder = f"{_WHEEL_NAME}.dist-info"
    described = {
        f"{folder}/METADATA": _METADATA.encode(),
        f"{folder}/WHEEL": _WHEEL.encode(),
        f"{folder}/entry_points.txt": _ENTRY_POINTS.encode(),
    }
    contents = {**_modules(), **described}
    record = f"{folder}/RECORD"
    lines = [*(_record_line(name, content) for name, content in contents.items()), f"{record},,\n"]
    return f"{_WHEEL_NAME}-py3-none-any.whl", _archive({**contents, record: "".join(lines).encode()})


def _modules() -> dict[str, bytes]:
    """The modules of the package by their path, sorted."""
    return dict(sorted(_found("bldst", files("bldst"))))


def _found(path: str, folder: Traversable) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _found(f"{path}/{entry.name}", entry)
        elif entry.name.endswith(".py"):
            yield f"{path}/{entry.name}", entry.read_bytes()


def _archive(contents: dict[str, bytes]) -> bytes:
    """Return a zip file. It is not compressed, because what zlib makes differs between its versions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            member.create_system = 3
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return buffer.getvalue()


def _record_line(name: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"
