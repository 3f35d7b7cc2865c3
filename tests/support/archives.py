"""Makes valid and invalid archives for tests, and reads their contents."""

import gzip
import io
import os
import subprocess
import tarfile
import zipfile

from shuttle.sources import SourceLimits

MIB = 1024 * 1024
LONG_NAME = "ä" * 60 + "long" * 20

SMALL_LIMITS = SourceLimits(
    max_source_bytes=1, max_expanded_bytes=40_000_000, max_ratio=200, ratio_from_bytes=4_000_000, max_entries=50
)


def entry(name, content=b"", **fields):
    """The header and the content of a tar entry; `fields` are attributes of the header."""
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for field, value in fields.items():
        setattr(header, field, value)
    return header, content


def symlink(name, target):
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hardlink(name, target):
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def folder(name, **fields):
    return entry(name, type=tarfile.DIRTYPE, **fields)


def tar(*entries, tar_format=tarfile.PAX_FORMAT, **options):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tar_format, **options) as archive:
        for header, content in entries:
            archive.addfile(header, io.BytesIO(content))
    return out.getvalue()


def gzipped(content, level=1):
    """A gzip without a time: pytest names tests after these bytes, and parallel workers need equal names."""
    return gzip.compress(content, level, mtime=0)


def tar_gz(*entries, **options):
    return gzipped(tar(*entries, **options))


def zipped(*entries, compression=zipfile.ZIP_DEFLATED):
    """Entries are (name or ZipInfo, bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content in entries:
            # With a plain name, zipfile would write the current time.
            archive.writestr(zipfile.ZipInfo(name) if isinstance(name, str) else name, content, compression)
    return out.getvalue()


def unix(name, mode, create_system=3):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.create_system = create_system
    return info


def record(key, value):
    """A record of a pax header: its own length, a space, key=value, a line feed."""
    line = b" " + key + b"=" + value + b"\n"
    length = len(line) + 1
    while len(str(length)) + len(line) != length:
        length += 1
    return str(length).encode() + line


def extended_header(records):
    """A tar with one file whose pax header has `records`."""
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    header.size = len(records)
    return header.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512) + tar(entry("a", b"1"))


def git_archives(directory):
    """A small repository as `git archive` packs it: tar, tar.gz and zip, with the prefix p-1.0/."""
    directory.mkdir()
    (directory / "sub").mkdir()
    (directory / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (directory / "sub" / "run.sh").chmod(0o755)
    (directory / "link").symlink_to("sub/run.sh")
    (directory / LONG_NAME).write_text("x")
    identity = {"GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(directory), "PATH": os.environ["PATH"]}
    for person in ("AUTHOR", "COMMITTER"):
        identity |= {f"GIT_{person}_NAME": "n", f"GIT_{person}_EMAIL": "e@x"}

    def git(*command):
        return subprocess.run(["git", *command], cwd=directory, env=identity, check=True, capture_output=True).stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "x")
    return [git("archive", f"--format={form}", "--prefix=p-1.0/", "HEAD") for form in ("tar", "tar.gz", "zip")]


def packed_sparse(directory, size_bytes, end=b"", tar_format="gnu"):
    """A tar by GNU tar with a sparse file: a hole of `size_bytes`, followed by `end`."""
    path = directory / "sparse"
    with path.open("wb") as file:
        file.truncate(size_bytes)
        file.seek(size_bytes)
        file.write(end)
    command = ["tar", "--sparse", f"--format={tar_format}", "-cf", "-", "-C", str(directory), "sparse"]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    path.unlink()
    return packed


def contents(path):
    """Map each path to its bytes, or to a text that describes a folder or link."""
    found = {}
    with tarfile.open(path, "r:gz") as archive:
        for header in archive:
            if header.isreg():
                found[header.name] = archive.extractfile(header).read()
            else:
                found[header.name] = {tarfile.DIRTYPE: "folder"}.get(header.type, f"-> {header.linkname}")
    return found
