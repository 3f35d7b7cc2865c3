"""The kinds of sources, one module each; `shuttle.sources.catalogue` lists them."""
