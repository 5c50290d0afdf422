"""``make bench``: what can be asked for is there, and each script takes what it is given."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import run as bench


@pytest.mark.parametrize("flags", [(), ("--quick",), ("--full", "--source", "aclImdb_v1.tar.gz")])
def test_every_benchmark_is_a_script_that_takes_its_arguments(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setattr(bench, "finished_runs", lambda: ["imdb-han"])
    commands = bench.commands_of(bench.build_parser().parse_args(["--records", "records", *flags]))
    assert tuple(commands) == bench.NAMES
    for script, *arguments in commands.values():
        importlib.import_module(Path(script).stem).build_parser().parse_args(arguments)


def test_what_cannot_be_run_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: list[str], check: bool) -> bench.subprocess.CompletedProcess[bytes]:
        ran.append(Path(command[1]).name)
        return bench.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bench.subprocess, "run", run)
    monkeypatch.setattr(bench, "finished_runs", list)
    monkeypatch.setattr(bench, "find_spec", lambda name: None)
    monkeypatch.setattr(bench, "usable_cores", lambda: 1)
    assert bench.main(bench.build_parser().parse_args(["--records", "records"])) == 0
    assert "text_speed.py" in ran and "csv_memory.py" in ran
    assert not {"workers.py", "engines.py", "predicting.py", "explanation_cost.py", "accuracy.py"} & set(ran)
