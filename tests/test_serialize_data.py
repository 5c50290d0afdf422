"""From a CSV to records: what is in them, that they do not depend on the workers, and that a failure costs nothing."""

from __future__ import annotations

import contextlib
import csv
import itertools
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import serialize_data
from config import TextSettings
from corpus.corpora import CSV_COLUMNS, CsvRow, read_csv
from corpus.sample_corpus import generate
from data_processing import Vocabulary, load_text_processing, tokeniser
from serialize_data import new_folder, serialize
from tests.decoded_records import decode_example
from tests.helpers import InThisProcess
from text import spool
from text.first_reading import read_first
from text.records import NO_LABEL, RecordReader, made_from, read_index, verify_records
from text.spool import Chunk, SpooledChunk, chunks_of, shards_of
from utils import DataPaths, UserError, exclusive_lock, read_json, sha256_of_file, write_json

ROOT = Path(__file__).parent.parent
SETTINGS = TextSettings(min_count=2, max_words_per_sentence=12, max_sentences_per_document=9, splitter_documents=40,
                        embeddings="word2vec", embedding_dim=6, word2vec_epochs=1)  # fmt: skip
SPLITS = ["train"] * 5 + ["valid"] + ["test"] * 3 + ["unlabelled"] * 3
LABELS = ["negative", "positive"]


def make_rows() -> list[CsvRow]:
    """160 made-up reviews in all four splits, among them one without a word."""
    rows = []
    for number, review in enumerate(itertools.islice(generate(5), 160)):
        split = SPLITS[number % len(SPLITS)]
        label = "" if split == "unlabelled" else LABELS[number // len(SPLITS) % 2]
        text = f"{split}word{number % 3} {review.text}"
        rows.append(CsvRow(f"{split}/{number}", split, label, number % 2, text))
    rows[24] = rows[24]._replace(text="<br />\u200b")
    return rows


def write_data(data_dir: Path, rows: list[CsvRow], labels: list[str] = LABELS) -> DataPaths:
    paths = DataPaths("films", data_dir)
    paths.folder.mkdir(parents=True)
    with paths.csv.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([CSV_COLUMNS, *rows])
    paths.labels.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return paths


@contextlib.contextmanager
def no_worker_pool(workers: int, get_ready: object, way_out: str) -> Iterator[Executor]:
    try:
        yield InThisProcess()
    finally:
        if spool._spool is not None:
            spool._spool.close()
        spool._spool = None
        spool.load_processor.cache_clear()


@pytest.fixture(name="quick")
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serialises in this process, in small chunks and shards."""
    monkeypatch.setattr(serialize_data, "worker_pool", no_worker_pool)
    monkeypatch.setattr(spool, "CHUNK_DOCUMENTS", 7)
    monkeypatch.setattr(spool, "DOCUMENTS_PER_SHARD", 20)
    monkeypatch.setattr(serialize_data, "WORDS_PER_PART", 2000)


@pytest.fixture
def paths(tmp_path: Path) -> DataPaths:
    return write_data(tmp_path, make_rows())


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---------------------------------------------------------------------------------------------------------------------
# What is in the records


@pytest.mark.usefixtures("quick")
def test_records_hold_every_document_as_the_text_processing_sees_it(paths: DataPaths) -> None:
    manifest = serialize(paths, SETTINGS, 1)
    assert manifest == read_json(paths.manifest) == verify_records(paths.records)
    assert manifest["tokeniser"] == tokeniser()
    processor, vocabulary = load_text_processing(paths.records)
    assert (processor.max_words_per_sentence, processor.max_sentences_per_document) == (12, 9)
    cut = empty = 0
    for split in ("train", "valid", "test", "unlabelled"):
        rows = [row for row in read_csv(paths.csv) if row.split == split]
        facts, unknown = manifest["splits"][split], 0
        with RecordReader(paths.records, split) as reader:
            assert len(reader) == len(rows) == facts["documents"]
            for number, row in enumerate(rows):
                document, found = decode_example(reader.read_payload(number)), processor.process(row.text)
                assert (document.id, document.label) == (row.id, LABELS.index(row.label) if row.label else NO_LABEL)
                assert (document.token_ids, document.words_per_sentence) == vocabulary.encode(found.words)
                assert reader.index["label"][number] == document.label
                unknown += document.token_ids.count(1)
                cut += found.cut_words
                empty += not found.words
            assert facts["words"] == reader.index["words"].sum()
            assert facts["sentences"] == reader.index["sentences"].sum()
            assert facts["longest_document_words"] == reader.index["words"].max()
            assert facts["longest_document_sentences"] == reader.index["sentences"].max()
            assert len(facts["shards"]) == max(1, round(len(rows) / 20)) == reader.index["shard"].max() + 1
        assert facts["unknown_words"] == unknown > 0
        assert facts["labels"] == Counter(row.label for row in rows if row.label)
    assert sum(facts["cut_words"] for facts in manifest["splits"].values()) == cut > 0
    assert sum(facts["empty_documents"] for facts in manifest["splits"].values()) == empty == 1


@pytest.mark.usefixtures("quick")
def test_vocabulary_is_that_of_the_training_split_and_vectors_are_in_its_order(paths: DataPaths) -> None:
    manifest = serialize(paths, SETTINGS, 1)
    processor, vocabulary = load_text_processing(paths.records)
    kept = {word: count for word, count in within_limits(paths, processor).items() if count >= SETTINGS.min_count}
    assert vocabulary.words == Vocabulary.from_counts(kept.items(), 1).words
    assert "trainword1" in vocabulary.words and not any("testword" in word for word in vocabulary.words)
    vectors = np.load(paths.records / "embeddings.npy", allow_pickle=False)
    assert vectors.shape == (len(vocabulary), 6) == (manifest["vocabulary_size"], 6)
    assert vectors.dtype == np.float32 and not vectors[0].any() and vectors[1:].any(axis=1).all()
    share = 1 - manifest["splits"]["train"]["unknown_words"] / manifest["splits"]["train"]["words"]
    assert manifest["embeddings"] == {
        "method": "word2vec",
        "hits": len(vocabulary) - 2,
        "misses": 1,
        "share_of_running_words": pytest.approx(share),
        "epochs": SETTINGS.word2vec_epochs,
    }


def within_limits(paths: DataPaths, processor: Any) -> Counter[str]:
    """The words of the training split that the records hold."""
    texts = [row.text for row in read_csv(paths.csv) if row.split == "train"]
    return Counter(word for text in texts for words in processor.process(text).words for word in words)


@pytest.mark.usefixtures("quick")
def test_nothing_but_their_own_records_depends_on_valid_and_test_texts(tmp_path: Path) -> None:
    rows = make_rows()
    others = [row._replace(text=f"entirely different things {row.id}") if row.split in ("valid", "test") else row
              for row in rows]  # fmt: skip
    folders = []
    for name, texts in (("one", rows), ("other", others)):
        paths = write_data(tmp_path / name, texts)
        serialize(paths, SETTINGS, 1)
        folders.append(contents(paths.records))
    same = {name for name in folders[0] if folders[0][name] == folders[1].get(name)}
    assert {"vocab.txt", "embeddings.npy", "sentence_splitter.json", "train.index.npy"} <= same
    assert {name for name in folders[0] if name.startswith("train-")} <= same
    assert not {name for name in same if name.startswith(("valid", "test"))}


@pytest.mark.usefixtures("quick")
def test_random_vectors_need_no_unlabelled_text_and_leave_the_records_as_they_are(paths: DataPaths) -> None:
    serialize(paths, SETTINGS, 1)
    with_word2vec = contents(paths.records)
    manifest = serialize(paths, replace(SETTINGS, embeddings="random"), 1)
    assert manifest["embeddings"]["method"] == "random"
    different = {name for name, content in contents(paths.records).items() if content != with_word2vec[name]}
    assert different == {"embeddings.npy", "manifest.json"}


@pytest.mark.usefixtures("quick")
def test_vectors_of_a_published_file_bring_their_size_and_their_hits(
    paths: DataPaths, caplog: pytest.LogCaptureFixture
) -> None:
    file = paths.folder / "vectors.txt"
    file.write_text("the 1 2 3 4\nelsewhere 5 6 7 8\n. -1 -2 -3 -4\n", encoding="utf-8")
    settings = replace(SETTINGS, embeddings=f"glove:{file}", embedding_dim=0)
    with caplog.at_level("INFO", logger="han"):
        manifest = serialize(paths, settings, 1)
    processor, vocabulary = load_text_processing(paths.records)
    vectors = np.load(paths.records / "embeddings.npy", allow_pickle=False)
    assert vectors.shape == (len(vocabulary), 4) and manifest["settings"]["embedding_dim"] == 4
    np.testing.assert_array_equal(vectors[vocabulary.id("the")], [1, 2, 3, 4])
    np.testing.assert_array_equal(vectors[vocabulary.id(".")], [-1, -2, -3, -4])
    words = within_limits(paths, processor)
    words["<unk>"] += 1  # the document without a word
    share = (words["the"] + words["."]) / words.total()
    described = manifest["embeddings"]
    assert (described["hits"], described["misses"]) == (2, len(vocabulary) - 3)
    assert described["share_of_running_words"] == pytest.approx(share)
    assert described["file"] == {"name": "vectors.txt", "sha256": sha256_of_file(file)}
    assert f"glove: 2 of {len(vocabulary) - 1} words hit" in caplog.text and f"{share:.1%} of the runn" in caplog.text
    with pytest.raises(UserError, match=r"--embedding_dim 6 does not fit .*, whose vectors have 4 numbers"):
        serialize(paths, replace(settings, embedding_dim=6), 1)


@pytest.mark.usefixtures("quick")
def test_a_worker_that_forgets_its_words_writes_the_same(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    serialize(paths, SETTINGS, 1)
    before = contents(paths.records)
    monkeypatch.setattr(spool, "MOST_REMEMBERED_WORDS", 150)
    serialize(paths, SETTINGS, 1)
    assert contents(paths.records) == before


@pytest.mark.usefixtures("quick")
def test_first_documents_are_shown(paths: DataPaths, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    serialize(paths, replace(SETTINGS, embeddings="random", min_count=5), 1)
    shown = [record.getMessage() for record in caplog.records]
    assert sum(line.startswith("document train/") for line in shown) == 3
    ids = {word: number for number, word in enumerate(load_text_processing(paths.records)[1].words)}
    assert any(f"trainword0:{ids['trainword0']}" in line for line in shown)
    assert any("[" in line and "]:1" in line for line in shown)
    assert any("words of" in line or "words unknown" in line for line in shown)
    known = len(ids) - 2  # without <pad> and <unk>
    assert any(f" {known:,} of " in line and "words are seen at least 5" in line for line in shown)


# ---------------------------------------------------------------------------------------------------------------------
# Workers


def test_one_worker_and_two_write_the_same_bytes(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHUNK_DOCUMENTS", 5)
    monkeypatch.setattr(spool, "DOCUMENTS_PER_SHARD", 16)
    serialize(paths, SETTINGS, 1)
    one = contents(paths.records)
    serialize(paths, SETTINGS, 2)
    assert contents(paths.records) == one
    assert len([name for name in one if name.startswith("train-")]) > 2
    assert sorted(path.name for path in paths.folder.iterdir()) == [
        ".serialize_data.lock", "films.csv", "labels.txt", "records"]  # fmt: skip


def test_chunks_end_by_documents_or_by_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "CHUNK_DOCUMENTS", 3)
    monkeypatch.setattr(spool, "CHUNK_CHARACTERS", 100)
    texts = ["x" * 10] * 4 + ["x" * 99] * 2 + ["x" * 500]
    rows = [CsvRow(str(n), "train" if n != 1 else "test", "b", 0, text) for n, text in enumerate(texts)]
    chunks = list(chunks_of(rows, {"a": 0, "b": 1}, ["train", "test"]))
    assert [(chunk.split, chunk.ids) for chunk in chunks] == [
        ("train", ["0", "2", "3"]), ("train", ["4", "5"]), ("train", ["6"]), ("test", ["1"])]  # fmt: skip
    assert chunks[0] == Chunk("train", ["0", "2", "3"], [1, 1, 1], ["x" * 10] * 3)


@pytest.mark.parametrize("documents", [1, 5_000, 9_001, 60_000])
def test_shards_take_whole_chunks_in_order(documents: int) -> None:
    sizes = [min(256, documents - start) for start in range(0, documents, 256)]
    chunks = [SpooledChunk("train", "g", n, size, *[0] * 7) for n, size in enumerate(sizes)]
    shards = shards_of("train", chunks)
    assert [chunk for shard in shards for chunk in shard.chunks] == chunks
    assert [shard.number for shard in shards] == list(range(shards[0].shards))
    assert all(shard.chunks for shard in shards)


def test_sample_for_the_splitter_depends_on_ids_and_not_on_their_order() -> None:
    rows = make_rows()
    found = read_first(rows, SETTINGS)
    assert len(found.sample) == SETTINGS.splitter_documents
    assert read_first(rows[::-1], SETTINGS).sample == found.sample
    assert read_first(rows, replace(SETTINGS, seed=2)).sample != found.sample
    training = {row.text for row in rows if row.split == "train"}
    assert set(found.sample) <= training
    assert read_first(rows, replace(SETTINGS, splitter_documents=0)).sample == []


# ---------------------------------------------------------------------------------------------------------------------
# Whole or not at all


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [UserError("no"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_records_as_they_were(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    serialize(paths, SETTINGS, 1)
    before = contents(paths.records)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("text.skip_gram.train_word2vec", fail)
    with pytest.raises(type(error)):
        serialize(paths, replace(SETTINGS, min_count=3), 1)
    assert contents(paths.records) == before
    assert not [path for path in paths.folder.iterdir() if path.name.startswith(".records")]


@pytest.mark.usefixtures("quick")
def test_a_failure_the_first_time_leaves_no_records(paths: DataPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serialize_data, "show_documents", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        serialize(paths, SETTINGS, 1)
    assert not paths.records.exists()
    with pytest.raises(UserError, match="no complete records"):
        verify_records(paths.records)


def test_a_stop_between_the_two_renames_is_repaired(tmp_path: Path) -> None:
    place = tmp_path / "records"
    (tmp_path / ".records.old").mkdir()
    (tmp_path / ".records.old" / "good").touch()
    (tmp_path / ".records.new").mkdir()
    (tmp_path / ".records.new" / "half").touch()
    with pytest.raises(RuntimeError), new_folder(place) as new:
        assert not list(new.iterdir())
        raise RuntimeError
    assert contents(place).keys() == {"good"}
    with new_folder(place) as new:
        (new / "better").touch()
    assert contents(place).keys() == {"better"}
    assert [path.name for path in tmp_path.iterdir()] == ["records"]


def test_two_at_a_time_are_refused(paths: DataPaths) -> None:
    with exclusive_lock(paths.folder / ".serialize_data.lock", ""), pytest.raises(UserError, match="another"):
        serialize(paths, SETTINGS, 1)


def replace_csv(paths: DataPaths, rows: list[CsvRow]) -> None:
    """As ``create_csv.py`` does it: another file takes the place of the old one."""
    newer = write_data(paths.folder / "newer", rows)
    newer.csv.replace(paths.csv)


OTHER_TEXTS = [row._replace(text=f"other {row.text}") for row in make_rows()]
OTHER_LABEL = [row._replace(label=row.label and "neutral") for row in make_rows()]
CHANGES: dict[str, Callable[[DataPaths], Any]] = {
    "other texts": lambda paths: replace_csv(paths, OTHER_TEXTS),
    "the same bytes": lambda paths: replace_csv(paths, make_rows()),
    "a class that the first reading did not see": lambda paths: replace_csv(paths, OTHER_LABEL),
    "fewer documents": lambda paths: replace_csv(paths, make_rows()[:-1]),
    "written over in place": lambda paths: paths.csv.write_text(paths.csv.read_text().replace("word1", "word2")),
    "cut short": lambda paths: paths.csv.write_bytes(paths.csv.read_bytes()[:-40]),
    "deleted": lambda paths: paths.csv.unlink(),
    "other order of the classes": lambda paths: paths.labels.write_text("positive\nnegative\n"),
    "another manifest": lambda paths: write_json(paths.csv_manifest, {"labels": LABELS}),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("read_first", "other texts"),
        ("spool_words", "other texts"),
        *(("learn_to_split", change) for change in CHANGES),
    ],
)
def test_inputs_that_change_while_they_are_read_are_refused(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch, step: str, change: str
) -> None:
    paths.records.mkdir()
    (paths.records / "manifest.json").write_text("the old records")
    run_step = getattr(serialize_data.Serializer, step)

    def changing(*arguments: Any) -> Any:
        CHANGES[change](paths)
        return run_step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(UserError, match="changed while it was read; run the same") as e:
        patch.setattr(serialize_data.Serializer, step, changing)
        serialize(paths, replace(SETTINGS, embeddings="random"), 1)
    assert "\n" not in str(e.value)
    assert contents(paths.records) == {"manifest.json": b"the old records"}
    assert not [path for path in paths.folder.iterdir() if path.name.startswith(".records")]


@pytest.mark.usefixtures("quick")
def test_records_are_of_one_csv_file_that_may_be_replaced_once_it_is_read(
    paths: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, embeddings="random")
    serialize(paths, settings, 1)
    before = contents(paths.records)
    fix_vocabulary = serialize_data.Serializer.fix_vocabulary

    def changing(*arguments: Any) -> Any:
        replace_csv(paths, OTHER_TEXTS)
        return fix_vocabulary(*arguments)

    monkeypatch.setattr(serialize_data.Serializer, "fix_vocabulary", changing)
    manifest = serialize(paths, settings, 1)
    assert contents(paths.records) == before  # whole, and of the file that was there
    assert not made_from(manifest, paths.csv)  # so that run_all.py writes them again


# ---------------------------------------------------------------------------------------------------------------------
# Bad input


def without(split: str, label: str | None = None) -> list[CsvRow]:
    """The rows but those of a split, or but those of one class in it."""
    return [row for row in make_rows() if row.split != split or label not in (None, row.label)]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("rows", "labels", "problem"),
    [
        (without("train"), LABELS, "no document in the train split"),
        ([], LABELS, "no document in the train split"),
        (make_rows(), ["negative", "neutral"], "the label 'positive' in the train split"),
        (without("train", "positive"), LABELS, "every document of the train split is of the class 'negative'"),
        (without("valid", "negative"), LABELS, "every document of the valid split is of the class 'positive'"),
        (make_rows(), ["negative"], "at least two classes"),
        (make_rows(), ["negative", "positive", "negative"], "at least two classes, each once"),
    ],
)
def test_unusable_data_is_one_line_with_the_next_command(
    tmp_path: Path, rows: list[CsvRow], labels: list[str], problem: str
) -> None:
    paths = write_data(tmp_path, rows, labels)
    with pytest.raises(UserError, match=problem) as error:
        serialize(paths, SETTINGS, 1)
    assert f"python create_csv.py films --data_dir {tmp_path}" in str(error.value)
    assert not paths.records.exists()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("changed", ["labels.txt", "films.csv"])
def test_files_that_were_changed_after_create_csv_wrote_them_are_refused(paths: DataPaths, changed: str) -> None:
    known = {"labels": LABELS, "csv_sha256": sha256_of_file(paths.csv)}
    settings = replace(SETTINGS, embeddings="random")
    write_json(paths.csv_manifest, known)
    serialize(paths, settings, 1)
    before = contents(paths.records)
    text = (paths.folder / changed).read_text()
    other = "".join(reversed(text.splitlines(keepends=True))) if changed == "labels.txt" else text.replace("word1", "w")
    (paths.folder / changed).write_text(other)
    with pytest.raises(
        UserError, match=rf"{changed} was changed after .*: python create_csv.py films .* delete .*json"
    ):
        serialize(paths, settings, 1)
    assert contents(paths.records) == before
    write_json(paths.csv_manifest, {})  # one that knows neither
    serialize(paths, settings, 1)
    paths.csv_manifest.unlink()
    serialize(paths, settings, 1)
    assert contents(paths.records)["labels.txt"] == paths.labels.read_bytes()


@pytest.mark.usefixtures("quick")
def test_no_valid_split_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_data(tmp_path, without("valid"))
    manifest = serialize(paths, replace(SETTINGS, embeddings="random"), 1)
    assert list(manifest["splits"]) == ["train", "test", "unlabelled"]
    assert "--valid_share" in caplog.text
    with pytest.raises(UserError, match="no valid split"):
        read_index(paths.records, "valid")


@pytest.mark.usefixtures("quick")
def test_no_test_split_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = write_data(tmp_path, without("test"))
    manifest = serialize(paths, replace(SETTINGS, embeddings="random"), 1)
    assert list(manifest["splits"]) == ["train", "valid", "unlabelled"]
    assert "there is no test split" in caplog.text
    with pytest.raises(UserError, match="no test split"):
        read_index(paths.records, "test")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"films.csv is not there; run first: python create_csv.py films"):
        serialize(DataPaths("films", tmp_path), SETTINGS, 1)
    paths = write_data(tmp_path, make_rows())
    paths.labels.unlink()
    with pytest.raises(UserError, match=r"labels.txt is not there; run first: python create_csv.py films"):
        serialize(paths, SETTINGS, 1)


def test_class_names_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    paths = write_data(tmp_path, make_rows())
    paths.labels.write_bytes("négatif\npositif\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"labels.txt is not UTF-8"):
        serialize(paths, SETTINGS, 1)


def test_command_line_refuses_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "serialize_data.py", "films", "--data_dir", str(tmp_path)]
    for flags, problem in (
        ([], "unknown data set 'films'"),
        (["--workers", "-1"], "--workers -1"),
        (["--min_count", "0"], "--min_count 0"),
        (["--workers", "100000"], "--workers 100000"),
        (["--seed", "-1"], "--seed -1"),
        (["--embedding_dim", "x"], "argument --embedding_dim"),
        (["--embedding", "8"], "there is no flag --embedding; did you mean --embeddings?"),
    ):
        done = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2
        assert problem in done.stderr and len(done.stderr.splitlines()) == 1
