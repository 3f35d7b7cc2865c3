"""Every pipeline exactly as Jenkins gets it, so that a change of it is seen in a diff.

Write them anew: python -m tests.golden.pipelines.test_golden_pipelines
"""

from pathlib import Path

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.write import write

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", PIPELINES)
def test_the_pipeline_is_what_was_looked_at(name: str, tmp_path: Path) -> None:
    for path in write(name, tmp_path):
        assert path.read_bytes() == (HERE / name / path.name).read_bytes(), f"{path.name} differs; write it anew?"


if __name__ == "__main__":
    for pipeline in PIPELINES:
        write(pipeline, HERE / pipeline)
