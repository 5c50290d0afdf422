"""The stages of the pipeline as processes on 200 short texts, for tests that kill them or fill their disk."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
WORDS = {"World": "minister treaty", "Sports": "goal coach", "Business": "shares market", "Sci/Tech": "robot software"}
SHAPE = ["--word_units", "4", "--sentence_units", "3", "--attention_dim", "5",
         "--batch_size", "8", "--num_epochs", "2", "--warmup_steps", "5"]  # fmt: skip
TEXT = ["--embedding_dim", "8", "--min_count", "2", "--word2vec_epochs", "2"]
OFTEN = ["--checkpoint_every", "5"]
# Seconds. Any stage takes a fraction of it on this data set, also on a busy machine; one that takes longer hangs.
PATIENCE = 600
CORES = os.cpu_count() or 1


def write_source(folder: Path) -> Path:
    """The tables of AG's News in small; every fourth test text is also a training text. Returns their folder."""
    folder.mkdir(parents=True)
    generator = random.Random(4)
    common = [f"word{number}" for number in range(60)]
    written: list[tuple[int, str]] = []
    for name, count in (("train.csv", 160), ("test.csv", 40)):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, quoting=csv.QUOTE_ALL)
            for row in range(count):
                label, clues = list(enumerate(WORDS.values(), start=1))[row % 4]
                text = f"{' '.join(generator.choices(common, k=9))}. The {generator.choice(clues.split())}: {row}."
                if name == "test.csv" and row % 4 == 0:
                    label, text = written[row]
                written.append((label, text))
                table.writerow([label, f"News {label}", text])
    return folder


def stage_commands(source: Path) -> dict[str, list[str]]:
    """The command line of every stage, and of all of them at once."""
    return {
        "download": ["download.py", "ag_news", "--source", str(source)],
        "create_csv": ["create_csv.py", "ag_news"],
        "serialize_data": ["serialize_data.py", "ag_news", *TEXT, "--workers", "2"],
        "train": ["han_trainer.py", "--dataset", "ag_news", *SHAPE, *OFTEN, "--device", "cpu"],
        "test": ["han_tester.py", "--dataset", "ag_news", "--device", "cpu"],
        "explain": ["explain.py", "ag_news-han", "--faithfulness", "--brief", "--documents", "8", "--device", "cpu"],
        "run_all": [
            *["run_all.py", "ag_news", "--source", str(source), *TEXT, "--workers", "2"],
            *[*SHAPE, *OFTEN, "--device", "cpu"],
        ],
    }


STAGES = ("download", "create_csv", "serialize_data", "train", "test", "explain")


def start(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts a script of the project in ``folder``, in a process group of its own; output goes to ``folder``.log."""
    folder.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, str(ROOT / command[0]), *command[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )


def run(command: list[str], folder: Path, environment: dict[str, str] | None = None) -> tuple[int, str, float]:
    """Runs a script to its end. Returns its exit code, its output, and the processor time that it took, in seconds."""
    before = children_seconds()
    process = start(command, folder, environment)
    try:
        code = process.wait(PATIENCE)
    finally:
        kill_group(process)
    return code, folder.with_suffix(".log").read_text(errors="replace"), children_seconds() - before


def children_seconds() -> float:
    """Processor time of all processes that this one has started and that have ended, their own children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_and_kill(command: list[str], folder: Path, seconds: float, group: bool) -> bool:
    """Runs a script and kills it at a point of its work; returns whether it was still running.

    Args:
        command: The script and its arguments.
        folder: Where it runs.
        seconds: Of processor time, its own and its child processes'; on busy cores the same work takes more time by the
            clock, and most moments by the clock would be after its end, or all near its start.
        group: Kill its child processes as well, as a power cut does; else the script alone, as the kernel does when
            memory runs out. The others have to end by themselves.
    """
    began = time.perf_counter()
    process = start(command, folder)
    while (code := process.poll()) is None and (left := seconds - seconds_of(process.pid)) > 0:
        if time.perf_counter() - began > PATIENCE:
            kill_group(process)
            raise AssertionError(f"{command} does nothing more")
        time.sleep(max(0.01, left / CORES))  # it cannot be there earlier, and a look takes 3 ms
    if code is None:
        if group:
            kill_group(process)
        process.kill()
        code = process.wait(PATIENCE)
        wait_for_group(process.pid)
    assert code in {0, -signal.SIGKILL}, folder.with_suffix(".log").read_text(errors="replace")
    return code != 0


def kill_group(process: subprocess.Popen[str]) -> None:
    """Kills what is left of the processes that a script started, itself included."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_for_group(group: int) -> None:
    """Waits until no process of a group is alive any more."""
    began = time.perf_counter()
    while members_of(group):
        assert time.perf_counter() - began < PATIENCE, (
            f"processes {members_of(group)} outlive the script that began them"
        )
        time.sleep(0.05)


def members_of(group: int) -> list[int]:
    """The living processes of a group."""
    return [member for member, *_ in stats_of(group)]


def seconds_of(group: int) -> float:
    """Processor time of the living processes of a group, and of their children that have ended."""
    return sum(sum(ticks) for _, *ticks in stats_of(group)) / os.sysconf("SC_CLK_TCK")


def stats_of(group: int) -> Iterator[tuple[int, ...]]:
    """Of each living process of a group, from /proc: its number, and its four counts of processor time.

    A zombie, which waits for its parent only, is not living.
    """
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # Behind the name, which may hold any character: state, parent, group, ...
            state, _, its_group, *rest = path.read_text(errors="replace").rpartition(")")[2].split()
            if int(its_group) == group and state not in "ZX":
                yield int(path.parent.name), *map(int, rest[8:12])


# ---------------------------------------------------------------------------------------------------------------------
# What was written


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder, by its path, empty folders too: a temporary file would be an entry.

    What differs between two equal runs is left out of files: the time of a run and its speed. TensorBoard's files are
    named after the time and the process; they are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if "/tensorboard/" in name and path.name.startswith("events."):
            continue
        found[name] = hashlib.sha256(comparable(path)).hexdigest() if path.is_file() else "folder"
    return found


def comparable(path: Path) -> bytes:
    """The bytes of a file, without times and speeds where it is JSON of a run."""
    if path.name in {"config.json", "faithfulness.json"}:
        return json.dumps(timeless(json.loads(path.read_text()))).encode()
    if path.name in {"results.jsonl", "steps.jsonl"}:
        return "\n".join(json.dumps(timeless(json.loads(line))) for line in path.read_text().splitlines()).encode()
    return path.read_bytes()


def timeless(value: Any) -> Any:
    """A JSON value without times and speeds."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key != "time" and "per_second" not in key}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """The paths whose contents differ, or that only one of the two has."""
    return sorted(path for path in {**found, **expected} if found.get(path) != expected.get(path))
