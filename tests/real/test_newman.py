"""The build state API as Postman's runner sees it: every operation, with the ids of earlier answers."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.real.postman_collection import collection
from tests.support.inprocess import running_shuttle

KEY = "controller-token-of-newman"
_NEWMAN = Path(__file__).parents[2] / ".real/newman-6.2.2/node_modules/.bin/newman"


async def run_newman(folder: Path, url: str, document: dict[str, Any]) -> dict[str, Any]:
    """Run the collection against the service; returns the report."""
    (folder / "collection.json").write_text(json.dumps(collection(document)))
    variables = ("--global-var", f"url={url}", "--global-var", f"key={KEY}")
    report = ("--reporters", "cli,json", "--reporter-json-export", "report.json", "--reporter-cli-no-banner")
    program = await asyncio.create_subprocess_exec(
        *(_NEWMAN, "run", "collection.json", *variables, *report, "--color", "off", "--timeout", "60000"),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await program.communicate()
    assert program.returncode == 0, output.decode()
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())["run"]["stats"]
    return found


async def test_every_operation_answers_newman_as_described(tmp_path: Path):
    async with running_shuttle(tmp_path, SHUTTLE_TOKENS=f"controller:{KEY}") as shuttle:
        document = (await shuttle.get("/-/openapi.json")).json
        stats = await run_newman(tmp_path, shuttle.url, document)
    assert stats["requests"]["total"] == len(collection(document)["item"])
    assert stats["assertions"]["total"] >= 2 * stats["requests"]["total"]
