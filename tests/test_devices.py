"""Starting TensorFlow where memory is limited or standard streams are closed, as users' shells do it."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import devices
from runtime.devices import KERAS_DOES_WITHOUT, import_tensorflow, start_for_runs
from runtime.run_folder import RunFolder, TrainedOn
from tests.helpers import write_tiny_records
from tests.test_trainer import ROOT, command
from utils import UserError


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


# ---------------------------------------------------------------------------------------------------------------------
# The device that a run is read on


ON_CPU = TrainedOn(device="cpu", card="", tf32=False)
ON_GPU = TrainedOn(device="gpu", card="a card", tf32=True)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize(
    ("trained", "wanted", "tf32", "expected"),
    [
        ([ON_CPU], "auto", None, ("cpu", True)),
        ([ON_GPU], "auto", None, ("auto", True)),
        ([{**ON_GPU, "tf32": False}], "auto", None, ("auto", False)),
        ([{**ON_GPU, "tf32": False}], "auto", True, ("auto", True)),
        ([ON_CPU, ON_GPU], "auto", False, ("auto", False)),
        ([ON_GPU], "cpu", None, ("cpu", True)),
        ([None], "auto", None, ("cpu", True)),  # of an earlier version
    ],
)
def test_a_run_is_read_where_it_was_trained(
    trained: list[TrainedOn | None],
    wanted: str,
    tf32: bool | None,
    expected: tuple[str, bool],
    there: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: list[tuple[str, bool]] = []

    def start(wanted: str, lean: bool, tf32: bool) -> str:
        asked.append((wanted, tf32))
        return "gpu" if there and wanted != "cpu" else "cpu"

    monkeypatch.setattr(devices, "start_tensorflow", start)
    runs = [RunFolder(tmp_path / str(number)) for number in range(len(trained))]
    for run, device in zip(runs, trained, strict=True):
        if device is not None:
            run.record_device(device)
    with caplog.at_level("INFO"):
        start_for_runs(runs, wanted, tf32)
    assert asked == [expected]
    told = "computing on the GPU" if there else "trained on a GPU (a card), and TensorFlow sees none here"
    assert caplog.text.count(told) == (expected[0] == "auto")


def test_a_damaged_note_of_the_device_is_one_line(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.device_file.write_text('{"device": 7}', encoding="utf-8")
    with pytest.raises(UserError, match=r"device\.json.*delete it"):
        start_for_runs([run], "auto")


def test_every_script_that_reads_runs_lets_one_function_choose_the_device() -> None:
    """``start_tensorflow`` of their own is for trainers, and for what is always done on a CPU."""
    for path in ROOT.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "add_device_flag(parser)" in text:
            assert "start_for_runs(" in text and "start_tensorflow(" not in text, path.name
