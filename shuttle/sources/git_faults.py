"""What an error of git means for a build: the reason in its record, or a retry.

git gives no codes, so its English messages are recognised; they are those of git 2.39.
"""

import re
import signal
from typing import NamedTuple

from shuttle.errors import AddressRefusedError, BuildFailedError, LocalDiskError, UnavailableError
from shuttle.sources.git_command import GitError

NOT_GIT = "is not a git repository, or is not served by git's smart protocol."


class Fault(NamedTuple):
    """An error that a retry would not change: what git writes, the reason, and a sentence without its subject."""

    written: str
    reason: str
    sentence: str


# The first one whose pattern is found applies.
_FAULTS = (
    Fault(
        r"out of memory|cannot allocate|mmap failed",
        "source_too_large",
        "needs more memory than git may have.",
    ),
    Fault(
        r"Authentication failed|could not read (Username|Password)|terminal prompts disabled|error: 40[13]\b",
        "source_unauthorized",
        "asks for valid credentials; give them like https://user:password@host/.",
    ),
    Fault(r"repository\b.* not found|error: (404|410)\b", "source_not_found", "does not exist."),
    Fault(
        r"not valid: is this a git repository|dumb http transport|protocol error|bad line length|bad band",
        "source_not_git",
        NOT_GIT,
    ),
    Fault(r"mismatched algorithms", "source_failed", "has commit ids of 64 digits (SHA-256), which are not supported."),
    Fault(r"couldn't find remote ref", "source_ref_not_found", "has no such branch, tag or commit."),
    Fault(
        r"certificate", "source_untrusted", "has a certificate that is not trusted; SHUTTLE_CA_FILE can name its CA."
    ),
    Fault(
        r"redirect|error: 3\d\d\b",
        "source_redirects",
        "redirects in a way that git does not follow; give the final address.",
    ),
)
# URLs, the host that the proxy could not reach, and the text of the server may contain any word of a pattern. A warning
# ("redirecting to …") is not what failed.
_NOT_OF_GIT = re.compile(
    r"'?https?://\S+|(?<=SOCKS5 connection to )\S+|(?<=remote error: )(?s:.*)|^warning: .*$", re.MULTILINE
)
_TEMPORARY = re.compile(
    r"error: (408|425|429|5\d\d)\b|resolve|connect|SOCKS|timed? ?out|too slow|early EOF|hung up|RPC failed|Empty reply"
    r"|could not read from remote|reset|Recv failure|TLS|SSL|gnutls|unexpected|transfer closed|invalid index-pack",
    re.IGNORECASE,
)


# The words of the system end a line of git. Any host could cause a retry anyway, by answering 503.
_DISK = re.compile(
    r": (No space left on device|Disk quota exceeded|Read-only file system|Input/output error)$", re.MULTILINE
)
_MACHINE = re.compile(
    r": (Resource temporarily unavailable|Too many open files(?: in system)?)$"
    r"|cannot fork|unable to fork|cannot create (?:async )?thread|died of signal (?:1|2|9|15)\b",
    re.MULTILINE,
)
# The kernel kills if the machine or its container has no memory left; the others end a service with its processes.
_KILLS = frozenset({-signal.SIGHUP, -signal.SIGINT, -signal.SIGKILL, -signal.SIGTERM})


def machine_fault(error: GitError) -> UnavailableError | None:
    """The error to raise instead if the machine of the shuttle has failed, not the source: a retry may succeed."""
    disk = _DISK.search(_NOT_OF_GIT.sub("", error.text))
    if disk is not None:
        return LocalDiskError(
            f"git cannot use the disk of SHUTTLE_DATA_DIR ({disk[1]}): free space on it or repair it."
        )
    if error.status in _KILLS or _MACHINE.search(_NOT_OF_GIT.sub("", error.text)):
        return UnavailableError(
            "git was killed or could not start a process: the machine of the shuttle lacks memory, processes or files."
        )
    return None


def fault_of(error: GitError, shown: str, refusal: AddressRefusedError | None) -> Exception:
    """The error to raise instead, without git's own words.

    `refusal`: the error if git wanted to connect to an address that is not allowed (see `outgoing.checking_proxy`).
    """
    if refusal is not None:
        return BuildFailedError("source_refused", f"{shown} cannot be used. {refusal.message}")
    machine = machine_fault(error)
    if machine is not None:
        return machine
    words = _NOT_OF_GIT.sub("", error.text)
    for fault in _FAULTS:
        if re.search(fault.written, words, re.IGNORECASE):
            return BuildFailedError(fault.reason, f"{shown} {fault.sentence}")
    if _TEMPORARY.search(words):
        return UnavailableError(f"{shown} cannot be cloned now: its host does not answer as it should.")
    return BuildFailedError("source_failed", f"{shown} cannot be cloned: git ended with exit status {error.status}.")


def is_not_offered(error: GitError) -> bool:
    """Whether the server refused to send a commit that was requested by its id."""
    return re.search(r"not our ref|unadvertised object|remote error|couldn't find remote ref", error.text) is not None
