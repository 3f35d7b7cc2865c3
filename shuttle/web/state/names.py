"""What a path below `/-/state` names: a uuid or a name, percent-decoded by the router."""

from aiohttp import web

from shuttle.errors import NotFoundError
from shuttle.storable import is_storable


def key_in(request: web.Request, parameter: str, noun: str) -> str:
    """The uuid or name in the path. NotFoundError if no database can store it, because then nothing has it.

    `noun` begins the sentence of the error, as in `Project not found`.
    """
    return _storable(request.match_info[parameter], noun)


def query_key(request: web.Request, parameter: str, noun: str) -> str | None:
    """The uuid or name in the query; None if it is absent. Raises NotFoundError as `key_in` does."""
    key = request.query.get(parameter)
    return None if key is None else _storable(key, noun)


def _storable(key: str, noun: str) -> str:
    if not is_storable(key):
        raise NotFoundError(f"{noun} not found")
    return key
