"""Creates the record of a build that another CI system runs."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from shuttle.build import Build, job_name_of
from shuttle.errors import InvalidRequestError
from shuttle.lifecycle import Services
from shuttle.lifecycle.new_endpoints import new_endpoints
from shuttle.outgoing.connector import AddressPolicy, address_policy
from shuttle.outgoing.endpoints import PayloadFormat
from shuttle.outgoing.hooks import Hook, parse_hooks
from shuttle.request import canonical_json, check_id, compact_json
from shuttle.store.projects import referred_project
from shuttle.store.records import DEFAULT_PROJECT, NewRecord, create_record
from shuttle.store.references import Kind, referred
from shuttle.store.tx import Tx

_UNSAFE = re.compile(r"[%/\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest:
    """A request for a record, by any of the routes that create one.

    `project` None = `default`. `number` None = the next number of the project. `references` are ids or names of
    reference data that must exist, `labels` are names that need not. `fields` has all other fields that are recorded.
    """

    project: str | None
    number: str | None
    references: Mapping[Kind, str]
    labels: Mapping[str, str]
    fields: Mapping[str, Any]
    metadata: Mapping[str, Any]
    state_code: int = 0
    parent: Build | None = None


@dataclass(frozen=True, slots=True)
class AcceptedRecord:
    """`is_new` False = an equal request has recorded it before. `ignored_fields`: paths of fields without a meaning."""

    build: Build
    is_new: bool
    ignored_fields: tuple[str, ...]


async def accept_record(request: RecordRequest, services: Services) -> AcceptedRecord:
    """Record the build; an equal request gets the recorded one.

    Raises:
        InvalidRequestError: a webhook or the number breaks a rule of the contract; `field` names it.
        NotFoundError: the project or a reference does not exist.
        ConflictError: a different request has recorded a build with this number.
    """
    hooks, ignored = _status_hooks(request.metadata, address_policy(services.settings))
    # The URLs of webhooks may have secrets; they are recorded as receivers, encrypted.
    metadata = {name: value for name, value in request.metadata.items() if name != "webhooks"}
    receivers = new_endpoints(hooks, PayloadFormat.STANDARD, services.vault)
    content = canonical_json(_comparable(request))
    folder = services.settings.shuttle_jenkins_folder or None

    def record(tx: Tx) -> tuple[Build, bool]:
        app_id = _app_of(tx, request)
        named = {kind.value: referred(tx, kind, key).name for kind, key in request.references.items()}
        new = NewRecord(
            build_uuid=str(uuid.uuid4()),
            app_id=app_id,
            build_id=None if request.number is None else build_id_of(request.number),
            job_name=job_name_of(app_id, folder),
            request_fingerprint=services.vault.fingerprint(content),
            same_request=partial(services.vault.matches, content),
            labels={**request.labels, **named},
            fields={**request.fields, **({} if request.number is None else {"build_number": request.number})},
            metadata_json=compact_json(metadata),
            state_code=request.state_code,
            parent_uuid=None if request.parent is None else request.parent.build_uuid,
            receivers=receivers,
        )
        return create_record(tx, new)

    return AcceptedRecord(*await services.database.run(record), ignored)


def _app_of(tx: Tx, request: RecordRequest) -> str:
    if request.parent is not None:
        return request.parent.app_id
    return referred_project(tx, request.project or DEFAULT_PROJECT).app_id


def _status_hooks(metadata: Mapping[str, Any], policy: AddressPolicy) -> tuple[tuple[Hook, ...], tuple[str, ...]]:
    """The receivers of statuses, and the paths of the fields that are ignored: a record has no log to send."""
    webhooks = metadata.get("webhooks") or {}
    if not isinstance(webhooks, Mapping):
        raise InvalidRequestError('Write webhooks as {"status": [URL, …]}.', field="metadata.webhooks")
    others = tuple(f"metadata.webhooks.{name}" for name in webhooks if name != "status")
    status = webhooks.get("status")
    hooks, unknown = ((), ()) if status is None else parse_hooks(status, "metadata.webhooks.status", policy)
    return hooks, (*others, *unknown)


def _comparable(request: RecordRequest) -> dict[str, Any]:
    return {
        "references": {kind.value: key for kind, key in request.references.items()},
        "labels": dict(request.labels),
        "said": dict(request.fields),  # the word of stored fingerprints: another one would make a repeated call a 409
        "metadata": dict(request.metadata),
        "state_code": request.state_code,
        "parent": None if request.parent is None else request.parent.build_uuid,
    }


def build_id_of(number: str) -> str:
    """The build id of a build number. The number of a job in a folder has a `/`, which is escaped: an id has none.

    Raises InvalidRequestError if that is no valid id (docs/contract.md, "Ids").
    """
    return check_id("build_number", _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", number))
