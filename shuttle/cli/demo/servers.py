"""The demo's servers.

The emulated Jenkins, the shuttles and PostgreSQL are processes of their own; the others run in this process.
"""

import secrets
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from shuttle.cli.demo.processes import Child, clean_environment, free_port
from shuttle.cli.demo.receiver import ReceivedBuild, Receiver
from shuttle.cli.demo.screen import Screen
from shuttle.cli.demo.service import Service, start_replicas, start_shuttle
from shuttle.cli.failures import CommandError, UsageError
from shuttle.setting_files import names_with_files
from shuttle.settings import Settings, setting_names

if TYPE_CHECKING:
    from shuttle.cli.demo.broker import Broker

_TOPIC = "build-logs"


@dataclass(frozen=True, slots=True)
class Servers:
    """The running servers of a demo, and how to reach them."""

    jenkins: Child
    service: Service
    receiver: Receiver
    broker: "Broker | None"


async def start_servers(stack: AsyncExitStack, screen: Screen, *, kafka: bool, replicas: int) -> Servers:
    """Start all servers one after the other; `stack` ends them in reverse order. No `replicas`: one shuttle."""
    try:
        Path(".data").mkdir(mode=0o700, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="demo-", dir=".data"))
    except OSError as error:
        raise CommandError(f"The demo cannot write its files to .data here: {error.strerror}.") from None
    screen.line(f"The files of this demo are in {home}", style="bold")
    receiver = _receiver(screen, shows_log=not replicas)
    await receiver.start()
    stack.push_async_callback(receiver.close)
    broker = await _start_broker(stack, screen) if kafka else None
    jenkins, jenkins_url = await _start_jenkins(stack, home, screen)
    environment = {**clean_environment(_setting_names()), "JENKINS_URL": jenkins_url}
    if replicas:
        service = await start_replicas(stack, home, environment, screen, replicas)
    else:
        service = await start_shuttle(stack, home, environment, screen)
    screen.event("receiver", f"{receiver.status_url} and {receiver.log_url}")
    return Servers(jenkins, service, receiver, broker)


def _receiver(screen: Screen, *, shows_log: bool) -> Receiver:
    """A receiver that shows the log itself, or only the offset at which each request with a part of it begins."""

    def on_status(build: ReceivedBuild, body: dict[str, Any]) -> None:
        screen.event("status", f"{body['status']:<10} {_note(build, body)}")

    if shows_log:
        return Receiver(on_status=on_status, on_log=lambda _build, piece: screen.log(piece))
    return Receiver(
        on_status=on_status,
        on_log_request=lambda _build, offset: screen.event("receiver", f"gets a POST of the log from byte {offset} on"),
    )


async def _start_broker(stack: AsyncExitStack, screen: Screen) -> "Broker":
    try:
        from shuttle.cli.demo.broker import Broker
    except ImportError:
        raise UsageError(
            "--kafka needs the package confluent-kafka: pip install 'build-shuttle[kafka-demo]'."
        ) from None
    broker = Broker(_TOPIC, on_log=screen.message)
    stack.push_async_callback(broker.close)
    await broker.start()
    screen.event("Kafka", f"{broker.url} (a mock: for demos and tests only)")
    return broker


async def _start_jenkins(stack: AsyncExitStack, home: Path, screen: Screen) -> tuple[Child, str]:
    """Start the emulated Jenkins with a token: it runs programs for every caller that it accepts."""
    port, token = free_port(), secrets.token_hex(16)
    arguments = ["jenkins", "--port", str(port), "--home", str(home / "jenkins"), "--user", "demo"]
    environment = {**clean_environment(_setting_names()), "SHUTTLE_JENKINS_EMULATOR_TOKEN": token}
    child = Child("the emulated Jenkins", arguments, environment, home / "jenkins.log")
    stack.push_async_callback(child.stop)
    url = f"http://127.0.0.1:{port}/"
    async with aiohttp.ClientSession() as session:

        async def answers() -> bool:
            try:
                async with session.get(f"{url}login") as response:
                    return response.status < 500
            except aiohttp.ClientError:
                return False

        await child.start(answers)
    screen.event("Jenkins", f"{url} (emulated: for demos and tests only)")
    return child, url.replace("//", f"//demo:{token}@", 1)


def _note(build: ReceivedBuild, body: dict[str, Any]) -> str:
    number = f"event {body['sequence']} of {build.app_id}/{build.build_id}"
    return f"{number}: {body['message']}" if body.get("message") else number


def _setting_names() -> frozenset[str]:
    from_files = {f"{name}_FILE" for name in names_with_files(Settings)}
    return setting_names() | from_files | {"SHUTTLE_URL", "SHUTTLE_TOKEN", "SHUTTLE_TOKEN_FILE"}
