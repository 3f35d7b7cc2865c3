"""Packer over REST: the API of packerd, at `/-/packerd` and as the root of a listener of its own.

`routes` is its table of routes, `access` checks callers, `bodies` reads requests, `stages` derives its stages from
those of the build, `errors` has the errors that only this API has, `tls` is for its own listener.
"""

PREFIX = "/-/packerd"
