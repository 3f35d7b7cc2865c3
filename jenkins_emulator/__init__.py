"""An emulated Jenkins in one process: it answers as recorded from real ones, and runs the shuttle's pipelines.

For demos and tests only. `EmulatedJenkins` is the server; `run` serves until a signal.
"""

from jenkins_emulator.server import EmulatedJenkins, run

__all__ = ["EmulatedJenkins", "run"]
