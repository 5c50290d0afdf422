"""The shape of the house: imports point down, text modules know no TensorFlow, every script answers --help at once."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A family imports from itself and from those before it; `training` and `explaining` do not know each other. Some
# modules at the root belong to a family: people know them by name there.
FAMILIES = (
    "base",
    "corpus",
    "text",
    "network",
    "runtime",
    "report",
    "training",
    "explaining",
    "shipping",
    "page",
    "library",
    "scripts",
)
BASE = dict.fromkeys(("installed", "utils", "schema", "config"), "base")
AT_THE_ROOT = {**BASE, "data_processing": "text", "han": "network", "predictor": "library"}
STRANGERS = {("training", "explaining"), ("explaining", "training")}
FOLDERS = FAMILIES[1:-2]
SCRIPTS = sorted({path.stem for path in ROOT.glob("*.py")} - AT_THE_ROOT.keys())
MODULES = [path.relative_to(ROOT) for folder in ("", *FOLDERS) for path in sorted((ROOT / folder).glob("*.py"))]
# Families that work on text alone: they start fast and run where TensorFlow is not installed.
WITHOUT_TENSORFLOW = ("base", "corpus", "text", "report")


def family(module: str) -> str | None:
    """The family of a module of this project, by its dotted name; ``None`` for a library."""
    first = module.split(".")[0]
    if first in SCRIPTS:
        return "scripts"
    return first if first in FOLDERS else AT_THE_ROOT.get(first)


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of what a file imports; what stands under ``if TYPE_CHECKING`` does not run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    return found | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_follow_the_order_of_the_families(path: Path) -> None:
    own = family(".".join(path.with_suffix("").parts)) or ""
    for module in imports(ROOT / path):
        other = family(module)
        assert other != "scripts", f"{path} imports the script {module}"
        if other:
            assert FAMILIES.index(other) <= FAMILIES.index(own) and (own, other) not in STRANGERS, f"{path}: {module}"


@pytest.mark.parametrize("path", [p for p in MODULES if family(p.with_suffix("").name) == "scripts"], ids=str)
def test_scripts_start_without_tensorflow(path: Path) -> None:
    assert not {"tensorflow", "keras"} & {name.split(".")[0] for name in imports(ROOT / path, top_level_only=True)}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_tensorflow_stays_out_of_the_families_of_text(path: Path) -> None:
    if family(".".join(path.with_suffix("").parts)) in WITHOUT_TENSORFLOW:
        assert not {"tensorflow", "keras"} & {name.split(".")[0] for name in imports(ROOT / path)}


def test_the_design_notes_name_every_module() -> None:
    """The map in docs/design.md follows the folders."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)/` \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == set(FOLDERS)
    for folder in FOLDERS:
        modules = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        assert set(re.findall(r"`(\w+)`", rows[folder])) >= modules, folder
    for path in ROOT.glob("*.py"):
        assert f"`{path.name}`" in text, path.name


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
    assert "tensorflow" not in shown.stderr and "numba" not in shown.stderr and "nltk" not in shown.stderr
    assert time.perf_counter() - started < 5  # a bound for a crowded machine; alone it takes a fraction of a second


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_misspelt_flag_is_refused_with_code_2(script: str) -> None:
    refused = subprocess.run(
        [sys.executable, f"{script}.py", "--no_such_flag", "1"], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


def test_a_change_of_how_loops_are_compiled_changes_their_files() -> None:
    """Numba compiles a loop again when the file changes that it stands in, and no other."""
    compiled_with = hashlib.sha256((ROOT / "text" / "compiling.py").read_bytes()).hexdigest()[:12]
    users = [path for path in ROOT.glob("*/*.py") if "from text.compiling import" in path.read_text(encoding="utf-8")]
    users = [path for path in users if path.parent.name != "tests"]
    assert len(users) == 2
    for path in users:
        assert f'COMPILED_WITH = "{compiled_with}"' in path.read_text(encoding="utf-8"), f"write it into {path}"
