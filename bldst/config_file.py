"""~/.bldst.yaml: lines `key: value` and comments, nothing else of YAML."""

import json
import os
import re
from typing import Callable, Dict, List, Mapping, Optional, Tuple

from bldst.errors import CommandError

_LIMIT_BYTES = 65536
_SECRETS = ("api_key", "jwt_token")
_IN_SINGLE_QUOTES = re.compile(r"'((?:[^']|'')*)'(.*)")
# What a byte that is no UTF-8 becomes when it is read; it is written back as that byte.
_NO_TEXT = re.compile("[\udc80-\udcff]")


class ConfigFile:
    """The stored settings. Lines that are not understood are reported without their content, and kept."""

    def __init__(self, path: Optional[str], warn: Callable[[str], None]) -> None:
        self.path = path
        self.values: Dict[str, str] = {}
        self._lines: List[str] = []
        self._was_read = True
        self._warn = warn
        if path:
            self._read(path)

    def _read(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(_LIMIT_BYTES + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            self._was_read = False
            self._warn(f"{path} cannot be read: {error.strerror}")
            return
        if len(content) > _LIMIT_BYTES:
            self._was_read = False
            self._warn(f"{path} is larger than {_LIMIT_BYTES} bytes and is ignored")
            return
        self._lines = content.decode("utf-8", "surrogateescape").splitlines()
        for number, line in enumerate(self._lines, 1):
            self._take(line, number)
        if mode & 0o077 and any(name in self.values for name in _SECRETS):
            self._warn(f"{path} contains a key and other users may read it: chmod 600 {path}")

    def _take(self, line: str, number: int) -> None:
        if not line.strip() or line.lstrip().startswith("#") or line.strip() in ("---", "...", "{}"):
            return
        read = _key_and_value(line)
        if read is None:
            self._warn(f"{self.path}, line {number}: expected `key: value`; the line is ignored")
        elif read[1]:
            self.values[read[0]] = read[1]

    def set(self, name: str, value: Optional[str]) -> None:
        """Store a value, or remove it with None.

        Raises:
            CommandError: The file cannot be written, or was not read, so its other lines would be lost.
        """
        if not self._was_read:
            raise CommandError(f"{self.path} was not read, so it is not changed: mend it, or run bldst config reset")
        self._lines = [line for line in self._lines if (_key_and_value(line) or ("", ""))[0] != name]
        self.values.pop(name, None)
        if value is not None:
            self._lines.append(f"{name}: {json.dumps(value)}")
            self.values[name] = value
        self._write()

    def reset(self) -> None:
        """Remove everything.

        Raises:
            CommandError: The file cannot be written.
        """
        self._lines = []
        self.values = {}
        self._write()

    def _write(self) -> None:
        """Replace the file atomically, also behind a symbolic link; only its owner can read it."""
        if not self.path:
            raise CommandError("there is no place for the settings: set HOME, or use --config FILE")
        from tempfile import mkstemp

        path = os.path.realpath(self.path)
        try:
            descriptor, temporary = mkstemp(prefix=".bldst.", dir=os.path.dirname(path))
            with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.writelines(line + "\n" for line in self._lines)
            os.replace(temporary, path)
        except OSError as error:
            raise CommandError(f"{self.path} cannot be written: {error.strerror}") from None


def config_path(environment: Mapping[str, str], chosen: Optional[str]) -> Optional[str]:
    """Return the file's path; None if no file is chosen and the environment has no HOME."""
    home = environment.get("HOME")
    return chosen or (os.path.join(home, ".bldst.yaml") if home else None)


def _key_and_value(line: str) -> Optional[Tuple[str, str]]:
    """Read one line; None if it is not `key: value`."""
    key, colon, rest = line.partition(":")
    if _NO_TEXT.search(line):
        return None
    if not colon or not key.replace("_", "").replace("-", "").isalnum() or (rest and not rest[0].isspace()):
        return None
    text = rest.strip()
    if text[:1] in ('"', "'"):
        return _quoted(key, text)
    if text[:1] in ("{", "[", "|", ">", "&", "*", "!"):
        return None
    plain = "" if text.startswith("#") else text.split(" #")[0].rstrip()
    return key, "" if plain in ("null", "~") else plain


def _quoted(key: str, text: str) -> Optional[Tuple[str, str]]:
    if text[0] == "'":
        quoted = _IN_SINGLE_QUOTES.match(text)
        if quoted is None:
            return None
        value, after = quoted.group(1).replace("''", "'"), quoted.group(2)
    else:
        try:
            value, end = json.JSONDecoder().raw_decode(text)
        except ValueError:
            return None
        after = text[end:]
    return (key, value) if after.strip()[:1] in ("", "#") else None
