"""Requests by packer over REST as ordinary requests: the app, the git source, the pipeline and its arguments."""

import re
import uuid
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

from jenkins_pipelines.argument_names import Passing, passing_of
from jenkins_pipelines.catalogue import PIPELINES
from shuttle.build import Build
from shuttle.errors import ConflictError, InvalidRequestError
from shuttle.lifecycle import Services
from shuttle.lifecycle.accept import Acceptance, AcceptedBuild
from shuttle.lifecycle.build_spec import read_spec
from shuttle.outgoing.userinfo import without_userinfo
from shuttle.request import PackerRun, ParsedRequest, canonical_json, parse_build_request
from shuttle.request.parse import check_text
from shuttle.settings import Settings
from shuttle.sources.kinds.git import is_ref
from shuttle.standing import Standing
from shuttle.store.builds import find_build
from shuttle.store.packer_requests import RecordedRun, runs_of
from shuttle.store.tx import Tx

PIPELINE = "packer-image"
LABEL = "packerd_request"
_SECRET_WORDS = frozenset({"key", "token", "secret", "pass", "password", "passwd", "pwd", "credential", "credentials"})
_BETWEEN_WORDS = re.compile(r"[_.\-]")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONG_VALUE_BYTES = 100 * 1024
_UNSAFE_IN_APP = re.compile(r"[^A-Za-z0-9._\-]+")
_APP_CHARACTERS = 40
# The fields of the ordinary request, and those of this one from which they come.
_FIELDS = (
    ("pipeline.options.template", "templatepath"),
    ("pipeline.options.only", "buildonly"),
    ("pipeline.options.secret_variables", "buildvars"),
    ("pipeline.options.variables", "buildvars"),
    ("secret_arguments", "buildvars"),
    ("arguments", "buildvars"),
    ("source.url", "giturl"),
)


@dataclass(frozen=True, slots=True)
class PackerRequest:
    """A request as its caller sent it; fields that are absent are "".

    `secrets` are names within `variables`. `with_git`: the agent gets the folder .git.
    """

    giturl: str = field(repr=False)
    branch: str = ""
    templatepath: str = ""
    buildonly: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Set[str] = frozenset()
    with_git: bool = False


def is_secret_name(name: str) -> bool:
    """Whether the value of such a variable is masked: its name has one of _SECRET_WORDS, or ends in `password`."""
    words = _BETWEEN_WORDS.split(name.lower())
    return name.lower().endswith("password") or not _SECRET_WORDS.isdisjoint(words)


async def accept_request(
    wanted: PackerRequest, acceptance: Acceptance, standing: Standing, services: Services
) -> AcceptedBuild:
    """Record the first run of a new request; its build id is the request's id.

    Raises what `Acceptance.accept` raises; an InvalidRequestError names the field of this request.
    """
    request_id = str(uuid.uuid4())
    parsed = _parsed(wanted, request_id, services.settings)
    return await acceptance.accept_parsed(
        app_of(wanted), request_id, parsed, canonical_json({LABEL: request_id, "run": 0}), standing
    )


async def accept_run(
    request_id: str, acceptance: Acceptance, standing: Standing, services: Services
) -> AcceptedBuild | None:
    """Record one more run of the request, which clones the repository anew; None = there is no such request.

    Simultaneous calls get the same run.

    Raises:
        ConflictError: a run has not ended yet. Others: see `Acceptance.accept`.
    """
    newest = await services.database.run(_newest_run, request_id)
    if newest is None:
        return None
    last, build = newest
    if not build.state.final:
        raise ConflictError(f"Run {last.run} of this request has not ended; wait for its end, or stop it.")
    spec = await read_spec(build.build_uuid, services.database, services.vault)
    run = last.run + 1
    parsed = ParsedRequest(spec.request, (), (), packer_run=PackerRun(request_id, run, last.fields))
    content = canonical_json({LABEL: request_id, "run": run})
    return await acceptance.accept_parsed(build.app_id, f"{request_id}.{run}", parsed, content, standing)


def _newest_run(tx: Tx, request_id: str) -> tuple[RecordedRun, Build] | None:
    runs = runs_of(tx, request_id)
    build = find_build(tx, runs[-1].build_uuid) if runs else None
    return None if build is None else (runs[-1], build)


def app_of(wanted: PackerRequest) -> str:
    """The app of a repository and a branch, so that builds of two branches run side by side."""
    url = without_userinfo(wanted.giturl)
    last = urlsplit(url).path.rstrip("/").rpartition("/")[2].removesuffix(".git")
    readable = _UNSAFE_IN_APP.sub("-", last)[:_APP_CHARACTERS].strip("-.") or "repository"
    digest = sha256(f"{url}\0{wanted.branch}".encode()).hexdigest()
    return f"packer-{readable}-{digest[:8]}"


def _parsed(wanted: PackerRequest, request_id: str, settings: Settings) -> ParsedRequest:
    """The checked request. Raises InvalidRequestError, which names the field."""
    shown = _shown(wanted)
    try:
        parsed = parse_build_request(_ordinary(wanted, request_id), settings, PIPELINES)
    except InvalidRequestError as error:
        raise InvalidRequestError(_renamed(error.message), field=_renamed(error.field or "") or None) from None
    warnings = tuple(map(_renamed, parsed.warnings))
    return ParsedRequest(parsed.request, (), warnings, packer_run=PackerRun(request_id, 0, shown))


def _ordinary(wanted: PackerRequest, request_id: str) -> dict[str, Any]:
    """The request as the body of `POST /:app_id/:build_id`."""
    secret = {name for name in wanted.variables if name in wanted.secrets or is_secret_name(name)}
    arguments = {name: value for name, value in wanted.variables.items() if _fits_environment(name, value)}
    others = {name: value for name, value in wanted.variables.items() if name not in arguments}
    options: dict[str, Any] = {"template": wanted.templatepath, "only": wanted.buildonly, "variables": others}
    options |= {"secret_variables": sorted(secret & others.keys()), "git": wanted.with_git}
    return {
        "source": {"url": _source_url(wanted)},
        "pipeline": {"name": PIPELINE, "options": {name: value for name, value in options.items() if value}},
        "arguments": arguments,
        "secret_arguments": sorted(secret & arguments.keys()),
        "labels": {LABEL: request_id},
    }


def _fits_environment(name: str, value: str) -> bool:
    """Whether the variable is in the environment of packer, too, where templates read it by `{{env}}`.

    Only packer's file of variables has the variable if its name changes how programs behave, if no environment can
    have such a name, or if its value is very long.
    """
    if not _ENVIRONMENT_NAME.fullmatch(name) or passing_of(name) is not Passing.ORDINARY:
        return False
    return len(value.encode("utf-8", "replace")) <= _LONG_VALUE_BYTES


def _source_url(wanted: PackerRequest) -> str:
    if wanted.branch and not is_ref(wanted.branch):
        raise InvalidRequestError("Name a branch, a tag or a commit as branch.", field="branch")
    scheme, separator, _ = wanted.giturl.partition("://")
    if scheme.lower() not in {"http", "https"} or not separator:
        raise InvalidRequestError(
            "Write giturl as an http or https URL; this service has no key for ssh.", field="giturl"
        )
    if "#" in wanted.giturl:
        raise InvalidRequestError(
            "Leave the # out of giturl; branch names a branch, a tag or a commit.", field="giturl"
        )
    ref = f"#{quote(wanted.branch, safe='/')}" if wanted.branch else ""
    return f"git+{wanted.giturl}{ref}"


def _shown(wanted: PackerRequest) -> dict[str, str]:
    """The fields that callers see. Raises InvalidRequestError for a text that no database can store."""
    shown = {
        "giturl": without_userinfo(wanted.giturl),
        "branch": wanted.branch,
        "templatepath": wanted.templatepath,
        "buildonly": wanted.buildonly,
    }
    for name, value in shown.items():
        check_text(value, name)
    return {name: value for name, value in shown.items() if value}


def _renamed(text: str) -> str:
    for ordinary, own in _FIELDS:
        text = text.replace(ordinary, own)
    return text
