"""Runs `shuttle …` in the test's process, in a thread beside the event loop."""

import asyncio

from shuttle.cli import main


async def exit_code_of(*arguments: str) -> int:
    """Run the command and return its exit code; its output can be read with `capsys`."""

    def in_thread() -> int:
        try:
            main(arguments)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return await asyncio.to_thread(in_thread)
