"""The demo, told in order: start three servers, ask for a build, hear of it, show what is left of it."""

import asyncio
import secrets
import shutil
import signal
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shuttle.cli.client import ShuttleClient
from shuttle.cli.demo.receiver import ReceivedBuild
from shuttle.cli.demo.screen import Screen
from shuttle.cli.demo.servers import Stage, start_servers
from shuttle.cli.failures import CommandError, UsageError
from shuttle.cli.pack import source_url
from shuttle.objects.directory import DirectoryStore
from shuttle.objects.names import artifact_object, log_object, source_object

# Leads to `examples/hello`, and is its copy in an installation.
_EXAMPLE = Path(__file__).parent / "hello"
_PROGRAMS = ("sh", "curl", "tar", "gzip")
_STOP_WITHIN_SECONDS = 8
_LOG_AFTER_STATUS_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What the demo's user typed; an empty `source` = the example."""

    source: str
    pipeline: str
    destination: str
    keep: bool
    kafka: bool

    @property
    def app_id(self) -> str:
        """What the app is called."""
        return "demo" if self.source else "hello"


def run_story(options: DemoOptions, screen: Screen) -> int:
    """Run it to its end; returns the exit code. A signal ends it early, and everything that it started."""
    return asyncio.run(_until_signal(options, screen))


async def _until_signal(options: DemoOptions, screen: Screen) -> int:
    story = asyncio.ensure_future(_story(options, screen))
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if not received:  # the first is obeyed, in order; more of them would only leave things behind
            received.append(number)
            story.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    try:
        return await story
    except asyncio.CancelledError:
        if not received:  # nobody reads us any more (`shuttle demo | head`)
            raise
        screen.line("interrupted; everything is stopped")
        return 128 + received[0]


async def _story(options: DemoOptions, screen: Screen) -> int:
    _need_programs()
    request = _request(options)
    async with AsyncExitStack() as stack:
        stage = await start_servers(stack, screen, kafka=options.kafka)
        build_id = "1"
        received = stage.receiver.build(options.app_id, build_id)
        stack.push_async_callback(_stop_unfinished, stage.client, received)
        await _ask(stage, options.app_id, build_id, request, screen)
        await _hear_the_end(stage, received)
        screen.end_log()
        build = await stage.client.build(options.app_id, build_id)
        if received.log_sha256 != build["log"]["sha256"]:
            raise CommandError("The log that arrived is not the log that was archived; its files are kept.")
        await _consume_the_end(stage, build)
        await _see_the_archive(stage, build)
        _show_what_is_left(stage, build, screen)
        well = build["state"] == "succeeded"
        screen.line()
        screen.line(f"{build['state']}{_why(build)}", style="bold green" if well else "bold red")
        if options.keep:
            await _keep(stage, screen)
        return 0 if well else 1


def _need_programs() -> None:
    """This machine is the demo's agent; without these its build would fail, and say so less clearly."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise UsageError(f"Install {' and '.join(missing)}: an agent needs {', '.join(_PROGRAMS)}.")


def _request(options: DemoOptions) -> dict[str, Any]:
    if options.source:
        destination = {"destination": {"url": options.destination}} if options.destination else {}
        return {"source": {"url": source_url(options.source)}, "pipeline": options.pipeline, **destination}
    return {
        "source": {"url": source_url(str(_EXAMPLE))},
        "pipeline": options.pipeline,
        "arguments": {"VERSION": "1.0.0", "RELEASE_KEY": secrets.token_hex(16)},
        "secret_arguments": ["RELEASE_KEY"],
        "metadata": {"asked by": "the demo"},
    }


async def _ask(stage: Stage, app_id: str, build_id: str, request: dict[str, Any], screen: Screen) -> None:
    logs = [stage.receiver.log_url] + ([stage.broker.url] if stage.broker else [])
    webhooks = {"status": stage.receiver.status_url, "logs": logs}
    await stage.client.submit(app_id, build_id, {**request, "webhooks": webhooks})
    screen.event("POST", f"/{app_id}/{build_id} is accepted, durably")


async def _hear_the_end(stage: Stage, received: ReceivedBuild) -> None:
    """The final status, then the log's end; or an error, should a server end first."""
    final = asyncio.ensure_future(received.final_status.wait())
    ends = {asyncio.ensure_future(child.wait()): child for child in (stage.jenkins, stage.shuttle)}
    try:
        await asyncio.wait({final, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for end, child in ends.items():
            if end.done():
                raise child.ended()
        async with asyncio.timeout(_LOG_AFTER_STATUS_SECONDS):
            await received.log_ended.wait()
    except TimeoutError:
        raise CommandError(f"The log's end did not arrive within {_LOG_AFTER_STATUS_SECONDS} s.") from None
    finally:
        for task in (final, *ends):
            task.cancel()


async def _consume_the_end(stage: Stage, build: dict[str, Any]) -> None:
    """The rest of the log from Kafka; it has to be the log that was archived."""
    if stage.broker is None:
        return
    try:
        async with asyncio.timeout(_LOG_AFTER_STATUS_SECONDS):
            await stage.broker.until(build["log"]["bytes"])
    except TimeoutError:
        raise CommandError(f"Kafka did not have the whole log within {_LOG_AFTER_STATUS_SECONDS} s.") from None
    if stage.broker.log.sha256 != build["log"]["sha256"]:
        raise CommandError("The log in Kafka is not the log that was archived; its files are kept.")


async def _see_the_archive(stage: Stage, build: dict[str, Any]) -> None:
    """The log as an object: it is stored a moment after its receivers have had its end."""
    path = _file(stage, log_object(build["build_uuid"]))
    try:
        async with asyncio.timeout(_LOG_AFTER_STATUS_SECONDS):
            while not path.is_file():  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise CommandError(f"The log was not archived within {_LOG_AFTER_STATUS_SECONDS} s.") from None


def _show_what_is_left(stage: Stage, build: dict[str, Any], screen: Screen) -> None:
    uuid = build["build_uuid"]
    screen.line()
    if build["source"]["bytes"] is not None:
        screen.fact("source", f"{build['source']['bytes']} bytes, as they came", _file(stage, source_object(uuid)))
    screen.fact("log", f"{build['log']['bytes']} bytes, the same that the receiver got", _file(stage, log_object(uuid)))
    if stage.broker is not None:
        screen.fact("kafka", f"{stage.broker.log.bytes} bytes consumed, the same again", stage.broker.url)
    for artifact in build["artifacts"]:
        path = _file(stage, artifact_object(uuid, artifact["name"]))
        screen.fact("artifact", f"{artifact['name']}, {artifact['bytes']} bytes", path)
    if build["image"]:
        screen.fact("image", build["image"], build["digest"])


def _file(stage: Stage, name: str) -> Path:
    return DirectoryStore(stage.home / "shuttle" / "objects").path_of(name)


async def _keep(stage: Stage, screen: Screen) -> None:
    screen.line()
    screen.line("Everything keeps running until Ctrl-C. To use it from another terminal:")
    screen.line(f"  export SHUTTLE_URL={stage.client.address} SHUTTLE_TOKEN={stage.token}")
    screen.line("  shuttle submit APP BUILD --source . --pipeline script --follow")
    ends = {asyncio.ensure_future(child.wait()) for child in (stage.jenkins, stage.shuttle)}
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        return  # Ctrl-C is how a kept demo ends; what counts is how its build did
    finally:
        for end in ends:
            end.cancel()
    raise CommandError("A server of the demo ended by itself; its log says why.")


async def _stop_unfinished(client: ShuttleClient, received: ReceivedBuild) -> None:
    """Steps of a build outlive the emulated Jenkins, on purpose; so an interrupted build is stopped before it."""
    if received.final_status.is_set():
        return
    with suppress(CommandError, TimeoutError):
        async with asyncio.timeout(_STOP_WITHIN_SECONDS):
            await client.stop(received.app_id, received.build_id)
            await received.final_status.wait()


def _why(build: dict[str, Any]) -> str:
    return f": {build['reason']}: {build['message']}" if build["reason"] else ""
