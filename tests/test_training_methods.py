"""Training runs in this process: every method together is killed and resumed; other optimisers; retraining."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import han_tester
import han_trainer
from network import kernels
from runtime import predictor
from runtime.checkpoints import read_checkpoint
from runtime.input_pipeline import Split, training_batches
from runtime.networks import build_model
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from training import lr_range, tester, trainer
from training.log import TrainingLog
from utils import UserError, read_json, read_jsonl

NETWORK = ["--word_units", "4", "--sentence_units", "3", "--attention_dim", "5", "--warmup_steps", "5"]
PACE = ["--num_epochs", "3", "--learning_rate", "0.05", "--log_summaries_every", "1"]
EVERYTHING = [
    *("--optimizer", "sgd", "--cycle", "triangular2", "--cycle_steps", "8", "--cycle_momentum"),
    *("--batch_words", "150", "--bucket_by", "words", "--max_sentences", "4", "--max_words", "5"),
    *("--label_smoothing", "0.1", "--class_weights", "balanced", "--l2", "0.001"),
]


class Built(Exception):
    """In place of a network."""


class Killed(BaseException):
    """As a signal that nobody can catch."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tiny_records(folder / "tiny" / "records")
    return folder


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")


def train(data: Path, runs: Path, *flags: str) -> RunFolder:
    where = ["--dataset", "tiny", "--data_dir", str(data), "--runs_dir", str(runs)]
    settings = [] if "retrain" in flags else [*NETWORK, *PACE]
    arguments = han_trainer.build_parser().parse_args([*where, *settings, "--checkpoint_every", "4", *flags])
    assert han_trainer.main(arguments) == 0
    return RunFolder(runs / "tiny-han")


def retrain(data: Path, runs: Path, *flags: str) -> RunFolder:
    return RunFolder(train(data, runs, "--run_type", "retrain", *flags).path.with_name("tiny-han-retrained"))


def train_killed(data: Path, runs: Path, steps: int, monkeypatch: pytest.MonkeyPatch, *flags: str) -> None:
    take_step, left = trainer.Trainer.take_step, iter(range(steps))

    def counted(self: Any, batch: Any) -> None:
        if next(left, None) is None:
            raise Killed
        take_step(self, batch)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(trainer.Trainer, "take_step", counted)
        train(data, runs, *flags)


@pytest.mark.slow
def test_every_method_together_killed_and_resumed_ends_with_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="han"):
        whole = train(data, tmp_path / "whole", *EVERYTHING)
    assert "--max_sentences 4 and --max_words 5 cut" in caplog.text
    for steps in (6, 9):
        train_killed(data, tmp_path / "resumed", steps, monkeypatch, *EVERYTHING)
    resumed = train(data, tmp_path / "resumed", *EVERYTHING)
    last = whole.checkpoint_files()[-1]
    assert last.read_bytes() == resumed.checkpoint_files()[-1].read_bytes()
    assert read_jsonl(whole.history) == read_jsonl(resumed.history)
    history = read_jsonl(whole.history)
    assert [row["epoch"] for row in history][1::2] == [1, 2, 3]
    for row in history:
        height = 1 - abs(2 * ((row["step"] - 1) % 8) / 8 - 1)
        height /= 2 ** ((row["step"] - 1) // 8)
        assert row["learning_rate"] == pytest.approx(0.005 + 0.045 * height, rel=1e-5)
        assert row["momentum"] == pytest.approx(0.95 - 0.1 * height, rel=1e-5)


@pytest.mark.parametrize("flags", [["--class_weights", "balanced"], ["--label_smoothing", "0.3"], []])
def test_the_loss_of_a_step_is_the_one_that_the_settings_ask_for(data: Path, tmp_path: Path, flags: list[str]) -> None:
    """At a learning rate of 0, so that the weights are the initial ones."""
    still = ["--learning_rate", "0", "--dropout_keep_proba", "1", "--batch_size", "32", "--num_epochs", "1"]
    run = train(data, tmp_path, *still, *flags)
    config = run.config()
    records = data / "tiny" / "records"
    model = build_model(config, np.load(records / "embeddings.npy"))
    split = Split(records, "train")
    batch = split.read(training_batches(split.index, 32, config.training.seed, 0)[0])
    logits, labels = model(batch.documents).numpy().astype(np.float64), batch.labels.numpy()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    losses = -log_p[np.arange(len(labels)), labels]
    counts = np.bincount(split.index["label"])
    assert counts[0] != counts[1]  # otherwise balanced weights are all 1
    if "--label_smoothing" in flags:
        losses = 0.7 * losses - 0.3 * log_p.mean(axis=1)
    if "--class_weights" in flags:
        losses = losses * (counts.sum() / (2 * counts))[labels]
    assert read_jsonl(run.steps)[0]["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    split.close()


def test_on_a_gpu_whoever_builds_a_network_asks_for_the_padded_path(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trainer, range test, tester and predictor, which end here before their first batch."""
    run = write_tiny_run(tmp_path / "done", data / "tiny" / "records")
    opened: list[Split] = []

    class Noted(Split):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            opened.append(self)

    def stop(*_: object, padded: bool = False, **__: object) -> None:
        raise Built(padded)

    for module, name in ((trainer, "build_model"), (lr_range, "build_model"), (tester, "network_of")):
        monkeypatch.setattr(module, name, stop)
    monkeypatch.setattr(predictor, "network_of", stop)
    for module in (trainer, tester):
        monkeypatch.setattr(module, "Split", Noted)
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "gpu")
    monkeypatch.setattr(han_tester, "start_for_runs", lambda *_, **__: "gpu")
    tested = han_tester.build_parser().parse_args([str(run.path), "--data_dir", str(data)])
    for begin in (
        lambda: train(data, tmp_path, "--ngrams", "off"),
        lambda: train(data, tmp_path, "--run_type", "lr_range"),
        lambda: han_tester.main(tested),
        lambda: Predictor.load(run, "gpu"),
    ):
        with pytest.raises(Built) as built:
            begin()
        assert built.value.args == (True,)
    for split in opened:
        split.close()


@pytest.mark.slow
def test_on_a_gpu_no_compiled_loop_runs(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainer, range test, tester and predictor; here with the device of another machine."""
    for name in ("gru_forward", "lstm_forward", "attention_forward"):
        monkeypatch.setattr(kernels, name, lambda *_, **__: pytest.fail("a compiled loop ran"))
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "gpu")
    monkeypatch.setattr(han_tester, "start_for_runs", lambda *_, **__: "gpu")
    run = train(data, tmp_path, "--batch_size", "32", "--num_epochs", "1")
    train(data, tmp_path, "--batch_size", "4", "--run_type", "lr_range", "--lr_steps", "20")
    where = ["--dataset", "tiny", "--data_dir", str(data), "--runs_dir", str(tmp_path)]
    assert han_tester.main(han_tester.build_parser().parse_args(where)) == 0
    loaded = Predictor.load(run, "gpu")
    assert len(loaded.score([loaded.read("good word01").document])) == 1
    assert run.trained_on()["device"] == "gpu"  # by which testers and readers choose theirs


def test_a_run_killed_while_it_draws_is_not_finished_and_draws_when_it_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainingLog, "draw", killed)
        train(data, tmp_path, "--num_epochs", "1")
    run = RunFolder(tmp_path / "tiny-han")
    history = run.history.read_bytes()
    assert not run.finished.exists()
    train(data, tmp_path, "--num_epochs", "1")
    assert run.finished.exists() and sorted(run.plots.glob("*.png")) and run.history.read_bytes() == history


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_other_optimisers_find_the_clue(data: Path, tmp_path: Path, optimizer: str) -> None:
    rate = {"adamw": "0.05", "sgd": "0.5"}[optimizer]
    flags = ["--batch_size", "8", "--dropout_keep_proba", "1", "--num_epochs", "5"]
    run = train(data, tmp_path, *flags, "--optimizer", optimizer, "--learning_rate", rate)
    best = read_checkpoint(run.best).progress
    assert best.best_accuracy > 0.8
    assert all(np.isfinite(weight).all() for weight in read_checkpoint(run.best).weights.values())


def test_retraining_sees_train_and_validation_for_the_chosen_epochs_and_is_tested_as_such(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--batch_size", "8", "--dropout_keep_proba", "0.9", "--evaluate_every", "5", "--num_epochs", "2"]
    first = train(data, tmp_path, *flags)
    before = {path: path.read_bytes() for path in first.path.rglob("*") if path.is_file()}
    best = read_checkpoint(first.best)
    seen: list[int] = []
    read = Split.read

    def remembering(self: Split, numbers: np.ndarray) -> Any:
        assert self.name == "train+valid"
        seen.extend(numbers.tolist())
        return read(self, numbers)

    with monkeypatch.context() as patch:
        patch.setattr(Split, "read", remembering)
        train_killed(data, tmp_path, 5, monkeypatch, "--run_type", "retrain")
        seen.clear()
        run = retrain(data, tmp_path, "--learning_rate", "0.05")
    chosen = run.config().retraining
    assert chosen is not None
    assert (chosen.run, chosen.step, chosen.weights_sha256) == ("tiny-han", best.progress.step, best.weights_sha256)
    # 90 documents are 12 batches of 8, 120 are 15: as many epochs, so more steps.
    assert chosen.epochs == pytest.approx(best.progress.step / 12)
    steps = round(chosen.epochs * 15)
    last = read_checkpoint(run.best)
    assert last.progress.step == steps == read_json(run.finished)["step"] != best.progress.step
    assert max(seen) >= 90 and not run.history.exists()
    assert {path: path.read_bytes() for path in before} == before
    uninterrupted = retrain(data, twin(first, tmp_path / "twin"))
    assert read_checkpoint(uninterrupted.best).weights_sha256 == last.weights_sha256
    where = ["--dataset", "tiny", "--data_dir", str(data), "--runs_dir", str(tmp_path), "--run", run.path.name]
    monkeypatch.setattr(han_tester, "start_for_runs", lambda *_, **__: "cpu")
    assert han_tester.main(han_tester.build_parser().parse_args(where)) == 0
    (row,) = read_jsonl(run.results)
    assert row["weights_sha256"] == last.weights_sha256 and row["valid_accuracy"] is None
    assert row["title"].endswith(", trained on train and validation")
    for told in (row["chosen"], capsys.readouterr().out):
        assert f"for the {chosen.epochs:.2f} epochs that validation chose in tiny-han" in told
    with pytest.raises(UserError, match="trained on the validation documents"):
        han_tester.main(han_tester.build_parser().parse_args([*where, "--run_type", "val"]))


def twin(run: RunFolder, runs: Path) -> Path:
    """A folder of runs with a copy of this one alone."""
    shutil.copytree(run.path, runs / run.path.name)
    return runs


def test_a_retraining_has_no_settings_of_its_own(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run in"):
        retrain(data, tmp_path)
    train(data, tmp_path, "--batch_size", "8", "--num_epochs", "1")
    with pytest.raises(UserError, match=r"--learning_rate 0\.3: a retraining takes the settings of"):
        retrain(data, tmp_path, "--learning_rate", "0.3")
    with pytest.raises(UserError, match="there is no run in"):
        train(data, tmp_path, "--run_type", "retrain", "--run", "tiny-han-retrained")
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["tiny-han"]
