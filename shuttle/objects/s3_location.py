"""Parses S3_LOCATION: a region, an endpoint with `://`, a host, or `<bucket>.<host>`."""

import re
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import urlsplit

from shuttle.errors import SettingsError

_DEFAULT_REGION = "us-east-1"
_REGION = re.compile(r"[a-z0-9-]+")
# s3.amazonaws.com, s3.eu-west-1.amazonaws.com, s3-eu-west-1.amazonaws.com, s3.dualstack.…, …amazonaws.com.cn
_AMAZON = re.compile(r"s3(?:\.dualstack)?(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class S3Location:
    """The arguments for boto3; `endpoint` None = Amazon's endpoint for the region."""

    region: str
    endpoint: str | None = None
    addressing: Literal["auto", "path", "virtual"] = "auto"

    @classmethod
    def parse(cls, location: str, bucket: str) -> Self:
        """Parse S3_LOCATION; an empty one means us-east-1.

        Raises:
            SettingsError: `location` has none of the known forms.
        """
        location = location.strip()
        if not location:
            return cls(_DEFAULT_REGION)
        if "://" in location:
            return cls._at(location, "path")
        if location.startswith(f"{bucket}."):
            return cls._at(f"https://{location.removeprefix(f'{bucket}.')}", "virtual")
        if "." in location or ":" in location:
            return cls._at(f"https://{location}", "path")
        if _REGION.fullmatch(location):
            return cls(location)
        raise _wrong()

    @classmethod
    def _at(cls, endpoint: str, addressing: Literal["path", "virtual"]) -> Self:
        try:
            parts = urlsplit(endpoint)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.username is not None or parts.query or parts.fragment:
            raise _wrong()
        amazon = _AMAZON.fullmatch(parts.hostname or "")
        if amazon is not None:
            return cls(amazon["region"] or _DEFAULT_REGION)
        return cls(_DEFAULT_REGION, endpoint.rstrip("/"), addressing)


def _wrong() -> SettingsError:
    return SettingsError("S3_LOCATION: write a region, http(s)://host[:port], or <bucket>.<host>, without credentials.")
