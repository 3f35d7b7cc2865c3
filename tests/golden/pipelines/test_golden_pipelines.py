"""Every pipeline exactly as Jenkins gets it, so that a diff shows each change of it.

To write the files anew: python -m tests.golden.pipelines.test_golden_pipelines
"""

from pathlib import Path

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.write import write

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", PIPELINES)
def test_rendered_pipeline_equals_the_reviewed_files(name: str, tmp_path: Path) -> None:
    for path in write(name, tmp_path):
        same = path.read_bytes() == (HERE / name / path.name).read_bytes()
        assert same, f"{path.name} differs; if the change is wanted, write the files anew"


if __name__ == "__main__":
    for pipeline in PIPELINES:
        write(pipeline, HERE / pipeline)
