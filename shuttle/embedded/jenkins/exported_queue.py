"""What the JSON API shows of the queue and of the executors, property by property as recorded."""

from typing import Any

from shuttle.embedded.jenkins.builds import Build
from shuttle.embedded.jenkins.controller import Controller
from shuttle.embedded.jenkins.exported import WORKFLOW, color, item_url, shown_actions
from shuttle.embedded.jenkins.queue import Item
from shuttle.embedded.jenkins.tree import Bean

_PLACEHOLDER = "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"


def queue(controller: Controller, base: str) -> Bean:
    """`/queue/api/json`."""
    items = [queue_item(controller, each, base) for each in controller.queue.waiting_items()]
    return Bean("hudson.model.Queue", {"discoverableItems": [], "items": items})


def queue_item(controller: Controller, each: Item, base: str) -> Bean:
    """`/queue/item/<id>/api/json`."""
    quiet = each.left_at is None and each.job is not None and controller.queue.is_quiet(each)
    kind = "WaitingItem" if quiet else "BlockedItem" if each.job is not None else "BuildableItem"
    properties: dict[str, Any] = {
        "actions": shown_actions(each.parameters, each.causes) if each.job is not None else [],
        "blocked": each.left_at is None and kind == "BlockedItem",
        "buildable": each.left_at is None and kind == "BuildableItem",
        "id": each.id,
        "inQueueSince": int(each.in_queue_since * 1000),
        "params": "".join(f"\n{p.name}={'****' if p.secret else p.value}" for p in each.parameters),
        "stuck": False,
        "task": _task(each, base),
        "url": f"queue/item/{each.id}/",
        "why": controller.queue.why(each),
    }
    if each.left_at is not None:
        started = each.build
        executable = (
            None
            if started is None
            else Bean(
                f"{WORKFLOW}WorkflowRun",
                {"number": started.number, "url": f"{item_url(base, started.job)}{started.number}/"},
            )
        )
        return Bean(
            "hudson.model.Queue$LeftItem", {**properties, "cancelled": each.is_cancelled, "executable": executable}
        )
    if quiet:
        return Bean("hudson.model.Queue$WaitingItem", {**properties, "timestamp": int(each.due_at * 1000)})
    properties["buildableStartMilliseconds"] = int(each.held_since * 1000)
    if kind == "BuildableItem":
        properties["pending"] = False
    return Bean(f"hudson.model.Queue${kind}", properties)


def _task(each: Item, base: str) -> Bean:
    if each.job is None:
        return Bean(_PLACEHOLDER, {})
    shown = {"name": each.job.name, "url": item_url(base, each.job), "color": color(each.job)}
    return Bean(f"{WORKFLOW}WorkflowJob", shown)


def computers(controller: Controller, base: str) -> Bean:
    """`/computer/api/json`."""
    busy = sum(each is not None for each in controller.executors.slots)
    totals = {"busyExecutors": busy, "displayName": "nodes", "totalExecutors": controller.executors.count}
    return Bean("hudson.model.ComputerSet", {"computer": [computer(controller, base)], **totals})


def computer(controller: Controller, base: str) -> Bean:
    """`/computer/(master)/api/json`: executors, and one one-off executor for each running build."""

    def executor(number: int, each: Build | None, cls: str) -> Bean:
        url = "" if each is None else f"{item_url(base, each.job)}{each.number}/"
        shown = None if each is None else Bean(cls, {"number": each.number, "url": url})
        return Bean(None, {"currentExecutable": shown, "idle": each is None, "number": number}, brief=())

    running = [each for job in controller.top.jobs() for each in job.newest() if each.is_building]
    slots = controller.executors.slots
    return Bean(
        "hudson.model.Hudson$MasterComputer",
        {
            "displayName": "master",
            "executors": [executor(n, each, f"{_PLACEHOLDER}$PlaceholderExecutable") for n, each in enumerate(slots)],
            "idle": not any(slots),
            "numExecutors": controller.executors.count,
            "offline": False,
            "oneOffExecutors": [executor(n, each, f"{WORKFLOW}WorkflowRun") for n, each in enumerate(running)],
        },
    )
