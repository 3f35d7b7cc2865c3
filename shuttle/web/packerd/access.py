"""Who may call packer over REST: callers with a token; on its own listener all, with SHUTTLE_PACKERD_ANONYMOUS."""

from aiohttp import web

from shuttle.errors import NotAcceptableError
from shuttle.lifecycle import Services
from shuttle.settings.values import is_loopback
from shuttle.web import Handler, Route
from shuttle.web.auth import Gate
from shuttle.web.sites import Sites

_JSON_RANGES = frozenset({"application/json", "application/*", "*/*"})


def packerd_gate(services: Services) -> Gate:
    """The gate of the listener SHUTTLE_PACKERD_BIND; SHUTTLE_PACKERD_ANONYMOUS admits callers without a token."""
    settings = services.settings
    tokens, checks_tokens = settings.shuttle_tokens, "with SHUTTLE_TOKENS set"
    if settings.shuttle_packerd_anonymous:
        tokens, checks_tokens = (), f"{checks_tokens} and without SHUTTLE_PACKERD_ANONYMOUS"
    host = "localhost" if settings.packerd_address is None else settings.packerd_address[0]
    own_urls = (services.public_url, *settings.shuttle_aliases)
    sites = Sites(own_urls, addresses_too=not is_loopback(host), unchecked_with=checks_tokens)
    return Gate(tokens, sites, legacy_anonymous=False)


def guard_packerd(gate: Gate, route: Route) -> Handler:
    """The route's handler, restricted to callers that have its role and accept JSON."""
    guarded = gate.guard(route.handler, route.role)

    async def checked(request: web.Request) -> web.StreamResponse:
        _check_accept(request)
        return await guarded(request)

    return checked


def _check_accept(request: web.Request) -> None:
    """Raises NotAcceptableError (406) if the caller does not accept JSON; errors are JSON nevertheless."""
    sent = ",".join(request.headers.getall("Accept", []))
    if not sent.strip() or "follow" in request.query:
        return
    ranges = [each.partition(";") for each in sent.lower().split(",")]
    if not any(kind.strip() in _JSON_RANGES and not _is_refused(rest) for kind, _, rest in ranges):
        raise NotAcceptableError("Accept application/json.")


def _is_refused(parameters: str) -> bool:
    """Whether the weight of a media range is 0."""
    weights = [each.strip().removeprefix("q=") for each in parameters.split(";") if each.strip().startswith("q=")]
    return bool(weights) and not weights[0].strip("0.")
