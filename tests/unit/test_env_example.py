"""`.env.example` names every setting, documents it, and its values are the defaults."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from shuttle.settings import Settings, load_settings

_TEXT = Path(__file__).parents[2].joinpath(".env.example").read_text(encoding="utf-8")
_ENTRIES = dict(re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", _TEXT, re.MULTILINE))
_NAMES = {name.upper() for name in Settings.model_fields}
_DEFAULTS = load_settings({})


def test_env_example_names_every_setting_and_nothing_else():
    assert set(_ENTRIES) == _NAMES


@pytest.mark.parametrize("name", sorted(_NAMES))
def test_shown_value_is_the_default(name: str):
    as_shown = load_settings({name: _ENTRIES[name]})
    assert getattr(as_shown, name.lower()) == getattr(_DEFAULTS, name.lower())


def test_all_lines_uncommented_equal_the_defaults():
    assert load_settings(_ENTRIES) == _DEFAULTS


def test_every_entry_is_explained():
    """Each entry follows a comment, or another entry under the same comment."""
    for before, line in pairwise(_TEXT.splitlines()):
        if re.match(r"#[A-Z][A-Z0-9_]*=", line):
            assert before.startswith("# ") or re.match(r"#[A-Z0-9_]+=", before), line
