"""`shuttle …` in the test's own process, in a thread beside the loop that serves it."""

import asyncio

from shuttle.cli import main


async def exit_code_of(*arguments: str) -> int:
    """Run it to its end; what it printed is `capsys`'."""

    def in_thread() -> int:
        try:
            main(arguments)
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return await asyncio.to_thread(in_thread)
