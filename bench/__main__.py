"""`make bench`: runs all benchmarks one after another, each in its own process."""

import subprocess
import sys

BENCHMARKS = (
    "accept",
    "state",
    "packerd",
    "log_throughput",
    "latency",
    "agent_cost",
    "scale",
    "replicas",
    "trivial_build",
    "large_body",
    "misuse",
    "kafka",
    "together",
)


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    chosen = sys.argv[1:] or BENCHMARKS
    for name in chosen:
        print(f"\n$ python -m bench.{name}", flush=True)
        status = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        if status != 0:
            return status
    return 0


sys.exit(main())
