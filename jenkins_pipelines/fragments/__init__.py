"""Parts of pipelines, one purpose each."""
