"""The limits of a request's secrets: their number and their total size."""

import json
from typing import Any

import pytest

from shuttle.errors import InvalidRequestError
from tests.unit.request.catalogue import parse, script


def secret_arguments(*values: str) -> dict[str, Any]:
    arguments = {f"A{number}": value for number, value in enumerate(values)}
    return {"arguments": arguments, "secret_arguments": list(arguments)}


def refusal(**fields: Any) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        parse(script(**fields))
    return caught.value


def test_thousand_secrets_are_accepted_and_one_more_is_refused() -> None:
    values = [f"secret-{number}" for number in range(1000)]
    assert parse(script(**secret_arguments(*values))).warnings == ()
    error = refusal(**secret_arguments(*values, "one more"))
    assert (error.field, "1000 secrets" in error.message) == ("secret_arguments", True)
    webhook = {"url": "https://a.example/", "headers": {"X-Key": "one more"}}
    assert refusal(**secret_arguments(*values), webhooks={"logs": [webhook]}).field == "secret_arguments"
    headers = {f"X-{number:04}": "a header" for number in range(1001)}
    assert refusal(webhooks={"status": {"url": "https://a.example/", "headers": headers}}).field == (
        "webhooks.status[0].headers.X-1000"
    )


def test_equal_secrets_are_counted_each() -> None:
    assert refusal(**secret_arguments(*["the same"] * 1001)).field == "secret_arguments"


def test_secrets_of_more_than_one_mebibyte_together_are_refused() -> None:
    headers = {f"X-{number:04}": "é" * 4000 for number in range(140)}
    webhook = {"url": "https://a.example/", "headers": headers}
    error = refusal(webhooks={"logs": [webhook]})
    assert (error.field, "1048576 bytes" in error.message) == ("webhooks.logs[0].headers.X-0131", True)


def test_strings_of_a_json_document_count_as_secrets() -> None:
    document = json.dumps([f"string-{number}" for number in range(999)])
    assert parse(script(**secret_arguments(document))).warnings == ()
    assert refusal(**secret_arguments(document, "one more")).field == "secret_arguments"


def test_arguments_that_are_not_secret_do_not_count() -> None:
    arguments = {f"A{number}": "plain" for number in range(2000)}
    assert len(parse(script(arguments=arguments)).request.arguments) == 2000
