"""The trainer as its users run it: a process of its own that is killed, resumed, interrupted, refused."""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import han_trainer
from config import ModelSettings, TrainingSettings, differences, model_settings_to_json
from han_trainer import build_parser, main
from runtime import checkpoints
from runtime.checkpoints import newest_checkpoint, read_checkpoint, restore, save_weights
from runtime.input_pipeline import Epochs
from runtime.networks import build_model
from runtime.run_folder import Progress, RunConfig, RunFolder
from runtime.scoring import Validation
from tests.helpers import EMBEDDING_DIM, VOCABULARY, tiny_documents, write_tiny_records
from training import trainer, waiting
from training.ngrams import FEW_VALIDATED, FEWEST_VALIDATED
from training.preparation import run_config
from training.step import StepTotals
from training.trainer import Trainer
from training.waiting import follow_checkpoints
from utils import UserError, exclusive_lock, read_json, read_jsonl, sha256_of_json

ROOT = Path(__file__).parent.parent
DRIVER = Path(__file__).parent / "killed_trainer.py"
# 90 documents in batches of 8: 12 steps an epoch, the last batch smaller than the others; 3 epochs. A checkpoint every
# 4 steps, so that some stand on the border of an epoch.
SETTINGS = [
    "--batch_size",
    "8",
    "--num_epochs",
    "3",
    "--word_units",
    "4",
    "--sentence_units",
    "3",
    "--attention_dim",
    "5",
    "--learning_rate",
    "0.05",
    "--warmup_steps",
    "5",
    "--dropout_keep_proba",
    "0.8",
    "--word_dropout",
    "0.05",
    "--checkpoint_every",
    "4",
    "--log_summaries_every",
    "7",
]
LAST = "step-00000036.safetensors"
KILLS = (("config", 1), ("step", 6), ("step-", 2), ("step", 5), ("best", 1), ("step", 4), ("step-", 3), ("finished", 1))
SOME_KILLS = (("step-", 2), ("sigterm", 3))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tiny_records(folder / "tiny" / "records")
    return folder


def command(data: Path, runs: Path, *flags: str) -> list[str]:
    return ["--dataset", "tiny", "--data_dir", str(data), "--runs_dir", str(runs), *SETTINGS, "--device", "cpu", *flags]


def train(
    data: Path, runs: Path, *flags: str, kills: Sequence[tuple[str, int]] = (("never", 0),)
) -> subprocess.CompletedProcess[str]:
    points = ",".join(f"{point}:{count}" for point, count in kills)
    return subprocess.run(
        [sys.executable, str(DRIVER), points, *command(data, runs, *flags)],
        capture_output=True,
        text=True,
        timeout=120 + 30 * len(kills),
        cwd=ROOT,
    )


def train_here(data: Path, runs: Path, *flags: str) -> int:
    """The trainer in this process, where TensorFlow has its devices already; a user's error is raised."""

    def devices(wanted: str, *_: Any, **__: Any) -> str:
        if wanted == "gpu":
            raise UserError("TensorFlow sees no GPU here")
        return "cpu"

    words = command(data, runs, *flags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(han_trainer, "start_tensorflow", devices)
        patch.setattr(sys, "argv", ["han_trainer.py", *words])
        return main(build_parser().parse_args(words))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    runs = tmp_path_factory.mktemp("uninterrupted")
    assert train_here(data, runs) == 0
    return RunFolder(runs / "tiny-han")


def test_a_finished_run_holds_everything(uninterrupted: RunFolder) -> None:
    names = {path.name for path in uninterrupted.path.iterdir()}
    assert {
        "config.json",
        "device.json",
        "vocab.txt",
        "labels.txt",
        "sentence_splitter.json",
        "checkpoints",
        "best.safetensors",
        "history.jsonl",
        "steps.jsonl",
        "finished.json",
        "tensorboard",
        "plots",
    } <= names
    assert {path.name for path in uninterrupted.plots.iterdir()} == {"training.png", "class_accuracy.png"}
    history = read_jsonl(uninterrupted.history)
    assert [row["step"] for row in history] == [6, 12, 18, 24, 30, 36]
    assert max(row["valid_accuracy"] for row in history) > 0.8  # a planted clue word decides
    assert [row["step"] for row in read_jsonl(uninterrupted.steps)] == [7, 14, 21, 28, 35]
    labels = np.array([document.label for document in tiny_documents("valid", 30)])
    for row in history:
        assert np.mean([row["valid_class_accuracy"][label] for label in labels]) == pytest.approx(row["valid_accuracy"])
    best = read_checkpoint(uninterrupted.best).progress
    assert best.best_loss == min(row["valid_loss"] for row in history)  # of 30 validation documents
    assert [path.name for path in uninterrupted.checkpoint_files()] == [
        "step-00000028.safetensors",
        "step-00000032.safetensors",
        LAST,
    ]


def test_the_loss_on_few_validation_documents_decides_and_the_accuracy_on_many() -> None:
    def better(ngrams: object, documents: int, loss: float, accuracy: float, several: bool = False) -> bool:
        progress = Progress(best_loss=0.5, best_accuracy=0.8)
        config = SimpleNamespace(several_labels=several)
        fake = SimpleNamespace(ngrams=ngrams, valid_split=range(documents), progress=progress, config=config)
        return Trainer.is_better(fake, Validation(loss, accuracy, [], {}))  # type: ignore[arg-type]

    lane = object()
    for documents in (FEWEST_VALIDATED, FEW_VALIDATED - 1):
        assert better(lane, documents, 0.4, 0.7) and not better(lane, documents, 0.6, 0.9)
    assert better(lane, FEWEST_VALIDATED - 1, 0.6, 0.7)  # the last is the best
    for ngrams, documents in ((lane, FEW_VALIDATED), (None, 30)):
        assert better(ngrams, documents, 0.6, 0.9) and not better(ngrams, documents, 0.4, 0.7)
        assert better(ngrams, documents, 0.4, 0.8) and not better(ngrams, documents, 0.5, 0.8)
        assert better(ngrams, documents, 0.4, 0.7, several=True)  # thresholds move the accuracy
        assert not better(ngrams, documents, 0.6, 0.9, several=True)


def test_tensorboard_shows_validation_documents_and_how_attention_narrows(uninterrupted: RunFolder) -> None:
    reader = EventAccumulator(str(uninterrupted.tensorboard / "valid"), size_guidance={"tensors": 0})
    reader.Reload()
    shown = [tag for tag in reader.Tags()["tensors"] if tag.startswith("attention/")]
    assert len(shown) == 4 and all(reader.SummaryMetadata(tag).plugin_data.plugin_name == "text" for tag in shown)
    for tag in shown:
        assert [event.step for event in reader.Tensors(tag)] == [6, 12, 18, 24, 30, 36]
    for name, longest in (("word", 6), ("sentence", 5)):
        values = [float(make_ndarray(e.tensor_proto)) for e in reader.Tensors(f"{name}_attention_entropy")]
        assert len(values) == 6 and 0 < values[-1] < np.log(longest)


@pytest.mark.parametrize("kills", [SOME_KILLS, pytest.param(KILLS, marks=pytest.mark.slow)], ids=["some", "all"])
def test_killed_anywhere_and_resumed_it_ends_with_the_same_weights(
    data: Path, uninterrupted: RunFolder, tmp_path: Path, kills: tuple[tuple[str, int], ...]
) -> None:
    """Before the run has begun, mid-epoch, during a checkpoint's write, on an epoch's last batch (resuming from a
    checkpoint on its border), during the best weights' write, before the end is noted. SIGTERM is noticed: it saves."""
    killed = train(data, tmp_path, kills=(*kills, ("never", 0)))
    assert killed.returncode == 0, killed.stderr
    codes = [128 + signal.SIGTERM if point == "sigterm" else -signal.SIGKILL for point, _ in kills]
    assert json.loads(killed.stdout.splitlines()[-1]) == [*codes, 0], killed.stderr
    if kills == SOME_KILLS:  # from the checkpoint of step 4, three steps on
        assert "to resume" in killed.stderr and "resuming from step 7" in killed.stderr
    resumed = RunFolder(tmp_path / "tiny-han")
    for name in (f"checkpoints/{LAST}", "best.safetensors"):
        assert (resumed.path / name).read_bytes() == (uninterrupted.path / name).read_bytes(), name
    assert read_jsonl(resumed.history) == read_jsonl(uninterrupted.history)
    assert [row["step"] for row in read_jsonl(resumed.steps)] == [
        row["step"] for row in read_jsonl(uninterrupted.steps)
    ]


@pytest.mark.parametrize("model", ["han", pytest.param("cnn", marks=pytest.mark.slow)])
def test_a_model_resumes_to_the_same_weights_and_frozen_vectors_stay(
    model: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process: stopped after 7 steps by what a full disk would raise, and gone on with."""
    shape = {"han": ["--word_units", "3", "--sentence_units", "2"], "cnn": ["--filters", "4"]}[model]
    flags = ["--dataset", "tiny", "--model", model, *shape, "--freeze_embeddings", "--data_dir", str(data),
             "--batch_size", "8", "--num_epochs", "1", "--checkpoint_every", "3", "--device", "cpu"]  # fmt: skip
    folders = [RunFolder(tmp_path / name / f"tiny-{model}") for name in ("whole", "broken")]

    def arguments(run: RunFolder) -> argparse.Namespace:
        return build_parser().parse_args([*flags, "--runs_dir", str(run.path.parent)])

    assert main(arguments(folders[0])) == 0
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "take_step", stop_after(7, Trainer.take_step))
        with pytest.raises(OSError, match="the disk is full"):
            main(arguments(folders[1]))
    assert main(arguments(folders[1])) == 0
    last = "step-00000012.safetensors"
    one, other = (read_checkpoint(run.checkpoints / last) for run in folders)
    assert one.weights_sha256 == other.weights_sha256
    assert [value.tobytes() for value in one.optimizer] == [value.tobytes() for value in other.optimizer]
    start = np.load(data / "tiny" / "records" / "embeddings.npy")
    np.testing.assert_array_equal(one.weights["embeddings"], start)
    assert start.shape not in {value.shape for value in one.optimizer}
    kept = folders[0].config().to_json()["model"]
    assert set(kept) == set(model_settings_to_json(model, ModelSettings()))


def stop_after(steps: int, take_step: Any) -> Any:
    """``take_step`` that fails when it has been called so many times."""
    calls = iter(range(steps))

    def limited(*arguments: Any) -> None:
        if next(calls, None) is None:
            raise OSError("the disk is full")
        take_step(*arguments)

    return limited


@pytest.mark.slow
def test_sigterm_from_outside_saves_and_the_same_command_resumes(
    data: Path, uninterrupted: RunFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path / "tiny-han")
    process = subprocess.Popen(
        [sys.executable, "han_trainer.py", *command(data, tmp_path, "--checkpoint_every", "1000")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "step     7" in line:
            process.send_signal(signal.SIGTERM)
            break
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "to resume" in rest and "Traceback" not in rest
    assert len(run.checkpoint_files()) == 1 and not run.finished.exists()
    caplog.set_level("INFO")
    assert train_here(data, tmp_path) == 0 and "resuming from step" in caplog.text
    assert (run.checkpoints / LAST).read_bytes() == (uninterrupted.checkpoints / LAST).read_bytes()


def test_a_finished_run_is_reported(data: Path, uninterrupted: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert train_here(data, uninterrupted.path.parent) == 0
    assert "is finished" in caplog.text


def test_other_settings_and_a_second_trainer_are_refused(data: Path, uninterrupted: RunFolder) -> None:
    before = (uninterrupted.checkpoints / LAST).read_bytes()
    with pytest.raises(UserError, match=r"learning_rate: 0\.05 -> 0\.5"):
        train_here(data, uninterrupted.path.parent, "--learning_rate", "0.5")
    with (
        exclusive_lock(uninterrupted.lock, "unused"),
        pytest.raises(UserError, match="another trainer is working"),
    ):
        train_here(data, uninterrupted.path.parent)
    assert (uninterrupted.checkpoints / LAST).read_bytes() == before


@pytest.mark.parametrize("flags", [("--learning_rate", "1e38", "--max_grad_norm", "0"), ("--learning_rate", "1e20")])
def test_numbers_that_diverge_are_reported_and_never_saved(data: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    often = ("--warmup_steps", "0", "--evaluate_every", "1", "--checkpoint_every", "1", "--num_checkpoints", "99")
    with pytest.raises(UserError, match="--learning_rate"):
        train_here(data, tmp_path, *flags, *often)
    run = RunFolder(tmp_path / "tiny-han")
    for path in [*run.checkpoint_files(), *run.path.glob("best*")]:
        assert all(np.isfinite(value).all() for value in read_checkpoint(path).weights.values()), path


def test_the_device_is_asked_once_a_summary_and_the_step_that_diverged_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = StepTotals.read

    def noted(self: StepTotals) -> list[dict[str, float]]:
        asked.append(len(self.unread))
        return read(self)

    monkeypatch.setattr(StepTotals, "read", noted)
    rare = ("--evaluate_every", "99", "--checkpoint_every", "99", "--num_epochs", "1")
    assert train_here(data, tmp_path / "whole", *rare) == 0
    assert [number for number in asked if number] == [7, 5]  # 12 steps, a summary after 7, validation after the last

    step = trainer.compile_step

    def diverging(*given: Any) -> Any:
        function = step(*given)
        return lambda documents, labels, seed, *more: {
            **function(documents, labels, seed, *more),
            **({"loss": tf.constant(math.nan)} if seed[1] == 8 else {}),  # the ninth
        }

    monkeypatch.setattr(trainer, "compile_step", diverging)
    with pytest.raises(UserError, match="the loss became nan at step 9; "):
        train_here(data, tmp_path / "diverged", *rare)
    assert not RunFolder(tmp_path / "diverged" / "tiny-han").has_weights()


def test_early_stopping_that_ends_before_it_is_noted_stays_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--patience", "1", "--evaluate_every", "3", "--learning_rate", "0")
    run = RunFolder(tmp_path / "tiny-han")
    replace = os.replace

    def fail_at_the_end(source: Any, target: Any) -> None:
        if Path(target) == run.finished:
            raise OSError(errno.ENOSPC, "the disk is full")
        replace(source, target)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="the disk is full"):
        patched.setattr(os, "replace", fail_at_the_end)
        train_here(data, tmp_path, *flags)
    assert not run.finished.exists()
    history, last = run.history.read_bytes(), run.checkpoint_files()[-1].read_bytes()
    assert train_here(data, tmp_path, *flags) == 0 and read_json(run.finished)["reason"] == "early stopping"
    assert read_json(run.finished)["step"] == 6
    assert run.history.read_bytes() == history and run.checkpoint_files()[-1].read_bytes() == last


def test_a_start_that_learnt_nothing_does_not_pin_its_settings(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "tiny-han")
    with monkeypatch.context() as patched, pytest.raises(OSError, match="the disk is full"):
        patched.setattr(Trainer, "take_step", stop_after(1, Trainer.take_step))
        train_here(data, tmp_path)
    assert run.exists() and run.config().training.num_epochs == 3
    assert train_here(data, tmp_path, "--num_epochs", "1") == 0
    assert run.config().training.num_epochs == 1
    assert train_here(data, tmp_path, "--restart", "--num_epochs", "1", "--word_units", "5") == 0
    assert (tmp_path / "tiny-han.old1/finished.json").exists()
    assert "--word_units 5" in run.read_config()["origin"]["command"]
    assert "--restart" not in run.read_config()["origin"]["command"]


def test_restart_renames_a_run_only_after_all_checks(data: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "tiny-han")
    run.path.mkdir()
    run.best.write_bytes(b"weights, but config.json was deleted")
    flags = ("--restart", "--num_epochs", "1")
    with pytest.raises(UserError, match="sees no GPU"):
        train_here(data, tmp_path, *flags, "--device", "gpu")
    assert run.best.exists()
    assert train_here(data, tmp_path, *flags) == 0
    assert (tmp_path / "tiny-han.old1" / run.best.name).read_bytes().startswith(b"weights")


def test_a_finished_run_and_a_resume_notice_damage(data: Path, tmp_path: Path) -> None:
    assert train_here(data, tmp_path, "--num_epochs", "1") == 0
    run = RunFolder(tmp_path / "tiny-han")
    whole = {name: (run.path / name).read_bytes() for name in ("vocab.txt", "best.safetensors")}
    for finished in (True, False):
        for name, content in whole.items():
            (run.path / name).write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
            with pytest.raises(UserError, match=f"{name}.* damaged"):
                train_here(data, tmp_path, "--num_epochs", "1")
            (run.path / name).write_bytes(content)
        if finished:
            run.finished.unlink()


@pytest.mark.parametrize("when", ["copying", "opening"])
def test_records_replaced_while_the_trainer_starts_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Neither the text files of the run folder nor what it trains on may be of other records than its settings."""
    records = tmp_path / "tiny" / "records"
    write_tiny_records(records)

    def replace_records() -> None:
        write_tiny_records(tmp_path / "newer", 60)
        records.rename(tmp_path / "older")
        (tmp_path / "newer").rename(records)

    create = RunFolder.create
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")

    def creating(self: RunFolder, *arguments: Any) -> None:
        if when == "copying":
            replace_records()
        create(self, *arguments)

    def opening(*arguments: Any) -> Epochs:
        if when == "opening":
            replace_records()
        return Epochs(*arguments)

    monkeypatch.setattr(RunFolder, "create", creating)
    monkeypatch.setattr(trainer, "Epochs", opening)
    arguments = build_parser().parse_args(command(tmp_path, tmp_path / "runs", "--num_epochs", "1"))
    with pytest.raises(UserError, match="was replaced while the trainer was starting; run the same command again"):
        main(arguments)
    run = RunFolder(tmp_path / "runs" / "tiny-han")
    assert not run.has_weights() and run.exists() == (when == "opening")
    when = "never"
    assert main(arguments) == 0
    assert run.config().records_sha256 == sha256_of_json(read_json(records / "manifest.json"))
    run.check_files()


def test_class_names_end_where_their_line_ends(tmp_path: Path) -> None:
    records = tmp_path / "tiny" / "records"
    write_tiny_records(records, 6)
    (records / "labels.txt").write_text("a\u2028b\nc\x85d\n", encoding="utf-8")
    arguments = build_parser().parse_args(["--dataset", "tiny"])
    config = run_config(arguments, ModelSettings(), TrainingSettings(), records, {})
    assert config.class_names == ("a\u2028b", "c\x85d")


@pytest.mark.slow
def test_a_gpu_that_is_missing_is_reported(data: Path, tmp_path: Path) -> None:
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    words = [sys.executable, "han_trainer.py", *command(data, tmp_path, "--device", "gpu")]
    asked = subprocess.run(words, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert asked.returncode == 2 and "sees no GPU" in asked.stderr.splitlines()[-1]


# ---------------------------------------------------------------------------------------------------------------------
# The run folder in this process


def tiny_config(**changes: object) -> RunConfig:
    settings = {
        "dataset": "tiny",
        "architecture": "han",
        "model": ModelSettings(word_units=4, sentence_units=3),
        "training": TrainingSettings(),
        "class_names": ("negative", "positive"),
        "vocabulary_size": len(VOCABULARY),
        "embedding_dim": EMBEDDING_DIM,
        "records_sha256": "0",
    }
    return RunConfig(**{**settings, **changes})  # type: ignore[arg-type]


def begun(path: Path, data: Path) -> RunFolder:
    run = RunFolder(path)
    run.create(tiny_config(), data / "tiny" / "records")
    return run


def test_configuration_survives_its_file(tmp_path: Path, data: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(tiny_config(), data / "tiny" / "records")
    assert run.config() == tiny_config()
    value = read_json(run.config_file)
    identity = run.identity()
    del value["settings"]["training"]["patience"]  # as if that setting were younger than the run
    run.config_file.write_text(json.dumps(value))
    assert run.config() == tiny_config() and run.identity() != identity
    value["settings"]["training"]["learning_rat"] = 1
    run.config_file.write_text(json.dumps(value))
    with pytest.raises(UserError, match="learning_rat"):
        run.config()
    value["format_version"] = 99
    run.config_file.write_text(json.dumps(value))
    with pytest.raises(UserError, match="format version 99"):
        run.config()


def test_other_records_are_reported_in_words_and_not_by_their_hash(tmp_path: Path, data: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create(tiny_config(records_sha256="f" * 64), data / "tiny" / "records")
    with pytest.raises(UserError, match=r"\(the records were made again; embedding_dim: 6 -> 7\)"):
        run.refuse_other_settings(tiny_config(records_sha256="e" * 64, embedding_dim=7))
    assert differences({"a": "f" * 64}, {"a": ["0" * 64]}) == ["a: ffffffff -> ['00000000']"]


def test_weights_come_back_and_damage_is_noticed(tmp_path: Path) -> None:
    model, other = build_model(tiny_config()), build_model(tiny_config(training=TrainingSettings(seed=2)))
    path = tmp_path / "step-00000003.safetensors"
    save_weights(path, model, Progress(step=3))
    assert restore(read_checkpoint(path), other) == Progress(step=3)
    for name, weight in model.named_weights().items():
        np.testing.assert_array_equal(weight, other.named_weights()[name])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:])
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(path)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        read_checkpoint(path)


def test_another_vocabulary_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.safetensors"
    save_weights(path, build_model(tiny_config()), Progress())
    with pytest.raises(UserError, match=r"embeddings: \(44, 6\) -> \(50, 6\)"):
        restore(read_checkpoint(path), build_model(tiny_config(vocabulary_size=50)))


def test_a_damaged_newest_checkpoint_and_one_of_another_run_are_skipped(data: Path, tmp_path: Path) -> None:
    run, model = begun(tmp_path, data), build_model(tiny_config())
    for step in (5, 10):
        save_weights(run.checkpoints / f"step-{step:08d}.safetensors", model, Progress(step=step), run=run.identity())
    run.checkpoint_files()[-1].write_bytes(b"nonsense")
    save_weights(run.checkpoints / "step-00000007.safetensors", model, Progress(step=7), run="another run")
    checkpoint = newest_checkpoint(run)
    assert checkpoint is not None and checkpoint.progress.step == 5


def test_following_yields_each_checkpoint_once_and_ends_with_the_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, model = begun(tmp_path, data), build_model(tiny_config())
    written = iter([[1], [], [2, 3], [], [4]])

    def meanwhile(_: float) -> None:
        steps = next(written, None)
        if steps is None:
            run.finished.write_text("{}")
        for step in steps or []:
            save_weights(
                run.checkpoints / f"step-{step:08d}.safetensors", model, Progress(step=step), run=run.identity()
            )

    def vanishing(path: Path) -> checkpoints.Checkpoint:
        """A trainer keeps few: an old one may vanish between being seen and being read."""
        if checkpoints.step_of(path) == 2:
            path.unlink()
        return read_checkpoint(path)

    monkeypatch.setattr(waiting.time, "sleep", meanwhile)
    monkeypatch.setattr(checkpoints, "read_checkpoint", vanishing)
    assert [checkpoint.progress.step for checkpoint in follow_checkpoints(run)] == [1, 3, 4]


def test_a_half_written_checkpoint_is_never_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, model = RunFolder(tmp_path), build_model(tiny_config())

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(run.checkpoints / "step-00000001.safetensors", model, Progress())
    assert list(run.checkpoints.iterdir()) == []


# ---------------------------------------------------------------------------------------------------------------------
# The tester beside the trainer


@pytest.mark.slow
def test_tester_follows_a_running_trainer_and_then_tests_the_best(data: Path, tmp_path: Path) -> None:
    where = ["--dataset", "tiny", "--data_dir", str(data), "--runs_dir", str(tmp_path)]
    flags = ["--num_checkpoints", "100", "--num_epochs", "2", "--checkpoint_every", "6"]
    started = time.monotonic()
    processes = [
        subprocess.Popen(
            [sys.executable, *command_line], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for command_line in (
            ["han_tester.py", "--run_type", "val", *where],
            ["han_tester.py", "--run_type", "test", *where],
            ["han_trainer.py", *command(data, tmp_path, *flags)],
        )
    ]
    outputs = [process.communicate(timeout=150) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], (outputs, time.monotonic() - started)
    run = RunFolder(tmp_path / "tiny-han")
    rows = read_jsonl(run.results)
    steps = [row["step"] for row in rows if row["split"] == "valid"]
    assert steps == sorted(set(steps)) == [6, 12, 18, 24]
    best = read_checkpoint(run.best)
    tested = [row for row in rows if row["split"] == "test"]
    assert [row["weights_sha256"] for row in tested] == [best.weights_sha256]
    assert tested[0]["accuracy"] > 0.7
    assert f"{tested[0]['accuracy']:.2%}" in outputs[1][0]
    # What the tester measured on the last checkpoint is what the trainer measured with the weights in memory.
    history = {row["step"]: row for row in read_jsonl(run.history)}
    for row in rows:
        if row["split"] == "valid" and row["step"] in history:
            assert row["accuracy"] == pytest.approx(history[row["step"]]["valid_accuracy"])
            assert row["loss"] == pytest.approx(history[row["step"]]["valid_loss"], rel=1e-5, abs=1e-6)
    lines = (run.path / "predictions-test.csv").read_text().splitlines()
    assert lines[0] == "id,label,prediction,probability_negative,probability_positive" and len(lines) == 31
