"""What run_all.py remembers of its stages, without running one; tests/test_pipeline.py runs them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

import run_all
from run_all import Stage, drop_damaged, remembered, run_stage
from utils import DataPaths, UserError

GOOD = {"settings": "create_csv.py letters", "inputs": {"letters.csv": "0"}, "finished": True}
DAMAGED = [
    "",
    "{",
    "[]",
    "7",
    "null",
    '"text"',
    '{"train": 7}',
    '{"train": []}',
    json.dumps({"train": {**GOOD, "inputs": []}}),
    json.dumps({"train": {**GOOD, "inputs": {"letters.csv": 0}}}),
    json.dumps({"train": {**GOOD, "finished": "yes"}}),
    *(json.dumps({"train": {(f"{name}s" if name == key else name): GOOD[name] for name in GOOD}}) for key in GOOD),
]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage that copies its input; it stands for a script of this project."""
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("text")
    script = tmp_path / "copy_file.py"
    script.write_text(
        "import pathlib, sys\npathlib.Path(sys.argv[2]).write_bytes(pathlib.Path(sys.argv[1]).read_bytes())"
    )
    monkeypatch.setattr(run_all, "__file__", str(tmp_path / "run_all.py"))
    return Stage("create_csv", [script.name, str(source), str(target)], [source], [target])


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_memory_is_one_line_and_the_stages_run_again(
    stage: Stage, content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    memory = tmp_path / "run_all.json"
    memory.write_text(content)
    with pytest.raises(UserError, match=r"run_all\.json is damaged"):
        remembered(memory)
    with caplog.at_level(logging.WARNING):
        drop_damaged(memory)
    [line] = caplog.messages
    assert "run_all.json is damaged" in line and "every stage runs again" in line and "\n" not in line
    assert run_stage(stage, memory) == 0
    assert capfd.readouterr().out.startswith("$ python copy_file.py")
    assert remembered(memory)["create_csv"]["finished"]
    assert run_stage(stage, memory) == 0
    assert capfd.readouterr().out == "# create_csv: skipped, inputs and settings are unchanged\n"


def test_a_sound_memory_is_kept_without_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    memory = tmp_path / "run_all.json"
    drop_damaged(memory)
    memory.write_text(json.dumps({"train": {**GOOD, "of a newer version": 1}, "another stage": GOOD}))
    drop_damaged(memory)
    assert not caplog.messages and set(remembered(memory)) == {"train", "another stage"}


@pytest.mark.parametrize(
    ("documents", "words", "examined"),
    [(2_500, 650_000, 50), (8, 800, 8), (200, 154_000, 33), (50, 250_000, 0), (0, 0, 0)],
)
def test_the_longer_the_documents_the_fewer_are_examined(
    documents: int, words: int, examined: int, tmp_path: Path
) -> None:
    paths = DataPaths("letters", tmp_path)
    assert run_all.examined_documents(paths) == 0  # no records yet
    paths.records.mkdir(parents=True)
    paths.manifest.write_text(json.dumps({"splits": {"valid": {"documents": documents, "words": words}}}))
    assert run_all.examined_documents(paths) == examined


@pytest.mark.parametrize(
    "content", ["[]", "7", "{}", '{"splits": 7}', '{"splits": {"train": 7}}', '{"splits": {"train": {"document": 7}}}']
)
def test_a_damaged_manifest_of_the_csv_file_is_one_line(content: str, tmp_path: Path) -> None:
    paths = DataPaths("letters", tmp_path)
    paths.folder.mkdir()
    paths.csv_manifest.write_text(content)
    with pytest.raises(UserError, match=r"csv_manifest\.json is damaged"):
        run_all.documents_of(paths, "train")
    paths.csv_manifest.write_text('{"splits": {"train": {"documents": 7}}}')
    assert run_all.documents_of(paths, "train") == 7
    with pytest.raises(UserError, match="has no split test"):
        run_all.documents_of(paths, "test")


def test_what_a_killed_run_left_of_the_memory_goes(tmp_path: Path) -> None:
    (tmp_path / ".run_all.json.abcdefgh.tmp").write_text("{")
    run_all.remember(tmp_path / "run_all.json", "train", {"settings": "", "inputs": {}, "finished": True})
    assert {path.name for path in tmp_path.iterdir()} == {"run_all.json", ".run_all.lock"}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            ["may/imdb.csv"],
            r"may/imdb\.csv would become the data set imdb, .*; add --name imdb-own",
        ),
        (["imdb", "--name", "may"], "imdb is a published data set; leave it out"),
        (["typo", "--name", "may"], "unknown data set 'typo'"),
    ],
)
def test_a_name_that_does_not_fit_the_source_is_refused_at_once(
    typed: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    may = DataPaths("may")
    may.folder.mkdir(parents=True)
    Path("reviews.csv").touch()
    may.csv_manifest.write_text(json.dumps({"source": str(tmp_path / "reviews.csv")}))
    with pytest.raises(UserError, match=message):
        run_all.main(run_all.build_parser().parse_args(typed))
