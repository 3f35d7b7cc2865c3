"""Signatures between replicas: valid once, for a minute, for one method and path."""

from datetime import UTC, datetime, timedelta

import pytest

from shuttle.errors import ForbiddenError
from shuttle.peer_signature import PeerSignature

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Steady:
    def __init__(self) -> None:
        self.at = AT

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def steady() -> Steady:
    return Steady()


@pytest.fixture
def signer(steady: Steady) -> PeerSignature:
    return PeerSignature([b"key"], steady)


@pytest.fixture
def checker(steady: Steady) -> PeerSignature:
    return PeerSignature([b"newer key", b"key"], steady)


def test_a_signature_with_any_of_the_keys_is_valid(signer: PeerSignature, checker: PeerSignature):
    checker.check("POST", "/-/peers/builds/u/log?offset=1", signer.sign("POST", "/-/peers/builds/u/log?offset=1"))


@pytest.mark.parametrize(("method", "path"), [("GET", "/a"), ("POST", "/b"), ("POST", "/a?offset=1"), ("POST", "/a/")])
def test_a_signature_is_not_valid_for_another_request(
    method: str, path: str, signer: PeerSignature, checker: PeerSignature
):
    with pytest.raises(ForbiddenError):
        checker.check(method, path, signer.sign("POST", "/a"))


def test_a_signature_is_valid_once(signer: PeerSignature, checker: PeerSignature):
    signature = signer.sign("GET", "/a")
    checker.check("GET", "/a", signature)
    with pytest.raises(ForbiddenError, match="used already"):
        checker.check("GET", "/a", signature)


@pytest.mark.parametrize("seconds", [-61, 61, 86400])
def test_a_signature_of_another_time_is_refused(
    seconds: int, steady: Steady, signer: PeerSignature, checker: PeerSignature
):
    signature = signer.sign("GET", "/a")
    steady.at += timedelta(seconds=seconds)
    with pytest.raises(ForbiddenError, match="expired"):
        checker.check("GET", "/a", signature)


@pytest.mark.parametrize("header", ["", " ", "  ", "x y z", "2026-01-01 n", "ü ü ü", "\udcff a b", "a" * 10_000])
def test_anything_else_is_refused(header: str, checker: PeerSignature):
    with pytest.raises(ForbiddenError):
        checker.check("GET", "/a", header)


def test_a_signature_with_another_key_is_refused(steady: Steady, checker: PeerSignature):
    with pytest.raises(ForbiddenError):
        checker.check("GET", "/a", PeerSignature([b"other"], steady).sign("GET", "/a"))


def test_used_nonces_are_forgotten_once_their_signatures_have_expired(
    steady: Steady, signer: PeerSignature, checker: PeerSignature
):
    for _ in range(500):
        checker.check("GET", "/a", signer.sign("GET", "/a"))
        steady.at += timedelta(seconds=1)
    assert len(checker._used) <= 122
