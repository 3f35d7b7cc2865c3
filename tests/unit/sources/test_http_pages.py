"""A web page instead of an archive is refused; an archive that a host declares as a web page is accepted."""

import gzip
import io
import tarfile
import zipfile

import pytest
from aiohttp import web

from shuttle.errors import BuildFailedError
from shuttle.sources.pages import is_page

PAGES = [
    (b"<!doctype html><title>Sign in</title>", "text/html"),
    (b"<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0'>", "application/octet-stream"),
    (b"\xef\xbb\xbf\r\n  <html lang=en>", "application/x-gzip"),
    (b"<?xml version='1.0'?><!-- a --><!-- b -->\n<html>", "application/xhtml+xml"),
    (b"Please sign in.", "text/html; charset=utf-8"),
    (b"<head><title>Sign in</title>", "application/octet-stream"),
    (b"\n<BODY class=login>", "application/gzip"),
    (b"<script>location = '/login'</script>", "application/octet-stream"),
    (b"\xff\xfe" + "<!doctype html>".encode("utf-16-le"), "text/html"),
    (b"\xfe\xff" + "<!doctype html>".encode("utf-16-be"), "application/octet-stream"),
]


def archives() -> list[bytes]:
    tar, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("<html>.txt"))
    with zipfile.ZipFile(packed, "w") as archive_file:
        archive_file.writestr("a", "b")
    return [tar.getvalue(), packed.getvalue(), gzip.compress(tar.getvalue())]


@pytest.mark.parametrize(("body", "content_type"), PAGES)
async def test_web_page_is_refused(host, fetch, tmp_path, body, content_type):
    host.answer = lambda _: web.Response(body=body, headers={"Content-Type": content_type})
    with pytest.raises(BuildFailedError, match="a web page instead of an archive") as caught:
        await fetch(f"{host.url}/a.tar.gz?signature=hunter22")
    assert caught.value.reason == "source_is_a_page"
    assert "hunter22" not in caught.value.message
    assert not (tmp_path / "source").exists()


@pytest.mark.parametrize("archive", archives())
async def test_archive_declared_as_a_web_page_is_accepted(host, fetch, archive):
    host.answer = lambda _: web.Response(body=archive, content_type="text/html")
    assert (await fetch(host.url))[1] == archive


@pytest.mark.parametrize("text", [b"<header>", b"<b", b"<?xml version='1.0'?><Error>", b"\xff\xfe<\0", b"\xff\xfe\xff"])
def test_other_text_is_not_a_web_page(text):
    assert not is_page(text, "application/octet-stream")


def test_many_comments_are_skipped_without_backtracking():
    assert not is_page(b"<!---->" * 500 + b"<!--", "text/plain")
