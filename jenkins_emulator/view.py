"""The viewpoint of a JSON response: base address, generation and read permission of the request."""

from dataclasses import dataclass

from jenkins_emulator.generations import Generation


@dataclass(frozen=True)
class View:
    """`base` is the scheme and host of the request; without `may_read` no jobs are shown."""

    base: str
    generation: Generation
    may_read: bool
