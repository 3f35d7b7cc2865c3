"""The model of a compiled Jenkinsfile: stages, steps, conditions, post."""

from dataclasses import dataclass, field

# The order in which Jenkins runs them (its own list of valid conditions).
POST_CONDITIONS = ("always", "aborted", "success", "unsuccessful", "unstable", "failure", "cleanup")


@dataclass(frozen=True)
class Sh:
    """A script for the agent's shell."""

    script: str


@dataclass(frozen=True)
class Echo:
    """A text for the log."""

    text: str


@dataclass(frozen=True)
class Error:
    """Fails the build with a message."""

    message: str


@dataclass(frozen=True)
class Unstable:
    """Makes the build UNSTABLE and continues."""

    message: str


@dataclass(frozen=True)
class WithEnv:
    """Steps with additional variables, each a literal NAME=value."""

    variables: tuple[str, ...]
    body: tuple["Step", ...]


@dataclass(frozen=True)
class Timeout:
    """Interrupts its body after `seconds`."""

    seconds: float
    body: tuple["Step", ...]


Step = Sh | Echo | Error | Unstable | WithEnv | Timeout


@dataclass(frozen=True)
class EnvironmentIs:
    """Whether the variable has this value."""

    name: str
    value: str


@dataclass(frozen=True)
class Not:
    """The opposite of a condition."""

    condition: "Condition"


@dataclass(frozen=True)
class AllOf:
    """All of the conditions; also the meaning of `when` with several lines."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class AnyOf:
    """At least one of the conditions."""

    conditions: tuple["Condition", ...]


Condition = EnvironmentIs | Not | AllOf | AnyOf


@dataclass(frozen=True)
class Stage:
    """Exactly one of `steps`, `parallel` and `stages` is not None."""

    name: str
    when: Condition | None = None
    steps: tuple[Step, ...] | None = None
    parallel: "tuple[Stage, ...] | None" = None
    stages: "tuple[Stage, ...] | None" = None
    post: dict[str, tuple[Step, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Options:
    """The options of a script; None or False if it does not set them."""

    timeout_seconds: float | None = None
    disable_concurrent_builds: bool = False
    builds_to_keep: int | None = None
    durability: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline; `label` is None for `agent any`."""

    label: str | None
    options: Options
    stages: tuple[Stage, ...]
    post: dict[str, tuple[Step, ...]]
