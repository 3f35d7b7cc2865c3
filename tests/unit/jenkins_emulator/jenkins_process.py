"""`python jenkins_process.py HOME PORT GENERATION`: the emulated Jenkins as a process that a test can kill."""

import sys
from pathlib import Path

from jenkins_emulator import run

if __name__ == "__main__":
    run(
        Path(sys.argv[1]),
        port=int(sys.argv[2]),
        generation=sys.argv[3],
        user="admin",
        token="tok",
        announce=lambda line: print(line, flush=True),
    )
