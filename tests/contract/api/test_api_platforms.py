"""A build for several platforms: one branch of the pipeline and one record for each of them."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.inprocess import Jenkins, Shuttle, running_shuttle, script_request

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDS = "/-/state/builds"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shuttle(tmp_path_factory: pytest.TempPathFactory, jenkins: Jenkins) -> AsyncIterator[Shuttle]:
    async with running_shuttle(tmp_path_factory.mktemp("platforms"), jenkins.url) as running:
        yield running


async def record(shuttle: Shuttle, uuid: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shuttle.get(f"{BUILDS}/{uuid}")).json
    return found


def ends(build: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {child["platform"]: (child["state"], child["reason"]) for child in build["children"]}


async def test_one_of_two_platforms_fails(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    script = 'echo "$PLATFORM in $REGION, $COMMON"\n[ "$PLATFORM" = aws ] || exit 3\nmkdir dist && echo a > dist/image'
    platforms = [{"name": "aws", "arguments": {"REGION": "us"}}, {"name": "azure", "arguments": {"REGION": "eu"}}]
    await shuttle.submit(path, script, platforms=platforms, arguments={"COMMON": 1, "REGION": "none"})
    build = await shuttle.until(path)
    assert (build["state"], build["reason"]) == ("failed", "platform_failed")
    assert build["message"] == "The build failed for: azure."
    log = (await shuttle.whole_log(path)).decode()
    assert "[aws] aws in us, 1\n" in log
    assert "[azure] azure in eu, 1\n" in log
    assert log.endswith("-----> The build failed for: azure.\n")
    assert ends(build) == {"aws": ("succeeded", None), "azure": ("failed", "build_failed")}
    assert [child["build_id"] for child in build["children"]] == ["1-aws", "1-azure"]
    parent = await record(shuttle, build["build_uuid"])
    assert (parent["status"], [child["status"] for child in parent["children"]]) == ("failed", ["completed", "failed"])
    aws, azure = [await record(shuttle, child["build_uuid"]) for child in build["children"]]
    assert (aws["current_state"], aws["labels"], aws["parent_id"]) == (100, {"platform": "aws"}, build["build_uuid"])
    stages = [(state["stage"], state["state"], state["status"]) for state in aws["states"]]
    assert stages == [
        (name, code, "succeeded") for name, code in (("claim", 5), ("fetch", 10), ("build", 20), ("artifacts", 95))
    ]
    assert [(row["state"], row["failure_type"], row["error_message"]) for row in azure["failures"]] == [
        (20, "build_failed", "build.sh ended with exit status 3.")
    ]
    status = (await shuttle.get(f"/{app}/1-azure/status")).json
    assert (status["status"], status["reason"]) == ("failed", "build_failed")
    assert (await shuttle.get(f"/{app}/1-aws/artifacts/image")).body == b"a\n"


async def test_process_of_a_branch_reports_to_the_record_of_its_platform(shuttle: Shuttle, app: str):
    """The process may fail the record, but only the branch's end completes it. Its token is not shown in the log."""
    path = f"/{app}/1"
    script = """\
echo "key $BLDST_API_KEY"
say() { curl -fsS -H "X-API-Key: $BUILDSTATE_API_KEY" -H 'Content-Type: application/json' -o /dev/null "$@"; }
record=$BLDST_API_URL/builds/$BLDST_BUILD_ID
say -d '{"state": 60, "status": "baking"}' $record/states
say -d '{"variable_key": "ami", "variable_value": "'$PLATFORM'"}' $record/variables
if [ $PLATFORM = gcp ]; then
  say -d '{"state": -1, "failure_type": "quota", "error_message": "No quota."}' $record/failures
else
  say -d '{"state": 100, "status": "done"}' $record/states
  say -X PUT -d '{"status": "completed"}' $record
fi
"""
    await shuttle.submit(path, script, platforms=["aws", "gcp"])
    build = await shuttle.until(path)
    log = (await shuttle.whole_log(path)).decode()
    assert ends(build) == {"aws": ("succeeded", None), "gcp": ("failed", "reported_failure")}, log
    assert (build["reason"], build["message"]) == ("platform_failed", "The build failed for: gcp.")
    assert "[aws] key [secret]\n" in log
    aws, gcp = [await record(shuttle, child["build_uuid"]) for child in build["children"]]
    assert [(row["state"], row["status"]) for row in aws["states"] if row["stage"] is None] == [
        (60, "baking"),
        (99, "done"),
    ]
    assert [(row["state"], row["failure_type"]) for row in gcp["failures"]] == [(60, "quota")]
    assert (await shuttle.get(f"{BUILDS}/{aws['id']}/variables/dict")).json == {"ami": "aws"}
    parent = await shuttle.get(f"{BUILDS}/{build['build_uuid']}/variables/dict")
    assert parent.json == {}


@pytest.mark.slow
async def test_all_platforms_succeed_and_their_names_are_those_of_the_branches(
    shuttle: Shuttle, jenkins: Jenkins, app: str
):
    """The job is updated when the platforms of a build differ from those of the build before it."""
    hostile = ["-x", "..", "a", "build", "a-b", "%s"[1:] + "." * 63]
    await shuttle.submit(f"/{app}/1", 'echo "I am $PLATFORM"', platforms=hostile)
    build = await shuttle.until(f"/{app}/1")
    log = (await shuttle.whole_log(f"/{app}/1")).decode()
    assert (build["state"], build["reason"]) == ("succeeded", None), log
    assert ends(build) == dict.fromkeys(hostile, ("succeeded", None))
    assert [f"[{name}] I am {name}\n" in log for name in hostile] == [True] * len(hostile)
    await shuttle.submit(f"/{app}/2", "echo one")
    build = await shuttle.until(f"/{app}/2")
    assert (build["state"], build["children"]) == ("succeeded", [])
    await shuttle.submit(f"/{app}/3", "true", platforms=[{"name": "aws"}])
    assert ends(await shuttle.until(f"/{app}/3")) == {"aws": ("succeeded", None)}


@pytest.mark.slow
async def test_stop_ends_all_platforms(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    await shuttle.submit(path, "[ $PLATFORM = aws ] || { echo waiting; sleep 100; }", platforms=["aws", "azure", "gcp"])
    await shuttle.until_shown(
        path,
        lambda build: (
            [child["state"] for child in build["children"]] == ["succeeded", "running", "running"]
            and [each["stage"] for each in build["stages"]].count("build") == 3
        ),
    )
    refused = await shuttle.delete(f"/{app}/1-gcp")
    assert (refused.status, "stop that build" in refused.json["message"]) == (409, True)
    assert (await shuttle.delete(f"/{app}/1-aws")).status == 422, "it has ended"
    assert (await shuttle.delete(path)).status == 200
    build = await shuttle.until(path)
    assert (build["state"], build["reason"]) == ("stopped", "stopped")
    assert ends(build) == {"aws": ("succeeded", None), "azure": ("stopped", "stopped"), "gcp": ("stopped", "stopped")}


@pytest.mark.slow
async def test_resumed_build_runs_the_failed_platforms_only(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    script = 'echo "$PLATFORM $RESUME_BUILD_ID $RESUME_FROM_STATE"\n[ -n "$RESUME_MODE" ] || [ $PLATFORM = aws ]'
    await shuttle.submit(path, script, platforms=["aws", {"name": "azure", "arguments": {"A": "b"}}, "gcp"])
    first = await shuttle.until(path)
    assert first["reason"] == "platform_failed"
    refused = await shuttle.post(f"{BUILDS}/{first['children'][1]['build_uuid']}/resume", {})
    assert (refused.status, "resume that one" in refused.json["detail"]) == (409, True)
    assert (await shuttle.post(f"/{app}/1-r1", {"resume_from": {"build_id": "1"}})).status == 200
    resumed = await shuttle.until(f"/{app}/1-r1")
    assert ends(resumed) == {"azure": ("succeeded", None), "gcp": ("succeeded", None)}
    assert (resumed["state"], [child["build_id"] for child in resumed["children"]]) == (
        "succeeded",
        ["1-r1-azure", "1-r1-gcp"],
    )
    log = (await shuttle.whole_log(f"/{app}/1-r1")).decode()
    old = {child["platform"]: child["build_uuid"] for child in first["children"]}
    assert f"[gcp] gcp {old['gcp']} 20\n" in log
    assert (await record(shuttle, resumed["children"][1]["build_uuid"]))["resume_from"] == old["gcp"]


LEAVES = """[ -z "${RESUME_MODE-}" ] || exit 0
[ "$PLATFORM" = gcp ] || curl -fsS -H "X-API-Key: $BLDST_API_KEY" -H 'Content-Type: application/json' \\
  -d '{"artifact_name": "disk", "artifact_type": "vm"}' "$BLDST_API_URL/builds/$BLDST_BUILD_ID/artifacts"
exit 3
"""


@pytest.mark.slow
async def test_what_a_resume_requires_is_required_of_each_platform(shuttle: Shuttle, app: str):
    """Before, it was required of the parent, which has nothing: the branches report to the records of platforms."""
    assert (await shuttle.post("/-/state/projects", {"name": app})).status == 201
    wanted = {"state_code": 20, "required_artifacts": ["disk"]}
    assert (await shuttle.post(f"/-/state/projects/{app}/resumable-states", wanted)).status == 201
    await shuttle.submit(f"/{app}/1", LEAVES, platforms=["aws", "gcp"])
    first = await shuttle.until(f"/{app}/1")
    resume = f"{BUILDS}/{first['build_uuid']}/resume"
    refused = await shuttle.post(resume, {})
    assert (refused.status, "The artifact disk is required" in refused.json["detail"]) == (409, True)
    gcp = first["children"][1]["build_uuid"]
    late = await shuttle.post(f"{BUILDS}/{gcp}/artifacts", {"artifact_name": "disk", "artifact_type": "vm"})
    assert late.status == 201
    assert (await shuttle.post(resume, {})).status == 201
    resumed = await shuttle.until(f"/{app}/1-r1")
    assert ends(resumed) == {"aws": ("succeeded", None), "gcp": ("succeeded", None)}


@pytest.mark.slow
async def test_secret_arguments_of_platforms_are_masked(shuttle: Shuttle, app: str):
    path = f"/{app}/1"
    platforms = [{"name": name, "arguments": {"KEY": f"very-secret-{name}"}} for name in ("aws", "gcp")]
    await shuttle.submit(path, "echo it is $KEY", platforms=platforms, secret_arguments=["KEY"])
    assert (await shuttle.until(path))["state"] == "succeeded"
    log = await shuttle.whole_log(path)
    assert b"very-secret" not in log
    assert b"[gcp] it is " in log


@pytest.mark.parametrize(
    ("platforms", "field"),
    [
        ([], "platforms"),
        ("aws", "platforms"),
        ({"aws": {}}, "platforms"),
        ([f"p{n}" for n in range(21)], "platforms"),
        (["aws", "aws"], "platforms[1]"),
        (["aws", {"name": "aws"}], "platforms[1]"),
        ([5], "platforms[0]"),
        ([""], "platforms[0]"),
        (["x" * 65], "platforms[0]"),
        (["a/b"], "platforms[0]"),
        (["a b"], "platforms[0]"),
        (["a\n"], "platforms[0]"),
        (["ä"], "platforms[0]"),
        (["'; rm -rf /"], "platforms[0]"),
        (["main"], "platforms[0]"),
        ([{}], "platforms[0].name"),
        ([{"name": None}], "platforms[0].name"),
        ([{"name": "a", "arguments": []}], "platforms[0].arguments"),
        ([{"name": "a", "arguments": {"1": "x"}}], "platforms[0].arguments.1"),
        ([{"name": "a", "arguments": {"A": []}}], "platforms[0].arguments.A"),
        ([{"name": "a", "arguments": {"A": "\0"}}], "platforms[0].arguments.A"),
    ],
    ids=str,
)
async def test_invalid_platforms_are_refused(shuttle: Shuttle, app: str, platforms: Any, field: str):
    answer = await shuttle.post(f"/{app}/1", script_request(platforms=platforms))
    assert (answer.status, answer.json["field"]) == (400, field), answer.body


async def test_platforms_are_refused_where_they_cannot_be_built(shuttle: Shuttle, app: str):
    image = {"source": {"url": "https://example.com/a.tgz"}, "destination": {"image": "docker://h/a"}}
    answer = await shuttle.post(f"/{app}/1", {**image, "platforms": ["aws"]})
    assert (answer.status, answer.json["field"]) == (400, "platforms")
    long = await shuttle.post(f"/{app}/{'b' * 126}", script_request(platforms=["a", "aa"]))
    assert (long.status, long.json["field"]) == (400, "platforms[1]")
    assert (await shuttle.post(f"/{app}/1-aws", script_request())).status == 200
    taken = await shuttle.post(f"/{app}/1", script_request(platforms=["gcp", "aws"]))
    assert (taken.status, taken.json["field"]) == (409, "platforms[1]")
    assert (await shuttle.get(f"/{app}/1-gcp")).status == 404


@pytest.mark.slow
async def test_equal_request_is_replayed_and_ids_of_platforms_are_in_use(shuttle: Shuttle, app: str):
    wanted = script_request(platforms=["aws", {"name": "gcp", "surprise": 1}])
    first = await shuttle.post(f"/{app}/1", wanted)
    assert (first.status, first.headers["Shuttle-Ignored-Fields"]) == (200, "platforms[1].surprise")
    again = await shuttle.post(f"/{app}/1", wanted)
    assert (again.status, again.headers.get("Shuttle-Replayed")) == (200, "true")
    other = await shuttle.post(f"/{app}/1", script_request(platforms=["aws"]))
    assert other.status == 409
    assert (await shuttle.post(f"/{app}/1-gcp", wanted)).status == 409
    assert len((await shuttle.until(f"/{app}/1"))["children"]) == 2
