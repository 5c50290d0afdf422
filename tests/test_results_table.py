"""The tables of the documentation are what docs/results.jsonl gives."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from results_table import KEPT, PAGES, Kept, add, kept_row, key_of, read_kept, table, with_tables  # noqa: E402

from utils import write_json, write_jsonl  # noqa: E402

OWN = {"task": "imdb-2", "architecture": "han", "cell": "gru", "mae": None, "command": "python x", "commit": "abc"}


def test_pages_hold_the_tables_of_the_results() -> None:
    kept = read_kept()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert with_tables(text, kept) == text, f"{page.name} is stale: python benchmarks/results_table.py write"
        assert "@" not in text.replace("user@host", ""), f"{page.name} has a place that was not filled"


def test_seeds_become_a_mean_with_its_spread() -> None:
    rows = [{**OWN, "seed": 2, "accuracy": 0.93, "auc": 0.98, "commit": "abd"}]
    rows.append({**OWN, "seed": 1, "accuracy": 0.91, "auc": 0.97})
    rows.append({"task": "imdb-2", "system": "majority", "accuracy": 0.5, "source": "balanced"})
    lines = table("imdb-2", rows).splitlines()
    assert lines[2] == "| majority | 50.00 |  |  | balanced |"
    assert (
        lines[3]
        == "| **HAN-GRU, this project** | 92.00 ± 1.41 | 0.9750 ± 0.0071 | 1, 2 | `python x`, commit abc, abd |"
    )
    assert table("imdb-2", rows, with_origin=False).splitlines()[2] == "| majority | 50.00 |  |  |"


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
    assert with_tables(page, Kept([], [])).startswith("before\n<!-- results:none -->\n| system")
    assert with_tables(page, Kept([], [])).endswith("<!-- /results -->\nafter\n")


def test_an_examination_becomes_tables_and_a_sentence(tmp_path: Path) -> None:
    made = {"command": "python x", "commit": "abc", "time": "now", "versions": {}}
    tested = {**dict.fromkeys(KEPT), "dataset": "films", "class_names": ["a", "b"], "title": "HAN-GRU", "accuracy": 0.9}
    write_jsonl(tmp_path / "results.jsonl", [{**tested, "split": "test", "trained": made}])
    figures = {"comprehensiveness": {"mean": 0.5, "half_width": 0.1}, "sufficiency": {"mean": -0.1, "half_width": 0.02}}
    level = {
        "random": {**figures, "flips": {"mean": 0.05}},
        "attention": {**figures, "flips": {"mean": 0.25}},
        "gradient": {**figures, "flips": {"mean": 0.75}},
    }
    examined = {
        **{"words": level, "sentences": level, "flip_share": 0.2, "documents": 7, "best_method": "gradient"},
        **{"agreement_with_leave_one_out": {"attention": {"kendall": 0.375}}, "examined": made},
        "evidence": {"attention": 0.9, "gradient": 0.8, "chance": 0.1},
    }
    write_json(tmp_path / "faithfulness.json", examined)
    kept = Kept([], [])
    add(kept, tmp_path)
    add(kept, tmp_path)
    assert len(kept.faithfulness) == len(kept.results) == 1
    page = "<!-- faithfulness:films-2 -->\n<!-- /faithfulness -->\n<!-- verdict:films-2 -->\n<!-- /verdict -->\n"
    written = with_tables(page, kept)
    assert "| attention | 25.0% | 0.500 ± 0.100 | -0.100 ± 0.020 | 0.38 |" in written
    assert "| a random choice | 5.0% | 0.500 ± 0.100 | -0.100 ± 0.020 | 10.0% |" in written
    assert "changes the verdict in 25.0% of documents; deleting random words, in 5.0%." in " ".join(written.split())
    assert with_tables(written, kept) == written
