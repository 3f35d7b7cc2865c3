"""bldst from the service itself: one file, and a package index with its wheel. Both are public, as the source is.

The name of the wheel's project is free on the public index, where anybody may take it. So `pip` must not look there.
"""

from hashlib import sha256
from html import escape

from aiohttp import web

from jenkins_pipelines.shell_scripts import text
from shuttle.errors import NotFoundError
from shuttle.web.description import describe
from shuttle.web.state.bldst import bldst_file, wheel

_PROJECT = "buildstate-cli"
_REQUIRED_PYTHON = ">=3.8"


@describe("application/octet-stream")
async def get_bldst(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/bldst`: the program, for `python3 bldst` or `./bldst`."""
    return _file("bldst", bldst_file())


@describe("text/plain")
async def get_report_functions(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/report.sh`: shell functions that report with curl, for `. ./report.sh`."""
    return web.Response(text=text("report"), content_type="text/plain", charset="utf-8")


@describe("text/html")
async def get_index(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/pip/simple/buildstate-cli/`: the page of PEP 503 with one file.

    The link is relative, because a proxy may serve the page below another path.
    """
    name, content = wheel()
    path = name if request.path.endswith("/") else f"{_PROJECT}/{name}"
    link = (
        f'<a href="{path}#sha256={sha256(content).hexdigest()}"'
        f' data-requires-python="{escape(_REQUIRED_PYTHON)}">{name}</a>'
    )
    page = f"<!DOCTYPE html>\n<title>Links for {_PROJECT}</title>\n{link}\n"
    return web.Response(text=page, content_type="text/html", charset="utf-8")


@describe("application/octet-stream", errors=(NotFoundError,))
async def get_wheel(request: web.Request) -> web.StreamResponse:
    """`GET /-/state/pip/simple/buildstate-cli/<file>`: the wheel of this version."""
    name, content = wheel()
    if request.match_info["wheel"] != name:
        raise NotFoundError(f"This service has {name} only.")
    return _file(name, content)


def _file(name: str, content: bytes) -> web.Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return web.Response(body=content, content_type="application/octet-stream", headers=headers)
