"""A build of the service reports its own states: with the state token that its process finds in its environment."""

import pytest

from tests.support.inprocess import Shuttle
from tests.support.product import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = """#!/bin/sh
say() {
  curl -sS -o /dev/null -w '%{http_code}\\n' -H "X-API-Key: $BLDST_API_KEY" -H 'Content-Type: application/json' \\
    -d "$2" "$BLDST_API_URL/builds/$1"
}
say "$BLDST_BUILD_ID/states" '{"state": 40, "status": "compiling"}'
say "$BUILDSTATE_BUILD_ID/variables" '{"variable_key": "AMI", "variable_value": "ami-1"}'
say "$BLDST_BUILD_ID/states" '{"state": 100, "status": "done, I say"}'
say "$OTHER/states" '{"state": 40, "status": "x"}'
echo "the token is $BLDST_API_KEY."
"""


async def test_build_reports_its_states_and_its_token_is_masked(shuttle: Shuttle, app: str):
    other = await shuttle.ask("POST", "/-/state/builds", json={"build_number": app})
    source = {"url": data_url({"build.sh": SCRIPT})}
    await shuttle.submit(f"/{app}/1", source=source, arguments={"OTHER": other.json["id"]})
    build = await shuttle.until(f"/{app}/1")
    log = (await shuttle.whole_log(f"/{app}/1")).decode()
    assert build["state"] == "succeeded", log
    assert "\n201\n201\n201\n403\nthe token is [secret].\n" in log
    record = (await shuttle.get(f"/-/state/builds/{build['build_uuid']}")).json
    reported = [(each["state"], each["status"]) for each in record["states"] if each["stage"] is None]
    assert reported == [(40, "compiling"), (99, "done, I say")]
    assert (record["current_state"], record["status"]) == (100, "completed")
