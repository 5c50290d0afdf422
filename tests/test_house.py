"""The shape of the house: imports point down, text modules know no TensorFlow, every script answers --help at once."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import dataset_name

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"utils", "kernels"},
    {
        "attention_statistics",
        "config",
        "corpora",
        "corpus_formats",
        "data_processing",
        "devices",
        "distributed",
        "evaluation",
        "linear_models",
        "optimizers",
        "pages",
        "own_data",
        "plots",
        "projector",
        "records",
        "recurrent",
        "regions",
        "sample_corpus",
        "schedules",
        "shading",
        "summaries",
        "tables",
        "tracking",
        "word_vectors",
        "workers",
    },
    {"baselines", "han", "input_pipeline", "text_reader", "training"},
    {
        "run_folder",
        "scoring",
        "answers",
        "attention_check",
        "batcher",
        "lr_range",
        "mistakes",
        "neighbours",
        "predictor",
        "explanations",
        "exploration",
        "faithfulness",
        "rest",
        "text_panel",
        "training_log",
        "viewer",
    },
    {
        "attention_viewer",
        "cnn_regions",
        "create_csv",
        "document_map",
        "download",
        "explain",
        "predict",
        "han_tester",
        "han_trainer",
        "linear_baselines",
        "serialize_data",
    },
    {"run_all"},
]
SCRIPTS = sorted(LAYERS[4] | LAYERS[5])
# These need the path of a person's own file, not its name: to read it, or to name it in the command that does.
READ_THE_SOURCE = {"create_csv", "download", "linear_baselines", "run_all", "serialize_data"}
# Imports within a layer that are meant; everything else points to a lower one.
WITHIN = {
    ("baselines", "han"),
    ("input_pipeline", "han"),
    ("corpora", "sample_corpus"),
    ("attention_check", "scoring"),
    ("text_panel", "attention_check"),
    ("text_panel", "scoring"),
    ("exploration", "explanations"),
    ("exploration", "faithfulness"),
    ("exploration", "predictor"),
    ("exploration", "run_folder"),
    ("predictor", "run_folder"),
    ("predictor", "scoring"),
    ("explanations", "scoring"),
    ("explanations", "predictor"),
    ("faithfulness", "explanations"),
    ("faithfulness", "predictor"),
    ("neighbours", "mistakes"),
    *(
        ("answers", name)
        for name in ("neighbours", "batcher", "explanations", "faithfulness", "mistakes", "predictor", "run_folder")
    ),
    *(("viewer", name) for name in ("answers", "batcher", "explanations", "mistakes", "rest")),
    ("rest", "answers"),
    ("mistakes", "run_folder"),
    ("pages", "shading"),
    ("distributed", "config"),
    ("linear_models", "data_processing"),
    ("linear_models", "evaluation"),
    ("plots", "evaluation"),
    ("corpora", "corpus_formats"),
    ("tables", "corpus_formats"),
    ("own_data", "config"),
    ("own_data", "corpora"),
    ("own_data", "corpus_formats"),
    ("own_data", "tables"),
    ("optimizers", "config"),
    ("schedules", "config"),
    ("kernels", "utils"),
    ("training", "han"),
    ("lr_range", "run_folder"),
    ("training_log", "run_folder"),
    ("training_log", "text_panel"),
}
WITH_TENSORFLOW = {
    "recurrent",
    "schedules",
    "optimizers",
    "han",
    "baselines",
    "input_pipeline",
    "scoring",
    "training",
    "predictor",
    "explanations",
}
IMPORT_LATE = {"devices", "distributed"}
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Names of the modules that a file imports; what stands under ``if TYPE_CHECKING`` does not run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    found |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in found}


def test_every_module_has_its_layer() -> None:
    assert {path.stem for path in ROOT.glob("*.py")} == set(LAYER_OF)


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_imports_point_down(module: str) -> None:
    for imported in imports(ROOT / f"{module}.py") & LAYER_OF.keys():
        assert LAYER_OF[imported] < LAYER_OF[module] or (module, imported) in WITHIN, f"{module} imports {imported}"


@pytest.mark.parametrize(("module", "imported"), sorted(WITHIN))
def test_an_exception_within_a_layer_is_still_needed(module: str, imported: str) -> None:
    assert imported in imports(ROOT / f"{module}.py") and LAYER_OF[imported] == LAYER_OF[module]


def test_the_design_notes_show_the_same_layers() -> None:
    rows = re.findall(r"^\| (\d) \| (.*) \|$", (ROOT / "docs" / "design.md").read_text(encoding="utf-8"), re.MULTILINE)
    for number, modules in rows:
        assert set(re.findall(r"`(\w+)`", modules)) == LAYERS[int(number)]
    assert len(rows) == len(LAYERS)


@pytest.mark.parametrize("module", sorted(LAYER_OF))
def test_tensorflow_stays_out_of_text_modules(module: str) -> None:
    path = ROOT / f"{module}.py"
    if module not in WITH_TENSORFLOW:
        assert not {"tensorflow", "keras"} & imports(path, top_level_only=True)
    if module not in WITH_TENSORFLOW | IMPORT_LATE:
        assert not {"tensorflow", "keras"} & imports(path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_without_tensorflow(script: str) -> None:
    started = time.perf_counter()
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", f"{script}.py", "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert shown.returncode == 0 and shown.stdout.startswith("usage:")
    assert "tensorflow" not in shown.stderr and "gensim" not in shown.stderr and "nltk" not in shown.stderr
    assert time.perf_counter() - started < 5  # a bound for a crowded machine; alone it takes a fraction of a second


@pytest.mark.parametrize("script", sorted(set(SCRIPTS) - READ_THE_SOURCE))
def test_the_file_of_a_data_set_stands_for_its_name(script: str) -> None:
    """``--dataset my_reviews.csv`` and ``--dataset my_reviews`` are the same to every script."""
    for action in importlib.import_module(script).build_parser()._actions:
        if action.dest == "dataset":
            assert action.type is dataset_name, f"give the dataset of {script}.py type=dataset_name (utils.py)"


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_misspelt_flag_is_refused_with_code_2(script: str) -> None:
    refused = subprocess.run(
        [sys.executable, f"{script}.py", "--no_such_flag", "1"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
