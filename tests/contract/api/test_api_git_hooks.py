"""Webhooks of GitHub, GitLab and Gitea at /-/hooks/git (docs/operating.md, "Webhooks of git servers")."""

import hmac
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
import pytest_asyncio

from tests.support.inprocess import Shuttle, running_shuttle

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH, SECRET = "/-/hooks/git", "secret-of-the-hook"
PUSH = b'{ "ref": "refs/heads/main", "repository": {"clone_url": "https://git.example/org/shop.git"}}\n'
PING = b'{"zen":"Keep it logically awesome."}'


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hooked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shuttle]:
    """A shuttle with tokens, which git servers do not have."""
    settings = {"SHUTTLE_TOKENS": "controller:only-others-have-it", "SHUTTLE_HOOK_SECRET": SECRET}
    async with running_shuttle(tmp_path_factory.mktemp("hooked"), **settings) as shuttle:
        yield shuttle


def signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, "sha256").hexdigest()


def github(body: bytes, event: str, secret: str = SECRET) -> dict[str, str]:
    return {"X-GitHub-Event": event, "X-Hub-Signature-256": f"sha256={signature(body, secret)}"}


def gitlab(_: bytes, event: str, secret: str = SECRET) -> dict[str, str]:
    return {"X-Gitlab-Event": event, "X-Gitlab-Token": secret}


def gitea(body: bytes, event: str, secret: str = SECRET) -> dict[str, str]:
    """As Gitea sends it, with the header of GitHub in addition."""
    return {"X-Gitea-Event": event, "X-Gitea-Signature": signature(body, secret), **github(body, event, secret)}


@pytest.mark.parametrize(
    ("server", "event", "body"),
    [
        (github, "push", PUSH),
        (github, "ping", PING),
        (gitlab, "Push Hook", PUSH),
        (gitlab, "Tag Push Hook", PUSH),
        (gitea, "push", PUSH),
        (github, "push", b"[" + b" " * (3 * 1024 * 1024) + b"]"),
    ],
    ids=["github", "github-ping", "gitlab", "gitlab-tag", "gitea", "large"],
)
async def test_authentic_event_is_accepted_and_starts_nothing(hooked: Shuttle, server, event: str, body: bytes):
    headers = {"Content-Type": "application/json", **server(body, event)}
    answer = await hooked.ask("POST", PATH, data=BytesIO(body), headers=headers)
    assert (answer.status, answer.json) == (200, {"started": []})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        github(PUSH, "push", "another-secret-00"),
        gitlab(PUSH, "Push Hook", "another-secret-00"),
        gitea(PUSH, "push", "another-secret-00"),
        github(PUSH.strip(), "push"),
        {"X-Hub-Signature-256": signature(PUSH)},
        {"X-Hub-Signature-256": f"sha1={hmac.new(SECRET.encode(), PUSH, 'sha1').hexdigest()}"},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": SECRET},
        {"X-Gitea-Signature": ""},
        {"X-Gitlab-Token": ""},
        {"X-Gitlab-Token": SECRET[:-1]},
        {"X-Gitlab-Token": f"{SECRET}é"},
        {"Authorization": "Bearer only-others-have-it"},
    ],
    ids=str,
)
async def test_event_without_the_right_signature_is_refused(hooked: Shuttle, headers: dict[str, str]):
    answer = await hooked.post(PATH, PUSH, headers=headers)
    assert (answer.status, answer.json["code"]) == (401, "unauthorized")
    assert "SHUTTLE_HOOK_SECRET" in answer.json["message"]
    assert SECRET not in answer.text


async def test_body_must_be_plain_json_of_limited_size(hooked: Shuttle):
    form = {"Content-Type": "application/x-www-form-urlencoded", **github(PUSH, "push")}
    assert (await hooked.post(PATH, PUSH, headers=form)).status == 415
    encoded = {"Content-Encoding": "gzip", **github(PUSH, "push")}
    assert (await hooked.post(PATH, PUSH, headers=encoded)).status == 415
    too_large = b" " * (25 * 1024 * 1024 + 1)
    sent: dict[str, Any] = {
        "data": BytesIO(too_large),
        "headers": {"Content-Type": "application/json", **github(too_large, "push")},
    }
    assert (await hooked.ask("POST", PATH, **sent)).status == 413


async def test_without_a_secret_no_event_is_accepted(idle: Shuttle):
    for headers in ({}, github(PUSH, "push", ""), gitlab(PUSH, "Push Hook", "")):
        answer = await idle.post(PATH, PUSH, headers=headers)
        assert (answer.status, answer.json["code"]) == (403, "forbidden")
        assert "SHUTTLE_HOOK_SECRET" in answer.json["message"]


async def test_only_post_is_answered(hooked: Shuttle):
    answer = await hooked.get(PATH)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
