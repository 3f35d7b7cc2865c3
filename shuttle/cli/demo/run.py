"""The demo in its order: start the servers, request a build, receive its events, show its results."""

import asyncio
import hashlib
import secrets
import shutil
import signal
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shuttle.cli.client import ShuttleClient
from shuttle.cli.demo.receiver import ReceivedBuild
from shuttle.cli.demo.screen import Screen
from shuttle.cli.demo.servers import Servers, start_servers
from shuttle.cli.demo.service import check_packages
from shuttle.cli.demo.takeover import FollowedLog, show_takeover
from shuttle.cli.failures import CommandError, UsageError
from shuttle.cli.pack import source_url
from shuttle.objects.names import artifact_object, log_object, source_object

Result = TypeVar("Result")

# A link to `examples/hello`; in an installation a copy of it.
_EXAMPLE = Path(__file__).parent / "hello"
_LONG_EXAMPLE = Path(__file__).parent / "count"
_MOST_REPLICAS = 9
_PROGRAMS = ("sh", "curl", "tar", "gzip")
_STOP_WITHIN_SECONDS = 8
_LOG_AFTER_STATUS_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The options of the command line; an empty `source` stands for the example, no `replicas` for one process."""

    source: str
    pipeline: str
    destination: str
    keep: bool
    kafka: bool
    replicas: int | None

    @property
    def app_id(self) -> str:
        """The app's id."""
        if self.replicas:
            return _LONG_EXAMPLE.name
        return "demo" if self.source else _EXAMPLE.name


def run_demo(options: DemoOptions, screen: Screen) -> int:
    """Run the demo to its end; returns the exit code. A signal ends it early, with everything that it started."""
    return asyncio.run(_until_signal(options, screen))


async def _until_signal(options: DemoOptions, screen: Screen) -> int:
    task = asyncio.ensure_future(_run(options, screen))
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if not received:  # only the first signal counts: a second one would interrupt the cleanup
            received.append(number)
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:  # the output is no longer read (`shuttle demo | head`)
            raise
        screen.line("interrupted; everything is stopped")
        return 128 + received[0]


async def _run(options: DemoOptions, screen: Screen) -> int:
    _check_replicas(options)
    _check_programs()
    request = _request(options)
    async with AsyncExitStack() as stack:
        servers = await start_servers(stack, screen, kafka=options.kafka, replicas=options.replicas or 0)
        build_id = "1"
        received = servers.receiver.build(options.app_id, build_id)
        stack.push_async_callback(_stop_unfinished, servers.service.client, received)
        await _submit(servers, options.app_id, build_id, request, screen)
        followed = None
        if options.replicas:
            followed = await _while_servers_run(servers, show_takeover(servers.service, received, screen))
        await _wait_for_the_end(servers, received)
        screen.end_log()
        build = await servers.service.client.build(options.app_id, build_id)
        await _consume_the_end(servers, build)
        await _wait_for_the_archive(servers, build)
        await _compare_with_the_archive(servers, build, received, followed)
        _show_results(servers, build, followed, screen)
        succeeded = build["state"] == "succeeded"
        screen.line()
        screen.line(f"{build['state']}{_why(build)}", style="bold green" if succeeded else "bold red")
        if options.keep:
            await _keep(servers, screen)
        return 0 if succeeded else 1


def _check_replicas(options: DemoOptions) -> None:
    """Check the number, that no other option selects the build, and that the packages are installed."""
    if options.replicas is None:
        return
    if not 2 <= options.replicas <= _MOST_REPLICAS:
        raise UsageError(f"--replicas is a number from 2 to {_MOST_REPLICAS}: one of them is killed during the build.")
    if options.source or options.destination or options.pipeline != "script":
        raise UsageError(
            "--replicas builds its own example, which runs for long enough:"
            " leave out --source, --pipeline and --destination."
        )
    check_packages()


def _check_programs() -> None:
    """Check for the programs that an agent needs: this machine is the agent, and a failed build would be less clear."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        raise UsageError(f"Install {' and '.join(missing)}: an agent needs {', '.join(_PROGRAMS)}.")


def _request(options: DemoOptions) -> dict[str, Any]:
    if options.source:
        destination = {"destination": {"url": options.destination}} if options.destination else {}
        return {"source": {"url": source_url(options.source)}, "pipeline": options.pipeline, **destination}
    if options.replicas:
        return {"source": {"url": source_url(str(_LONG_EXAMPLE))}, "pipeline": options.pipeline}
    return {
        "source": {"url": source_url(str(_EXAMPLE))},
        "pipeline": options.pipeline,
        "arguments": {"VERSION": "1.0.0", "RELEASE_KEY": secrets.token_hex(16)},
        "secret_arguments": ["RELEASE_KEY"],
        "metadata": {"requested_by": "the demo"},
    }


async def _submit(servers: Servers, app_id: str, build_id: str, request: dict[str, Any], screen: Screen) -> None:
    logs = [servers.receiver.log_url] + ([servers.broker.url] if servers.broker else [])
    webhooks = {"status": servers.receiver.status_url, "logs": logs}
    await servers.service.client.submit(app_id, build_id, {**request, "webhooks": webhooks})
    screen.event("POST", f"/{app_id}/{build_id} is durably accepted")


async def _while_servers_run(servers: Servers, work: Awaitable[Result]) -> Result:
    """Wait for the work; raises CommandError if a server ends first."""
    working = asyncio.ensure_future(work)
    children = (servers.jenkins, *(replica.child for replica in servers.service.replicas))
    ends = {asyncio.ensure_future(child.until_unexpected_end()): child for child in children}
    try:
        await asyncio.wait({working, *ends}, return_when=asyncio.FIRST_COMPLETED)
        for end, child in ends.items():
            if end.done():
                raise child.ended()
        return working.result()
    finally:
        for task in (working, *ends):
            task.cancel()
        await asyncio.wait({working})


async def _wait_for_the_end(servers: Servers, received: ReceivedBuild) -> None:
    """Wait for the final status and the log's end; raises CommandError if a server ends first."""
    await _while_servers_run(servers, received.final_status.wait())
    try:
        async with asyncio.timeout(_LOG_AFTER_STATUS_SECONDS):
            await received.log_ended.wait()
    except TimeoutError:
        raise CommandError(f"The log's end did not arrive within {_LOG_AFTER_STATUS_SECONDS} s.") from None


async def _consume_the_end(servers: Servers, build: dict[str, Any]) -> None:
    """Consume the rest of the log from Kafka."""
    if servers.broker is None:
        return
    try:
        async with asyncio.timeout(_LOG_AFTER_STATUS_SECONDS):
            await servers.broker.until(build["log"]["bytes"])
    except TimeoutError:
        raise CommandError(f"Kafka did not have the whole log within {_LOG_AFTER_STATUS_SECONDS} s.") from None


async def _wait_for_the_archive(servers: Servers, build: dict[str, Any]) -> None:
    """Wait for the archived log, which is stored a moment after its receivers got its end."""
    objects, name = servers.service.objects, log_object(build["build_uuid"])
    try:
        async with asyncio.timeout(_LOG_AFTER_STATUS_SECONDS):
            while await objects.head(name) is None:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise CommandError(f"The log was not archived within {_LOG_AFTER_STATUS_SECONDS} s.") from None


async def _compare_with_the_archive(
    servers: Servers, build: dict[str, Any], received: ReceivedBuild, followed: FollowedLog | None
) -> None:
    """Compare what each receiver and reader got with the archived log; raises CommandError if it differs."""
    archived = hashlib.sha256()
    async with servers.service.objects.open(log_object(build["build_uuid"])) as log:
        async for chunk in log.chunks:
            archived.update(chunk)
    checksums = {"the receiver got": received.log_sha256}
    if servers.broker is not None:
        checksums["is in Kafka"] = servers.broker.log.sha256
    if followed is not None:
        checksums["the reader got"] = followed.sha256
    for who, checksum in checksums.items():
        if checksum != archived.hexdigest():
            raise CommandError(f"The log that {who} is not the log that was archived; the demo's files are kept.")


def _show_results(servers: Servers, build: dict[str, Any], followed: FollowedLog | None, screen: Screen) -> None:
    uuid, place_of = build["build_uuid"], servers.service.place_of
    screen.line()
    if build["source"]["bytes"] is not None:
        screen.fact("source", f"{build['source']['bytes']} bytes, as received", place_of(source_object(uuid)))
    who = f"the receiver and the reader at {followed.reader} got" if followed is not None else "the receiver got"
    screen.fact("log", f"{build['log']['bytes']} bytes, equal to what {who}", place_of(log_object(uuid)))
    if servers.broker is not None:
        screen.fact("kafka", f"{servers.broker.log.bytes} bytes consumed, equal as well", servers.broker.url)
    for artifact in build["artifacts"]:
        place = place_of(artifact_object(uuid, artifact["name"]))
        screen.fact("artifact", f"{artifact['name']}, {artifact['bytes']} bytes", place)
    if build["image"]:
        screen.fact("image", build["image"], build["digest"])


async def _keep(servers: Servers, screen: Screen) -> None:
    screen.line()
    screen.line("Everything keeps running until Ctrl-C. To use it from another terminal:")
    screen.line(f"  export SHUTTLE_URL={servers.service.client.address} SHUTTLE_TOKEN={servers.service.token}")
    screen.line("  shuttle submit APP BUILD --source . --pipeline script --follow")
    with suppress(asyncio.CancelledError):  # Ctrl-C ends a kept demo normally; the exit code is that of its build
        await _while_servers_run(servers, asyncio.get_running_loop().create_future())


async def _stop_unfinished(client: ShuttleClient, received: ReceivedBuild) -> None:
    """Stop an interrupted build before the emulated Jenkins ends: its steps would continue without Jenkins."""
    if received.final_status.is_set():
        return
    with suppress(CommandError, TimeoutError):
        async with asyncio.timeout(_STOP_WITHIN_SECONDS):
            await client.stop(received.app_id, received.build_id)
            await received.final_status.wait()


def _why(build: dict[str, Any]) -> str:
    return f": {build['reason']}: {build['message']}" if build["reason"] else ""
