"""Benchmarks: ratios taken in one run, each printed with the command that gave it; never timed tests."""
