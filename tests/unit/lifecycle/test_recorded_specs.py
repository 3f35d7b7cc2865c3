"""Specs in the database: those of earlier versions are read, and new ones have the same format.

The format is what an earlier version reads after a rollback. Builds that are running then must not be lost.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from jenkins_pipelines.catalogue import PIPELINES
from shuttle.lifecycle.build_spec import BuildSpec, make_spec
from shuttle.request import BuildRequest, parse_build_request, read_legacy_request
from shuttle.settings import load_settings
from shuttle.sources.kind import Source
from shuttle.sources.kinds.data import DataSource
from shuttle.sources.kinds.http import HttpSource
from shuttle.standing import Standing

UUID = "0bf1e5ac-0f0b-4f0c-9a54-21d1b3ee6a11"
SHA = "0123456789abcdef" * 4
SETTINGS = load_settings({})

# As earlier versions recorded them.
_NONE: dict[str, Any] = {"source_headers": {}, "source_object": None, "source_image": None}
SOURCES: dict[str, dict[str, Any]] = {
    "http": _NONE
    | {
        "source_url": "https://bob:s3cr3tpw@example.com/a.zip?sig=abcdefghij",
        "source_headers": {"X-Key": "some-key-value"},
        "checksum": SHA,
    },
    "data": _NONE | {"source_url": "data:", "checksum": SHA},
    "image": _NONE
    | {
        "source_url": "docker://u:imagepasswd@registry.example/org/base:1.2",
        "source_image": {
            "registry": "registry.example",
            "repository": "org/base",
            "tag": "1.2",
            "digest": None,
            "credentials": {"user": "u", "password": "imagepasswd"},
        },
        "checksum": None,
    },
    "git": _NONE
    | {
        "source_url": "git+https://u:gitpasswd@example.com/shop#main",
        "source_subdir": "services/shop",
        "source_submodules": False,
        "source_with_git": False,
        "checksum": None,
    },
    "earlier build": _NONE | {"source_url": f"https://shuttle.example/{UUID}", "source_object": UUID, "checksum": None},
}
_REQUEST = {
    "destination": {
        "registry": "registry.example",
        "repository": "org/app",
        "tag": "1",
        "digest": None,
        "credentials": {"user": "u", "password": "regpasswd"},
    },
    "destination_tags": ["latest"],
    "status_hooks": [{"url": "https://h/s", "headers": {"X-A": "bcdefghi"}}],
    "log_hooks": [{"url": "kafka://k/t", "headers": {}}],
    "metadata_json": '{"m":1}',
    "human_readable_info": None,
    "arguments": {"A": "b"},
    "effective_arguments": {"A": "b", "C": "d"},
    "secret_arguments": ["C"],
    "pipeline": "docker-image",
    "options": {"context": ".", "dockerfile": None},
    "timeout_seconds": 1200.0,
    "labels": {"l": "m"},
}
_SPEC = {
    "token": "t" * 43,
    "agent_key": "k" * 43,
    "standing": 2,
    "secrets": ["regpasswd", "bcdefghi", "d"],
    "registries": {"registry.example/org/app:1": ["u", "regpasswd"]},
    "insecure_registries": [],
    "no_cache": False,
    "max_line_bytes": 262144,
    "max_log_bytes": 2147483648,
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_spec_of_an_earlier_version_is_read_and_written_unchanged(source: dict[str, Any]):
    recorded = {"request": source | _REQUEST, **_SPEC}
    assert json.loads(BuildSpec.model_validate_json(json.dumps(recorded)).model_dump_json()) == recorded


def _new(source: dict[str, Any]) -> BuildRequest:
    body = {"source": source, "destination": {"image": "docker://registry.example/org/app"}}
    return parse_build_request(body, SETTINGS, PIPELINES).request


def _legacy(sources: str) -> BuildRequest:
    ids = {"app": "a", "space": "s", "app_uuid": UUID, "build_uuid": UUID}
    body = {**ids, "sources": sources, "gm_registry_host": "registry.example", "gm_registry_repo": "org"}
    return read_legacy_request(body, SETTINGS, PIPELINES["docker-image"], ("https://shuttle.example",)).request


@pytest.mark.parametrize(
    ("kind", "read", "source"),
    [
        (
            "http",
            _new,
            {
                "url": SOURCES["http"]["source_url"],
                "headers": {"X-Key": "some-key-value"},
                "checksum": f"sha256:{SHA}",
            },
        ),
        ("data", _new, {"url": "data:application/gzip;base64,AAAA", "checksum": f"sha256:{SHA}"}),
        ("image", _new, {"url": SOURCES["image"]["source_url"]}),
        ("git", _new, {"url": SOURCES["git"]["source_url"], "subdir": "services/shop"}),
        ("earlier build", _legacy, f"https://token@shuttle.example/{UUID}"),
    ],
)
def test_spec_of_a_new_build_has_the_format_of_earlier_versions(
    kind: str, read: Callable[[Any], BuildRequest], source: Any
):
    spec = make_spec(read(source), Standing.CONTROLLER, SETTINGS)
    recorded = json.loads(spec.model_dump_json())["request"]
    assert set(recorded) == set(SOURCES[kind]) | set(_REQUEST)
    assert {name: recorded[name] for name in SOURCES[kind]} == SOURCES[kind]


def test_spec_of_a_version_without_agent_keys_is_read():
    spec = {name: value for name, value in _SPEC.items() if name not in {"agent_key", "standing"}}
    request = {
        name: value for name, value in SOURCES["data"].items() if name not in {"source_headers", "source_object"}
    }
    read = BuildSpec.model_validate_json(json.dumps({"request": request | _REQUEST, **spec}))
    assert (read.agent_key, read.standing) == ("", Standing.CONTROLLER)


@pytest.mark.parametrize(("url", "kind"), [("HTTP://h/a.zip", HttpSource), ("DATA:base64,AAAA", DataSource)])
def test_scheme_in_a_recorded_spec_ignores_case(url: str, kind: type[Source]):
    """Earlier versions recorded `sources` of the older API as written."""
    recorded = {"request": _NONE | {"source_url": url, "checksum": None} | _REQUEST, **_SPEC}
    assert type(BuildSpec.model_validate_json(json.dumps(recorded)).request.source) is kind
