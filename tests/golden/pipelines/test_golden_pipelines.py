"""Every pipeline exactly as Jenkins gets it, so that a diff shows each change of it.

To write the files anew: python -m tests.golden.pipelines.test_golden_pipelines
"""

from pathlib import Path

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.models import Branch, Echo, Pipeline, Sh, Stage
from jenkins_pipelines.render import render
from jenkins_pipelines.write import write, write_rendered

HERE = Path(__file__).parent
BRANCHES = Pipeline(
    name="branches",
    description="A stage, and a stage of two branches, each with the code of a state.",
    parameters=(),
    stages=(
        Stage(name="before", state=10, steps=(Echo(message="before"),)),
        Stage(
            name="both",
            state=50,
            parallel=(
                Branch(name="linux", steps=(Sh(script="echo one"), Sh(script="echo two"))),
                Branch(name="linux.arm-64", steps=(Sh(script="echo 'it''s'\nexit 1"),)),
            ),
        ),
        Stage(name="after", steps=(Echo(message="after"),)),
    ),
)


def write_files(name: str, directory: Path) -> tuple[Path, ...]:
    if name == BRANCHES.name:
        return write_rendered(render(BRANCHES, agent_label="linux && docker"), directory)
    return write(name, directory)


@pytest.mark.parametrize("name", [*PIPELINES, BRANCHES.name])
def test_rendered_pipeline_equals_the_reviewed_files(name: str, tmp_path: Path) -> None:
    for path in write_files(name, tmp_path):
        same = path.read_bytes() == (HERE / name / path.name).read_bytes()
        assert same, f"{path.name} differs; if the change is wanted, write the files anew"


if __name__ == "__main__":
    for pipeline in (*PIPELINES, BRANCHES.name):
        write_files(pipeline, HERE / pipeline)
