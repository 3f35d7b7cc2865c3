"""The shape of the older API's body: its fields, and which of them are required."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from shuttle.errors import LegacyRefusalError
from shuttle.request.shape import refuse

# The words that existing clients know (docs/contract.md, "The older API").
MISSING_FIELDS = "Bad Request - missing fields."
INVALID_UUID = "Bad Request - build uuid is invalid."

_REQUIRED = ("sources", "app", "space", "app_uuid", "build_uuid")


class LegacyBody(BaseModel):
    """The body of `POST /`. `build_args`, `build_opts` and `build_options` have the same meaning."""

    model_config = ConfigDict(strict=True, extra="allow", hide_input_in_errors=True)

    app: str
    space: str
    app_uuid: str
    build_uuid: str
    sources: str
    build_number: Any = None
    callback: str | None = None
    callback_auth: str | None = None
    kafka_hosts: str | None = None
    gm_registry_host: str | None = None
    gm_registry_repo: str | None = None
    gm_registry_auth: Any = None
    docker_registry: Any = None
    docker_login: str | None = None
    docker_password: str | None = None
    build_args: Any = None
    build_opts: Any = None
    build_options: Any = None
    sha: Any = None
    branch: Any = None
    repo: Any = None
    org: Any = None


def read_legacy_shape(value: Any) -> LegacyBody:
    """Check the types of the body's fields.

    Raises:
        LegacyRefusalError: a required field is missing or empty.
        InvalidRequestError: a field has another type.
    """
    if not isinstance(value, dict) or not all(value.get(name) for name in _REQUIRED):
        raise LegacyRefusalError(MISSING_FIELDS)
    try:
        return LegacyBody.model_validate(value)
    except ValidationError as error:
        refuse(error, "")
