"""Benchmarks. They print ratios measured in one run, with their commands; they are not tests with time limits."""
