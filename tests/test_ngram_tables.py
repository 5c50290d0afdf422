"""The table of n-grams in the run folder: what was saved comes back, and nothing else is taken for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from network.ngrams import NgramTable
from runtime.ngram_tables import read_table, save_table
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from utils import UserError

TABLE = NgramTable(
    np.array([2, 5, 1 << 21 | 3], np.int64),
    np.array([1, 2, 3], np.float32),
    np.arange(6, dtype=np.float32).reshape(3, 2),
    np.array([0.5, -0.5], np.float32),
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    write_tiny_records(tmp_path / "records")
    run = write_tiny_run(tmp_path / "runs" / "tiny-han", tmp_path / "records")
    save_table(run, TABLE)
    return run


def test_a_table_comes_back_as_it_was_saved_and_twice_the_same_bytes(run: RunFolder) -> None:
    found, before = read_table(run), run.ngrams.read_bytes()
    for name in ("keys", "idf", "weights", "bias"):
        saved, read = getattr(TABLE, name), getattr(found, name)
        np.testing.assert_array_equal(read, saved)
        assert read.dtype == saved.dtype
    save_table(run, TABLE)
    assert run.ngrams.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "is damaged"),
        (lambda content: content[:-1] + bytes([content[-1] ^ 1]), "is damaged: it does not have the hash"),
        (lambda content: b"", "is damaged"),
        (lambda content: content.replace(b'\\"sha256', b'\\"sha255'), "is damaged or of another version"),
    ],
)
def test_a_damaged_table_is_refused(run: RunFolder, damage: object, message: str) -> None:
    run.ngrams.write_bytes(damage(run.ngrams.read_bytes()))  # type: ignore[operator]
    with pytest.raises(UserError, match=rf"ngrams.safetensors {message}.*--restart"):
        read_table(run)


def test_a_missing_table_and_that_of_another_run_are_refused(run: RunFolder) -> None:
    run.config_file.write_text(run.config_file.read_text().replace('"seed": ', '"seed": 4'))
    with pytest.raises(UserError, match=r"ngrams.safetensors belongs to another run"):
        read_table(run)
    run.ngrams.unlink()
    with pytest.raises(UserError, match=r"ngrams.safetensors is missing: the run has n-grams.*--restart"):
        read_table(run)
