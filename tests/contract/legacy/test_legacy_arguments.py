"""Build arguments of the older API: names, spellings, and which of them are secret."""

import base64
from pathlib import Path

import pytest

from tests.contract.legacy.caller import LegacyApp, arguments_in
from tests.support.inprocess import running_shuttle
from tests.support.product import data_url

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAMES = ["build_args", "build_opts", "build_options"]


def only(name: str, value: object) -> dict[str, object]:
    """The request's arguments, under one of their three names."""
    return dict.fromkeys(NAMES) | {name: value}


@pytest.mark.parametrize("name", NAMES)
async def test_arguments_are_read_from_an_object(waiting: LegacyApp, name: str):
    given = {"NODE_ENV": "production", "GREETING": "hello 'you'\n$(id)", "EMPTY": ""}
    environment = await waiting.environment(**only(name, given))
    assert arguments_in(environment) == given


@pytest.mark.parametrize("name", NAMES)
async def test_arguments_are_read_from_arg_lines(waiting: LegacyApp, name: str):
    text = "ARG NODE_ENV=production\n\narg LEVEL=3\n"
    environment = await waiting.environment(**only(name, text))
    assert arguments_in(environment) == {"NODE_ENV": "production", "LEVEL": "3"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["RUN rm -rf /", "ARG A=1\nENV B=2", "ARG A=1\nFROM scratch", "nonsense"])
async def test_other_instructions_than_arg_are_refused(waiting: LegacyApp, name: str, text: str):
    answer = await waiting.refused(**only(name, text))
    assert answer.json["status"] == "error"
    assert answer.json["field"] == name


async def test_build_without_arguments_has_none(waiting: LegacyApp):
    assert arguments_in(await waiting.environment(**only("build_args", None))) == {}


async def test_arguments_of_the_request_override_those_of_the_operator(tmp_path: Path):
    extra = '{"BOTH": "operator", "THEIRS": "operator"}'
    async with running_shuttle(tmp_path, EXTRA_BUILD_ARGS=extra) as shuttle:
        environment = await LegacyApp(shuttle).environment(build_args={"BOTH": "request", "OURS": "request"})
        assert arguments_in(environment) == {"BOTH": "request", "THEIRS": "operator", "OURS": "request"}


async def test_numbers_and_booleans_become_json_text(waiting: LegacyApp):
    environment = await waiting.environment(build_args={"N": 3, "YES": True, "HALF": 0.5})
    assert arguments_in(environment) == {"N": "3", "YES": "true", "HALF": "0.5"}


async def test_other_characters_are_removed_from_argument_names(waiting: LegacyApp):
    environment = await waiting.environment(build_args={"A-B.C": "1", "@#$X[y]'\"": "2", "É_Z": "3"})
    assert arguments_in(environment) == {"ABC": "1", "Xy": "2", "_Z": "3"}


async def test_arguments_named_like_agent_variables_do_not_affect_the_agent(waiting: LegacyApp):
    given = {"PATH": "/evil", "LD_PRELOAD": "/evil.so", "DOCKER_HOST": "tcp://evil", "HOME": "/evil", "IFS": "x"}
    environment = await waiting.environment(build_args=given)
    assert arguments_in(environment) == given
    assert not any(name.startswith("arguments/") for name in environment)


@pytest.mark.slow
async def test_arguments_are_declared_after_every_from(app: LegacyApp):
    dockerfile = 'from scratch AS one\nRUN echo "in one: $WHAT"\nFrOm scratch\nRUN echo "in two: $WHAT"\n'
    build_uuid = await app.submit(
        sources=data_url({"Dockerfile": dockerfile}), build_args={"WHAT": "it", "PATH": "/evil"}
    )
    assert (await app.until())["state"] == "succeeded"
    inserted = "ARG WHAT\nARG PATH\n"
    assert app.notes(build_uuid).text("dockerfile") == (
        f'from scratch AS one\n{inserted}RUN echo "in one: $WHAT"\nFrOm scratch\n{inserted}RUN echo "in two: $WHAT"\n'
    )
    log = (await app.logs()).body
    assert b"\nin one: it\n" in log
    assert b"\nin two: it\n" in log


async def test_arguments_of_the_new_api_are_declared_after_every_from(app: LegacyApp):
    body = {
        "source": {"url": data_url({"Dockerfile": "From scratch\nRUN echo $WHAT\n"})},
        "destination": {"image": "docker://registry.example/org/app:1"},
        "arguments": {"WHAT": "it"},
    }
    assert (await app.shuttle.post(app.path("new"), body)).status == 200
    build = await app.until("new")
    assert build["state"] == "succeeded"
    assert app.notes(build["build_uuid"]).text("dockerfile") == "From scratch\nARG WHAT\nRUN echo $WHAT\n"


SECRETS = {
    "API_KEY": "value-of-the-key",
    "KEYRING": "value-of-keyring",
    "GITHUB_TOKEN": "value-of-token",
    "MY_SECRET_X": "value-of-secret",
    "PASSWORD": "value-of-pass",
    "CREDENTIALS": "value-of-creds",
    "DATABASE_URL": "postgres://user:value-of-url@db.example/shop",
    "EXACTLY_SIX_TOKEN": "sixsix",
}
PLAIN = {
    "NODE_ENV": "production",
    "SHORT_KEY": "five5",
    "HOMEPAGE": "https://user@shop.example/path",
    "NOT_A_URL": "user:pass@example",
}


async def test_arguments_that_are_secret_by_name_or_url_are_never_shown(waiting: LegacyApp):
    await waiting.submit(build_args=SECRETS | PLAIN)
    build = await waiting.shuttle.build(waiting.path())
    assert build["arguments"] == dict.fromkeys(SECRETS) | PLAIN
    assert not [value for value in SECRETS.values() if value in str(build)]


@pytest.mark.slow
async def test_secrets_are_masked_in_the_log_and_others_are_not(app: LegacyApp):
    echo = "\n".join(f'echo "{name} is $' + name + '."' for name in SECRETS | PLAIN)
    encoded = "printf %s value-of-token | base64"
    await app.submit(1, f"{echo}\n{encoded}", build_args=SECRETS | PLAIN)
    assert (await app.until())["state"] == "succeeded"
    log = (await app.logs()).body.decode()
    for name in SECRETS:
        if name != "DATABASE_URL":
            assert f"\n{name} is [secret].\n" in log
    for name, value in PLAIN.items():
        assert f"\n{name} is {value}.\n" in log
    assert not [value for value in SECRETS.values() if value in log]
    assert "value-of-url" not in log
    assert base64.b64encode(b"value-of-token").decode() not in log


@pytest.mark.parametrize(
    ("arguments", "kept_out"), [({"API_KEY": "value-of-the-key"}, True), ({"A": "plain-value"}, False)]
)
async def test_masked_arguments_stay_out_of_the_images_history(
    app: LegacyApp, arguments: dict[str, str], kept_out: bool
):
    build_uuid = await app.submit(build_args=arguments)
    assert (await app.until())["state"] == "succeeded"
    notes = app.notes(build_uuid)
    assert ("--omit-history" in notes.call("build")) is kept_out
    assert not [value for value in arguments.values() if value in str(notes.calls)]


async def test_more_than_a_thousand_secrets_are_refused_with_the_field(waiting: LegacyApp):
    answer = await waiting.refused(build_args={f"TOKEN_{number}": "a secret" for number in range(1001)})
    assert (answer.status, answer.json["field"]) == (400, "build_args")
