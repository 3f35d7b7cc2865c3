"""The limits of a request's lists and texts: the largest accepted value, and the error for the next one."""

from contextlib import nullcontext
from typing import Any

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.errors import InvalidRequestError
from shuttle.request import decode_json, parse_build_request
from shuttle.request.legacy import read_legacy_request
from tests.unit.request.catalogue import image, parse, script, settings

KIB = 1024
# One character of two bytes, because these limits count bytes.
TWO_BYTES = "ä"


def numbered(count: int) -> dict[str, str]:
    return {f"A{number}": "" for number in range(count)}


def kafka(hosts: int) -> str:
    return "kafka://" + ",".join(f"h{number}" for number in range(hosts)) + "/t"


@pytest.mark.parametrize(
    ("taken", "refused", "field"),
    [
        (
            image("docker://r.example.com/app", tags=[f"t{number}" for number in range(100)]),
            image("docker://r.example.com/app", tags=["t"] * 101),
            "destination.tags",
        ),
        (
            image("docker://r.example.com/app", tags=["t" * 128]),
            image("docker://r.example.com/app", tags=["t", "t" * 129]),
            "destination.tags[1]",
        ),
        (script(arguments=numbered(5000)), script(arguments=numbered(5001)), "arguments"),
        (
            script(arguments={f"A{number}": TWO_BYTES * (64 * KIB - 2) for number in range(8)}),
            script(arguments={f"A{number}": TWO_BYTES * (64 * KIB - 2) for number in range(9)}),
            "arguments",
        ),
        (
            script(arguments={"A": "x" * (128 * KIB - 3)}),
            script(arguments={"A": "x" * (128 * KIB - 2)}),
            "arguments.A",
        ),
        (
            script(arguments={"A" * (128 * KIB - 3): 1}),
            script(arguments={"A" * (128 * KIB - 2): 1}),
            "arguments." + "A" * (300 - len("arguments.")) + "…",
        ),
        (
            script(arguments={"A" * (128 * KIB - 6): True}),
            script(arguments={"A" * (128 * KIB - 5): True}),
            "arguments." + "A" * (300 - len("arguments.")) + "…",
        ),
        (
            script(arguments={"A": "secret"}, secret_arguments=["A"] * 1000),
            script(arguments={"A": "secret"}, secret_arguments=["A"] * 1001),
            "secret_arguments",
        ),
        (
            script(labels={"a": TWO_BYTES * (16 * KIB), "b": "x" * (32 * KIB - 2)}),
            script(labels={"a": TWO_BYTES * (16 * KIB), "b": "x" * (32 * KIB - 1)}),
            "labels",
        ),
        (
            script(labels={"platform": TWO_BYTES * 128}),
            script(labels={"platform": TWO_BYTES * 129}),
            "labels.platform",
        ),
        (
            script(human_readable_info=TWO_BYTES * (32 * KIB)),
            script(human_readable_info=TWO_BYTES * (32 * KIB) + "x"),
            "human_readable_info",
        ),
        (
            script(webhooks={"status": [f"http://h{number}/" for number in range(100)]}),
            script(webhooks={"status": [f"http://h{number}/" for number in range(101)]}),
            "webhooks.status",
        ),
        (
            script(webhooks={"logs": {"url": "http://h/", "headers": {"X" * 256: "y" * 8192}}}),
            script(webhooks={"logs": {"url": "http://h/", "headers": {"X": "y" * 8193}}}),
            "webhooks.logs.headers.X",
        ),
        (
            script(webhooks={"logs": {"url": "http://h/", "headers": {"X" * 256: "y"}}}),
            script(webhooks={"logs": {"url": "http://h/", "headers": {"X" * 257: "y"}}}),
            "webhooks.logs.headers." + "X" * 257,
        ),
        (
            script(source={"url": "https://h/a", "headers": {"X" * 256: "y" * 8192}}),
            script(source={"url": "https://h/a", "headers": {"X": "y" * 8193}}),
            "source.headers.X",
        ),
        (
            script(webhooks={"logs": kafka(100)}),
            script(webhooks={"logs": kafka(101)}),
            "webhooks.logs",
        ),
        (
            script(webhooks={"logs": [f"failover({kafka(50)}, {kafka(49)})", "http://h/"]}),
            script(webhooks={"logs": [f"failover({kafka(50)}, {kafka(50)})", "http://h/"]}),
            "webhooks.logs",
        ),
        (
            image("docker://r.example.com/" + "x" * (255 - len("r.example.com/"))),
            image("docker://r.example.com/" + "x" * (256 - len("r.example.com/"))),
            "destination.image",
        ),
        (
            script(metadata="x" * (64 * KIB - 2)),
            script(metadata="x" * (64 * KIB - 1)),
            "metadata",
        ),
    ],
)
def test_value_at_the_limit_is_accepted_and_one_more_is_refused(
    taken: dict[str, Any], refused: dict[str, Any], field: str
):
    parse(taken)
    with pytest.raises(InvalidRequestError) as caught:
        parse(refused)
    assert (caught.value.status, caught.value.field) == (400, field)


@pytest.mark.parametrize("number", ["0.%s1", "1.%s", "1e-%s1", "[-1.%s]"])
def test_numbers_in_metadata_count_as_they_are_written(number: str):
    """They come back like that in each status, however few digits a double needs."""
    text = b'{"source":{"url":"https://h/a"},"pipeline":"script","metadata":%s}'

    def metadata(characters: int) -> tuple[str, str]:
        written = number % ("0" * (characters + 2 - len(number)))
        request = parse_build_request(decode_json(text % written.encode()), settings(), PIPELINES).request
        return written, request.metadata_json

    written, recorded = metadata(64 * KIB)
    assert recorded == written
    with pytest.raises(InvalidRequestError) as caught:
        metadata(64 * KIB + 1)
    assert caught.value.field == "metadata"


def test_error_for_a_long_header_name_has_the_limit():
    with pytest.raises(InvalidRequestError, match="up to 256 letters"):
        parse(script(source={"url": "https://h/a", "headers": {"X" * 257: "y"}}))


def test_brokers_of_the_older_api_have_the_limit_of_other_receivers():
    body = {
        "app": "a",
        "space": "s",
        "app_uuid": "5f0c7b9a-3c1d-4e55-9d0a-2b8f6a1c7e10",
        "build_uuid": "0a7f4f0e-0000-4000-8000-0123456789ab",
    }
    body |= {"sources": "http://h/a", "gm_registry_host": "r.example.com", "gm_registry_repo": "apps"}

    def read(hosts: int) -> int:
        request = body | {"kafka_hosts": ",".join(f"h{number}" for number in range(hosts))}
        return len(read_legacy_request(request, settings(), PIPELINES["docker-image"], ()).request.log_hooks)

    assert read(100) == 1
    with pytest.raises(InvalidRequestError) as caught:
        read(101)
    assert caught.value.field == "kafka_hosts"


@pytest.mark.parametrize("option", ["context", "dockerfile"])
def test_length_of_a_path_within_the_source_is_limited(option: str):
    body = image("docker://r.example.com/app")
    for size, taken in ((500, True), (501, False)):
        asked = body | {"pipeline": {"name": "docker-image", "options": {option: "x" * size}}}
        with nullcontext() if taken else pytest.raises(InvalidRequestError, match=f"pipeline.options.{option}"):
            parse_build_request(asked, settings(), PIPELINES)
