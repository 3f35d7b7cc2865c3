"""Requests that are refused, and the field that the error names."""

from typing import Any

import pytest

from shuttle.errors import InvalidRequestError
from shuttle.request import parse_build_request
from tests.unit.request.catalogue import IMAGE, PIPELINES, SHA, image, script, settings, source

_NO_TIMEOUTS: list[Any] = [True, "60", [], 0, 0.9, -1, 86401, 10**400]

_REFUSED: list[tuple[Any, str | None]] = [
    (None, None),
    ([], None),
    ("x", None),
    ({}, "source"),
    (script(source=None), "source"),
    (script(source="https://example.com/a.zip"), "source"),
    (script(source={}), "source.url"),
    (source(None), "source.url"),
    (source(1), "source.url"),
    (source(""), "source.url"),
    (source("example.com/a.zip"), "source.url"),
    (source("ftp://example.com/a.zip"), "source.url"),
    (source("file:///etc/passwd"), "source.url"),
    (source("https:///a.zip"), "source.url"),
    (source("https://a:0/a.zip"), "source.url"),
    (source("https://a/b c"), "source.url"),
    (source("https://a/\ud800"), "source.url"),
    (source("data:nothing"), "source.url"),
    (source("data:,\udfff"), "source.url"),
    (source("docker://a/b"), "source.url"),
    (source("http://a/b", checksum="sha256:12"), "source.checksum"),
    (source("http://a/b", checksum="md5:" + SHA), "source.checksum"),
    (source("http://a/b", checksum=SHA), "source.checksum"),
    (source("http://a/b", checksum=1), "source.checksum"),
    (script(destination=[]), "destination"),
    (script(destination={}), "destination.image"),
    (script(destination={"tags": ["x"]}), "destination.image"),
    (script(destination={"url": "docker://a:0/b"}), "destination.url"),
    (script(destination={"url": IMAGE, "image": IMAGE + ":1"}), "destination.url"),
    (image("registry.example.com/org/app"), "destination.image"),
    (image("https://registry.example.com/org/app"), "destination.image"),
    (image("docker://registry.example.com"), "destination.image"),
    (image("docker://registry.example.com/"), "destination.image"),
    (image("docker:///org/app"), "destination.image"),
    (image("docker://r.example.com/Org/app"), "destination.image"),
    (image("docker://r.example.com/org//app"), "destination.image"),
    (image("docker://r.example.com/org/app/"), "destination.image"),
    (image("docker://r.example.com/-app"), "destination.image"),
    (image("docker://r.example.com/a..b"), "destination.image"),
    (image("docker://r.example.com/a?b"), "destination.image"),
    (image("docker://r.example.com/app:"), "destination.image"),
    (image("docker://r.example.com/app:-x"), "destination.image"),
    (image("docker://r.example.com/app:a b"), "destination.image"),
    (image(f"docker://r.example.com/app:{'x' * 129}"), "destination.image"),
    (image(f"docker://r.example.com/{'x' * 250}"), "destination.image"),
    (image(f"{IMAGE}@sha256:{SHA.lower()}"), "destination.image"),
    (image(f"{IMAGE}:1@sha256:{SHA.lower()}"), "destination.image"),
    (image("docker://r.example.com:70000/app"), "destination.image"),
    (image("docker://[::g]/app"), "destination.image"),
    (image(IMAGE, tags="x"), "destination.tags"),
    (image(IMAGE, tags=["x", 1]), "destination.tags[1]"),
    (image(IMAGE, tags=["x", "a/b"]), "destination.tags[1]"),
    (script(webhooks=[]), "webhooks"),
    (script(webhooks={"status": 1}), "webhooks.status"),
    (script(webhooks={"status": ["http://a/", "x"]}), "webhooks.status[1]"),
    (script(webhooks={"logs": {"url": "http://a/", "headers": {"X-Y": 1}}}), "webhooks.logs.headers.X-Y"),
    (script(human_readable_info=1), "human_readable_info"),
    (script(human_readable_info="a\x00"), "human_readable_info"),
    (script(human_readable_info="\ud800"), "human_readable_info"),
    (script(human_readable_info="ä" * 32769), "human_readable_info"),
    (script(metadata="x" * 65535), "metadata"),
    (script(arguments=[]), "arguments"),
    (script(arguments={"A-B": "x"}), "arguments.A-B"),
    (script(arguments={"": "x"}), "arguments."),
    (script(arguments={"1A": "x"}), "arguments.1A"),
    (script(arguments={"Ä": "x"}), "arguments.Ä"),
    (script(arguments={"A\n": "x"}), "arguments.A\n"),
    (script(arguments={"A": None}), "arguments.A"),
    (script(arguments={"A": {}}), "arguments.A"),
    (script(arguments={"A": ["x"]}), "arguments.A"),
    (script(arguments={"A": "x\x00"}), "arguments.A"),
    (script(arguments={"A": "\udfff"}), "arguments.A"),
    (script(arguments={"A": "x" * 131_070}), "arguments.A"),
    (script(arguments={f"A{n}": "x" * 131_000 for n in range(9)}), "arguments"),
    (script(secret_arguments="A"), "secret_arguments"),
    (script(secret_arguments=[1]), "secret_arguments[0]"),
    (script(arguments={"A": "x"}, secret_arguments=["A", "B"]), "secret_arguments[1]"),
    (script(pipeline=1), "pipeline"),
    (script(pipeline="nope"), "pipeline"),
    (script(pipeline=[]), "pipeline"),
    (script(pipeline={}), "pipeline.name"),
    (script(pipeline={"name": "nope"}), "pipeline.name"),
    (script(pipeline={"name": "script", "options": []}), "pipeline.options"),
    (script(pipeline={"name": "script", "options": {"x": 1}}), "pipeline.options.x"),
    (script(pipeline={"name": "docker-image", "options": {"no_cache": "yes"}}), "pipeline.options.no_cache"),
    (script(pipeline="docker-image"), "destination.image"),
    *((script(timeout_seconds=seconds), "timeout_seconds") for seconds in _NO_TIMEOUTS),
    (script(webhooks={"logs": ["http://a/", "http://169.254.169.254/"]}), "webhooks.logs[1]"),
    (script(webhooks={"status": {"url": "http://[fe80::1]/"}}), "webhooks.status.url"),
    (script(labels=[]), "labels"),
    (script(labels={"a": 1}), "labels.a"),
    (script(labels={"a": None}), "labels.a"),
    (script(labels={"a": "\x00"}), "labels.a"),
    (script(labels={"a\x00": "b"}), "labels"),
    (script(auto_resume=True), "auto_resume"),
    *((script(auto_resume={"after_seconds": n}), "auto_resume.after_seconds") for n in (0, 604_801, "60", 1.5, True)),
    *((script(auto_resume={"attempts": n}), "auto_resume.attempts") for n in (0, 11, -1, "1")),
    (script(labels={str(n): "x" * 1000 for n in range(66)}), "labels"),
]


@pytest.mark.parametrize(("value", "field"), _REFUSED)
def test_invalid_request_is_refused_with_the_name_of_its_field(value, field):
    with pytest.raises(InvalidRequestError) as caught:
        parse_build_request(value, settings(), PIPELINES)
    assert caught.value.field == field
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("url", ["ssh://git@git.example.com/shop.git#main", "git@git.example.com:team/shop.git"])
def test_the_refusal_of_a_scheme_names_those_of_git_repositories(url):
    with pytest.raises(InvalidRequestError) as caught:
        parse_build_request(source(url), settings(), PIPELINES)
    schemes = "git+http, git+https, http, https, docker or data"
    assert caught.value.message == f"Write the source as a URL with the scheme {schemes}."
