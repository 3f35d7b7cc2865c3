"""The steps of `jenkins_pipelines.fragments.state` report from a job of Jenkins that the service does not run."""

import aiohttp
import pytest

from jenkins_pipelines.fragment import Fragment, combine
from jenkins_pipelines.fragments import state
from jenkins_pipelines.models import Sh, Stage
from jenkins_pipelines.render import render
from tests.support.inprocess import Jenkins, Shuttle
from tests.support.product import TOKEN, USER
from tests.unit.pipelines.jenkins_job import Job

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUILDS = "/-/state/builds"
TEXT = 'it\'s "so" \\ $HOME'
WORK = Fragment(
    parameters=state.PARAMETERS,
    stages=(
        Stage(name="make", steps=(state.report_state(10, TEXT), Sh(script="printf bytes >'disk 1.img'"))),
        Stage(
            name="keep",
            steps=(
                state.checkpoint("made", code=20, files=["disk 1.img"], variables={"vm": TEXT}),
                state.record_artifact("ami", kind="image", path="aws://ami-1"),
            ),
        ),
        Stage(
            name="test", steps=(state.resumable_step(15, "once", "echo ran"), state.resumable_step(30, "x", "exit 4"))
        ),
    ),
    on_failure=(state.on_failure(TEXT),),
)


@pytest.mark.slow
async def test_steps_report_states_artifacts_variables_and_the_failure(shuttle: Shuttle, jenkins: Jenkins, app: str):
    config = render(combine("reports", "", WORK), agent_label=None).config_xml
    uuid = (await shuttle.ask("POST", BUILDS, json={"build_number": app})).json["id"]
    values = {
        "BLDST_API_URL": f"{shuttle.url}/-/state",
        "BLDST_API_KEY": "a-key-of-a-ci-system",
        "BLDST_BUILD_ID": uuid,
    }
    async with aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(USER, TOKEN)}) as session:
        job = Job(session, f"http://127.0.0.1:{jenkins.port}", app)
        await job.create(config)
        result, console = await job.run(1, **values)
    assert (result, "ran\n" in console) == ("FAILURE", True), console
    assert values["BLDST_API_KEY"] not in console
    record = (await shuttle.get(f"{BUILDS}/{uuid}")).json
    assert [(each["state"], each["status"]) for each in record["states"]] == [
        (10, TEXT),
        (20, "made"),
        (15, "once"),
        (30, "x"),
    ], console
    assert (record["status"], record["failures"][0]["error_message"]) == ("failed", TEXT)
    artifacts = (await shuttle.get(f"{BUILDS}/{uuid}/artifacts")).json
    assert [(each["artifact_name"], each["artifact_type"]) for each in artifacts] == [
        ("disk 1.img", "file"),
        ("ami", "image"),
    ]
    assert (await shuttle.get(f"{BUILDS}/{uuid}/artifacts/disk%201.img/content")).body == b"bytes"
    assert (await shuttle.get(f"{BUILDS}/{uuid}/variables/dict")).json == {"vm": TEXT}
