"""Routes of the queue: all items, one item, cancel."""

from aiohttp import web

from jenkins_emulator import exported_queue
from jenkins_emulator.answers import empty
from jenkins_emulator.call import Call
from jenkins_emulator.permissions import CANCEL
from jenkins_emulator.queue import Item

_NO_ITEM = "no such queue item"


async def answer_queue(call: Call, path: list[str]) -> web.StreamResponse:
    """`/queue/…`."""
    match path:
        case ["api", "json"]:
            return call.json(exported_queue.queue(call.controller, call.view))
        case ["cancelItem"]:
            return await _cancel_by_id(call)
        case ["item", number, "api", "json"]:
            return call.json(exported_queue.queue_item(call.controller, _item(call, number), call.view))
        case ["item", number, "cancelQueue"]:
            call.need_post()
            return _cancel(call, _item(call, number))
        case ["item", number]:
            return call.answers.page(200, f"Queue item {_item(call, number).id}")
        case []:
            return call.answers.page(200, "Build queue")
    raise call.answers.not_found()


def _item(call: Call, number: str) -> Item:
    if not number.isdecimal():
        raise call.answers.refused(500, f"not a number: {number}")
    item = call.controller.queue.find(int(number)) if call.view.may_read else None
    if item is None:
        raise call.answers.not_found()
    return item


async def _cancel_by_id(call: Call) -> web.Response:
    call.need_post()
    number = (await call.parameters()).get("id", "")
    item = call.controller.queue.find(int(number)) if number.isdecimal() else None
    if item is None:
        raise call.answers.refused(404, _NO_ITEM)
    return _cancel(call, item)


def _cancel(call: Call, item: Item) -> web.Response:
    """204; 422 without the permission and 500 for an item that has left, as recorded."""
    if not call.principal.may(CANCEL):
        raise call.answers.refused(422, "the queue item cannot be cancelled by you")
    if item.left_at is not None:
        raise call.answers.refused(500, "the queue item has left the queue")
    call.controller.queue.cancel(item)
    return empty(204)
