"""Several workers on one machine, started by one command; here with small programs in place of a trainer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import launcher
from runtime.cluster import cluster_of
from runtime.launcher import launch, shares_of_machine, tf_configs, visible_gpus
from runtime.run_folder import RunFolder
from tests.helpers import tf_config, write_tiny_records
from tests.test_trainer import LAST, ROOT, command
from utils import UserError

# ---------------------------------------------------------------------------------------------------------------------
# What each worker gets


def test_workers_share_the_gpus_or_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,7")
    assert [place.gpu for place in shares_of_machine(2, "auto")] == ["2", "5"]
    with pytest.raises(UserError, match="4 is more than the 3 GPUs here; give 3 at most"):
        shares_of_machine(4, "auto")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert visible_gpus() == []
    with pytest.raises(UserError, match="2 is more than the 0 GPUs here; give 1 at most, or add --device cpu"):
        shares_of_machine(2, "gpu")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {9, 3, 4, 6, 8}, raising=False)
    assert [place.cores for place in shares_of_machine(2, "auto")] == [(3, 4), (6, 8, 9)]
    with pytest.raises(UserError, match="6 is more than the 5 cores of this process; give 5"):
        shares_of_machine(6, "cpu")


def test_every_machine_of_tf_config_has_as_many_workers() -> None:
    clusters = [cluster_of(text) for text in tf_configs(2, tf_config(1, worker=["a:10", "b:20"]))]
    assert [cluster.index for cluster in clusters if cluster] == [2, 3]
    assert {cluster.addresses for cluster in clusters if cluster} == {("a:10", "a:11", "b:20", "b:21")}
    with pytest.raises(UserError, match="same address"):
        tf_configs(2, tf_config(1, worker=["a:10", "a:11"]))
    alone = [cluster_of(text) for text in tf_configs(3, "")]
    assert [cluster.index for cluster in alone if cluster] == [0, 1, 2]
    assert len({cluster.addresses for cluster in alone if cluster}) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Starting and ending

PROGRAM = """
import json, os, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
print(json.dumps([index, os.environ.get("CUDA_VISIBLE_DEVICES"), cores, sys.argv[1:]]), flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
if index == 1:
    print("saved" if "well" in sys.argv else "error: this is why", file=sys.stderr)
    {second}
{first}
"""


@pytest.fixture
def launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Two workers that run :data:`PROGRAM`; returns the launcher's exit code."""

    def run(first: str, second: str, *flags: str) -> int:
        program = tmp_path / "program.py"
        program.write_text(PROGRAM.replace("{first}", first).replace("{second}", second), encoding="utf-8")
        monkeypatch.setattr(sys, "argv", [str(program), *flags])
        monkeypatch.setattr(launcher, "shares_of_machine", lambda *_: [launcher.Place("5"), launcher.Place("7")])
        return launch(2, "auto", lambda number: tmp_path / "runs" / f"{number}.log")

    return run


SLEEP = "time.sleep(60)"


def test_each_worker_has_its_gpu_and_the_others_write_to_a_file(
    launched: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert launched("sys.exit(0)", "sys.exit(0)", "well", "--seed") == 0
    first = json.loads(capfd.readouterr().out)
    second = json.loads((tmp_path / "runs" / "1.log").read_text(encoding="utf-8").splitlines()[0])
    assert [first[:2], second[:2]] == [[0, "5"], [1, "7"]]
    assert first[3] == second[3] == ["well", "--seed"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tie processes to cores")
def test_a_process_starts_on_its_cores_and_the_launcher_keeps_its_own() -> None:
    before = os.sched_getaffinity(0)
    core = max(before)
    with launcher.on_cores([core]):
        seen = subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], text=True)
    assert seen.strip() == str({core}) and os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("sys.exit(2)", r"worker 1 ended with exit code 2: error: this is why \(its log: .*1\.log\); start the same"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"worker 1 was ended by signal 9 \(its log: .*1\.log\); start"),
    ],
)
def test_a_worker_that_fails_ends_the_others_with_a_line(
    launched: Callable[..., int], second: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "GRACE_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(UserError, match=said):
        launched(SLEEP, second)
    assert time.monotonic() - started < 20


def test_what_the_first_worker_has_said_is_not_said_again(launched: Callable[..., int]) -> None:
    assert launched("sys.exit(2)", "time.sleep(0.5); sys.exit(2)") == 2


def test_a_worker_that_does_not_end_is_killed(launched: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(launcher, "KILL_SECONDS", 0.3)
    with pytest.raises(UserError, match="worker 1 ended with exit code 3"):
        launched(f"signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}", "time.sleep(0.5); sys.exit(3)")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 143)])
def test_signals_are_passed_on_to_all(launched: Callable[..., int], number: int, code: int, tmp_path: Path) -> None:
    ready = [tmp_path / name for name in ("first", "second")]

    def send() -> None:
        while not all(file.exists() for file in ready):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    waits = [f"open({str(file)!r}, 'w').close(); {SLEEP}" for file in ready]
    before = signal.signal(number, signal.SIG_DFL)  # nohup may have started the tests
    try:
        threading.Thread(target=send, daemon=True).start()
        assert launched(waits[0], waits[1], "well") == code
    finally:
        signal.signal(number, before)


def test_with_nohup_the_end_of_the_terminal_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with launcher.passed_on([]) as received:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            deadline = time.monotonic() + 5
            while not received and time.monotonic() < deadline:
                time.sleep(0.01)
        assert received == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_worker_ends_when_its_launcher_has_been_killed(tmp_path: Path) -> None:
    worker = (
        "import os, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from runtime import launcher\n"
        "launcher.PARENT_SECONDS = 0.1\n"
        "assert launcher.is_launched()\n"
        "print(os.getpid(), flush=True); time.sleep(60)\n"
    )
    parent = (
        "import os, subprocess, sys\n"
        "os.environ['HAN_LAUNCHER'] = str(os.getpid())\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1], sys.argv[2]])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent, worker, str(ROOT)], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as launching:
        assert launching.stdout is not None
        pid = int(launching.stdout.readline())
        launching.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and is_running(pid):
        time.sleep(0.1)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False


# ---------------------------------------------------------------------------------------------------------------------
# Trainers


@pytest.mark.slow
def test_two_trainers_of_one_command_end_with_one_run(tmp_path: Path) -> None:
    write_tiny_records(tmp_path / "data" / "tiny" / "records")
    flags = command(tmp_path / "data", tmp_path / "runs", "--workers_per_machine", "2")
    done = subprocess.run(
        [sys.executable, "han_trainer.py", *flags], capture_output=True, text=True, timeout=280, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "runs" / "tiny-han")
    assert run.finished.exists() and (run.checkpoints / LAST).exists()
    assert "2 workers, each with " in done.stderr
    assert "the run folder is on the chief's machine" in run.worker_log(1).read_text(encoding="utf-8")
