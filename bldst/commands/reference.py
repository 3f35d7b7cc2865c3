"""bldst project, platform, os-version and the other lists that builds refer to: five commands for each."""

from typing import Sequence

from bldst.grammar import Command, Noun, Option

_NAME = Option("--name", "name")
_DISPLAY_NAME = Option("--display-name", "display_name")
_DESCRIPTION = Option("--description", "description")
_PAGE = (
    Option("--skip", "skip", "int"),
    Option("--limit", "limit", "int", about="at most 1000"),
    Option("--include-deactivated", "include_deactivated", "flag"),
)


def _noun(
    name: str,
    about: str,
    path: str,
    options: Sequence[Option],
    *,
    required: str = "name",
    columns: str = "id name description",
    listing: Sequence[Option] = (),
    list_request: str = "",
) -> Noun:
    shown = name.replace("-", " ")
    return Noun(
        name,
        about,
        (
            Command(
                "create",
                "Add one and print its id",
                options=options,
                required=required,
                request="POST " + path,
                output="id",
                done="the " + shown + " {name} is recorded",
            ),
            Command(
                "list",
                "List them",
                options=(*listing, *_PAGE),
                request=list_request or "GET " + path,
                output="rows",
                columns=columns,
            ),
            Command("get", "Show one", positionals="id_or_name", request="GET " + path + "/{id_or_name}", output="row"),
            Command(
                "update",
                "Change one",
                positionals="id_or_name",
                options=options,
                request="PUT " + path + "/{id_or_name}",
                done=f"The {shown} is changed",
            ),
            Command(
                "delete",
                "Deactivate one; builds keep it",
                positionals="id_or_name",
                options=(Option("--yes -y", "yes", "flag"),),
                request="DELETE " + path + "/{id_or_name}",
                done=f"The {shown} is deactivated",
            ),
        ),
    )


TABLE = (
    _noun(
        "project",
        "Projects: the apps of the shuttle",
        "/projects",
        (_NAME, _DESCRIPTION, Option("--parent-id", "parent_project_id", "id")),
    ),
    _noun(
        "platform",
        "Platforms",
        "/platforms",
        (_NAME, Option("--cloud-provider", "cloud_provider"), Option("--region", "region")),
        columns="id name cloud_provider region",
    ),
    _noun(
        "os-version",
        "Versions of operating systems",
        "/os-versions",
        (_NAME, Option("--version", "version")),
        columns="id name version",
    ),
    _noun("image-type", "Types of images", "/image-types", (_NAME, _DESCRIPTION)),
    _noun("cloud-provider", "Cloud providers", "/cloud-providers", (_NAME, _DISPLAY_NAME, _DESCRIPTION)),
    _noun("os-distribution", "Distributions", "/os-distributions", (_NAME, _DISPLAY_NAME, _DESCRIPTION)),
    _noun("image-variant", "Variants of images", "/image-variants", (_NAME, _DISPLAY_NAME, _DESCRIPTION)),
    _noun(
        "state-code",
        "What the numbers of states mean",
        "/state-codes",
        (
            Option("--project-id", "project_id", "id"),
            Option("--code", "code", "int"),
            _NAME,
            _DISPLAY_NAME,
            _DESCRIPTION,
            Option("--color", "color"),
            Option("--is-terminal", "is_terminal", "flag"),
            Option("--is-initial", "is_initial", "flag"),
            Option("--is-final", "is_final", "flag"),
            Option("--is-error", "is_error", "flag"),
            Option("--sort-order", "sort_order", "int"),
        ),
        columns="id code name description",
        listing=(Option("--project-id", "project_id", "id", about="all codes of one project"),),
        list_request="GET [/projects/{project_id}]/state-codes",
    ),
)
