"""Parses Jenkins' answers: statuses, headers and JSON.

The models follow recorded answers; other fields are ignored. `actions` contains many empty objects.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from shuttle.errors import JenkinsNotFoundError, JenkinsRefusedError, JenkinsUnavailableError, ShuttleError
from shuttle.jenkins import JenkinsBuild, Load, QueueItem
from shuttle.jenkins.credentials import permission_name
from shuttle.jenkins.queue import Listing
from shuttle.jenkins.session import JenkinsResponse
from shuttle.storable import storable

# The parameter with the build's uuid: it identifies the build after the answer to a trigger was lost.
MARKER_PARAMETER = "BUILD_UUID"

BUILD_TREE = "number,building,result,queueId,inProgress,duration,executor[number]"
MARKED_BUILD_TREE = BUILD_TREE + ",actions[parameters[name,value]]"
NEWEST_BUILD_TREE = f"lastBuild[{BUILD_TREE}]"
QUEUE_ITEM_TREE = "id,why,cancelled,executable[number],actions[parameters[name,value]]"
QUEUE_LENGTH_TREE = "items[id]"
EXECUTORS_TREE = "totalExecutors,busyExecutors"
QUEUE_TREE = "items[id,why,task[url],actions[parameters[name,value]]]"
JOB_TREE = "name,description,property[parameterDefinitions[name]]"

Shape = TypeVar("Shape")

# The range of a database column: a server that is not Jenkins may answer any number.
_Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_PLACEHOLDER = "ExecutorStepExecution$PlaceholderTask"
_BUILD_URL = re.compile(r"(?:\A|/)((?:job/[^/]+/)+)([0-9]{1,9})/\Z")
_QUEUE_LOCATION = re.compile(r"/queue/item/([0-9]{1,18})/?\Z")


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Parameter(_Shape):
    name: str = ""
    value: Any = None


class _Action(_Shape):
    parameters: list[_Parameter] = []


def _without_nulls(value: Any) -> Any:
    return [entry for entry in value if entry is not None] if isinstance(value, list) else value


_Actions = Annotated[list[_Action], BeforeValidator(_without_nulls)]


class _Executable(_Shape):
    number: _Number


class _Task(_Shape):
    kind: str = Field("", alias="_class")
    url: str = ""


class _QueueItem(_Shape):
    kind: str = Field("", alias="_class")
    id: _Number
    why: Annotated[str, AfterValidator(storable)] | None = None  # builds record it
    cancelled: bool = False
    executable: _Executable | None = None
    task: _Task = _Task()
    actions: _Actions = []


class _Queue(_Shape):
    items: list[_QueueItem]


class _Build(_Shape):
    number: _Number
    building: bool
    result: str | None = None
    queue_id: _Number = Field(-1, alias="queueId")
    in_progress: bool | None = Field(None, alias="inProgress")
    duration: int | None = None
    executor: dict[str, Any] | None = None
    actions: _Actions = []

    @property
    def ghost(self) -> bool:
        """Whether Jenkins shows the build as running, but without an executor. A starting build has an executor."""
        nothing_runs = self.in_progress is False and "executor" in self.model_fields_set and self.executor is None
        return self.building and self.result is None and nothing_runs and self.duration == 0


class _Builds(_Shape):
    all_builds: list[_Build] = Field(alias="allBuilds")


class _NewestBuild(_Shape):
    last_build: _Build | None = Field(None, alias="lastBuild")


class _Property(_Shape):
    parameter_definitions: list[_Parameter] = Field([], alias="parameterDefinitions")


class JobFacts(_Shape):
    """Name, description and parameters of a job."""

    name: str
    description: str | None = None
    properties: Annotated[list[_Property], BeforeValidator(_without_nulls)] = Field([], alias="property")

    @property
    def takes_marker(self) -> bool:
        """Whether the job has the marker's parameter: Jenkins silently drops parameters that a job does not define."""
        return any(entry.name == MARKER_PARAMETER for found in self.properties for entry in found.parameter_definitions)


class Identity(_Shape):
    """The user that Jenkins sees in our requests."""

    name: str
    anonymous: bool


class _Executors(_Shape):
    total: _Number = Field(alias="totalExecutors")
    busy: _Number = Field(alias="busyExecutors")


_QUEUE = TypeAdapter(_Queue)
_QUEUE_ITEM = TypeAdapter(_QueueItem)
_BUILD = TypeAdapter(_Build)
_BUILDS = TypeAdapter(_Builds)
_NEWEST_BUILD = TypeAdapter(_NewestBuild)
_JOB = TypeAdapter(JobFacts)
_IDENTITY = TypeAdapter(Identity)
_EXECUTORS = TypeAdapter(_Executors)


def queue_listing(answer: JenkinsResponse) -> Listing:
    """The items of builds and of their `node` steps that wait in the queue; if a build has two, the older one."""
    items = sorted(_read(_QUEUE, answer).items, key=lambda item: item.id, reverse=True)
    marked: dict[str, QueueItem] = {}
    nodes: dict[tuple[str, int], QueueItem] = {}
    for item in items:
        blocked = item.kind.endswith("BlockedItem")
        waiting = QueueItem(item.id, item.why, cancelled=False, number=None, blocked=blocked)
        if (marker := _marker(item.actions)) is not None:
            marked[marker] = waiting
        elif item.task.kind.endswith(_PLACEHOLDER) and (build := _build_of(item.task.url)) is not None:
            nodes[build] = waiting
    return Listing(marked, nodes)


def queue_item(answer: JenkinsResponse, build_uuid: str) -> QueueItem:
    """An item that waits or has left the queue. If it left with a null `executable`, it was cancelled or will start.

    Raises JenkinsNotFoundError if it is not the build's item.
    """
    item = _read_item(answer, build_uuid)
    left = item.kind.endswith("LeftItem")
    return QueueItem(
        item.id,
        why=None if left else item.why,
        cancelled=item.cancelled,
        number=None if item.executable is None else item.executable.number,
    )


def has_left_queue(answer: JenkinsResponse, build_uuid: str) -> bool:
    """Whether the item no longer waits: it became a build, or was cancelled.

    Raises JenkinsNotFoundError if it is not the build's item.
    """
    return _read_item(answer, build_uuid).kind.endswith("LeftItem")


def _read_item(answer: JenkinsResponse, build_uuid: str) -> _QueueItem:
    """The item; raises JenkinsNotFoundError if it lacks the build's marker.

    Jenkins saves its queue and the last number up to 60 s late. So after a kill, items are lost and their numbers are
    given again, also to items without any marker: those of jobs of others and of `node` steps.
    """
    item = _read(_QUEUE_ITEM, answer)
    if _marker(item.actions) != build_uuid:
        raise JenkinsNotFoundError(f"Jenkins has the queue item {item.id} for another build.")
    return item


def build(answer: JenkinsResponse) -> JenkinsBuild:
    """One build."""
    return _jenkins_build(_read(_BUILD, answer))


def builds_with_marker(answer: JenkinsResponse, build_uuid: str) -> tuple[int, list[JenkinsBuild]]:
    """The number of builds on the page, and those with the marker."""
    builds = _read(_BUILDS, answer).all_builds
    return len(builds), [_jenkins_build(found) for found in builds if _marker(found.actions) == build_uuid]


def newest_build(answer: JenkinsResponse) -> JenkinsBuild | None:
    """The build with the highest number; None if the job has none."""
    found = _read(_NEWEST_BUILD, answer).last_build
    return None if found is None else _jenkins_build(found)


def job_facts(answer: JenkinsResponse) -> JobFacts:
    """Name, description and parameters of a job."""
    return _read(_JOB, answer)


def identity(answer: JenkinsResponse) -> Identity:
    """The answer of whoAmI."""
    return _read(_IDENTITY, answer)


def load(queue: JenkinsResponse, computers: JenkinsResponse) -> Load:
    """The load of the controller, from the length of its queue and the number of its executors."""
    executors = _read(_EXECUTORS, computers)
    return Load(len(_read(_QUEUE, queue).items), executors.total, executors.busy)


def queued_item(answer: JenkinsResponse) -> int | None:
    """The queue item in the Location of a trigger's answer; None = there is no valid Location.

    The host in it is ignored: Jenkins copies it from the request's Host header.
    """
    match = _QUEUE_LOCATION.search(answer.headers.get("Location", ""))
    return int(match[1]) if match else None


def failure(answer: JenkinsResponse, what: str) -> ShuttleError:
    """The error for an unexpected status; `what` completes "Jenkins was asked to …".

    Callers handle 404 themselves: it is valid only from a healthy Jenkins.
    """
    return failure_of(answer.status, answer.headers.get("X-Required-Permission"), answer.headers.get("X-Error"), what)


def failure_of(status: int, permission: str | None, x_error: str | None, what: str) -> ShuttleError:
    """The same as `failure`, from the parts of an answer. `shuttle.jenkins.credentials` handles 401 earlier."""
    if status in {403, 422}:
        return refusal(what, permission and permission_name(permission))
    if 300 <= status < 400:
        return JenkinsUnavailableError(
            f"Jenkins answered with a redirect when asked to {what}: set JENKINS_URL to the address of Jenkins itself."
        )
    detail = f" ({x_error})" if x_error else ""
    return JenkinsUnavailableError(f"Jenkins answered {status}{detail} when asked to {what}.")


def refusal(what: str, permission: str | None) -> JenkinsRefusedError:
    """The error for a refusal; `permission` has the name that Jenkins' pages show."""
    missing = f": the user in JENKINS_URL lacks the permission {permission}" if permission else ""
    return JenkinsRefusedError(f"Jenkins refused to {what}{missing}.", permission=permission)


def _read(shape: TypeAdapter[Shape], answer: JenkinsResponse) -> Shape:
    try:
        return shape.validate_json(answer.body)
    except ValidationError:
        raise JenkinsUnavailableError(
            "The server at JENKINS_URL does not answer like Jenkins: 200 without the requested JSON."
        ) from None


def _marker(actions: Iterable[_Action]) -> str | None:
    for action in actions:
        for parameter in action.parameters:
            if parameter.name == MARKER_PARAMETER and isinstance(parameter.value, str) and parameter.value:
                return parameter.value
    return None


def _build_of(url: str) -> tuple[str, int] | None:
    """Job and number of `job/folder/job/name/7/`."""
    match = _BUILD_URL.search(url)
    if match is None:
        return None
    return "/".join(unquote(part) for part in match[1].split("/")[1::2]), int(match[2])


def _jenkins_build(found: _Build) -> JenkinsBuild:
    # A declarative pipeline has a result while its `post` section still runs, so the result counts only at the end.
    running = found.building or found.result is None
    queue_item_number = found.queue_id if found.queue_id > 0 else None
    return JenkinsBuild(found.number, running, None if running else found.result, queue_item_number, found.ghost)
