"""`POST /-/hooks/git`: the webhooks of GitHub, GitLab and Gitea, which prove that they know SHUTTLE_HOOK_SECRET."""

import asyncio
import hmac
import mmap
from collections.abc import Mapping
from hashlib import sha256

from aiohttp import web

from shuttle.errors import BusyError, CannotRecordError, ForbiddenError, UnauthorizedError
from shuttle.web import SERVICES
from shuttle.web.answers import json_answer
from shuttle.web.body import body_in_place, check_content_type, refuse_encoded
from shuttle.web.description import BYTES_ERRORS, Parameter, describe
from shuttle.web.models import StartedByHook

_GITHUB, _GITLAB, _GITEA = "X-Hub-Signature-256", "X-Gitlab-Token", "X-Gitea-Signature"
# GitHub sends no larger ones.
_MAX_BODY_BYTES = 25 * 1024 * 1024
# The event loop signs smaller bodies itself: SHA-256 takes about 2 ms for 1 MiB.
_SIGNED_AT_ONCE_BYTES = 1024 * 1024
_TEXT = {"type": "string"}


@describe(
    StartedByHook,
    body="application/json",
    errors=(*BYTES_ERRORS, ForbiddenError, UnauthorizedError, BusyError, CannotRecordError),
    parameters=(
        Parameter(_GITHUB, _TEXT, "GitHub: `sha256=` and the HMAC of the body.", location="header"),
        Parameter(_GITLAB, _TEXT, "GitLab: the secret.", location="header"),
        Parameter(_GITEA, _TEXT, "Gitea: the HMAC of the body.", location="header"),
    ),
)
async def post_git_hook(request: web.Request) -> web.StreamResponse:
    """`POST /-/hooks/git`: 200 for every event with a valid signature. No job has a trigger yet, so none starts."""
    secret = request.app[SERVICES].settings.shuttle_hook_secret.get_secret_value()
    if not secret:
        raise ForbiddenError(
            "Set SHUTTLE_HOOK_SECRET, and the same secret in the webhook's settings: this service has none."
        )
    if not any(name in request.headers for name in (_GITHUB, _GITLAB, _GITEA)):
        raise _refused()
    refuse_encoded(request)
    check_content_type(request)
    async with body_in_place(request, _MAX_BODY_BYTES) as body:
        is_authentic = await _is_authentic(request.headers, body, secret)
    if not is_authentic:
        raise _refused()
    return json_answer(StartedByHook(started=[]))


async def _is_authentic(headers: Mapping[str, str], body: bytes | mmap.mmap, secret: str) -> bool:
    """Whether one of the headers proves it: Gitea also sends that of GitHub."""
    if len(body) < _SIGNED_AT_ONCE_BYTES:
        signature = _signature(body, secret)
    else:
        signature = await asyncio.to_thread(_signature, body, secret)
    expected = {_GITHUB: f"sha256={signature}", _GITLAB: secret, _GITEA: signature}
    equal = [_are_equal(headers.get(name, ""), value) for name, value in expected.items()]
    return any(equal)


def _signature(body: bytes | mmap.mmap, secret: str) -> str:
    return hmac.digest(secret.encode(), body, "sha256").hex()


def _are_equal(sent: str, expected: str) -> bool:
    """Compare digests, so that the time tells nothing about the length of the secret."""
    return hmac.compare_digest(_digest(sent), _digest(expected))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogateescape")).digest()


def _refused() -> UnauthorizedError:
    return UnauthorizedError(
        "Enter the value of SHUTTLE_HOOK_SECRET as the secret of the webhook; this request is not signed with it.",
        headers={"WWW-Authenticate": 'Signature realm="build shuttle"'},
    )
