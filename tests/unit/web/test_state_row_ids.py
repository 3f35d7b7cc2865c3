"""The uuids of rows below `/-/state` are those of the standard library."""

import uuid

from shuttle.web.state.row_ids import id_in_build


def test_id_is_the_uuid_of_version_5_of_the_name():
    for number in range(64):
        build_uuid = str(uuid.UUID(int=number << 96 | number))
        name = f"variable {number} ü"
        assert id_in_build(build_uuid, name) == str(uuid.uuid5(uuid.UUID(build_uuid), name))
