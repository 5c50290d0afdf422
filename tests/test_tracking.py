"""Weights and Biases: what would be sent, under which id, and what is told where the package is missing."""

from __future__ import annotations

import argparse
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import han_trainer
import run_all
from tests.helpers import write_tiny_records
from training.tracking import INSTALL, WandbRun, check_installed, wandb_flags
from utils import DataPaths, UserError, read_json, read_jsonl, write_json


class FakeWandb(ModuleType):
    """Remembers what it is told."""

    class Error(Exception):
        pass

    def __init__(self, refuse: bool = False) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.begun: list[dict[str, Any]] = []
        self.points: list[dict[str, float]] = []
        self.metrics: list[tuple[str, str | None]] = []
        self.codes: list[int] = []
        self.refuse = refuse

    @staticmethod
    def Settings(**values: Any) -> dict[str, Any]:
        return values

    def init(self, **arguments: Any) -> Any:
        if self.refuse:
            raise self.Error("api_key not configured")
        self.begun.append(arguments)
        return SimpleNamespace(
            log=self.points.append,
            define_metric=lambda name, step_metric=None: self.metrics.append((name, step_metric)),
            finish=lambda exit_code: self.codes.append(exit_code),
        )


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_a_run_that_goes_on_keeps_its_id(tmp_path: Path, wandb: FakeWandb) -> None:
    for project in ("mine", "other"):  # the project is that of the beginning
        run = WandbRun(tmp_path, project, {"dataset": "tiny"})
        run.scalars(7, "train", {"loss": 0.5})
        run.finish()
    first, second = wandb.begun
    assert first["id"] == second["id"] == read_json(tmp_path / "wandb.json")["id"]
    assert first["project"] == second["project"] == "mine" and first["resume"] == "allow"
    assert first["name"] == tmp_path.name and first["config"] == {"dataset": "tiny"}
    assert wandb.points == [{"step": 7, "train/loss": 0.5}] * 2
    assert ("*", "step") in wandb.metrics and wandb.codes == [0, 0]


def test_the_trainer_sends_what_it_writes_for_tensorboard(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")
    write_tiny_records(tmp_path / "tiny" / "records", 24)
    flags = [
        "--dataset",
        "tiny",
        "--data_dir",
        str(tmp_path),
        "--runs_dir",
        str(tmp_path / "runs"),
        "--batch_size",
        "8",
    ]
    small = ["--word_units", "2", "--sentence_units", "2", "--attention_dim", "2", "--num_epochs", "1"]
    often = ["--log_summaries_every", "1", "--wandb", "--wandb_project", "reviews"]
    assert han_trainer.main(han_trainer.build_parser().parse_args([*flags, *small, *often])) == 0
    (begun,) = wandb.begun
    assert begun["project"] == "reviews" and begun["config"]["training"]["batch_size"] == 8
    history = {row["step"]: row for row in read_jsonl(tmp_path / "runs" / "tiny-han" / "history.jsonl")}
    sent = {point["step"]: point["valid/accuracy"] for point in wandb.points if "valid/accuracy" in point}
    assert sent == {step: row["valid_accuracy"] for step, row in history.items()}
    trained = [point for point in wandb.points if "train/loss" in point]
    assert [point["step"] for point in trained] == [1, 2, 3]
    assert {"train/learning_rate", "train/momentum", "train/accuracy"} <= trained[0].keys()
    assert wandb.codes == [0]


def test_what_is_missing_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(refuse=True))
    with pytest.raises(UserError, match=r"api_key not configured; log in with: wandb login, or .*WANDB_MODE=offline"):
        WandbRun(tmp_path, "mine", {})
    monkeypatch.delitem(sys.modules, "wandb")
    monkeypatch.setattr("training.tracking.find_spec", lambda _: None)
    with pytest.raises(UserError, match=INSTALL):
        check_installed(argparse.Namespace(wandb=True))
    check_installed(argparse.Namespace(wandb=False))


def test_run_all_hands_the_flags_on_without_training_anew(tmp_path: Path) -> None:
    flags = ["--data_dir", str(tmp_path), "--wandb", "--wandb_project", "reviews"]
    arguments = han_trainer.build_parser().parse_args(flags)
    assert wandb_flags(arguments) == flags[2:]
    arguments = run_all.build_parser().parse_args(["sample", *flags])
    paths = DataPaths("sample", tmp_path)
    write_json(paths.csv_manifest, {"splits": {"train": {"documents": 1000}}})
    [train] = [stage for stage in run_all.stages(arguments, paths) if stage.name == "train"]
    assert train.options == flags[2:] and "--wandb" not in train.command  # options are no reason to run again
