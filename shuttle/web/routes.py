"""The table of routes: what the router and the OpenAPI document are made of."""

from shuttle.web import Role, Route, agent, artifacts, builds, deliveries, health, legacy, logs, openapi, sources

# Ids may have braces, which aiohttp's own `{name}` does not match.
ROUTES: tuple[Route, ...] = (
    Route("POST", "/", legacy.post_build, Role.CONTROLLER, "Ask for a build by the older API.", legacy.always),
    Route("GET", "/healthz", health.healthz, Role.ANYBODY, "The process serves."),
    Route("GET", "/readyz", health.readyz, Role.ANYBODY, "Database, object store and Jenkins are in reach."),
    Route("GET", "/octhc", health.octhc, Role.ANYBODY, "The old shuttle's health probe."),
    Route("GET", "/metrics", health.metrics, Role.READER, "Figures for Prometheus."),
    Route("GET", "/-/openapi.json", openapi.get_openapi, Role.ANYBODY, "This document."),
    Route("GET", "/-/builds", builds.list_all, Role.READER, "The builds of all apps, newest first."),
    Route("GET", "/-/deliveries", deliveries.list_deliveries, Role.READER, "Status deliveries, newest first."),
    Route("POST", "/-/deliveries/replay", deliveries.replay_given_up, Role.CONTROLLER, "Replay what was given up on."),
    Route("POST", "/-/deliveries/{delivery_id}/replay", deliveries.replay_one, Role.CONTROLLER, "Replay one delivery."),
    Route("POST", "/-/builds/{build_uuid}/claim", agent.with_token(agent.post_claim), Role.AGENT, "Claim a build."),
    Route(
        "GET",
        "/-/builds/{build_uuid}/source.tar.gz",
        agent.with_token(agent.get_source),
        Role.AGENT,
        "The source, checked and flattened.",
    ),
    Route(
        "GET",
        "/-/builds/{build_uuid}/environment",
        agent.with_token(agent.get_environment),
        Role.AGENT,
        "Arguments and registry credentials as files in a tar.gz.",
    ),
    Route("POST", "/-/builds/{build_uuid}/report", agent.with_token(agent.post_report), Role.AGENT, "Report a result."),
    Route(
        "PUT",
        "/-/builds/{build_uuid}/artifacts/{name:.+}",
        agent.with_token(agent.put_artifact),
        Role.AGENT,
        "Upload a file.",
    ),
    Route(
        "GET",
        "/{segment:[^/]+}",
        sources.get_source_or_app,
        Role.READER,
        "A build's source by uuid, or an app's builds.",
        legacy.is_legacy_source,
    ),
    Route(
        "DELETE",
        "/{segment:[^/]+}",
        legacy.delete_app_of_path,
        Role.CONTROLLER,
        "Delete an app of the older API.",
        legacy.is_legacy_apps,
    ),
    Route("POST", "/{app_id:[^/]+}/{build_id:[^/]+}", builds.post_build, Role.CONTROLLER, "Ask for a build."),
    Route("GET", "/{app_id:[^/]+}/{build_id:[^/]+}", builds.get_build, Role.READER, "Everything about a build."),
    Route(
        "DELETE",
        "/{app_id:[^/]+}/{build_id:[^/]+}",
        builds.delete_build,
        Role.CONTROLLER,
        "Stop a build.",
        legacy.is_of_legacy_build,
    ),
    Route(
        "GET",
        "/{app_id:[^/]+}/{build_id:[^/]+}/status",
        builds.get_status,
        Role.READER,
        "The newest status.",
        legacy.is_of_legacy_build,
    ),
    Route(
        "GET",
        "/{app_id:[^/]+}/{build_id:[^/]+}/logs",
        logs.get_logs,
        Role.READER,
        "The log, also followed while it grows.",
        legacy.is_of_legacy_build,
    ),
    Route(
        "GET", "/{app_id:[^/]+}/{build_id:[^/]+}/artifacts", artifacts.list_artifacts, Role.READER, "The files it left."
    ),
    Route(
        "GET",
        "/{app_id:[^/]+}/{build_id:[^/]+}/artifacts/{name:.+}",
        artifacts.get_artifact,
        Role.READER,
        "One of them.",
    ),
)
