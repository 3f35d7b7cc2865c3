"""A controller of the old shuttle drives the whole product, and works as before."""

import asyncio
from pathlib import Path

import pytest

from shuttle.build import job_name_of
from tests.controller.controller import WINDOW_SECONDS, Controller, ControllerApp, ControllerBuild, RefusedError
from tests.support.image_builder import Notes
from tests.support.product import TOKEN, USER, Product, data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")


def source(*run: str) -> str:
    """A source whose build executes these shell lines."""
    return data_url({"Dockerfile": "FROM scratch\n" + "".join(f"RUN {line}\n" for line in run)})


def waiting_for(gate: Path) -> str:
    return f"while [ ! -e {gate} ]; do sleep 0.1; done"


def has_no_status_after_the_final_one(build: ControllerBuild) -> bool:
    """No status follows the first final one."""
    finals = [index for index, status in enumerate(build.statuses) if status != "pending"]
    return not finals or set(build.statuses[finals[0] :]) == {build.statuses[finals[0]]}


async def test_app_is_built_rebuilt_stopped_and_deleted(
    controller: Controller, product: Product, builder_notes: Path, tmp_path: Path
):
    app, gate = ControllerApp("shop"), tmp_path / "gate"
    built = await controller.create(app, source('echo "  first of $GIT_BRANCH"', waiting_for(gate), "echo second"))
    await controller.until_status(built, "pending")
    assert built.foreign_build_key == built.number_sent
    lines = await controller.until_logged(built, "  first of main")
    assert "second" not in lines
    assert b"\n  first of main\n" in await controller.text(built)
    gate.touch()
    await controller.until_status(built, "succeeded")
    lines = await controller.until_logged(built, "second")
    assert "\n".join(lines).encode() == await controller.text(built)
    pushed = [call[-1] for call in Notes(builder_notes / built.id).calls if call[1] == "push"]
    image = f"docker://registry.example/org/{app.key}"
    assert pushed == [f"{image}:1.{built.number_sent}", f"{image}:latest"]

    rebuilt = await controller.rebuild(built, GIT_BRANCH="other")
    await controller.until_status(rebuilt, "succeeded")
    assert "  first of other" in await controller.result(rebuilt)

    endless = await controller.create(app, source("echo on and on", "sleep 600"))
    await controller.until_status(endless, "pending")
    await controller.until_logged(endless, "on and on")
    await controller.stop(endless)
    await controller.until(lambda: endless.statuses[-1] == "failed")

    await controller.delete_app(app)
    await job_is_gone(product, app)
    assert controller.answers == [200] * len(controller.answers)
    assert all(has_no_status_after_the_final_one(build) for build in controller.builds)


async def job_is_gone(product: Product, app: ControllerApp) -> None:
    url = f"http://{USER}:{TOKEN}@127.0.0.1:{product.jenkins_port}/job/{job_name_of(app.key)}/api/json"
    async with asyncio.timeout(20):
        while True:
            async with product.session.get(url) as response:
                if response.status == 404:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(180)  # twelve builds on however few processors
async def test_many_apps_build_at_once(controller: Controller, tmp_path: Path):
    """Each app has two builds at once, some of which fail; both get one number, as the controller locks nothing."""

    async def one(number: int) -> None:
        app, gate = ControllerApp(f"app{number}"), tmp_path / f"gate{number}"
        good, last = await asyncio.gather(
            controller.create(app, source(f"echo good {number}", waiting_for(gate))),
            controller.create(app, source(f"echo last {number}", f"exit {number % 2}")),
        )
        assert good.number_sent == last.number_sent
        await controller.until(lambda: good.statuses and last.statuses)
        gate.touch()
        await controller.until_status(good, "succeeded")
        await controller.until_status(last, "failed" if number % 2 else "succeeded")
        rebuilt = await controller.rebuild(last)
        assert rebuilt.number_sent != last.number_sent
        await controller.until_status(rebuilt, last.status)
        assert f"last {number}" in await controller.result(rebuilt)
        await controller.delete_app(app)

    await asyncio.gather(*(one(number) for number in range(4)))
    assert controller.answers == [200] * len(controller.answers)
    assert all(has_no_status_after_the_final_one(build) for build in controller.builds)
    assert {build.statuses[0] for build in controller.builds} == {"pending"}


@pytest.mark.slow
async def test_build_can_be_stopped_and_read_once_accepted(controller: Controller, tmp_path: Path):
    """The controller's users can do neither before `pending`, so that status does not wait for Jenkins."""
    app, gate = ControllerApp("busy"), tmp_path / "gate"
    running = await controller.create(app, source(waiting_for(gate)))
    behind = await controller.create(app, source("echo never"))
    await controller.until_status(behind, "pending")
    await controller.until_logged(behind, f"-----> Waiting for build {running.number_sent} of this app to end.")
    await controller.stop(behind)
    await controller.until(lambda: behind.statuses[-1] == "failed")
    gate.touch()
    await controller.until_status(running, "succeeded")


@pytest.mark.slow
async def test_deleted_app_has_its_pending_builds_stopped(controller: Controller, product: Product, tmp_path: Path):
    app = ControllerApp("goes")
    running = await controller.create(app, source("echo begun", "sleep 600"))
    behind = await controller.create(app, source("echo never"))
    await controller.until(lambda: running.statuses and behind.statuses)
    await controller.until_logged(running, "begun")
    await controller.delete_app(app)
    await controller.until(lambda: running.statuses[-1] == behind.statuses[-1] == "failed")
    await job_is_gone(product, app)


async def test_rebuild_of_a_missing_source_is_refused_by_the_controller(controller: Controller):
    unknown = ControllerBuild(ControllerApp("gone"))
    with pytest.raises(RefusedError, match="archived"):
        await controller.rebuild(unknown)
    assert controller.builds == []


async def test_failed_build_shows_the_reason_in_its_log(controller: Controller):
    build = await controller.create(ControllerApp("fails"), source("echo the reason", "exit 3"))
    await controller.until_status(build, "failed")
    assert "the reason" in await controller.result(build)
    archive = await controller.create(ControllerApp("broken"), "data:base64,bm8gYXJjaGl2ZQ==")
    await controller.until_status(archive, "failed")
    assert any("archive" in line for line in await controller.result(archive))


@pytest.mark.parametrize("seconds", [0, WINDOW_SECONDS])
async def test_stamp_of_the_current_or_previous_window_is_accepted(
    controller: Controller, tmp_path: Path, seconds: int
):
    gate = tmp_path / "gate"
    build = await controller.create(ControllerApp("slow"), source(waiting_for(gate)))
    await controller.until_status(build, "pending")
    controller.clock.forward(seconds)
    gate.touch()
    await controller.until_status(build, "succeeded")
    assert 403 not in controller.answers


@pytest.mark.slow
async def test_expired_stamp_is_refused_and_delivery_given_up(controller: Controller, product: Product, tmp_path: Path):
    app, gate = ControllerApp("slower"), tmp_path / "gate"
    build = await controller.create(app, source(waiting_for(gate)))
    await controller.until_status(build, "pending")
    controller.clock.forward(2 * WINDOW_SECONDS)
    gate.touch()
    await controller.until(lambda: controller.answers.count(403) == 3)
    url = f"{product.url}/-/deliveries?app_id={app.key}&state=gave_up"
    async with asyncio.timeout(20):
        while True:
            async with product.session.get(url) as response:
                if (await response.json())["deliveries"]:
                    break
            await asyncio.sleep(0.05)
    assert controller.answers.count(403) == 3
    assert (await product.build(app.key, str(build.number_sent)))["state"] == "succeeded"


@pytest.mark.slow
async def test_controller_that_was_down_gets_the_final_status(controller: Controller, product: Product):
    app = ControllerApp("deaf")
    controller.down = True
    build = await controller.create(app, source("true"))
    await product.until_state(app.key, str(build.number_sent), "succeeded")
    await controller.until(lambda: len(controller.answers) >= 2)
    controller.down = False
    await controller.until_status(build, "succeeded")
    assert has_no_status_after_the_final_one(build)


@pytest.mark.slow
async def test_build_whose_shuttle_is_killed_ends_normally(controller: Controller, product: Product, tmp_path: Path):
    app, gate = ControllerApp("killed"), tmp_path / "gate"
    build = await controller.create(app, source("echo before", waiting_for(gate), "echo after"))
    await controller.until_status(build, "pending")
    await controller.until_logged(build, "before")
    await product.shuttle.restart()
    await controller.until_logged(build, "before")
    gate.touch()
    await controller.until_status(build, "succeeded")
    lines = await controller.until_logged(build, "after")
    assert lines.count("before") == 1
    assert has_no_status_after_the_final_one(build)
