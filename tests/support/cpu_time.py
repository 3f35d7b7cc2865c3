"""How the CPU time of work grows with its input: a ratio, because a bound in seconds depends on the machine."""

import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """The CPU time of the shorter of two runs: other threads of the process can only add to it."""
    return min(_once(work), _once(work))


def growth(work: Callable[[int], Callable[[], object]], size: int, times: int) -> float:
    """The time for `times * size`, divided by the time for `size`: about `times` if the work is linear.

    `work(size)` prepares the input and returns what is measured.
    """
    return cpu_seconds(work(size * times)) / cpu_seconds(work(size))


def _once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
