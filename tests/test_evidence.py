"""Marked evidence: read from a person's own data, and taught to the attention of a network."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import create_csv
import han_trainer
from config import CsvSettings, ModelSettings
from corpus.evidence import marks_training, spans_in
from corpus.own_data import understand
from han import HAN
from network.contract import Attended, Documents, NetworkArguments
from runtime.checkpoints import newest_checkpoint, restore
from runtime.input_pipeline import Split
from runtime.networks import network_of
from runtime.run_folder import RunFolder
from tests.helpers import CLUES, write_marked_texts, write_tiny_records
from training import trainer
from training.evidence import evidence_loss
from utils import DataPaths, UserError, read_jsonl

TEXT = "Dull, long and dull again."


# ---------------------------------------------------------------------------------------------------------------------
# From a person's own data


@pytest.mark.parametrize(
    ("cell", "spans"),
    [
        ("[[0, 4], [6, 10]]", ((0, 4), (6, 10))),
        ("[[6, 10], [0, 4]]", ((0, 4), (6, 10))),
        ('[{"start": 6, "end": 10, "by": "A"}]', ((6, 10),)),
        ('["long", "again"]', ((6, 10), (20, 25))),
        ("long and dull", ((6, 19),)),
        ("", ()),
        ("[]", ()),
        ("nan", ()),
        ("[[0, 99]]", None),
        ("[[4, 0]]", None),
        ("[[0, 4, 6]]", None),
        ("[[0, true]]", None),
        ("[0, 4]", None),
        ("short", None),
        ('[""]', None),
        ("7", None),
        ('[{"start": 6}]', None),
    ],
)
def test_a_cell_of_evidence_is_spans_or_parts_of_the_text(cell: str, spans: Any) -> None:
    assert spans_in(cell, TEXT) == spans


def rows(count: int = 20) -> list[dict[str, Any]]:
    return [{"id": n, "text": f"Film {n} is {'fine' if n % 2 else 'dull'}.", "label": n % 2} for n in range(count)]


def test_evidence_of_json_lines_is_written_beside_the_csv_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "marked.jsonl"
    lines = [row | {"evidence": [[row["text"].index(" is ") + 4, len(row["text"]) - 1]]} for row in rows()]
    lines[3]["evidence"], lines[4]["evidence"] = [[0, 999]], []
    source.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    with caplog.at_level("INFO", logger="han"):
        create_csv.main(create_csv.build_parser().parse_args([str(source), "--data_dir", str(tmp_path / "data")]))
    assert "evidence from 'evidence'" in caplog.text and "18 rows have evidence" in caplog.text
    assert "no evidence is kept of 1 rows, where it marks no part of the text; line 4" in caplog.text
    written = {line["id"]: line["evidence"] for line in read_jsonl(DataPaths("marked", tmp_path / "data").evidence)}
    assert written["3"] == written["4"] == [] and len(written) == 20
    for line in lines:
        for start, end in written[str(line["id"])]:
            assert line["text"][start:end] in {"fine", "dull"}


def test_evidence_of_earlier_texts_goes(tmp_path: Path) -> None:
    """Else attention would learn from places in other texts."""
    source, data = tmp_path / "marked.jsonl", DataPaths("marked", tmp_path / "data")
    for extra, is_there in (({"evidence": [[0, 4]]}, True), ({}, False)):
        source.write_text("".join(json.dumps(row | extra) + "\n" for row in rows()), encoding="utf-8")
        create_csv.main(create_csv.build_parser().parse_args([str(source), "--data_dir", str(tmp_path / "data")]))
        assert data.evidence.exists() == marks_training(data) == is_there


def test_evidence_of_a_csv_file_is_found_by_its_name_and_must_mark_the_text(tmp_path: Path) -> None:
    source = tmp_path / "marked.csv"
    for name, value, found in (("Rationale", "Film", True), ("Rationale", "no part", False), ("other", "Film", False)):
        with source.open("w", newline="", encoding="utf-8") as file:
            table = [[row["text"], row["label"], value] for row in rows()]
            csv.writer(file).writerows([["text", "label", name], *table])
        corpus, understood = understand(source, CsvSettings())
        assert corpus.has_evidence == found
        assert any(f"not used: {name}" in line for line in understood) != found
        assert all(row.evidence == (((0, 4),) if found else ()) for row in corpus.rows(tmp_path))


# ---------------------------------------------------------------------------------------------------------------------
# The loss


def plain_loss(words: list[list[list[float]]], sentences: list[list[float]], marks: list[list[list[int]]]) -> float:
    """Document by document, sentence by sentence."""
    total = 0.0
    for document, weights, marked in zip(words, sentences, marks, strict=True):
        chosen = [number for number, flags in enumerate(marked) if any(flags)]
        for number in chosen:
            pairs = zip(document[number], marked[number], strict=True)
            of_words = [-np.log(weight) for weight, flag in pairs if flag]
            total += (-np.log(weights[number]) + np.mean(of_words)) / len(chosen)
    return total / len(words)


def test_the_loss_is_that_of_the_formula() -> None:
    words = [[[0.2, 0.8], [1.0], [0.1, 0.6, 0.3]], [[0.5, 0.5]], [[1.0], [0.7, 0.3]]]
    sentences = [[0.2, 0.3, 0.5], [1.0], [0.6, 0.4]]
    marks = [[[0, 1], [0], [1, 0, 1]], [[0, 0]], [[0], [1, 1]]]
    flat: dict[str, Any] = {
        name: [value for document in some for sentence in document for value in sentence]
        for name, some in (("words", words), ("marks", marks))
    }
    lengths = [len(sentence) for document in words for sentence in document]
    documents = Documents(tf.zeros(len(flat["words"]), tf.int32), tf.constant(lengths), tf.constant([3, 1, 2]))
    of_sentences = tf.constant([weight for document in sentences for weight in document])
    attended = Attended(None, tf.constant(flat["words"]), of_sentences, None)
    loss = evidence_loss(attended, documents, tf.constant(flat["marks"], tf.int32))
    assert float(loss) == pytest.approx(plain_loss(words, sentences, marks), rel=1e-5)
    assert float(evidence_loss(attended, documents, tf.zeros(len(flat["words"]), tf.int32))) == 0.0


def test_its_gradient_is_the_numerical_one_by_either_path() -> None:
    """Of the network's weights, by the compiled loops and by TensorFlow's own operations."""
    documents = Documents(*(tf.constant(v, tf.int32) for v in ([3, 4, 5, 6, 3, 7, 8], [3, 1, 2, 1], [1, 3])))
    marked = tf.constant([0, 1, 1, 0, 1, 0, 0])
    gradients = []
    for padded in (False, True):
        settings = ModelSettings(word_units=3, sentence_units=4, attention_dim=6)
        model = HAN(NetworkArguments(9, 5, 2, settings, seed=4, padded=padded))
        with tf.GradientTape() as tape:
            loss = evidence_loss(model.attend(documents, training=True, seed=tf.constant([1, 2])), documents, marked)
        weights = [model.word_attention.context, model.word_encoder.left_to_right.cell.recurrent_kernel]
        weights += [model.sentence_attention.kernel, model.sentence_encoder.right_to_left.cell.kernel]
        gradients.append([value.numpy() for value in tape.gradient(loss, [weight.value for weight in weights])])
        for weight, gradient in zip(weights, gradients[-1], strict=True):
            direction = np.random.default_rng(1).normal(size=gradient.shape).astype(np.float32)
            before, ends = weight.numpy(), []
            for step in (0.01, -0.01):
                weight.assign(before + step * direction)
                ends.append(float(evidence_loss(model.attend(documents), documents, marked)))
            weight.assign(before)
            assert (ends[0] - ends[1]) / 0.02 == pytest.approx((gradient * direction).sum(), rel=0.01, abs=2e-4)
    for compiled, operations in zip(*gradients, strict=True):
        np.testing.assert_allclose(compiled, operations, rtol=1e-4, atol=1e-6)


def test_a_weight_that_underflows_gives_a_finite_loss() -> None:
    documents = Documents(tf.constant([3, 4]), tf.constant([2]), tf.constant([1]))
    weights = tf.constant([1.0, 0.0])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        loss = evidence_loss(Attended(None, weights, tf.ones(1), None), documents, tf.constant([0, 1]))
    assert 10 < float(loss) < 20 and np.isfinite(tape.gradient(loss, weights).numpy()).all()


# ---------------------------------------------------------------------------------------------------------------------
# Training


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataPaths:
    """The word that decides is marked in every training document but the last."""
    data = DataPaths("tiny", tmp_path_factory.mktemp("evidence") / "data")
    write_marked_texts(data, write_tiny_records(data.records), "train")
    return data


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")


def train(data: DataPaths, runs: Path, *flags: str) -> RunFolder:
    where = ["--dataset", "tiny", "--data_dir", str(data.folder.parent), "--runs_dir", str(runs), "--ngrams", "off"]
    sizes = ["--word_units", "4", "--sentence_units", "3", "--attention_dim", "5", "--batch_size", "16"]
    pace = ["--num_epochs", "6", "--warmup_steps", "4", "--learning_rate", "0.05", "--checkpoint_every", "4"]
    pace += ["--dropout_keep_proba", "1", "--patience", "0"]
    arguments = han_trainer.build_parser().parse_args([*where, *sizes, *pace, *flags])
    assert han_trainer.main(arguments) == 0
    return RunFolder(runs / "tiny-han")


def weight_of_clues(data: DataPaths, run: RunFolder) -> float:
    """The mean weight, on validation, of the word that decides: of the sentence times in the sentence."""
    model: Any = network_of(run, run.config())
    checkpoint = newest_checkpoint(run)
    assert checkpoint
    restore(checkpoint, model)
    with contextlib.closing(Split(data.records, "valid")) as split:
        documents = split.read(np.arange(len(split))).documents
    attended = model.attend(documents)
    weights = attended.word_weights.numpy() * np.repeat(attended.sentence_weights, documents.words_per_sentence)
    return float(weights[np.isin(documents.token_ids, CLUES)].mean())


def test_attention_learns_what_is_marked_and_a_killed_training_ends_with_the_same_weights(
    data: DataPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="han"):
        taught = train(data, tmp_path / "taught", "--evidence_weight", "1")
    assert "words are marked in 89 of 90 training documents" in caplog.text
    assert weight_of_clues(data, taught) > 0.8 > weight_of_clues(data, train(data, tmp_path / "plain"))
    take_step, left = trainer.Trainer.take_step, iter(range(7))

    def counted(self: Any, batch: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        take_step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(trainer.Trainer, "take_step", counted)
        train(data, tmp_path / "killed", "--evidence_weight", "1")
    resumed = train(data, tmp_path / "killed", "--evidence_weight", "1")
    assert resumed.checkpoint_files()[-1].read_bytes() == taught.checkpoint_files()[-1].read_bytes()


def test_marks_follow_their_words_through_the_limits(data: DataPaths) -> None:
    with contextlib.closing(Split(data.records, "train", max_sentences=3, max_words=2)) as split:
        whole = Split(data.records, "train")
        numbers = np.array([5, 89, 2])
        everything = whole.read(numbers)
        marks = [np.isin(one, CLUES) for one in np.split(everything.documents.token_ids, whole_borders(everything))]
        split.marks = {5: marks[0], 2: marks[2]}
        batch = split.read(numbers)
        expected = np.isin(batch.documents.token_ids, CLUES).astype(int)
        cut = np.cumsum(batch.documents.words_per_sentence)[np.cumsum(batch.documents.sentences_per_document)[:2] - 1]
        expected[cut[0] : cut[1]] = 0  # the document without marks
        np.testing.assert_array_equal(batch.marked, expected)
        assert not len(whole.read(numbers).marked)
        whole.close()


def whole_borders(batch: Any) -> np.ndarray:
    """Places of the second and further documents of a batch."""
    ends = np.cumsum(batch.documents.words_per_sentence)
    return ends[np.cumsum(batch.documents.sentences_per_document) - 1][:-1]


def test_what_cannot_learn_from_evidence_is_refused_in_one_line(data: DataPaths, tmp_path: Path) -> None:
    for flags, message in (
        (["--pooling", "max"], "for a network with attention; leave it out, or leave out --pooling"),
        (["--model", "cnn"], "for a network with attention; leave it out, or leave out --model"),
        (["--evidence_weight", "-1"], "out of range"),
    ):
        words = ["--dataset", "tiny", "--data_dir", str(data.folder.parent), "--evidence_weight", "1", *flags]
        with pytest.raises(UserError, match=message):
            han_trainer.main(han_trainer.build_parser().parse_args([*words, "--runs_dir", str(tmp_path)]))


def test_other_evidence_is_another_run_and_evidence_of_nothing_is_refused(tmp_path: Path) -> None:
    data = DataPaths("tiny", tmp_path / "data")
    splits = write_tiny_records(data.records, documents=30)
    write_marked_texts(data, splits, "train")
    flags = ["--evidence_weight", "0.5", "--num_epochs", "1"]
    train(data, tmp_path, *flags)
    write_marked_texts(data, splits, "valid")
    with pytest.raises(UserError, match="evidence_sha256"):
        train(data, tmp_path, *flags)
    with pytest.raises(UserError, match="marks nothing in the train split"):
        train(data, tmp_path, *flags, "--restart")
    data.evidence.unlink()
    with pytest.raises(UserError, match=r"evidence\.jsonl is not there"):
        train(data, tmp_path, *flags, "--restart")
