"""A Jenkins in one process: it answers as real ones were recorded, and runs the pipelines that the shuttle renders.

For demos and tests only. `EmulatedJenkins` is the server, `run` serves until a signal.
"""

from jenkins_emulator.server import EmulatedJenkins, run

__all__ = ["EmulatedJenkins", "run"]
