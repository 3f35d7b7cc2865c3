"""Fragments, the parts that pipelines are made of, and the one way to put them together."""

from pydantic import BaseModel, ConfigDict

from jenkins_pipelines.errors import PipelineError
from jenkins_pipelines.models import Parameter, Pipeline, Stage


class Fragment(BaseModel):
    """A piece of a pipeline: the parameters it needs and the stages it adds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    parameters: tuple[Parameter, ...] = ()
    stages: tuple[Stage, ...] = ()


def combine(name: str, description: str, *fragments: Fragment) -> Pipeline:
    """Put fragments together in their order.

    Two fragments may ask for the same parameter in the same way. A parameter asked for in two ways, or two stages of
    one name (Jenkins tells stages apart by it), raises PipelineError: nothing is ever dropped silently.
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
    )
