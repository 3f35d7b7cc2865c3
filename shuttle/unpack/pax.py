"""Reads extended headers of tar files (pax) in linear time, and only the fields that a source needs.

The standard library searches them with regular expressions whose time grows with the square of their size (until
Python 3.11.10, CVE-2024-6232), and copies the fields of a global header for each entry.
"""

import tarfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple, Self

from shuttle.unpack.entries import MAX_RAW_NAME_BYTES, RefusedError

# No other field is needed: uid, gid and attributes are not kept, and a charset never changes how a name is decoded.
_FIELDS = frozenset({"path", "linkpath", "size", "mtime"})
_SPARSE_FIELDS = frozenset(
    f"GNU.sparse.{name}" for name in ("name", "size", "realsize", "map", "major", "minor", "offset", "numbytes")
)
_OFFSET, _NUMBYTES, _MAP = "GNU.sparse.offset", "GNU.sparse.numbytes", "GNU.sparse.map"
# The shortest record is `5 a=` and a line feed.
_SHORTEST_RECORD_BYTES = 5
# A header has at most 1 MiB, so 7 digits are enough. A record is malformed if no space follows them within this limit.
_MAX_LENGTH_DIGITS = 20


class Fields(NamedTuple):
    """The fields of a header; `offsets` and `sizes` are those of a sparse file's parts (version 0.0)."""

    values: dict[str, str]
    offsets: list[int]
    sizes: list[int]

    @classmethod
    def read(cls, block: bytes, encoding: str, errors: str, *, of_all_entries: bool) -> Self:
        """The fields in `block`. A sparse file's fields are not taken from a header that applies to all entries.

        Raises:
            tarfile.InvalidHeaderError, ValueError: the block is malformed.
            RefusedError: a value is too long.
        """
        fields = cls({}, [], [])
        for keyword, value in _records(block):
            name = keyword.decode(encoding, errors)
            if name == _OFFSET and not of_all_entries:
                fields.offsets.append(int(value))
            elif name == _NUMBYTES and not of_all_entries:
                fields.sizes.append(int(value))
            elif name in _FIELDS or (name in _SPARSE_FIELDS and not of_all_entries):
                if len(value) > MAX_RAW_NAME_BYTES and name != _MAP:
                    raise RefusedError(
                        "archive_too_large", f"The archive has an extended header whose {name} is too long."
                    )
                fields.values[name] = value.decode(encoding, errors)
        return fields

    def sparse_map(self, values: Mapping[str, str]) -> list[tuple[int, int]] | None:
        """The parts of a sparse file (versions 0.0 and 0.1); None = `values` name none."""
        if _MAP in values:
            numbers = [int(number) for number in values[_MAP].split(",")]
            return list(zip(numbers[::2], numbers[1::2], strict=False))
        if "GNU.sparse.size" in values:
            return list(zip(self.offsets, self.sizes, strict=False))
        return None


def _records(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keywords and values of `block`, which ends with its first NUL; a record is `LENGTH KEYWORD=VALUE\\n`."""
    start = 0
    while start < len(block) and block[start]:
        space = block.find(b" ", start, start + _MAX_LENGTH_DIGITS)
        length = block[start:space] if space > 0 else b""
        end = start + int(length) if length.isdigit() else 0
        keyword, separator, value = block[space + 1 : end - 1].partition(b"=")
        if end < start + _SHORTEST_RECORD_BYTES or block[end - 1 : end] != b"\n" or not keyword or not separator:
            raise tarfile.InvalidHeaderError("invalid header")  # type: ignore[attr-defined] # typeshed leaves it out
        yield keyword, value
        start = end
