"""bldst health, dashboard and user: the service itself, and an overview of its builds."""

from bldst.grammar import Command, Noun, Option


def _check(names: str, about: str, path: str) -> Command:
    return Command(names, about, request="GET " + path, run="health:check")


TABLE = (
    Noun(
        "health",
        "Whether the service works",
        (
            _check("check ready", "Whether it can record builds", "/ready"),
            _check("liveness", "Whether it answers", "/health/liveness"),
            _check("readiness", "Like check", "/health/readiness"),
            _check("status", "Its version, and how many builds it has", "/status"),
        ),
        default="check",
    ),
    Noun(
        "dashboard",
        "Overview of the builds",
        (
            Command("summary", "Numbers of builds", request="GET /dashboard/summary", output="row"),
            Command(
                "recent",
                "The newest builds",
                options=(Option("--limit", "limit", "int"),),
                request="GET /dashboard/recent",
                output="rows",
                columns="id build_number current_state status start_time",
            ),
        ),
    ),
    Noun("user", "The caller", (Command("me", "Who the key belongs to", request="GET /users/me", output="row"),)),
)
