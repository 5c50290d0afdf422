"""The whole pipeline as its users run it, on the built-in data set and on a spreadsheet.

The stages run in this process, which has imported TensorFlow already; each in a process of its own, as for users, by
`make demo` and the test marked ``slow``.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import run_all as run_all_script
from utils import log

ROOT = Path(__file__).parent.parent
# Small and quick; what is learnt is checked on the whole sample (`-m slow`) and by `make demo`.
FLAGS = [
    "--embeddings",
    "random",
    "--embedding_dim",
    "12",
    "--word_units",
    "6",
    "--sentence_units",
    "5",
    "--num_epochs",
    "1",
    "--batch_size",
    "64",
    "--min_count",
    "2",
]


def run_all(
    folder: Path, *flags: str, environment: dict[str, str] | None = None, dataset: str = "sample"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run_all.py"), dataset, *flags],
        capture_output=True,
        text=True,
        timeout=280,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )


def run_all_here(folder: Path, *flags: str) -> tuple[int, str]:
    """``run_all.main`` in ``folder``, each stage in this process; returns the exit code and what was printed."""

    def run_here(command: list[str]) -> int:
        script = import_module(command[0].removesuffix(".py"))
        for name in {"start_tensorflow", "start_for_runs"} & vars(script).keys():  # TensorFlow has its devices already
            patch.setattr(script, name, lambda *_, **__: "cpu")
        return script.main(script.build_parser().parse_args(command[1:])) or 0

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(run_all_script, "run_command", run_here)
        patch.chdir(folder)
        code = run_all_script.main(run_all_script.build_parser().parse_args(flags))
    return code, printed.getvalue()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("pipeline")
    code, printed = run_all_here(folder, "sample", *FLAGS, "--until", "test")  # explained below: 40 rows take less
    assert code == 0
    return folder, printed


def test_it_ends_in_a_report(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    for stage in ("create_csv.py", "serialize_data.py", "han_trainer.py", "han_tester.py"):
        assert f"$ python {stage}" in printed
    assert "accuracy" in printed and "confusion matrix" in printed
    assert "Attention's top sentence" in printed
    results = [json.loads(line) for line in (folder / "runs/sample-han/results.jsonl").read_text().splitlines()]
    assert len(results) == 1 and results[0]["documents"] == 1000


def test_the_second_time_everything_is_skipped(finished: tuple[Path, str]) -> None:
    folder, first = finished
    again = run_all(folder, *FLAGS, "--until", "test")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("skipped") == 4
    report = first[first.index("documents  ") : first.index("confusion matrix")]
    assert report in again.stdout


# ---------------------------------------------------------------------------------------------------------------------
# A spreadsheet of 40 rows


def spreadsheet() -> str:
    """Semicolons, Windows-1252, line breaks and doubled quotes in quotes: the export that most people come with."""
    head = "Kommentar;Sterne;Datum\r\n"
    good = '"Schöner Film.\r\nIch sage ""ja""; gern wieder, Nr. {n}. Sehr gut!";5,0;1.2.2024\r\n'
    bad = '"Ein ""Film"", Nr. {n}?\r\n\r\nNein; schade um das Geld – nie wieder.";1;\r\n'
    return head + "".join((good + ";;\r\n" + bad).format(n=n) for n in range(20))


SHEET = "Meine Filme.csv"
SHEET_FLAGS = ["--num_epochs", "1", *FLAGS[2:8]]


@pytest.fixture(scope="module")
def sheet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The folder with the finished run of the spreadsheet, what was printed, and what was logged."""
    folder, logged = tmp_path_factory.mktemp("sheet"), io.StringIO()
    (folder / SHEET).write_bytes(spreadsheet().encode("cp1252"))
    handler = logging.StreamHandler(logged)
    log.addHandler(handler)
    level = log.level
    log.setLevel("INFO")
    code, printed = run_all_here(folder, SHEET, *SHEET_FLAGS)
    log.setLevel(level)
    log.removeHandler(handler)
    assert code == 0
    return folder, printed, logged.getvalue()


def test_a_spreadsheet_of_forty_rows_ends_in_a_report(sheet: tuple[Path, str, str]) -> None:
    folder, printed, logged = sheet
    assert "2 classes: 1 (20), 5 (20)" in logged and "only 8 test documents" in logged
    assert "$ python download.py" not in printed
    assert "--min_count 2" in printed and "--batch_size 8" in printed  # chosen by size, printed like any flag
    assert "8 test documents are few" in printed
    assert "runs/Meine Filme-han on test" in printed
    assert "mean absolute error" not in printed  # two classes, though they are stars
    examined = json.loads((folder / "runs/Meine Filme-han/faithfulness.json").read_text())
    assert (examined["documents"], examined["split"]) == (4, "valid")
    assert "$ python explain.py" in printed and "python attention_viewer.py 'Meine Filme-han'\n" in printed
    assert "Next:" in printed and "\x1b[" not in printed  # no colours where nobody sees them


def test_a_changed_setting_reruns_what_depends_on_it_and_keeps_the_old_run(sheet: tuple[Path, str, str]) -> None:
    folder = sheet[0]
    code, printed = run_all_here(folder, SHEET, *SHEET_FLAGS, "--learning_rate", "0.003")
    assert code == 0 and printed.count("skipped") == 2
    assert "train: runs again because the settings changed" in printed
    assert "test: runs again because" in printed
    assert "explain: runs again because" in printed
    assert (folder / "runs/Meine Filme-han.old1/finished.json").exists()


def test_records_of_another_tokeniser_are_made_again(sheet: tuple[Path, str, str]) -> None:
    folder = sheet[0]
    manifest = folder / "data/Meine Filme/records/manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**content, "tokeniser": {"version": 0, "sha256": "0"}}))
    trainer = [sys.executable, str(ROOT / "han_trainer.py"), "--dataset", "Meine Filme"]
    refused = subprocess.run(trainer, capture_output=True, text=True, timeout=120, cwd=folder)
    assert refused.returncode == 2 and "version 0 of the tokeniser" in refused.stderr
    assert "run: python serialize_data.py 'Meine Filme'" in refused.stderr and len(refused.stderr.splitlines()) == 1
    code, printed = run_all_here(folder, SHEET, *SHEET_FLAGS, "--until", "serialize_data")
    assert code == 0 and "serialize_data: runs again because the tokeniser changed" in printed
    assert json.loads(manifest.read_text()) == content


def test_a_changed_spreadsheet_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / SHEET
    source.write_bytes(spreadsheet().encode("cp1252"))
    assert run_all_here(tmp_path, SHEET, "--until", "create_csv")[0] == 0
    source.write_bytes(spreadsheet().replace("Nr. 7", "Nr. sieben").encode("cp1252"))
    code, printed = run_all_here(tmp_path, "Meine Filme", "--until", "create_csv")
    assert code == 0 and f"# create_csv: runs again because {source} changed\n" in printed


def test_until_stops_early_and_a_failing_stage_passes_its_code_on(tmp_path: Path) -> None:
    (tmp_path / SHEET).write_bytes(spreadsheet().encode("cp1252"))
    prepared = run_all(tmp_path, "--until", "create_csv", dataset=SHEET)
    csv = tmp_path / "data/Meine Filme/Meine Filme.csv"
    assert prepared.returncode == 0 and csv.exists()
    assert not (tmp_path / "data/Meine Filme/records").exists()
    csv.write_text(csv.read_text(encoding="utf-8").replace("label", "lable", 1), encoding="utf-8")
    failed = run_all(tmp_path, "--until", "serialize_data", dataset=SHEET)
    assert failed.returncode == 2 and "label" in failed.stderr and "Traceback" not in failed.stderr


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    refused = subprocess.run(
        [sys.executable, str(ROOT / "run_all.py"), "imbd"], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    assert refused.returncode == 2 and "imdb" in refused.stderr and "Traceback" not in refused.stderr


@pytest.mark.slow
def test_attention_finds_the_evidence_of_the_sample(tmp_path: Path) -> None:
    """The demo as it is: well above chance in accuracy, and attention at least three times chance."""
    done = run_all(tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "runs/sample-han/results.jsonl").read_text().splitlines()[-1])
    assert result["accuracy"] > 0.9
    assert result["evidence"]["precision"] >= 3 * result["evidence"]["chance"]
