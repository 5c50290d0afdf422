"""The results of every run side by side: a row for each thing that was tested, for the terminal, LaTeX or pandas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import schema
from runtime.run_folder import RunFolder

if TYPE_CHECKING:
    import pandas as pd

AVERAGES_FILE = "averages.jsonl"
COLUMNS = (
    "run",
    "dataset",
    "network",
    "seed",
    "step",
    "split",
    "documents",
    "valid_accuracy",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "auc",
    "micro_f1",
    "macro_f1",
    "loss",
    "calibration_error",
    "state",
)
# Heading and format of the columns that a person reads; that of micro F1 where a run has several labels a text. Of one
# label micro F1 is the accuracy.
SHOWN = {
    "run": ("run", "{}"),
    "network": ("network", "{}"),
    "seed": ("seed", "{:.0f}"),
    "valid_accuracy": ("validation", "{:.2%}"),
    "accuracy": ("accuracy", "{:.2%}"),
    "interval": ("95% interval", "{}"),
    "auc": ("AUC", "{:.4f}"),
    "micro_f1": ("micro F1", "{:.4f}"),
    "macro_f1": ("macro F1", "{:.4f}"),
    "loss": ("loss", "{:.4f}"),
    "state": ("", "{}"),
}


class TestedRow(TypedDict):
    """What is read of a line of ``results.jsonl`` or ``averages.jsonl``."""

    split: str
    documents: int
    accuracy: float
    accuracy_interval: list[float]
    auc: float | None
    macro_f1: float
    micro_f1: NotRequired[float]
    loss: float
    calibration_error: float
    dataset: NotRequired[str]
    system: NotRequired[str]
    title: NotRequired[str]
    architecture: NotRequired[str]
    seed: NotRequired[int | None]
    step: NotRequired[int | None]
    valid_accuracy: NotRequired[float | None]
    runs: NotRequired[list[str]]


def run_rows(runs_dir: Path, names: Sequence[str] = (), split: str = "test") -> list[dict[str, Any]]:
    """The rows of the table, by data set, the best last within it; untested runs come first.

    Args:
        runs_dir: Folder of the runs.
        names: Which runs; all of them if none is named.
        split: ``test`` or ``valid``.

    Returns:
        Rows with :data:`COLUMNS`; ``None`` where a figure does not exist. Figures are shares from 0 to 1.

    Raises:
        UserError: A file of results is damaged.
    """
    folders = sorted({file.parent for kind in ("config.json", "results.jsonl") for file in runs_dir.glob(f"*/{kind}")})
    rows = [row for folder in folders if not names or folder.name in names for row in rows_of(RunFolder(folder), split)]
    if not names:
        rows += averages(runs_dir / AVERAGES_FILE, split)
    return sorted(rows, key=lambda row: (row["dataset"] or "", row["accuracy"] or 0.0, row["run"]))


def rows_of(run: RunFolder, split: str) -> Iterator[dict[str, Any]]:
    """The tested weights of one run, or a row without figures where nothing was tested."""
    config = run.config() if run.exists() else None
    tested = [row for row in schema.read_jsonl(run.results, TestedRow) if row["split"] == split]
    for row in tested:
        title = row.get("system") or row.get("title") or row.get("architecture", "").upper()
        yield filled(row, run=run.path.name, dataset=row.get("dataset"), network=title, state="")
    if config and not tested:
        described = {"dataset": config.dataset, "network": config.title(), "seed": config.training.seed}
        yield {**dict.fromkeys(COLUMNS), "run": run.path.name, "split": split, **described, "state": state_of(run)}


def state_of(run: RunFolder) -> str:
    """Why a run has no result."""
    if run.is_training():
        return "is training"
    return "not tested" if run.finished.exists() else "not finished"


def averages(file: Path, split: str) -> Iterator[dict[str, Any]]:
    """The means of several runs that ``han_tester.py`` has tested; of the same runs the last."""
    rows = {tuple(row["runs"]): row for row in schema.read_jsonl(file, TestedRow) if row["split"] == split}
    for runs, row in rows.items():
        config = RunFolder(file.parent / runs[0])
        dataset = config.config().dataset if config.exists() else None
        yield filled(row, run=" + ".join(runs), dataset=dataset, network=f"mean of {len(runs)}", state="")


def filled(row: TestedRow, **named: Any) -> dict[str, Any]:
    """A row of the table from a line of a file; ``named``: what the line does not have."""
    low, high = row["accuracy_interval"]
    figures: dict[str, Any] = {**row, "accuracy_low": low, "accuracy_high": high, **named}
    return {name: figures.get(name) for name in COLUMNS}


def as_frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The table as a DataFrame with :data:`COLUMNS`."""
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS))


# ---------------------------------------------------------------------------------------------------------------------
# For a reader


def shown_columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The columns that a person reads; that of micro F1 only where a row has it."""
    return [name for name in SHOWN if name != "micro_f1" or any(row[name] is not None for row in rows)]


def cells(row: dict[str, Any], names: Sequence[str]) -> list[str]:
    """The cells of a row as they are shown, of the columns with these names."""
    low, high = row["accuracy_low"], row["accuracy_high"]
    whole = {**row, "interval": None if low is None else f"{low:.2%} to {high:.2%}"}
    return ["-" if whole[name] is None else SHOWN[name][1].format(whole[name]) for name in names]


def as_text(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of the table, with a heading for each data set."""
    names = shown_columns(rows)
    table = [[SHOWN[name][0] for name in names], *(cells(row, names) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    dataset: object = ""
    for number, line in enumerate(table):
        if number and rows[number - 1]["dataset"] != dataset:
            dataset = rows[number - 1]["dataset"]
            yield f"\n{dataset}"
        left, right = list(zip(line, widths, strict=True))[:2], list(zip(line, widths, strict=True))[2:]
        padded = [cell.ljust(width) for cell, width in left] + [cell.rjust(width) for cell, width in right]
        yield "  ".join(padded).rstrip()


def as_latex(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The lines of a LaTeX table, for the package ``booktabs``."""
    names = [name for name in shown_columns(rows) if name != "state"]
    yield rf"\begin{{tabular}}{{ll{'r' * (len(names) - 2)}}}"
    yield r"\toprule"
    yield " & ".join(escaped(SHOWN[name][0]) for name in names) + r" \\"
    yield r"\midrule"
    for row in rows:
        yield " & ".join(map(escaped, cells(row, names))) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def escaped(text: str) -> str:
    """A text whose special signs LaTeX prints."""
    signs = {sign: rf"\{sign}" for sign in "%&_#${}"} | {"\\": r"\textbackslash{}", "~": r"\~{}", "^": r"\^{}"}
    return "".join(signs.get(sign, sign) for sign in text)
