"""A new build: the checked request as it is recorded, and its rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.dialects.postgresql import insert

from shuttle.build import Api, Build, SourceFacts
from shuttle.clock import Moment
from shuttle.outgoing.endpoints import EndpointKind, EndpointState, PayloadFormat
from shuttle.request import PackerRun
from shuttle.standing import Standing
from shuttle.store.prepared import Prepared
from shuttle.store.tables import apps, builds


@dataclass(frozen=True, slots=True)
class NewEndpoint:
    """A receiver or sink to record: `target` is its sealed URL and headers, `host` is for display."""

    kind: EndpointKind
    host: str
    target: bytes = field(repr=False)
    payload_format: PayloadFormat = PayloadFormat.STANDARD


@dataclass(frozen=True, slots=True)
class NewChild:
    """The record of a platform that is recorded with the build; `resume_from` is the uuid of the record it resumes."""

    platform: str
    build_uuid: str
    build_id: str
    resume_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBuild:
    """A checked request of a caller with this standing; `plan` and the targets of the endpoints are sealed.

    `automatic`: nobody asked for this resume, so it is recorded only while it is planned.
    """

    standing: Standing
    api: Api = Api.NEW
    build_uuid: str
    app_id: str
    build_id: str
    job_name: str
    controller: str
    plan: bytes = field(repr=False)
    token_digest: str
    request_fingerprint: str
    metadata_json: str
    human_readable_info: str | None
    labels: dict[str, str]
    pipeline: str
    destinations: tuple[str, ...]
    source_url: str
    source_sha256: str | None = None
    source_bytes: int | None = None
    source_content_type: str | None = None
    timeout_seconds: float
    deadline_seconds: float
    receivers: Sequence[NewEndpoint] = ()
    sinks: Sequence[NewEndpoint] = ()
    resume_from: str | None = None
    automatic: bool = False
    record: Mapping[str, Any] | None = None
    children: Sequence[NewChild] = ()
    packer_run: PackerRun | None = None

    @property
    def chose_uuid(self) -> bool:
        """Whether the caller has chosen the uuid, as callers of the older API always do; it may be in use."""
        return self.api is Api.LEGACY or self.build_uuid == self.build_id.lower()

    @property
    def pair(self) -> tuple[str, str]:
        """App id and build id. A new API's build cannot have the pair of any earlier build.

        Two requests to the new API with the same pair are a repeat or a conflict. For two requests to the older API
        the same uuid decides that.
        """
        return self.app_id, self.build_id

    @property
    def pairs_of_children(self) -> list[tuple[str, str]]:
        """The pairs of the records of the build's platforms."""
        return [(self.app_id, child.build_id) for child in self.children]


def target_bytes(url: str, headers: dict[str, str]) -> bytes:
    """The secret part of a receiver or sink, which is sealed and stored as `target`."""
    return json.dumps({"url": url, "headers": headers}).encode()


def build_of(new: NewBuild, now: Moment) -> Build:
    """The build as its row will be inserted, except for `position`, which the database assigns."""
    return Build(
        api=new.api,
        build_uuid=new.build_uuid,
        app_id=new.app_id,
        build_id=new.build_id,
        pipeline=new.pipeline,
        metadata_json=new.metadata_json,
        human_readable_info=new.human_readable_info,
        labels=new.labels,
        destinations=new.destinations,
        source_url=new.source_url,
        source=SourceFacts(new.source_sha256, new.source_bytes, new.source_content_type),
        timeout_seconds=new.timeout_seconds,
        accepted_at=now.at,
        deadline_at=now.steady + timedelta(seconds=new.deadline_seconds),
        controller=new.controller,
        job_name=new.job_name,
        resume_from=new.resume_from,
        record=new.record,
    )


_APP_COLUMNS = ("app_id", "api", "job_name", "controller", "created_at", "owner", "epoch")
FIRST_EPOCH = 1
INSERT_APPS = Prepared(insert(apps).inline().on_conflict_do_nothing(index_elements=["app_id"]), _APP_COLUMNS)


def app_row(new: NewBuild, now: datetime, owner: str | None) -> dict[str, Any]:
    """The row of the app that the build creates; the replica that accepts it is the app's owner."""
    row = {"app_id": new.app_id, "api": new.api.value, "job_name": new.job_name}
    return row | {"controller": new.controller, "created_at": now, "owner": owner, "epoch": FIRST_EPOCH}


_FROM_REQUEST = (
    "build_uuid",
    "app_id",
    "build_id",
    "plan",
    "token_digest",
    "request_fingerprint",
    "metadata_json",
    "human_readable_info",
    "labels",
    "pipeline",
    "destinations",
    "source_url",
    "source_sha256",
    "source_bytes",
    "source_content_type",
    "timeout_seconds",
    "resume_from",
    "record",
)
_DERIVED = ("api", "serial_key", "state", "accepted_at", "deadline_at", "sequence")
INSERT_BUILDS = Prepared(builds.insert().inline(), (*_FROM_REQUEST, *_DERIVED))


def build_row(new: NewBuild, build: Build) -> dict[str, Any]:
    """The row of the build; `build` is what `build_of` returned for it."""
    row = {name: getattr(new, name) for name in _FROM_REQUEST}
    row |= {"api": new.api.value, "serial_key": new.app_id, "state": build.state.value, "sequence": 1}
    return row | {"accepted_at": build.accepted_at, "deadline_at": build.deadline_at}


def endpoint_row(new: NewBuild, index: int, endpoint: NewEndpoint) -> dict[str, Any]:
    """The row of the endpoint with this index in the request."""
    row = {"build_uuid": new.build_uuid, "place": index, "kind": endpoint.kind, "host": endpoint.host}
    return row | {"target": endpoint.target, "wire": endpoint.payload_format, "state": EndpointState.LIVE}


def packer_row(run: PackerRun, build_uuid: str) -> dict[str, Any]:
    """The row of a run of a request by packer over REST."""
    return {"request_id": run.request_id, "run": run.run, "build_uuid": build_uuid, "fields": dict(run.fields)}
