"""The pipelines that a request can name, one module each."""
