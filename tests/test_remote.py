"""Tables on other file systems: read as a stream, with the same CSV file as from a folder of this machine."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import create_csv
import serialize_data
from corpus import parquet
from corpus.frames import as_text
from corpus.remote import fetch, lines_of_parquet, name_of_table
from utils import UserError

ROWS = [
    {"id": f"r{number}", "text": f'Text {number}, "so"\nto say', "label": ["bad", "good"][number % 2], "stars": number}
    for number in range(60)
]


def csv_of(data_dir: Path, dataset: str, name: str) -> str:
    create_csv.main(create_csv.build_parser().parse_args([dataset, "--data_dir", str(data_dir)]))
    return (data_dir / name / f"{name}.csv").read_text(encoding="utf-8")


def write_parts(folder: Path, ending: str) -> None:
    folder.mkdir()
    for number, first in enumerate(range(0, 60, 20)):
        part = pd.DataFrame(ROWS[first : first + 20])
        path = folder / f"part-{number:05d}{ending}"
        if ending == ".csv":
            part.to_csv(path, index=False)
        elif ending == ".parquet":
            part.astype({"stars": "float"}).to_parquet(path)
        else:
            path.write_text("\n".join(map(json.dumps, ROWS[first : first + 20])), encoding="utf-8")  # no last end
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / ".hidden.csv").write_bytes(b"x")


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_a_folder_of_parts_gives_the_csv_file_of_the_whole_table(tmp_path: Path, ending: str) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "reviews.csv", index=False)
    expected = csv_of(tmp_path / "local", str(tmp_path / "reviews.csv"), "reviews")
    write_parts(tmp_path / "reviews", ending)
    address = f"file://{tmp_path}/reviews/"
    assert csv_of(tmp_path / "remote", address, "reviews") == expected
    assert expected.count("good") == 30
    again = csv_of(tmp_path / "remote", "reviews", "reviews")  # from the copy
    assert again == expected


def write_nested(path: Path, text: str, rows: int) -> pd.DataFrame:
    frame = pd.DataFrame({"text": [text] * rows, "labels": [["a", text]] * rows, "n": [{"k": text, "m": 1}] * rows})
    frame.to_parquet(path)
    return frame


@pytest.mark.parametrize("bytes_at_once", [1, 100, 64_000_000])
def test_rows_of_parquet_are_those_that_pandas_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_at_once: int
) -> None:
    monkeypatch.setattr(parquet, "BYTES_AT_ONCE", bytes_at_once)
    expected = write_nested(tmp_path / "a.parquet", "Ä text", 12)
    with (tmp_path / "a.parquet").open("rb") as file:
        lines = [json.loads(line) for line in lines_of_parquet(file, "a")]
    assert lines == [{name: as_text(cell) for name, cell in row.items()} for row in expected.to_dict("records")]
    left_out: list[str] = []
    names, rows = parquet.parquet_rows(tmp_path / "a.parquet", "a", left_out)
    assert (names, left_out, list(rows)) == (["text"], ["labels", "n"], [("Ä text",)] * 12)


def test_columns_of_all_kinds_have_their_longest_cell() -> None:
    words = pa.array(["a", "abc"]).dictionary_encode()
    assert parquet.longest_cell(words) == 3 and parquet.longest_cell(pa.array([1, 2])) == 1
    assert parquet.longest_cell(pa.array([], pa.string()).dictionary_encode()) == 1
    assert parquet.longest_cell(pa.ListArray.from_arrays([0, 2, 6], pa.array([1, 2] * 3))) == 4
    assert parquet.longest_cell(pa.FixedSizeListArray.from_arrays(words, 2)) == 6
    assert parquet.longest_cell(pa.StructArray.from_arrays([words, words], ["a", "b"])) == 6
    assert parquet.longest_cell(pa.MapArray.from_arrays([0, 2], words, words)) == 12


def test_a_parquet_file_of_few_bytes_that_stands_for_many_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nested(tmp_path / "a.parquet", "word " * 20_000, 500)  # 150 MB
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    monkeypatch.setattr(parquet, "BYTES_AT_ONCE", 1_000_000)
    names, rows = parquet.parquet_rows(tmp_path / "a.parquet", "a")
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    assert sum(len(row[0]) for row in rows) == 500 * 100_000 and names == ["text", "labels", "n"]
    assert tracemalloc.get_traced_memory()[1] < 10_000_000 and pa.total_allocated_bytes() - before < 10_000_000
    tracemalloc.stop()
    monkeypatch.setattr(parquet, "MOST_GROUP", 1_000)
    with pytest.raises(UserError, match=r"a has a group of rows of .*; save it with smaller ones, or as CSV"):
        list(parquet.parquet_rows(tmp_path / "a.parquet", "a")[1])


def test_one_file_on_a_file_system_of_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://bucket/films.csv", "w") as file:
        file.write(pd.DataFrame(ROWS).to_csv(index=False))
    copy = fetch("memory://bucket/films.csv", tmp_path)
    assert copy == tmp_path / "films/raw/films.csv"
    assert pd.read_csv(copy).to_dict("records") == ROWS


@pytest.mark.parametrize(
    "address", ["s3://b/films.parquet", "gs://b/films/", "s3://b/films?endpoint_override=h:1&x=/y"]
)
def test_the_name_of_a_table(address: str) -> None:
    assert name_of_table(address) == "films"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("file://{}/gone", r"gone cannot be read \(.*\); check the address"),
        ("file://{}/mixed", r"mixed has files of the kinds .csv, .jsonl, and one of .csv, .tsv"),
        ("file://{}/empty", "empty has no file, and one of"),
        ("file://{}/broken.parquet", r"broken.parquet cannot be read \("),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path: Path, address: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/a.csv").write_text("x", encoding="utf-8")
    (tmp_path / "mixed/b.jsonl").write_text("x", encoding="utf-8")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=message):
        fetch(address.format(tmp_path), tmp_path / "data")
    assert not [path for path in tmp_path.glob("data/*/raw/*") if path.is_file()]


def test_other_stages_name_the_command_that_reads_an_address(tmp_path: Path) -> None:
    flags = ["s3://bucket/films.csv", "--data_dir", str(tmp_path)]
    with pytest.raises(UserError, match=r"is an address; run first: python create_csv.py .*; then type films"):
        serialize_data.main(serialize_data.build_parser().parse_args(flags))
