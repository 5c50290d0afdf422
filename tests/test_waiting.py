"""The tester and a trainer that was stopped: reported, and ended after ``--wait``."""

from __future__ import annotations

from pathlib import Path

import pytest

import han_tester
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records, write_tiny_run
from training import waiting
from training.waiting import Idle, follow_checkpoints
from utils import UserError, exclusive_lock


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    write_tiny_records(tmp_path / "records")
    run = write_tiny_run(tmp_path / "runs" / "first", tmp_path / "records")
    run.finished.unlink()
    return run


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes by sleeping."""
    now = [0.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(waiting.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_following_ends_after_the_wait_with_the_command_that_resumes(run: RunFolder, clock: list[float]) -> None:
    with pytest.raises(UserError, match=r"no trainer has been working on .* for 90 s .* resume it: python "):
        list(follow_checkpoints(run, wait=90))
    assert clock == [90]


def test_a_trainer_that_stopped_is_reported_twice_and_no_more(
    run: RunFolder, clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    idle = Idle(run, None)
    for second in range(300):
        clock[0] = second
        idle.look()
    assert [record.message.split(";")[0].split(":")[0] for record in caplog.records] == [
        f"no trainer is working on {run.path}",
        "still no trainer",
    ]
    with exclusive_lock(run.lock):
        idle.look()
    assert idle.since is None  # a trainer is back: the time counts from the beginning
    idle.look()
    assert len(caplog.records) == 3


def test_the_tester_takes_the_wait(tmp_path: Path, clock: list[float]) -> None:
    flags = ["later", "--runs_dir", str(tmp_path), "--run_type", "val", "--wait", "7"]
    with pytest.raises(UserError, match="there is no run"):
        han_tester.main(han_tester.build_parser().parse_args(flags))
    assert clock == [7]
    with pytest.raises(UserError, match="--wait -1"):
        han_tester.main(han_tester.build_parser().parse_args([*flags, "--wait", "-1"]))
