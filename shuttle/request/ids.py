"""The ids of apps and builds in paths."""

import re
from urllib.parse import unquote_to_bytes

from shuttle.errors import InvalidRequestError

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,127}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Slashes, control characters (Unicode's category Cc) and halves of surrogate pairs (Cs).
_FORBIDDEN = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MAX_CHARACTERS = 128
# The beginning of a percent-escape at the end of a cut id.
_CUT_ESCAPE = re.compile(r"%[0-9A-F]?$")
# The uuid of an app, with or without dashes: existing clients send either. The spelling is kept, because it is a part
# of the app's id.
APP_UUID = re.compile(rf"{UUID.pattern}|[0-9a-f]{{32}}", re.IGNORECASE)
_LEGACY_APP = re.compile(rf"(?P<app>.+)-(?P<app_uuid>{APP_UUID.pattern})", re.IGNORECASE | re.DOTALL)


def legacy_app(app_id: str) -> tuple[str, str] | None:
    """Name and uuid of an app `<app>-<app_uuid>` of the older API, or None if the id has another form."""
    match = _LEGACY_APP.fullmatch(app_id)
    return None if match is None else (match["app"], match["app_uuid"])


def decode_id(field: str, raw_segment: str) -> str:
    """The id in a raw path segment: percent-decoded once, case kept (docs/contract.md, "Ids").

    Raises:
        InvalidRequestError: `field` (`app_id` or `build_id`) is invalid; the message gives the rule.
    """
    if _PLAIN.fullmatch(raw_segment):
        return raw_segment
    if _BAD_ESCAPE.search(raw_segment):
        raise InvalidRequestError(f"Write the {field} with complete percent escapes, like %20.", field=field)
    try:
        decoded = unquote_to_bytes(raw_segment.encode("utf-8", "surrogateescape")).decode()
    except UnicodeError:
        raise InvalidRequestError(f"Percent-encode the {field} as UTF-8.", field=field) from None
    return check_id(field, decoded)


def check_id(field: str, decoded: str) -> str:
    """The id, if it is valid.

    Raises:
        InvalidRequestError: see `decode_id`.
    """
    if not 1 <= len(decoded) <= _MAX_CHARACTERS:
        raise InvalidRequestError(f"Use 1 to {_MAX_CHARACTERS} characters for the {field}.", field=field)
    if decoded in {".", "..", "-"}:
        raise InvalidRequestError(f"Use another {field} than '.', '..' and '-'.", field=field)
    if decoded != decoded.strip():
        raise InvalidRequestError(f"Begin and end the {field} with something other than a space.", field=field)
    if _FORBIDDEN.search(decoded):
        raise InvalidRequestError(f"Leave '/', '\\' and control characters out of the {field}.", field=field)
    return decoded


def extended_id(decoded: str, ending: str, *, room: int = 0) -> str:
    """The id with this ending. If it were too long, the id is cut before it, for `room` more characters as well.

    The ids of records have escaped characters (`build_id_of`), each of which is kept or left out as a whole.
    """
    kept = _MAX_CHARACTERS - len(ending) - room
    return (decoded if len(decoded) <= kept else _CUT_ESCAPE.sub("", decoded[: max(kept, 1)])) + ending
