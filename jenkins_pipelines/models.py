"""What a pipeline is: parameters, and stages of steps."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sh(_Model):
    """A shell script. One that begins with `#!` is run by that interpreter and never traced by Jenkins."""

    kind: Literal["sh"] = "sh"
    script: str


class Echo(_Model):
    """One line in the log."""

    kind: Literal["echo"] = "echo"
    message: str


class WithEnv(_Model):
    """Steps that see these environment variables; an empty value hides the variable's outer value."""

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
    """Steps under a name that people see."""

    name: str
    steps: tuple[Step, ...] = Field(min_length=1)


class Parameter(_Model):
    """What the job asks its trigger for; a password is encrypted on Jenkins' disk and absent from its API."""

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
    """A pipeline written down: two texts, the digest over both (`sha256:…`), and the model they came from."""

    jenkinsfile: str
    config_xml: bytes
    digest: str
    definition: dict[str, object]


WithEnv.model_rebuild()
Timeout.model_rebuild()
