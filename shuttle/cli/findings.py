"""The findings of `shuttle doctor`: one sentence for each check, which says what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether there is something to do."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    verdict: Verdict
    subject: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        """The finding for `--json`."""
        return {"verdict": self.verdict.value, "subject": self.subject, "sentence": self.sentence}


def fine(subject: str, sentence: str) -> Finding:
    """A finding that needs no action."""
    return Finding(Verdict.FINE, subject, sentence)


def warning(subject: str, sentence: str) -> Finding:
    """A finding that does not keep the service from working."""
    return Finding(Verdict.WARNING, subject, sentence)


def problem(subject: str, sentence: str) -> Finding:
    """A finding that keeps the service from working."""
    return Finding(Verdict.PROBLEM, subject, sentence)
