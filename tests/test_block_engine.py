"""Tasks on blocks of the CSV file write the bytes that the processes of one machine write; no Ray needed."""

from __future__ import annotations

import contextlib
import csv
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import serialize_data
from config import TextSettings
from corpus.corpora import CSV_COLUMNS, CsvRow, read_csv
from corpus.csv_blocks import Block, csv_blocks, read_block
from serialize_data import serialize
from tests.task_values import Values
from tests.test_serialize_data import SETTINGS, contents, in_small_pieces, make_rows, write_data  # noqa: F401
from text import block_engine, spool
from text.block_engine import BlockEngine
from utils import DataPaths, UserError


@pytest.fixture
def small(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, shards and blocks."""
    monkeypatch.setattr(spool, "CHUNK_CHARACTERS", 6_000)
    monkeypatch.setattr(block_engine, "MERGED_AT_ONCE", 3)
    monkeypatch.setattr(block_engine, "CHUNKS_AT_ONCE", 2)


def in_blocks(
    monkeypatch: pytest.MonkeyPatch, paths: DataPaths, settings: TextSettings, size: int, lossy: bool = False
) -> Values:
    """Serialises with the engine of blocks, each of about ``size`` bytes."""
    cluster = Values(lossy)

    @contextlib.contextmanager
    def opened(engine: str, address: str, workers: int, folder: Path, spool: Path) -> Iterator[BlockEngine]:
        yield BlockEngine(cluster, folder, spool)

    with monkeypatch.context() as patch:
        patch.setattr(serialize_data, "open_engine", opened)
        patch.setattr(block_engine, "SMALLEST_BLOCK", size)
        patch.setattr(block_engine, "BLOCK_BYTES", size)
        serialize(paths, settings, 1)
    return cluster


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("size", [100, 4_000, 10_000_000])
def test_blocks_of_any_size_give_the_bytes_of_the_local_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    rows = make_rows()
    rows[30] = rows[30]._replace(text='He said "no", and\r\nleft.\n\nThen, "yes".' * 40)
    paths = write_data(tmp_path, rows)
    serialize(paths, SETTINGS, 1)
    expected = contents(paths.records)
    cluster = in_blocks(monkeypatch, paths, SETTINGS, size)
    assert contents(paths.records) == expected
    assert {"embeddings.npy", "vocab.txt", "manifest.json"} < expected.keys()
    assert (cluster.calls > 500) == (size == 100)


@pytest.mark.usefixtures("small")
def test_values_that_are_lost_and_made_again_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_data(tmp_path, make_rows()[:60])
    settings = TextSettings(min_count=2, splitter_documents=20, embeddings="random", embedding_dim=4)
    kept = in_blocks(monkeypatch, paths, settings, 4_000).calls
    expected = contents(paths.records)
    assert in_blocks(monkeypatch, paths, settings, 4_000, lossy=True).calls > 2 * kept
    assert contents(paths.records) == expected


@pytest.mark.usefixtures("small")
def test_several_labels_and_a_set_without_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in make_rows() if row.split in ("train", "valid")]
    named = {"negative": '["negative"]', "positive": '["negative", "positive"]'}
    paths = write_data(tmp_path, [row._replace(label=named[row.label]) for row in rows])
    paths.csv_manifest.write_text('{"settings": {"multi_label": true}}', encoding="utf-8")
    settings = TextSettings(min_count=1, splitter_documents=5, embeddings="random", embedding_dim=3)
    serialize(paths, settings, 1)
    expected = contents(paths.records)
    in_blocks(monkeypatch, paths, settings, 3_000)
    assert contents(paths.records) == expected and "label_sets.npy" in expected


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("train/36,train,positive", "train/36,trian,positive"), "line 38: unknown split"),
        (lambda text: text.replace("train/36,", 'train/36,"'), "line 38: .* expected after"),
        (lambda text: text.replace("train/36,train,positive", "train/36,train,odd"), "'odd' in the train split"),
    ],
)
def test_a_damaged_file_is_refused_in_the_words_of_the_local_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[str], str], message: str
) -> None:
    rows = [row._replace(text=" ".join(row.text.split())) for row in make_rows()]
    paths = write_data(tmp_path, rows)
    paths.csv.write_text(damage(paths.csv.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(UserError, match=message) as local:
        serialize(paths, SETTINGS, 1)
    with pytest.raises(UserError) as blocks:
        in_blocks(monkeypatch, paths, SETTINGS, 3_000)
    assert str(blocks.value) == str(local.value) and not paths.records.exists()


def test_a_machine_without_the_file_is_one_line(tmp_path: Path) -> None:
    block = Block(0, 10, 1, ())
    with pytest.raises(
        UserError, match=r"a machine of the Ray cluster cannot read .*films.csv .*; put --data_dir into"
    ):
        block_engine.read_first_of_block(tmp_path / "films.csv", block, TextSettings(), -(1 << 64))


# ---------------------------------------------------------------------------------------------------------------------
# Blocks of a CSV file


def written(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([CSV_COLUMNS, *rows])
    return path


def in_pieces(path: Path, size: int) -> tuple[int, bytes, list[CsvRow]]:
    """The number of blocks, the bytes that were seen, and the documents."""
    seen = bytearray()
    blocks = list(csv_blocks(path, size, seen.extend))
    assert [block.start for block in blocks] == [0, *itertools.accumulate(block.size for block in blocks[:-1])]
    return len(blocks), bytes(seen), [row for block in blocks for row in read_block(path, block)]


def test_blocks_hold_the_rows_of_the_file_whatever_their_texts_are(tmp_path: Path) -> None:
    draw = random.Random(1)
    signs = ['"', '""', ",", "\n", "\r\n", "a", "é", " "]
    for number in range(60):
        cells = ["".join(draw.choices(signs, k=draw.randrange(1, 30))) + "x" for _ in range(20)]
        path = written(tmp_path / f"{number}.csv", [[cell, "train", "good", "1", cell] for cell in cells])
        _, seen, rows = in_pieces(path, draw.randrange(1, 400))
        assert seen == path.read_bytes() and rows == list(read_csv(path))
    assert in_pieces(path, 100)[0] > 5


@pytest.mark.parametrize("text", ['5" nails', 'so "quoted" so', '"'])
def test_marks_within_plain_cells_are_read_as_the_reader_of_the_file_reads_them(tmp_path: Path, text: str) -> None:
    plain = [f'{number},train,good,1,"a\ntext"' for number in range(50)]
    plain[20] = f"20,train,good,1,the {text}"
    path = tmp_path / "films.csv"
    path.write_text("\n".join(["id,split,label,rating,text", *plain, ""]), encoding="utf-8")
    blocks, seen, rows = in_pieces(path, 100)
    assert rows == list(read_csv(path)) and rows[20].text == f"the {text}" and seen == path.read_bytes()
    assert 3 < blocks < 20  # what follows the stray mark is one block


def test_a_byte_order_mark_and_a_last_line_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "films.csv"
    path.write_text('\ufeff"id",split,label,rating,text\n1,train,good,1,a\n2,train,good,1,b', encoding="utf-8")
    blocks, seen, rows = in_pieces(path, 1)
    assert (blocks, [row.id for row in rows]) == (3, ["1", "2"]) and seen == path.read_bytes()


def test_an_empty_file_is_a_block_that_is_refused(tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_bytes(b"")
    with pytest.raises(UserError, match="line 1: no column id"):
        in_pieces(tmp_path / "films.csv", 10)


def test_chunks_end_where_those_of_the_local_engine_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHUNK_DOCUMENTS", 5)
    monkeypatch.setattr(spool, "CHUNK_CHARACTERS", 40)
    draw = random.Random(2)
    for _ in range(200):
        lengths = [draw.choice([1, 3, 20, 39, 40, 90]) for _ in range(draw.randrange(30))]
        rows = [CsvRow(str(number), "train", "good", 1, "x" * length) for number, length in enumerate(lengths)]
        chunks = list(spool.chunks_of(rows, {"good": 0}, ["train"]))
        ends = list(itertools.accumulate(len(chunk.ids) for chunk in chunks))
        found = list(block_engine.chunk_ends(np.array(lengths, np.int64)))
        assert found == ends or [*found, len(lengths)] == ends
