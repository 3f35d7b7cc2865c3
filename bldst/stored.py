"""bldst config and auth: what is stored in ~/.bldst.yaml.

A key or an address that the environment has already is not stored: the agents of Jenkins run builds of several projects
with one home directory, and their pipelines begin with `config set-url` and `auth set-key`.
"""

from typing import Optional

from bldst.addresses import Address
from bldst.errors import CommandError, UsageError
from bldst.grammar import KEY
from bldst.run import Run

_NAMES = {"api_url": "API_URL", "api_key": "API_KEY", "jwt_token": "JWT_TOKEN"}


def set_url(run: Run) -> int:
    """Store the address of the service."""
    url = run.places["url"].rstrip("/")
    Address.parse(url)
    return _store(run, "api_url", url, "the address")


def set_key(run: Run) -> int:
    """Store the key."""
    key = run.places[KEY]
    if key == "-":
        key = run.read_stdin(line=True).strip()
    if not key:
        raise UsageError("no key: stdin is empty")
    return _store(run, "api_key", key, "the key")


def get_url(run: Run) -> int:
    """Print the address of the service."""
    url = run.settings.require_api_url()
    Address.parse(url)
    run.output.line(url)
    return 0


def show(run: Run) -> int:
    """Print the settings, without their secrets."""
    file = run.settings.file
    data = {
        "api_url": _shown_url(run),
        "has_api_key": bool(run.settings.variable("API_KEY") or file.values.get("api_key")),
        "has_jwt_token": bool(run.settings.variable("JWT_TOKEN") or file.values.get("jwt_token")),
        "config_file": file.path,
    }
    run.output.show_data(data, run.command)
    return 0


def reset(run: Run) -> int:
    """Remove all stored settings."""
    run.settings.file.reset()
    run.say("the settings are removed")
    return 0


def clear_key(run: Run) -> int:
    """Remove the stored key."""
    return _remove(run, "api_key", "the key")


def logout(run: Run) -> int:
    """Remove the stored token."""
    return _remove(run, "jwt_token", "the token")


def login(run: Run) -> int:
    """Exchange a user name and a password for a token, and store it."""
    client = run.client
    username = run.fields.get("username") or _asked(run, "User name")
    password = run.fields.get("password")
    if password is None and run.stdin.isatty():
        from getpass import getpass

        password = getpass()
    elif password in (None, "-"):
        password = run.read_stdin(line=True)
    answer = client.send("POST", "/token", form={"username": username, "password": password})
    if answer.status == 401:
        raise CommandError(answer.detail or answer.refusal())
    data = answer.require_success()
    token = data.get("access_token") if isinstance(data, dict) else None
    if not isinstance(token, str):
        raise CommandError("the answer has no token")
    return _store(run, "jwt_token", token, "the token")


def _asked(run: Run, question: str) -> str:
    run.say(question + ":")
    return run.read_stdin(line=True).strip()


def _store(run: Run, name: str, value: str, shown: str) -> int:
    in_environment = run.settings.variable(_NAMES[name])
    if in_environment is not None and in_environment.rstrip("/") == value:
        run.say(f"{shown} is in the environment already; nothing is stored")
        return 0
    run.settings.file.set(name, value)
    run.say(f"{shown} is stored in {run.settings.file.path}")
    if in_environment is not None:
        run.say("the environment has another one, which is used instead")
    elif name == "jwt_token" and run.settings.file.values.get("api_key"):
        run.say("the stored key is used instead of the token: to remove the key, run bldst auth clear-key")
    return 0


def _remove(run: Run, name: str, shown: str) -> int:
    if name in run.settings.file.values:
        run.settings.file.set(name, None)
    run.say(f"{shown} is removed")
    if run.settings.variable(_NAMES[name]):
        run.say("the environment still has one")
    return 0


def _shown_url(run: Run) -> Optional[str]:
    url = run.settings.api_url
    if url is None:
        return None
    try:
        Address.parse(url)
    except CommandError:
        return "not valid"
    return url
