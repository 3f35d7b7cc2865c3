"""Reference data and projects in the store, on both databases: races, ids of labels, ids of apps."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shuttle.build import project_id_of
from shuttle.errors import ConflictError, NotFoundError
from shuttle.store import Database
from shuttle.store.projects import (
    create_project,
    deactivate_project,
    find_project,
    page_of_projects,
    projects_of_apps,
    referred_project,
)
from shuttle.store.references import (
    UNSPECIFIED,
    Kind,
    change_reference,
    create_reference,
    deactivate_reference,
    find_reference,
    id_of,
    page_of_references,
    references_of_labels,
    referred,
)
from shuttle.store.state_codes import create_state_code
from shuttle.vault import Vault
from tests.support.shuttle_store import new_build, record

AWS = (Kind.PLATFORM, "aws")
BLANK = {"is_initial": False, "is_final": False, "is_error": False, "is_terminal": False}


async def at_once(connections: list[Database], query: Callable[..., Any], *calls: tuple[Any, ...]) -> list[Any]:
    """The results of the calls, made alternately by two connections at the same time."""
    runs = (connections[number % 2].run(query, *call) for number, call in enumerate(calls))
    return await asyncio.gather(*runs, return_exceptions=True)


async def test_equal_requests_at_once_make_one_row(connections: list[Database]):
    made = await at_once(connections, create_reference, *[(*AWS, {"region": "x"})] * 6)
    assert sorted(is_new for _, is_new in made) == [False] * 5 + [True]
    assert len({found.reference_id for found, _ in made}) == 1
    projects = await at_once(connections, create_project, *[("app", "job")] * 6)
    assert sorted(is_new for _, is_new in projects) == [False] * 5 + [True]


async def test_different_requests_at_once_conflict(connections: list[Database]):
    made = await at_once(connections, create_reference, *((*AWS, {"region": str(n)}) for n in range(4)))
    assert sum(isinstance(each, ConflictError) for each in made) == 3


async def test_two_rows_renamed_at_once_do_not_share_a_name(connections: list[Database]):
    for name in ("a", "b"):
        await connections[0].run(create_reference, Kind.PLATFORM, name, {})

    def rename(tx: Any, key: str) -> Any:
        return change_reference(tx, Kind.PLATFORM, key, {}, name="c")

    made = await at_once(connections, rename, ("a",), ("b",))
    assert sum(isinstance(each, ConflictError) for each in made) == 1


async def test_state_codes_made_at_once_have_different_codes(connections: list[Database]):
    project, _ = await connections[0].run(create_project, "app", "job")
    made = await at_once(connections, create_state_code, *((project, f"n{n}", BLANK) for n in range(6)))
    assert sorted(code.fields["code"] for code, _ in made) == [5, 10, 15, 20, 25, 30]


async def test_label_has_an_id_that_a_later_row_keeps(database: Database):
    labels = [AWS, (Kind.OS_VERSION, UNSPECIFIED), (Kind.PLATFORM, "x" * 129)]
    shown = await database.run(references_of_labels, labels)
    assert {label: found.reference_id for label, found in shown.items()} == {label: id_of(*label) for label in labels}
    assert await database.run(page_of_references, Kind.PLATFORM, skip=0, limit=10) == []
    assert await database.run(find_reference, *AWS) is None
    assert (await database.run(referred, Kind.PLATFORM, id_of(*AWS))).name == "aws"
    with pytest.raises(NotFoundError):
        await database.run(referred, Kind.IMAGE_TYPE, id_of(*AWS))
    created, is_new = await database.run(create_reference, *AWS, {"region": "x"})
    assert (is_new, created.reference_id) == (True, id_of(*AWS))
    assert (await database.run(references_of_labels, labels))[AWS] == created


async def test_labels_shown_at_once_make_one_row_each(connections: list[Database]):
    labels = [(Kind.PLATFORM, f"p{number}") for number in range(5)]
    made = await at_once(connections, references_of_labels, (labels,), (labels[::-1],), (labels,), (labels[::-1],))
    assert all(each == made[0] for each in made)


async def test_renamed_row_keeps_its_id_and_the_old_name_gets_another(database: Database):
    await database.run(create_reference, *AWS, {})
    renamed = await database.run(change_reference, *AWS, {}, name="aws2")
    again, _ = await database.run(create_reference, *AWS, {})
    assert renamed.reference_id == id_of(*AWS) != again.reference_id
    label = (await database.run(references_of_labels, [AWS]))[AWS]
    assert label.reference_id == again.reference_id


async def test_deleted_row_is_shown_for_builds_but_not_found(database: Database):
    await database.run(create_reference, *AWS, {"region": "x"})
    await database.run(deactivate_reference, *AWS)
    assert (await database.run(references_of_labels, [AWS]))[AWS].deactivated_at is not None
    for key in ("aws", id_of(*AWS)):
        with pytest.raises(NotFoundError):
            await database.run(referred, Kind.PLATFORM, key)


async def test_id_precedes_a_name_that_looks_like_it(database: Database):
    first, _ = await database.run(create_reference, *AWS, {})
    await database.run(create_reference, Kind.PLATFORM, first.reference_id, {})
    assert await database.run(find_reference, Kind.PLATFORM, first.reference_id) == first


async def test_app_of_a_build_is_found_by_the_uuid_of_its_name(database: Database, vault: Vault):
    for app_id in ("a", "b"):
        await record(database, vault, new_build(vault, app_id, "1"))
    listed = await database.run(page_of_projects, skip=0, limit=10)
    assert [project.project_id for project in listed] == [project_id_of("a"), project_id_of("b")]
    assert await database.run(find_project, project_id_of("c")) is None
    for key in (project_id_of("a"), project_id_of("a").upper(), "a"):
        assert await database.run(find_project, key) == listed[0]
    assert await database.run(projects_of_apps, ["a", "x"]) == {"a": listed[0]}
    assert (await database.run(create_project, "a", "another-job"))[1] is False


async def test_deleted_project_is_not_referred_to(database: Database):
    await database.run(create_project, "app", "job")
    await database.run(deactivate_project, "app")
    with pytest.raises(NotFoundError, match="Project with id 'app' not found"):
        await database.run(referred_project, "app")
    assert await database.run(find_project, "app") is not None
