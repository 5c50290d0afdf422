"""JSON files whose shape is checked, as random values see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schema
from utils import UserError


class Note(TypedDict):
    name: str
    counts: dict[str, int]
    share: NotRequired[float]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "counts", "share", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def fits(value: Any) -> bool:
    """The same check a second time, by hand."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return False
    if not isinstance(value.get("counts"), dict):
        return False
    counts, share = value["counts"].values(), value.get("share", 0.5)
    whole = all(type(count) is int or (type(count) is float and count.is_integer()) for count in counts)
    return whole and isinstance(share, float | int) and not isinstance(share, bool)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_a_value_passes_unchanged_or_is_one_line(value: Any) -> None:
    try:
        assert schema.checked(value, Note, "note.json") is value
        assert fits(value)
    except UserError as error:
        assert "note.json" in str(error) and "\n" not in str(error) and not fits(value)


def test_files_are_read_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    good = {"name": "a", "counts": {}, "newer": [1]}
    (tmp_path / "note.json").write_text(json.dumps(good))
    assert schema.read_json(tmp_path / "note.json", Note) == good
    (tmp_path / "notes.jsonl").write_text(f"{json.dumps(good)}\n[]\n")
    with pytest.raises(UserError, match=r"notes\.jsonl, line 2 .*delete that line"):
        schema.read_jsonl(tmp_path / "notes.jsonl", Note)
    assert schema.read_jsonl(tmp_path / "none.jsonl", Note) == []


def test_half_of_a_surrogate_pair_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text(r'{"\udc00": 1}')
    with pytest.raises(UserError, match=r"note\.json is damaged"):
        schema.read_json(tmp_path / "note.json", Note)
