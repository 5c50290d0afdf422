"""The tables of the documentation are what docs/results.jsonl gives."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from results_table import PAGES, RESULTS, table, with_tables  # noqa: E402

from utils import read_jsonl  # noqa: E402

OWN = {"task": "imdb-2", "architecture": "han", "cell": "gru", "mae": None, "command": "python x", "commit": "abc"}


def test_pages_hold_the_tables_of_the_results() -> None:
    rows = read_jsonl(RESULTS)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert with_tables(text, rows) == text, f"{page.name} is stale: python benchmarks/results_table.py write"
        assert "@" not in text.replace("user@host", ""), f"{page.name} has a place that was not filled"


def test_seeds_become_a_mean_with_its_spread() -> None:
    rows = [{**OWN, "seed": 1, "accuracy": 0.91}, {**OWN, "seed": 2, "accuracy": 0.93}]
    rows.append({"task": "imdb-2", "system": "majority", "accuracy": 0.5, "source": "balanced"})
    lines = table("imdb-2", rows).splitlines()
    assert lines[2] == "| majority | 50.00 |  | balanced |"
    assert lines[3] == "| **HAN-GRU, this project** | 92.00 ± 1.41 | 1, 2 | `python x`, commit abc |"


def test_unmarked_text_stays() -> None:
    page = "before\n<!-- results:none -->\nold\n<!-- /results -->\nafter\n"
    assert with_tables(page, []).startswith("before\n<!-- results:none -->\n| system")
    assert with_tables(page, []).endswith("<!-- /results -->\nafter\n")
