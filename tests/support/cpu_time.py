"""How the CPU time of work grows with its input: a ratio, because a bound in seconds depends on the machine."""

import time
from collections.abc import Callable


def cpu_seconds(work: Callable[[], object]) -> float:
    """The least of two runs: another thread of the process can only add to one."""
    return min(_once(work), _once(work))


def growth(work: Callable[[int], Callable[[], object]], size: int, times: int) -> float:
    """How often the time for `size` fits into the time for `times * size`: about `times` if the work is linear.

    `work(size)` prepares the input and returns what is measured.
    """
    return cpu_seconds(work(size * times)) / cpu_seconds(work(size))


def _once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
