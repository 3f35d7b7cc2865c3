"""`shuttle serve` as a process of its own, without a Jenkins."""

from pathlib import Path

from tests.support.free_port import free_port
from tests.support.product import Process


def shuttle_process(folder: Path, **settings: str) -> tuple[str, Process]:
    """URL and process, which is not started yet, of a shuttle with its data and its output in `folder`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"PORT": str(port), "SHUTTLE_DATA_DIR": str(folder / "data"), **settings}
    return url, Process(["serve"], environment, f"{url}/-/openapi.json", folder / "shuttle.out")
