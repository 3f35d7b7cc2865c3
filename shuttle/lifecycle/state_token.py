"""The state token of a build: it opens the records of this build, of its children and of the build that it resumes.

It is made of the build's uuid with a key of the service, so it is stored nowhere, and every replica knows it.
"""

import hmac
from hashlib import sha256

from shuttle.request import UUID
from shuttle.vault import Vault

# Where the API of the record is; `shuttle.web.state` serves it.
STATE_PATH = "/-/state"
_PURPOSE = "state token"
_PREFIX = "bst_"


def state_token(build_uuid: str, vault: Vault) -> str:
    """The token of the build."""
    return state_tokens(build_uuid, vault)[0]


def state_tokens(build_uuid: str, vault: Vault) -> list[str]:
    """The tokens of the build, one by each key: an agent may have one by a key that is no longer the first."""
    return [f"{_PREFIX}{build_uuid}_{_sum(key, build_uuid)}" for key in vault.derived_keys(_PURPOSE)]


def build_of_token(token: str, vault: Vault) -> str | None:
    """The uuid of the build whose token it is; None = it is none of this service's state tokens."""
    build_uuid, _, given = token.removeprefix(_PREFIX).partition("_")
    if not token.startswith(_PREFIX) or not UUID.fullmatch(build_uuid) or not given.isascii():
        return None
    known = (hmac.compare_digest(_sum(key, build_uuid), given) for key in vault.derived_keys(_PURPOSE))
    return build_uuid if any([*known]) else None


def _sum(key: bytes, build_uuid: str) -> str:
    return hmac.new(key, build_uuid.encode(), sha256).hexdigest()
