"""The model of a pipeline: parameters, and stages of steps."""

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sh(_Model):
    """A shell script. If it begins with `#!`, that interpreter runs it and Jenkins never traces it."""

    kind: Literal["sh"] = "sh"
    script: str


class Echo(_Model):
    """One line in the log."""

    kind: Literal["echo"] = "echo"
    message: str


class WithEnv(_Model):
    """Steps with additional environment variables; an empty value hides an outer variable."""

    kind: Literal["withEnv"] = "withEnv"
    variables: dict[str, str]
    steps: tuple["Step", ...]


class Timeout(_Model):
    """Steps that Jenkins aborts after `seconds`."""

    kind: Literal["timeout"] = "timeout"
    seconds: int = Field(ge=1)
    steps: tuple["Step", ...]


Step = Annotated[Sh | Echo | WithEnv | Timeout, Field(discriminator="kind")]


class Branch(_Model):
    """Steps that run at the same time as those of the stage's other branches.

    They see the branch's name as SHUTTLE_BRANCH: the supervisor claims the build under it, and the log's lines begin
    with it. `main` is the name of the stream of builds without branches.
    """

    name: str = Field(pattern=r"^[a-z0-9._-]{1,64}$")
    steps: tuple[Step, ...] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _not_main(cls, name: str) -> str:
        if name == "main":
            raise ValueError("a branch cannot have the name main")
        return name


class Stage(_Model):
    """Steps, or parallel branches, under a visible name. If a branch fails, the others run to their end.

    `state` is the code of the build's state while the stage runs. Its steps see it as SHUTTLE_STATE: a supervisor
    reports it when it begins with the stage's own work.
    """

    name: str
    state: int | None = Field(default=None, ge=0, le=100)
    steps: tuple[Step, ...] = ()
    parallel: tuple[Branch, ...] = ()

    @model_validator(mode="after")
    def _steps_or_branches(self) -> Self:
        if bool(self.steps) == bool(self.parallel):
            raise ValueError("a stage has either steps or parallel branches")
        names = [branch.name for branch in self.parallel]
        if len(set(names)) < len(names):
            raise ValueError("two branches of a stage cannot have the same name")
        return self


class Parameter(_Model):
    """A parameter of the job. A password is encrypted on Jenkins' disk and not shown by its API."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    kind: Literal["string", "password"] = "string"
    description: str = ""


class Pipeline(_Model):
    """A whole pipeline. Jenkins runs the steps `on_failure` after the stages, if one of them has failed."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    description: str
    parameters: tuple[Parameter, ...]
    stages: tuple[Stage, ...] = Field(min_length=1)
    on_failure: tuple[Step, ...] = Field((), exclude_if=lambda steps: not steps)

    @field_validator("stages")
    @classmethod
    def _states_rise(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        states = [stage.state for stage in stages if stage.state is not None]
        if any(state >= next_state for state, next_state in pairwise(states)):
            raise ValueError("the states of the stages must rise")
        return stages


class Rendered(_Model):
    """A rendered pipeline: its two texts, the digest of both (`sha256:…`), and the model."""

    jenkinsfile: str
    config_xml: bytes
    digest: str
    definition: dict[str, object]


WithEnv.model_rebuild()
Timeout.model_rebuild()
