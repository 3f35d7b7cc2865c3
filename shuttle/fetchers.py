"""The fetchers of sources, by kind."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import ClientSession

from shuttle.outgoing.connector import AddressPolicy, CheckingResolver
from shuttle.outgoing.tls import TrustedBundle
from shuttle.settings import Settings
from shuttle.sources.git import GitFetcher
from shuttle.sources.http import HttpFetcher
from shuttle.sources.kind import Fetchers
from shuttle.sources.kinds.git import GitSource
from shuttle.sources.kinds.http import HttpSource


@asynccontextmanager
async def source_fetchers(session: ClientSession, policy: AddressPolicy, settings: Settings) -> AsyncIterator[Fetchers]:
    """The fetchers; `session` is that of downloads. Raises SettingsError if SHUTTLE_CA_FILE cannot be used."""
    stall_seconds, ca_file = settings.shuttle_source_stall_seconds, settings.shuttle_ca_file
    cas_file = settings.shuttle_data_dir / "cas-of-git.pem"
    bundle = None if ca_file is None else TrustedBundle(ca_file, _default_cas(), cas_file)
    resolver = CheckingResolver(policy)
    try:
        yield {
            HttpSource: HttpFetcher(session, stall_seconds=stall_seconds),
            GitSource: GitFetcher(
                resolver, stall_seconds=stall_seconds, ca_file=None if bundle is None else Path(bundle.path)
            ),
        }
    finally:
        await resolver.close()
        if bundle is not None:
            bundle.close()


def _default_cas() -> Path:
    """The file of the system's CAs, for programs that read their CAs from one file."""
    return Path(ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt")
