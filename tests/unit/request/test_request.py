"""Requests of the new API: every field, accepted and refused values, and the names in errors."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.userinfo import Credentials
from shuttle.request import AutoResume, BuildRequest, canonical_json, decode_json, parse_build_request, secrets_of
from shuttle.sources.kinds.git import GitSource
from shuttle.sources.kinds.http import HttpSource
from shuttle.sources.kinds.image import ImageSource
from tests.unit.request.catalogue import FIXED, IMAGE, PIPELINES, SHA, image, parse, script, settings, source


def test_every_field_of_a_request_is_read():
    parsed = parse(
        {
            "source": {"url": "https://bob:s3cr3tpw@example.com/a.zip", "checksum": f"sha256:{SHA}"},
            "destination": {"image": "docker://u:regpasswd@r.example.com:5000/org/app:1.2", "tags": ["1", "1.2", "x"]},
            "webhooks": {
                "status": "https://tokentoken@a.example/s",
                "logs": ["http://b.example/l", {"url": "http://c.example/", "headers": {"X-Key": "headerkey"}}],
            },
            "metadata": {"b": [1, 1.5, None], "a": "ä"},
            "human_readable_info": "commit 1\nof many",
            "arguments": {"TEXT": "a b", "NUMBER": 1.0, "FRACTION": 0.1, "YES": True, "_TOKEN": "argument secret"},
            "secret_arguments": ["_TOKEN", "GLOBAL", "_TOKEN"],
            "pipeline": {"name": "docker-image", "options": {"no_cache": True}},
            "timeout_seconds": 1.5,
            "labels": {"team": "x"},
            "auto_resume": {"after_seconds": 60, "attempts": 3},
        },
        EXTRA_BUILD_ARGS='{"TEXT":"overridden","GLOBAL":"global secret"}',
    )
    request = parsed.request
    assert request.source.url == "https://bob:s3cr3tpw@example.com/a.zip"
    assert request.checksum == SHA.lower()
    app = "r.example.com:5000/org/app"
    assert request.destinations == (f"{app}:1.2", f"{app}:1", f"{app}:x")
    assert [hook.url for hook in request.status_hooks] == ["https://tokentoken@a.example/s"]
    assert [dict(hook.headers) for hook in request.log_hooks] == [{}, {"X-Key": "headerkey"}]
    assert decode_json(request.metadata_json.encode()) == {"b": [1, 1.5, None], "a": "ä"}
    assert request.human_readable_info == "commit 1\nof many"
    arguments = {"TEXT": "a b", "NUMBER": "1", "FRACTION": "0.1", "YES": "true", "_TOKEN": "argument secret"}
    assert request.arguments == arguments
    assert request.effective_arguments == {"GLOBAL": "global secret"} | arguments
    assert request.secret_arguments == ("_TOKEN", "GLOBAL")
    assert (request.pipeline, request.options) == ("docker-image", {"no_cache": True})
    assert (request.timeout_seconds, request.labels) == (1.5, {"team": "x"})
    assert request.auto_resume == AutoResume(after_seconds=60, attempts=3)
    assert (parsed.ignored_fields, parsed.warnings) == ((), ())
    assert set(secrets_of(request, settings())) == {
        *("s3cr3tpw", "regpasswd", "tokentoken", "headerkey", "argument secret", "global secret")
    }
    for secret in secrets_of(request, settings()):
        assert secret not in repr(parsed)
    assert BuildRequest.model_validate_json(request.model_dump_json()) == request


def test_smallest_request_gets_the_defaults():
    request = parse(script(), TIMEOUT_IN_MS="90000").request
    assert request.timeout_seconds == 90
    assert request.metadata_json == "null"
    assert (request.destinations, request.status_hooks, request.log_hooks) == ((), (), ())
    assert (request.arguments, request.labels, request.human_readable_info) == ({}, {}, None)
    assert (
        parse({"source": {"url": "http://h/a.zip"}, "destination": {"url": IMAGE}}).request.pipeline == "docker-image"
    )


def test_automatic_resume_has_defaults_and_its_unknown_fields_are_named():
    parsed = parse(script(auto_resume={"attempts": None, "odd": 1}))
    assert parsed.request.auto_resume == AutoResume(after_seconds=3600, attempts=1)
    assert parsed.ignored_fields == ("auto_resume.odd",)


def test_null_counts_as_absent_for_optional_fields():
    optional = dict.fromkeys(
        [
            *("destination", "webhooks", "metadata", "human_readable_info", "arguments", "secret_arguments"),
            *("timeout_seconds", "labels", "auto_resume", "resume_from"),
        ]
    )
    assert parse(script(**optional)).request == parse(script()).request


@pytest.mark.parametrize(
    ("url", "repository", "ref"),
    [
        ("git+https://example.com/x", "https://example.com/x", None),
        ("GIT+HTTP://example.com:8080/x#main", "http://example.com:8080/x", "main"),
        ("https://example.com/x.git#", "https://example.com/x.git", None),
        ("https://u:pa%23ss@example.com/x.git/#feat%2F%23x", "https://example.com/x.git/", "feat/#x"),
        ("git+https://token@example.com/x#" + "a" * 255, "https://example.com/x", "a" * 255),
    ],
)
def test_git_source_has_a_repository_and_a_ref(url: str, repository: str, ref: str | None):
    request = parse(script(source={"url": url, "subdir": "a/b", "submodules": True})).request
    assert isinstance(request.source, GitSource)
    assert (request.source.repository, request.source.ref) == (repository, ref)
    assert (request.source.subdir, request.source.submodules) == ("a/b", True)
    assert BuildRequest.model_validate_json(request.model_dump_json()) == request
    assert secrets_of(request, settings()) == tuple(
        secret for secret in ("pa#ss", "token") if secret.replace("#", "%23") in url
    )


@pytest.mark.parametrize(
    "ref",
    [
        *("-x", "--upload-pack=touch", "a..b", "a:b", "a*", "a^", "a~1", "a?", "a[", "a%20b", "a%0Ab", "a%00", "a%5Cb"),
        *("@", "a@%7B0}", "a.lock", "a.lock/b", "/a", "a/", "a//b", ".a", "a/.b", "a.", "%FF", "a" * 256),
    ],
)
def test_ref_that_git_would_not_take_is_refused(ref: str):
    assert refused({"source": {"url": f"git+https://example.com/x#{ref}"}, "pipeline": "script"}) == "source.url"


@pytest.mark.parametrize("subdir", ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/.GIT/b", "a\nb", "a" * 1025])
def test_subdir_that_is_no_plain_path_is_refused(subdir: str):
    value = script(source={"url": "git+https://example.com/x", "subdir": subdir})
    assert refused(value) == "source.subdir"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"url": "git+https://example.com/x?token=secret#main"}, "source.url"),
        ({"url": "git+https://user:pass%0Ahost=other@example.com/x"}, "source.url"),
        ({"url": "git+https://example.com/x", "checksum": f"sha256:{SHA}"}, "source.checksum"),
        ({"url": "git+https://example.com/x", "headers": {"A": "b"}}, "source.headers"),
        ({"url": "git+ssh://git@example.com/x"}, "source.url"),
        ({"url": "https://example.com/a.zip", "subdir": "a"}, "source.subdir"),
        ({"url": "docker://example.com/a", "submodules": False}, "source.submodules"),
    ],
)
def test_field_or_url_part_that_a_source_cannot_have_is_refused(fields: dict[str, object], field: str):
    assert refused(script(source=fields, pipeline="docker-image", destination={"image": IMAGE})) == field


def refused(value: object) -> str | None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(value)
    return caught.value.field


@pytest.mark.parametrize(
    "url",
    [
        "http://h/x.git",
        "HTTP://example.com/x",
        "data:base64,AAAA",
        "data:application/gzip;base64,AAAA",
        "data:,x%20y",
        "https://u:p%40@[::1]:8080/x?sig=a%2Fb",
    ],
)
def test_source_url_is_accepted(url):
    scheme = url.partition(":")[0]
    assert parse(source(url)).request.source.url == scheme.lower() + url.removeprefix(scheme)


def test_image_source_is_accepted_if_the_pipeline_accepts_it():
    fields = {"destination": {"image": IMAGE}, "pipeline": "docker-image"}
    request = parse({"source": {"url": f"DOCKER://u:p%2Fw@h:1/a/b:c@sha256:{SHA.lower()}"}, **fields}).request
    assert isinstance(request.source, ImageSource)
    assert request.source.image.credentials == Credentials("u", "p/w")
    assert request.source.image.reference == f"h:1/a/b@sha256:{SHA.lower()}"
    assert request.source.url.startswith("docker://")
    with pytest.raises(InvalidRequestError, match="checksum") as caught:
        parse({"source": {"url": IMAGE, "checksum": f"sha256:{SHA}"}, **fields})
    assert caught.value.field == "source.checksum"


@pytest.mark.parametrize(
    ("url", "reference"),
    [
        ("docker://r.example.com/app", "r.example.com/app:latest"),
        ("docker://r.example.com:5000/a/b/c:x_Y.1-2", "r.example.com:5000/a/b/c:x_Y.1-2"),
        ("docker://token@r.example.com/a__b/c--d", "r.example.com/a__b/c--d:latest"),
        ("docker://[::1]:5000/app", "[::1]:5000/app:latest"),
        ("docker://10.0.0.0.1/app", "10.0.0.0.1/app:latest"),
        ("docker://localhost/app", "localhost/app:latest"),
        ("docker://registry/org/app", "registry:443/org/app:latest"),
    ],
)
def test_destination_is_accepted(url, reference):
    assert parse(image(url)).request.destinations == (reference,)
    assert parse(script(destination={"url": url, "image": url})).request.destinations == (reference,)


def test_unknown_fields_are_reported_at_every_level():
    parsed = parse(
        script(
            extra=1,
            source={"url": "http://h/x", "depth": 1},
            destination={"image": IMAGE, "size": 2},
            webhooks={"email": "x", "logs": [{"url": "http://h/", "retry": True}]},
            pipeline={"name": "script", "version": 3},
        )
    )
    assert set(parsed.ignored_fields) == {
        *("extra", "source.depth", "destination.size", "webhooks.email", "webhooks.logs[0].retry", "pipeline.version")
    }


def test_warnings_name_secrets_too_short_to_be_masked():
    parsed = parse(
        script(
            source={"url": "http://u:ab12c@h/x"},
            webhooks={"logs": {"url": "http://h/", "headers": {"X-Pin": "9942"}}},
            arguments={"PIN": 123, "EMPTY": "", "LONG": "abcdef"},
            secret_arguments=["PIN", "EMPTY", "LONG"],
        )
    )
    assert [warning.split(" ")[0] for warning in parsed.warnings] == [
        *("source.url", "webhooks.logs[0].headers.X-Pin", "arguments.PIN")
    ]
    assert not any(value in " ".join(parsed.warnings) for value in ("ab12c", "9942", "123"))


def test_registry_passwords_and_bearer_tokens_are_masked_too():
    request = parse(script(webhooks={"logs": {"url": "http://h/", "headers": {"Authorization": "Bearer abcdefgh"}}}))
    registries = '{"r.example.com":{"username":"ops","password":"registry password"}}'
    secrets = secrets_of(request.request, settings(EXTRA_DOCKER_REGISTRY_CONFIG=registries))
    assert set(secrets) == {"Bearer abcdefgh", "abcdefgh", "registry password"}


def test_size_of_metadata_is_that_of_compact_utf_8():
    assert parse(script(metadata="ä" * 32767)).request.metadata_json.isascii()
    lone = decode_json(b'{"a":"\\ud800"}')
    metadata_json = parse_build_request(script(metadata=lone), settings(), PIPELINES).request.metadata_json
    assert decode_json(metadata_json.encode()) == lone


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = [
    *("source", "destination", "webhooks", "metadata", "human_readable_info", "arguments", "secret_arguments"),
    *("pipeline", "timeout_seconds", "labels", "auto_resume", "resume_from"),
]


@FIXED
@given(st.dictionaries(st.sampled_from(_FIELDS), _ANYTHING), st.booleans())
def test_any_json_gives_a_request_or_an_invalid_request_error(fields, complete):
    value = script(**fields) if complete else fields
    with suppress(InvalidRequestError):
        metadata_json = parse(value).request.metadata_json
        assert canonical_json(decode_json(metadata_json.encode())) == canonical_json(value.get("metadata"))


def test_values_in_the_source_query_are_secret_as_written_and_decoded():
    request = parse(
        source("https://h/a?X-Date=20301231&short=1234567&s=a%2Fb+c%3dde;bare-token#fragment-of-it")
    ).request
    assert set(secrets_of(request, settings())) == {*("20301231", "a%2Fb+c%3dde", "a/b+c=de", "a/b c=de", "bare-token")}


def test_source_headers_are_secret():
    headers = {"Authorization": "Bearer token-of-the-source", "X-Key": "another-key"}
    parsed = parse(source("https://h/a", headers=headers))
    assert isinstance(parsed.request.source, HttpSource)
    assert parsed.request.source.headers == headers
    assert set(secrets_of(parsed.request, settings())) == {*headers.values(), "token-of-the-source"}
    assert "token-of-the-source" not in repr(parsed)
    assert parsed.ignored_fields == ()
    assert BuildRequest.model_validate_json(parsed.request.model_dump_json()) == parsed.request


@pytest.mark.parametrize(
    ("url", "headers", "field"),
    [
        ("https://h/a", {"bad name": "x"}, "source.headers.bad name"),
        ("https://h/a", {"X": "a\nb"}, "source.headers.X"),
        ("https://h/a", {"X": 1}, "source.headers.X"),
        ("https://h/a", "X: y", "source.headers"),
        ("https://h/a", {"Host": "other"}, "source.headers.Host"),
        ("https://h/a", {"Range": "bytes=1-"}, "source.headers.Range"),
        ("https://h/a", {"Accept-Encoding": "gzip"}, "source.headers.Accept-Encoding"),
        ("https://u:password@h/a", {"authorization": "Bearer x"}, "source.headers.authorization"),
        ("data:,x", {"X": "value"}, "source.headers"),
    ],
)
def test_invalid_source_headers_are_refused(url: str, headers: object, field: str):
    with pytest.raises(InvalidRequestError) as caught:
        parse(source(url, headers=headers))
    assert caught.value.field == field
