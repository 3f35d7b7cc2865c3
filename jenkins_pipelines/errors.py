"""The error of this package."""


class PipelineError(Exception):
    """The pipeline is contradictory or cannot be rendered; the message says what to change."""
