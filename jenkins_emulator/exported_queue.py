"""The JSON API's form of the queue and the executors, with the recorded properties."""

from typing import Any

from jenkins_emulator.builds import Build
from jenkins_emulator.controller import Controller
from jenkins_emulator.exported import WORKFLOW, color, item_url, shown_actions
from jenkins_emulator.queue import Item
from jenkins_emulator.tree import Bean
from jenkins_emulator.view import View

_PLACEHOLDER = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"


def queue(controller: Controller, view: View) -> Bean:
    """`/queue/api/json`."""
    waiting = list(controller.queue.waiting_items()) if view.may_read else []
    items = [queue_item(controller, each, view) for each in waiting]
    return Bean("hudson.model.Queue", {"discoverableItems": [], "items": items})


def queue_item(controller: Controller, each: Item, view: View) -> Bean:
    """`/queue/item/<id>/api/json`."""
    kind = controller.queue.kind(each)
    properties: dict[str, Any] = {
        "actions": shown_actions(each.parameters, each.causes) if each.job is not None else [],
        "blocked": kind == "BlockedItem",
        "buildable": kind == "BuildableItem",
        "id": each.id,
        "inQueueSince": int(each.in_queue_since * 1000),
        "params": "".join(f"\n{p.name}={'****' if p.secret else p.value}" for p in each.parameters),
        "stuck": view.generation.explains_placeholders and each.waiting is not None and each.waiting.is_stuck,
        "task": _task(each, view),
        "url": f"queue/item/{each.id}/",
        "why": controller.queue.why(each),
    }
    match kind:
        case "LeftItem":
            properties |= {"cancelled": each.is_cancelled, "executable": _executable(each, view)}
        case "WaitingItem":
            properties["timestamp"] = int(each.due_at * 1000)
        case "BlockedItem":
            properties["buildableStartMilliseconds"] = int(each.held_since * 1000)
        case "BuildableItem":
            properties |= {"buildableStartMilliseconds": int(each.held_since * 1000), "pending": False}
    return Bean(f"hudson.model.Queue${kind}", properties)


def _executable(each: Item, view: View) -> Bean | None:
    started = each.build
    if started is None:
        return None
    cls = f"{WORKFLOW}WorkflowRun" if each.job is not None else f"{_PLACEHOLDER}$PlaceholderExecutable"
    return Bean(cls, {"number": started.number, "url": f"{item_url(view.base, started.job)}{started.number}/"})


def _task(each: Item, view: View) -> Bean:
    if each.job is not None:
        shown = {"name": each.job.name, "url": item_url(view.base, each.job), "color": color(each.job)}
        return Bean(f"{WORKFLOW}WorkflowJob", shown)
    if each.waiting is None or not view.generation.explains_placeholders:
        return Bean(_PLACEHOLDER, {})
    build = each.waiting.build
    name = build.job.full_name.replace("/", " \u00bb ")
    url = f"{item_url('', build.job)}{build.number}/".removeprefix("/")
    return Bean(_PLACEHOLDER, {"name": f"part of {name} #{build.number}", "url": url})


def computers(controller: Controller, view: View) -> Bean:
    """`/computer/api/json`."""
    busy = sum(each is not None for each in controller.executors.slots)
    totals = {"busyExecutors": busy, "displayName": "nodes", "totalExecutors": controller.executors.count}
    return Bean("hudson.model.ComputerSet", {"computer": [computer(controller, view)], **totals})


def computer(controller: Controller, view: View) -> Bean:
    """`/computer/(…)/api/json`: the executors, and a one-off executor for each running build."""

    def executor(number: int, each: Build | None, cls: str) -> Bean:
        url = "" if each is None else f"{item_url(view.base, each.job)}{each.number}/"
        shown = None if each is None else Bean(cls, {"number": each.number, "url": url})
        return Bean(None, {"currentExecutable": shown, "idle": each is None, "number": number}, brief=())

    running = [each for job in controller.top.jobs() for each in job.newest() if each.is_running]
    slots = controller.executors.slots
    return Bean(
        "hudson.model.Hudson$MasterComputer",
        {
            "displayName": view.generation.node_display_name,
            "executors": [executor(n, each, f"{_PLACEHOLDER}$PlaceholderExecutable") for n, each in enumerate(slots)],
            "idle": not any(slots),
            "numExecutors": controller.executors.count,
            "offline": False,
            "oneOffExecutors": [executor(n, each, f"{WORKFLOW}WorkflowRun") for n, each in enumerate(running)],
        },
    )
