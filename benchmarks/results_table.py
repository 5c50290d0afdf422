"""Keeps the results of the documentation: collects them from run folders and writes the tables from them.

    python benchmarks/results_table.py add runs/imdb-han runs/imdb-linear        what was measured -> docs/*.jsonl
    python benchmarks/results_table.py write                                     docs/*.jsonl -> README.md, docs/

Nobody types a figure: it stands between two markers (``<!-- results:imdb-2 -->`` and ``<!-- /results -->``), and a test
fails when it is not what the lines of ``docs/`` give. There are four kinds of markers:

* ``results``: every system with its test results, and where each figure comes from;
* ``scores``: the same without where they come from;
* ``faithfulness``: what deleting the words and sentences that each method names does to the verdict;
* ``verdict``: that in one sentence.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from explaining.faithfulness import TITLES, verdict_in_words  # noqa: E402
from utils import Parser, UserError, atomic_write, read_json, read_jsonl, run_script, write_jsonl  # noqa: E402

RESULTS = ROOT / "docs" / "results.jsonl"
FAITHFULNESS = ROOT / "docs" / "faithfulness.jsonl"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "explanations.md")
MARKED = re.compile(
    r"(?P<begin><!-- (?P<kind>results|scores|faithfulness|verdict):(?P<task>[\w-]+) -->\n)"
    r".*?(?P<end><!-- /(?P=kind) -->)",
    re.DOTALL,
)
WIDTH = 120  # of a sentence's lines, as those around it
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
KEPT_OF_FAITHFULNESS = (
    "seed",
    "documents",
    "flip_share",
    "words",
    "sentences",
    "agreement_with_leave_one_out",
    "completeness",
    "best_method",
    "evidence",
    "weights_sha256",
)


class Kept(NamedTuple):
    """What ``docs/`` keeps.

    Attributes:
        results: Test results, one row per system and seed.
        faithfulness: Examinations of explanations, one row per system.
    """

    results: list[dict[str, Any]]
    faithfulness: list[dict[str, Any]]


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="results_table.py", description=__doc__)
    parser.add_argument("action", choices=("add", "write"), help="collect from run folders, or write the tables")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to collect from")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Collects or writes."""
    kept = read_kept()
    if arguments.action == "add":
        for run in arguments.runs:
            add(kept, run)
        write_jsonl(RESULTS, kept.results)
        write_jsonl(FAITHFULNESS, kept.faithfulness)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        with atomic_write(page) as file:
            file.write(with_tables(text, kept))


def read_kept() -> Kept:
    """What stands in ``docs/``."""
    return Kept(read_jsonl(RESULTS), read_jsonl(FAITHFULNESS))


def add(kept: Kept, run: Path) -> None:
    """Takes a run's test results, and the examination of its explanations where there is one."""
    found = [row for row in read_jsonl(run / "results.jsonl") if row["split"] == "test"]
    if not found:
        raise UserError(f"{run} holds no test result; make one: python han_tester.py --run {run.name}")
    rows = [kept_row(row) for row in found]
    for row in rows:  # of a network the last one stands, of linear_baselines.py one per system
        put(kept.results, row)
    if (run / "faithfulness.json").exists():
        put(kept.faithfulness, kept_faithfulness(read_json(run / "faithfulness.json"), rows[-1]))


def put(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Appends a row, in the place of one of the same experiment."""
    rows[:] = [other for other in rows if key_of(other) != key_of(row)] + [row]


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


def kept_faithfulness(value: dict[str, Any], tested: dict[str, Any]) -> dict[str, Any]:
    """What the documentation keeps of a run's ``faithfulness.json``; ``tested`` is its row of test results."""
    return {
        **{name: tested.get(name) for name in ("task", "dataset", "architecture", "title", "cell")},
        **{name: value.get(name) for name in KEPT_OF_FAITHFULNESS},
        **{name: value["examined"][name] for name in ("command", "commit", "time", "versions")},
    }


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Two rows with the same key are the same experiment, of which the later one stands; published ones are others."""
    return "source" in row, row["task"], name_of(row), row.get("seed")


# ---------------------------------------------------------------------------------------------------------------------
# What stands between the markers


def with_tables(text: str, kept: Kept) -> str:
    """A page with everything that is marked written anew."""
    write = {"results": results, "scores": scores, "faithfulness": faithfulness, "verdict": verdict}
    return MARKED.sub(lambda place: place["begin"] + write[place["kind"]](kept, place["task"]) + place["end"], text)


def results(kept: Kept, task: str) -> str:
    """Every system with its test results and where they come from, best last."""
    return table(task, kept.results, with_origin=True)


def scores(kept: Kept, task: str) -> str:
    """The same without where they come from."""
    return table(task, kept.results, with_origin=False)


def table(task: str, rows: list[dict[str, Any]], with_origin: bool = True) -> str:
    """One Markdown table, best system last."""
    own = [row for row in rows if row["task"] == task]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in own:
        groups.setdefault(name_of(row), []).append(row)
    with_mae = any(row.get("mae") is not None for row in own)
    with_auc = task.endswith("-2")  # of several classes it would be a mean, which few know how to read
    header = ["system", "test accuracy", *(["AUC"] if with_auc else []), *(["mean error in stars"] if with_mae else [])]
    header += ["seeds", *(["where from"] if with_origin else [])]
    lines = []
    for name, group in sorted(groups.items(), key=lambda item: mean(item[1], "accuracy")):
        group.sort(key=lambda row: row.get("seed") or 0)
        auc = [spread(group, "auc", 1, "{:.4f}")] if with_auc else []
        stars = [spread(group, "mae", 1, "{:.2f}")] if with_mae else []
        line = [name, spread(group, "accuracy", 100, "{:.2f}"), *auc, *stars, seeds(group)]
        lines.append([*line, *([origin(group)] if with_origin else [])])
    return markdown(header, lines)


def markdown(header: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *lines])


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


def origin(group: list[dict[str, Any]]) -> str:
    """Where a figure comes from: a publication, or the command of its first seed and the commits that gave it."""
    first = group[0]
    if "source" in first:
        return str(first["source"])
    return f"`{first['command']}`, commit {', '.join(dict.fromkeys(str(row['commit']) for row in group))}"


# -- explanations -----------------------------------------------------------------------------------------------------


def faithfulness(kept: Kept, task: str) -> str:
    """What was examined, a table for words and one for sentences."""
    return "\n".join(part for row in kept.faithfulness if row["task"] == task for part in examination(row))


def examination(row: dict[str, Any]) -> Iterator[str]:
    """Yields one network's examination."""
    yield f"{row['title']}, {row['documents']:,} test documents: `{row['command']}`, commit {row['commit']}.\n"
    yield deletions(row, "words")
    yield deletions(row, "sentences")


def deletions(row: dict[str, Any], level: str) -> str:
    """What deleting words, or sentences, does, a line per method."""
    evidence, agreement = row["evidence"] or {}, row["agreement_with_leave_one_out"]
    header = [f"{level} chosen by", "changed", "comprehensiveness", "sufficiency"]
    if level == "words":
        header.append("Kendall's τ with leave-one-out")
    elif evidence:
        header.append("top sentence is one that decided")
    lines = []
    for method, figures in row[level].items():
        line = [TITLES[method], f"{figures['flips']['mean']:.1%}"]
        line += [with_interval(figures[name]) for name in ("comprehensiveness", "sufficiency")]
        if level == "words":
            line.append(f"{agreement[method]['kendall']:.2f}" if method in agreement else "")
        elif evidence:
            line.append(f"{evidence['chance' if method == 'random' else method]:.1%}")
        lines.append(line)
    return markdown(header, lines)


def with_interval(value: dict[str, float]) -> str:
    """Mean and half of its 95% interval."""
    return f"{value['mean']:.3f} ± {value['half_width']:.3f}"


def verdict(kept: Kept, task: str) -> str:
    """The same in words, as ``explain.py --faithfulness`` says them."""
    said = (" ".join(verdict_in_words(row)) for row in kept.faithfulness if row["task"] == task)
    return "".join(f"{textwrap.fill(sentence, WIDTH, break_on_hyphens=False)}\n" for sentence in said)


if __name__ == "__main__":
    run_script(main, build_parser())
