"""A caller's standing: what it may do. Every action takes it as an argument, so that no route has its own rules."""

from enum import IntEnum, StrEnum


class Standing(IntEnum):
    """Each standing includes the lower ones. ANONYMOUS (SHUTTLE_LEGACY_ANONYMOUS) is for callers without a token.

    An anonymous caller may only use the older API's builds in apps that a request of the older API created.
    """

    ANONYMOUS = 0
    READER = 1
    CONTROLLER = 2


class TokenRole(StrEnum):
    """The role of a token in SHUTTLE_TOKENS."""

    CONTROLLER = "controller"
    READER = "reader"

    @property
    def standing(self) -> Standing:
        """What a caller with such a token may do."""
        return Standing[self.name]
