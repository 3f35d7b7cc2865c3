"""The body of a request that resumes a build."""

from typing import Any

import pytest

from shuttle.errors import InvalidRequestError
from shuttle.request import ResumeRequest, is_resume, read_resume_request


def test_build_state_and_source_are_read():
    body = {"resume_from": {"build_id": "7", "state": 20}, "source": {"url": "https://a/b.tgz"}, "odd": 1}
    wanted = read_resume_request(body)
    assert isinstance(wanted, ResumeRequest)
    assert (wanted.build_id, wanted.state_code, wanted.ignored_fields) == ("7", 20, ("odd",))
    assert wanted.source is not None
    assert wanted.source.url == "https://a/b.tgz"


def test_state_and_source_may_be_absent():
    wanted = read_resume_request({"resume_from": {"build_id": "7"}, "source": None, "pipeline": None})
    assert (wanted.state_code, wanted.source) == (None, None)


@pytest.mark.parametrize("value", [None, [], {}, {"resume_from": None}])
def test_other_bodies_resume_nothing(value: Any):
    assert not is_resume(value)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"resume_from": "7"}, "resume_from"),
        ({"resume_from": {}}, "resume_from.build_id"),
        ({"resume_from": {"build_id": 7}}, "resume_from.build_id"),
        ({"resume_from": {"build_id": "7", "state": "20"}}, "resume_from.state"),
        ({"resume_from": {"build_id": "7", "state": 1000}}, "resume_from.state"),
        ({"resume_from": {"build_id": "7"}, "source": {"url": 1}}, "source.url"),
        ({"resume_from": {"build_id": "7"}, "arguments": {}}, "arguments"),
        ({"resume_from": {"build_id": "7"}, "pipeline": "script"}, "pipeline"),
        ({"resume_from": {"build_id": "7"}, "auto_resume": {}}, "auto_resume"),
    ],
)
def test_wrong_body_is_refused_with_its_field(body: dict[str, Any], field: str):
    with pytest.raises(InvalidRequestError) as refused:
        read_resume_request(body)
    assert refused.value.field == field
