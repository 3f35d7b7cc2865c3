"""A stand-in for the pipeline `packer-image`, while the catalogue has none: its options, and another script."""

from dataclasses import replace
from typing import Annotated, cast

from pydantic import AfterValidator, Field

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.kind import PipelineKind, PipelineOptions


def _without_dots(path: str) -> str:
    if ".." in path:
        raise ValueError("must be a path within the source, without ..")
    return path


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


class _Options(PipelineOptions):
    template: Annotated[str, AfterValidator(_without_dots)] | None = None
    only: Annotated[str, AfterValidator(_printable)] = ""
    variables: dict[str, Annotated[str, AfterValidator(_printable)]] = Field({})
    secret_variables: list[str] = Field([])


def register_stand_in() -> None:
    """Add a pipeline of the name, unless there is one."""
    if "packer-image" in PIPELINES:
        return
    own = replace(PIPELINES["script"], name="packer-image", Options=_Options)
    cast("dict[str, PipelineKind]", PIPELINES)["packer-image"] = own
