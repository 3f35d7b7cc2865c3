"""The JSON API's form of jobs, folders and builds, with the recorded properties.

Addresses have the host of the request. Of secret parameters only the name is shown.
"""

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from jenkins_emulator.builds import Build, Parameter, cause_text
from jenkins_emulator.controller import Controller
from jenkins_emulator.jobs import Folder, Job
from jenkins_emulator.queue import Item
from jenkins_emulator.tree import Bean
from jenkins_emulator.view import View

# Characters in names that Jenkins does not encode in URLs.
_PLAIN = "!$&'()*+,=@"
WORKFLOW = "org.jenkinsci.plugins.workflow.job."
_COLORS = {"SUCCESS": "blue", "UNSTABLE": "yellow", "FAILURE": "red", "ABORTED": "aborted", "NOT_BUILT": "notbuilt"}
# `builds` shows the newest hundred, `allBuilds` all of them.
_NEWEST_BUILDS = 100


def item_url(base: str, item: Job | Folder) -> str:
    """The address of a job or folder; its names are encoded."""
    return base + "".join(f"/job/{quote(name, safe=_PLAIN)}" for name in item.full_name.split("/") if name) + "/"


def root(controller: Controller, view: View, *, secured: bool) -> Bean:
    """`/api/json`."""
    all_view = Bean("hudson.model.AllView", {"name": "all", "url": f"{view.base}/"}, brief=("name", "url"))
    jobs = list(controller.top.items.values()) if view.may_read else []
    return Bean(
        "hudson.model.Hudson",
        {
            "assignedLabels": [Bean(None, {"name": view.generation.node_name})],
            "mode": "NORMAL",
            "nodeDescription": f"the {view.generation.node_name} Jenkins node",
            "nodeName": "",
            "numExecutors": controller.executors.count,
            "description": "An emulated Jenkins for demos and tests only",
            "jobs": lambda: [item(each, controller, view) for each in jobs],
            "overallLoad": {},
            "primaryView": all_view,
            "quietingDown": controller.queue.is_quieting_down,
            "slaveAgentPort": -1,
            "unlabeledLoad": {"_class": "jenkins.model.UnlabeledLoadStatistics"},
            "url": None,
            "useCrumbs": True,
            "useSecurity": secured,
            "views": [all_view],
        },
        brief=("nodeName",),
    )


def item(each: Job | Folder, controller: Controller, view: View, url: str | None = None) -> Bean:
    """`/job/<name>/api/json`; `url` is the requested address if it differs in case."""
    if isinstance(each, Folder):
        return _folder(each, controller, view, url)
    return _job(each, controller, view, url)


def _folder(folder: Folder, controller: Controller, view: View, url: str | None) -> Bean:
    return Bean(
        "com.cloudbees.hudson.plugins.folder.Folder",
        {
            "actions": [],
            "description": None,
            "displayName": folder.name,
            "fullDisplayName": folder.full_name.replace("/", " \u00bb "),
            "fullName": folder.full_name,
            "name": folder.name,
            "url": url or item_url(view.base, folder),
            "jobs": lambda: [item(each, controller, view) for each in folder.items.values()],
        },
        brief=("name", "url"),
    )


def _job(job: Job, controller: Controller, view: View, url: str | None) -> Bean:
    own_url = url or item_url(view.base, job)
    # Recorded: an older Jenkins never reports waiting items of a pipeline job.
    waiting = controller.queue.of_job(job) if view.generation.shows_queue_item else None

    def shown(builds: Iterable[Build]) -> list[Bean]:
        return [build(each, view) for each in builds]

    def last(*results: str | None) -> Bean | None:
        return next((build(each, view) for each in job.newest() if each.result in results), None)

    return Bean(
        f"{WORKFLOW}WorkflowJob",
        {
            "actions": [{}, {}, {"_class": "org.jenkinsci.plugins.displayurlapi.actions.JobDisplayAction"}],
            "description": job.definition.description,
            "displayName": job.name,
            "displayNameOrNull": None,
            "fullDisplayName": job.full_name.replace("/", " \u00bb "),
            "fullName": job.full_name,
            "name": job.name,
            "url": own_url,
            "buildable": not job.definition.disabled,
            "allBuilds": lambda: shown(job.newest()),
            "builds": lambda: shown(list(job.newest())[:_NEWEST_BUILDS]),
            "color": lambda: color(job),
            "firstBuild": lambda: build(next(iter(job.builds.values())), view) if job.builds else None,
            "healthReport": [],
            "inQueue": waiting is not None,
            "keepDependencies": False,
            "lastBuild": lambda: build(job.last_build, view) if job.last_build is not None else None,
            "lastCompletedBuild": lambda: last(*_COLORS),
            "lastFailedBuild": lambda: last("FAILURE"),
            "lastStableBuild": lambda: last("SUCCESS"),
            "lastSuccessfulBuild": lambda: last("SUCCESS", "UNSTABLE"),
            "lastUnstableBuild": lambda: last("UNSTABLE"),
            "lastUnsuccessfulBuild": lambda: last("UNSTABLE", "FAILURE", "ABORTED", "NOT_BUILT"),
            "nextBuildNumber": job.next_number,
            "property": lambda: _properties(job),
            "queueItem": lambda: _queue_item(waiting, controller) if waiting is not None else None,
            "concurrentBuild": job.definition.concurrent,
            "resumeBlocked": False,
        },
        brief=("name", "url", "color"),
        hidden=("allBuilds",),
    )


def _queue_item(item: Item, controller: Controller) -> Bean:
    shown = {"id": item.id, "why": controller.queue.why(item), "url": f"queue/item/{item.id}/"}
    return Bean(f"hudson.model.Queue${controller.queue.kind(item)}", shown)


def color(job: Job) -> str:
    """The colour for the last result, with `_anime` while a build runs; `disabled` for disabled and deleted jobs."""
    finished = next((each.result for each in job.newest() if each.result is not None), None)
    shown = "disabled" if job.definition.disabled or job.is_deleted else _COLORS.get(finished or "", "notbuilt")
    return f"{shown}_anime" if job.running() is not None else shown


def _properties(job: Job) -> list[Bean]:
    shown: list[Bean] = []
    if not job.definition.concurrent:
        shown.append(Bean(f"{WORKFLOW}properties.DisableConcurrentBuildsJobProperty", {}))
    definitions = [
        Bean(
            f"hudson.model.{each.kind}",
            {
                "defaultParameterValue": _parameter(Parameter(each.name, each.default, each.is_secret, each.kind)),
                "description": each.description,
                "name": each.name,
                "type": each.kind,
            },
        )
        for each in job.definition.parameters
    ]
    if definitions:
        shown.append(Bean("hudson.model.ParametersDefinitionProperty", {"parameterDefinitions": definitions}))
    return shown


def _parameter(parameter: Parameter) -> Bean:
    shown = {"name": parameter.name} if parameter.secret else {"name": parameter.name, "value": parameter.value}
    return Bean(f"hudson.model.{parameter.kind.replace('Definition', 'Value')}", shown)


def shown_actions(parameters: Iterable[Parameter], causes: Iterable[str | None]) -> list[Any]:
    """The actions for parameters and causes, of a build or a queue item."""
    shown = [_parameter(parameter) for parameter in parameters]
    users = [
        Bean(
            "hudson.model.Cause$UserIdCause",
            {"shortDescription": cause_text(user), "userId": user, "userName": user or "anonymous"},
        )
        for user in causes
    ]
    actions: list[Any] = [Bean("hudson.model.CauseAction", {"causes": users})]
    return [Bean("hudson.model.ParametersAction", {"parameters": shown}), *actions] if shown else actions


def build(each: Build, view: View) -> Bean:
    """`/job/<name>/<number>/api/json`."""
    url = f"{item_url(view.base, each.job)}{each.number}/"

    def neighbour(step: int) -> Bean | None:
        numbers = list(each.job.builds)
        at = numbers.index(each.number) + step if each.number in numbers else -1
        if not 0 <= at < len(numbers):
            return None
        return Bean(None, {"number": numbers[at], "url": f"{item_url(view.base, each.job)}{numbers[at]}/"})

    def estimated() -> int:
        seconds = each.job.estimated_seconds()
        return -1 if seconds is None else int(seconds * 1000)

    def executor() -> Bean | None:
        if not each.is_running:
            return None
        executable = Bean(f"{WORKFLOW}WorkflowRun", {"number": each.number, "url": url})
        shown = {"currentExecutable": executable, "idle": False, "number": -1}
        return Bean("hudson.model.OneOffExecutor", shown, brief=())

    def actions() -> list[Any]:
        interrupted = [Bean("jenkins.model.InterruptedBuildAction", {})] if each.result == "ABORTED" else []
        # A real Jenkins also has many actions without exported properties.
        return [*shown_actions(each.parameters, each.causes), Bean(None, {}), *interrupted, Bean(None, {})]

    return Bean(
        f"{WORKFLOW}WorkflowRun",
        {
            "actions": actions,
            "artifacts": [],
            "building": each.is_building,
            "description": each.description,
            "displayName": f"#{each.number}",
            "duration": int(each.duration_seconds * 1000),
            "estimatedDuration": estimated,
            "executor": executor,
            "fullDisplayName": f"{each.job.full_name} #{each.number}",
            "id": str(each.number),
            "keepLog": False,
            "number": each.number,
            "queueId": each.queue_id,
            "result": each.result,
            "timestamp": int(each.started_at * 1000),
            "url": url,
            "changeSets": [],
            "culprits": [],
            **({"inProgress": each.is_running} if view.generation.shows_in_progress else {}),
            "nextBuild": lambda: neighbour(1),
            "previousBuild": lambda: neighbour(-1),
        },
        brief=("number", "url"),
    )
