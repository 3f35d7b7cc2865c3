"""The spec of a build: everything that is fixed at acceptance, stored encrypted (column `plan`); later steps use it."""

import hmac
import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256

from pydantic import BaseModel, ConfigDict, Field

from jenkins_pipelines.catalogue import PIPELINES
from jenkins_pipelines.environment import AgentEnvironment, LeftFile
from shuttle.build import Build
from shuttle.lifecycle.state_token import STATE_PATH, state_token, state_tokens
from shuttle.logs import LogRules
from shuttle.request import VARIABLE_OPTIONS, BuildRequest, Resumed, secrets_of
from shuttle.settings import Settings
from shuttle.standing import Standing
from shuttle.store import Database
from shuttle.store.builds import sealed_spec
from shuttle.vault import Vault


class BuildSpec(BaseModel):
    """The checked request with the operator's settings at acceptance; encrypted in the build's row."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    request: BuildRequest = Field(repr=False)
    token: str = Field(repr=False)
    agent_key: str = Field("", repr=False)
    # Made of the uuids of the build and its children whenever the spec is read.
    state_token: str = Field("", repr=False, exclude=True)
    state_tokens: dict[str, str] = Field(default_factory=dict, repr=False, exclude=True)
    masked_tokens: tuple[str, ...] = Field((), repr=False, exclude=True)
    # The uuids of the records of the platforms, by their names.
    children: dict[str, str] = Field(default_factory=dict, exclude_if=lambda children: not children)
    # The caller's standing. Specs that an older version recorded have none.
    standing: Standing = Standing.CONTROLLER
    resumes: Resumed | None = Field(None, exclude_if=lambda resumes: resumes is None)
    secrets: tuple[str, ...] = Field(repr=False)
    registries: dict[str, tuple[str, str]] = Field(repr=False)
    insecure_registries: tuple[str, ...]
    no_cache: bool
    max_line_bytes: int
    max_log_bytes: int

    @property
    def log_rules(self) -> LogRules:
        """The rules that make the log's transformation a pure function of the agents' bytes."""
        return LogRules(
            secrets=(*self.secrets, self.token, *self.masked_tokens),
            max_line_bytes=self.max_line_bytes,
            max_log_bytes=self.max_log_bytes,
        )


async def read_spec(build_uuid: str, database: Database, vault: Vault) -> BuildSpec:
    """The spec of a recorded build. Raises StoreError."""
    return open_spec(build_uuid, await database.run(sealed_spec, build_uuid), vault)


def open_spec(build_uuid: str, sealed: bytes, vault: Vault) -> BuildSpec:
    """The spec of a build, from its encrypted form in the database."""
    spec = BuildSpec.model_validate_json(vault.open(sealed))
    tokens = {platform: state_token(child_uuid, vault) for platform, child_uuid in spec.children.items()}
    masked = [token for each in (build_uuid, *spec.children.values()) for token in state_tokens(each, vault)]
    own = {"state_token": state_token(build_uuid, vault), "state_tokens": tokens, "masked_tokens": tuple(masked)}
    return spec.model_copy(update=own)


def make_spec(
    request: BuildRequest,
    standing: Standing,
    settings: Settings,
    resumes: Resumed | None = None,
    left_secrets: tuple[str, ...] = (),
) -> BuildSpec:
    """Copy everything that a later change of settings must not alter.

    A `data:` source is not copied, because the object store has it.
    """
    registries = {
        host: (user, password.get_secret_value())
        for host, (user, password) in settings.extra_docker_registry_config.items()
    }
    for image, references in ((request.source.pulled_image, ()), (request.destination, request.destinations)):
        if image is not None and image.credentials is not None:
            pair = (image.credentials.user, image.credentials.password)
            registries |= dict.fromkeys(references or (image.reference,), pair)
    if request.source.data_url is not None:
        request = request.model_copy(update={"source": request.source.without_content()})
    return BuildSpec(
        request=request,
        token=new_token(),
        agent_key=new_token(),
        standing=standing,
        resumes=resumes,
        children={platform.name: str(uuid.uuid4()) for platform in request.platforms},
        secrets=tuple(dict.fromkeys((*secrets_of(request, settings), *filter(None, left_secrets)))),
        registries=registries,
        insecure_registries=settings.shuttle_insecure_registries,
        no_cache=settings.no_cache,
        max_line_bytes=settings.shuttle_max_line_bytes,
        max_log_bytes=settings.shuttle_max_log_bytes,
    )


def new_token() -> str:
    """The build's own token: 256 bits, safe in a header and in a form."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """The recorded form of a token: SHA-256 in hex. A token of 256 random bits cannot be guessed from it."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()  # a caller may send any bytes


def claim_token(spec: BuildSpec, kind: str, branch: str, nonce: str) -> str:
    """The `setup` or `run` token of one attempt: derived from the nonce, and stored nowhere."""
    named = "\0".join((kind, branch, nonce)).encode()
    return urlsafe_b64encode(hmac.digest(spec.agent_key.encode(), named, "sha256")).decode().rstrip("=")


def agent_environment(
    build: Build,
    spec: BuildSpec,
    public_url: str,
    *,
    branch: str = "",
    with_credentials: bool,
    left_variables: Mapping[str, str] | None = None,
    left_files: Sequence[LeftFile] = (),
) -> AgentEnvironment:
    """The answer to `GET …/environment`; with credentials only for pipelines that pull or push images.

    The `branch` of a platform gets that platform's arguments, and the token of that platform's record.
    `public_url` is that of the service as agents see it.
    """
    request = spec.request
    kind = PIPELINES[request.pipeline]
    image = request.source.pulled_image
    with_credentials = with_credentials and kind.needs_destination
    own = _given_variables(build, spec, public_url, branch)
    return AgentEnvironment(
        app_id=build.app_id,
        build_id=build.build_id,
        build_uuid=build.build_uuid,
        arguments=own | request.effective_arguments | _arguments_of(request, branch),
        secret_arguments=list(request.secret_arguments),
        destinations=list(request.destinations),
        registries=spec.registries if with_credentials else {},
        source_image=image.reference if image is not None else None,
        labels=request.labels,
        no_cache=spec.no_cache,
        insecure_registries=list(spec.insecure_registries),
        options={name: value for name, value in request.options.items() if name not in VARIABLE_OPTIONS},
        variables=request.arguments | request.variables if kind.takes_variables else None,
        own_variables=own | request.effective_arguments | _template_variables(own) if kind.takes_variables else {},
        left_variables=dict(left_variables or {}),
        left_files=list(left_files),
    )


def _arguments_of(request: BuildRequest, branch: str) -> dict[str, str]:
    return next((platform.arguments for platform in request.platforms if platform.name == branch), {})


def _given_variables(build: Build, spec: BuildSpec, public_url: str, branch: str) -> dict[str, str]:
    """Variables of the service for the build; arguments of the same names take precedence."""
    platform = branch if branch in spec.children else None
    resumes = spec.resumes
    if platform is not None and resumes is not None:
        resumes = resumes.platforms.get(platform, resumes)
    variables = _git_variables(build, spec.request) | _resume_variables(resumes)
    if PIPELINES[spec.request.pipeline].needs_destination:
        # Here variables become build arguments, so those of `bldst` would put the token into an image.
        return variables
    api_url = f"{public_url.rstrip('/')}{STATE_PATH}"
    if platform is None:
        return variables | _bldst_variables(build.build_uuid, spec.state_token, api_url)
    own = _bldst_variables(spec.children[platform], spec.state_tokens[platform], api_url)
    return variables | own | {"PLATFORM": platform}


def _template_variables(own: dict[str, str]) -> dict[str, str]:
    """What `bldst` needs, under the names that templates declare for it."""
    names = {"build_uuid": "BLDST_BUILD_ID", "bldst_api_url": "BLDST_API_URL", "bldst_api_key": "BLDST_API_KEY"}
    return {name: own[variable] for name, variable in names.items() if variable in own}


def _bldst_variables(build_uuid: str, token: str, api_url: str) -> dict[str, str]:
    """What `bldst` needs to report the states of this build, under its current names and its older ones."""
    values = {"API_URL": api_url, "API_KEY": token, "BUILD_ID": build_uuid}
    return {f"{prefix}_{name}": value for prefix in ("BLDST", "BUILDSTATE") for name, value in values.items()}


def _resume_variables(resumes: Resumed | None) -> dict[str, str]:
    """Variables of a build that resumes another one; existing scripts read the first four."""
    if resumes is None:
        return {}
    return {
        "RESUME_MODE": "true",
        "RESUME_FROM_STATE": str(resumes.state_code),
        "RESUME_BUILD_ID": resumes.build_uuid,
        "BUILD_ID": resumes.build_uuid,
        "SHUTTLE_RESUME_FROM": str(resumes.state_code),
    }


def _git_variables(build: Build, request: BuildRequest) -> dict[str, str]:
    """Variables with the commit, branch and URL of a git source."""
    commit, branch, repository = build.source.commit, build.source.branch, request.source.repository
    named = {"GIT_COMMIT": commit, "GIT_BRANCH": branch, "GIT_URL": repository}
    return {name: value for name, value in named.items() if value is not None}
