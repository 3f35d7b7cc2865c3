"""Servers to run with nothing installed: for demos and tests only."""
