"""Checkpoints belong to one run: whoever reads one of another run refuses it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

import han_tester
from runtime.checkpoints import best_checkpoint, newest_checkpoint, read_checkpoint, run_checkpoint
from runtime.predictor import Predictor
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from utils import UserError, read_json, sha256_of_json, write_json


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs on the same records, of the same shape, in training; the first has the best weights of the second."""
    records = tmp_path / "data" / "tiny" / "records"
    write_tiny_records(records)
    for name in ("first", "second"):
        run = write_tiny_run(tmp_path / "runs" / name, records)
        value = read_json(run.config_file)
        value["settings"]["records_sha256"] = sha256_of_json(read_json(records / "manifest.json"))
        value["settings"]["training"]["seed"] = {"first": 1, "second": 2}[name]
        write_json(run.config_file, value)
        header = json.loads(json.dumps({"run": run.identity()}))
        rewrite(run.best, **header)
        run.finished.unlink()
    shutil.copy(tmp_path / "runs" / "second" / "best.safetensors", tmp_path / "runs" / "first" / "best.safetensors")
    monkeypatch.setattr(han_tester, "start_for_runs", lambda *_, **__: "cpu")
    return tmp_path


def rewrite(path: Path, **changes: object) -> None:
    """Changes the header of a checkpoint."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["checkpoint"])
    save_file(load_file(path), path, {"checkpoint": json.dumps(header | changes)})


def test_weights_of_another_run_are_refused_by_whoever_loads_them(folder: Path) -> None:
    first, second = (RunFolder(folder / "runs" / name) for name in ("first", "second"))
    assert best_checkpoint(second).run == second.identity() != first.identity()
    Predictor.load(second)
    for load in (best_checkpoint, Predictor.load, lambda run: run_checkpoint(run, run.best)):
        with pytest.raises(UserError, match="belongs to another run"):
            load(first)


def test_the_tester_refuses_weights_of_another_run(folder: Path) -> None:
    where = [str(folder / "runs" / "first"), "--data_dir", str(folder / "data")]
    for named in ("first", "second"):
        best = folder / "runs" / named / "best.safetensors"
        with pytest.raises(UserError, match="belongs to another run"):
            han_tester.main(han_tester.build_parser().parse_args([*where, "--checkpoint", str(best)]))
    (folder / "runs" / "first" / "finished.json").write_text("{}")
    with pytest.raises(UserError, match="belongs to another run"):
        han_tester.main(han_tester.build_parser().parse_args(where))


def test_a_resume_skips_a_checkpoint_of_another_run(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = RunFolder(folder / "runs" / "first")
    first.checkpoints.mkdir()
    shutil.copy(first.best, first.checkpoints / "step-00000007.safetensors")
    assert newest_checkpoint(first) is None
    assert "belongs to another run" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 99}, "format version 99"),
        ({"weights_sha256": 5}, "weights_sha256"),
        ({"progress": []}, "progress"),
        ({"progress": {"step": 1, "speed": 3}}, "speed"),
        ({"weights_sha256": "0" * 64}, "do not have the hash"),
    ],
)
def test_a_header_of_another_shape_is_one_line(folder: Path, changes: dict[str, object], message: str) -> None:
    best = folder / "runs" / "second" / "best.safetensors"
    rewrite(best, **changes)
    with pytest.raises(UserError, match=message):
        read_checkpoint(best)
