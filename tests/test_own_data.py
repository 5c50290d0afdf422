"""A person's own file: what spreadsheets and scripts leave behind, and what is asked when it is not clear."""

import csv
import io
import json
import os
import tracemalloc
from collections import Counter
from operator import itemgetter
from pathlib import Path
from types import ModuleType

import pytest

import cnn_regions
import create_csv
import document_map
import han_tester
import han_trainer
import linear_baselines
import serialize_data
from config import CsvSettings
from corpus import own_data, parts, tables
from corpus.corpora import CsvRow, read_csv
from corpus.origins import named_data_set, refuse_unread_source
from corpus.own_data import understand
from corpus.tables import open_table
from utils import DataPaths, UserError, dataset_name, read_json

GOOD = [f"A fine film, number {n}; I liked it." for n in range(10)]
BAD = [f"A poor film, number {n}; I left early." for n in range(10)]
ROWS = [(text, label) for pair in zip(GOOD, BAD, strict=True) for text, label in zip(pair, ("pos", "neg"), strict=True)]


def write(path: Path, rows: list[tuple[object, ...]], encoding: str = "utf-8", **dialect: object) -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, **dialect).writerows(rows)
    return path


def run(source: Path | str, folder: Path, *flags: str) -> list[CsvRow]:
    command = [str(source), "--data_dir", str(folder / "data"), *flags]
    create_csv.main(create_csv.build_parser().parse_args(command))
    return list(read_csv(DataPaths(dataset_name(str(source)), folder / "data").csv))


def pairs(rows: list[CsvRow]) -> Counter[tuple[str, str]]:
    return Counter((row.text, row.label) for row in rows)


def refusal(source: Path, **settings: str) -> str:
    with pytest.raises(UserError) as caught:
        understand(source, CsvSettings(**settings))
    message = str(caught.value)
    assert "\n" not in message and str(source) in message
    return message


# ---------------------------------------------------------------------------------------------------------------------
# Files as they come


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_encodings_and_delimiters(tmp_path: Path, encoding: str, delimiter: str) -> None:
    rows = [(f'Größe "{text}"\nnächste Zeile', label) for text, label in ROWS]
    path = write(tmp_path / "mine.csv", [("Text", "Label"), *rows], encoding, delimiter=delimiter)
    assert pairs(run(path, tmp_path)) == Counter(rows)


def test_what_a_spreadsheet_leaves_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Semicolons, Windows-1252, CRLF, line breaks in quotes, ``5,0``, empty rows and columns, a header twice."""
    caplog.set_level("INFO")
    path = tmp_path / "Kunden 2024.csv"
    table = io.StringIO()
    writer = csv.writer(table, delimiter=";", lineterminator="\r\n")
    writer.writerow(["Datum", "Bewertung", "Kommentar", ""])
    for text, label in ROWS:
        writer.writerow(["1.2.2024", {"pos": "5,0", "neg": "1"}[label], f"{text}\nSchön – “so”", ""])
    writer.writerow(["", "", "", ""])
    writer.writerow(["Datum", "Bewertung", "Kommentar", ""])
    writer.writerow(["1.2.2024", "5", "  ", ""])
    writer.writerow(["1.2.2024", "", "nobody rated this", ""])
    path.write_bytes(table.getvalue().encode("cp1252"))
    rows = run(path, tmp_path)
    labelled = [row for row in rows if row.label]
    assert Counter(row.label for row in labelled) == {"1": 10, "5": 10}
    assert all(row.rating == int(row.label) and "–" in row.text for row in labelled)
    assert [(row.split, row.text) for row in rows if not row.label] == [("unlabelled", "nobody rated this")]
    for told in (
        "semicolon-separated, cp1252, 24 rows",
        "text from 'Kommentar', label from 'Bewertung'; not used: Datum",
        "1 x empty row",
        "1 x the header again",
        "1 x no text; line 44",
        "skipped in all: 3 of 24 rows (12.5%)",
        "1 rows have no label",
        "2 classes: 1 (10), 5 (10)",
        "only 4 test documents",
    ):
        assert told in caplog.text


def test_a_file_without_header(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", [(label, text) for text, label in ROWS])
    assert pairs(run(path, tmp_path)) == Counter(ROWS)


def test_the_line_that_excel_writes_for_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", [("text", "label"), *ROWS], delimiter=";")
    path.write_text("sep=;\r\n" + path.read_text(encoding="utf-8"), encoding="utf-8-sig", newline="")
    assert pairs(run(path, tmp_path)) == Counter(ROWS)


def test_tabs_without_quoting_keep_a_lone_quotation_mark(tmp_path: Path) -> None:
    rows = [(('"' if n % 3 else "") + text, label) for n, (text, label) in enumerate(ROWS)]
    path = tmp_path / "mine.tsv"
    path.write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows), encoding="utf-8")
    assert pairs(run(path, tmp_path)) == Counter(rows)


def test_quotes_after_a_backslash(tmp_path: Path) -> None:
    rows = [(f'{text} "so", he said', label) for text, label in ROWS]
    path = write(tmp_path / "mine.csv", [("text", "label"), *rows], escapechar="\\", doublequote=False)
    assert pairs(run(path, tmp_path)) == Counter(rows)


def test_lines_that_end_as_on_an_old_mac(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", [("text", "label"), *ROWS], lineterminator="\r")
    assert pairs(run(path, tmp_path)) == Counter(ROWS)


def test_json_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lines = [json.dumps({"body": text, "stars": {"pos": 5, "neg": 1.0}[label]}) for text, label in ROWS]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join([*lines, "", "{broken"]), encoding="utf-8")
    rows = run(path, tmp_path)
    assert Counter(row.label for row in rows) == {"1": 10, "5": 10}
    assert "1 x not a JSON object; line 22" in caplog.text


@pytest.mark.parametrize("splits", [("",), ("train/", "test/")])
def test_a_folder_per_class(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        for number, (text, label) in enumerate(ROWS):
            file = tmp_path / "mine" / split / label / f"{number}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{text} ({split} é)".encode("cp1252" if number % 2 else "utf-8"))
    (tmp_path / "mine" / splits[0] / "pos" / ".DS_Store").write_bytes(b"\0\1")
    rows = run(tmp_path / "mine", tmp_path)
    assert len(rows) == 20 * len(splits)
    assert all(
        row.id.startswith(f"{row.split}/{row.label}/") for row in rows if splits != ("",) and row.split == "test"
    )
    assert {row.split for row in rows} == {"train", "valid", "test"}
    assert all("é" in row.text and row.rating == {"neg": 1, "pos": 2}[row.label] for row in rows)


def test_names_of_files_and_folders_that_are_not_utf8(tmp_path: Path) -> None:
    for number, (text, label) in enumerate(ROWS):
        folder = os.fsencode(tmp_path / "mine") + (b"/caf\xe9" if label == "neg" else b"/pos")
        try:
            os.makedirs(folder, exist_ok=True)
            Path(os.fsdecode(folder + b"/\xff%d.txt" % number)).write_text(text)
        except OSError:
            pytest.skip("this file system takes names in UTF-8 alone")
    rows = run(tmp_path / "mine", tmp_path)
    assert {row.label for row in rows} == {r"caf\xe9", "pos"}
    expected = {rf"caf\xe9/\xff{number}.txt" for number, (_, label) in enumerate(ROWS) if label == "neg"}
    assert {row.id for row in rows} >= expected


# ---------------------------------------------------------------------------------------------------------------------
# Labels, splits, names


def test_spellings_of_one_class_are_one(tmp_path: Path) -> None:
    rows = [(text, f" {label.upper()} " if n % 5 == 0 else label) for n, (text, label) in enumerate(ROWS)]
    path = write(tmp_path / "mine.csv", [("text", "label"), *rows])
    assert {row.label for row in run(path, tmp_path)} == {"pos", "neg"}


@pytest.mark.parametrize("first", ["pos", "", "n/a"])
def test_the_label_of_a_sorted_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """The first rows have one label or none, and a column ``rating`` that looks like labels."""
    monkeypatch.setattr(own_data, "SAMPLE_RECORDS", 20)
    labels = [first] * 40 + ["neg"] * 40 + ["pos"] * 40
    rows = [(f"{GOOD[n % 10]} {n}", label, n % 5) for n, label in enumerate(labels)]
    path = write(tmp_path / "sorted.csv", [("text", "category", "rating"), *rows])
    corpus, said = understand(path, CsvSettings())
    assert set(corpus.classes[True].values()) == {"neg", "pos"}
    assert any("label could also be 'rating'" in line for line in said)


def test_a_file_is_read_once_more_only_where_its_first_rows_may_hide_the_label(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_data, "SAMPLE_RECORDS", 4)
    mixed = open_table(write(tmp_path / "mixed.csv", [("text", "label"), *ROWS]), "")
    by_class = open_table(write(tmp_path / "by_class.csv", [("text", "label"), *sorted(ROWS, key=itemgetter(1))]), "")
    assert [record.row for record in own_data.sample_of(mixed, CsvSettings())] == [2, 3, 4, 5]
    assert len(own_data.sample_of(by_class, CsvSettings())) == 8
    assert len(own_data.sample_of(by_class, CsvSettings(label_column="label"))) == 4
    drawn = {record.row for record in own_data.random_records(by_class, 10)}
    assert len(drawn) == 10 and max(drawn) > 11  # not the first ones


def test_numbers_are_ordered_as_numbers(tmp_path: Path) -> None:
    rows = [(f"text number {n} of many", n % 12) for n in range(60)]
    run(write(tmp_path / "mine.csv", [("text", "rating"), *rows]), tmp_path)
    assert (tmp_path / "data/mine/labels.txt").read_text().split() == [str(n) for n in range(12)]


def test_words_have_no_order(tmp_path: Path) -> None:
    labels = [("A", "poor"), ("B", "fair"), ("C", "3")]
    rows = [(f"{text}, number {n}", label) for n in range(9) for text, label in labels]
    path = write(tmp_path / "mine.csv", [("Text", "Label"), *rows])
    with pytest.raises(UserError, match=r"--ordinal: the label 'fair' of mine is no number"):
        run(path, tmp_path, "--ordinal")
    assert not (tmp_path / "data" / "mine" / "mine.csv").exists()


def test_two_hundred_classes(tmp_path: Path) -> None:
    rows = [(f"text number {n} of many", f"class {n % 200}") for n in range(1000)]
    written = run(write(tmp_path / "mine.csv", [("text", "label"), *rows]), tmp_path)
    assert {row.label for row in written if row.split == "train"} == {f"class {n}" for n in range(200)}
    assert all(row.label for row in written)


def test_splits_that_are_there_are_kept(tmp_path: Path) -> None:
    words = ["Train", "training", "dev", "TEST"]
    rows = [(text, label, words[n // 2 % 4]) for n, (text, label) in enumerate(ROWS)]
    written = run(write(tmp_path / "mine.csv", [("text", "label", "Split"), *rows]), tmp_path)
    expected = {"Train": "train", "training": "train", "dev": "valid", "TEST": "test"}
    assert {row.text: row.split for row in written} == {text: expected[word] for text, _, word in rows}


def test_splits_that_are_made_are_stratified_repeat_and_part_no_twins(tmp_path: Path) -> None:
    rows = [(f"text number {n // 2} of many", "ab"[n // 2 % 4 == 0]) for n in range(800)]  # each text twice
    path = write(tmp_path / "mine.csv", [("text", "label"), *rows])
    written = run(path, tmp_path)
    assert run(path, tmp_path) == written
    counts = Counter((row.split, row.label) for row in written)
    assert counts["test", "b"] == 40 and counts["test", "a"] == 120
    assert counts["valid", "b"] == 16 and counts["valid", "a"] == 48
    split_of: dict[str, set[str]] = {}
    for row in written:
        split_of.setdefault(row.text, set()).add(row.split)
    assert all(len(splits) == 1 for splits in split_of.values())
    assert run(path, tmp_path, "--split_seed", "2") != written


def test_a_test_split_is_not_cut_from_texts_of_a_validation_split(tmp_path: Path) -> None:
    rows = [(f"text number {n % 100} of many", "ab"[n % 2], "dev" if n < 50 else "train") for n in range(300)]
    written = run(write(tmp_path / "mine.csv", [("text", "label", "split"), *rows]), tmp_path, "--test_share", "0.5")
    valid = {row.text for row in written if row.split == "valid"}
    assert not valid & {row.text for row in written if row.split == "test"}


def test_without_a_test_share_there_is_no_test_split(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.csv", [("text", "label"), *ROWS])
    splits = Counter(row.split for row in run(path, tmp_path, "--test_share", "0"))
    assert set(splits) == {"train", "valid"} and splits.total() == len(run(path, tmp_path))


@pytest.mark.parametrize("in_memory", [5, 1_000])
def test_ids_are_taken_if_they_are_unique_else_rows_are_numbered_as_a_spreadsheet_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(parts, "IN_MEMORY", in_memory)
    monkeypatch.setattr(own_data, "BYTES_OF_IDS", 3 * in_memory)
    rows = [(f"r{n}", text, label) for n, (text, label) in enumerate(ROWS)]
    path = write(tmp_path / "mine.csv", [("id", "text", "label"), *rows])
    assert {row.id for row in run(path, tmp_path)} == {name for name, _, _ in rows}
    write(path, [("id", "text", "label"), ("r3", *rows[0][1:]), *rows[1:]])
    assert {row.id for row in run(path, tmp_path)} == {f"row/{n}" for n in range(2, 22)}


def test_the_name_alone_is_enough_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(write(tmp_path / "mine.csv", [("text", "label"), *ROWS]), tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run("mine", tmp_path) == first
    manifest = read_json(tmp_path / "data/mine/csv_manifest.json")
    assert manifest["source"] == str(tmp_path / "mine.csv") and manifest["understood"]


def test_another_file_of_the_same_name_needs_a_name_of_its_own(tmp_path: Path) -> None:
    for folder in ("may", "june"):
        (tmp_path / folder).mkdir()
    may = write(tmp_path / "may/mine.csv", [("text", "label"), *ROWS])
    first = run(may, tmp_path)
    before = read_json(tmp_path / "data/mine/csv_manifest.json")
    june = write(tmp_path / "june/mine.csv", [("text", "label"), *ROWS, ("another good one", "pos")])
    with pytest.raises(UserError, match=r"mine was made from .*may/mine.csv, and .*june/mine.csv is another file; add"):
        run(june, tmp_path)
    assert read_json(tmp_path / "data/mine/csv_manifest.json") == before
    run(june, tmp_path, "--name", "mine-june")
    second = list(read_csv(tmp_path / "data/mine-june/mine-june.csv"))
    assert len(second) == len(first) + 1 and list(read_csv(tmp_path / "data/mine/mine.csv")) == first
    run("mine-june", tmp_path)  # knows its file
    with pytest.raises(UserError, match=rf"add --name mine-june, the data set made from {june}, or delete .*mine "):
        run(june, tmp_path)
    (tmp_path / "last/june").mkdir(parents=True)
    with pytest.raises(UserError, match=r"add --name mine-2 to keep both, or delete .*mine "):
        run(write(tmp_path / "last/june/mine.csv", [("text", "label"), *ROWS[1:]]), tmp_path)


def test_a_file_that_has_grown_or_was_moved_or_copied_goes_on(tmp_path: Path) -> None:
    for folder in ("may", "june"):
        (tmp_path / folder).mkdir()
    may, june = tmp_path / "may/mine.csv", tmp_path / "june/mine.csv"
    run(write(may, [("text", "label"), *ROWS]), tmp_path)
    june.write_bytes(may.read_bytes())
    assert len(run(june, tmp_path)) == len(ROWS)
    assert len(run(write(june, [("text", "label"), *ROWS, ("another", "pos")]), tmp_path)) == len(ROWS) + 1
    june.rename(tmp_path / "mine.csv")
    write(tmp_path / "mine.csv", [("text", "label"), *ROWS, ("another", "pos"), ("a third", "neg")])
    assert len(run(tmp_path / "mine.csv", tmp_path)) == len(ROWS) + 2


def test_a_name_is_for_own_data_and_a_plain_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--name is for your own data"):
        run("sample", tmp_path, "--name", "other")
    path = write(tmp_path / "mine.csv", [("text", "label"), *ROWS])
    with pytest.raises(UserError, match=r"--name 'a/b' is not a valid folder name: .*--data_dir"):
        run(path, tmp_path, "--name", "a/b")
    with pytest.raises(UserError, match=r"would become the data set imdb, .*; add --name imdb-own"):
        run(path, tmp_path, "--name", "imdb")


def two_files(folder: Path) -> Path:
    """``mine`` of ``january/mine.csv``, and ``may`` of the ``may/mine.csv`` that is returned."""
    for month in ("january", "may"):
        (folder / month).mkdir()
        write(folder / month / "mine.csv", [("text", "label"), *((f"{month}: {text}", label) for text, label in ROWS)])
    run(folder / "january/mine.csv", folder)
    run(folder / "may/mine.csv", folder, "--name", "may")
    return folder / "may/mine.csv"


# How each stage that comes after create_csv.py is told its data set.
STAGES: dict[str, tuple[ModuleType, list[str]]] = {
    "linear_baselines": (linear_baselines, []),
    "serialize_data": (serialize_data, []),
    "han_trainer": (han_trainer, ["--dataset"]),
    "han_tester": (han_tester, ["--dataset"]),
    "document_map": (document_map, ["--dataset"]),
    "cnn_regions": (cnn_regions, ["--dataset"]),
}


@pytest.mark.parametrize("stage", STAGES)
def test_the_next_stage_refuses_a_file_that_its_data_set_was_not_made_from(tmp_path: Path, stage: str) -> None:
    script, flag = STAGES[stage]

    def refused(typed: Path) -> str:
        with pytest.raises(UserError) as caught:
            script.main(script.build_parser().parse_args([*flag, str(typed), "--data_dir", str(tmp_path / "data")]))
        return str(caught.value)

    may = two_files(tmp_path)
    assert f"and {may} is another file; type may, the data set made from {may}" in refused(may)
    (tmp_path / "june").mkdir()
    june = write(tmp_path / "june/mine.csv", [("text", "label"), *ROWS])
    message = refused(june)
    assert f"run first: python create_csv.py {june} " in message
    assert message.endswith(" --name mine-june; then type mine-june")
    paths = DataPaths("imdb", tmp_path / "data")
    paths.folder.mkdir()
    paths.csv.touch()
    imdb = write(tmp_path / "june/imdb.csv", [("text", "label"), *ROWS])
    assert "--name imdb-june; then type imdb-june" in refused(imdb)


def test_the_next_stage_takes_the_name_the_file_and_what_is_in_the_folder_of_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may, paths = two_files(tmp_path), DataPaths("may", tmp_path / "data")
    monkeypatch.chdir(tmp_path)  # in which a folder is called may
    for typed in ("may", "data/may", "data/may/may.csv", "may/gone.csv"):
        refuse_unread_source(typed, paths)
    refuse_unread_source(str(may), paths)
    refuse_unread_source("january/mine.csv", DataPaths("mine", tmp_path / "data"))


def test_the_address_of_a_table_stands_for_its_data_set_whatever_its_options(tmp_path: Path) -> None:
    assert named_data_set("s3://bucket/mine.csv?endpoint_override=localhost:9000&scheme=http", tmp_path) == "mine"


def test_with_a_name_the_source_is_looked_up_by_what_is_typed(tmp_path: Path) -> None:
    two_files(tmp_path)
    with pytest.raises(UserError, match="unknown data set 'typo'"):
        run("typo", tmp_path, "--name", "may")
    with pytest.raises(UserError, match=r"data/may was made from .*/may/mine\.csv, and .*january/mine\.csv is another"):
        run("mine", tmp_path, "--name", "may")
    run("mine", tmp_path, "--name", "june")
    june = DataPaths("june", tmp_path / "data")
    assert read_json(june.csv_manifest)["source"] == str(tmp_path / "january/mine.csv")


@pytest.mark.parametrize(
    ("typed", "name"),
    [("imdb", "imdb"), ("a/b/my_reviews.csv", "my_reviews"), ("x.tar.CSV", "x.tar"), ("my.reviews", "my.reviews")],
)
def test_names(typed: str, name: str) -> None:
    assert dataset_name(typed) == name


def test_texts_survive(tmp_path: Path) -> None:
    odd = ['He said "no", twice', "a\nb\r\nc", "x\u2028y\x85z", "naïve 🎬 \ufeff!", "<br />; | \t tab", "=SUM(A1)"]
    rows = [(f"{text} {n}", "ab"[n % 2]) for n in range(2) for text in odd]
    path = write(tmp_path / "mine.csv", [("text", "label"), *rows], quoting=csv.QUOTE_ALL)
    assert pairs(run(path, tmp_path)) == Counter(rows)


# ---------------------------------------------------------------------------------------------------------------------
# What is asked or refused, in one line with the way out


@pytest.mark.parametrize(
    ("rows", "settings", "words"),
    [
        ([("text", "label"), *((text, "pos") for text, _ in ROWS)], {}, "has one class only (pos)"),
        ([("text", "label"), *((text, ("pos", "nan")[n % 2]) for n, (text, _) in enumerate(ROWS))], {}, "or nan, null"),
        ([("text", "label"), *ROWS, ("odd", "typo")], {}, "'typo' of the label column 'label' has one document"),
        (
            [("review", "comment", "label"), *((text, text[::-1], label) for text, label in ROWS)],
            {},
            "'review' and 'comment' could each be the text; say which: --text_column review",
        ),
        ([("text", "label"), *((n, n % 2) for n in range(20))], {}, "the text column 'text' holds numbers"),
        ([("words", "n", "label"), *((text, 3, label) for text, label in ROWS)], {"text_column": "n"}, "holds numbers"),
        ([("text", "label"), *(("", label) for _, label in ROWS)], {}, "the text column 'text' is empty"),
        ([("text", "label"), *((text, "") for text, _ in ROWS)], {}, "--label_column"),
        ([("text", "when"), *((text, n) for n, (text, _) in enumerate(ROWS))], {}, "no column looks like a label"),
        ([("text", "label"), *((f"{n} words here", n // 2) for n in range(600))], {}, "has 300 different values"),
        ([("text", "label"), *ROWS], {"text_column": "body"}, "no such column; it has: text, label"),
        ([("text", "label", "fold"), *((*row, n % 3) for n, row in enumerate(ROWS))], {"split_column": "3"}, "'fold'"),
        ([("text", "text", "label"), *((t, t, label) for t, label in ROWS)], {"text_column": "text"}, "1 or 2"),
        ([("only one column",), ("x",)], {}, "has one column only"),
        ([("label", "text"), *((label, *text.split()) for text, label in ROWS)], {}, "must be in quotation marks"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_clear(
    tmp_path: Path, rows: list[tuple[object, ...]], settings: dict[str, str], words: str
) -> None:
    assert words in refusal(write(tmp_path / "mine.csv", rows), **settings)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"\n\n , \n", "is empty"),
        ("a.xlsx", b"PK\3\4" + bytes(99), "save it as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(99), "save it as CSV"),
        ("a.csv", b"\x1f\x8b" + bytes(99), "gunzip"),
        ("a.csv", bytes(range(256)) * 9, "is not text"),
        ("a.csv", b"\n<!DOCTYPE html><title>Sign in, please</title>\n<p>a, b\n", "is a web page"),
        ("a.csv", b'"text,label"\r\n"fine,1"\r\n"""a, b"",2"\r\n', "each row is in quotation marks as a whole"),
        ("a.csv", b'text,label\nfine,1\n"never closed,2\nmore,1\n', "line 3: a quotation mark opens here"),
    ],
)
def test_a_file_that_is_no_table(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_file_that_is_not_there_names_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_reviews.csv").touch()
    assert "its folder has: my_reviews.csv" in refusal(tmp_path / "my_review.csv")


def test_a_label_that_only_the_test_split_has(tmp_path: Path) -> None:
    rows = [(text, label, "test" if n > 15 else "train") for n, (text, label) in enumerate(ROWS)]
    path = write(tmp_path / "mine.csv", [("text", "label", "split"), *rows, *([("new words", "new", "test")] * 2)])
    with pytest.raises(UserError, match=r"class new of mine occurs in the test split and not in the train split; corr"):
        run(path, tmp_path)


def test_the_name_of_a_published_data_set_and_the_output_itself_are_refused(tmp_path: Path) -> None:
    assert "which is a published one" in refusal(write(tmp_path / "imdb.csv", [("text", "label"), *ROWS]))
    run(write(tmp_path / "mine.csv", [("text", "label"), *ROWS]), tmp_path)
    with pytest.raises(UserError, match=r"is what create_csv\.py writes"):
        run(tmp_path / "data/mine/mine.csv", tmp_path)


def test_flags_for_own_data_are_refused_elsewhere_and_so_is_a_form_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--text_column is for your own data"):
        run("sample", tmp_path, "--text_column", "x")
    with pytest.raises(UserError, match="4 classes and no form with two"):
        run("ag_news", tmp_path, "True")


def test_a_line_that_never_ends_is_not_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "mine.csv", [("text", "label"), *ROWS, ("x" * 5000, "pos")])
    monkeypatch.setattr(tables, "MAX_TEXT_BYTES", 4000)
    monkeypatch.setattr(tables, "SAMPLE_CHARACTERS", 800)
    assert "a line is longer than" in refusal(path)


def test_half_a_pair_of_surrogates_in_json(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"{text} \ud83d", "label": label}) for text, label in ROWS]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="ascii")
    assert all(row.text.endswith(" ?") for row in run(tmp_path / "mine.jsonl", tmp_path))


@pytest.mark.parametrize("codec", ["klingon", "hex", "ascii"])
def test_an_encoding_that_does_not_fit(tmp_path: Path, codec: str) -> None:
    path = write(tmp_path / "mine.csv", [("text", "label"), *((f"{text} é", label) for text, label in ROWS)])
    with pytest.raises(UserError, match="--encoding"):
        understand(path, CsvSettings(encoding=codec))


def test_chinese_is_read_in_its_encoding_and_never_as_western_european(tmp_path: Path) -> None:
    rows = [(f"这部电影非常好看，第{n}次", "好坏"[n % 2]) for n in range(20)]
    path = write(tmp_path / "mine.csv", [("评论", "标签"), *rows], encoding="gb18030")
    assert "name its --encoding" in refusal(path)
    assert pairs(run(path, tmp_path, "--encoding", "gb18030")) == Counter(rows)


def test_some_bytes_of_another_encoding_do_not_spoil_the_rest(tmp_path: Path) -> None:
    rows = [(f"Größe, Überfluß und Ärger, Nummer {n}", "ab"[n % 2]) for n in range(20)]
    path = write(tmp_path / "mine.csv", [("text", "label"), *rows])
    path.write_bytes(path.read_bytes() + "Größe 21,a\n".encode("cp1252"))
    corpus, told = understand(path, CsvSettings())
    assert [row.text for row in corpus.read(path)][:20] == [text for text, _ in rows]
    assert "2 characters are not UTF-8 and could not be read" in told


def test_memory_does_not_grow_with_the_texts(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        rows = ((f"row {n} " + "some more words " * 40, "ab"[n % 2]) for n in range(count))
        path = write(tmp_path / "mine.csv", [("text", "label"), *rows])
        tracemalloc.start()
        corpus, _ = understand(path, CsvSettings())
        assert sum(1 for _ in corpus.read(path)) == count
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10)
    assert peak(16_000) < peak(4_000) + 500_000  # 12,000 more texts are 7 MB; a sample of both is looked at closely


def test_a_rare_letter_far_down_decides_about_the_encoding(tmp_path: Path) -> None:
    rows = [(f"plain text number {n} of many", "ab"[n % 2]) for n in range(60_000)] + [("café très cher", "a")]
    path = write(tmp_path / "mine.csv", [("text", "label"), *rows], encoding="cp1252")
    corpus, told = understand(path, CsvSettings())
    assert "café très cher" in {row.text for row in corpus.read(path)} and any("cp1252" in line for line in told)


# ---------------------------------------------------------------------------------------------------------------------
# What would be wrong without a word


@pytest.mark.parametrize("above", ["Reviews 2025;;\n;;\n", "Reviews\n\n", "Umfrage;;\nStand: heute;;\n"])
def test_titles_above_the_header_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture, above: str) -> None:
    """As reports are exported, with and without delimiters at the ends of their lines."""
    caplog.set_level("INFO")
    path = write(tmp_path / "mine.csv", [("Nr", "Meinung", "Sterne"), *((9, *row) for row in ROWS)], delimiter=";")
    path.write_bytes(above.encode() + path.read_bytes())
    assert pairs(run(path, tmp_path)) == Counter(ROWS)
    assert "named in row 3; the rows above it are not read" in caplog.text


@pytest.mark.parametrize("header", [("text", ""), ("", "text")])
def test_a_header_with_one_name_is_no_title(tmp_path: Path, header: tuple[str, str]) -> None:
    rows = [row if header[0] else row[::-1] for row in ROWS]
    path = write(tmp_path / "mine.csv", [header, *rows])
    assert pairs(run(path, tmp_path)) == Counter(ROWS)


def test_a_row_that_swallows_the_next_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path = write(tmp_path / "mine.csv", [("text", "label"), *ROWS])
    lines = path.read_text().splitlines()
    lines[5] = lines[5].replace('",', ",")
    path.write_text("\n".join(lines))
    rest = Counter(ROWS) - Counter(ROWS[4:6])
    assert pairs(run(path, tmp_path)) == rest
    assert "skipped: 1 x a quotation mark too few or too many, over several lines; line 6" in caplog.text


def test_a_lone_quotation_mark_within_a_line_harms_nobody(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("text,label\n" + "".join(f'a 5" nail {n},{"ab"[n % 2]}\n' for n in range(20)))
    assert len(run(path, tmp_path)) == 20


def test_a_column_of_splits_that_is_not_used_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = [(*row, ("train", "holdout")[n % 2]) for n, row in enumerate(ROWS)]
    path = write(tmp_path / "mine.csv", [("text", "label", "split"), *rows])
    run(path, tmp_path)
    assert "'split' is not used: it holds 'holdout', which is not train, valid or test" in caplog.text
    assert "such as 'holdout'" in refusal(path, split_column="split")


def test_too_few_texts_for_a_validation_split_are_told_as_such(tmp_path: Path) -> None:
    rows = [("text", "label"), ("fine", "a"), ("poor", "b"), ("good", "a"), ("bad", "b")]
    with pytest.raises(UserError, match=r"valid split of mine holds no labelled document; .* add documents"):
        run(write(tmp_path / "mine.csv", rows), tmp_path)


def test_questions_as_names_of_columns(tmp_path: Path) -> None:
    """As forms are exported: names that are longer than some texts."""
    header = ("What could we do better, and why do you think so?", "Would you, all in all, come to us again?")
    rows = [(text, {"pos": "yes", "neg": "no"}[label]) for text, label in ROWS]
    assert pairs(run(write(tmp_path / "words.csv", [header, *rows]), tmp_path)) == Counter(rows)
    numbers = [(text, {"pos": "5", "neg": "1"}[label]) for text, label in ROWS]
    assert pairs(run(write(tmp_path / "numbers.csv", [header, *numbers]), tmp_path)) == Counter(numbers)


def test_a_name_that_we_know_is_no_header_where_it_occurs_again(tmp_path: Path) -> None:
    rows = [(text, label, "user") for text, label in ROWS]
    assert pairs(run(write(tmp_path / "mine.csv", rows), tmp_path)) == Counter(ROWS)


def test_formulas_that_a_spreadsheet_could_not_compute_are_no_texts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = [("text", "label"), *ROWS, ("#NAME?", "pos"), ("#WERT!", "neg")]
    assert pairs(run(write(tmp_path / "mine.csv", rows), tmp_path)) == Counter(ROWS)
    assert "skipped: 2 x no text; line 22, 23" in caplog.text


def test_a_space_before_a_quotation_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('"label", "text"\n' + "".join(f'"{label}", "{text}"\n' for text, label in ROWS))
    assert pairs(run(path, tmp_path)) == Counter(ROWS)


def test_a_folder_that_holds_no_classes_or_no_text(tmp_path: Path) -> None:
    for name in ("outer/inner/pos/1.txt", "outer/inner/neg/1.txt", "scans/pos/1.pdf", "scans/neg/1.pdf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"%PDF\0" if name.endswith("pdf") else b"Fine.")
    assert f"(is it {tmp_path}/outer/inner?)" in refusal(tmp_path / "outer")
    assert "no text that can be read (2 files that are not text); save each" in refusal(tmp_path / "scans")
