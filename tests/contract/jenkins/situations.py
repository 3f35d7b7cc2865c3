"""Situations that scenarios create outside the recording, and conditions that they wait for."""

from tests.contract.jenkins.job_xml import job_xml
from tests.contract.jenkins.replay import Replay

XML = {"Content-Type": "application/xml"}


async def create(replay: Replay, name, **job):
    answer = await replay.ask("POST", f"/createItem?name={replay.job(name)}", data=job_xml(**job), headers=XML)
    assert answer.status == 200


async def trigger(replay: Replay, name, seconds="60", who="world", delay="0sec"):
    """Start a build outside the recording; returns its queue item."""
    path = f"/job/{replay.job(name)}/buildWithParameters?WHO={who}&SECS={seconds}&delay={delay}"
    answer = await replay.ask("POST", path)
    assert answer.status == 201
    return int(answer.headers["Location"].rstrip("/").rpartition("/")[2])


async def has_build(replay: Replay, name, number=1):
    return (await replay.ask("GET", f"/job/{replay.job(name)}/{number}/api/json")).status == 200


async def left_with_a_number(replay: Replay, recorded):
    """Whether the item has left the queue and its build has a number."""
    item = await replay.ask("GET", f"/queue/item/{replay.matches.item(recorded)}/api/json")
    return item.status == 404 or bool(item.json.get("executable"))


async def waiting_for(replay: Replay, who):
    """The queue item of a trigger whose Location only names the job."""
    queue = await replay.ask("GET", "/queue/api/json?tree=items[id,actions[parameters[name,value]]]")
    who_parameter = {"_class": "hudson.model.StringParameterValue", "name": "WHO", "value": who}
    [item] = [
        item["id"]
        for item in queue.json["items"]
        if any(who_parameter in action.get("parameters", []) for action in item["actions"])
    ]
    return item


async def finished(replay: Replay, name, number):
    answer = await replay.ask("GET", f"/job/{replay.job(name)}/{number}/api/json?tree=building")
    return answer.status == 200 and not answer.json["building"]


async def log(replay: Replay, name, number=1):
    answer = await replay.ask("GET", f"/job/{replay.job(name)}/{number}/logText/progressiveText?start=0")
    return answer.body


async def running(replay: Replay, name, recorded_item, recorded_number, seconds="60", who="world"):
    """Start a build, map it to the recorded one, and wait until its script has printed its first tick."""
    item = await trigger(replay, name, seconds, who)
    replay.matches.same("item", recorded_item, item)

    async def ticks():
        answer = await replay.ask("GET", f"/queue/item/{item}/api/json")
        executable = answer.json.get("executable")
        if not executable:
            return False
        replay.matches.same(f"build of {name}", recorded_number, executable["number"])
        return b"tick 0" in await log(replay, name, executable["number"])

    await replay.server.until(ticks)


async def build_and_look(replay: Replay, create_id, build_id, script, *, recorded_queue_id):
    """Create the job of exchange `create_id` with a script of the test, build it by `build_id`, wait for its end."""
    await replay(create_id, body=job_xml(script, parameters=False, quiet=0))
    await replay(build_id)
    await replay.server.until(lambda: left_with_a_number(replay, recorded_queue_id))
    item = await replay.ask("GET", f"/queue/item/{replay.matches.item(recorded_queue_id)}/api/json")
    name, number = item.json["task"]["name"].removeprefix(replay.server.prefix), item.json["executable"]["number"]
    await replay.server.until(lambda: finished(replay, name, number))


async def parameters_of(replay: Replay, recorded_item):
    await replay.server.until(lambda: left_with_a_number(replay, recorded_item))
    item = await replay.ask("GET", f"/queue/item/{replay.matches.item(recorded_item)}/api/json")
    path = f"/job/{item.json['task']['name']}/{item.json['executable']['number']}/api/json"
    build = await replay.ask("GET", f"{path}?tree=actions[parameters[name,value]]")
    [action] = [action for action in build.json["actions"] if "parameters" in action]
    return {parameter["name"]: parameter["value"] for parameter in action["parameters"]}
