"""`shuttle submit --legacy`: the options as a request of the older API; missing ids are generated."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shuttle.cli.failures import ServiceRefusedError, UsageError

if TYPE_CHECKING:
    from shuttle.cli.client import ShuttleClient, Submission


@dataclass(frozen=True, slots=True)
class LegacySubmission:
    """A body for `POST /` and the ids of its build; `build_id` is None if the service numbers it."""

    app_id: str
    build_id: str | None
    build_uuid: str
    body: Mapping[str, Any] = field(repr=False)

    async def send(self, client: "ShuttleClient") -> "tuple[str, Submission]":
        """Send it; returns the build's number and the response."""
        try:
            submission = await client.submit_legacy(self.body)
        except ServiceRefusedError as error:
            if "gm_registry_host" in self.body:
                raise
            # The service's message has the wording that clients of the older API know.
            raise ServiceRefusedError(
                f"{error.message} Without --destination, DOCKER_REGISTRY_HOST and DOCKER_REPO of the service name the"
                " image."
            ) from None
        if self.build_id is not None:
            return self.build_id, submission
        try:
            return await client.number_of(self.app_id, self.build_uuid), submission
        except ServiceRefusedError as error:
            raise ServiceRefusedError(
                f"{self.app_id} is being built (uuid {self.build_uuid}), but its number is unknown: {error.message}"
            ) from None


def legacy_submission(
    app: str,
    number: str | None,
    *,
    space: str,
    source: str,
    destination: str,
    arguments: Mapping[str, str],
    callbacks: list[str],
    callback_auth: str,
    kafka_hosts: str,
) -> LegacySubmission:
    """The request for the options. An app is named by `<app>-<app_uuid>`, or its uuid is derived from name and space.

    The same app, space and number always give the same build uuid, so that sending it again is idempotent. Without a
    number each request is a new build. Raises UsageError.
    """
    name, app_uuid = _app_of(app, space)
    if number is not None and not (number.isascii() and number.isdigit()):
        raise UsageError(f"BUILD {number}: the older API needs a whole number; without one, the service chooses it.")
    if len(callbacks) > 1:
        raise UsageError("--status-webhook: the older API has only one callback; give one URL.")
    build_number = None if number is None else int(number)
    build_uuid = str(uuid.uuid4() if number is None else uuid.uuid5(uuid.UUID(app_uuid), f"{name}/{build_number}"))
    body = {
        "app": name,
        "space": space,
        "app_uuid": app_uuid,
        "build_uuid": build_uuid,
        "build_number": build_number,
        "sources": source,
        "build_args": arguments,
        "callback": callbacks[0] if callbacks else None,
        "callback_auth": callback_auth,
        "kafka_hosts": kafka_hosts,
        **_registry(destination),
    }
    filled = {name: value for name, value in body.items() if value not in (None, "", {})}
    build_id = None if build_number is None else str(build_number)
    return LegacySubmission(f"{name}-{app_uuid}", build_id, build_uuid, filled)


def _app_of(app: str, space: str) -> tuple[str, str]:
    from shuttle.request import legacy_app

    return legacy_app(app) or (app, str(uuid.uuid5(uuid.NAMESPACE_URL, f"shuttle:{space}/{app}")))


def _registry(destination: str) -> dict[str, Any]:
    """The registry and the repository for the images of all apps; the service appends the app's name."""
    if not destination:
        return {}
    from shuttle.errors import InvalidRequestError
    from shuttle.outgoing.image import parse_image

    try:
        image = parse_image(destination, "--destination")
    except InvalidRequestError as error:
        raise UsageError(f"--destination: {error.message}") from None
    if image.tag is not None or image.digest is not None:
        raise UsageError("--destination: leave the tag out; the older API tags 1.<number> and latest.")
    fields: dict[str, Any] = {"gm_registry_host": image.registry, "gm_registry_repo": image.repository}
    if image.credentials is not None:
        auth = {"username": image.credentials.user, "password": image.credentials.password}
        fields["gm_registry_auth"] = auth
    return fields
