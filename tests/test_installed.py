"""Every script says in one line what to type where its Python has no packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {"config", "data_processing", "han", "installed", "predictor", "schema", "utils"}
SCRIPTS = sorted(path.stem for path in ROOT.glob("*.py") if path.stem not in MODULES)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_python_without_packages_is_named_with_what_to_type(script: str) -> None:
    command = [sys.executable, "-S", "-E", str(ROOT / f"{script}.py"), "--help"]  # -S: none of its packages is found
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{script}.py: error: ") and "has no package numpy; type: " in line


def test_a_python_with_packages_says_nothing() -> None:
    command = [sys.executable, "-c", "import installed; print(installed.fault() == '')"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
