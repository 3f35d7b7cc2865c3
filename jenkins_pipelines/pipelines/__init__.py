"""The pipelines that a request can name, one a module."""
