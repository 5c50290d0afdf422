"""Going on with new data: the words and weights of a run, what is refused, and two runs side by side."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import compare_runs
import han_trainer
import run_all
import serialize_data
from config import NGRAMS_FROM, TextSettings
from corpus.corpora import CSV_COLUMNS, CsvRow, read_csv
from data_processing import load_text_processing
from network.ngrams import NgramTable, separated
from runtime.checkpoints import best_checkpoint
from runtime.documents import join
from runtime.input_pipeline import Split
from runtime.ngram_tables import read_table
from runtime.predictor import Predictor
from runtime.run_folder import TEXT_FILES, Continuation, RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from tests.test_serialize_data import no_worker_pool
from text.records import RecordReader
from training.continuing import (
    continued_ngrams,
    mapped,
    source_of_ngrams,
    text_of_run,
    together,
    vectors_with_new_words,
    with_new_words,
)
from training.ngrams import fit_table
from utils import DataPaths, UserError, read_json

ROOT = Path(__file__).parent.parent
SIZES = {"train": 40, "valid": 16, "test": 20}
TINY = ["--batch_size", "16", "--warmup_steps", "3", "--device", "cpu"]


def new_rows(seed: int, positive: str = "positive") -> list[CsvRow]:
    """Documents of words of the tiny vocabulary and others, with a clue word each."""
    generator = np.random.default_rng(seed)
    rows = []
    for split, size in SIZES.items():
        for number in range(size):
            words = [f"word{n:02d}" if n < 40 else "unheard" for n in generator.integers(0, 50, 6)]
            label, clue = ("negative", "bad") if number % 2 else (positive, "good")
            rows.append(CsvRow(f"{split}/{number}", split, label, 0, " ".join([*words, clue]) + "."))
    return rows


def write_data(paths: DataPaths, rows: list[CsvRow], labels: list[str]) -> DataPaths:
    paths.folder.mkdir(parents=True, exist_ok=True)
    with paths.csv.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([CSV_COLUMNS, *rows])
    paths.labels.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its data, and records of new data that were made with it."""
    path = tmp_path_factory.mktemp("continuing")
    old = DataPaths("tiny", path / "data")
    write_tiny_records(old.records)
    write_data(old, new_rows(1), ["negative", "positive"])
    run = write_tiny_run(path / "runs" / "old", old.records, ngrams=True)
    fresh = write_data(DataPaths("fresh", path / "data"), new_rows(2), ["positive", "negative"])  # in another order
    serialize(fresh, run)
    return path


def serialize(paths: DataPaths, run: RunFolder, settings: TextSettings | None = None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialize_data, "worker_pool", no_worker_pool)
        serialize_data.serialize(paths, settings or TextSettings(), 1, text_of_run(run))


def train(folder: Path, name: str, *flags: str) -> RunFolder:
    where = ["--dataset", "fresh", "--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    arguments = [*where, *TINY, "--run", name, "--from_run", "old", "--num_epochs", "1", *flags]
    assert han_trainer.main(han_trainer.build_parser().parse_args(arguments)) == 0
    return RunFolder(folder / "runs" / name)


@pytest.fixture(scope="module")
def still(folder: Path) -> RunFolder:
    """A training that goes on with the run's n-grams and a learning rate of 0, which changes nothing."""
    return train(folder, "still", "--learning_rate", "0", "--ngrams_from", "run")


def test_records_have_the_words_the_classes_and_the_vectors_of_the_run(folder: Path) -> None:
    run, records = RunFolder(folder / "runs" / "old"), folder / "data" / "fresh" / "records"
    for name in TEXT_FILES:
        assert (records / name).read_bytes() == (run.path / name).read_bytes()
    best = best_checkpoint(run)
    np.testing.assert_array_equal(np.load(records / "embeddings.npy"), best.weights["embeddings"])
    manifest = read_json(records / "manifest.json")
    assert manifest["from_run"] == {"run": "old", "weights_sha256": best.weights_sha256}
    processor, vocabulary = load_text_processing(run.path)
    rows = [row for row in read_csv(folder / "data" / "fresh" / "fresh.csv") if row.split == "test"]
    with RecordReader(records, "test") as reader:
        assert reader.index["label"].tolist() == [["negative", "positive"].index(row.label) for row in rows]
        words = [len(vocabulary.encode(processor.process(row.text).words)[0]) for row in rows]
        assert reader.index["words"].tolist() == words
    assert 0 < manifest["splits"]["test"]["unknown_words"] < sum(words)


def test_a_training_begins_with_the_weights_and_the_ngrams_of_the_run(folder: Path, still: RunFolder) -> None:
    old, new = best_checkpoint(RunFolder(folder / "runs" / "old")).weights, best_checkpoint(still).weights
    for name in old:
        if name != "ngrams/scales":  # fitted on the new validation documents
            np.testing.assert_array_equal(new[name], old[name], err_msg=name)
    tables = [read_table(run) for run in (RunFolder(folder / "runs" / "old"), still)]
    np.testing.assert_array_equal(tables[0].weights, tables[1].weights)
    assert "continued from old" in still.config().title()
    assert still.config().continuation == RunFolder(still.path).config().continuation


@pytest.fixture(scope="module")
def fitted(folder: Path) -> NgramTable:
    """The n-grams of the new training documents alone."""
    with contextlib.closing(Split(folder / "data" / "fresh" / "records", "train")) as split:
        return fit_table(split, 2)


def continued_table(folder: Path, ngrams: str) -> NgramTable:
    """The n-grams that a training on the new records begins with."""
    old = RunFolder(folder / "runs" / "old")
    continuation = Continuation("old", "", ngrams)
    found = continued_ngrams(old, replace(old.config(), continuation=continuation), folder / "data/fresh/records")
    assert found is not None
    return found


def test_ngrams_of_the_run_and_of_the_new_documents_are_put_together(folder: Path, fitted: NgramTable) -> None:
    old, both = read_table(RunFolder(folder / "runs" / "old")), continued_table(folder, "both")
    for name in ("keys", "idf", "weights", "bias"):
        np.testing.assert_array_equal(getattr(continued_table(folder, "run"), name), getattr(old, name))
        np.testing.assert_array_equal(getattr(continued_table(folder, "new"), name), getattr(fitted, name))
    assert both.keys.tolist() == sorted({*old.keys.tolist(), *fitted.keys.tolist()})
    [common, *_] = np.intersect1d(old.keys, fitted.keys)

    def evidence(table: NgramTable) -> float:
        [[negative, positive]] = table.weights[table.keys == common]
        return float(positive - negative)

    assert evidence(both) == pytest.approx((evidence(old) + evidence(fitted)) / 2, abs=1e-5)


def test_ngrams_are_asked_for_where_there_are_some(folder: Path) -> None:
    old = RunFolder(folder / "runs" / "old")
    config = old.config()
    assert source_of_ngrams(old, config, config, None) == "both" == NGRAMS_FROM[0]
    without = replace(config, model=replace(config.model, ngrams="off"))
    assert source_of_ngrams(old, without, without, None) == ""
    assert continued_ngrams(old, replace(config, continuation=Continuation("old", "")), folder) is None
    with pytest.raises(UserError, match=r"--ngrams_from new: .*old has no n-grams; leave the flag out"):
        source_of_ngrams(old, without, without, "new")
    more = replace(config, class_names=("negative", "positive", "neutral"))
    with pytest.raises(UserError, match="the n-grams of the run do not know the new classes"):
        source_of_ngrams(old, config, more, "run")


def test_it_goes_on_from_there(folder: Path, still: RunFolder) -> None:
    moved = train(folder, "moved", "--learning_rate", "0.01")
    assert moved.identity() != still.identity()
    assert not np.array_equal(
        best_checkpoint(moved).weights["classifier/kernel"], best_checkpoint(still).weights["classifier/kernel"]
    )


def test_both_runs_are_compared_on_both_sets_of_test_documents(
    folder: Path, still: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    compare_runs.main(compare_runs.build_parser().parse_args(["old", "still", *flags]))
    found = read_json(still.path / "comparison.json")
    assert [row["dataset"] for row in found["rows"]] == ["tiny", "fresh"]
    for row in found["rows"]:
        data = DataPaths(row["dataset"], folder / "data")
        texts = [(one.text, one.label) for one in read_csv(data.csv) if one.split == "test"]
        right = []
        for run in (RunFolder(folder / "runs" / "old"), still):
            predictor = Predictor.load(run)
            verdicts = predictor.score([predictor.read(text).document for text, _ in texts])
            said = [predictor.class_names[int(verdict.logits.argmax())] for verdict in verdicts]
            right.append([answer == label for answer, (_, label) in zip(said, texts, strict=True)])
        assert row["correct"] == [sum(one) for one in right] and row["documents"] == len(texts) == 20
        assert row["only_first"] == sum(a and not b for a, b in zip(*right, strict=True))
        assert row["only_second"] == sum(b and not a for a, b in zip(*right, strict=True))
    printed = capsys.readouterr().out
    assert "test documents of fresh: 20" in printed and "comparison.json" in printed


@pytest.mark.parametrize(("only_first", "only_second", "expected"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64)])
def test_the_p_value_is_that_of_a_coin(only_first: int, only_second: int, expected: float) -> None:
    assert compare_runs.p_value(only_first, only_second) == pytest.approx(expected)


# ---------------------------------------------------------------------------------------------------------------------
# New words and new classes


def with_a_third_class(rows: list[CsvRow]) -> list[CsvRow]:
    """Every fourth document becomes one of a class that the run does not know, with a word of its own."""
    return [
        row._replace(label="neutral", text=f"{row.text} Fairly fairly ordinary.") if number % 4 == 3 else row
        for number, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def grown(folder: Path) -> RunFolder:
    """A training with new words and a new class that changes nothing, on records of their own."""
    old = RunFolder(folder / "runs" / "old")
    more = write_data(
        DataPaths("more", folder / "data"), with_a_third_class(new_rows(5)), ["neutral", "negative", "positive"]
    )
    new, settings = (
        serialize_data.Additions(words="word2vec", classes=True),
        TextSettings(min_count=3, word2vec_epochs=1),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(serialize_data, "worker_pool", no_worker_pool)
        serialize_data.serialize(more, settings, 1, text_of_run(old), new=new)
    where = ["--dataset", "more", "--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    flags = [*where, *TINY, "--run", "grown", "--from_run", "old", "--num_epochs", "1", "--learning_rate", "0"]
    assert han_trainer.main(han_trainer.build_parser().parse_args(flags)) == 0
    return RunFolder(folder / "runs" / "grown")


def test_new_words_and_classes_come_after_those_of_the_run(folder: Path, grown: RunFolder) -> None:
    old = RunFolder(folder / "runs" / "old")
    words = [(run.path / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1] for run in (old, grown)]
    assert words[1] == [*words[0], ".", "unheard", "fairly", "ordinary"]
    assert grown.config().class_names == ("negative", "positive", "neutral")
    assert read_json(folder / "data" / "more" / "records" / "manifest.json")["from_run"]["new_words"] == "word2vec"
    before, after = best_checkpoint(old).weights, best_checkpoint(grown).weights
    for name in before.keys() - {"ngrams/scales", "embeddings", "classifier/kernel", "classifier/bias"}:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    vectors = np.load(folder / "data" / "more" / "records" / "embeddings.npy")
    np.testing.assert_array_equal(after["embeddings"], vectors)
    np.testing.assert_array_equal(vectors[: len(words[0])], before["embeddings"])
    np.testing.assert_array_equal(after["classifier/kernel"][:, :2], before["classifier/kernel"])
    np.testing.assert_allclose(after["classifier/kernel"][:, 2], before["classifier/kernel"].mean(axis=1), rtol=1e-5)


def test_the_network_alone_says_what_it_said_and_a_new_class_is_never_first(folder: Path, grown: RunFolder) -> None:
    logits = []
    for run in (RunFolder(folder / "runs" / "old"), grown):
        predictor = Predictor.load(run)
        document = predictor.read("good word01 and bad word02 word03 word04").document
        logits.append(np.asarray(separated(predictor.model).network(join([document])))[0])
    np.testing.assert_allclose(logits[1][:2], logits[0], atol=1e-5)
    assert logits[1][2] == pytest.approx(logits[0].mean(), abs=1e-5)


def test_a_class_that_the_old_run_does_not_know_is_counted_by_itself(
    folder: Path, grown: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    compare_runs.main(compare_runs.build_parser().parse_args(["old", "grown", *flags]))
    tiny, more = read_json(grown.path / "comparison.json")["rows"]
    assert (tiny["documents"], tiny["documents_of_new_classes"]) == (20, 0)
    assert (more["documents"], more["documents_of_new_classes"]) == (15, 5)
    predictor = Predictor.load(grown)
    rows = [row for row in read_csv(folder / "data" / "more" / "more.csv") if row.split == "test"]
    verdicts = predictor.score([predictor.read(row.text).document for row in rows])
    said = [predictor.class_names[int(verdict.logits.argmax())] for verdict in verdicts]
    right = [one == row.label for one, row in zip(said, rows, strict=True)]
    new = [one for one, row in zip(right, rows, strict=True) if row.label == "neutral"]
    assert more["correct_of_new_classes"] == sum(new) and more["correct"][1] == sum(right) - sum(new)
    printed = capsys.readouterr().out
    assert "test documents of more of classes that old knows: 15" in printed
    assert "not compared: 5 of neutral, which old does not know; grown: " in printed
    with pytest.raises(UserError, match="the second run needs those of the first"):
        compare_runs.refuse_other_classes(grown, RunFolder(folder / "runs" / "old"))


def test_a_map_of_vectors_is_found_again() -> None:
    generator = np.random.default_rng(3)
    sources, others = generator.normal(size=(400, 6)), generator.normal(size=(5, 6))
    turn, shift = generator.normal(size=(6, 6)), generator.normal(size=6)
    targets = sources @ turn + shift
    found = mapped(sources.astype(np.float32), targets.astype(np.float32), others.astype(np.float32))
    np.testing.assert_allclose(found, others @ turn + shift, atol=0.02)


def test_new_words_without_a_learnt_vector_begin_as_unknown(folder: Path) -> None:
    given = text_of_run(RunFolder(folder / "runs" / "old"))
    known, dim = given.vectors.shape
    learnt = np.random.default_rng(4).normal(size=(known + 2, dim)).astype(np.float32)
    is_learnt = np.arange(known + 2) != known
    is_learnt[:2] = False
    vectors = vectors_with_new_words(given, learnt, is_learnt, known + 2)
    np.testing.assert_array_equal(vectors[:known], given.vectors)
    np.testing.assert_array_equal(vectors[known], given.vectors[1])
    expected = mapped(learnt[2:known], given.vectors[2:], learnt[-1:])[0]
    np.testing.assert_allclose(vectors[-1], expected, rtol=1e-5)
    plain = vectors_with_new_words(given, None, is_learnt, known + 2)
    np.testing.assert_array_equal(plain[known:], given.vectors[[1, 1]])


def test_words_are_new_where_they_are_frequent_and_not_known(folder: Path) -> None:
    given = text_of_run(RunFolder(folder / "runs" / "old"))
    counts = [("good", 90), ("b", 3), ("a", 3), ("c", 8), ("rare", 2)]
    assert with_new_words(given, counts, 3).words == [*given.vocabulary.words, "c", "a", "b"]


def test_tables_of_ngrams_are_put_together() -> None:
    def table(keys: list[int], weights: list[list[float]], bias: list[float]) -> NgramTable:
        idf = np.arange(1, len(keys) + 1, dtype=np.float32)
        return NgramTable(np.array(keys), idf, np.array(weights, np.float32), np.array(bias, np.float32))

    # Both have documents of the first class: its weights become 0, and the others follow. N-gram 7 is in both tables.
    old = table([5, 7], [[0, 2], [0, 4]], [0, 1])
    new = table([7, 9], [[3, 1, 5], [2, 2, 8]], [0.3, -20, 0.4])
    found = together(old, new, np.array([True, False, True]))
    assert found.keys.tolist() == [5, 7, 9] and found.idf.tolist() == [1, 1.5, 2]
    assert found.weights.tolist() == [[0, 2, 0], [0, 4, 2], [0, 0, 6]]
    assert found.bias.tolist() == pytest.approx([0, 1, 0.1])


def test_labels_that_stand_for_themselves_keep_their_weights() -> None:
    def table(keys: list[int], weights: list[list[float]], bias: list[float]) -> NgramTable:
        idf = np.ones(len(keys), np.float32)
        return NgramTable(np.array(keys), idf, np.array(weights, np.float32), np.array(bias, np.float32))

    old, new = table([5, 7], [[1, 2], [3, 5]], [0, 1]), table([7, 9], [[5, 9], [2, 4]], [2, 7])
    found = together(old, new, np.array([True, True]), several=True)
    assert found.weights.tolist() == [[1, 2], [4, 7], [2, 4]] and found.bias.tolist() == [1, 4]
    found = together(old, new, np.array([True, False]), several=True)  # the new documents never have the second label
    assert found.weights.tolist() == [[1, 2], [4, 5], [2, 0]] and found.bias.tolist() == [1, 1]


@pytest.mark.parametrize("present", [[True, True, True], [True, True, False], [False, True, False]])
def test_tables_of_the_same_documents_give_the_same_probabilities(present: list[bool]) -> None:
    generator = np.random.default_rng(1)
    table = NgramTable(
        np.arange(5),
        np.ones(5, np.float32),
        generator.normal(size=(5, 3)).astype(np.float32),
        np.array([-3, -1, -2], np.float32),
    )
    same = together(table, table, np.array(present))
    for found, expected in ((same.weights, table.weights), (same.bias, table.bias)):
        np.testing.assert_allclose(np.diff(found), np.diff(expected), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# What is refused


def test_what_does_not_fit_the_run_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    run = RunFolder(folder / "runs" / "old")
    other = write_data(DataPaths("fresh", tmp_path), new_rows(3, "splendid"), ["negative", "splendid"])
    with pytest.raises(UserError, match=r"has the class 'splendid', which .*old does not know \(it knows negative"):
        serialize(other, run)
    with pytest.raises(UserError, match="--min_count 2 does not go with --from_run"):
        serialize(DataPaths("fresh", folder / "data"), run, TextSettings(min_count=2))
    with pytest.raises(UserError, match="--embeddings random does not go with --from_run"):
        serialize_data.settings_of(text_of_run(run), TextSettings(embeddings="random"), "word2vec")
    assert serialize_data.settings_of(text_of_run(run), TextSettings(min_count=2), "unk").min_count == 2
    with pytest.raises(UserError, match="--word_units 5: a training that goes on has the network"):
        train(folder, "wide", "--word_units", "5")
    with pytest.raises(UserError, match="is a han; add --model han"):
        train(folder, "flat", "--model", "bilstm")
    with pytest.raises(UserError, match="--from_run goes with --run_type train"):
        train(folder, "again", "--run_type", "retrain")
    for name in ("wide", "flat", "again"):
        assert not (folder / "runs" / name).exists()


def test_records_of_other_words_and_an_unfinished_run_are_refused(folder: Path, tmp_path: Path) -> None:
    records = tmp_path / "data" / "fresh" / "records"
    write_tiny_records(records)
    (records / "vocab.txt").write_text("<pad>\n<unk>\nother\n", encoding="utf-8")
    young = write_tiny_run(tmp_path / "runs" / "young", folder / "data" / "tiny" / "records")
    young.finished.unlink()
    with pytest.raises(UserError, match="did not finish training"):
        text_of_run(young)
    config = RunFolder(folder / "runs" / "old").config()
    from training.continuing import continued_config

    with pytest.raises(UserError, match=r"vocab.txt is not that of .*old; make the records with it: python serialize"):
        continued_config(RunFolder(folder / "runs" / "old"), config, [], records)
    with pytest.raises(UserError, match="is named twice"):
        compare_runs.refuse_other_classes(young, young)


def test_run_all_refuses_what_does_not_go_together(folder: Path) -> None:
    def refuse(*words: str) -> None:
        flags = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs"), "--from_run", "old"]
        run_all.main(run_all.build_parser().parse_args([*words, *flags]))

    with pytest.raises(UserError, match="was trained on tiny; name a file with new data"):
        refuse("tiny.csv")
    with pytest.raises(UserError, match="--ngrams_from goes with --from_run RUN"):
        run_all.main(run_all.build_parser().parse_args(["new.csv", "--ngrams_from", "run"]))
    with pytest.raises(UserError, match="--new_words goes with --from_run RUN"):
        run_all.main(run_all.build_parser().parse_args(["new.csv", "--new_words"]))
    with pytest.raises(UserError, match="--preset best does not go with --from_run"):
        refuse("new.csv", "--preset", "best")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_run_all_goes_on_and_compares(folder: Path, tmp_path: Path) -> None:
    with (tmp_path / "next.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *((row.text, row.label) for row in new_rows(4))])
    flags = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs"), "--from_run", "old"]
    command = [sys.executable, str(ROOT / "run_all.py"), str(tmp_path / "next.csv"), *flags, "--num_epochs", "1"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "test documents of next" in first.stdout and "test documents of tiny" in first.stdout
    assert (folder / "runs" / "next-han" / "comparison.json").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    for stage in ("create_csv", "serialize_data", "train", "compare", "test"):
        assert f"# {stage}: skipped" in again.stdout
