"""The URL of a CI system that is called once to resume a record: `orchestration_config.trigger_webhook`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from shuttle.build import Build
from shuttle.errors import InvalidRequestError
from shuttle.lifecycle import Services
from shuttle.lifecycle.new_endpoints import new_endpoints
from shuttle.outgoing.connector import address_policy
from shuttle.outgoing.endpoints import EndpointKind, PayloadFormat
from shuttle.outgoing.hooks import parse_hooks
from shuttle.store.resume_calls import NewCall

TRIGGER = "trigger_webhook"
TRIGGER_PATH = f"orchestration_config.{TRIGGER}"


class Trigger(NamedTuple):
    """The call, and the paths of the fields that have no meaning."""

    call: NewCall | None
    ignored_fields: tuple[str, ...]


def read_trigger(config: Mapping[str, Any] | None, body: Callable[[Build], bytes], services: Services) -> Trigger:
    """The call that a request to resume a record asks for; `body` makes the JSON that is sent.

    Raises:
        InvalidRequestError: it is not one http or https URL, or `{"url": …, "headers": {…}}`, or its host is an address
            to which the service does not connect; `field` names it.
    """
    given = (config or {}).get(TRIGGER)
    if given is None:
        return Trigger(None, ())
    hooks, ignored = parse_hooks(given, TRIGGER_PATH, address_policy(services.settings))
    endpoints = new_endpoints(hooks, PayloadFormat.RESUME, services.vault)
    if len(endpoints) != 1 or endpoints[0].kind is not EndpointKind.HTTP:
        raise InvalidRequestError("Write one http or https URL.", field=TRIGGER_PATH)
    return Trigger(NewCall(endpoints[0], body), tuple(ignored))


def without_trigger(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of `orchestration_config`, which every reader sees: the URL may have secrets."""
    return {name: value for name, value in config.items() if name != TRIGGER}
