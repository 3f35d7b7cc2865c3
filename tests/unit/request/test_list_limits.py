"""How long the lists of a request may be."""

import pytest

from shuttle.errors import InvalidRequestError
from tests.unit.request.catalogue import IMAGE, parse, script


def test_a_hundred_tags_are_taken_and_one_more_is_refused() -> None:
    tags = [f"t{number}" for number in range(101)]
    assert parse(script(destination={"image": IMAGE, "tags": tags[:100]})).request.destination_tags == tuple(tags[:100])
    with pytest.raises(InvalidRequestError) as caught:
        parse(script(destination={"image": IMAGE, "tags": tags}))
    assert caught.value.field == "destination.tags"
