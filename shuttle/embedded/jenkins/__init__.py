"""A Jenkins in one process: it answers as real ones were recorded, and runs the pipelines that the shuttle renders.

For demos and tests only. `EmbeddedJenkins` is the server, `run` serves until a signal.
"""

from shuttle.embedded.jenkins.server import EmbeddedJenkins, run

__all__ = ["EmbeddedJenkins", "run"]
