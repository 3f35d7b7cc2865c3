"""Durations in Jenkins' format: `4.9 sec`, `30 sec`, `20 min`, `1 hr 0 min`."""

_SECOND, _MINUTE, _HOUR, _DAY = 1000, 60_000, 3_600_000, 86_400_000


def span(seconds: float) -> str:
    """The duration in two units if the larger one has one digit, else in one.

    Below ten seconds it has tenths of a second, below one second hundredths; below 0.1 seconds it is in milliseconds.
    """
    millis = max(0, int(seconds * 1000))
    for size, name, smaller, smaller_name in (
        (_DAY, "day", _HOUR, "hr"),
        (_HOUR, "hr", _MINUTE, "min"),
        (_MINUTE, "min", _SECOND, "sec"),
    ):
        if millis >= size:
            count = millis // size
            label = f"{name}s" if name == "day" and count > 1 else name
            return f"{count} {label}" + (f" {millis % size // smaller} {smaller_name}" if count < 10 else "")
    if millis >= 10 * _SECOND:
        return f"{millis // _SECOND} sec"
    if millis >= _SECOND:
        return f"{_short(millis // 100 / 10)} sec"
    return f"{_short(millis // 10 / 100)} sec" if millis >= 100 else f"{millis} ms"


def _short(number: float) -> str:
    return f"{number:g}"


_UNITS = {"": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0}


def parse_delay(text: str) -> float:
    """The seconds of a `delay` parameter (`0`, `0sec`, `2min`); raises ValueError for other values."""
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text.strip()[len(digits) :].strip()
    if not digits.isdecimal() or unit not in _UNITS:
        raise ValueError(f"not a delay: {text!r}")
    return int(digits) * _UNITS[unit]
