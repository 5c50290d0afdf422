"""Rows in parts, in memory or on the disk: the same rows in the same order."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from corpus import parts
from corpus.parts import HASH_SHIFT, Parts, first_of_equal

ROW = np.dtype([("key", "<u8"), ("value", "<i4")])


def random_rows(count: int, largest: int) -> np.ndarray:
    generator = np.random.default_rng(count)
    rows = np.empty(count, ROW)
    rows["key"] = generator.integers(0, largest, count, np.uint64) << np.uint64(40)
    rows["value"] = np.arange(count)
    return rows


@pytest.mark.parametrize("in_memory", [0, 10, 299, 300, 10_000])
@pytest.mark.parametrize("largest", [3, 1 << 24])
def test_rows_come_back_sorted_and_those_of_equal_keys_as_they_were_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int, largest: int
) -> None:
    monkeypatch.setattr(parts, "IN_MEMORY", in_memory)
    rows = random_rows(300, largest)
    kept = Parts(tmp_path / "not" / "there", ROW, HASH_SHIFT)
    for begin in range(0, 300, 7):
        kept.add(rows[begin : begin + 7])
    expected = rows[np.argsort(rows["key"], kind="stable")]
    pieces = list(kept)
    assert kept.count == 300 and (np.concatenate(pieces) == expected).all()
    assert (len(pieces) > 1) == (in_memory < 300 and largest > 3)
    for one in kept.rewritten():
        one["value"] *= 2
    assert (np.concatenate(list(kept))["value"] == 2 * expected["value"]).all()
    assert not list(tmp_path.iterdir())  # the file has no name


def test_no_rows() -> None:
    assert not list(Parts(Path("."), ROW, HASH_SHIFT))
    assert not list(Parts(Path("."), ROW, HASH_SHIFT).rewritten())


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullDisk:
        def seek(self, _: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            pass

    monkeypatch.setattr(parts, "IN_MEMORY", 10)
    monkeypatch.setattr(parts, "nameless_file", lambda _: FullDisk())
    with pytest.raises(OSError, match="No space left") as caught:
        Parts(tmp_path, ROW, HASH_SHIFT).add(random_rows(11, 100))
    assert caught.value.filename == str(tmp_path)


def test_first_of_equal() -> None:
    assert first_of_equal(np.array([2, 2, 5, 7, 7, 7], np.uint64)).tolist() == [0, 2, 3]
    assert first_of_equal(np.array([], np.uint64)).tolist() == []
