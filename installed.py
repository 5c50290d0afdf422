"""One line for people who start a script with a Python that lacks the packages. Imported before any of them is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

NEEDED = ("numpy", "tqdm", "msgspec")  # which the first imports of the scripts need; all are installed together
ROOT = Path(__file__).resolve().parent


def missing() -> str:
    """The first package that this Python lacks; empty where it has all."""
    return next((name for name in NEEDED if importlib.util.find_spec(name) is None), "")


def refusal(name: str) -> str:
    """What to type, in one line. ``name``: of the missing package."""
    python = ROOT / ".venv" / "bin" / "python"
    there = f"type: {python} {' '.join(sys.argv)}"
    nowhere = "type: make demo (it installs them into .venv), or: python3 -m pip install -r requirements.txt"
    return f"{sys.executable} has no package {name}; {there if python.exists() else nowhere}"


if name := missing():
    print(f"{Path(sys.argv[0]).name}: error: {refusal(name)}", file=sys.stderr)
    sys.exit(2)
