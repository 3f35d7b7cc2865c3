"""Searches text for many patterns at once: the union of all matches, and a suffix that may be the beginning of one.

The search has two passes. The first one searches the text for keys: the first bytes of the patterns, 16 at most, and
the keys of `Parts`. Each match is a candidate. The second one searches the text around a candidate for heads, the first
6 bytes of the patterns. There it compares the text with each pattern that begins with the head. The second pass is left
out where the text has an isolated pattern, because no other match can lie within such a pattern.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Protocol

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

Span = tuple[int, int]

LINE_FEED = 0x0A
# The length of a head, and so of the shortest pattern that is allowed.
HEAD_BYTES = 6
# A finder searches for keys instead of whole patterns: as a whole pattern, each form of a 100 KB secret would take
# 25 MB (measured).
_KEY_BYTES = 16
# The vectorised search takes up to 64 patterns. A group of that size takes 0.12 ms per megabyte; one automaton with
# more patterns takes 2.3 ms (measured), which is as long as twenty groups.
_PATTERNS_OF_A_GROUP = 64
_MAX_GROUPS = 16
# The search at a candidate covers this much: most secrets are shorter, and a second search would cost as much again.
_REGION_BYTES = 64
# Up to this many patterns with the same head are compared one by one.
_MAX_COMPARED_PATTERNS = 8
# A head that overlaps a match and extends beyond it begins at most this many bytes before the match's end.
_BEGUN_BYTES = HEAD_BYTES - 1
# Limits of isolated patterns: keys of shorter ones would match where there is no secret, and longer ones are rare and
# would take long to prepare.
_MIN_ISOLATED_BYTES = 17
_MAX_ISOLATED_BYTES = 256


class Parts(Protocol):
    """Finds parts of patterns; each part contains one of `keys`."""

    @property
    def keys(self) -> Iterable[bytes]:
        """Texts of `HEAD_BYTES` bytes; each span contains one."""

    @property
    def reach_bytes(self) -> int:
        """The longest distance of a span's ends from its key."""

    def around(self, text: bytes, at: int, previous: int, *, unfinished: bool) -> list[Span]:
        """The spans that contain the key at `at` and that bytes after an `unfinished` text cannot change.

        `previous` is the byte before the text.
        """


def _finders(keys: Sequence[bytes]) -> list[tuple[BytesAhoCorasick, Sequence[bytes]]]:
    """Automata, each with the list of its keys; together, their matches overlap every occurrence of a key.

    They report no overlapping matches, because only the leftmost kind has a vectorised search, up to 10 times faster in
    text without secrets. They are NFAs, because each of a thousand builds has its own: a secret of 25 characters takes
    5 KB in all (measured), and DFA tables take many times that.
    """
    return [(_automaton(group, MatchKind.LeftmostLongest), group) for group in _groups(keys)]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order; overlapping ones are merged."""
    result: list[Span] = []
    for start, end in sorted(spans):
        if result and start < result[-1][1]:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((start, end))
    return result


class PatternSearch:
    """Finds patterns of at least `HEAD_BYTES` bytes; `parts` finds further spans around its own keys of that size."""

    def __init__(self, patterns: Iterable[bytes], parts: Parts | None = None) -> None:
        ordered = sorted(set(patterns))
        part_keys = set(parts.keys) if parts is not None else set()
        keys = _shortest(part_keys.union(map(_key, ordered)))
        # Overlapping matches are searched by heads. All heads have the same length, so only one matches at a position.
        # Patterns that are prefixes of each other would all match (50 of them in 50 KB of one letter: 5 s and 800 MiB,
        # measured).
        by_head = {head: list(group) for head, group in groupby(ordered, key=_head)}
        self._heads = list(by_head)
        self._patterns_of = [sorted(group, key=len, reverse=True) for group in by_head.values()]
        self._tree_of = [
            _PrefixTree(group) if len(group) > _MAX_COMPARED_PATTERNS else None for group in by_head.values()
        ]
        all_heads = [*self._heads, *sorted(part_keys.difference(by_head))]
        self._head_finder = _automaton(all_heads, MatchKind.Standard)
        self._parts_at = [parts if head in part_keys else None for head in all_heads]
        # Each finder, with one entry for each of its keys: the isolated pattern that begins with the key, or b"".
        isolated = self._isolated(ordered)
        self._finders = [(finder, [isolated.get(key, b"") for key in group]) for finder, group in _finders(keys)]
        self.longest_bytes = max(map(len, ordered), default=0)

    def _isolated(self, ordered: Sequence[bytes]) -> dict[bytes, bytes]:
        """Isolated patterns by their keys, one for each key: no other match can lie within such a pattern.

        A match that overlaps its end begins after its key, and so has a candidate of its own. So where an isolated
        pattern is found, no further search is needed. Nearly all real secrets are isolated, and the general search
        takes 3 µs for each match (measured).
        """
        isolated: dict[bytes, bytes] = {}
        for pattern, following in pairwise([*ordered, b""]):
            if not following.startswith(pattern) and self._is_isolated(pattern):
                isolated.setdefault(_key(pattern), pattern)
        return isolated

    def _is_isolated(self, pattern: bytes) -> bool:
        if not _key_bytes(pattern) + _BEGUN_BYTES <= len(pattern) <= _MAX_ISOLATED_BYTES:
            return False
        (head, _, _), *_ = self._head_finder.find_matches_as_indexes(pattern[:HEAD_BYTES])
        return self._parts_at[head] is None and not self._head_finder.find_matches_as_indexes(pattern[1:])

    def spans(self, text: bytes, previous: int, *, unfinished: bool) -> list[Span]:
        """The union of all matches, in order; `previous` is the byte before the text."""
        spans: list[Span] = []
        parts: list[Span] = []
        searched = covered = 0
        for start, stop, isolated in self._candidates(text):
            if isolated and start >= searched and text.startswith(isolated, start):
                begin = start if start >= covered else spans.pop()[0]
                searched, covered = stop, start + len(isolated)
                spans.append((begin, covered))
                continue
            at, end = max(start, searched), max(stop, start + _REGION_BYTES, searched)
            # A match that extends beyond `end` may overlap others that begin after the candidate.
            while at < end:
                heads = text[at : end + HEAD_BYTES - 1]
                for head, offset, _ in self._head_finder.find_matches_as_indexes(heads, overlapping=True):
                    begin = at + offset
                    longest = self._match_end(text, begin, head, covered)
                    if longest:
                        spans.append((begin, longest) if begin >= covered else (spans.pop()[0], longest))
                        covered = longest
                    search = self._parts_at[head]
                    if search is not None and not _is_covered(begin, search.reach_bytes, spans):
                        parts += search.around(text, begin, previous, unfinished=unfinished)
                at, end = end, max(end, covered)
            searched = end
        return merged([*spans, *parts]) if parts else spans

    def _candidates(self, text: bytes) -> Sequence[tuple[int, int, bytes]]:
        """The matches of keys, in order: start, stop, and the isolated pattern with that key or b""."""
        candidates = [
            (start, stop, isolated[number])
            for finder, isolated in self._finders
            for number, start, stop in finder.find_matches_as_indexes(text)
        ]
        return candidates if len(self._finders) == 1 else sorted(candidates)

    def _match_end(self, text: bytes, start: int, head: int, covered: int) -> int:
        """The end of the longest match at `start`; 0 = none ends after `covered`."""
        if head < len(self._patterns_of):
            if (tree := self._tree_of[head]) is not None:
                return tree.match_end(text, start, covered)
            for pattern in self._patterns_of[head]:
                if start + len(pattern) <= covered:
                    break
                if text.startswith(pattern, start):
                    return start + len(pattern)
        return 0

    def pending_bytes(self, line: bytes) -> int:
        """The length of the longest suffix of an unfinished line that may be the beginning of a match."""
        tail = line[max(0, len(line) - self.longest_bytes + 1) :]
        for head, start, _ in self._head_finder.find_matches_as_indexes(tail, overlapping=True):
            end = tail[start:]
            patterns = self._patterns_of[head] if head < len(self._patterns_of) else ()
            if any(len(pattern) > len(end) and pattern.startswith(end) for pattern in patterns):
                return len(end)
        for length in range(min(len(tail), HEAD_BYTES - 1), 0, -1):
            if self._begins_head(tail[-length:]):
                return length
        return 0

    def _begins_head(self, text: bytes) -> bool:
        at = bisect_left(self._heads, text)
        return at < len(self._heads) and self._heads[at].startswith(text)


class _PrefixTree:
    """Patterns with the same head, searched by bisection: a thousand are too many to compare one by one."""

    def __init__(self, ordered: Sequence[bytes]) -> None:
        self._ordered = ordered
        self._longest_bytes = max(map(len, ordered))
        # For each pattern, the index of the longest other pattern that is its prefix, or -1.
        self._parents: list[int] = []
        for index, pattern in enumerate(ordered):
            parent = index - 1
            while parent >= 0 and not pattern.startswith(ordered[parent]):
                parent = self._parents[parent]
            self._parents.append(parent)

    def match_end(self, text: bytes, start: int, covered: int) -> int:
        """The end of the longest pattern in `text` at `start`; 0 = none ends after `covered`."""
        at = bisect_right(self._ordered, text[start : start + self._longest_bytes]) - 1
        while at >= 0 and start + len(self._ordered[at]) > covered:
            if text.startswith(self._ordered[at], start):
                return start + len(self._ordered[at])
            at = self._parents[at]
        return 0


def _is_covered(at: int, reach_bytes: int, spans: Sequence[Span]) -> bool:
    """Whether the last span covers `reach_bytes` on both sides of `at`."""
    return bool(spans) and spans[-1][0] <= at - reach_bytes and at + reach_bytes <= spans[-1][1]


def _shortest(keys: Iterable[bytes]) -> list[bytes]:
    """The keys without those that begin with another key: that shorter key is found in the same places."""
    shortest: list[bytes] = []
    for key in sorted(keys):
        if not shortest or not key.startswith(shortest[-1]):
            shortest.append(key)
    return shortest


def _head(pattern: bytes) -> bytes:
    return pattern[:HEAD_BYTES]


def _key(pattern: bytes) -> bytes:
    return pattern[: _key_bytes(pattern)]


def _key_bytes(pattern: bytes) -> int:
    """The length of a pattern's key: shorter in short isolated patterns, so that a head can begin after the key."""
    return _KEY_BYTES if len(pattern) < _MIN_ISOLATED_BYTES else min(_KEY_BYTES, len(pattern) - _BEGUN_BYTES)


def _automaton(patterns: Sequence[bytes], kind: MatchKind) -> BytesAhoCorasick:
    return BytesAhoCorasick(patterns, kind, Implementation.ContiguousNFA)


def _groups(patterns: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    few = len(patterns) <= _MAX_GROUPS * _PATTERNS_OF_A_GROUP
    size = _PATTERNS_OF_A_GROUP if few else len(patterns)
    yield from (patterns[at : at + size] for at in range(0, len(patterns), size or 1))
