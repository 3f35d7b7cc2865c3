"""The one error of this package."""


class PipelineError(Exception):
    """A pipeline that contradicts itself or cannot be written down; the message says what to change."""
