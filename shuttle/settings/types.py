"""The types of settings: their limits, and how a text of the environment becomes a value."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from shuttle.settings.values import read_delays

MIB = 1024 * 1024
GIB = 1024 * MIB

# 31 years, and 100 years for a number of days: instants at these distances can still be computed and recorded.
MAX_SECONDS = 1e9
Seconds = Annotated[float, Field(gt=0, le=MAX_SECONDS)]
Days = Annotated[float, Field(le=36_500)]
PerSecond = Annotated[float, Field(gt=0, le=1e6)]
# Numbers that fit into the columns and the limits of the databases.
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=1, le=2**62)]


def from_text(read: Callable[[str], Any]) -> BeforeValidator:
    """Parse the setting if it is a string from the environment; values from code are used unchanged."""
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


def checked(check: Callable[[str], object]) -> AfterValidator:
    """Refuse a secret for whose text `check` raises ValueError."""

    def validated(value: SecretStr) -> SecretStr:
        check(value.get_secret_value())
        return value

    return AfterValidator(validated)


def _checked_delays(delays: tuple[float, ...]) -> tuple[float, ...]:
    """The unchanged delays; raises ValueError if there is none, or if the instant after one cannot be recorded."""
    if not delays or not all(0 <= seconds <= MAX_SECONDS for seconds in delays):
        raise ValueError(f"write at least one delay, each from 0 to {MAX_SECONDS:.0f}")
    return delays


Delays = Annotated[tuple[float, ...], from_text(read_delays), AfterValidator(_checked_delays)]
