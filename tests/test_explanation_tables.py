"""The tables about explanations: what they average, what they leave empty, and which measurement of cost they show."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from explanation_cost import nearest_lengths  # noqa: E402
from explanation_tables import costs_of, markdown  # noqa: E402
from results_table import Kept, add, kept_faithfulness, kept_plausibility, put, with_tables  # noqa: E402

from tests.test_results_table import FIXTURE, cells, examined  # noqa: E402
from utils import UserError, read_jsonl, write_json  # noqa: E402

MADE = {"command": "python explain.py films --plausibility", "commit": "abc", "time": "now", "versions": {}}


def between(kind: str, kept: Kept) -> list[str]:
    """The lines that are written between the markers of a kind."""
    return with_tables(f"<!-- {kind}:films-2 -->\n<!-- /{kind} -->\n", kept).splitlines()[1:-1]


def trained(seed: int, weight: float = 0.0) -> dict[str, Any]:
    """A row of test results, whose weights are called after seed and weight of evidence."""
    return {
        **{"task": "films-2", "title": "HAN-GRU", "seed": seed, "weights_sha256": f"{seed}, {weight}"},
        **{"settings": {"evidence_weight": weight}, "valid_accuracy": 0.875, "accuracy": 0.75, "loss": 0.5},
    }


def compared(row: dict[str, Any], split: str = "valid", **methods: float) -> dict[str, Any]:
    """What ``explain.py --plausibility`` writes for these weights, every figure of a method the same."""
    names = ("auprc", "token_f1", "iou_f1", "top_sentence")
    return {
        **{"split": split, "seed": 1, "documents": 40, "words": 700.0, "marked_share": 0.125},
        **{"weights_sha256": row["weights_sha256"], "examined": MADE},
        "methods": {
            method: dict.fromkeys(names, value) | {"documents": 10 if method == "leave_one_out" else 40}
            for method, value in methods.items()
        },
    }


def cost(words: int, **others: Any) -> dict[str, Any]:
    """A line of explanation_cost.py; gradient costs so many milliseconds as the text has words."""
    times = {"prediction alone": words / 4, "attention": 2.0, "gradient": float(words)}
    return {
        **{"benchmark": "explanations", "task": "films-2", "title": "HAN-GRU", "wanted": words, "words": words},
        **{"milliseconds": times, "machine": {"processor": "Z80", "cores": 1}},
        **{"origin": {"command": "python explanation_cost.py films", "commit": "abd"}, **others},
    }


def test_seeds_of_plausibility_become_a_mean_for_each_weight_of_evidence() -> None:
    kept = Kept()
    for seed, weight, value in ((1, 0.0, 0.25), (2, 0.0, 0.75), (1, 0.5, 0.875)):
        row = trained(seed, weight)
        put(kept.plausibility, kept_plausibility(compared(row, attention=value, leave_one_out=value), row))
    lines = between("plausibility", kept)
    assert "HAN-GRU, 40 valid documents of 700 words, 12.5% of them marked; attention saw no evidence, " in lines[0]
    assert "mean of 2 runs (seeds 1, 2): `python explain.py films --plausibility`, commit abc." in lines[0]
    assert "evidence with weight 0.5: `python" in lines[7]
    assert cells(lines[4]) == ["attention", "0.500", "0.500", "0.500", "50.0%"]
    assert cells(lines[5])[0] == "leave-one-out (on 10)"
    assert cells(lines[11]) == ["attention", "0.875", "0.875", "0.875", "87.5%"]


def test_attention_that_learned_has_a_line_for_each_run_with_its_test_result() -> None:
    kept = Kept(results=[trained(2, 0.5), trained(1, 0.0)])
    for row in kept.results:
        put(kept.plausibility, kept_plausibility(compared(row, attention=0.25, contribution=0.5), row))
    lines = [cells(line) for line in between("evidence", kept)[2:]]
    figures = ["0.250", "0.500", "", "25.0%", "50.0%"]
    assert lines == [[weight, seed, "87.5%", "75.0%, 0.500", *figures] for weight, seed in (("0", "1"), ("0.5", "2"))]


def test_what_turns_the_verdict_has_no_median_where_one_run_has_none() -> None:
    kept = Kept()
    for seed, median in ((1, 3.0), (2, None)):
        sets = {"words": {"found": 0.5, "median": 2.0 * seed}, "sentences": {"found": 0.25, "median": median}}
        value = examined(["random", "attention"], split="test", counterfactuals={"attention": sets})
        put(kept.faithfulness, kept_faithfulness(value | {"weights_sha256": str(seed)}, trained(seed)))
    put(kept.faithfulness, kept_faithfulness(examined(["random", "attention"]) | {"weights_sha256": "old"}, trained(3)))
    lines = between("counterfactuals", kept)
    assert "HAN-GRU, 7 test documents, mean of 2 runs (seeds 1, 2): " in lines[0]
    assert cells(lines[4]) == ["attention", "50.0%", "3", "25.0%", "-"]


def test_the_newest_costs_of_the_network_are_columns_of_its_methods() -> None:
    older = {name: value for name, value in cost(9).items() if name != "task"}
    other = cost(230, title="CNN", milliseconds={"prediction alone": 1.0, "gradient": 7.0})
    late = cost(230, milliseconds={"prediction alone": 2.0, "gradient": 6.0})
    measured = [older, cost(230), cost(2000), other, late]
    columns = costs_of(measured, {"task": "films-2", "title": "HAN-GRU"})
    assert {name: one["gradient"] for name, one in columns.items()} == {
        "ms for 230 words": 6,
        "ms for 2,000 words": 2000,
    }
    value = examined(["random", "attention", "gradient"], agreement_with_leave_one_out={}, split="test")
    kept = Kept(measured=measured)
    put(kept.faithfulness, kept_faithfulness(value, trained(1)))
    lines = between("faithfulness", kept)
    assert [cells(lines[place])[-2:] for place in (2, 4, 5, 6)] == [
        ["ms for 230 words", "ms for 2,000 words"],
        ["", ""],  # a random choice explains nothing
        ["", "2.0"],  # the newest measurement did not have it
        ["6.0", "2,000.0"],
    ]
    assert not any("ms for" in line for line in lines[7:])  # the table of sentences has them of words already
    costs = between("costs", kept)
    assert costs[0] == "`python benchmarks/explanation_cost.py films`, 1 cores of Z80, commit abd."
    row = next(cells(line) for line in costs if line.startswith("| gradient"))
    assert row == ["gradient x input", "6.0", "3.0", "2,000.0", "4.0"]
    assert next(cells(line) for line in costs if line.startswith("| leave"))[1:] == ["not offered", ""] * 2


def test_costs_are_of_the_documents_that_are_nearest_in_length() -> None:
    """As records store it: unsigned."""
    assert nearest_lengths(np.array([900, 18, 150, 2400, 700], np.uint32), 1000, 2).tolist() == [0, 4]


def test_a_kind_of_table_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="<!-- figures:films-2 --> is no table; choose from results, scores, faith"):
        with_tables("<!-- figures:films-2 -->\n<!-- /figures -->\n", Kept())


def test_bars_in_cells_are_escaped() -> None:
    assert markdown(["|a|"], [["b"]]) == "| \\|a\\| |\n| --- |\n| b |\n"


def test_plausibility_of_a_run_is_kept_for_each_split_and_not_of_other_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(FIXTURE / "runs" / "letters-han", tmp_path / "letters-han"))
    [row] = [row for row in read_jsonl(run / "results.jsonl") if row["split"] == "test"]
    write_json(run / "plausibility-valid.json", compared(row, attention=0.5))
    write_json(run / "plausibility-test.json", compared(row, "test", attention=0.25))
    kept = Kept()
    for _ in range(2):
        add(kept, run, FIXTURE / "data")
    assert [(one["split"], one["task"], one["evidence_weight"]) for one in kept.plausibility] == [
        ("valid", "letters-2", 0.0),
        ("test", "letters-2", 0.0),
    ]
    write_json(run / "plausibility-valid.json", compared({"weights_sha256": "others"}, attention=0.5))
    kept = Kept()
    add(kept, run, FIXTURE / "data")
    assert [one["split"] for one in kept.plausibility] == ["test"] and "of other weights" in caplog.text
