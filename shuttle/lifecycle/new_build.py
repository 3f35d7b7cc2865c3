"""The row of a new build, made of its request."""

from dataclasses import dataclass
from typing import Any

from shuttle.build import Api, child_id_of, job_name_of
from shuttle.lifecycle import Services
from shuttle.lifecycle.build_spec import BuildSpec, make_spec, token_digest
from shuttle.lifecycle.new_endpoints import new_endpoints
from shuttle.outgoing.endpoints import PayloadFormat
from shuttle.request import BuildRequest, ParsedRequest, Resumed, check_id
from shuttle.standing import Standing
from shuttle.store.new_build import NewBuild, NewChild

# The `request_source` of a resume that nobody asked for.
_AUTOMATIC = "auto_resume"


@dataclass(frozen=True, slots=True)
class BuildIdentity:
    """The ids of the new build, its API, and the standing of its caller."""

    standing: Standing
    api: Api
    app_id: str
    build_id: str
    build_uuid: str


def new_build(identity: BuildIdentity, parsed: ParsedRequest, content: bytes, services: Services) -> NewBuild:
    """The row of the request. Raises InvalidRequestError if the id of a platform's record would be too long."""
    request, settings, vault = parsed.request, services.settings, services.vault
    spec = make_spec(request, identity.standing, settings, parsed.resumes, parsed.left_secrets)
    payload_format = PayloadFormat.STANDARD if identity.api is Api.NEW else PayloadFormat.LEGACY
    return NewBuild(
        standing=identity.standing,
        api=identity.api,
        build_uuid=identity.build_uuid,
        app_id=identity.app_id,
        build_id=identity.build_id,
        job_name=job_name_of(identity.app_id, settings.shuttle_jenkins_folder or None),
        controller=services.controllers.only,
        plan=vault.seal(spec.model_dump_json().encode()),
        token_digest=token_digest(spec.token),
        request_fingerprint=vault.fingerprint(content),
        metadata_json=request.metadata_json,
        human_readable_info=request.human_readable_info,
        labels=request.labels,
        pipeline=request.pipeline,
        destinations=request.destinations,
        source_url=request.source.shown_url,
        timeout_seconds=request.timeout_seconds,
        deadline_seconds=settings.shuttle_build_deadline_seconds,
        receivers=new_endpoints(request.status_hooks, payload_format, vault),
        **_said(request, parsed.resumes),
        packer_run=parsed.packer_run,
        children=_children(identity.build_id, spec),
        sinks=new_endpoints(request.log_hooks, payload_format, vault),
    )


def _said(request: BuildRequest, resumed: Resumed | None) -> dict[str, Any]:
    """The column `record`, the build that is resumed, and whether somebody asked for that."""
    record: dict[str, Any] = {}
    if request.platforms:
        record["platforms"] = [platform.name for platform in request.platforms]
    if request.auto_resume is not None:
        record["auto_resume"] = request.auto_resume.model_dump()
    if resumed is not None:
        record["resume"] = {**resumed.recorded, "resume_from_state": resumed.state_code}
        if resumed.automatic:
            record["resume"]["request_source"] = _AUTOMATIC
    said: dict[str, Any] = {"record": record or None}
    return said if resumed is None else said | {"resume_from": resumed.build_uuid, "automatic": resumed.automatic}


def _children(build_id: str, spec: BuildSpec) -> list[NewChild]:
    """The records of the platforms. Raises InvalidRequestError if the id of one would be too long."""
    children = []
    for index, (platform, child_uuid) in enumerate(spec.children.items()):
        child_id = check_id(f"platforms[{index}]", child_id_of(build_id, platform))
        resumed = None if spec.resumes is None else spec.resumes.platforms.get(platform)
        children.append(NewChild(platform, child_uuid, child_id, None if resumed is None else resumed.build_uuid))
    return children
