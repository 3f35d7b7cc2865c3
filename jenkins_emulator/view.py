"""For whom the JSON API shows something: under which address, in which generation, with what hidden."""

from dataclasses import dataclass

from jenkins_emulator.generations import Generation


@dataclass(frozen=True)
class View:
    """`base` is the scheme and host of the request; without `may_read` no job shows."""

    base: str
    generation: Generation
    may_read: bool
