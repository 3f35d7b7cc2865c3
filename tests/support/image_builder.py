"""A stand-in for an image builder on an agent's PATH: it records its inputs, and executes the Dockerfile's RUN lines.

It executes RUN instructions of one line in the build's context by `sh -e`, so tests write there what a build does.
tests/real has tests with real builders.
"""

import os
from pathlib import Path

DIGEST = "sha256:" + "0123456789abcdef" * 4

# Each call appends its arguments, NUL-terminated, and an empty line; `build` also stores its inputs.
_PROGRAM = f"""#!/bin/sh
notes="NOTES"
printf '%s\\0' NAME "$@" >>"$notes"; echo >>"$notes"
case " $* " in
  *' --help '*) echo '  --omit-history' ;;
  *' build '*)
    cat /proc/self/environ >"$notes.environment"
    while [ "$1" != --file ]; do shift; done
    cat "$2" >"$notes.dockerfile"
    cat "$REGISTRY_AUTH_FILE" >"$notes.auth" 2>/dev/null || :
    while [ $# -gt 1 ]; do shift; done
    sed -n 's/^RUN //p' "$notes.dockerfile" >"$notes.run"
    cd "$1" && sh -e "$notes.run" ;;
  *' pull '*) cat "$REGISTRY_AUTH_FILE" >>"$notes.auth.pull" 2>/dev/null || : ;;
  *' push '*)
    cat "$REGISTRY_AUTH_FILE" >>"$notes.auth.push" 2>/dev/null || :
    [ ! -e "$notes.refuse" ] || {{ echo 'trying'; echo 'denied: "you" may not'; exit 1; }}
    while [ $# -gt 1 ]; do [ "$1" != --digestfile ] || printf '%s' {DIGEST} >"$2"; shift; done
    echo "1.0: digest: {DIGEST} size: 12" ;;
esac
"""


def builder_program(name: str, notes: str) -> str:
    """The text of the program `name`; it writes to files whose names begin with `notes`, a shell expression."""
    return _PROGRAM.replace("NOTES", notes, 1).replace("NAME", name, 1)


class Notes:
    """The notes of the stand-in, in files whose names begin with `base`."""

    def __init__(self, base: Path) -> None:
        self._base = base

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every call, beginning with the program's name."""
        calls = self._base.read_bytes().decode().split("\0\n") if self._base.exists() else []
        return [call.split("\0") for call in calls if call]

    def call(self, verb: str) -> list[str]:
        """The only call of this verb."""
        (found,) = (call for call in self.calls if call[1] == verb and "--help" not in call)
        return found

    def text(self, kind: str) -> str:
        """`dockerfile`, `auth` (of build), `auth.pull`, `auth.push`, `environment`."""
        return Path(f"{self._base}.{kind}").read_text()

    @property
    def environment(self) -> dict[str, str]:
        """The builder's environment variables."""
        pairs = self.text("environment").split("\0")[:-1]
        return dict(pair.split("=", 1) for pair in pairs)


def agent_path(folder: Path) -> str:
    """A PATH whose first usable builder is the stand-in, as buildah; before it is a docker without a daemon.

    Its programs are in `folder`; the notes of each build begin with `folder / <build_uuid>`.
    """
    programs = folder / "programs"
    programs.mkdir(parents=True)
    for name, script in (
        ("buildah", builder_program("buildah", f"{folder}/$BUILD_UUID")),
        ("docker", "#!/bin/sh\nexit 1\n"),
    ):
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"
