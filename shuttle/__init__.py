"""Build Shuttle: one HTTP call becomes a Jenkins build whose log and status reach the caller while it runs."""

__version__ = "0.1.0"
