"""Credentials in URLs: how they are read, sent and left out of display."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shuttle.outgoing.userinfo import Credentials, basic_authorization, split_userinfo, without_userinfo


@pytest.mark.parametrize(
    ("url", "without", "credentials"),
    [
        ("https://h/p", "https://h/p", None),
        ("https://user:pass@h:1/p?q#f", "https://h:1/p?q#f", Credentials("user", "pass")),
        ("https://token@h", "https://h", Credentials("token", "")),
        ("https://u%40x:p%3A%2F%25@h/", "https://h/", Credentials("u@x", "p:/%")),
        ("https://u:a:b@h/", "https://h/", Credentials("u", "a:b")),
        ("https://:only@h/", "https://h/", Credentials("", "only")),
        ("https://@h/", "https://h/", None),
        ("https://u:p@[::1]:8/x", "https://[::1]:8/x", Credentials("u", "p")),
        ("https://h/@scope/package", "https://h/@scope/package", None),
        ("https://h?who=a@b", "https://h?who=a@b", None),
        ("https://h#a@b", "https://h#a@b", None),
        ("data:text/plain,a@b", "data:text/plain,a@b", None),
        ("docker://u:p@r/org/img:1", "docker://r/org/img:1", Credentials("u", "p")),
    ],
)
def test_userinfo_is_split_off(url, without, credentials):
    assert split_userinfo(url) == (without, credentials)
    assert without_userinfo(url) == without


@given(user=st.text(min_size=1).filter(str.isprintable), password=st.text().filter(str.isprintable))
def test_encoded_credentials_are_decoded(user, password):
    url = f"https://{quote(user, safe='')}:{quote(password, safe='')}@host/path"
    assert split_userinfo(url) == ("https://host/path", Credentials(user, password))


@given(text=st.text())
def test_without_userinfo_accepts_any_text(text):
    assert isinstance(without_userinfo(text), str)
    assert "hunter22" not in without_userinfo(f"{text} http://me:hunter22@host/")


def test_without_userinfo_strips_every_url_of_a_failover():
    shown = without_userinfo("failover(kafka://u:hunter22@a:1,b:2/t, https://hunter23@c/d)")
    assert shown == "failover(kafka://a:1,b:2/t, https://c/d)"


def test_basic_authorization_is_encoded_as_utf8():
    value = basic_authorization(Credentials("jürgen", "pä:ss"))
    scheme, _, encoded = value.partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", "jürgen:pä:ss")


def test_credentials_do_not_show_in_a_repr():
    assert "hunter22" not in repr(Credentials("hunter22", "")) + repr(Credentials("me", "hunter22"))
