"""Fragments, the parts of pipelines, and their combination."""

from pydantic import BaseModel, ConfigDict

from jenkins_pipelines.errors import PipelineError
from jenkins_pipelines.models import Parameter, Pipeline, Stage, Step


class Fragment(BaseModel):
    """A part of a pipeline: its parameters, its stages, and the steps that Jenkins runs after a failure."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: tuple[Parameter, ...] = ()
    stages: tuple[Stage, ...] = ()
    on_failure: tuple[Step, ...] = ()


def combine(name: str, description: str, *fragments: Fragment) -> Pipeline:
    """Combine fragments in their order.

    Two fragments may define the same parameter if the definitions are equal. Different definitions of a parameter, and
    two stages of one name (which identifies a stage in Jenkins), raise PipelineError: nothing is dropped silently.
    """
    parameters: dict[str, Parameter] = {}
    stages: dict[str, Stage] = {}
    for fragment in fragments:
        for parameter in fragment.parameters:
            if parameters.setdefault(parameter.name, parameter) != parameter:
                raise PipelineError(f"Two fragments of {name} define the parameter {parameter.name} differently.")
        for stage in fragment.stages:
            if stage.name in stages:
                raise PipelineError(f"Two fragments of {name} define the stage {stage.name}; rename one.")
            stages[stage.name] = stage
    return Pipeline(
        name=name,
        description=description,
        parameters=tuple(parameters.values()),
        stages=tuple(stages.values()),
        on_failure=tuple(step for fragment in fragments for step in fragment.on_failure),
    )
