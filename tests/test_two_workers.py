"""Two trainers on loopback, as their users start them. Slow: ten trainings in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from runtime.checkpoints import hash_of_weights, read_checkpoint
from runtime.ngram_tables import read_table
from runtime.run_folder import RunFolder
from tests.helpers import free_ports, write_tiny_records
from tests.test_trainer import DRIVER, LAST, ROOT, command, train
from utils import read_jsonl

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tiny_records(folder / "tiny" / "records")
    return folder


def start(data: Path, runs: Path, *flags: str, kill: tuple[int, str, int] = (0, "never", 0)) -> list[subprocess.Popen]:
    """Two workers, each with a folder of runs of its own, as on machines that share no disk."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        point, count = kill[1:] if index == kill[0] else ("never", 0)
        processes.append(
            subprocess.Popen(
                [sys.executable, str(DRIVER), f"{point}:{count}", *command(data, runs / str(index), *flags)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
            )
        )
    return processes


def end(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each."""
    outputs = [process.communicate(timeout=120) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def test_two_workers_train_as_one_process_with_the_joint_batch(data: Path, tmp_path: Path) -> None:
    """With dropout on words, sentences and documents. The last batch of an epoch holds 2 documents, the others 8."""
    flags = ("--max_grad_norm", "0.5", "--l2", "0.001")
    together = end(start(data, tmp_path, *flags))
    assert [code for code, *_ in together] == [0, 0], together
    alone = subprocess.run(
        [sys.executable, str(DRIVER), "never:0", *command(data, tmp_path / "alone", *flags)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert alone.returncode == 0, alone.stderr
    runs = [RunFolder(tmp_path / name / "tiny-han") for name in ("0", "alone")]
    joint, single = (read_checkpoint(run.checkpoints / LAST) for run in runs)
    for name, weights in single.weights.items():
        np.testing.assert_allclose(joint.weights[name], weights, atol=1e-4, err_msg=name)
    assert joint.progress.step == single.progress.step == 36
    for ours, theirs in zip(*(read_jsonl(run.history) for run in runs), strict=True):
        assert ours["valid_loss"] == pytest.approx(theirs["valid_loss"], rel=1e-4)
    # The same weights in both memories, which are those of the checkpoint; one of them writes.
    assert {output.strip() for _, output, _ in together} == {hash_of_weights(joint.weights)}
    assert not any(path.is_file() for path in (tmp_path / "1").rglob("*"))
    assert "differ by rounding" not in together[0][2]


def test_two_workers_go_on_from_a_run_with_the_same_ngrams(data: Path, tmp_path: Path) -> None:
    """With balanced weights, by which n-grams that a worker fitted itself would be others than the run's."""
    first = train(data, tmp_path / "first")
    assert first.returncode == 0, first.stderr
    old, new = RunFolder(tmp_path / "first" / "tiny-han"), RunFolder(tmp_path / "0" / "next")
    flags = ("--from_run", str(old.path), "--ngrams_from", "run", "--run", "next", "--class_weights", "balanced")
    together = end(start(data, tmp_path, *flags))
    assert [code for code, *_ in together] == [0, 0], together
    np.testing.assert_array_equal(read_table(new).weights, read_table(old).weights)
    weights = read_checkpoint(new.checkpoints / LAST).weights
    assert {output.strip() for _, output, _ in together} == {hash_of_weights(weights)}


def test_a_worker_that_dies_stops_the_job_and_both_go_on_from_the_last_checkpoint(data: Path, tmp_path: Path) -> None:
    whole = end(start(data, tmp_path / "whole"))
    assert [code for code, *_ in whole] == [0, 0], whole
    for victim in (1, 0):
        started = time.monotonic()
        killed = end(start(data, tmp_path / "killed", kill=(victim, "step", 9)))
        assert killed[victim][0] == -signal.SIGKILL
        code, _, errors = killed[1 - victim]
        assert code == 2 and time.monotonic() - started < 60
        assert f"worker {victim} (127.0.0.1" in errors.splitlines()[-1] and "start the same command" in errors
        assert "Traceback" not in errors
    resumed = end(start(data, tmp_path / "killed"))
    assert [code for code, *_ in resumed] == [0, 0], resumed
    assert "resuming from step" in resumed[0][2] and "resuming from step" in resumed[1][2]
    ours, theirs = (RunFolder(tmp_path / name / "0" / "tiny-han") for name in ("killed", "whole"))
    assert (ours.checkpoints / LAST).read_bytes() == (theirs.checkpoints / LAST).read_bytes()
    assert read_jsonl(ours.history) == read_jsonl(theirs.history)
    again = end(start(data, tmp_path / "killed"))
    assert [code for code, *_ in again] == [0, 0] and "is finished" in again[0][2], again


def test_a_signal_to_one_stops_both_with_a_checkpoint(data: Path, tmp_path: Path) -> None:
    processes = start(data, tmp_path, "--num_epochs", "500", "--patience", "0", "--checkpoint_every", "100000")
    worker = processes[1]
    assert worker.stderr is not None
    for line in worker.stderr:
        if "step     7" in line:
            worker.send_signal(signal.SIGTERM)
            break
    ended = end(processes)
    assert [code for code, *_ in ended] == [128 + signal.SIGTERM] * 2, ended
    assert "worker 1" in ended[0][2] and "received a signal to stop" in ended[0][2]
    assert len(RunFolder(tmp_path / "0" / "tiny-han").checkpoint_files()) == 1
