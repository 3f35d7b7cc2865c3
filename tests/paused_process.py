"""A process that a test stops for a while, as a machine without a processor to spare would."""

import asyncio
import os
import signal


async def pause(process: asyncio.subprocess.Process) -> None:
    """SIGSTOP; returns once every thread stands still, which on a busy machine may be after many more of its steps."""
    process.send_signal(signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def resume(process: asyncio.subprocess.Process) -> None:
    """SIGCONT."""
    process.send_signal(signal.SIGCONT)
