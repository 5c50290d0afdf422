"""What every script shares: names that become folders, mistakes on the command line, signals, memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from utils import (
    DataPaths,
    Parser,
    UserError,
    absent,
    append_jsonl,
    atomic_write,
    brief,
    check_writable,
    dataset_name,
    read_json,
    read_jsonl,
    run_path,
    write_json,
    write_jsonl,
)

ROOT = Path(__file__).parent.parent
# Ends as its argument says, within the frame that every script has.
SCRIPT = """
import sys, time
from pathlib import Path
from utils import Parser, run_script, write_json
def main(arguments):
    if arguments.end == "memory":
        raise MemoryError
    if arguments.end == "say":
        write_json(Path("said.json"), sys.argv[0])
        print("\u00e9")
    if arguments.end == "talk":
        print("line\\n" * 100_000)
    if arguments.end == "wait":
        print("ready", flush=True)
        time.sleep(60)
parser = Parser(prog="ends.py")
parser.add_argument("end", choices=("memory", "say", "talk", "wait"))
run_script(main, parser)
"""


def start(end: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, end], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_output_that_nobody_reads_any_more_is_no_error() -> None:
    process = start("talk")
    assert process.stdout and process.stderr
    assert process.stdout.readline() == "line\n"
    process.stdout.close()
    assert (process.wait(60), process.stderr.read()) == (0, "")
    process.stderr.close()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/", "/etc", ".hidden", "-x", "a\nb", "\x1b[2J", "a" * 101]
)
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="not a valid folder name") as caught:
        DataPaths(name)
    assert "--dataset" not in str(caught.value)  # create_csv.py and run_all.py have no such flag
    with pytest.raises(UserError, match="not a valid folder name"):
        run_path(Path("runs"), name, "imdb")


def test_a_file_that_cannot_be_made_is_told_by_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 250)  # fits, its temporary file does not
    with pytest.raises(OSError) as caught, atomic_write(path):
        pass
    assert caught.value.filename == str(path)


def test_a_folder_that_takes_no_files_is_told_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "run")
    assert not list(tmp_path.iterdir())
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OSError) as caught:
        check_writable(file / "run")
    assert caught.value.filename == str(file)


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b'{"a": 1}\n"\xe9"\n{"a": 2}\n')
    with pytest.raises(UserError, match=r"rows.jsonl, line 2 is damaged"):
        read_jsonl(rows)


def test_a_poor_terminal_is_no_crash(tmp_path: Path) -> None:
    script = tmp_path / "spr\u00fcche.py"
    script.write_text(SCRIPT)
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, script, "say"], cwd=tmp_path, env={**os.environ, **poor}, capture_output=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"?\n" and "spr\u00fcche" in (tmp_path / "said.json").read_text(encoding="utf-8")


def test_run_all_runs_its_stages_through_a_link(tmp_path: Path) -> None:
    link = tmp_path / "run_all.py"
    link.symlink_to(ROOT / "run_all.py")
    done = subprocess.run(
        [sys.executable, link, "sample", "--until", "download"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_other_names_are_folders() -> None:
    assert dataset_name(".") == "."  # to be refused as it was typed
    assert DataPaths("mein Satz é").folder == Path("data/mein Satz é")
    assert run_path(Path("runs"), None, "imdb") == Path("runs/imdb-han")
    assert run_path(Path("runs"), "lstm.2", "imdb") == Path("runs/lstm.2")


@pytest.mark.parametrize(("end", "told"), [("memory", "out of memory"), ("nonsense", "invalid choice")])
def test_a_mistake_is_one_line_and_code_2(end: str, told: str) -> None:
    process = start(end)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert told in errors and errors.startswith("ends.py: error: ") and errors.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_and_its_own_code(number: signal.Signals, code: int) -> None:
    process = start("wait")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code and errors.count("\n") == 1 and "interrupted; what is complete is kept" in errors


def test_a_library_that_swallows_the_signal_changes_nothing() -> None:
    swallowing = SCRIPT.replace(
        "        time.sleep(60)",
        "        try:\n            time.sleep(60)\n        except KeyboardInterrupt as error:\n"
        "            raise RuntimeError('cannot be imported') from error",
    )
    process = subprocess.Popen(
        [sys.executable, "-c", swallowing, "wait"], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143 and errors.count("\n") == 1


def test_an_absent_package_cannot_be_imported_until_the_block_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("plotting_a", "plotting_b"):
        (tmp_path / f"{name}.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = import_module("plotting_b")
    with absent(["plotting_a", "plotting_b"]):
        with pytest.raises(ImportError):
            import_module("plotting_a")
        assert import_module("plotting_b") is known
    assert import_module("plotting_a").value == 3
    with pytest.raises(ZeroDivisionError), absent(["plotting_c"]):
        raise ZeroDivisionError
    assert "plotting_c" not in sys.modules


def test_a_path_that_is_not_utf8_comes_back_from_json(tmp_path: Path) -> None:
    value = {os.fsdecode(b"d\xe9/films.csv"): "0", "title": "\u00e9 \U0001f600"}
    write_json(tmp_path / "one.json", value)
    assert read_json(tmp_path / "one.json") == value
    write_jsonl(tmp_path / "rows.jsonl", [value])
    append_jsonl(tmp_path / "rows.jsonl", value)
    assert read_jsonl(tmp_path / "rows.jsonl") == [value, value]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--lerning_rate", "3"], "there is no flag --lerning_rate; did you mean --learning_rate?"),
        (["--learning-rate=3"], "there is no flag --learning-rate; did you mean --learning_rate?"),
        (["--cell", "gruu"], "); did you mean gru?; python"),
        (["--cell", "zzz"], "); python"),
        (["--zzz"], "there is no flag --zzz; python"),
        (["--learning_rate", "3", "stray"], "'stray' is not expected here"),
    ],
)
def test_a_mistyped_flag_names_the_one_that_was_meant(
    typed: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = Parser(prog="some.py")
    parser.add_argument("--learning_rate", type=float)
    parser.add_argument("--cell", choices=("gru", "lstm"))
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(typed)
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ab\n c", "ab c"),
        ("a" * 20, "a" * 20),
        ("one two, three four five", "one two, three four ..."),
        ("one two thr, fourfivesix", "one two thr ..."),
        ("ab " + "x" * 40, "ab " + "x" * 17 + " ..."),
        ("x" * 40, "x" * 20 + " ..."),
    ],
)
def test_a_brief_text_ends_after_a_word_that_leaves_half_of_it(text: str, shown: str) -> None:
    assert brief(text, 20) == shown
