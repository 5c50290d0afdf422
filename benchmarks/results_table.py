"""Keeps the results of the documentation: collects them from run folders and writes the tables from them.

    python benchmarks/results_table.py add runs/imdb-han runs/imdb-linear        what was measured -> docs/*.jsonl
    python benchmarks/results_table.py write                                     docs/*.jsonl -> README.md, docs/

Nobody types a figure: it is between two markers (``<!-- results:imdb-2 -->`` and ``<!-- /results -->``), and a test
fails when it is not what the lines of ``docs/`` give. Two kinds of markers are written here:

* ``results``: every system with its test results, and where each figure comes from;
* ``scores``: the same without where they come from;

the others, about explanations, by ``explanation_tables.py``. What explanations cost is in ``benchmarks/results.jsonl``
(``explanation_cost.py``).

What the tables must not hide:

* A test result whose weights were not chosen on validation is refused: they have to be the best ones of the run.
* Runs with other settings or other records are a line of their own, which says what differs: a hash of the settings is
  part of the key. Only seeds are averaged.
* A seed that was run twice, with other weights, is listed twice and counts twice.
* Each line says which text besides the labelled training documents was read, and whether the settings were chosen for
  this network on this task (:data:`TUNED`).
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import explanation_tables
from explanation_tables import markdown

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config import ModelSettings, TrainingSettings, from_json, model_settings_to_json, to_json  # noqa: E402
from explaining.faithfulness import faithfulness_file, read_findings  # noqa: E402
from runtime.checkpoints import best_checkpoint  # noqa: E402
from runtime.run_folder import RunConfig, RunFolder  # noqa: E402
from utils import (  # noqa: E402
    DataPaths,
    Parser,
    UserError,
    atomic_write,
    log,
    read_json,
    read_jsonl,
    run_script,
    sha256_of_json,
    write_jsonl,
)

RESULTS = ROOT / "docs" / "results.jsonl"
FAITHFULNESS = ROOT / "docs" / "faithfulness.jsonl"
PLAUSIBILITY = ROOT / "docs" / "plausibility.jsonl"
MEASURED = ROOT / "benchmarks" / "results.jsonl"
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "explanations.md")
MARKED = re.compile(
    r"(?P<begin><!-- (?P<kind>[a-z]+):(?P<task>[\w-]+) -->\n)"
    r".*?(?P<end><!-- /(?P=kind) -->)",
    re.DOTALL,
)
BEST = RunFolder(Path()).best.name
LINEAR = "linear"
# Whose settings were chosen for it on this task, and how. A network that is not here has the settings of one that is.
TUNED = {
    ("imdb-2", "HAN-GRU"): "yes",
    ("imdb-2", "HAN-GRU with n-grams"): "yes",
    ("imdb-2", "HAN-GRU, trained on train and validation"): "yes",
    ("sample-2", "HAN-GRU"): "by hand",
    ("sample-2", "HAN-GRU with n-grams"): "by hand",
}
TEXT_NOTES = {"none": "none", "unlabelled": "unlabelled", "outside": "**outside**"}
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
    "split",
    "seed",
    "documents",
    "flip_share",
    "words",
    "sentences",
    "agreement_with_leave_one_out",
    "completeness",
    "counterfactuals",
    "best_method",
    "evidence",
    "weights_sha256",
    "replaced",
    "seeds",
)
KEPT_OF_PLAUSIBILITY = ("split", "seed", "documents", "words", "marked_share", "methods", "weights_sha256")
COMPARED_SPLITS = ("valid", "test")  # of which plausibility is kept, where it was examined


@dataclass
class Kept:
    """What ``docs/`` keeps, and what the benchmarks measured.

    Attributes:
        results: Test results, one row per system and seed.
        faithfulness: Examinations of explanations, one row per run.
        plausibility: Comparisons of explanations with what people marked, one row per run and split.
        measured: Lines of the benchmarks.
    """

    results: list[dict[str, Any]] = field(default_factory=list)
    faithfulness: list[dict[str, Any]] = field(default_factory=list)
    plausibility: list[dict[str, Any]] = field(default_factory=list)
    measured: list[dict[str, Any]] = field(default_factory=list)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="results_table.py", description=__doc__)
    parser.add_argument("action", choices=("add", "write"), help="collect from run folders, or write the tables")
    parser.add_argument("runs", nargs="*", type=Path, help="run folders to collect from")
    parser.add_argument("--data_dir", type=Path, default=ROOT / "data", help="folder of the data sets of these runs")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Collects or writes."""
    kept = read_kept()
    if arguments.action == "add":
        for run in arguments.runs:
            add(kept, run, arguments.data_dir)
        write_jsonl(RESULTS, kept.results)
        write_jsonl(FAITHFULNESS, kept.faithfulness)
        write_jsonl(PLAUSIBILITY, kept.plausibility)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        with atomic_write(page) as file:
            file.write(with_tables(text, kept))


def read_kept() -> Kept:
    """What ``docs/`` and ``benchmarks/`` hold."""
    return Kept(*(read_jsonl(file) for file in (RESULTS, FAITHFULNESS, PLAUSIBILITY, MEASURED)))


def add(kept: Kept, run: Path, data_dir: Path) -> None:
    """Takes a run's test results, and what ``explain.py`` measured of it, if it did.

    That is ``--faithfulness --split test``, and ``--plausibility`` on any split.

    Raises:
        UserError: The run has no test result of weights that were chosen on validation, its weights are of other
            settings than it has, or its records are not there.
    """
    found = [row for row in read_jsonl(RunFolder(run).results) if row["split"] == "test"]
    chosen = [row for row in found if chosen_on_validation(row, RunFolder(run))]
    for row in found:
        if row not in chosen:
            log.warning("%s: %s was not chosen on validation; its test result is left out", run, row.get("checkpoint"))
    if not chosen:
        raise UserError(
            f"{run} has no test result of weights that were chosen on validation; make one: "
            f"python han_tester.py --run {run.name}"
        )
    rows = [kept_row(row, setting_of(row, run, data_dir)) for row in chosen]
    for row in rows if rows[-1]["architecture"] == LINEAR else rows[-1:]:  # of a network the last test counts
        put(kept.results, row)
    add_faithfulness(kept, run, rows[-1])
    add_plausibility(kept, run, rows[-1])


def add_faithfulness(kept: Kept, run: Path, tested: dict[str, Any]) -> None:
    """Takes what ``explain.py --faithfulness --split test`` measured; ``tested`` is the run's row of test results."""
    examined = read_findings(faithfulness_file(run, "test"))
    if examined and examined["weights_sha256"] != tested["weights_sha256"]:
        log.warning("%s: the explanations that were examined are of other weights; they are left out", run)
    elif examined:
        put(kept.faithfulness, kept_faithfulness(examined, tested))
    elif faithfulness_file(run).exists():
        log.warning(
            "%s has no explanations examined on test documents, only on others, which are left out; to examine them: "
            "python explain.py %s --faithfulness --split test",
            run,
            run.name,
        )


def add_plausibility(kept: Kept, run: Path, tested: dict[str, Any]) -> None:
    """Takes what ``explain.py --plausibility`` measured; ``tested`` is the run's row of test results."""
    for file in (run / f"plausibility-{split}.json" for split in COMPARED_SPLITS):
        compared = read_json(file) if file.exists() else {}
        if compared and compared["weights_sha256"] != tested["weights_sha256"]:
            log.warning("%s is of other weights; it is left out", file)
        elif compared:
            put(kept.plausibility, kept_plausibility(compared, tested))


def chosen_on_validation(row: dict[str, Any], run: RunFolder) -> bool:
    """Whether the weights of a test result are those that validation chose; a linear system has no others.

    Raises:
        UserError: The run has no such weights, or they are not of its settings.
    """
    if row["architecture"] == LINEAR:
        return True
    return row.get("checkpoint") == BEST and row["weights_sha256"] == best_checkpoint(run).weights_sha256


def setting_of(row: dict[str, Any], run: Path, data_dir: Path) -> dict[str, Any]:
    """What a result was made with: ``settings``, ``records`` (a hash of the data) and ``text`` (what else was read)."""
    if row["architecture"] == LINEAR:
        settings = {name: row[name] for name in ("train_on_valid", "train_documents")}
        return {"settings": settings, "records": row["csv_sha256"], "text": "none"}
    config = RunFolder(run).config()
    return {"settings": settings_of(config), "records": config.records_sha256, "text": text_read(config, data_dir)}


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The settings of a run that are the same for all its seeds."""
    return {
        "architecture": config.architecture,
        **model_settings_to_json(config.architecture, config.model),
        **{name: value for name, value in to_json(config.training).items() if name != "seed"},
        "retrained": config.retraining is not None,
    }


def text_read(config: RunConfig, data_dir: Path) -> str:
    """Which text besides the labelled training documents the word vectors of a run have read.

    Raises:
        UserError: The records of the run, or the description of the CSV file that they were made from, are not in
            ``data_dir``.
    """
    data = DataPaths(config.dataset, data_dir)
    path = data.manifest
    manifest = read_json(path) if path.exists() else {}
    if sha256_of_json(manifest) != config.records_sha256:
        raise UserError(f"{path} is not that of the run's records; name their folder with --data_dir")
    method = manifest["settings"]["embeddings"].partition(":")[0]
    described = read_json(data.csv_manifest) if data.csv_manifest.exists() else {}
    if described.get("csv_sha256") != manifest["csv"]["sha256"]:
        raise UserError(f"{data.csv_manifest} does not describe the CSV file of the records; run create_csv.py again")
    unlabelled = described["splits"].get("unlabelled", {}).get("documents", 0)
    return {"random": "none", "glove": "outside"}.get(method, "unlabelled" if unlabelled else "none")


def put(rows: list[dict[str, Any]], row: dict[str, Any]) -> None:
    """Appends a row, in the place of one of the same experiment."""
    rows[:] = [other for other in rows if not same_experiment(other, row)] + [row]


def same_experiment(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two rows are the same weights tested twice or, of linear systems, the same settings on the same data.

    Linear rows of before the data were recorded are taken to be of the same data.
    """
    if one.get("weights_sha256") or other.get("weights_sha256"):
        return all(one.get(name) == other.get(name) for name in ("weights_sha256", "task", "split"))
    data = {row.get("records") for row in (one, other)} - {None}
    return len(data) <= 1 and key_of({**one, "records": None}) == key_of({**other, "records": None})


def kept_row(row: dict[str, Any], setting: dict[str, Any]) -> dict[str, Any]:
    """What the documentation keeps of a line of a run's ``results.jsonl``; ``setting`` is from :func:`setting_of`."""
    classes = len(row["class_names"])
    return {
        "task": f"{row['dataset']}-{classes}",
        **({"system": row["system"]} if "system" in row else {}),
        **{name: row.get(name) for name in KEPT},
        **setting,
        "command": row["trained"]["command"],
        "commit": row["trained"]["commit"],
        "time": row["trained"]["time"],
        "versions": row["trained"]["versions"],
    }


def kept_faithfulness(value: dict[str, Any], tested: dict[str, Any]) -> dict[str, Any]:
    """What the documentation keeps of a run's ``faithfulness-test.json``; ``tested`` is its row of test results."""
    return network_of(tested) | {name: value.get(name) for name in KEPT_OF_FAITHFULNESS} | origin_of(value)


def kept_plausibility(value: dict[str, Any], tested: dict[str, Any]) -> dict[str, Any]:
    """What the documentation keeps of a run's ``plausibility-valid.json``; ``tested`` is its row of test results."""
    own = {name: value[name] for name in KEPT_OF_PLAUSIBILITY}
    return {
        **network_of(tested),
        "evidence_weight": tested["settings"].get("evidence_weight", 0.0),
        **own,
        **origin_of(value),
    }


def network_of(tested: dict[str, Any]) -> dict[str, Any]:
    """The task, the network and the seed of a row of test results."""
    known = {name: tested.get(name) for name in ("task", "dataset", "architecture", "title", "cell")}
    return {**known, "training_seed": tested.get("seed")}


def origin_of(value: dict[str, Any]) -> dict[str, Any]:
    """How an examination of explanations was made."""
    return {name: value["examined"][name] for name in ("command", "commit", "time", "versions")}


def key_of(row: dict[str, Any]) -> tuple[Any, ...]:
    """Rows with the same key are runs of one experiment, which differ in their seeds; published figures are others."""
    return row.get("source"), row["task"], name_of(row), settings_hash(row), row.get("records")


def settings_hash(row: dict[str, Any]) -> str:
    """Hash of the settings of a row; empty for a published figure."""
    settings = full_settings(row)
    return sha256_of_json(settings) if settings else ""


def full_settings(row: dict[str, Any]) -> dict[str, Any]:
    """The settings of a row; those that were introduced after it have their defaults (:func:`config.from_json`)."""
    settings = row.get("settings") or {}
    if "architecture" not in settings:
        return dict(settings)
    others = {name: settings[name] for name in ("architecture", "retrained")}
    named = {name: value for name, value in settings.items() if name not in others}
    model = {name: value for name, value in named.items() if name in to_json(ModelSettings())}
    training = {name: value for name, value in named.items() if name not in model}
    return {
        **others,
        **model_settings_to_json(settings["architecture"], from_json(ModelSettings, model, "docs/results.jsonl")),
        **to_json(from_json(TrainingSettings, training, "docs/results.jsonl")),
    }


# ---------------------------------------------------------------------------------------------------------------------
# What is between the markers


def with_tables(text: str, kept: Kept) -> str:
    """A page in which everything between markers is written again."""
    return MARKED.sub(lambda place: place["begin"] + written(kept, place["kind"], place["task"]) + place["end"], text)


def written(kept: Kept, kind: str, task: str) -> str:
    """What is between the markers of a kind and a task.

    Raises:
        UserError: There is no such kind.
    """
    kinds: dict[str, Callable[[], str]] = {
        "results": lambda: table(task, kept.results, with_origin=True),
        "scores": lambda: table(task, kept.results, with_origin=False),
        "faithfulness": lambda: explanation_tables.faithfulness(kept.faithfulness, kept.measured, task),
        "verdict": lambda: explanation_tables.verdict(kept.faithfulness, task),
        "counterfactuals": lambda: explanation_tables.counterfactuals(kept.faithfulness, task),
        "plausibility": lambda: explanation_tables.plausibility(kept.plausibility, kept.measured, task),
        "evidence": lambda: explanation_tables.evidence(kept.plausibility, kept.results, task),
        "costs": lambda: explanation_tables.costs(kept.measured, task),
    }
    if kind not in kinds:
        raise UserError(f"<!-- {kind}:{task} --> is no table; choose from {', '.join(kinds)}")
    return kinds[kind]()


def table(task: str, rows: list[dict[str, Any]], with_origin: bool = True) -> str:
    """One Markdown table, best system last."""
    own = [row for row in rows if row["task"] == task]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in own:
        groups.setdefault(key_of(row), []).append(row)
    names = dict(zip(groups, distinct_names(list(groups.values())), strict=True))
    with_mae = any(row.get("mae") is not None for row in own)
    with_auc = task.endswith("-2")  # of several classes it would be a mean, which few know how to read
    header = ["system", "test accuracy", *(["AUC"] if with_auc else []), *(["mean error in stars"] if with_mae else [])]
    header += ["seeds", "tuned", "other text read", *(["where from"] if with_origin else [])]
    lines = []
    for key, group in sorted(groups.items(), key=lambda item: mean(item[1], "accuracy")):
        group.sort(key=lambda row: row.get("seed") or 0)
        auc = [spread(group, "auc", 1, "{:.4f}")] if with_auc else []
        stars = [spread(group, "mae", 1, "{:.2f}")] if with_mae else []
        line = [names[key], accuracy(group), *auc, *stars, seeds(group), tuned(group[0]), text_note(group[0])]
        lines.append([*line, *([origin(group)] if with_origin else [])])
    return markdown(header, lines)


def name_of(row: dict[str, Any]) -> str:
    """The system of a row: a published one by its name, one that was run here by its name or its network."""
    if "system" in row:
        return str(row["system"]) if "source" in row else f"{row['system']}, run here"
    return f"**{title_of(row)}, this project**"


def title_of(row: dict[str, Any]) -> str:
    """The network of a row that was run here."""
    return str(row.get("title") or f"{row['architecture']}-{row['cell']}".upper())  # rows of before there were others


def distinct_names(groups: Sequence[list[dict[str, Any]]]) -> list[str]:
    """The name of each group; of several with one name it says what differs: settings, records or source."""
    names = [name_of(group[0]) for group in groups]
    return [
        name if names.count(name) == 1 else f"{name} ({difference(group[0], same_name(groups, name))})"
        for name, group in zip(names, groups, strict=True)
    ]


def same_name(groups: Sequence[list[dict[str, Any]]], name: str) -> list[dict[str, Any]]:
    """A row of each group with this name."""
    return [group[0] for group in groups if name_of(group[0]) == name]


def difference(row: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """In which settings, data or source a row differs from others of the same name."""
    settings, others = full_settings(row), [full_settings(other) for other in rows]
    changed = [name for name in settings if any(other.get(name) != settings[name] for other in others)]
    parts = [f"{name} {settings[name]}" for name in changed]
    if len({other.get("records") for other in rows}) > 1:
        parts.append(f"records {(row.get('records') or 'not recorded')[:12]}")
    return ", ".join(parts) or str(row.get("source", "settings not recorded"))


def mean(group: list[dict[str, Any]], name: str) -> float:
    """Mean of a figure over the seeds."""
    return statistics.fmean(row[name] for row in group)


def accuracy(group: list[dict[str, Any]]) -> str:
    """Mean accuracy in percent, its standard deviation, and the split if it is not test."""
    on = f" on {group[0]['on']}" if "on" in group[0] else ""
    return spread(group, "accuracy", 100, "{:.2f}") + on


def spread(group: list[dict[str, Any]], name: str, scale: float, form: str) -> str:
    """Mean and, over several seeds, the standard deviation."""
    values = [scale * row[name] for row in group if row.get(name) is not None]
    if not values:
        return ""
    middle = form.format(statistics.fmean(values))
    return f"{middle} ± {form.format(statistics.stdev(values))}" if len(values) > 1 else middle


def seeds(group: list[dict[str, Any]]) -> str:
    """The seeds of a group, one for each run, or nothing for a published figure."""
    return ", ".join(str(row["seed"]) for row in group if row.get("seed") is not None)


def tuned(row: dict[str, Any]) -> str:
    """Whether the settings were chosen for this system on this task; nothing for a published figure."""
    if "source" in row or row.get("system") == "majority class":
        return ""
    if row["architecture"] == LINEAR:
        return "yes"
    return TUNED.get((row["task"], title_of(row)), "no")


def text_note(row: dict[str, Any]) -> str:
    """Which text was read besides the labelled training documents."""
    return TEXT_NOTES.get(row.get("text", ""), row.get("text", "not recorded"))


def origin(group: list[dict[str, Any]]) -> str:
    """Where a figure comes from: a publication, or the command of its first seed and the commits that gave it."""
    first = group[0]
    if "source" in first:
        return str(first["source"])
    return f"`{first['command']}`, commit {', '.join(dict.fromkeys(str(row['commit']) for row in group))}"


if __name__ == "__main__":
    run_script(main, build_parser())
