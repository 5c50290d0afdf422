"""One line for people who start a script with a Python that is too old or lacks the packages.

Imported before any of them is, and by scripts that need more than Python 3.8 knows before anything else.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

OLDEST = (3, 11)
# All are installed together; only looking for them does not load them.
NEEDED = (
    *("numpy", "tqdm", "msgspec", "regex", "google_crc32c", "nltk", "scipy", "numba", "sklearn", "requests"),
    *("safetensors", "pandas", "pyarrow", "matplotlib", "tensorflow"),
)
ROOT = Path(__file__).resolve().parent


def fault() -> str:
    """What is wrong with this Python; empty where nothing is."""
    if sys.version_info < OLDEST:
        return "is Python {}.{}, and 3.11, 3.12 or 3.13 is needed".format(*sys.version_info)
    lacking = next((name for name in NEEDED if importlib.util.find_spec(name) is None), "")
    return f"has no package {lacking}" if lacking else ""


def refusal(reason: str) -> str:
    """What to type, in one line. ``reason``: from :func:`fault`."""
    python = ROOT / ".venv" / "bin" / "python"
    there = f"type: {python} {shlex.join(sys.argv)}"
    nowhere = "type: make demo (it installs them into .venv), or: python3 -m pip install -r requirements.txt"
    return f"{sys.executable} {reason}; {there if python.exists() else nowhere}"


if found := fault():
    print(f"{Path(sys.argv[0]).name}: error: {refusal(found)}", file=sys.stderr)
    sys.exit(2)
