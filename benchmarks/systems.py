"""Which system is best on which data: data sets x systems x seeds, by the project's own commands: ``make accuracy``.

    python benchmarks/systems.py imdb:aclImdb_v1.tar.gz amazon_food:Reviews.csv books.csv --seeds 1 2 3 4 5
    python benchmarks/systems.py books.csv --systems "fastText, words and pairs"    # peers.py says what to install
    python benchmarks/systems.py                                # the table of what was measured before

A data set is the name of a published one with its archive after a colon, or a file of one's own. Each system runs as a
person would run it, with its defaults: ``run_all.py`` for the networks, ``linear_baselines.py`` for the linear
classifiers, on the same splits. Where a data set has no test split, each seed makes another one; the seed is also that
of the network. Lines go to ``benchmarks/systems.jsonl``, the table to ``docs/results.md``; what has a line is not run
again.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from measuring import ROOT

from runtime.run_folder import RunFolder, commit
from utils import Parser, UserError, append_jsonl, atomic_write, read_jsonl, run_script

RESULTS = ROOT / "benchmarks" / "systems.jsonl"
PAGE = ROOT / "docs" / "results.md"
MARKED = re.compile(r"(?P<begin><!-- systems -->\n).*?(?P<end><!-- /systems -->)", re.DOTALL)
LINEAR = ("TF-IDF + logistic regression", "NB-SVM")
# What is run, as flags of run_all.py. The linear classifiers of one data set come from one command.
NETWORKS = {"HAN alone": ["--ngrams", "off"], "HAN with n-grams (default)": []}
PEERS = {  # by their names in peers.py, whose packages are installed by hand
    "fastText, words and pairs": "fastText",
    "wordllama (outside text) + logistic regression": "wordllama",
    "MiniLM (outside text) + logistic regression": "MiniLM",
}
SYSTEMS = (*NETWORKS, *LINEAR, *PEERS)
CURVE = "labels-"  # how the sets of learning_curve.py begin
METRICS = ("accuracy", "loss", "calibration_error", "mae", "documents")


class DataSet(NamedTuple):
    """What a person would name on the command line of run_all.py.

    Attributes:
        name: In the table.
        argument: Name of a published set, or a file.
        flags: The archive, and whether ratings stay apart.
    """

    name: str
    argument: str
    flags: list[str]


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="systems.py", description=__doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help="NAME:ARCHIVE, NAME:ARCHIVE:ratings, or FILE")
    parser.add_argument(
        "--systems",
        nargs="+",
        choices=SYSTEMS,
        default=(*NETWORKS, *LINEAR),
        help="which ones (default: all but those of peers.py)",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], help="default: 1 2 3 4 5")
    parser.add_argument(
        "--work", type=Path, default=Path("accuracy"), help="folder of data and runs (default: accuracy)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"default: {RESULTS.relative_to(ROOT)}")
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Runs what is missing, prints the table and writes it into the documentation."""
    data_sets = [parsed(text) for text in arguments.sets]
    for text in arguments.sets:
        if ":" not in text and not Path(text).exists():
            raise UserError(f"{text} is not there; name a file, or a published data set with its archive after a colon")
    for seed in arguments.seeds:
        for data_set in data_sets:
            run_missing(data_set, seed, arguments)
    rows = read_jsonl(arguments.results)
    print(f"\n{table(rows)}")
    if arguments.results == RESULTS:
        text = with_table(PAGE.read_text(encoding="utf-8"), rows)
        with atomic_write(PAGE) as file:
            file.write(text)
    return 0


def parsed(text: str) -> DataSet:
    """``imdb:archive.tar.gz``, ``amazon_food:Reviews.csv:ratings`` or ``reviews.csv``."""
    name, *rest = text.split(":")
    if not rest:
        return DataSet(Path(text).stem, text, [])
    if len(rest) > 2 or rest[1:] not in ([], ["ratings"]):
        raise UserError(f"{text!r} is no data set; write NAME:ARCHIVE, NAME:ARCHIVE:ratings, or the name of a file")
    ratings = rest[1:] == ["ratings"]
    return DataSet(f"{name}, ratings" if ratings else name, name, [str(not ratings), "--source", rest[0]])


def run_missing(data_set: DataSet, seed: int, arguments: argparse.Namespace) -> None:
    """Runs the systems of a data set and seed that have no line yet."""
    done = {(row["set"], row["system"], row["seed"]) for row in read_jsonl(arguments.results)}
    missing = [name for name in arguments.systems if (data_set.name, name, seed) not in done]
    folder = arguments.work / data_set.name.replace(", ", "-") / str(seed)
    for name in missing:
        if name in NETWORKS:
            rows = network_rows(name, data_set, seed, folder)
        elif name in PEERS:
            rows = peer_rows(name, data_set, seed, folder)
        elif name == next(one for one in missing if one in LINEAR):
            rows = linear_rows(data_set, seed, folder)
        else:
            continue  # came with the first
        for row in rows:
            append_jsonl(arguments.results, {"set": data_set.name, "seed": seed, **row, "commit": commit()})


def network_rows(name: str, data_set: DataSet, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Runs the pipeline with a network."""
    run = "-".join(["network", *(flag.strip("-") for flag in NETWORKS[name])])
    seeds = ["--split_seed", str(seed), "--seed", str(seed)]
    flags = [*data_set.flags, *seeds, "--run", run, "--until", "test", *NETWORKS[name]]
    seconds = command("run_all.py", data_set.argument, *flags, *folders(folder))
    for row in read_jsonl(RunFolder(folder / "runs" / run).results):
        if row["split"] == "test":
            yield {"system": name, "minutes": seconds / 60, **{metric: row[metric] for metric in METRICS}}


def linear_rows(data_set: DataSet, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Runs the linear classifiers, on the CSV file of the networks."""
    flags = [*data_set.flags, "--split_seed", str(seed), "--until", "create_csv", *folders(folder)]
    command("run_all.py", data_set.argument, *flags)
    seconds = command("linear_baselines.py", Path(data_set.argument).stem, "--run", "linear", *folders(folder))
    for row in read_jsonl(RunFolder(folder / "runs" / "linear").results):
        for name in LINEAR:
            if row["system"].startswith(name):
                yield {"system": name, "minutes": seconds / 60, **{metric: row[metric] for metric in METRICS}}


def peer_rows(name: str, data_set: DataSet, seed: int, folder: Path) -> Iterator[dict[str, Any]]:
    """Runs what people take today, on the CSV file of the networks."""
    command(
        "run_all.py",
        data_set.argument,
        *data_set.flags,
        "--split_seed",
        str(seed),
        "--until",
        "create_csv",
        *folders(folder),
    )
    out = folder / f"{PEERS[name]}.jsonl"
    flags = ["--system", PEERS[name], "--seed", str(seed), "--out", str(out)]
    seconds = command("benchmarks/peers.py", Path(data_set.argument).stem, *flags, *folders(folder))
    row = read_jsonl(out)[-1]
    yield {"system": name, "minutes": seconds / 60, **{metric: row[metric] for metric in METRICS}}


def folders(folder: Path) -> list[str]:
    """The flags that say where data and runs are."""
    return ["--data_dir", str(folder / "data"), "--runs_dir", str(folder / "runs")]


def command(script: str, *arguments: str) -> float:
    """Runs a script of the project with its output in a file; returns the seconds that it took."""
    print(f"$ python {script} {' '.join(arguments)}", flush=True)
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], capture_output=True, text=True, check=False, env=os.environ
    )
    if done.returncode:
        raise UserError(f"{script} ended with code {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return time.perf_counter() - started


# ---------------------------------------------------------------------------------------------------------------------
# The table


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and standard deviation over the seeds, a line for each data set and system, as Markdown.

    The sets of the learning curve have a picture of their own.
    """
    rows = [row for row in rows if not row["set"].startswith(CURVE)]
    head = ("data set", "system", "accuracy", "to the better linear one", "log loss", "calibration error", "minutes")
    lines = [f"| {' | '.join(head)} | seeds |", "|---" * (len(head) + 1) + "|"]
    for data_set in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == data_set]
        known = [one for one in SYSTEMS if any(row["system"] == one for row in of_set)]
        lines += [table_line(data_set, system, of_set) for system in known]
    return "\n".join(lines) + "\n"


def with_table(text: str, rows: Sequence[dict[str, Any]]) -> str:
    """A page whose text between the marks is the table."""
    return MARKED.sub(lambda marks: f"{marks['begin']}{table(rows)}{marks['end']}", text)


def table_line(data_set: str, system: str, rows: Sequence[dict[str, Any]]) -> str:
    """One line of the table."""
    own = {row["seed"]: row for row in rows if row["system"] == system}
    column = {name: np.array([row[name] for row in own.values()]) for name in ("accuracy", "loss", "minutes")}
    calibration = np.array([row["calibration_error"] for row in own.values()])
    differences = [row["accuracy"] - better for seed, row in own.items() if (better := better_linear(rows, seed))]
    ahead = f"{100 * np.mean(differences):+.2f}" if differences else ""
    spread = f" ± {100 * column['accuracy'].std(ddof=1):.2f}" if len(own) > 1 else ""
    return (
        f"| {data_set} | {system} | {100 * column['accuracy'].mean():.2f}{spread} | {ahead} | "
        f"{column['loss'].mean():.3f} | {100 * calibration.mean():.1f}% | {column['minutes'].mean():.1f} | {len(own)} |"
    )


def better_linear(rows: Sequence[dict[str, Any]], seed: int) -> float | None:
    """The accuracy of the better linear classifier with this seed; ``None`` where none was run."""
    found = [row["accuracy"] for row in rows if row["seed"] == seed and row["system"] in LINEAR]
    return max(found, default=None)


if __name__ == "__main__":
    run_script(main, build_parser())
