"""The tables of the documentation are what docs/results.jsonl gives."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from results_table import KEPT, PAGES, RESULTS, kept_row, key_of, table, with_tables  # noqa: E402

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


def test_every_linear_system_gets_a_line_beside_the_published_ones() -> None:
    made = {"command": "python linear_baselines.py imdb", "commit": "abc", "time": "now", "versions": {}}
    common = {**dict.fromkeys(KEPT), "dataset": "imdb", "class_names": ["a", "b"], "architecture": "linear"}
    found = [
        {**common, "system": name, "accuracy": accuracy, "trained": made}
        for name, accuracy in (("A", 0.9), ("B", 0.91))
    ]
    rows = [{"task": "imdb-2", "system": "A", "accuracy": 0.92, "source": "published"}, *map(kept_row, found)]
    assert len({key_of(row) for row in rows}) == 3
    assert [line.split(" | ")[:3] for line in table("imdb-2", rows).splitlines()[2:]] == [
        ["| A, run here", "90.00", ""],
        ["| B, run here", "91.00", ""],
        ["| A", "92.00", ""],
    ]


def test_unmarked_text_stays() -> None:
    page = "before\n<!-- results:none -->\nold\n<!-- /results -->\nafter\n"
    assert with_tables(page, []).startswith("before\n<!-- results:none -->\n| system")
    assert with_tables(page, []).endswith("<!-- /results -->\nafter\n")
