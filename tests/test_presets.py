"""Which settings and which trainings run_all.py chooses; nothing is run."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import run_all
from training.presets import PRESETS, STUDENT, TEACHERS, settings_for, suited
from utils import DataPaths, UserError, write_json, write_jsonl


@pytest.mark.parametrize(("documents", "steps"), [(29, 80), (200, 500), (1_000, 1_000), (5_000, 1_000)])
def test_settings_that_suit_few_documents_take_enough_steps(documents: int, steps: int) -> None:
    settings = settings_for(documents)
    taken = math.ceil(documents / settings["batch_size"]) * settings["num_epochs"]
    assert taken >= steps * 0.95 and settings["warmup_steps"] < taken / 5
    assert settings_for(22_500) == {}


@pytest.mark.parametrize(("dataset", "documents"), [("sample", 2_000), ("reviews", 700), ("imdb", 22_500)])
def test_fast_takes_about_a_third_of_the_steps_and_ends_its_warm_up(dataset: str, documents: int) -> None:
    usual, fast = (suited(dataset, documents, preset) for preset in ("default", "fast"))
    assert suited(dataset, documents, "best") == usual
    batch = fast.get("batch_size", 64)
    assert batch == usual.get("batch_size", 64)
    assert 1 / 3 <= fast["num_epochs"] / usual.get("num_epochs", 3) < 0.5
    assert fast.get("warmup_steps", 100) < fast["num_epochs"] * math.ceil(documents / batch) / 3
    assert fast["word_units"] == 50 and ("word2vec_epochs" in fast) == (dataset != "sample")


def commands(folder: Path, *flags: str, unlabelled: bool = True, trained: int = 22_500) -> list[str]:
    """What run_all.py would run from create_csv on."""
    where = ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]
    arguments = run_all.build_parser().parse_args(["imdb", *where, *flags])
    paths = DataPaths("imdb", folder / "data")
    splits = {"train": {"documents": trained}} | ({"unlabelled": {"documents": 9}} if unlabelled else {})
    paths.folder.mkdir(parents=True, exist_ok=True)
    write_json(paths.csv_manifest, {"splits": splits})
    return [" ".join(stage.command) for stage in run_all.stages(arguments, paths)]


@pytest.mark.parametrize(
    ("marked", "flags", "weight"),
    [
        ("train/1", [], "0.5"),
        ("train/1", ["--evidence_weight", "0"], "0.0"),
        ("train/1", ["--pooling", "max"], None),
        ("train/1", ["--model", "cnn"], None),
        ("valid/1", [], None),
        (None, [], None),
    ],
)
def test_attention_learns_from_evidence_where_training_documents_have_some(
    tmp_path: Path, marked: str | None, flags: list[str], weight: str | None
) -> None:
    paths = DataPaths("imdb", tmp_path / "data")
    paths.folder.mkdir(parents=True)
    rows = [f"{split}/{number},{split},negative,1,A dull film." for split in ("valid", "train") for number in (0, 1)]
    paths.csv.write_text("\n".join(["id,split,label,rating,text", *rows, ""]))
    if marked:
        write_jsonl(paths.evidence, [{"id": "train/0", "evidence": []}, {"id": marked, "evidence": [(2, 6)]}])
    [training] = [one for one in commands(tmp_path, *flags) if one.startswith("han_trainer.py")]
    assert re.findall(r"--evidence_weight (\S+)", training) == ([weight] if weight else [])


def test_the_evidence_of_the_sample_is_for_checking_attention() -> None:
    assert suited("sample", 2_000, "default", marked=True) == suited("sample", 2_000, "default")


def test_best_trains_teachers_of_other_seeds_and_then_the_network_that_learns_from_them(tmp_path: Path) -> None:
    found = [line for line in commands(tmp_path, "--preset", "best", "--seed", "7") if line.startswith("han_trainer")]
    assert len(found) == TEACHERS + 1
    names = [f"imdb-han-teacher-{number}" for number in range(1, TEACHERS + 1)]
    for number, (line, name) in enumerate(zip(found, names, strict=False)):
        assert "--run_type train" in line and f"--run {name}" in line and line.endswith(f"--seed {7 + number}")
    folders = " ".join(str(tmp_path / "runs" / name) for name in names)
    assert f"--run_type distil --teachers {folders} --dataset imdb --data_dir" in found[-1]
    assert found[-1].endswith("--seed 7") and f"--num_epochs {STUDENT['num_epochs']}" in found[-1]
    own = commands(tmp_path, "--preset", "best", "--num_epochs", "2")[-2]
    assert "--num_epochs 2" in own and f"--num_epochs {STUDENT['num_epochs']}" not in own


def test_the_student_of_few_labels_reads_its_many_documents_as_often_as_any_student(tmp_path: Path) -> None:
    *_, teacher, student, _ = commands(tmp_path, "--preset", "best", trained=900)
    epochs = settings_for(900)["num_epochs"]
    assert f"--num_epochs {epochs} " in teacher and epochs > STUDENT["num_epochs"]
    assert f"--num_epochs {STUDENT['num_epochs']} " in student and "--batch_size 16" in student


def test_best_without_unlabelled_documents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learns from unlabelled documents, and imdb has none"):
        commands(tmp_path, "--preset", "best", unlabelled=False)


def test_going_on_from_a_run_ends_in_a_comparison_with_it_unless_it_ends_before_the_test(tmp_path: Path) -> None:
    assert "compare_runs.py" in [line.split()[0] for line in commands(tmp_path, "--from_run", "runs/first")]
    assert "compare_runs.py" in [line.split()[0] for line in commands(tmp_path, "--from_run", "x", "--until", "test")]
    assert "compare" not in " ".join(commands(tmp_path, "--from_run", "runs/first", "--until", "train"))


def test_the_default_preset_trains_once_with_the_defaults(tmp_path: Path) -> None:
    [line] = [line for line in commands(tmp_path) if line.startswith("han_trainer")]
    assert "--run_type train --dataset imdb" in line and "epochs" not in line
    assert set(PRESETS) == {"fast", "default", "best"}
