"""Tables on other file systems: read as a stream, with the same CSV file as from a folder of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import create_csv
import serialize_data
from corpus.remote import fetch
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


def test_one_file_on_a_file_system_of_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://bucket/films.csv", "w") as file:
        file.write(pd.DataFrame(ROWS).to_csv(index=False))
    copy = fetch("memory://bucket/films.csv", tmp_path)
    assert copy == tmp_path / "films/raw/films.csv"
    assert pd.read_csv(copy).to_dict("records") == ROWS


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
