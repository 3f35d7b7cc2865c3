"""Bodies and answers about reference data. Texts are cut to the limits of existing clients.

These reject a whole list if one name in it has more than 50 characters. `name_full` has the whole name.
"""

from typing import Any

from pydantic import RootModel

from shuttle.events import instant_text
from shuttle.store.references import Reference
from shuttle.web.models import Instant, ResponseBody
from shuttle.web.state.bodies import StateBody
from shuttle.web.state.fields import Description, DisplayName, Name, ShortName

SHOWN_CHARACTERS = 50
_DISPLAY_CHARACTERS = 100


class ReferenceChange(StateBody):
    """Fields to change; null and absent ones stay."""

    name: Name | None = None
    display_name: DisplayName | None = None
    description: Description | None = None


class PlatformChange(ReferenceChange):
    """Fields of a platform to change."""

    cloud_provider: ShortName | None = None
    region: ShortName | None = None


class OsVersionChange(ReferenceChange):
    """Fields of a version of an operating system to change."""

    version: ShortName | None = None


class NewReference(ReferenceChange):
    """A new image type, cloud provider, OS distribution or image variant."""

    name: Name


class NewPlatform(PlatformChange):
    """A new platform; `cloud_provider` defaults to the name."""

    name: Name


class NewOsVersion(OsVersionChange):
    """A new version of an operating system; `version` defaults to the name."""

    name: Name


class ReferenceEntry(ResponseBody):
    """What every entry has."""

    id: str
    name: str
    name_full: str
    display_name: str
    description: str | None
    created_at: Instant
    updated_at: Instant
    deactivated_at: Instant | None


class Platform(ReferenceEntry):
    """A platform on which images are built."""

    cloud_provider: str
    region: str | None


class OsVersion(ReferenceEntry):
    """A version of an operating system."""

    version: str


class ImageType(ReferenceEntry):
    """A type of image."""


class DatedEntry(ReferenceEntry):
    """An entry that also has its times under other names."""

    start_date: Instant
    end_date: Instant | None


class CloudProvider(DatedEntry):
    """A cloud provider."""


class OsDistribution(DatedEntry):
    """A distribution of an operating system."""


class ImageVariant(DatedEntry):
    """A variant of an image."""


class Platforms(RootModel[list[Platform]]):
    """Platforms, the oldest first."""


class OsVersions(RootModel[list[OsVersion]]):
    """Versions of operating systems, the oldest first."""


class ImageTypes(RootModel[list[ImageType]]):
    """Types of images, the oldest first."""


class CloudProviders(RootModel[list[CloudProvider]]):
    """Cloud providers, the oldest first."""


class OsDistributions(RootModel[list[OsDistribution]]):
    """Distributions of operating systems, the oldest first."""


class ImageVariants(RootModel[list[ImageVariant]]):
    """Variants of images, the oldest first."""


def platform_entry(found: Reference) -> Platform:
    """The platform for display, also one that only a label names."""
    provider = found.fields.get("cloud_provider") or short(found.name)
    return Platform(**common_fields(found), cloud_provider=provider, region=found.fields.get("region"))


def os_version_entry(found: Reference) -> OsVersion:
    """The version for display, also one that only a label names."""
    return OsVersion(**common_fields(found), version=found.fields.get("version") or short(found.name))


def image_type_entry(found: Reference) -> ImageType:
    """The type of image for display, also one that only a label names."""
    return ImageType(**common_fields(found))


def cloud_provider_entry(found: Reference) -> CloudProvider:
    """The cloud provider for display."""
    return CloudProvider(**common_fields(found), **dates(found))


def os_distribution_entry(found: Reference) -> OsDistribution:
    """The distribution for display."""
    return OsDistribution(**common_fields(found), **dates(found))


def image_variant_entry(found: Reference) -> ImageVariant:
    """The variant for display."""
    return ImageVariant(**common_fields(found), **dates(found))


def short(name: str) -> str:
    """The name, cut to the length that existing clients accept."""
    return name[:SHOWN_CHARACTERS]


def common_fields(found: Reference) -> dict[str, Any]:
    """The fields of ReferenceEntry."""
    return {
        "id": found.reference_id,
        "name": short(found.name),
        "name_full": found.name,
        "display_name": found.fields.get("display_name") or found.name[:_DISPLAY_CHARACTERS],
        "description": found.fields.get("description"),
        "created_at": instant_text(found.created_at),
        "updated_at": instant_text(found.updated_at),
        "deactivated_at": found.deactivated_at and instant_text(found.deactivated_at),
    }


def dates(found: Reference) -> dict[str, Any]:
    """The fields of DatedEntry."""
    return {
        "start_date": instant_text(found.created_at),
        "end_date": found.deactivated_at and instant_text(found.deactivated_at),
    }
