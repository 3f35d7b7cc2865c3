"""Hook URLs: which are accepted, and the errors for the others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from shuttle.errors import InvalidRequestError
from shuttle.outgoing.hooks import Hook, kind_of, parse_hooks, shown_host
from shuttle.outgoing.kafka_url import read_kafka_url
from shuttle.outgoing.userinfo import Credentials

FIXED = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.0.1/hook",
        "https://example.com",
        "HTTPS://Example.COM/",
        "https://user:p%40ss@example.com:8443/a/b?c=d&e=%20#f",
        "https://token@example.com/",
        "http://build_box-1/x",
        "http://localhost:1",
        "http://[::1]:65535/x",
        "http://name./",
        "https://bücher.example/straße",
        "http://h?x",
        f"http://{'a' * 63}.b/",
    ],
)
def test_http_urls_are_accepted(url):
    assert parse_hooks(url, "webhooks.logs") == ((Hook(url),), [])
    assert URL(url).raw_host


@pytest.mark.parametrize(
    ("url", "kind", "hosts"),
    [
        ("http://u:p@a:1/x", "http", "a:1"),
        ("kafka://a/t", "kafka", "a"),
        ("KAFKA://a:9092,b:9093,[::1]:1/topic.name_1-x", "kafka", "a:9092,b:9093,[::1]:1"),
        ("kafka+ssl://user:p%40w@a/t", "kafka", "a"),
        ("failover(https://a/x, https://b/y)", "failover", "a, b"),
        ("failover:(kafka://u:p@a:1,b:2/t,http://t@c/)", "failover", "a:1,b:2, c"),
        ("failover(http://a/x?y=1,2 , http://b)", "failover", "a, b"),
        ("Failover( kafka+ssl://a/t )", "failover", "a"),
    ],
)
def test_kafka_and_failover_urls_are_accepted_and_their_hosts_shown(url, kind, hosts):
    assert parse_hooks(url, "webhooks.logs") == ((Hook(url),), [])
    assert (kind_of(url), shown_host(url)) == (kind, hosts)


def test_kafka_url_is_split_into_hosts_topic_and_credentials():
    address = read_kafka_url("kafka+ssl://us%40er:p%3Aw@a,b:1,[::1]/t.1", "url")
    assert address.hosts == (("a", 9092), ("b", 1), ("::1", 9092))
    assert (address.topic, address.tls) == ("t.1", True)
    assert address.credentials == Credentials("us@er", "p:w")
    assert "p:w" not in repr(address)
    assert not read_kafka_url("kafka://a/t", "url").tls


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("failover()", "Member 1"),
        ("failover(http://a/, , http://b/)", "Member 2"),
        ("failover(http://a/,)", "Member 2"),
        ("failover(http://a/, kafka://b/t,,http://c/)", "Member 3"),
        ("failover(, http://a/)", "Member 1"),
        ("failover(http://a/, kafka://b)", "Member 2"),
        ("failover(http://a/, http://b/, failover(http://c/))", "Member 3"),
        ("failover(http://a/, ftp://b/)", "Member 2"),
        ("failover(kafka://a/t, kafka://b:0/t)", "Member 2"),
    ],
)
def test_error_has_the_number_of_the_invalid_failover_member(url, said):
    with pytest.raises(InvalidRequestError, match=said) as caught:
        parse_hooks(["http://x/", {"url": url}], "webhooks.logs")
    assert caught.value.field == "webhooks.logs[1].url"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "/x",
        "ftp://a/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:/a",
        "http://",
        "http:///x",
        "https://user@/x",
        "http://a:0/",
        "http://a:65536/",
        "http://a:/",
        "http://a:x/",
        "http://a:-1/",
        "http://a:٣/",
        "http://a..b/",
        "http://.a/",
        f"http://{'a' * 64}/",
        f"http://{'a.' * 127}a/",
        "http://a b/",
        "http://a/ b",
        " http://a/",
        "http://a/\n",
        "http://a/\x00",
        "http://a/\x85",
        "http://a/\u2028",
        "http://a/\ud800",
        "http://a\\@b/",
        "http://a@b@c/",
        "http://u:p[x]@c/",
        "http://u:%zz@c/",
        "http://u:%ff@c/",
        "http://u:%0d%0a@c/",
        "http://[::1/",
        "http://[]/",
        "http://[1.2.3.4]/",
        "http://[fe80::1%25eth0]/",
        "http://a<b/",
        "http://℀.com/",
        "kafka:///t",
        "kafka://a",
        "kafka://a/",
        "kafka://a,/t",
        "kafka://a:0/t",
        "kafka://a:99999,b/t",
        "kafka://a b/t",
        "kafka://a/t/u",
        "kafka://a/..",
        "kafka://a/t?x=1",
        f"kafka://a/{'t' * 250}",
        "kafka+sslx://a/t",
        "kafka://user@a/t",
        "kafka://:pw@a/t",
        "kafka://u:%zz@a/t",
        "kafka://é/t",
        "failover()",
        "failover(",
        "failover(http://a/",
        "failover(ftp://a/)",
        "failover(http://a:0/, http://b/)",
        "failover(http://a/, failover(http://b/, http://c/))",
        "failover(failover:(http://b/))",
        "failover(http://a/) x",
        "failovers(http://a/)",
    ],
)
def test_invalid_urls_are_refused_without_repeating_them(url):
    with pytest.raises(InvalidRequestError) as caught:
        parse_hooks(url, "webhooks.status")
    assert caught.value.field == "webhooks.status"
    assert len(url) < 12 or url not in caught.value.message


def test_entries_with_headers_are_accepted_and_ignored_fields_reported():
    entries = ["http://a/", {"url": "http://b/", "headers": {"X-Token": "a b\tc"}, "retry": 1}]
    hooks, ignored = parse_hooks(entries, "webhooks.status")
    assert hooks == (Hook("http://a/"), Hook("http://b/", {"X-Token": "a b\tc"}))
    assert ignored == ["webhooks.status[1].retry"]
    assert "http://b/" not in repr(hooks)
    assert "a b" not in repr(hooks)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        (1, ""),
        (None, ""),
        ({}, ".url"),
        ({"url": 1}, ".url"),
        ({"url": "ftp://a"}, ".url"),
        ({"url": "http://a", "headers": []}, ".headers"),
        ({"url": "http://a", "headers": {"X": 1}}, ".headers.X"),
        ({"url": "http://a", "headers": {"X": "a\nb"}}, ".headers.X"),
        ({"url": "http://a", "headers": {"X": "a\r"}}, ".headers.X"),
        ({"url": "http://a", "headers": {"X": "\x00"}}, ".headers.X"),
        ({"url": "http://a", "headers": {"X": "\ud800"}}, ".headers.X"),
        ({"url": "http://a", "headers": {"X": "a" * 8193}}, ".headers.X"),
        ({"url": "http://a", "headers": {"": "a"}}, ".headers."),
        ({"url": "http://a", "headers": {"X Y": "a"}}, ".headers.X Y"),
        ({"url": "http://a", "headers": {"X:": "a"}}, ".headers.X:"),
        ({"url": "http://a", "headers": {"x": "a", "X": "b"}}, ".headers.X"),
        ({"url": "kafka://a/t", "headers": {"X": "a"}}, ".headers"),
        ({"url": "failover(kafka://b/t, http://u:p@a)", "headers": {"authorization": "b"}}, ".headers.Authorization"),
        ({"url": "http://u:p@a", "headers": {"authorization": "b"}}, ".headers.Authorization"),
        *(
            ({"url": "http://a", "headers": {name: "a"}}, f".headers.{name}")
            for name in (
                *("Host", "content-type", "Content-Length", "TRANSFER-ENCODING", "Connection", "TE", "Upgrade"),
                *("Shuttle-App-Id", "shuttle-anything", "webhook-id", "Webhook-Signature", "Proxy-Authorization"),
            )
        ),
    ],
)
def test_error_field_names_the_invalid_part_of_an_entry(entry, field):
    with pytest.raises(InvalidRequestError) as caught:
        parse_hooks(["http://a/", entry], "webhooks.logs")
    assert caught.value.field == f"webhooks.logs[1]{field}"


def test_number_of_receivers_is_limited():
    assert len(parse_hooks(["http://a/"] * 100, "webhooks.logs")[0]) == 100
    with pytest.raises(InvalidRequestError, match="at most 100") as caught:
        parse_hooks(["http://a/"] * 101, "webhooks.logs")
    assert caught.value.field == "webhooks.logs"


@pytest.mark.parametrize(
    "hooks",
    [
        f"failover({', '.join(['http://a/'] * 101)})",
        f"kafka://{','.join(['k'] * 101)}/t",
        ["http://a/", {"url": f"failover(http://b/, kafka://{','.join(['k'] * 99)}/t)"}],
    ],
)
def test_number_of_hosts_of_all_receivers_is_limited(hooks):
    with pytest.raises(InvalidRequestError, match="at most 100 hosts") as caught:
        parse_hooks(hooks, "webhooks.logs")
    assert caught.value.field == "webhooks.logs"


@pytest.mark.parametrize("url", [f"http://a/{'x' * 16_384}", f"failover(http://a/{' ' * 16_384}x)"])
def test_overlong_url_is_refused(url):
    with pytest.raises(InvalidRequestError, match="up to 16384 characters") as caught:
        parse_hooks([url], "webhooks.logs")
    assert caught.value.field == "webhooks.logs[0]"


@pytest.mark.parametrize(
    "url", ["kafka://u:p@w@k/t", "kafka://u:p/w@k/t", "kafka://u:p#w@k/t", "kafka://u:p@k,v:q@l/t"]
)
def test_unencoded_kafka_password_is_not_reported_as_a_wrong_topic(url):
    with pytest.raises(InvalidRequestError, match="percent-encoded"):
        parse_hooks(url, "webhooks.logs")


@FIXED
@given(st.text(alphabet="htps:/@[].%a1-_?#\\ é\x00\ud800", max_size=20))
def test_accepted_urls_can_be_used_by_the_client(tail):
    url = f"http://{tail}"
    try:
        parse_hooks(url, "webhooks.logs")
    except InvalidRequestError:
        return
    parsed = URL(url)
    assert parsed.raw_host
    assert str(parsed).isascii()
