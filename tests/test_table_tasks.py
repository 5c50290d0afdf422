"""create_csv.py with tasks that read blocks of a table writes the bytes of one process; no Ray needed."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

import create_csv
from config import CsvSettings
from corpus import own_data, parquet, readings, splits
from corpus.csv_blocks import table_blocks
from corpus.runners import Runner
from corpus.tables import TableBlock, open_table, records
from tests.task_values import Values
from text import block_engine
from text.table_tasks import TableTasks
from utils import UserError, dataset_name

Source = Callable[[Path], Path]
WORDS = ["fine", "dull", "a “so”", 'he said "no"', "left.\n\nThen", "x;y", "1,5", "Größe", "end\r\nof it", "\ttab"]


def made_rows(count: int = 180) -> list[dict[str, object]]:
    """Documents of which one in six has the text of another."""
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=draw.randrange(2, 12))) for _ in range(count)]
    for place in range(0, count, 6):
        texts[place] = draw.choice(texts)
    return [
        {"id": f"d{n}", "text": text, "label": draw.choice(["good", "bad", "Good"]), "no": n}
        for n, text in enumerate(texts)
    ]


def table(ending: str = ".csv", encoding: str = "utf-8", more: str = "", **form: object) -> Source:
    """A table with a delimiter."""

    def write(folder: Path) -> Path:
        path = folder / f"films{ending}"
        with path.open("w", newline="", encoding=encoding, errors="replace") as file:
            writer = csv.DictWriter(file, ["text", "no", "label", "id"], **form)  # type: ignore[arg-type]
            writer.writeheader()
            writer.writerows(made_rows())
            file.write(more)
        return path

    return write


def spoilt(path: Path) -> Path:
    """A table with rows that are skipped, each of another kind, and a row that cannot be cut off near the end."""
    lines = path.read_text(encoding="utf-8").replace("\r\n", "\n").split("\n")
    lines[40:40] = ["", "one cell", "text,no,label,id", ",1,good,e1", 'a "part" of it,2,good,e2', ",,,"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def without_quoting(folder: Path) -> Path:
    lines = ['"' * (n % 3) + f"Film number {n} of many\t{['good', 'bad'][n % 2]}" for n in range(180)]
    (folder / "films.tsv").write_text("\n".join(["text\tlabel", *lines]), encoding="utf-8")
    return folder / "films.tsv"


def with_splits(folder: Path) -> Path:
    frame = pd.DataFrame(made_rows())
    frame["split"] = ["test" if n % 5 == 0 else "train" for n in range(len(frame))]
    frame.loc[7, "label"] = None
    frame.to_csv(folder / "films.csv", index=False)
    return folder / "films.csv"


def sorted_by_label(folder: Path) -> Path:
    pd.DataFrame(made_rows()).sort_values("label").drop(columns="id").to_csv(folder / "films.csv", index=False)
    return folder / "films.csv"


def json_lines(folder: Path) -> Path:
    lines = [
        json.dumps({**row, "evidence": str(row["text"])[:4]}, ensure_ascii=n % 2 > 0)
        for n, row in enumerate(made_rows())
    ]
    lines[120:120] = ["", "no JSON", *[""] * 5]
    lines[30:30] = ["", "no JSON", "[1]", json.dumps({"text": "Half \ud83d", "label": "good", "evidence": "not there"})]
    (folder / "films.jsonl").write_text("\r\n".join(lines), encoding="utf-8-sig", newline="")
    return folder / "films.jsonl"


def packed(folder: Path) -> Path:
    path = folder / "films.csv.gz"
    path.write_bytes(gzip.compress(table()(folder).read_bytes()))
    return path


def with_sub_folders(folder: Path) -> Path:
    for row in made_rows(40):
        (folder / f"films/{row['label']}").mkdir(parents=True, exist_ok=True)
        (folder / f"films/{row['label']}/{row['id']}.txt").write_text(str(row["text"]), encoding="utf-8")
    return folder / "films"


# A source, its flags, and the tasks that there are at least with small blocks.
SOURCES: dict[str, tuple[Source, list[str], int]] = {
    "commas": (table(), [], 50),
    "semicolons, letters of one byte": (table(delimiter=";", encoding="cp1252"), ["--encoding", "cp1252"], 50),
    "a mark at the beginning": (table(".tsv", "utf-8-sig", delimiter="\t", quoting=csv.QUOTE_ALL), [], 50),
    "no quoting": (without_quoting, [], 50),
    "bytes that are not UTF-8": (table(encoding="cp1252"), [], 50),
    "no last line end": (table(more="so, it was,301,good,z"), ["--valid_share", "0.3"], 50),
    "skipped rows": (lambda folder: spoilt(table()(folder)), [], 6),
    "splits": (with_splits, ["--drop_seen", "True"], 50),
    "sorted": (sorted_by_label, [], 50),
    "several labels": (table(), ["--multi_label", "True"], 50),
    "JSON lines, evidence": (json_lines, [], 50),
    "two bytes a letter": (table(encoding="utf-16"), [], 0),
    "backslashes": (table(doublequote=False, escapechar="\\"), [], 0),
    "compressed": (packed, [], 0),
    "folders": (with_sub_folders, [], 0),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few documents at once, wherever some are kept."""
    for module, name, value in (
        (splits, "AT_ONCE", 16),
        (readings, "PIECE", 500),
        (readings, "EVIDENCE_AT_ONCE", 20),
        (own_data, "BYTES_OF_IDS", 80),
        (own_data, "SAMPLE_RECORDS", 30),
        (parquet, "ROWS_AT_ONCE", 7),
    ):
        monkeypatch.setattr(module, name, value)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def create(source: str, folder: Path, flags: list[str]) -> dict[str, bytes]:
    """Runs the script; the files of the data set."""
    create_csv.main(create_csv.build_parser().parse_args([source, "--data_dir", str(folder / "data"), *flags]))
    return contents(folder / "data" / dataset_name(source.rstrip("/")))


def create_in_tasks(
    monkeypatch: pytest.MonkeyPatch, source: str, folder: Path, flags: list[str], size: int, lossy: bool = False
) -> tuple[dict[str, bytes], Values]:
    """The same with tasks that read blocks of about ``size`` bytes."""
    cluster = Values(lossy)

    @contextlib.contextmanager
    def opened(engine: str, address: str) -> Iterator[Runner]:
        yield TableTasks(cluster)

    with monkeypatch.context() as patch:
        patch.setattr(create_csv, "open_runner", opened)
        patch.setattr(block_engine, "SMALLEST_BLOCK", size)
        patch.setattr(block_engine, "BLOCK_BYTES", size)
        return create(source, folder, flags), cluster


@pytest.mark.parametrize("name", SOURCES)
def test_blocks_of_any_table_give_the_files_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write, flags, least = SOURCES[name]
    source = str(write(tmp_path))
    expected = create(source, tmp_path, flags)
    assert len(expected["films.csv"]) > 1_000 and "csv_manifest.json" in expected
    for size in (300, 5_000)[: 1 + (name == "commas")]:
        found, cluster = create_in_tasks(monkeypatch, source, tmp_path, flags, size)
        assert found == expected
        assert size > 300 or (cluster.calls >= least and bool(cluster.calls) == bool(least))


def test_lines_of_skipped_rows_are_put_together(tmp_path: Path) -> None:
    said = own_data.understand(json_lines(tmp_path), CsvSettings(), tmp_path)[1]
    assert "skipped: 7 x empty row; line 31, 125, 127, 128, 129, ..." in said
    assert "skipped: 3 x not a JSON object; line 32, 33, 126" in said


def test_values_that_are_lost_and_made_again_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(with_splits(tmp_path))
    expected = create(source, tmp_path, [])
    assert create_in_tasks(monkeypatch, source, tmp_path, [], 8_000, lossy=True)[0] == expected


@pytest.mark.parametrize(
    ("more", "flags", "message"),
    [
        ('"never closed,9,good,y\n' * 3, [], r"films.csv, line \d+: a quotation mark opens here and is never closed"),
        ("again,9,good,d7\n", ["--label_column", "text", "--text_column", "id"], "has one document each|different val"),
        ("\0,9,good,y\n", [], ""),
        ("", ["--text_column", "stars"], "--text_column 'stars'"),
    ],
)
def test_errors_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str, flags: list[str], message: str
) -> None:
    source = str(table(more=more)(tmp_path))
    found = []
    for size in (0, 300):
        try:
            files = (
                create_in_tasks(monkeypatch, source, tmp_path, flags, size)[0]
                if size
                else create(source, tmp_path, flags)
            )
            found.append(str(sorted(files.items())))
        except UserError as error:
            found.append(str(error))
            assert message
    assert found[0] == found[1]


@pytest.mark.parametrize(("size", "more"), [(0, False), (300, False), (300, True)])
def test_a_table_that_is_cut_off_or_grows_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, more: bool
) -> None:
    row = b"plain,1,good,z\r\n"
    source, choose = table(more=row.decode())(tmp_path), create_csv.choose_splits

    def change(*arguments: object) -> None:
        choose(*arguments)  # type: ignore[arg-type]
        before = source.read_bytes()
        source.write_bytes(before + row if more else before[: -len(row)])

    monkeypatch.setattr(create_csv, "choose_splits", change)
    with pytest.raises(UserError, match=r"films.csv was changed while it was read; run the same command again"):
        create_in_tasks(monkeypatch, str(source), tmp_path, [], size) if size else create(str(source), tmp_path, [])


def test_a_machine_without_the_table_is_one_line(tmp_path: Path) -> None:
    opened = open_table(table()(tmp_path), "")
    [*_, last] = table_blocks(opened, 300)
    (tmp_path / "films.csv").unlink()
    with pytest.raises(UserError, match=r"a machine of the Ray cluster cannot read .*films.csv \(No such file"):
        list(records(opened, last))


@pytest.mark.parametrize("broken", [False, True])
def test_groups_of_rows_of_parquet_at_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    (tmp_path / "films").mkdir()
    for number in range(3):
        part = pd.DataFrame(made_rows()[60 * number :][:60]).assign(no=[None, 1.5] * 30)
        part.to_parquet(tmp_path / f"films/part-{number}.parquet", row_group_size=10)
    if broken:
        damaged = bytearray((tmp_path / "films/part-1.parquet").read_bytes())
        damaged[100:400] = bytes(300)
        (tmp_path / "films/part-1.parquet").write_bytes(damaged)
    address = f"file://{tmp_path}/films/"
    if broken:
        messages = []
        for tasks in (False, True):
            with pytest.raises(UserError, match=r"films/ cannot be read \(") as caught:
                create_in_tasks(monkeypatch, address, tmp_path, [], 3_000) if tasks else create(address, tmp_path, [])
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
        return
    expected = create(address, tmp_path, [])
    files, cluster = create_in_tasks(monkeypatch, address, tmp_path, [], 3_000)
    assert files == expected and "raw/films.jsonl" in files and cluster.calls > 18


def test_records_of_blocks_are_those_of_the_table(tmp_path: Path) -> None:
    """Whatever its texts are: also carriage returns, byte order marks, quotation marks where no writer puts them."""
    draw, cut = random.Random(2), 0
    signs = ['"', '""', ",", "\n", "\r\n", "\r", "a", "é", " ", "\ufeff"]
    for number in range(80):
        path = tmp_path / f"{number}.csv"
        plain = number % 4 == 0  # as nobody has quoted it
        cells = ["".join(draw.choices(signs, k=draw.randrange(1, 30))) + "x" for _ in range(40)]
        with path.open("w", newline="", encoding=draw.choice(["utf-8", "utf-8-sig"])) as file:
            writer = csv.writer(file, lineterminator=draw.choice(["\n", "\r\n"]))
            writer.writerows([["text", "label"], *([cell, "good"] for cell in cells[:20])])
            if plain:
                file.write("".join(f"{cell},good\n" for cell in cells[20:]))
        opened = open_table(path, "")
        blocks = list(table_blocks(opened, draw.randrange(1, 200)))
        expected, found = list(quiet(opened, None)), [record for block in blocks for record in quiet(opened, block)]
        assert found == expected
        cut += len(blocks) > 5
    assert cut > 30


def quiet(opened: object, block: TableBlock | None) -> Iterator[object]:
    """Records, then the error that ends them."""
    try:
        yield from records(opened, block)  # type: ignore[arg-type]
    except UserError as error:
        yield str(error)


def test_data_that_are_no_table_of_a_person_are_refused(tmp_path: Path) -> None:
    flags = ["--data_dir", str(tmp_path), "--engine", "ray"]
    for dataset, message in (("imdb", "imdb is none; leave --engine out"), ("imbd", "unknown data set 'imbd'")):
        with pytest.raises(UserError, match=f"needs the package ray|{message}"):
            create_csv.main(create_csv.build_parser().parse_args([dataset, *flags]))
