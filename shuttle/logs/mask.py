"""Finds secrets in a log, in all forms of `secret_forms`."""

from collections.abc import Iterable

from shuttle.logs.pattern_search import LINE_FEED, PatternSearch, Span, merged
from shuttle.logs.secret_forms import ESCAPES, base64_cores, printed_forms
from shuttle.logs.wrapped_base64 import WrappedBase64

MASK = b"[secret]"


class Masker:
    """Finds secrets in text. No pattern contains a line end, so lines can be searched together or one by one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        exact: set[bytes] = set()
        folded: set[bytes] = set()
        cores: set[bytes] = set()
        for secret in secrets:
            for form in printed_forms(secret):
                if any(escape in form for escape in ESCAPES):
                    folded.add(form.lower())
                else:
                    exact.add(form)
            cores.update(base64_cores(secret))
        self._wrapped = WrappedBase64(cores)
        self._exact = PatternSearch(exact, self._wrapped)
        self._folded = PatternSearch(folded)
        self.longest_bytes = max(self._exact.longest_bytes, self._folded.longest_bytes)

    def spans(self, text: bytes, previous: int = LINE_FEED, *, unfinished: bool = False) -> list[Span]:
        """(start, end) of the secrets, in order; overlapping forms are merged into one span.

        `previous` is the byte before the text. More bytes follow an `unfinished` text; a part that they may change is
        left out, because as a part of a merged span it would be masked before it is certain.
        """
        spans = self._exact.spans(text, previous, unfinished=unfinished)
        if self._folded.longest_bytes and any(escape in text for escape in ESCAPES):
            return merged([*spans, *self._folded.spans(text.lower(), previous, unfinished=unfinished)])
        return spans

    def pending_bytes(self, line: bytes, previous: int = LINE_FEED) -> int:
        """The length of the longest suffix of an unfinished line that may be the beginning of a secret."""
        tail = line[max(0, len(line) - self._folded.longest_bytes) :].lower()
        return max(
            self._exact.pending_bytes(line),
            self._folded.pending_bytes(tail),
            self._wrapped.pending_bytes(line, previous),
        )
