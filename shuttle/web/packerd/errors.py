"""Errors that only packer over REST has; every error of its routes is `{"code": number, "message": sentence}`.

The numbers are those of packerd: 4 for what is unknown, 601 to 604 of go-swagger for wrong shapes. That of
any other error is its HTTP status.
"""

from enum import IntEnum

from shuttle.errors import ShuttleError


class Number(IntEnum):
    """The `code` of an error whose number is not its HTTP status."""

    UNKNOWN = 4
    TYPE = 601
    REQUIRED = 602
    TOO_LONG = 603
    TOO_SHORT = 604


class PackerdError(ShuttleError):
    """An error with a number of its own."""

    def __init__(self, message: str, number: Number) -> None:
        super().__init__(message)
        self.number = number


class UnknownError(PackerdError):
    """There is no such request, run or stage."""

    status = 400
    code = "unknown"

    def __init__(self, message: str = "non-existiant build request") -> None:
        super().__init__(message, Number.UNKNOWN)


class WrongShapeError(PackerdError):
    """A field or a part of the path is missing, has another type, or is too short or too long."""

    status = 422
    code = "wrong_shape"
