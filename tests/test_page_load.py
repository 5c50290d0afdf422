"""The page under load, with the figures of ``benchmarks/page_load.py``."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_two_hundred_clients_for_a_minute(page_folder: Path) -> None:
    """Everybody is answered or refused with 503, half-open connections are closed, and memory does not grow."""
    folders = ["--data_dir", str(page_folder / "data"), "--runs_dir", str(page_folder / "runs")]
    command = [sys.executable, str(ROOT / "benchmarks" / "page_load.py"), "tiny-han", *folders]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    codes = {int(code) for code in re.findall(r"\d+ x (\d+)", printed)}
    assert codes <= {200, 503} and "half-open connections that were closed: 100" in printed, printed
    first_page = re.search(r"GET / .* longest ([\d.]+) s", printed)
    assert first_page and float(first_page[1]) < 5, printed
    first, last = re.findall(r"(\d+) MB", printed)[:2]
    assert int(last) < 1.1 * int(first), printed
