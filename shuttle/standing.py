"""How much a caller may do: an argument of every action that callers cause, so that no route decides it alone."""

from enum import IntEnum


class Standing(IntEnum):
    """A higher one includes the lower ones. ANONYMOUS (SHUTTLE_LEGACY_ANONYMOUS) is for callers without a token.

    An anonymous caller may use the older API's builds in the older API's apps (those that a request of that API made),
    and nothing else.
    """

    ANONYMOUS = 0
    READER = 1
    CONTROLLER = 2
