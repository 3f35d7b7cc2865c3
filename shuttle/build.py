"""A build: its states and transitions, the causes of a stop, and its recorded row (pure)."""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any


class State(StrEnum):
    """The state of a build; `TRANSITIONS` has the allowed changes."""

    RECORDED = "recorded"
    STAGING = "staging"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMEDOUT = "timedout"

    @property
    def final(self) -> bool:
        """Whether the state never changes again."""
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED, State.TIMEDOUT})
_ENDS_WITHOUT_SUCCESS = frozenset({State.FAILED, State.STOPPED, State.TIMEDOUT})

# staging → running: if Jenkins' response to the trigger was lost, the claim is the first sign of the build.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.RECORDED: _ENDS_WITHOUT_SUCCESS | {State.STAGING},
    State.STAGING: _ENDS_WITHOUT_SUCCESS | {State.QUEUED, State.RUNNING},
    # Jenkins can lose a build when it begins. Nothing has claimed it then, so it is triggered again.
    State.QUEUED: FINAL | {State.RUNNING, State.STAGING},
    State.RUNNING: FINAL,
    **{state: frozenset() for state in FINAL},
}


class Status(StrEnum):
    """The status of a build as its receivers and readers get it (docs/contract.md, "Statuses")."""

    QUEUED = "queued"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMEDOUT = "timedout"


# The status of a final state (docs/contract.md, "Ends of builds").
FINAL_STATUSES: Mapping[State, Status] = {
    State.SUCCEEDED: Status.SUCCEEDED,
    State.FAILED: Status.FAILED,
    State.STOPPED: Status.FAILED,
    State.TIMEDOUT: Status.TIMEDOUT,
}


# The namespace of the uuids of projects: any fixed uuid.
_PROJECTS = uuid.UUID("5a1c2f0e-7f0b-4d8e-9d53-0d1b8f6e2c41")


class Api(StrEnum):
    """The API by which a build was requested. Of `new` and `legacy`, only the forms of requests and events differ.

    A `record` is a build that another CI system runs and reports below `/-/state`, or the record of a platform.
    """

    NEW = "new"
    LEGACY = "legacy"
    RECORD = "record"


class Stage(StrEnum):
    """The step of the flow that a build has reached, or at which it ended; derived, never stored."""

    ACCEPT = "accept"
    SOURCE = "source"
    PREPARE = "prepare"
    QUEUE = "queue"
    BUILD = "build"


class StopCause(StrEnum):
    """Why a build is stopped; recorded before the first stop is sent to Jenkins."""

    STOPPED = "stopped"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    SPOOL_UNWRITABLE = "spool_unwritable"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a build ends: the final state, the stable reason code and one sentence for people."""

    state: State
    reason: str | None = None
    message: str | None = None


STOP_ENDINGS: Mapping[StopCause, Ending] = {
    StopCause.STOPPED: Ending(State.STOPPED, "stopped", "The build was stopped on request."),
    StopCause.TIMEOUT: Ending(State.TIMEDOUT, "timeout", "The build ran longer than its time limit."),
    StopCause.DEADLINE: Ending(State.TIMEDOUT, "deadline", "The build did not end before its deadline."),
    StopCause.SPOOL_UNWRITABLE: Ending(
        State.FAILED, "spool_unwritable", "The shuttle could not write the build's log to its disk."
    ),
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The position at which writing a log continues after a restart, if the spool has `log_offset` bytes.

    `log` is the state of the whole log, `streams` the state of each stream by its key; both are JSON values.
    """

    log_offset: int
    log: Mapping[str, Any]
    streams: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class FinalLog:
    """A log's size and SHA-256 (hex), and `ending`: its text after the agent's bytes."""

    size_bytes: int
    sha256: str
    ending: str


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """The facts about a staged source; `sha256` and `bytes` are those of the stored original.

    `commit` and `branch` are those of a git source.
    """

    sha256: str | None = None
    bytes: int | None = None
    content_type: str | None = None
    commit: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The recorded row of a build. Instants are aware UTC; None = has not happened yet.

    `deadline_at`, `time_limit_at` and `…_steady_at` are on steady time (see `shuttle.clock`).
    """

    build_uuid: str
    app_id: str
    build_id: str
    api: Api = Api.NEW
    state: State = State.RECORDED
    reason: str | None = None
    message: str | None = None
    waiting_for: str | None = None
    pipeline: str = "docker-image"
    metadata_json: str = "null"
    human_readable_info: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    destinations: tuple[str, ...] = ()
    source_url: str = ""
    source: SourceFacts = SourceFacts()
    timeout_seconds: float = 1200
    preamble: str = ""
    accepted_at: datetime
    deadline_at: datetime
    staging_at: datetime | None = None
    staging_steady_at: datetime | None = None
    staged_at: datetime | None = None
    slot_at: datetime | None = None
    queued_at: datetime | None = None
    running_at: datetime | None = None
    running_steady_at: datetime | None = None
    finished_at: datetime | None = None
    finished_steady_at: datetime | None = None
    stop_requested_at: datetime | None = None
    stop_cause: StopCause | None = None
    trigger_attempted_at: datetime | None = None
    queue_item: int | None = None
    build_number: int | None = None
    claimed_at: datetime | None = None
    checkpoint: Checkpoint | None = None
    report_reason: str | None = None
    report_message: str | None = None
    image: str | None = None
    digest: str | None = None
    log_bytes: int | None = None
    log_sha256: str | None = None
    log_ending: str | None = None
    archived_at: datetime | None = None
    parent_uuid: str | None = None
    resume_from: str | None = None
    state_code: int | None = None
    record: Mapping[str, Any] | None = None
    sequence: int = 0
    position: int = 0
    controller: str = ""
    job_name: str = ""

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms for which the build runs; for each there is a child, see `child_id_of`."""
        return () if self.api is Api.RECORD else tuple((self.record or {}).get("platforms", ()))

    @property
    def of_platform(self) -> bool:
        """Whether it is the record of one platform of a build: it succeeds only by the end of that branch."""
        return self.api is Api.RECORD and bool((self.record or {}).get("of_platform"))

    @property
    def stage(self) -> Stage:
        """The step of the flow, derived from the recorded instants."""
        if self.running_at is not None:
            return Stage.BUILD
        if self.queued_at is not None or self.trigger_attempted_at is not None:
            return Stage.QUEUE
        if self.staged_at is not None:
            return Stage.PREPARE
        return Stage.ACCEPT if self.staging_at is None else Stage.SOURCE

    @property
    def building(self) -> bool:
        """Whether Jenkins is running the build."""
        return self.state is State.RUNNING

    @property
    def status(self) -> Status:
        """The status that the state means (docs/contract.md, "Statuses"). The older API has other words."""
        if self.state.final:
            return FINAL_STATUSES[self.state]
        return Status.PENDING if self.state is State.RUNNING else Status.QUEUED

    @property
    def time_limit_at(self) -> datetime | None:
        """When the time limit ends; it is counted from `running`, so None before."""
        if self.running_steady_at is None:
            return None
        return self.running_steady_at + timedelta(seconds=self.timeout_seconds)


# A list of 100 builds needs it 200 times, at 7 µs each.
@lru_cache(4096)
def project_id_of(app_id: str) -> str:
    """The uuid of the app as a project: made of its name, so that every process and every version finds the same."""
    return str(uuid.uuid5(_PROJECTS, app_id))


def job_name_of(app_id: str, folder: str | None = None) -> str:
    """The Jenkins job of an app: readable, safe, and different for ids that differ only in case.

    Jenkins compares names without case (`B1` equals `b1`) and refuses most punctuation. So the readable part has only
    lower-case letters, digits and dashes, and 80 bits of the id's SHA-256 make the name unique.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", app_id.lower()).strip("-")[:60].rstrip("-")
    name = f"{readable or 'app'}-{sha256(app_id.encode()).hexdigest()[:20]}"
    return f"{folder.strip('/')}/{name}" if folder else name


def child_id_of(build_id: str, platform: str) -> str:
    """The build id of the record of one platform of a build."""
    return f"{build_id}-{platform}"
