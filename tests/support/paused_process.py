"""Pauses a process, like a machine that has no CPU time for it."""

import asyncio
import os
import signal


async def pause(process: asyncio.subprocess.Process) -> None:
    """Send SIGSTOP and wait until all threads have stopped, which takes a while on a busy machine."""
    process.send_signal(signal.SIGSTOP)
    await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


def resume(process: asyncio.subprocess.Process) -> None:
    """Send SIGCONT."""
    process.send_signal(signal.SIGCONT)
