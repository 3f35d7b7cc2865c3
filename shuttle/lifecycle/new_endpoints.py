"""The receivers and sinks of a new build, as they are recorded: with encrypted URLs and headers."""

from collections.abc import Sequence

from shuttle.outgoing.endpoints import PayloadFormat
from shuttle.outgoing.hooks import Hook, kind_of, shown_host
from shuttle.store.new_build import NewEndpoint, target_bytes
from shuttle.vault import Vault


def new_endpoints(hooks: Sequence[Hook], payload_format: PayloadFormat, vault: Vault) -> list[NewEndpoint]:
    """One for each hook, in order."""
    return [
        NewEndpoint(
            kind_of(hook.url),
            shown_host(hook.url),
            vault.seal(target_bytes(hook.url, dict(hook.headers))),
            payload_format,
        )
        for hook in hooks
    ]
