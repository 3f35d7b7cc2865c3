"""Secrets in a log: every form in which one may be printed, found by one automaton and replaced by `[secret]`."""

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

MASK = b"[secret]"
# Shorter values are found in ordinary words: masking them would tear every log and hide nothing.
MIN_SECRET_BYTES = 6
# `base64` wraps at 76 columns (RFC 2045), `openssl base64` and PEM at 64 (RFC 7468).
_WRAP_COLUMNS = (76, 64)
# What encodeURIComponent leaves as it is beyond what `quote` does.
_JAVASCRIPT_SAFE = "!'()*~"
# The vectorised search takes up to 64 patterns: 0.2 ms a megabyte for each such group, 2.6 ms for all in one automaton
# that has more (measured). A dozen groups would be as slow as that one.
_PATTERNS_OF_A_GROUP = 64
_MOST_GROUPS = 8
_LINE_END = re.compile(rb"\r?\n")
_ESCAPE = re.compile(rb"%[0-9A-F]{2}")


class Masker:
    """Replaces secrets in text made of whole lines; no pattern spans a line, so any split at lines masks alike."""

    def __init__(self, secrets: Iterable[str]) -> None:
        patterns = sorted({pattern for secret in secrets for pattern in _patterns(secret)})
        # The same patterns twice: the leftmost kind has a vectorised search that passes clean text up to 10 times
        # faster, but only the standard kind reports matches that overlap. NFAs, because a thousand builds hold a pair
        # each: 16 KB a secret (measured), where tables (DFA) take many times that.
        self._finders = [_automaton(group, MatchKind.LeftmostLongest) for group in _groups(patterns)]
        self._matches = _automaton(patterns, MatchKind.Standard)
        self.longest_bytes = max(map(len, patterns), default=0)

    def mask(self, text: bytes) -> bytes:
        """`text` with every secret replaced; forms that overlap are replaced together, so none leaves a half."""
        return self.mask_up_to(text, len(text))

    def mask_up_to(self, text: bytes, end: int) -> bytes:
        """The first `end` bytes of `text`, masked; a secret that begins in them is masked whole, wherever it ends."""
        spans = self._spans(text)
        if not spans:
            return text[:end]
        parts: list[bytes] = []
        shown = 0
        for start, stop in _united(spans):
            if start >= end:
                break
            parts += (text[shown:start], MASK)
            shown = stop
        parts.append(text[shown:end])
        return b"".join(parts)

    def _spans(self, text: bytes) -> list[tuple[int, int]]:
        """Where secrets are, overlapping ones too: whatever overlaps with a find is behind it in its line."""
        finds = [first for finder in self._finders for _, first, _ in finder.find_matches_as_indexes(text)]
        spans: list[tuple[int, int]] = []
        looked_at = 0
        for first in sorted(finds):
            if first >= looked_at:
                line_end = text.find(b"\n", first)
                looked_at = line_end if line_end >= 0 else len(text)
                in_line = self._matches.find_matches_as_indexes(text[first:looked_at], overlapping=True)
                spans += ((first + start, first + stop) for _, start, stop in in_line)
        return spans


def _automaton(patterns: Sequence[bytes], kind: MatchKind) -> BytesAhoCorasick:
    return BytesAhoCorasick(patterns, kind, Implementation.ContiguousNFA)


def _groups(patterns: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    few = len(patterns) <= _MOST_GROUPS * _PATTERNS_OF_A_GROUP
    size = _PATTERNS_OF_A_GROUP if few else len(patterns)
    yield from (patterns[at : at + size] for at in range(0, len(patterns), size or 1))


def _united(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Overlapping spans as one; spans that only touch stay two."""
    first, last = -1, -1
    for start, stop in sorted(spans):
        if start < last:
            last = max(last, stop)
            continue
        if last > 0:
            yield first, last
        first, last = start, stop
    if last > 0:
        yield first, last


def _patterns(secret: str) -> Iterator[bytes]:
    for value in _values(secret):
        if len(value) < MIN_SECRET_BYTES:
            continue
        for form in (value, *_url_encoded(value), *_base64(value)):
            # A form of several lines (the whole of a multi-line value) is covered line by line.
            yield from (line for line in _LINE_END.split(form) if len(line) >= MIN_SECRET_BYTES)


def _values(secret: str) -> set[bytes]:
    """The value, its lines, and both without the blanks around them, which a shell drops; as bytes of the log.

    A lone surrogate is no text: it becomes what the log's own repair makes of its bytes.
    """
    whole = secret.encode(errors="surrogatepass").decode(errors="replace").encode()
    values = {whole, *_LINE_END.split(whole)}
    return {form for value in values for form in (value, value.strip()) if form}


def _url_encoded(value: bytes) -> Iterator[bytes]:
    for encoded in (quote(value, safe=""), quote(value), quote_plus(value), quote(value, safe=_JAVASCRIPT_SAFE)):
        upper = encoded.encode()
        yield upper
        yield _ESCAPE.sub(lambda escape: escape[0].lower(), upper)


def _base64(value: bytes) -> Iterator[bytes]:
    """The characters that `value` alone decides, for each of its three places in the groups of three bytes; and with
    what follows them when the value ends the encoded text."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value)
        first = (before * 8 + 5) // 6
        beyond = (before + len(value)) * 8 // 6
        ending = encoded[first:]
        forms = [encoded[first:beyond], ending, ending.rstrip(b"=")]
        if before == 0:
            forms += [encoded[at : at + columns] for columns in _WRAP_COLUMNS for at in range(0, len(encoded), columns)]
        for form in forms:
            yield form
            yield form.replace(b"+", b"-").replace(b"/", b"_")
