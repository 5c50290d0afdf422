"""create_csv.py: splits, refusals, reports, and files that appear whole or not at all."""

import dataclasses
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any

import pytest

import create_csv
from corpus import corpora, parts, splits
from corpus.corpora import CsvRow, is_ordinal, read_csv
from corpus.parts import nameless_file
from utils import DataPaths, UserError, exclusive_lock, read_json, read_jsonl, sha256_of_file

ROOT = Path(__file__).resolve().parent.parent

RATINGS = ["1", "2", "3", "4", "7", "8", "9", "10"]
Reviews = dict[str, str]  # member name, without folder and ending: text


def small_imdb(seed: int = 1) -> Reviews:
    """40 reviews of each class and split with ratings of all kinds, and 30 unlabelled ones."""
    random = Random(seed)
    reviews: Reviews = {}
    for split, shift in (("train", 0), ("test", 1)):
        for folder, ratings in (("neg", (1, 2, 3, 4)), ("pos", (7, 8, 9, 10))):
            for number in range(40):
                name = f"{split}/{folder}/{number}_{ratings[(number + shift) % 4]}"
                reviews[name] = f"Review {name}: {random.random()}"
    return reviews | {f"train/unsup/{number}_0": f"Unlabelled {random.random()}" for number in range(30)}


def write_archive(paths: DataPaths, reviews: Iterable[tuple[str, str]]) -> Path:
    paths.raw.mkdir(parents=True, exist_ok=True)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, text in reviews:
            info = tarfile.TarInfo(f"aclImdb/{name}.txt")
            content = text.encode()
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive = paths.raw / "aclImdb_v1.tar.gz"
    archive.write_bytes(gzip.compress(file.getvalue(), mtime=0))
    return archive


def run(paths: DataPaths, *arguments: object) -> list[CsvRow]:
    command = [paths.dataset, "--data_dir", str(paths.data_dir), *map(str, arguments)]
    create_csv.main(create_csv.build_parser().parse_args(command))
    return list(read_csv(paths.csv))


def convert(paths: DataPaths, reviews: Reviews, *arguments: object) -> list[CsvRow]:
    write_archive(paths, reviews.items())
    return run(paths, *arguments)


def refuse(paths: DataPaths, reviews: Reviews, *arguments: object) -> str:
    with pytest.raises(UserError) as caught:
        convert(paths, reviews, *arguments)
    assert "\n" not in str(caught.value)
    assert not paths.csv.exists() and not paths.csv_manifest.exists()
    return str(caught.value)


def valid_ids(rows: Iterable[CsvRow]) -> set[str]:
    return {row.id for row in rows if row.split == "valid"}


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return DataPaths("imdb", tmp_path / "data")


# ---------------------------------------------------------------------------------------------------------------------
# What is written


def test_two_classes(paths: DataPaths) -> None:
    reviews = small_imdb()
    rows = convert(paths, reviews, "True")
    assert {row.id: row.text for row in rows} == reviews
    assert paths.labels.read_text() == "negative\npositive\n"
    assert Counter((row.split, row.label) for row in rows) == {
        ("train", "negative"): 36,
        ("train", "positive"): 36,
        ("valid", "negative"): 4,
        ("valid", "positive"): 4,
        ("test", "negative"): 40,
        ("test", "positive"): 40,
        ("unlabelled", ""): 30,
    }
    for row in rows:
        folder, stars = row.id.split("/")[1], int(row.id.rpartition("_")[2])
        assert row.label == {"neg": "negative", "pos": "positive", "unsup": ""}[folder]
        assert row.rating == stars


@pytest.mark.parametrize("arguments", [("False",), ("no",), ("--binary", "0")])
def test_every_rating_a_class(paths: DataPaths, arguments: tuple[str, ...]) -> None:
    rows = convert(paths, small_imdb(), *arguments)
    assert paths.labels.read_text().split() == RATINGS
    assert all(row.label == ("" if row.split == "unlabelled" else str(row.rating)) for row in rows)
    assert Counter(row.label for row in rows if row.split == "valid") == dict.fromkeys(RATINGS, 1)


def test_ordered_classes_are_recorded_and_suggested(paths: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="han"):
        plain = convert(paths, small_imdb(), "False")
    assert "--ordinal also reports the error in steps" in caplog.text
    sha256 = sha256_of_file(paths.csv)
    assert not is_ordinal(paths, sha256)
    assert convert(paths, small_imdb(), "False", "--ordinal") == plain
    assert is_ordinal(paths, sha256) and not is_ordinal(paths, "of another file")
    with pytest.raises(UserError, match=r"--ordinal needs three classes or more, and imdb has 2; leave it out"):
        convert(paths, small_imdb(), "True", "--ordinal")


def test_two_classes_are_the_default(paths: DataPaths) -> None:
    assert {row.label for row in convert(paths, small_imdb())} == {"negative", "positive", ""}


def test_the_positional_word_wins_over_the_flag(paths: DataPaths) -> None:
    assert "10" in {row.label for row in convert(paths, small_imdb(), "False", "--binary", "True")}


def test_texts_survive_the_csv_file(paths: DataPaths) -> None:
    reviews = small_imdb()
    odd = [
        'He said "no", twice',
        "a\nb\r\nc\rd",
        "x\u2028y\u2029z\x85",
        ' "',
        ",",
        "naïve 🎬 \ufeff",
        "<br /><br />",
        "\t tab ",
    ]
    reviews.update(zip(list(reviews)[3:], odd, strict=False))
    assert {row.id: row.text for row in convert(paths, reviews)} == reviews
    content = paths.csv.read_bytes()
    assert content.startswith(b"id,split,label,rating,text\r\n") and content.endswith(b"\r\n")


def test_the_manifest_tells_settings_counts_and_hashes(paths: DataPaths) -> None:
    archive = write_archive(paths, small_imdb().items())
    run(paths, "True", "--valid_share", "0.25", "--split_seed", "7")
    manifest = read_json(paths.csv_manifest)
    assert manifest["format_version"] == 1
    settings = {"binary": True, "valid_share": 0.25, "split_seed": 7}
    assert settings.items() <= manifest["settings"].items()
    assert manifest["splits"]["train"] == {
        "documents": 60,
        "distinct_texts": 60,
        "classes": {"negative": 30, "positive": 30},
    }
    assert manifest["splits"]["unlabelled"] == {"documents": 30, "distinct_texts": 30, "classes": {}}
    assert manifest["csv_sha256"] == sha256_of_file(paths.csv)
    assert manifest["source_sha256"] == sha256_of_file(archive)
    assert manifest["labels"] == ["negative", "positive"]


def test_the_same_command_writes_the_same_bytes(paths: DataPaths) -> None:
    convert(paths, small_imdb())
    first = {file: file.read_bytes() for file in (paths.csv, paths.labels, paths.csv_manifest)}
    run(paths)
    assert {file: file.read_bytes() for file in first} == first


@pytest.mark.parametrize("flags", [(), ("--drop_seen",), ("False", "--valid_share", "0.4")])
def test_documents_on_the_disk_give_the_bytes_of_those_in_memory(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    reviews = small_imdb()
    reviews["test/pos/0_8"] = reviews["train/pos/0_7"]
    reviews["train/neg/5_2"] = reviews["train/unsup/7_0"] = reviews["train/neg/4_1"]
    convert(paths, reviews, *flags)
    expected = paths.csv.read_bytes(), read_json(paths.csv_manifest)
    monkeypatch.setattr(parts, "IN_MEMORY", 30)
    monkeypatch.setattr(splits, "NUMBER_SHIFT", 4)
    monkeypatch.setattr(splits, "AT_ONCE", 9)
    files: list[Path] = []
    monkeypatch.setattr(parts, "nameless_file", lambda folder: files.append(folder) or nameless_file(folder))
    run(paths, *flags)
    assert (paths.csv.read_bytes(), read_json(paths.csv_manifest)) == expected
    assert files == [paths.folder] * 3  # ids, texts and codes
    assert {file.name for file in paths.folder.iterdir() if not file.name.startswith(".")} == {
        *("imdb.csv", "labels.txt", "csv_manifest.json", "raw"),
    }


def test_sample_needs_no_archive_and_writes_its_evidence(tmp_path: Path) -> None:
    paths = DataPaths("sample", tmp_path)
    rows = run(paths)
    evidence = {line["id"]: line["evidence"] for line in read_jsonl(paths.evidence)}
    assert evidence.keys() == {row.id for row in rows}
    assert all(row.text[start:end].strip() for row in rows for start, end in evidence[row.id])
    assert not paths.raw.exists()
    written = {".create_csv.lock", "sample.csv", "labels.txt", "evidence.jsonl", "csv_manifest.json"}
    assert {file.name for file in paths.folder.iterdir()} == written


# ---------------------------------------------------------------------------------------------------------------------
# Validation


def test_the_choice_does_not_depend_on_the_order_of_the_rows(paths: DataPaths) -> None:
    reviews = small_imdb()
    chosen = valid_ids(convert(paths, reviews))
    shuffled = list(reviews.items())
    Random(2).shuffle(shuffled)
    assert valid_ids(convert(paths, dict(shuffled))) == chosen


def test_the_seed_draws_the_choice(paths: DataPaths) -> None:
    chosen = [valid_ids(convert(paths, small_imdb(), "--split_seed", seed)) for seed in (1, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len({frozenset(ids) for ids in chosen}) == 3


def test_the_choice_is_the_same_on_every_machine_and_in_every_version(paths: DataPaths) -> None:
    """The lowest keyed hashes of each class, as anyone can compute them: results are compared across versions."""
    names = [f"{split}/{folder}" for split in ("train", "test") for folder in ("neg/{}_2", "pos/{}_8")]
    reviews = {name.format(number): f"{name} {number}" for name in names for number in range(10)}
    expected = set()
    for folder in ("train/neg", "train/pos"):
        ids = [name for name in reviews if name.startswith(folder)]
        expected |= set(
            sorted(ids, key=lambda name: blake2b(reviews[name].encode(), digest_size=8, key=b"5").digest())[:2]
        )
    assert valid_ids(convert(paths, reviews, "--valid_share", "0.2", "--split_seed", "5")) == expected


def test_the_test_split_is_never_touched(paths: DataPaths) -> None:
    rows = convert(paths, small_imdb(), "--valid_share", "0.9")
    for row in rows:
        publisher = "unlabelled" if "unsup" in row.id else row.id.split("/")[0]
        assert row.split == publisher or (publisher == "train" and row.split == "valid")


def test_no_validation_split_if_none_is_wanted(paths: DataPaths) -> None:
    rows = convert(paths, small_imdb(), "--valid_share", "0")
    assert {row.split for row in rows} == {"train", "test", "unlabelled"}
    assert "valid" not in read_json(paths.csv_manifest)["splits"]


def test_equal_texts_stay_on_one_side(paths: DataPaths) -> None:
    reviews = small_imdb()
    for number in range(0, 40, 2):  # every text twice, once with other white space
        for folder, stars in (("neg", (1, 2, 3, 4)), ("pos", (7, 8, 9, 10))):
            one = f"train/{folder}/{number}_{stars[number % 4]}"
            other = f"train/{folder}/{number + 1}_{stars[(number + 1) % 4]}"
            reviews[other] = " " + reviews[one].replace(" ", "\n\t ")
    for seed in range(5):
        rows = convert(paths, reviews, "--split_seed", seed, "--valid_share", "0.3")
        sides: dict[str, set[str]] = {}
        for row in rows:
            if row.split in ("train", "valid"):
                sides.setdefault(" ".join(row.text.split()), set()).add(row.split)
        assert len(sides) == 40 and all(len(side) == 1 for side in sides.values())
        assert Counter(row.label for row in rows if row.split == "valid") == {"negative": 12, "positive": 12}


# ---------------------------------------------------------------------------------------------------------------------
# Report


def test_the_report(paths: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    reviews = small_imdb()
    reviews["test/pos/0_8"] = reviews["train/pos/0_7"] + "\n"  # a test text in train
    reviews["test/pos/1_9"] = reviews["train/unsup/0_0"]  # and one in unlabelled
    reviews["test/neg/0_2"] = reviews["test/neg/1_3"]  # a repeat within test
    reviews["train/unsup/1_0"] = reviews["train/unsup/2_0"] = reviews["train/neg/5_2"]
    reviews["train/neg/6_3"] = reviews["train/pos/6_9"]  # two labels
    caplog.set_level("INFO")
    rows = convert(paths, reviews)
    lines = [" ".join(record.getMessage().split()) for record in caplog.records]
    counts = Counter((row.split, row.label) for row in rows)
    assert "train valid test unlabelled" in lines
    assert "documents 72 8 80 30" in lines
    for label in ("negative", "positive"):
        train, valid = counts["train", label], counts["valid", label]
        assert f"class {label} {train} {train / 72:.1%} {valid} {valid / 8:.1%} 40 50.0% -" in lines
    assert "79 distinct texts in train and valid together; none is in both" in lines
    assert "1 test documents have a text that is also in train or valid" in lines
    assert "1 test documents have a text that is also in unlabelled" in lines
    assert "2 unlabelled documents repeat a text of train or valid" in lines
    assert "1 texts in train or valid have several labels" in lines
    assert "190 documents; the publisher states 100,000" in lines
    assert read_json(paths.csv_manifest)["splits"]["test"]["distinct_texts"] == 79
    assert read_json(paths.csv_manifest)["splits"]["unlabelled"]["distinct_texts"] == 29


def with_seen_texts() -> Reviews:
    """Two test texts are in train, one of them in other white space; one is unlabelled, one occurs twice in test."""
    reviews = small_imdb()
    reviews["test/pos/0_8"] = reviews["train/pos/0_7"].replace(" ", "\n ")
    reviews["test/neg/4_2"] = reviews["train/pos/1_8"]  # of another class
    reviews["test/pos/1_9"] = reviews["train/unsup/0_0"]
    reviews["test/neg/0_2"] = reviews["test/neg/1_3"]
    return reviews


def test_test_documents_whose_text_is_in_train_or_validation_are_named(paths: DataPaths) -> None:
    for share in ("0.1", "0.9"):  # with 0.9 the two are in validation
        convert(paths, with_seen_texts(), "--valid_share", share)
        manifest = read_json(paths.csv_manifest)
        assert sorted(manifest["seen_test_documents"]) == ["test/neg/4_2", "test/pos/0_8"]
        assert manifest["test_documents_in_train_or_valid"] == 2 and manifest["left_out_seen"] == 0
    convert(paths, small_imdb())
    assert read_json(paths.csv_manifest)["seen_test_documents"] == []


def test_seen_texts_are_dropped_from_all_splits_but_test(paths: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    reviews = with_seen_texts()
    caplog.set_level("INFO")
    rows = convert(paths, reviews, "--drop_seen")
    assert reviews.keys() - {row.id for row in rows} == {"train/pos/0_7", "train/pos/1_8", "train/unsup/0_0"}
    assert Counter(row.split for row in rows)["test"] == 80
    texts = {split: {" ".join(row.text.split()) for row in rows if row.split == split} for split in corpora.SPLITS}
    assert not texts["test"] & (texts["train"] | texts["valid"] | texts["unlabelled"])
    manifest = read_json(paths.csv_manifest)
    assert manifest["seen_test_documents"] == [] and manifest["left_out_seen"] == 3
    assert "3 documents are left out: their text is also in test" in caplog.text
    assert "their rating belongs to no class" not in caplog.text


def test_the_columns_of_the_table_are_aligned(paths: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    convert(paths, small_imdb(), "False")
    start = next(place for place, record in enumerate(caplog.records) if "unlabelled" in record.getMessage())
    table = [record.getMessage() for record in caplog.records[start : start + 11]]
    assert table[1].startswith("documents") and table[-1].startswith("class 10")
    assert table[1].index("72") + 2 == table[2].index("72") + 2 == table[3].index(" 9 ") + 2
    assert all(line == line.rstrip() for line in table)


def test_documents_without_text_are_left_out_and_counted(paths: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    reviews = small_imdb() | {"train/pos/0_7": "", "test/neg/0_2": " \n\u3000"}
    caplog.set_level("INFO")
    rows = convert(paths, reviews)
    assert {"train/pos/0_7", "test/neg/0_2"} == reviews.keys() - {row.id for row in rows}
    assert "2 documents are left out: their text is empty" in caplog.text
    assert read_json(paths.csv_manifest)["left_out_without_text"] == 2


def test_documents_outside_all_classes_are_left_out_and_counted(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a data set of five stars needs when only 1 and 5 become classes."""
    extremes = {True: {1: "worst", 10: "best"}, False: {}}
    corpus = dataclasses.replace(corpora.find_corpus("imdb"), classes=extremes)
    monkeypatch.setattr(create_csv, "find_corpus", lambda *_: corpus)
    caplog.set_level("INFO")
    rows = convert(paths, small_imdb())
    assert {row.rating for row in rows} == {0, 1, 10}
    assert {row.label for row in rows} == {"worst", "best", ""}
    assert "120 documents are left out: their rating belongs to no class" in caplog.text


# ---------------------------------------------------------------------------------------------------------------------
# Refusals


def without(reviews: Reviews, *beginnings: str) -> Reviews:
    return {name: text for name, text in reviews.items() if not name.startswith(beginnings)}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["train/neg"], "the train split of imdb holds one class only (positive)"),
        (["test/pos"], "the test split of imdb holds one class only (negative)"),
        (["test"], "the test split of imdb holds no labelled document"),
        (["train"], "the train split of imdb holds no labelled document"),
        (["train", "test"], "imdb holds no documents"),
    ],
)
def test_an_archive_that_lacks_a_class(paths: DataPaths, missing: list[str], words: str) -> None:
    message = refuse(paths, without(small_imdb(), *missing))
    assert words in message
    assert f"is {paths.raw / 'aclImdb_v1.tar.gz'} the right archive?" in message


def test_a_validation_split_too_small_for_two_classes(paths: DataPaths) -> None:
    reviews = without(small_imdb(), "train/pos")
    reviews |= dict.fromkeys(("train/pos/1_7", "train/pos/2_8"), "the same text twice")
    message = refuse(paths, reviews)
    assert "the valid split of imdb holds one class only (negative); raise --valid_share, which is 0.1" in message


def test_a_class_of_the_test_split_that_training_never_saw(paths: DataPaths) -> None:
    reviews = {
        name: text for name, text in small_imdb().items() if not (name.startswith("train") and name.endswith("_9"))
    }
    assert "class 9 of imdb occurs in the test split and not in the train split" in refuse(paths, reviews, "False")


def test_a_share_out_of_range(paths: DataPaths) -> None:
    for share in ("-0.1", "0.95", "nan"):
        assert "--valid_share" in refuse(paths, small_imdb(), f"--valid_share={share}")


def test_a_text_with_nul_characters(paths: DataPaths) -> None:
    assert "train/pos/0_7 holds NUL characters" in refuse(paths, small_imdb() | {"train/pos/0_7": "a\0b"})


def test_a_document_that_stands_in_the_archive_twice(paths: DataPaths) -> None:
    reviews = [*small_imdb().items(), ("test/pos/3_7", "another text")]
    archive = write_archive(paths, reviews)
    with pytest.raises(UserError, match=r"document test/pos/3_7 occurs twice") as caught:
        run(paths)
    assert str(archive) in str(caught.value)


def test_no_archive(paths: DataPaths) -> None:
    with pytest.raises(UserError, match=r"is not there; run first: python download\.py imdb --data_dir"):
        run(paths)


# ---------------------------------------------------------------------------------------------------------------------
# Whole or not at all


def snapshot(paths: DataPaths) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in paths.folder.iterdir() if file.is_file()}


def test_a_damaged_archive_costs_nothing_that_was_good(paths: DataPaths) -> None:
    convert(paths, small_imdb())
    before = snapshot(paths)
    assert before.keys() == {".create_csv.lock", "imdb.csv", "labels.txt", "csv_manifest.json"}
    archive = paths.raw / "aclImdb_v1.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged or cut short"):
        run(paths)
    assert snapshot(paths) == before


def test_a_disk_that_fills_up_costs_nothing_that_was_good(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    convert(paths, small_imdb())
    before = snapshot(paths)

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", no_space)
        convert(paths, small_imdb(seed=2))
    assert snapshot(paths) == before


@pytest.mark.parametrize("step", ["write_json", "to_json"])
def test_a_crash_half_way_leaves_no_manifest(paths: DataPaths, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """The manifest of the old files must not vouch for the new ones."""
    convert(paths, small_imdb())

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(create_csv, step, crash)
        convert(paths, small_imdb(seed=2))
    assert not paths.csv_manifest.exists()
    run(paths)
    assert paths.csv_manifest.exists()


def test_what_a_killed_run_left_goes_and_nothing_else_does(tmp_path: Path) -> None:
    paths = DataPaths("sample", tmp_path)
    paths.folder.mkdir()
    kill = (
        "import os, sys, create_csv, utils\n"
        "name = lambda file: os.readlink(f'/proc/self/fd/{file}')\n"
        "utils.os.fsync = lambda file: '.evidence' in name(file) and os.kill(os.getpid(), 9)\n"
        "create_csv.main(create_csv.build_parser().parse_args(['sample', '--data_dir', sys.argv[1]]))\n"
    )
    killed = subprocess.run([sys.executable, "-c", kill, str(tmp_path)], cwd=ROOT, timeout=120)
    assert killed.returncode == -9
    assert len([path for path in paths.folder.iterdir() if path.name.startswith(".evidence.jsonl.")]) == 1
    others = [".run_all.json.abcdefgh.tmp", ".labels.txt.mine.tmp", ".notes.tmp", "labels.txt.abcdefgh.tmp"]
    for name in others:
        (paths.folder / name).write_text("another program's")
    run(paths)
    assert {path.name for path in paths.folder.iterdir()} == {
        *others, ".create_csv.lock", "sample.csv", "labels.txt", "evidence.jsonl", "csv_manifest.json"
    }  # fmt: skip


def test_two_at_once_are_refused(paths: DataPaths) -> None:
    write_archive(paths, small_imdb().items())
    with (
        exclusive_lock(paths.folder / ".create_csv.lock"),
        pytest.raises(UserError, match=r"another create_csv.py is at"),
    ):
        run(paths)


def test_an_archive_that_changes_while_it_is_read(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([small_imdb(), without(small_imdb(), "train/unsup/29")])

    def changing(raw: Path) -> Any:
        write_archive(paths, next(readings).items())
        return corpora.read_imdb(raw)

    corpus = dataclasses.replace(corpora.find_corpus("imdb"), read=changing)
    monkeypatch.setattr(create_csv, "find_corpus", lambda *_: corpus)
    write_archive(paths, [])
    with pytest.raises(UserError, match="was changed while it was read"):
        run(paths)
    assert not paths.csv.exists()


def test_memory_does_not_grow_with_the_texts(paths: DataPaths) -> None:
    def peak(length: int) -> int:
        write_archive(paths, ((name, text * length) for name, text in small_imdb().items()))
        tracemalloc.start()
        run_quietly(paths)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(1)
    assert peak(1000) < peak(100) + 1_000_000  # the texts grow by 6 MB


def run_quietly(paths: DataPaths) -> None:
    create_csv.main(create_csv.build_parser().parse_args(["imdb", "--data_dir", str(paths.data_dir)]))


# ---------------------------------------------------------------------------------------------------------------------
# The script


def script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "create_csv.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_the_script(paths: DataPaths) -> None:
    write_archive(paths, small_imdb().items())
    ended = script("imdb", "True", "--data_dir", paths.data_dir)
    assert ended.returncode == 0, ended.stderr
    assert "next: python serialize_data.py imdb --data_dir" in ended.stderr
    assert json.loads(paths.csv_manifest.read_text())["settings"]["binary"] is True


def test_the_script_refuses_in_one_line(paths: DataPaths) -> None:
    ended = script("imdb", "True", "--data_dir", paths.data_dir)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "Traceback" not in ended.stderr
    assert script("imdb", "maybe").returncode == 2
