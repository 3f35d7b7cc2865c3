"""The catalogue of pipelines that a request can name."""

from collections.abc import Mapping

from jenkins_pipelines.kind import PipelineKind
from jenkins_pipelines.pipelines import docker_image, packer_image, script

PIPELINES: Mapping[str, PipelineKind] = {
    kind.name: kind for kind in (docker_image.KIND, script.KIND, packer_image.KIND)
}
DEFAULT_PIPELINE = docker_image.KIND.name
