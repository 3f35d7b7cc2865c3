"""Requests by packer over REST: which variables are secret, and which app a request belongs to."""

import re

import pytest

from shuttle.lifecycle.packer_request import PackerRequest, app_of, is_secret_name


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("docker_repo_password", True), ("API_KEY", True), ("my-token", True), ("a.secret.b", True),
        ("dbpassword", True), ("pass", True), ("credentials", True), ("PWD", True), ("compass", False),
        ("keyboard_layout", False), ("monkey", False), ("version", False), ("passage", False),
    ],
)  # fmt: skip
def test_secret_variables_are_known_by_their_names(name: str, secret: bool):
    assert is_secret_name(name) is secret


def test_app_is_that_of_repository_and_branch_without_credentials():
    one = app_of(PackerRequest("https://h/org/packerd-demo.git", branch="demo"))
    assert re.fullmatch(r"packer-packerd-demo-[0-9a-f]{8}", one)
    assert one == app_of(PackerRequest("https://u:p@h/org/packerd-demo.git", branch="demo", buildonly="x"))
    assert one != app_of(PackerRequest("https://h/org/packerd-demo.git"))
    long = app_of(PackerRequest("https://h/" + "x" * 100 + ".git/"))
    assert re.fullmatch(r"packer-x{40}-[0-9a-f]{8}", long)
