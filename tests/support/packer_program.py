"""A stand-in for packer 1.6.6 on an agent's PATH: it builds the JSON templates of the tests, and prints as packer does.

Its output was recorded from Debian's packer 1.6.6 (`apt-get install packer`, Debian 12) by the commands `packer inspect
-machine-readable`, `packer validate` and `packer build -color=false -machine-readable`, without network; that of the
docker builder with dockerd 20.10 and docker-registry 2.8. It knows the builders null, file and docker, the provisioner
shell-local, the functions `user`, `env` and `pwd`, and no HCL. tests/real runs the same tests with packer itself.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

IMAGE = "sha256:d42c91432fb8971cdb701ce833dda4b1c495e28826bb9dc91b407d922b2d0591"
DIGEST = "sha256:c25b10b82be319f937f2d40d4cf4d342772b68947a961b831b68d4e5d60a3afb"


def packer_program() -> str:
    """The text of the program."""
    return f"#!{sys.executable} -I\n" + Path(__file__).read_text() + "\nsys.exit(main(sys.argv[1:]))\n"


def line(category: str, *fields: str, target: str = "") -> None:
    """Print a machine-readable line."""
    escaped = (field.replace(",", "%!(PACKER_COMMA)").replace("\r", "\\r").replace("\n", "\\n") for field in fields)
    print(f"{int(time.time())},{target},{category},{','.join(escaped)}", flush=True)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    command, options = arguments[0], [word for word in arguments[1:] if word.startswith("-")]
    if command == "version":
        print("Packer v1.6.6")
        return 0
    if command not in {"inspect", "validate", "build"}:
        print("Usage: packer [--version] [--help] <command> [<args>]")
        return 127
    given = {name: value for name, _, value in (option.lstrip("-").partition("=") for option in options)}
    try:
        template = json.loads(Path(arguments[-1]).read_text())
    except ValueError:
        text = (
            "Failed to parse template: Error parsing JSON: unexpected end of JSON input\nAt line 2, column 1 (offset 2)"
        )
        line("ui", "error", text) if "machine-readable" in given else print(text)
        return 1
    if command == "inspect":
        inspect(template)
        return 0
    values = template.get("variables", {})
    if "var-file" in given:
        values = values | json.loads(Path(given["var-file"]).read_text())
    missing = [name for name, value in values.items() if value is None]
    builders = template.get("builders", [])
    wrong = [f"required variable not set: {name}" for name in missing]
    wrong += [] if builders else ["at least one builder must be defined"]
    if wrong:
        print(f"Error: \n\n{len(wrong)} error occurred:\n" + "".join(f"\t* {one}\n" for one in wrong))
        return 1
    return 0 if command == "validate" else build(template, builders, values, given)


def inspect(template: dict[str, Any]) -> None:
    """`packer inspect -machine-readable`."""
    for name, value in template.get("variables", {}).items():
        shown = "<sensitive>" if name in template.get("sensitive-variables", []) else value or ""
        line("template-variable", name, shown, "1" if value is None else "0")
    for builder in template.get("builders", []):
        line("template-builder", builder.get("name", builder["type"]), builder["type"])
        line("ui", "say", f"  {builder.get('name', builder['type'])} ({builder['type']})")


def build(
    template: dict[str, Any], builders: list[dict[str, Any]], values: dict[str, str], given: dict[str, str]
) -> int:
    """`packer build -machine-readable`: one build after the other."""

    def expand(text: str) -> str:
        text = re.sub(r"{{ *user `([^`]*)` *}}", lambda found: values.get(found[1], ""), text)
        return re.sub(r"{{ *env `([^`]*)` *}}", lambda found: os.environ.get(found[1], ""), text)

    values = {name: expand(value) for name, value in values.items()}
    names = {builder.get("name", builder["type"]): builder for builder in builders}
    only, without = (list(filter(None, given.get(option, "").split(","))) for option in ("only", "except"))
    made, errors = {}, {}
    for name, builder in names.items():
        if (only and name not in only) or name in without:
            continue
        error = next(
            (error for one in template.get("provisioners", []) if (error := provision(one, name, expand))), None
        )
        if error is None:
            made[name] = results(builder, name, template, expand)
            line("ui", "say", f"Build '{name}' finished after 18 milliseconds 301 microseconds.")
        else:
            errors[name] = error
            text = "Provisioning step had errors: Running the cleanup provisioner, if present..."
            line("ui", "say", f"==> {name}: {text}")
            line("ui", "error", f"Build '{name}' errored after 16 milliseconds 399 microseconds: {error}")
    line("ui", "say", "\n==> Wait completed after 23 milliseconds 943 microseconds")
    return tell(made, errors)


def provision(provisioner: dict[str, Any], name: str, expand: Any) -> str | None:
    """Run the commands of shell-local; returns the error."""
    if name not in provisioner.get("only", [name]):
        return None
    line(
        "ui", "say", f"==> {name}: Running local shell script: {os.environ.get('TMPDIR', '/tmp')}/packer-shell463559572"
    )
    script = "\n".join(["#!/bin/sh -e", *map(expand, provisioner["inline"])])
    inherited = os.dup(sys.stdout.fileno())  # packer's plugins pass its standard output on
    with subprocess.Popen(
        ["/bin/sh", "-ec", script], stdout=subprocess.PIPE, text=True, pass_fds=[inherited]
    ) as process:
        assert process.stdout is not None
        for text in process.stdout:
            line("ui", "message", f"    {name}: {text.rstrip()}")
    status = process.returncode
    return f"Script exited with non-zero exit status: {status}.Allowed exit codes are: [0]" if status else None


def results(
    builder: dict[str, Any], name: str, template: dict[str, Any], expand: Any
) -> list[tuple[str, str, str, list[str]]]:
    """The artifacts of a build: builder id, id, text, files."""
    if builder["type"] == "null":
        return [("fnoeding.null", "Null", "Did not export anything. This is the null builder", [])]
    if builder["type"] == "file":
        target = builder["target"].replace("{{pwd}}", str(Path.cwd()))
        Path(target).write_text(expand(builder["content"]))
        return [("packer.file", "File", f"Stored file: {target}", [target])]
    chains = [one for chain in template.get("post-processors", []) for one in chain if one["type"] == "docker-tag"]
    imported = "packer.post-processor.docker-import"
    found: list[tuple[str, str, str, list[str]]] = [(imported, IMAGE, f"Imported Docker image: {IMAGE}", [])]
    for one in chains:
        tagged = f"{expand(one['repository'])}:{expand(one['tag'][0])}"
        text = f"Imported Docker image: {tagged} with tags {tagged}"
        line("ui", "message", f"    {name} (docker-tag): Repository: {tagged}")
        digest = f"{tagged.rpartition(':')[2]}: digest: {DIGEST} size: 735"
        line("ui", "message", f"    {name} (docker-push): {digest}")
        found += [("packer.post-processor.docker-tag", tagged, text, []), (imported, tagged, text, [])]
    return found


def tell(made: dict[str, list[tuple[str, str, str, list[str]]]], errors: dict[str, str]) -> int:
    """The last lines: errors and artifacts."""
    if errors:
        line("error-count", str(len(errors)))
        line("ui", "error", "\n==> Some builds didn't complete successfully and had errors:")
    for name, error in errors.items():
        line("error", error, target=name)
        line("ui", "error", f"--> {name}: {error}")
    if not made:
        line("ui", "say", "\n==> Builds finished but no artifacts were created.")
        return 1 if errors else 0
    line("ui", "say", "\n==> Builds finished. The artifacts of successful builds are:")
    for name, artifacts in made.items():
        line("artifact-count", str(len(artifacts)), target=name)
        for at, (builder_id, artifact_id, text, files) in enumerate(artifacts):
            fields = [
                ("builder-id", builder_id),
                ("id", artifact_id),
                ("string", text),
                ("files-count", str(len(files))),
            ]
            fields += [("file", f"{index}", file) for index, file in enumerate(files)]  # type: ignore[misc]
            for field in [*fields, ("end",)]:
                line("artifact", str(at), *field, target=name)
            line("ui", "say", f"--> {name}: {text}")
    return 1 if errors else 0
