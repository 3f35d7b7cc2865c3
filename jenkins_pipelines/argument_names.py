"""Classification of argument names by how the argument can be passed to the user's process without side effects.

Three classes: variables of the shell itself (only `env` can set them, because a shell would change them), variables
that control a program between the supervisor and the user's process (an image builder must not have them in its own
environment), and all others.
"""

import re
from enum import StrEnum


class Passing(StrEnum):
    """The folder of the environment archive that an argument goes into."""

    ORDINARY = "arguments"
    STEERING = "steering"
    SHELL_VARIABLE = "shell_variables"


# Set, read-only or computed by dash, bash or busybox ash themselves (their manuals, "Shell Variables"). Exporting a
# locale in bash applies it at once and warns if it is missing.
_SHELL_VARIABLE = re.compile(
    r"""
      _ | IFS | PWD | OLDPWD | SHLVL | PPID | UID | EUID | GROUPS | LINENO | OPTIND | OPTARG | OPTERR
    | RANDOM | SRANDOM | SECONDS | EPOCHSECONDS | EPOCHREALTIME | COLUMNS | LINES | FUNCNAME
    | FUNCNEST | PIPESTATUS | DIRSTACK | HISTCMD | HISTFILE | HISTFILESIZE | HISTSIZE | HOSTNAME
    | HOSTTYPE | MACHTYPE | OSTYPE | BASH | BASHOPTS | BASHPID | BASH_ALIASES | BASH_ARGC
    | BASH_ARGV | BASH_ARGV0 | BASH_CMDS | BASH_COMMAND | BASH_COMPAT
    | BASH_EXECUTION_STRING | BASH_LINENO | BASH_LOADABLES_PATH | BASH_REMATCH
    | BASH_SOURCE | BASH_SUBSHELL | BASH_VERSINFO | BASH_VERSION | BASH_XTRACEFD | SHELLOPTS
    | COMPREPLY | COMP_CWORD | COMP_KEY | COMP_LINE | COMP_POINT | COMP_TYPE | COMP_WORDBREAKS
    | COMP_WORDS | COPROC | CHILD_MAX | EXECIGNORE | GLOBIGNORE | MAPFILE | POSIXLY_CORRECT
    | TMOUT | LANG | LANGUAGE | LC_\w+
    | [0-9]\w*  # no shell can export it, but an environment can have it
    """,
    re.VERBOSE,
)

# Variables that builders, Go programs, the C library, TLS and credential helpers (often shell scripts) read. Variables
# that only Jenkins or the supervisor read (BUILD_*, JOB_*, SHUTTLE_*, WORKSPACE, …) are ordinary: the process that
# exports an argument then becomes the user's process or the builder, so Jenkins and the supervisor never see it.
_STEERING = re.compile(
    r"""
      PATH | HOME | TMPDIR | TMP | TEMP | USER | LOGNAME | SHELL | TERM | TZ | TZDIR | CDPATH | PS4 | ENV | BASH_ENV
    | REGISTRY_AUTH_FILE | REGISTRIES_CONFIG_PATH | NO_COLOR | NOTIFY_SOCKET | LISTEN_FDS | LISTEN_PID | LISTEN_FDNAMES
    | SSH_AUTH_SOCK | GNUPGHOME | GPG_TTY | GODEBUG | GOTRACEBACK | GOGC | GOMAXPROCS | GOMEMLIMIT | GOCOVERDIR
    | SSL_CERT_FILE | SSL_CERT_DIR | SSLKEYLOGFILE | OPENSSL_CONF | CURL_CA_BUNDLE | CURL_HOME
    | GCONV_PATH | GETCONF_DIR | LOCPATH | NLSPATH | HOSTALIASES | RES_OPTIONS | LOCALDOMAIN | GLIBC_TUNABLES
    | MALLOC_\w+ | BASH_FUNC_\w+ | _CONTAINERS_\w+
    | (?:LD|XDG|DOCKER|BUILDKIT|BUILDX|BUILDAH|PODMAN|STORAGE|CONTAINER|CONTAINERS|DBUS|NETAVARK|OTEL|COMPOSE|MOBY)_\w*
    | (?i:\w+_proxy)
    """,
    re.VERBOSE,
)


def passing_of(name: str) -> Passing:
    """How the argument `name` is passed to the user's process without affecting other programs."""
    if _SHELL_VARIABLE.fullmatch(name):
        return Passing.SHELL_VARIABLE
    return Passing.STEERING if _STEERING.fullmatch(name) else Passing.ORDINARY
