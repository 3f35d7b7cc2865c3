"""A build: its states, the ways between them, the causes of a stop, and the row that is recorded of it (pure)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any


class State(StrEnum):
    """Where a build is; the table of ways is `TRANSITIONS`."""

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
        """No way leads out of it."""
        return self in FINAL


FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.STOPPED, State.TIMEDOUT})
_ENDS_WITHOUT_SUCCESS = frozenset({State.FAILED, State.STOPPED, State.TIMEDOUT})

# A claim by the pipeline can be the first we hear of a build whose trigger answer was lost: staging → running.
TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.RECORDED: _ENDS_WITHOUT_SUCCESS | {State.STAGING},
    State.STAGING: _ENDS_WITHOUT_SUCCESS | {State.QUEUED, State.RUNNING},
    # Jenkins can lose a build as it begins; nobody has claimed it, so it is triggered again.
    State.QUEUED: FINAL | {State.RUNNING, State.STAGING},
    State.RUNNING: FINAL,
    **{state: frozenset() for state in FINAL},
}

# The status word of a final state (docs/contract.md, "Ends of builds").
FINAL_WORDS: Mapping[State, str] = {
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.STOPPED: "failed",
    State.TIMEDOUT: "timedout",
}


class Api(StrEnum):
    """Which API asked for a build: the same build, with another form of what comes in and goes out."""

    NEW = "new"
    LEGACY = "legacy"


class Stage(StrEnum):
    """The step of the flow that a build is at, or at which it ended; derived, never stored."""

    ACCEPT = "accept"
    SOURCE = "source"
    PREPARE = "prepare"
    QUEUE = "queue"
    BUILD = "build"


class StopCause(StrEnum):
    """Why we asked Jenkins to stop a build; recorded before the first stop is sent."""

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
    """The place from which a log is written on after a restart, if the spool has `log_offset` bytes.

    `log` is the state of the log's text as a whole, `streams` of each stream by its key: JSON values.
    """

    log_offset: int
    log: Mapping[str, Any]
    streams: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class FinalLog:
    """A log's size and SHA-256 (hex), and `ending`: what stands in it behind the agent's bytes."""

    size_bytes: int
    sha256: str
    ending: str


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What staging found out about the source: `sha256` and `bytes` of the original as stored."""

    sha256: str | None = None
    bytes: int | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The recorded row of a build; instants are aware UTC, None = has not happened.

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
    lease_epoch: int = 0
    sequence: int = 0
    position: int = 0
    controller: str = ""
    job_name: str = ""

    @property
    def stage(self) -> Stage:
        """The step of the flow, read off what has been recorded."""
        if self.running_at is not None:
            return Stage.BUILD
        if self.queued_at is not None or self.trigger_attempted_at is not None:
            return Stage.QUEUE
        if self.staged_at is not None:
            return Stage.PREPARE
        return Stage.ACCEPT if self.staging_at is None else Stage.SOURCE

    @property
    def building(self) -> bool:
        """Jenkins is at work on it."""
        return self.state is State.RUNNING

    @property
    def status(self) -> str:
        """The newest status word a receiver was told: queued, pending, or a final word."""
        if self.state.final:
            return FINAL_WORDS[self.state]
        return "pending" if self.state is State.RUNNING else "queued"

    @property
    def time_limit_at(self) -> datetime | None:
        """When its time is over; counted from running, so None before."""
        if self.running_steady_at is None:
            return None
        return self.running_steady_at + timedelta(seconds=self.timeout_seconds)


def job_name_of(app_id: str, folder: str | None = None) -> str:
    """The Jenkins job of an app: readable, safe, and different for ids that differ only in case.

    Jenkins compares names without case (`B1` duplicates `b1`) and refuses most punctuation, so the readable
    part is lower-case letters, digits and dashes, and 80 bits of the id's SHA-256 make the name the id's own.
    """
    readable = re.sub(r"[^a-z0-9]+", "-", app_id.lower()).strip("-")[:60].rstrip("-")
    name = f"{readable or 'app'}-{sha256(app_id.encode()).hexdigest()[:20]}"
    return f"{folder.strip('/')}/{name}" if folder else name
