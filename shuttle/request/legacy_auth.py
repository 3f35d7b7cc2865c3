"""`gm_registry_auth`: a registry's credentials in the format of docker's clients."""

import base64
import binascii
from typing import Any

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.userinfo import Credentials

_FIELD = "gm_registry_auth"


def read_registry_auth(value: Any) -> Credentials | None:
    """User and password of `{"username": …, "password": …}` or `{"auth": <base64 of user:password>}`, or None.

    Raises:
        InvalidRequestError: the value has another form; the message never quotes it.
    """
    if value is None or value in ({}, ""):
        return None
    if not isinstance(value, dict):
        raise InvalidRequestError('Write {"username": "…", "password": "…"}.', field=_FIELD)
    user, password = value.get("username"), value.get("password")
    if user is None and password is None and isinstance(value.get("auth"), str):
        user, password = _decoded(value["auth"])
    if not isinstance(user, str) or not isinstance(password, str):
        raise InvalidRequestError("Give username and password as strings.", field=_FIELD)
    if not user:
        return None
    if any(not text.isprintable() for text in (user, password)) or ":" in user:
        raise InvalidRequestError(
            "Write username and password without control characters, the username without a colon.", field=_FIELD
        )
    return Credentials(user, password)


def _decoded(text: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        user, colon, password = "", "", ""
    if not colon:
        raise InvalidRequestError("Write auth as the base64 of user:password.", field=_FIELD)
    return user, password
