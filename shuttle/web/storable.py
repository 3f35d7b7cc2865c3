"""Refuses texts of callers that a database cannot store."""

from typing import Annotated

from aiohttp import web
from pydantic import AfterValidator

from shuttle.errors import InvalidRequestError
from shuttle.storable import is_storable


def query_text(request: web.Request, name: str) -> str | None:
    """The text of that name in the query; None if it is absent.

    Raises InvalidRequestError if a database cannot compare anything with it.
    """
    text = request.query.get(name)
    if text is not None and not is_storable(text):
        raise InvalidRequestError(f"Write {name} without NUL characters and lone surrogates.", field=name)
    return text


def _checked(text: str) -> str:
    if not is_storable(text):
        raise ValueError("write it without NUL characters and lone surrogates")
    return text


# It stands after a field's limits, so that pydantic checks the number of characters first, and names it.
STORABLE = AfterValidator(_checked)
Text = Annotated[str, STORABLE]
