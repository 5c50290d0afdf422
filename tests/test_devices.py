"""Starting TensorFlow where memory is limited or standard streams are closed, as users' shells do it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.devices import KERAS_DOES_WITHOUT, import_tensorflow
from runtime.run_folder import RunFolder
from tests.helpers import write_tiny_records
from tests.test_trainer import ROOT, command


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_tiny_records(folder / "tiny" / "records")
    return folder


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, cwd=ROOT)


def trainer(data: Path, runs: Path, *flags: str) -> str:
    return shlex.join([sys.executable, "han_trainer.py", *command(data, runs, *flags)])


@pytest.mark.parametrize("kilobytes", [700_000, 1_500_000])
def test_too_little_address_space_is_one_line(data: Path, tmp_path: Path, kilobytes: int) -> None:
    limited = shell(f"ulimit -v {kilobytes}; {trainer(data, tmp_path)}")
    assert limited.returncode == 2, limited.stderr
    assert "TensorFlow needs about 3 GB of address space" in limited.stderr.splitlines()[-1]
    assert "Traceback" not in limited.stderr and not (tmp_path / "tiny-han").exists()


@pytest.mark.slow
def test_closed_streams_change_neither_the_exit_code_nor_the_files(data: Path, tmp_path: Path) -> None:
    once = ["--num_epochs", "1"]
    where = ["--dataset", "tiny", "--data_dir", str(data), "--runs_dir", str(tmp_path)]
    tester = shlex.join([sys.executable, "han_tester.py", *where])
    for line, code in (
        (f"{trainer(data, tmp_path, *once)} <&- >&- 2>&-", 0),
        (f"{trainer(data, tmp_path, *once)} 2>&-", 0),
        (f"{trainer(data, tmp_path, '--batch_size', '9')} 2>&-", 2),
        (f"{tester} >&- 2>&-", 0),
        (f"{tester} --checkpoint nowhere 2>&-", 2),
    ):
        assert shell(line).returncode == code, line
    run = RunFolder(tmp_path / "tiny-han")
    assert run.finished.exists() and run.results.exists() and (run.path / "report-test.txt").exists()
    run.check_files()


@pytest.mark.parametrize("lean", [True, False])
def test_tensorflow_is_imported_without_what_keras_can_do_without(monkeypatch: pytest.MonkeyPatch, lean: bool) -> None:
    hidden: list[str] = []

    class Finder:
        """Notes which packages are hidden while TensorFlow is looked for."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "tensorflow":
                hidden.extend(package for package in KERAS_DOES_WITHOUT if sys.modules.get(package, 0) is None)

    monkeypatch.setattr(sys, "meta_path", [Finder])
    for name in (*KERAS_DOES_WITHOUT, "tensorflow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError):
        import_tensorflow(lean)
    assert hidden == (list(KERAS_DOES_WITHOUT) if lean else [])
