"""What `shuttle doctor` reports: one sentence for each thing that it tried, which says what to do."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether there is something to do."""

    FINE = "fine"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject."""

    verdict: Verdict
    subject: str
    sentence: str

    def as_json(self) -> dict[str, str]:
        """For programs."""
        return {"verdict": self.verdict.value, "subject": self.subject, "sentence": self.sentence}


def fine(subject: str, sentence: str) -> Finding:
    """Nothing to do."""
    return Finding(Verdict.FINE, subject, sentence)


def warning(subject: str, sentence: str) -> Finding:
    """The service works without it."""
    return Finding(Verdict.WARNING, subject, sentence)


def problem(subject: str, sentence: str) -> Finding:
    """The service does not work like this."""
    return Finding(Verdict.PROBLEM, subject, sentence)
