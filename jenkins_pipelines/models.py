"""The model of a pipeline: parameters, and stages of steps."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


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


class Stage(_Model):
    """Steps under a visible name."""

    name: str
    steps: tuple[Step, ...] = Field(min_length=1)


class Parameter(_Model):
    """A parameter of the job. A password is encrypted on Jenkins' disk and not shown by its API."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    kind: Literal["string", "password"] = "string"
    description: str = ""


class Pipeline(_Model):
    """A whole pipeline."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    description: str
    parameters: tuple[Parameter, ...]
    stages: tuple[Stage, ...] = Field(min_length=1)


class Rendered(_Model):
    """A rendered pipeline: its two texts, the digest of both (`sha256:…`), and the model."""

    jenkinsfile: str
    config_xml: bytes
    digest: str
    definition: dict[str, object]


WithEnv.model_rebuild()
Timeout.model_rebuild()
