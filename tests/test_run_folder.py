"""Which run a command names: RUN, or --dataset, --model and --run; progress as earlier versions wrote it."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from data_processing import tokeniser
from runtime import run_folder
from runtime.run_folder import Progress, RunFolder, add_run_flags, chosen_run, commit, find_run
from tests.helpers import write_tiny_records, write_tiny_run
from utils import Parser, UserError, read_json, run_flags, write_json


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write_tiny_records(folder / "records")
    write_tiny_run(folder / "first", folder / "records", architecture="cnn")
    return folder


def parsed(*words: object) -> argparse.Namespace:
    parser = Parser(prog="script.py")
    add_run_flags(parser)
    return parser.parse_args(list(map(str, words)))


def test_run_is_a_name_in_runs_dir_or_a_path(runs: Path) -> None:
    for words in (["first", "--runs_dir", runs], [runs / "first"]):
        arguments = parsed(*words)
        assert chosen_run(arguments).path == runs / "first"
        assert run_flags(arguments) == [
            *("--dataset", "tiny", "--model", "cnn", "--run", "first", "--runs_dir", str(runs))
        ]


def test_what_is_here_goes_before_what_is_in_runs_dir(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs / "first", tmp_path / "first")
    monkeypatch.chdir(runs)
    assert chosen_run(parsed("first", "--runs_dir", tmp_path)).path == Path("first")
    assert find_run("first", tmp_path).path == Path("first")
    monkeypatch.chdir(tmp_path.parent)
    assert find_run("first", tmp_path).path == tmp_path / "first"
    with pytest.raises(UserError, match=rf"there is no run 'second'; {tmp_path} holds: first"):
        find_run("second", tmp_path)
    for named in ("frist", str(tmp_path / "frist")):
        with pytest.raises(UserError, match=r"holds: first; did you mean first\?$"):
            find_run(named, tmp_path)


def test_without_run_the_flags_name_it(tmp_path: Path) -> None:
    arguments = parsed("--dataset", "films", "--model", "bilstm", "--runs_dir", tmp_path)
    assert chosen_run(arguments).path == tmp_path / "films-bilstm"
    assert chosen_run(parsed()).path == Path("runs/imdb-han")
    assert chosen_run(parsed(), model="cnn").path == Path("runs/imdb-cnn")
    assert chosen_run(parsed("--run", "mine")).path == Path("runs/mine")
    assert chosen_run(parsed("--dataset", "stuff/films.csv")).path == Path("runs/films-han")  # the file or its name


def test_a_run_that_does_not_exist_yet_may_be_named(tmp_path: Path) -> None:
    assert chosen_run(parsed("later", "--runs_dir", tmp_path)).path == tmp_path / "later"


@pytest.mark.parametrize("flag", [("--dataset", "imdb"), ("--model", "han"), ("--run", "other")])
def test_run_and_a_flag_that_it_replaces_are_refused(flag: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=rf"RUN \(first\) already names the run; leave out {flag[0]}"):
        chosen_run(parsed("first", *flag))


def test_progress_of_an_earlier_version_is_read() -> None:
    value = {"epoch": 1, "step": 9, "best_step": 6, "best_loss": 0.5, "best_accuracy": 0.75, "fruitless": 2}
    assert Progress.from_json(value, "a file") == Progress(1, 9, 6, 0.5, 0.75, validations_without_improvement=2)


def test_a_title_counts_the_teachers(runs: Path) -> None:
    config = RunFolder(runs / "first").config()
    for teachers, words in ((("a",), "1 network"), (("a", "b"), "2 networks")):
        value = cast(Any, SimpleNamespace(teachers=teachers))
        assert replace(config, distillation=value).title() == f"CNN, distilled from {words}"


def test_the_commit_is_that_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "__file__", str(tmp_path / "runtime" / "run_folder.py"))
    assert commit() == "unknown"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    found = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    assert len(commit()) == 12 and found.startswith(commit())


# ---------------------------------------------------------------------------------------------------------------------
# Damage


@pytest.mark.parametrize("name", ["vocab.txt", "labels.txt", "sentence_splitter.json", "best.safetensors"])
@pytest.mark.parametrize("how", ["changed", "missing"])
def test_a_damaged_file_is_noticed_by_its_hash(runs: Path, tmp_path: Path, name: str, how: str) -> None:
    run = RunFolder(Path(shutil.copytree(runs / "first", tmp_path / "run")))
    run.finish("test", Progress(step=7))
    run.check_files()
    if how == "changed":
        whole = (run.path / name).read_bytes()
        (run.path / name).write_bytes(whole[:-2] + b"?" + whole[-1:])
    else:
        (run.path / name).unlink()
    with pytest.raises(UserError, match=f"{name} (was changed or damaged|is missing).*--restart"):
        run.check_files()


def test_a_run_of_another_tokeniser_is_refused_with_the_commands_to_type(runs: Path, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(runs / "first", tmp_path / "run")))
    config = read_json(run.config_file)
    assert config["tokeniser"] == tokeniser()
    config["origin"]["command"] = "python han_trainer.py --dataset tiny"
    write_json(run.config_file, {name: value for name, value in config.items() if name != "tokeniser"})
    run.check_files()  # as earlier versions wrote it
    write_json(run.config_file, {**config, "tokeniser": {"version": 9, "sha256": "0"}})
    with pytest.raises(
        UserError,
        match=r"run was made with version 9 of the tokeniser; .*python serialize_data.py tiny && "
        r"python han_trainer.py --dataset tiny --restart$",
    ):
        run.check_files()


SHAPES: list[tuple[str, object]] = [
    ("finished", value) for value in [[], 7, {"files": 5}, {"files": {"vocab.txt": None}}]
]
SHAPES += [("config", value) for value in [[], 7, "text", {}, {"format_version": 1, "setings": {}, "origin": {}}]]


@pytest.mark.parametrize(("name", "value"), SHAPES)
def test_json_of_another_shape_is_one_line(runs: Path, tmp_path: Path, name: str, value: object) -> None:
    run = RunFolder(Path(shutil.copytree(runs / "first", tmp_path / "run")))
    write_json(run.path / f"{name}.json", value)
    with pytest.raises(UserError, match=rf"{name}\.json is damaged or of another version") as refused:
        run.check_files()
        run.config()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("group", ["", "model", "training"])
@pytest.mark.parametrize("value", [None, [], 2.5, {"a": 1}, "text"])
def test_a_setting_of_another_type_or_name_is_one_line(runs: Path, tmp_path: Path, group: str, value: object) -> None:
    run = RunFolder(Path(shutil.copytree(runs / "first", tmp_path / "run")))
    whole = read_json(run.config_file)
    name = {"": "vocabulary_size", "model": "filters", "training": "batch_size"}[group]
    for changed, message in ((name, name), (f"{name}x", f"{name}x")):
        content = json.loads(json.dumps(whole))
        settings = content["settings"][group] if group else content["settings"]
        settings[changed] = value
        write_json(run.config_file, content)
        with pytest.raises(UserError, match=message):
            run.config()


def test_putting_aside_never_overwrites(tmp_path: Path) -> None:
    for content in ("first", "second"):
        run = RunFolder(tmp_path / "run")
        run.path.mkdir()
        (run.path / "note").write_text(content)
        run.put_aside()
    assert [(tmp_path / name / "note").read_text() for name in ("run.old1", "run.old2")] == ["first", "second"]
