"""The environment archive of a build: arguments, destinations and credentials as plain files for the agent.

Each value is the exact content of its own file, so that a shell reads it without `eval` and without quoting:

    app_id, build_id                     text
    arguments/000001                     NAME=VALUE; some are in steering/ or shell_variables/ (see argument_names)
    has_secrets                          exists if an argument is secret
    no_cache                             exists if the builder's cache must not be used
    labels/000001                        KEY=VALUE
    variables/given, variables/own       one "name":"value" per line, of the request and of the shuttle
    variables/collections                one "name":value per line: those given whose text is a JSON array or object
    options/<option>                     text
    base_images/config.json              credentials for FROM; if it is missing, the agent's own are used
    insecure_registries                  one host[:port] per line, without TLS or with a self-signed certificate
    source_image/reference, config.json  a docker:// source; `insecure` exists if its registry may lack TLS
    destinations/000001/reference, …     the same for each destination, in a folder of its own
    resume/variables/<name>              a variable of the build that is resumed
    resume_files/000001                  id, SHA-256 and name of a file of that build, separated by spaces
"""

import base64
import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jenkins_pipelines.argument_names import passing_of
from jenkins_pipelines.errors import PipelineError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ARGUMENT_NAME = re.compile(r"[A-Za-z0-9_]+")
# docker looks up the credentials of its default registry under these names only.
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "docker.io")


class LeftFile(BaseModel):
    """A file that the build which is resumed has left; `name` is relative, and may have folders."""

    model_config = ConfigDict(frozen=True)

    artifact_id: str
    sha256: str
    name: str


class AgentEnvironment(BaseModel):
    """One build's environment.

    `destinations` and `source_image` are references `host[:port]/path[:tag]` without scheme and userinfo.
    `registries` maps a whole reference, or a registry's `host[:port]`, to (user, password). The reference wins, so that
    source and destination of a copy within one registry can have different credentials. `insecure_registries` are
    `host[:port]`; a registry at a loopback address is always insecure. `variables` are the request's variables for a
    tool that reads them from a file (None = the pipeline has no such tool); `own_variables` are added by the shuttle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    app_id: str
    build_id: str
    build_uuid: str
    arguments: dict[str, str] = Field(default_factory=dict, repr=False)
    secret_arguments: list[str] = Field(default_factory=list)
    destinations: list[str] = Field(default_factory=list)
    registries: dict[str, tuple[str, str]] = Field(default_factory=dict, repr=False)
    source_image: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    no_cache: bool = False
    insecure_registries: list[str] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    variables: dict[str, str] | None = Field(None, repr=False)
    own_variables: dict[str, str] = Field(default_factory=dict, repr=False)
    left_variables: dict[str, str] = Field(default_factory=dict, repr=False)
    left_files: list[LeftFile] = Field(default_factory=list)

    @field_validator("arguments")
    @classmethod
    def _can_be_an_environment(cls, arguments: dict[str, str]) -> dict[str, str]:
        for name, value in arguments.items():
            if not _ARGUMENT_NAME.fullmatch(name):
                raise ValueError("argument names are letters, digits and underscores")
            if "\0" in value:
                raise ValueError(f"the value of {name} has a NUL, which no environment can hold")
        return arguments


def environment_archive(environment: AgentEnvironment) -> bytes:
    """The tar.gz for `GET …/environment`; equal environments give equal bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, content in _files(environment):
            entry = tarfile.TarInfo(path)
            entry.mode = 0o600
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), compresslevel=1, mtime=0)


def _files(environment: AgentEnvironment) -> Iterator[tuple[str, bytes]]:
    yield "app_id", _bytes(environment.app_id)
    yield "build_id", _bytes(environment.build_id)
    for position, (name, value) in enumerate(environment.arguments.items(), 1):
        yield f"{passing_of(name)}/{position:06}", _bytes(f"{name}={value}")
    for position, (key, value) in enumerate(environment.labels.items(), 1):
        yield f"labels/{position:06}", _bytes(f"{key}={value}")
    if environment.variables is not None:
        yield "variables/given", _json_lines(environment.variables)
        yield "variables/own", _json_lines(environment.own_variables)
        yield "variables/collections", _json_lines(_collections(environment.variables))
    for option, chosen in environment.options.items():
        if not _NAME.fullmatch(option):
            raise PipelineError("An option's name has letters, digits and underscores only, and begins with no digit.")
        if chosen is not None:
            yield f"options/{option}", _bytes(chosen if isinstance(chosen, str) else json.dumps(chosen))
    if environment.secret_arguments:
        yield "has_secrets", b""
    if environment.no_cache:
        yield "no_cache", b""
    if environment.insecure_registries:
        yield "insecure_registries", _bytes("".join(f"{host}\n" for host in environment.insecure_registries))
    if environment.registries:
        yield "base_images/config.json", _auth_file(_by_registry(environment.registries))
    if environment.source_image is not None:
        yield from _image("source_image", environment.source_image, environment)
    for position, reference in enumerate(environment.destinations, 1):
        yield from _image(f"destinations/{position:06}", reference, environment)
    yield from _left_behind(environment)


def _left_behind(environment: AgentEnvironment) -> Iterator[tuple[str, bytes]]:
    for name, value in environment.left_variables.items():
        yield f"resume/variables/{name}", _bytes(value)
    for position, file in enumerate(environment.left_files, 1):
        yield f"resume_files/{position:06}", _bytes(f"{file.artifact_id} {file.sha256} {file.name}")


def _collections(variables: dict[str, str]) -> dict[str, Any]:
    """The values of those variables whose text is a JSON array or object."""
    found = {}
    for name, text in variables.items():
        if text.lstrip()[:1] in {"[", "{"}:
            # Python also reads NaN, and writes numbers beyond the range of a double as Infinity; neither is JSON.
            with suppress(ValueError, RecursionError):
                value = json.loads(text)
                json.dumps(value, allow_nan=False)
                found[name] = value
    return found


def _json_lines(variables: Mapping[str, Any]) -> bytes:
    """One member of a JSON object per line: JSON without indentation has no line end."""
    pairs = (
        (json.dumps(name, ensure_ascii=False), json.dumps(value, ensure_ascii=False))
        for name, value in variables.items()
    )
    return _bytes("".join(f"{name}:{value}\n" for name, value in pairs))


def _image(folder: str, reference: str, environment: AgentEnvironment) -> Iterator[tuple[str, bytes]]:
    yield f"{folder}/reference", _bytes(reference)
    host = _registry_of(reference)
    credentials = environment.registries.get(reference) or environment.registries.get(host)
    if credentials is not None:
        yield f"{folder}/config.json", _auth_file({host: credentials})
    if host in environment.insecure_registries or _is_loopback(host):
        yield f"{folder}/insecure", b""


def _by_registry(registries: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """The credentials for each registry: those given for the registry itself, else for its first reference."""
    hosts = {key: pair for key, pair in registries.items() if "/" not in key}
    for key, pair in registries.items():
        hosts.setdefault(_registry_of(key), pair)
    return hosts


def _auth_file(credentials: dict[str, tuple[str, str]]) -> bytes:
    """docker's config.json, which buildah, podman and skopeo read as well (containers-auth.json(5))."""
    auths = {}
    for host, (user, password) in credentials.items():
        encoded = base64.b64encode(_bytes(f"{user}:{password}")).decode()
        for key in _DOCKER_HUB_KEYS if host in _DOCKER_HUB else (host,):
            auths[key] = {"auth": encoded}
    return json.dumps({"auths": auths}).encode()


def _registry_of(reference: str) -> str:
    return reference.split("/", 1)[0]


def _is_loopback(registry: str) -> bool:
    host = registry if registry.endswith("]") else registry.rsplit(":", 1)[0]
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _bytes(text: str) -> bytes:
    # A lone surrogate is valid in JSON; it is encoded as three bytes instead of failing the build.
    return text.encode("utf-8", "surrogatepass")
