"""`packer-image`: run packer on the source's template, test the image with kitchen, and remove it from the agent."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from jenkins_pipelines.fragment import combine
from jenkins_pipelines.fragments.supervised import supervised
from jenkins_pipelines.kind import PipelineKind, PipelineOptions
from jenkins_pipelines.models import Pipeline

_SCRIPTS = (
    *("links", "resume", "uploads", "packer", "packer_files", "berks", "kitchen", "docker_clean"),
    "packer_image",
)
# Variables have the limits of arguments, because the agent keeps each one as a line of a file that awk reads.
_MAX_VARIABLES = 5000
_MAX_VARIABLES_BYTES = 1024 * 1024
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def _template_path(path: str) -> str:
    path = path.lstrip("/")
    if not path or path.startswith("-") or ".." in PurePosixPath(path).parts or not path.isprintable():
        raise ValueError("must be a path within the source, without .. and not beginning with -")
    return path


def _comma_list(names: Any) -> Any:
    """A list of names as packer takes it."""
    return ",".join(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else names


def _names(names: str) -> str:
    found = ",".join(filter(None, map(str.strip, names.split(","))))
    if not names.isprintable() or (names and not found):
        raise ValueError("must be names of builds, joined by commas")
    return found


def _lines(patterns: Any) -> Any:
    return (
        "\n".join(patterns)
        if isinstance(patterns, list) and all(isinstance(one, str) for one in patterns)
        else patterns
    )


def _patterns(patterns: str) -> str:
    for pattern in patterns.splitlines():
        if pattern.startswith(("/", "-")) or ".." in PurePosixPath(pattern).parts or not pattern.isprintable():
            raise ValueError("must be relative patterns of files within the source, without ..")
    return patterns


def _values(variables: dict[str, str]) -> dict[str, str]:
    if len(variables) > _MAX_VARIABLES:
        raise ValueError(f"may have at most {_MAX_VARIABLES} names")
    if not all(name.isprintable() and 0 < len(name) <= 200 for name in variables):
        raise ValueError("must have names of 1 to 200 printable characters")
    if any(_NOT_TEXT.search(value) for value in variables.values()):
        raise ValueError("must have values without NUL characters and lone surrogates")
    if sum(len(name.encode()) + len(value.encode()) for name, value in variables.items()) > _MAX_VARIABLES_BYTES:
        raise ValueError(f"may have at most {_MAX_VARIABLES_BYTES} bytes together")
    return variables


_Names = Annotated[str, Field(max_length=10_000), BeforeValidator(_comma_list), AfterValidator(_names)]
_Patterns = Annotated[str, Field(max_length=10_000), BeforeValidator(_lines), AfterValidator(_patterns)]


class PackerImageOptions(PipelineOptions):
    """The options of packer, and of the steps before and after it.

    `template` is a file or folder of the source; by default `packer.json`, else the source itself if it has files
    `*.pkr.hcl` or `*.pkr.json`. `only` and `except` are names of builds, as an array or joined by commas. `keep` is an
    array of shell patterns: matching files of the source are uploaded beside those of `file` builders and those in
    dist/. `git`: the folder .git of a git source reaches the agent.
    `variables` are given to packer in its file of variables, and unlike arguments not as environment; the values of
    `secret_variables` are masked.
    """

    model_config = ConfigDict(serialize_by_alias=True, hide_input_in_errors=True)

    template: Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_template_path)] | None = None
    only: _Names = ""
    except_: _Names = Field("", alias="except")
    validate_template: bool = Field(True, alias="validate")
    parallel: int | None = Field(None, ge=0, le=1000)
    on_error: Literal["cleanup", "abort"] = "cleanup"
    init: Literal["auto", "never"] = "auto"
    berks: Literal["auto", "never"] = "auto"
    kitchen: Literal["auto", "never"] = "auto"
    clean: bool = True
    git: bool = False
    keep: _Patterns = ""
    variables: Annotated[dict[str, str], AfterValidator(_values)] = Field({}, repr=False)
    secret_variables: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _secrets_are_variables(self) -> "PackerImageOptions":
        if not set(self.secret_variables) <= set(self.variables):
            raise ValueError("secret_variables must name variables")
        return self


def build(_: PipelineOptions, /, platforms: Sequence[str] = ()) -> Pipeline:  # noqa: ARG001 - it accepts none
    """The pipeline's model. Options are read on the agent, so one job runs every build of an app."""
    return combine(KIND.name, KIND.description, supervised(*_SCRIPTS))


KIND = PipelineKind(
    name="packer-image",
    description="Runs packer on the source's template, kitchen test where there is a .kitchen.yml, and uploads files.",
    Options=PackerImageOptions,
    needs_destination=False,
    accepts_image_source=False,
    takes_variables=True,
    reports_image=True,
    build=build,
)
