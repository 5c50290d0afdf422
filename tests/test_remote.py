"""Tables on other file systems: read as a stream, with the same CSV file as from a folder of this machine."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import create_csv
import serialize_data
from corpus import parquet, remote
from corpus.frames import as_text
from corpus.origins import Origin, same_address
from corpus.remote import fetch, lines_of_parquet, name_of_table, with_limit
from utils import DataPaths, UserError

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


def fetched_parts(tmp_path: Path, contents: list[bytes], ending: str = ".csv") -> bytes:
    """The copy of a table whose parts are these."""
    (tmp_path / "films").mkdir()
    for number, content in enumerate(contents):
        (tmp_path / f"films/part-{number}{ending}").write_bytes(content)
    return fetch(f"file://{tmp_path}/films/", DataPaths("films", tmp_path / "data")).read_bytes()


def test_byte_order_marks_of_parts_make_no_third_class(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    parts = [frame[first : first + 10].to_csv(index=False).encode("utf-8-sig") for first in range(0, 60, 10)]
    fetched_parts(tmp_path, parts)
    csv_of(tmp_path / "data", f"file://{tmp_path}/films/", "films")
    labels = (tmp_path / "data/films/labels.txt").read_text(encoding="utf-8")
    assert labels.split() == ["bad", "good"]


@pytest.mark.parametrize(
    ("contents", "ending", "expected"),
    [
        ([b"\xef\xbb\xbftext,label\na b,1"], ".csv", b"\xef\xbb\xbftext,label\na b,1"),
        (
            [b"", b"text,label\na b,1", b"", b"c d,2\n", b'e,"label x"'],
            ".csv",
            b'text,label\na b,1\nc d,2\ne,"label x"',
        ),
        ([b"text,label\r\na,1\r\n", b'"text","label"\na,1'], ".csv", b'text,label\r\na,1\r\n"text","label"\na,1'),
        ([b",text,label\n0,a b,1\n", b",c d,2\n"], ".csv", b",text,label\n0,a b,1\n,c d,2\n"),
        ([b"this is one,bad\n", b"this is two,good\n"], ".csv", b"this is one,bad\nthis is two,good\n"),
        ([b'{"a": 1, "b": 2}', b'\xef\xbb\xbf{"b": 2, "a": 1}'], ".jsonl", b'{"a": 1, "b": 2}\n{"b": 2, "a": 1}'),
    ],
)
def test_parts_that_go_together_are_put_together(
    tmp_path: Path, contents: list[bytes], ending: str, expected: bytes
) -> None:
    assert fetched_parts(tmp_path, contents, ending) == expected


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (
            [b"text,label\na b,1", b"label,text\n1,a b"],
            r"part-1.csv has the columns label, text, and .*-0.csv has the co",
        ),
        (
            [b"text,label\na b,1", b"text,label\nc,1", b"text,stars\na b,1"],
            "part-2.csv has the columns text, stars, and",
        ),
        (
            [b"text,label\na b,1", b"Text,Label\na b,1"],
            "part-1.csv has the columns Text, Label, and .*the same first line",
        ),
        ([b"", b"text,label\na b,1", b"label,text\n1,a b"], "part-2.csv has .*part-1.csv has the columns text, label"),
        ([b"text,label\na b,1", b'label,"te\nxt"\n1,a b'], "the columns label, te xt, and"),
        ([b"text,label\na b,1", b"sep=,\nreview,rating\na b,1"], "part-1.csv has the columns review, rating"),
        ([b"this is one,bad\nthis is,bad\nit is,good\n" * 9, b"text,label\nthis,bad\n"], "-0.csv has no header; give"),
        (["text,label\na b,1".encode("utf-16")] * 2, r"part-0.csv is in UTF-16, and a table of several parts"),
    ],
)
def test_parts_with_other_columns_are_refused(tmp_path: Path, contents: list[bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fetched_parts(tmp_path, contents)
    assert not [path for path in tmp_path.glob("data/*/raw/*") if path.is_file()]


def write_nested(path: Path, text: str, rows: int) -> pd.DataFrame:
    frame = pd.DataFrame({"text": [text] * rows, "labels": [["a", text]] * rows, "n": [{"k": text, "m": 1}] * rows})
    frame.to_parquet(path)
    return frame


@pytest.mark.parametrize("bytes_at_once", [1, 100, 16_000_000])
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
    words, one = pa.array(["a", "abc"]).dictionary_encode(), parquet.VALUE
    longest = one + 3
    assert parquet.longest_cell(words) == longest and parquet.longest_cell(pa.array([1, 2])) == one
    assert parquet.longest_cell(pa.array([], pa.string()).dictionary_encode()) == one
    assert parquet.longest_cell(pa.array([b"12345"], pa.binary(5))) == one + 5
    assert parquet.longest_cell(pa.ListArray.from_arrays([0, 2, 6], pa.array([1, 2] * 3))) == one + 4 * one
    assert parquet.longest_cell(pa.FixedSizeListArray.from_arrays(words, 2)) == one + 2 * longest
    assert parquet.longest_cell(pa.StructArray.from_arrays([words, words], ["a", "b"])) == one + 2 * longest
    assert parquet.longest_cell(pa.MapArray.from_arrays([0, 2], words, words)) == one + 2 * 2 * longest
    rows = pa.FixedSizeListArray.from_arrays(pa.array([1, 2, 3, 4]), 2)
    tensors = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int64(), [2]), rows)
    assert parquet.longest_cell(tensors) == parquet.longest_cell(rows) == one + 2 * one


BOMBS: dict[str, Callable[[], dict[str, Any]]] = {
    "text and lists": lambda: {"text": ["word " * 20_000] * 300, "more": [["word " * 20_000]] * 300},
    "many columns": lambda: {f"text {number}": ["word " * 10_000] * 100 for number in range(20)},
    "fixed length": lambda: {"text": pa.array([bytes(50_000)] * 500, pa.binary(50_000))},
    "fixed length in a struct": lambda: {
        "text": pa.array([{"a": bytes(50_000)}] * 500, pa.struct({"a": pa.binary(50_000)}))
    },
    "numbers": lambda: {"text": pa.array([[0] * 20_000] * 200)},
    "numbers in a struct": lambda: {"text": pa.array([{"a": [0] * 20_000}] * 200)},
    "no lists of a fixed length": lambda: {"text": pa.array([None] * 500, pa.list_(pa.int64(), 20_000))},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_parquet_file_of_few_bytes_that_stands_for_many_takes_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: str
) -> None:
    table = pa.table(BOMBS[bomb]())
    pq.write_table(table, tmp_path / "a.parquet")
    names, count = table.column_names, table.num_rows
    del table
    assert (tmp_path / "a.parquet").stat().st_size < 1_000_000
    monkeypatch.setattr(parquet, "BYTES_AT_ONCE", 1_000_000)
    found, rows = parquet.parquet_rows(tmp_path / "a.parquet", "a")
    tracemalloc.start()
    before = most = pa.total_allocated_bytes()
    try:
        for _ in rows:
            most = max(most, pa.total_allocated_bytes())
            count -= 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found, count) == (names, 0)
    assert peak < 2_500_000 and most - before < 5_000_000
    monkeypatch.setattr(parquet, "MOST_GROUP", 1_000)
    with pytest.raises(UserError, match=r"a has a group of rows of .*; save it with smaller ones, or as CSV"):
        list(parquet.parquet_rows(tmp_path / "a.parquet", "a")[1])


def test_ordinary_tables_are_decoded_a_thousand_rows_at_a_time(tmp_path: Path) -> None:
    columns = {"text": ["word " * 100] * 5_000, "labels": [["a", "b"]] * 5_000, "vector": [[0.5] * 300] * 5_000}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert parquet.rows_to_decode(file.metadata, file.schema_arrow, 0, "a", list(columns)) == parquet.ROWS_AT_ONCE


@pytest.mark.parametrize(
    ("names", "columns", "left_out", "message"),
    [
        (["text", "text", "n"], [["a"], ["b"], [1]], None, "^a has more than one column that is called 'text'; rename"),
        (["a", "a.b"], [[{"b": "x"}], ["y"]], [], r"^a has columns whose names overlap \('a.b'\); rename one$"),
    ],
)
def test_two_columns_of_one_name_are_refused(
    tmp_path: Path, names: list[str], columns: list[Any], left_out: list[str] | None, message: str
) -> None:
    pq.write_table(pa.table(list(map(pa.array, columns)), names=names), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=message):
        list(parquet.parquet_rows(tmp_path / "a.parquet", "a", left_out)[1])


def test_one_file_on_a_file_system_of_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://bucket/films.csv", "w") as file:
        file.write(pd.DataFrame(ROWS).to_csv(index=False))
    copy = fetch("memory://bucket/films.csv", DataPaths("films", tmp_path))
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
        fetch(address.format(tmp_path), DataPaths("films", tmp_path / "data"))
    assert not [path for path in tmp_path.glob("data/*/raw/*") if path.is_file()]


def test_other_stages_name_the_command_that_reads_an_address(tmp_path: Path) -> None:
    flags = ["s3://bucket/films.csv", "--data_dir", str(tmp_path)]
    with pytest.raises(UserError, match=r"is an address; run first: python create_csv.py .*; then type films"):
        serialize_data.main(serialize_data.build_parser().parse_args(flags))


def test_another_address_of_the_same_name_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    def run(address: str, *flags: str) -> None:
        command = [address, "--data_dir", str(tmp_path / "data"), *flags]
        create_csv.main(create_csv.build_parser().parse_args(command))

    for folder in ("may", "june"):
        (tmp_path / folder).mkdir()
        rows = [{"text": f"{folder} {number}", "label": "ab"[number % 2]} for number in range(40)]
        pd.DataFrame(rows).to_csv(tmp_path / folder / "films.csv", index=False)
    run(f"file://{tmp_path}/may/films.csv")
    copy = tmp_path / "data/films/raw/films.csv"
    before = copy.read_bytes()
    with pytest.raises(UserError, match=r"films was made from file://.*/may/films.csv, and .*; add --name films-june"):
        run(f"file://{tmp_path}/june/films.csv")
    assert copy.read_bytes() == before
    run(f"file://{tmp_path}/june/films.csv", "--name", "films-june")
    assert b"june" in (tmp_path / "data/films-june/raw/films-june.csv").read_bytes()
    run("films")  # the copy, which keeps its address
    run(f"file://{tmp_path}/may/films.csv")
    with pytest.raises(UserError, match="add --name"):
        run(f"file://{tmp_path}/june/films.csv")


def test_an_address_with_the_name_of_a_published_data_set_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    (tmp_path / "imdb.csv").write_text("text,label\ngood,a\nbad,b\n")
    command = [f"file://{tmp_path}/imdb.csv", "--data_dir", str(tmp_path / "data")]
    with pytest.raises(UserError, match=r"would become the data set imdb, .*; add --name imdb-own"):
        create_csv.main(create_csv.build_parser().parse_args(command))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "same"),
    [
        ("", True),
        ("?retry_limit_seconds=9", True),
        ("?endpoint_override=localhost:9000", False),
        ("?scheme=http", False),
    ],
)
def test_an_address_of_another_store_is_another_one(tmp_path: Path, options: str, same: bool) -> None:
    known: Origin = {"source": "films.csv", "address": "s3://b/films.csv"}
    assert same_address(f"s3://b/films.csv{options}", known, DataPaths("films", tmp_path)) is same


@pytest.mark.parametrize("error", ["one word " * 300, "x" * 3000, "two\nlines"])
def test_a_long_error_of_a_store_becomes_one_line_of_sensible_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    def fail(_: str) -> None:
        raise OSError(error)

    monkeypatch.setattr(remote, "open_file_system", fail)
    with pytest.raises(UserError) as caught:
        fetch(f"s3://bucket/{'folder/' * 200}films.csv", DataPaths("films", tmp_path))
    line = str(caught.value)
    assert (
        "\n" not in line and len(line) < 520 and line.startswith("s3://bucket/folder/") and "check the address" in line
    )
    assert (" word ...)" in line or "one ...)" in line) if " word" in error else "x ...)" in line or "two lines" in line


def test_a_store_of_google_is_not_asked_for_a_quarter_of_an_hour() -> None:
    assert with_limit("s3://b/a.csv") == "s3://b/a.csv"
    assert with_limit("gs://b/a.csv") == "gs://b/a.csv?retry_limit_seconds=60"
    assert with_limit("gs://b/a.csv?scheme=http") == "gs://b/a.csv?scheme=http&retry_limit_seconds=60"
    assert with_limit("gs://b/a.csv?retry_limit_seconds=9") == "gs://b/a.csv?retry_limit_seconds=9"
