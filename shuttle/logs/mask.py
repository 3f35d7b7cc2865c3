"""Finds secrets in a log, in every form in which they may be printed."""

import base64
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from urllib.parse import quote, quote_plus

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

MASK = b"[secret]"
# Shorter values occur in ordinary words: masking them would make logs unreadable and hide nothing.
MIN_SECRET_BYTES = 6
# `base64` wraps at 76 columns (RFC 2045), `openssl base64` and PEM at 64 (RFC 7468).
_WRAP_COLUMNS = (76, 64)
# Characters that encodeURIComponent does not encode and `quote` does.
_JAVASCRIPT_SAFE = "!'()*~"
# The vectorised search takes up to 64 patterns: 0.2 ms a megabyte for each such group, 2.6 ms for all in one automaton
# that has more (measured). A dozen groups would be as slow as that one.
_PATTERNS_OF_A_GROUP = 64
_MOST_GROUPS = 8
_LINE_END = re.compile(rb"\r?\n")
_ESCAPE = re.compile(rb"%[0-9A-F]{2}")


class Masker:
    """Finds secrets in text. No pattern spans a line, so lines may be searched together or one by one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        patterns = sorted({pattern for secret in secrets for pattern in _patterns(secret)})
        # The leftmost kind has a vectorised search, up to 10 times faster in text without secrets, but it reports no
        # overlapping matches. NFAs, because each of a thousand builds has its own: a secret of 25 characters takes
        # 5 KB in all (measured); DFA tables take many times that.
        self._finders = [_automaton(group, MatchKind.LeftmostLongest) for group in _groups(patterns)]
        # Overlapping matches are searched by heads: they have one length, so only one matches at a place. Patterns that
        # are prefixes of each other would all match (50 of them in 50 KB of one letter: 5 s and 800 MiB, measured).
        by_head = {head: list(group) for head, group in groupby(patterns, key=_head)}
        self._heads = list(by_head)
        self._patterns_of = [sorted(group, key=len, reverse=True) for group in by_head.values()]
        self._head_finder = _automaton(self._heads, MatchKind.Standard)
        self.longest_bytes = max(map(len, patterns), default=0)

    def spans(self, text: bytes) -> list[tuple[int, int]]:
        """(start, end) of the secrets, in order; overlapping forms are one span, so no part stays visible."""
        finds = [find[1:] for finder in self._finders for find in finder.find_matches_as_indexes(text)]
        spans: list[tuple[int, int]] = []
        covered = 0
        for start, stop in sorted(finds):
            if start >= covered:
                covered = self._span_end(text, start, stop)
                spans.append((start, covered))
        return spans

    def _span_end(self, text: bytes, start: int, end: int) -> int:
        """The end of the span that begins with the match `start` to `end` and includes all matches that overlap it."""
        while start < end:
            searched = end
            heads = text[start : searched + MIN_SECRET_BYTES - 1]
            for head, at, _ in self._head_finder.find_matches_as_indexes(heads, overlapping=True):
                end = self._match_end(text, start + at, head, end)
            start = searched
        return end

    def _match_end(self, text: bytes, start: int, head: int, end: int) -> int:
        """The end of the longest match at `start`, or `end` if that is greater."""
        for pattern in self._patterns_of[head]:
            if start + len(pattern) <= end:
                break
            if text.startswith(pattern, start):
                return start + len(pattern)
        return end

    def pending_bytes(self, line: bytes) -> int:
        """The length of the longest suffix of an unfinished line that may be the beginning of a secret."""
        tail = line[max(0, len(line) - self.longest_bytes + 1) :]
        for head, start, _ in self._head_finder.find_matches_as_indexes(tail, overlapping=True):
            end = tail[start:]
            if any(len(pattern) > len(end) and pattern.startswith(end) for pattern in self._patterns_of[head]):
                return len(end)
        for length in range(min(len(tail), MIN_SECRET_BYTES - 1), 0, -1):
            if self._begins_head(tail[-length:]):
                return length
        return 0

    def _begins_head(self, text: bytes) -> bool:
        at = bisect_left(self._heads, text)
        return at < len(self._heads) and self._heads[at].startswith(text)


def _head(pattern: bytes) -> bytes:
    return pattern[:MIN_SECRET_BYTES]


def _automaton(patterns: Sequence[bytes], kind: MatchKind) -> BytesAhoCorasick:
    return BytesAhoCorasick(patterns, kind, Implementation.ContiguousNFA)


def _groups(patterns: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    few = len(patterns) <= _MOST_GROUPS * _PATTERNS_OF_A_GROUP
    size = _PATTERNS_OF_A_GROUP if few else len(patterns)
    yield from (patterns[at : at + size] for at in range(0, len(patterns), size or 1))


def _patterns(secret: str) -> Iterator[bytes]:
    for value in _values(secret):
        if len(value) < MIN_SECRET_BYTES:
            continue
        for form in (value, *_url_encoded(value), *_base64(value)):
            # A form of several lines (the whole of a multi-line value) is covered line by line.
            yield from (line for line in _LINE_END.split(form) if len(line) >= MIN_SECRET_BYTES)


def _values(secret: str) -> set[bytes]:
    """The value, its lines, and both without the blanks around them, which a shell drops; as bytes of the log.

    A lone surrogate becomes what the log's repair of invalid UTF-8 makes of its bytes.
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
    """The base64 characters that depend on `value` alone, for each of its three alignments; also with the
    characters that follow them where the value ends the encoded text."""
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
