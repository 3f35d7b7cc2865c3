"""Parts of pipelines, each with one purpose."""
