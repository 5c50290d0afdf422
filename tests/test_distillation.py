"""Distillation: the targets, by another way to the teachers' judgement; a training with them; what is refused."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import han_trainer
from config import TrainingSettings
from han_trainer import build_parser, main
from runtime.checkpoints import read_checkpoint
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from tests.helpers import tiny_documents, write_tiny_records
from tests.test_trainer import stop_after
from text.text_reader import EncodedDocument
from training import teachers as teachers_module
from training.distillation import distillation_config
from training.step import document_losses
from training.teachers import training_targets
from training.trainer import Trainer
from utils import UserError, read_json

TRAINED, UNLABELLED = 90, 37
TINY = ["--word_units", "3", "--sentence_units", "2", "--attention_dim", "4", "--batch_size", "16",
        "--warmup_steps", "3", "--learning_rate", "0.02", "--device", "cpu"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records with unlabelled documents and two finished runs on them."""
    path = tmp_path_factory.mktemp("distillation")
    write_tiny_records(path / "data" / "tiny" / "records", TRAINED, UNLABELLED)
    for seed in ("1", "2"):
        assert main(arguments(path, "--run", f"teacher-{seed}", "--seed", seed, "--num_epochs", "2")) == 0
    return path


def arguments(folder: Path, *flags: str) -> argparse.Namespace:
    where = ["--dataset", "tiny", "--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    return build_parser().parse_args([*where, *TINY, *flags])


def distil(folder: Path, run: str, *flags: str) -> int:
    given = ["--run_type", "distil", "--teachers", "teacher-1", "teacher-2", "--run", run, "--num_epochs", "1"]
    return main(arguments(folder, *given, *flags))


@pytest.fixture(scope="module")
def student(folder: Path) -> RunFolder:
    assert distil(folder, "student") == 0
    return RunFolder(folder / "runs" / "student")


def teachers_of(folder: Path) -> list[RunFolder]:
    return [RunFolder(folder / "runs" / f"teacher-{seed}") for seed in (1, 2)]


def targets_of(folder: Path, run: RunFolder) -> np.ndarray:
    labels = np.array([document.label for document in tiny_documents("train", TRAINED)], np.int32)
    records = folder / "data" / "tiny" / "records"
    return training_targets(run, teachers_of(folder), run.config(), records, labels, 100, "cpu")


def test_the_targets_are_the_labels_and_the_mean_of_what_predict_says(folder: Path, student: RunFolder) -> None:
    targets = targets_of(folder, student)
    labels = [document.label for document in tiny_documents("train", TRAINED)]
    np.testing.assert_array_equal(targets[:TRAINED], np.eye(2)[labels])
    documents = [
        EncodedDocument(np.concatenate(document.sentences).astype(np.int32), np.array([*map(len, document.sentences)]))
        for document in tiny_documents("unlabelled", UNLABELLED)
    ]
    expected = sum(Predictor.load(teacher).probabilities(documents) for teacher in teachers_of(folder)) / 2
    np.testing.assert_allclose(targets[TRAINED:], expected, atol=1e-6)
    assert targets[TRAINED:, 0].std() > 0.1  # judgements differ


def test_a_teacher_judges_once(folder: Path, student: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = targets_of(folder, student)
    monkeypatch.setattr(teachers_module, "network_of", lambda *_, **__: pytest.fail("asked again"))
    np.testing.assert_array_equal(targets_of(folder, student), before)


def test_damaged_judgements_are_refused(folder: Path, student: RunFolder) -> None:
    file = sorted(student.teachers.iterdir())[0]
    whole = file.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=f"{file.name} is damaged.*delete it"):
            targets_of(folder, student)
    file.write_bytes(whole)


def test_a_student_learns_from_all_documents_and_says_so(
    folder: Path, student: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = student.config()
    assert config.title() == "HAN-GRU with n-grams, distilled from 2 networks"
    assert config.distillation is not None and config.distillation.teachers == ["teacher-1", "teacher-2"]
    assert config.distillation.weights_sha256 == [
        read_checkpoint(run.best).weights_sha256 for run in teachers_of(folder)
    ]
    assert read_json(student.finished)["step"] == -(-(TRAINED + UNLABELLED) // 16)
    seen: dict[int, np.ndarray] = {}
    take_step = Trainer.take_step

    def noting(self: Trainer, batch: Any) -> None:
        seen.update(zip(batch.numbers.tolist(), batch.labels.numpy(), strict=True))
        take_step(self, batch)

    monkeypatch.setattr(Trainer, "take_step", noting)
    assert distil(folder, "again") == 0
    np.testing.assert_array_equal(np.array([seen[n] for n in range(TRAINED + UNLABELLED)]), targets_of(folder, student))
    again = read_checkpoint(folder / "runs" / "again" / "best.safetensors")
    assert again.weights_sha256 == read_checkpoint(student.best).weights_sha256


def test_a_student_resumes_to_the_same_weights_without_its_teachers_files(
    folder: Path, student: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "take_step", stop_after(5, Trainer.take_step))
        with pytest.raises(OSError, match="the disk is full"):
            distil(folder, "broken", "--checkpoint_every", "2")
    monkeypatch.setattr(teachers_module, "network_of", lambda *_, **__: pytest.fail("asked again"))
    assert distil(folder, "broken", "--checkpoint_every", "2") == 0
    resumed = RunFolder(folder / "runs" / "broken")
    assert resumed.checkpoint_files()[-1].name == student.checkpoint_files()[-1].name
    one, other = (read_checkpoint(run.checkpoint_files()[-1]) for run in (resumed, student))
    assert one.weights_sha256 == other.weights_sha256


def test_the_loss_is_the_cross_entropy_and_of_certain_targets_that_of_labels() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(6, 4)).astype(np.float32)
    targets = generator.dirichlet(np.ones(4), 6).astype(np.float32)
    weights = np.array([0.5, 1, 2, 3], np.float32)
    log_p = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    expected = -(0.9 * targets + 0.1 / 4) * log_p
    found = document_losses(tf.constant(logits), tf.constant(targets), 0.1, weights)
    np.testing.assert_allclose(found, expected.sum(axis=1) * (targets @ weights), rtol=1e-5)
    labels = np.array([0, 3, 2, 1, 1, 0], np.int32)
    certain = tf.constant(np.eye(4, dtype=np.float32)[labels])
    for smoothing, of_classes in ((0.0, None), (0.2, weights)):
        np.testing.assert_allclose(
            document_losses(tf.constant(logits), certain, smoothing, of_classes),
            document_losses(tf.constant(logits), tf.constant(labels), smoothing, of_classes),
            rtol=1e-6,
        )


def test_what_cannot_teach_is_refused_in_one_line(folder: Path, student: RunFolder, tmp_path: Path) -> None:
    teachers, records = teachers_of(folder), folder / "data" / "tiny" / "records"
    asked = dataclasses.replace(teachers[0].config(), training=TrainingSettings())
    with pytest.raises(UserError, match="the same network is named twice"):
        distillation_config([teachers[0], teachers[0]], asked, records)
    with pytest.raises(UserError, match="trained on other records"):
        distillation_config(teachers, dataclasses.replace(asked, records_sha256="0" * 64), records)
    write_tiny_records(tmp_path / "labelled")
    with pytest.raises(UserError, match="no unlabelled documents"):
        distillation_config(teachers, asked, tmp_path / "labelled")
    teachers[0].finished.rename(tmp_path / "finished.json")
    with pytest.raises(UserError, match=r"teacher-1 did not finish training; resume it: .*; or name other --teachers"):
        distillation_config(teachers, asked, records)
    (tmp_path / "finished.json").rename(teachers[0].finished)
    with pytest.raises(UserError, match="belong together"):
        main(arguments(folder, "--run_type", "distil"))
    with pytest.raises(UserError, match="belong together"):
        main(arguments(folder, "--teachers", "teacher-1"))
    with pytest.raises(UserError, match="there is no run 'nobody'"):
        main(arguments(folder, "--run_type", "distil", "--teachers", "nobody"))
    with pytest.raises(UserError, match="is a distillation"):
        main(arguments(folder, "--run_type", "retrain", "--run", student.path.name))


@pytest.fixture(autouse=True)
def tensorflow_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")
