"""Keeps the results of the documentation: collects them from run folders and writes the tables from them.

    python benchmarks/results_table.py add runs/imdb-han runs/imdb-linear        test results -> docs/results.jsonl
    python benchmarks/results_table.py write                                     docs/results.jsonl -> README.md, docs/

Nobody types a figure: a table stands between two markers (``<!-- results:imdb-2 -->`` and ``<!-- /results -->``), and a
test fails when it is not what ``docs/results.jsonl`` gives.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import Parser, UserError, atomic_write, read_jsonl, run_script, write_jsonl  # noqa: E402

RESULTS = ROOT / "docs" / "results.jsonl"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")
MARKED = re.compile(r"(?P<begin><!-- results:(?P<task>[\w-]+) -->\n).*?(?P<end><!-- /results -->)", re.DOTALL)
KEPT = (
    "dataset",
    "architecture",
    "title",
    "cell",
    "seed",
    "step",
    "documents",
    "accuracy",
    "loss",
    "auc",
    "macro_f1",
    "calibration_error",
    "mae",
    "valid_accuracy",
    "evidence",
    "weights_sha256",
)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="results_table.py", description=__doc__)
    parser.add_argument("action", choices=("add", "write"), help="collect from run folders, or write the tables")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to collect from")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Collects or writes."""
    if arguments.action == "add":
        rows = read_jsonl(RESULTS)
        for run in arguments.runs:
            found = [row for row in read_jsonl(run / "results.jsonl") if row["split"] == "test"]
            if not found:
                raise UserError(f"{run} holds no test result; make one: python han_tester.py --run {run.name}")
            for kept in map(kept_row, found):  # of a network the last one stands, of linear_baselines.py one per system
                rows = [row for row in rows if key_of(row) != key_of(kept)] + [kept]
        write_jsonl(RESULTS, rows)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        with atomic_write(page) as file:
            file.write(with_tables(text, read_jsonl(RESULTS)))


def kept_row(row: dict[str, Any]) -> dict[str, Any]:
    """What the documentation keeps of a line of a run's ``results.jsonl``."""
    classes = len(row["class_names"])
    return {
        "task": f"{row['dataset']}-{classes}",
        **({"system": row["system"]} if "system" in row else {}),
        **{name: row.get(name) for name in KEPT},
        "command": row["trained"]["command"],
        "commit": row["trained"]["commit"],
        "time": row["trained"]["time"],
        "versions": row["trained"]["versions"],
    }


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Two rows with the same key are the same experiment, of which the later one stands; published ones are others."""
    return "source" in row, row["task"], name_of(row), row.get("seed")


# ---------------------------------------------------------------------------------------------------------------------
# Tables


def with_tables(text: str, rows: list[dict[str, Any]]) -> str:
    """A page with every marked table written anew from ``rows``."""
    return MARKED.sub(lambda place: place["begin"] + table(place["task"], rows) + place["end"], text)


def table(task: str, rows: list[dict[str, Any]]) -> str:
    """One Markdown table, best system last."""
    own = [row for row in rows if row["task"] == task]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in own:
        groups.setdefault(name_of(row), []).append(row)
    with_mae = any(row.get("mae") is not None for row in own)
    header = ["system", "test accuracy", *(["mean error in stars"] if with_mae else []), "seeds", "where from"]
    lines = [header, ["---"] * len(header)]
    for name, group in sorted(groups.items(), key=lambda item: mean(item[1], "accuracy")):
        stars = [spread(group, "mae", 1, "{:.2f}")] if with_mae else []
        lines.append([name, spread(group, "accuracy", 100, "{:.2f}"), *stars, seeds(group), origin(group[0])])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def name_of(row: dict[str, Any]) -> str:
    """The system of a row: a published one by its name, one that was run here by its name or its network."""
    if "system" in row:
        return str(row["system"]) if "source" in row else f"{row['system']}, run here"
    title = row.get("title") or f"{row['architecture']}-{row['cell']}".upper()  # rows of before there were others
    return f"**{title}, this project**"


def mean(group: list[dict[str, Any]], name: str) -> float:
    """Mean of a figure over the seeds."""
    return statistics.fmean(row[name] for row in group)


def spread(group: list[dict[str, Any]], name: str, scale: float, form: str) -> str:
    """Mean and, over several seeds, the standard deviation."""
    values = [scale * row[name] for row in group if row.get(name) is not None]
    if not values:
        return ""
    middle = form.format(statistics.fmean(values))
    return f"{middle} ± {form.format(statistics.stdev(values))}" if len(values) > 1 else middle


def seeds(group: list[dict[str, Any]]) -> str:
    """The seeds of a group, or nothing for a published figure."""
    return ", ".join(str(row["seed"]) for row in group if row.get("seed") is not None)


def origin(row: dict[str, Any]) -> str:
    """Where a figure comes from: a publication, or the command and the commit that gave it."""
    return str(row["source"]) if "source" in row else f"`{row['command']}`, commit {row['commit']}"


if __name__ == "__main__":
    run_script(main, build_parser())
