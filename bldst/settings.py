"""The settings of a run: from the environment, then from ~/.bldst.yaml."""

from typing import Dict, Mapping, Optional

from bldst.config_file import ConfigFile
from bldst.errors import CommandError, UsageError

_TIMEOUT_SECONDS = 30.0
_YES = ("1", "true", "yes", "on")


class Settings:
    """Where the service is, and who calls it.

    The environment wins over the file: a build's own variables must not be replaced by what another build left in a
    home directory that both use. A variable without anything but spaces counts as absent.
    """

    def __init__(self, environment: Mapping[str, str], file: ConfigFile, *, verbose: bool = False) -> None:
        self._environment = environment
        self.file = file
        self.verbose = verbose or (self.variable("DEBUG") or "").lower() in _YES

    def variable(self, name: str) -> Optional[str]:
        """Return `BLDST_<name>` of the environment, else `BUILDSTATE_<name>`."""
        return variable(self._environment, name)

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the process."""
        return self._environment

    @property
    def api_url(self) -> Optional[str]:
        """The address of the service, without a slash at its end."""
        url = self.variable("API_URL") or self.file.values.get("api_url")
        return url.rstrip("/") if url else None

    @property
    def announces_build_id(self) -> bool:
        """Whether `build create` prints `Build ID: …`: only if the address comes from BUILDSTATE_API_URL alone.

        The Jenkins library searches the output for this text; shells assign the output, the id alone, to a variable.
        """
        ours, synonym = (self._environment.get(name, "").strip() for name in ("BLDST_API_URL", "BUILDSTATE_API_URL"))
        return bool(synonym and not ours)

    @property
    def timeout_seconds(self) -> float:
        """How long one request may take.

        Raises:
            UsageError: The value is not a positive number.
        """
        text = self.variable("TIMEOUT")
        if not text:
            return _TIMEOUT_SECONDS
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= 86400:
            raise UsageError("BLDST_TIMEOUT must be a number of seconds between 0 and 86400")
        return seconds

    def require_api_url(self) -> str:
        """Return the address of the service.

        Raises:
            CommandError: It is not configured.
        """
        if not self.api_url:
            raise CommandError(
                "the address of the service is not configured: set BLDST_API_URL, or run bldst config set-url"
            )
        return self.api_url

    def credentials(self) -> Dict[str, str]:
        """Return the header that authenticates the caller; empty if there is neither key nor token."""
        kinds = (("API_KEY", "X-API-Key", ""), ("JWT_TOKEN", "Authorization", "Bearer "))
        for read in (self.variable, self._of_file):
            for name, header, scheme in kinds:
                secret = read(name)
                if secret:
                    return {header: scheme + _header_value(secret, name)}
        return {}

    def _of_file(self, name: str) -> Optional[str]:
        return self.file.values.get(name.lower())


def variable(environment: Mapping[str, str], name: str) -> Optional[str]:
    """Return `BLDST_<name>`, else `BUILDSTATE_<name>`; None if both are empty."""
    given = (environment.get(prefix + name, "").strip() for prefix in ("BLDST_", "BUILDSTATE_"))
    return next((value for value in given if value), None)


def _header_value(secret: str, name: str) -> str:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise CommandError(f"the value of {name.lower()} contains characters that no token has")
    return secret
