"""A user's error ends every script with exit code 2, also where the shell has closed the standard streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from utils import is_locked

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(
    path.name for path in ROOT.glob("*.py") if "run_script(main, build_parser())" in path.read_text(encoding="utf-8")
)
MISSING = {
    "predict.py": ["nowhere", "nowhere.csv"],
    "export.py": ["nowhere", "bundle"],
    "compare_runs.py": ["nowhere", "elsewhere"],
    "han_trainer.py": ["--dataset", "nowhere"],
    "han_tester.py": ["--dataset", "nowhere", "--run_type", "test"],
}


def run(script: str, closed: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shell = ["bash", "-c", f'exec "$@" {closed}', "bash", sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(shell, cwd=folder, capture_output=True, text=True, timeout=120)


def test_every_script_is_tried() -> None:
    assert len(SCRIPTS) == 15


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_users_error_is_exit_code_2_without_standard_streams(tmp_path: Path, script: str) -> None:
    ended = run(script, "<&- >&- 2>&-", tmp_path, *MISSING.get(script, ["nowhere"]))
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", ["2>&-", ">&-"])
def test_an_error_behind_a_lock_is_exit_code_2_and_the_lock_is_free(tmp_path: Path, closed: str) -> None:
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8bno archive")
    ended = run("download.py", closed, tmp_path, "imdb", "--source", "a.tar.gz")
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    raw = tmp_path / "data" / "imdb" / "raw"
    assert [path.name for path in raw.iterdir()] == [".download.lock"] and not is_locked(raw / ".download.lock")
    assert not (raw / ".download.lock").read_bytes()
