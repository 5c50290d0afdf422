"""The tables about explanations in the documentation, from what ``docs/`` and ``benchmarks/results.jsonl`` keep.

``results_table.py`` collects the rows and writes the pages. Here are the lines between the markers:

* ``faithfulness``: what deleting the words and sentences that each method names does to the prediction;
* ``verdict``: that in one sentence;
* ``counterfactuals``: how few words and sentences turn the verdict;
* ``plausibility``: how well each method agrees with what people marked;
* ``evidence``: the same of attention that learned from it and of attention that did not, a line per run;
* ``costs``: milliseconds of every method. The tables of the methods have them as columns, too.

Runs that differ in their seeds become their mean.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from explaining import plausibility as agreement  # noqa: E402
from explaining.deletions import LEVELS, REACH_SHARE  # noqa: E402
from explaining.explanations import METHODS  # noqa: E402
from explaining.faithfulness import TITLES, kendall_columns, verdict_in_words  # noqa: E402

WIDTH = 120  # of a sentence's lines, as those around it
COSTS = "explanations"  # the benchmark of explanation_cost.py
ALONE = "prediction alone"  # its name of what everything is compared with
AVERAGED = ("words", "sentences", "agreement_with_leave_one_out", "completeness", "evidence", "replaced", "seeds")
# Of the table of attention that learned; the last has the sentences of the one before it.
EVIDENCE_METHODS = ("attention", "contribution", "neighbours")

Row = dict[str, Any]
Costs = dict[str, dict[str, float]]  # header of a column -> milliseconds by method


def markdown(header: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown; a bar in a cell, as in ``|gradient|``, is escaped."""
    rows = [[cell.replace("|", r"\|") for cell in line] for line in [header, ["---"] * len(header), *lines]]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def faithfulness(examined: Sequence[Row], measured: Sequence[Row], task: str) -> str:
    """What was examined, a table for words and one for sentences; of runs that differ in their seeds the mean."""
    together = examined_together(examined, task)
    return "\n".join(part for row in together for part in examination(row, costs_of(measured, row)))


def examined_together(examined: Sequence[Row], task: str) -> Iterator[Row]:
    """Yields a row for each network examined on a task, the mean over its runs; ``runs`` are their training seeds."""
    for rows in alike(own_of(examined, task), lambda row: (row["title"], row.get("split", "test"), row["documents"])):
        figures = {name: mean_of([row.get(name) for row in rows]) for name in AVERAGED}
        replaced = [row.get("training_seed") for row in rows if row.get("replaced")]
        yield {**rows[0], **figures, "runs": [row.get("training_seed") for row in rows], "replaced_in": replaced}


def mean_of(values: Sequence[Any]) -> Any:
    """The mean of numbers, or of what is in dictionaries and lists of numbers, place by place.

    Where runs lack a value, the mean is that of the others; of names it is the first.
    """
    known = [value for value in values if value is not None]
    if not known or isinstance(known[0], str):
        return known[0] if known else None
    if isinstance(known[0], dict):
        return {name: mean_of([value.get(name) for value in known]) for name in known[0]}
    if isinstance(known[0], list):
        return [mean_of(places) for places in zip(*known, strict=True)]
    return sum(known) / len(known)


def examination(row: Row, milliseconds: Costs) -> Iterator[str]:
    """Yields the examination of one network, or the mean of several: a line of :func:`examined_together`."""
    split = row.get("split", "test")  # rows of before validation was examined have none
    yield described(row, f"{split} documents", row["runs"])
    yield deletions(row, "words", milliseconds)
    yield deletions(row, "sentences")
    if row.get("replaced"):
        some = "" if row["replaced_in"] == row["runs"] else f" (seed {', '.join(map(str, row['replaced_in']))} alone)"
        yield replacements(row["replaced"], some)
    if row.get("seeds"):
        yield agreement_of_seeds(row["seeds"])


def deletions(row: Row, level: str, milliseconds: Costs | None = None) -> str:
    """What deleting words, or sentences, does, a line per method; with what an explanation costs where it is given."""
    decided = row["evidence"] or {}
    header = [f"{level} chosen by", *measures(row[level])]
    if level == "words":
        header += agreement_header(row)
    elif decided:
        header.append("top sentence is one that decided")
    lines = []
    for method, figures in row[level].items():
        line = [TITLES[method], *measured_cells(figures)]
        if level == "words":
            line += agreement_cells(row, method)
        elif decided:
            line.append(f"{decided['chance' if method == 'random' else method]:.1%}")
        lines.append([*line, *cost_cells(milliseconds or {}, method)])
    return markdown([*header, *(milliseconds or {})], lines)


def measures(rows: Row) -> list[str]:
    """Headers of what is measured with every ranking; ``reached`` is not in older rows."""
    reached = (
        [f"reached by the top {REACH_SHARE:.0%}"] if all("reached" in figures for figures in rows.values()) else []
    )
    return ["changed", "comprehensiveness", "sufficiency", *reached]


def measured_cells(figures: Row) -> list[str]:
    """The cells of a ranking, in the columns of :func:`measures`."""
    reached = [f"{figures['reached']['mean']:.1%}"] if "reached" in figures else []
    intervals = (with_interval(figures[name]) for name in ("comprehensiveness", "sufficiency"))
    return [f"{figures['flips']['mean']:.1%}", *intervals, *reached]


def replacements(rows: Row, some: str) -> str:
    """What replacing words by ``<unk>`` does, a line per method; ``some``: of which runs, if not of all."""
    lines = [[TITLES[method], *measured_cells(figures)] for method, figures in rows.items()]
    return markdown([f"words replaced by `<unk>`{some}, chosen by", *measures(rows)], lines)


def agreement_of_seeds(seeds: Row) -> str:
    """Rank correlations between the explanations of several runs, a line per method."""
    known = {name: (seeds["words"][name], seeds["sentences"][name]) for name in seeds["words"]}
    lines = [
        [TITLES[name], *("" if one is None else with_interval(one) for one in pair)] for name, pair in known.items()
    ]
    return markdown([f"Spearman's ρ of {len(seeds['runs'])} runs by", "words", "sentences"], lines)


def agreement_header(row: Row) -> list[str]:
    """Headers of the columns of Kendall's tau: one in rows without ``split``, which are older."""
    with_signs = "Kendall's τ with leave-one-out"
    return ["Kendall's τ with |leave-one-out|", with_signs] if "split" in row else [with_signs]


def agreement_cells(row: Row, method: str) -> list[str]:
    """Kendall's tau of a method or control with leave-one-out, in the columns of :func:`agreement_header`."""
    measured: tuple[float | None, ...] = kendall_columns(row, method)
    if "split" not in row:
        measured = (row["agreement_with_leave_one_out"].get(method, {}).get("kendall"),)
    return ["" if tau is None else f"{tau:.2f}" for tau in measured]


def with_interval(value: dict[str, float]) -> str:
    """Mean and half of its 95% interval."""
    return f"{value['mean']:.3f} ± {value['half_width']:.3f}"


def verdict(examined: Sequence[Row], task: str) -> str:
    """The same in words, as ``explain.py --faithfulness`` says them."""
    said = (" ".join(verdict_in_words(row)) for row in examined_together(examined, task))
    return "".join(f"{textwrap.fill(sentence, WIDTH, break_on_hyphens=False)}\n" for sentence in said)


# -- how few turn the verdict -----------------------------------------------------------------------------------------


def counterfactuals(examined: Sequence[Row], task: str) -> str:
    """How few words, and sentences, had to be left out for another verdict, by each method; a table per network."""
    known = [row for row in own_of(examined, task) if row.get("counterfactuals")]  # older rows have none
    parts = []
    for rows in alike(known, lambda row: (row["title"], row["split"], row["documents"])):
        header = ["ranking", "words: found", "median", "sentences: found", "median"]
        lines = [
            [TITLES[method], *(cell for level in LEVELS for cell in set_cells(rows, method, level))]
            for method in rows[0]["counterfactuals"]
        ]
        parts += [described(rows[0], f"{rows[0]['split']} documents", seeds_of(rows)), markdown(header, lines)]
    return "\n".join(parts)


def set_cells(rows: Sequence[Row], method: str, level: str) -> list[str]:
    """The share of documents with a set, and the median size, the mean over runs; ``-`` where one run has no median."""
    found = [row["counterfactuals"][method][level] for row in rows]
    medians = [one["median"] for one in found]
    middle = "-" if None in medians else f"{mean_of(medians):.3g}"
    return [f"{mean_of([one['found'] for one in found]):.1%}", middle]


# -- what people marked -----------------------------------------------------------------------------------------------


def plausibility(compared: Sequence[Row], measured: Sequence[Row], task: str) -> str:
    """How well each method agrees with what people marked; a table for each network and weight of evidence."""
    parts = []
    own = sorted(own_of(compared, task), key=lambda row: row["evidence_weight"])
    for rows in alike(own, lambda row: (row["title"], row["split"], row["evidence_weight"])):
        first, milliseconds = rows[0], costs_of(measured, rows[0])
        weight = first["evidence_weight"]
        how = f"attention learned from evidence with weight {weight:g}" if weight else "attention saw no evidence"
        marked = f"{first['words']:.0f} words, {first['marked_share']:.1%} of them marked"
        what = f"{first['split']} documents of {marked}; {how}"
        header = ["chosen by", "AUPRC", "token F1", "IOU F1", "top sentence", *milliseconds]
        lines = [[*agreement_line(rows, method), *cost_cells(milliseconds, method)] for method in first["methods"]]
        parts += [described(first, what, seeds_of(rows)), markdown(header, lines)]
    return "\n".join(parts)


def agreement_line(rows: Sequence[Row], method: str) -> list[str]:
    """A method and its agreement with what is marked, the mean over runs; it says how many documents it explained."""
    figures = mean_of([row["methods"][method] for row in rows if method in row["methods"]])
    fewer = figures.get("documents", rows[0]["documents"]) < rows[0]["documents"]
    title = agreement.TITLES[method] + (f" (on {figures['documents']:.0f})" if fewer else "")
    cells = [f"{figures[name]:.3f}" for name in ("auprc", "token_f1", "iou_f1")]
    return [title, *cells, f"{figures['top_sentence']:.1%}"]


def evidence(compared: Sequence[Row], tested: Sequence[Row], task: str) -> str:
    """A line per run, by the weight of evidence in its training: test result, and agreement with what is marked."""
    rows = sorted(own_of(compared, task), key=lambda row: (row["evidence_weight"], row["training_seed"]))
    results = {row["weights_sha256"]: row for row in tested if row.get("weights_sha256")}
    header = ["weight", "seed", "validation: right", "test: right, loss"]
    header += [f"AUPRC: {TITLES[name]}" for name in EVIDENCE_METHODS]
    header += [f"top sentence: {TITLES[name]}" for name in EVIDENCE_METHODS[:-1]]
    lines = []
    for row in rows:
        result, methods = results[row["weights_sha256"]], row["methods"]
        line = [f"{row['evidence_weight']:g}", str(row["training_seed"]), f"{result['valid_accuracy']:.1%}"]
        line.append(f"{result['accuracy']:.1%}, {result['loss']:.3f}")
        for form, measure, names in (
            ("{:.3f}", "auprc", EVIDENCE_METHODS),
            ("{:.1%}", "top_sentence", EVIDENCE_METHODS[:-1]),
        ):
            line += [form.format(methods[name][measure]) if name in methods else "" for name in names]
        lines.append(line)
    return markdown(header, lines)


# -- what it costs ----------------------------------------------------------------------------------------------------


def costs(measured: Sequence[Row], task: str) -> str:
    """Milliseconds of every method for a short and a long text, and how many times the prediction that is."""
    latest = latest_costs(measured, task)
    if not latest:
        return ""
    header = ["", *(cell for row in latest for cell in (f"{row['words']:,} words", "/ prediction"))]
    lines = []
    for name, title in {ALONE: ALONE, **{name: method.title for name, method in METHODS.items()}}.items():
        values = [(row["milliseconds"].get(name), row["milliseconds"][ALONE]) for row in latest]
        pairs = [
            ["not offered", ""] if one is None else [f"{one:,.1f}", f"{one / alone:,.1f}"] for one, alone in values
        ]
        lines.append([title, *(cell for pair in pairs for cell in pair)])
    machine, made = latest[-1]["machine"], latest[-1]["origin"]
    where = f"{machine['cores']} cores of {machine['processor']}, commit {made['commit']}"
    return (
        f"`{made['command'].replace(' explanation', ' benchmarks/explanation')}`, {where}.\n\n{markdown(header, lines)}"
    )


def latest_costs(measured: Sequence[Row], task: str, title: str | None = None) -> list[Row]:
    """The newest measurement of a network of a task at each length of text, short texts first.

    Args:
        measured: Lines of ``benchmarks/results.jsonl``; those without a task, which are older, are of none.
        task: Data set and number of classes.
        title: Of the network; the one that was measured last where ``None``.
    """
    rows = [row for row in measured if row["benchmark"] == COSTS and row.get("task") == task]
    chosen = {row["wanted"]: row for row in rows if row["title"] == (title or rows[-1]["title"])}
    return [chosen[wanted] for wanted in sorted(chosen)]


def costs_of(measured: Sequence[Row], row: Row) -> Costs:
    """The columns of cost of a table of methods; none where they were not measured."""
    latest = latest_costs(measured, row["task"], row["title"])
    return {f"ms for {one['words']:,} words": one["milliseconds"] for one in latest}


def cost_cells(milliseconds: Costs, method: str) -> list[str]:
    """The cells of a method in the columns of cost; empty for a ranking that explains nothing."""
    return [f"{one[method]:,.1f}" if method in one else "" for one in milliseconds.values()]


# -- runs of one experiment -------------------------------------------------------------------------------------------


def own_of(rows: Sequence[Row], task: str) -> list[Row]:
    """The rows of a task."""
    return [row for row in rows if row["task"] == task]


def alike(rows: Sequence[Row], key: Callable[[Row], tuple[Any, ...]]) -> list[list[Row]]:
    """Rows with the same key, which are runs that differ in their seeds, in the order of the first of each."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def seeds_of(rows: Sequence[Row]) -> list[Any]:
    """The training seeds of some runs."""
    return [row.get("training_seed") for row in rows]


def described(row: Row, what: str, seeds: Sequence[Any]) -> str:
    """The line above a table: network, what was examined, seeds of the runs, command and commit of the first."""
    several = f", mean of {len(seeds)} runs (seeds {', '.join(map(str, seeds))})" if seeds[1:] else ""
    return f"{row['title']}, {row['documents']:,} {what}{several}: `{row['command']}`, commit {row['commit']}.\n"
