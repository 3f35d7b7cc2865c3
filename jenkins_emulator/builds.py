"""The record of a build: in memory for polls, on disk for the next start."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jenkins_emulator.files import read_json, write_json
from jenkins_emulator.recorder import Recorder
from jenkins_emulator.sealing import Seal

if TYPE_CHECKING:  # a build and its job refer to each other
    from jenkins_emulator.jobs import Job


@dataclass(frozen=True)
class Parameter:
    """A parameter's value; a secret one is never shown, and encrypted on disk."""

    name: str
    value: str
    secret: bool = False
    kind: str = "StringParameterValue"

    def to_record(self, seal: Seal) -> dict[str, Any]:
        """The JSON form for a file."""
        value = seal.seal(self.value) if self.secret else self.value
        return {"name": self.name, "value": value, "secret": self.secret, "kind": self.kind}

    @classmethod
    def from_record(cls, record: dict[str, Any], seal: Seal) -> "Parameter":
        """The parameter in the result of `to_record`."""
        value = seal.unseal(record["value"]) if record["secret"] else record["value"]
        return cls(record["name"], value, record["secret"], record["kind"])


@dataclass(eq=False)  # compared by identity: builds are keys of a dict of running builds
class Build:
    """A build. `result` is None while it builds; times are seconds since 1970; `causes` are user names or None."""

    job: "Job"
    number: int
    queue_id: int
    parameters: tuple[Parameter, ...]
    causes: tuple[str | None, ...]
    started_at: float
    result: str | None = None
    duration_seconds: float = 0.0
    description: str | None = None
    is_deleted: bool = False
    is_ghost: bool = False
    recorder: Recorder | None = field(default=None, repr=False)
    _final_bytes: int | None = field(default=None, repr=False)

    @property
    def is_building(self) -> bool:
        """Whether the build has no result yet."""
        return self.result is None

    @property
    def is_running(self) -> bool:
        """Whether the build is really running: a ghost reports that it builds but never ends."""
        return self.is_building and not self.is_ghost

    @property
    def directory(self) -> Path:
        """The directory of its files."""
        return self.job.directory / "builds" / str(self.number)

    @property
    def log_path(self) -> Path:
        """The raw log, with hidden notes."""
        return self.directory / "log"

    @property
    def is_logging(self) -> bool:
        """Whether lines can still be added; until a moment after it has a result."""
        return self.recorder is not None and self.recorder.is_open

    @property
    def file_bytes(self) -> int:
        """The size of the raw log, with an unfinished line."""
        return self.recorder.size_bytes if self.recorder is not None else self.log_bytes

    @property
    def log_bytes(self) -> int:
        """The size of the raw log that may be served: only whole lines while it is being written, then all of it."""
        if self.recorder is not None and self.recorder.is_open:
            return self.recorder.visible_bytes
        if self._final_bytes is None:
            self._final_bytes = self.log_path.stat().st_size if self.log_path.exists() else 0
        return self._final_bytes

    def save(self, seal: Seal) -> None:
        """Write build.json, unless the build is deleted."""
        if self.is_deleted:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        record = {
            "queue_id": self.queue_id,
            "parameters": [parameter.to_record(seal) for parameter in self.parameters],
            "causes": self.causes,
            "started_at": self.started_at,
            "result": self.result,
            "duration_seconds": self.duration_seconds,
            "description": self.description,
            "is_ghost": self.is_ghost,
        }
        write_json(self.directory / "build.json", record)

    @classmethod
    def load(cls, job: "Job", number: int, seal: Seal) -> "Build":
        """Read build.json of a build that `save` wrote."""
        record = read_json(job.directory / "builds" / str(number) / "build.json")
        return cls(
            job,
            number,
            record["queue_id"],
            tuple(Parameter.from_record(parameter, seal) for parameter in record["parameters"]),
            tuple(record["causes"]),
            record["started_at"],
            record["result"],
            record["duration_seconds"],
            record["description"],
            is_ghost=record.get("is_ghost", False),
        )


def cause_text(user: str | None) -> str:
    """`Started by user …`, as in the log and in the API."""
    return f"Started by user {user or 'anonymous'}"
