"""A simple reference search: tries every form of every secret at every position."""

import re
from collections.abc import Iterator
from functools import lru_cache

from shuttle.logs.secret_forms import base64_cores, printed_forms
from shuttle.logs.wrapped_base64 import key_places

_RUN = re.compile(rb"[A-Za-z0-9+/_-]+")


@lru_cache(maxsize=2000)
def patterns_of(secrets: tuple[str, ...]) -> frozenset[bytes]:
    """All forms of all secrets."""
    return frozenset(form for secret in secrets for form in printed_forms(secret))


def naive_spans(text: bytes, secrets: tuple[str, ...]) -> list[tuple[int, int]]:
    """All matches of all forms, and parts of wrapped base64; overlapping ones are merged."""
    merged: list[tuple[int, int]] = []
    for start, stop in sorted([*_matches(text, secrets), *_parts(text, secrets)]):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _matches(text: bytes, secrets: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    for pattern in patterns_of(secrets):
        flags = re.IGNORECASE if re.search(rb"[\\%&]", pattern) else re.NOFLAG
        for match in re.finditer(b"(?=" + re.escape(pattern) + b")", text, flags):
            yield match.start(), match.start() + len(pattern)


def _parts(text: bytes, secrets: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    cores = {core for secret in secrets for core in base64_cores(secret)}
    for run in _RUN.finditer(text):
        for core in cores:
            for at in range(len(core)):
                # Only at the start of a run may the beginning of the core be missing.
                for start in range(run.start(), run.end()) if at == 0 else (run.start(),):
                    end = start + _common_bytes(text[start : run.end()], core[at:])
                    has_key = any(at <= key <= at + end - start - 6 for key in key_places(len(core)))
                    if end - start >= 8 and has_key and (end == run.end() or at + end - start == len(core)):
                        yield start, end


def _common_bytes(one: bytes, other: bytes) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(other)))
