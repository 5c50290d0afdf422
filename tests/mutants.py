"""Puts faults into the code, one at a time, and counts those that the tests of the module notice.

    make mutants                                              15 mutants of every module of the table (an hour or more)
    make mutants ARGS="--sample 40 text/records.py"           more of one module
    make mutants ARGS="--out mutants.jsonl --seed 2"          others; the finished ones in the file are not run again

cosmic-ray makes the mutants: another operator, comparison or number, a condition negated, a loop that does nothing.
They are drawn by a seed, each place in the code once. What runs the same is left out, for example annotations, which
nothing evaluates. A mutant counts as killed if a test fails or runs too long. The work is done in a copy of the
repository. A survivor is a missing test or a change that makes no difference: look at each, then say which.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.commands.init import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from utils import append_jsonl, read_jsonl  # noqa: E402

# The tests of each module, as few as prove it: a mutant costs one run of them.
TESTS = {
    "data_processing.py": "test_data_processing test_properties_text",
    "han.py": "test_han test_explanations",
    "network/kernels.py": "test_kernels test_recurrent test_han",
    "network/recurrent.py": "test_recurrent",
    "training/step.py": "test_step test_training_methods test_several_labels",
    "training/ngrams.py": "test_fitting_ngrams test_ngrams",
    "training/optimizers.py": "test_optimizers",
    "training/schedules.py": "test_schedules",
    "runtime/input_pipeline.py": "test_input_pipeline test_properties_input_pipeline",
    "runtime/run_folder.py": "test_run_folder test_schema test_formats",
    "text/records.py": "test_records test_properties_records",
    "report/evaluation.py": "test_evaluation",
    "explaining/explanations.py": "test_explanations test_explaining_ngrams",
    "explaining/faithfulness.py": "test_faithfulness test_deletions",
}
NOT_COPIED = {".git", ".venv", "data", "runs", "bundles"}  # at the root: tests have a folder named data, too
TIMES = 5  # a mutant that takes this many times as long as the module itself hangs


@dataclass(frozen=True)
class Mutant:
    """A module with one fault.

    Attributes:
        module: Its path in the repository.
        line: Where the fault is.
        operator: What cosmic-ray calls it.
        code: The whole module.
    """

    module: str
    line: int
    operator: str
    code: str

    @property
    def change(self) -> str:
        """The line before and after, for a person to look at."""
        old, new = (ROOT / self.module).read_text(encoding="utf-8").splitlines(), self.code.splitlines()
        changes = difflib.unified_diff(old, new, lineterm="", n=0)
        return "\n".join(line for line in changes if not line.startswith(("---", "+++", "@@")))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help=f"modules to change (default: {', '.join(TESTS)})")
    parser.add_argument("--sample", type=int, default=15, help="mutants of each module (default: 15)")
    parser.add_argument("--seed", type=int, default=1, help="draws the mutants (default: 1)")
    parser.add_argument("--out", type=Path, help="JSON-lines file of the results, to go on with")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Runs the mutants and prints the survivors and a table."""
    if unknown := set(arguments.modules) - TESTS.keys():
        sys.exit(f"no tests are named for {', '.join(sorted(unknown))}; choose from {', '.join(TESTS)}")
    print("| module | mutants | killed |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "repository"
        shutil.copytree(ROOT, place, ignore=not_copied)
        for module in arguments.modules or TESTS:
            rows = list(results(module, place, arguments))
            killed = sum(row["killed"] for row in rows)
            print(f"| `{module}` | {len(rows)} | {killed} ({killed / len(rows):.0%}) |", flush=True)
            for row in rows:
                if not row["killed"]:
                    print(
                        f"survived: {module}, line {row['line']}, {row['operator']}\n{row['change']}", file=sys.stderr
                    )


def not_copied(folder: str, names: list[str]) -> set[str]:
    """Which entries of a folder the copy does without, for :func:`shutil.copytree`."""
    caches = {name for name in names if name == "__pycache__" or (name.startswith(".") and name.endswith("_cache"))}
    return caches | (NOT_COPIED if Path(folder) == ROOT else set())


def results(module: str, place: Path, arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each mutant of a module, from the file of results where it has one."""
    known = read_jsonl(arguments.out) if arguments.out else []
    limit = 0.0
    for mutant in drawn(module, arguments.sample, arguments.seed):
        key = {"module": module, "line": mutant.line, "operator": mutant.operator, "change": mutant.change}
        found = next((row for row in known if key.items() <= row.items()), None)
        if found is None:
            limit = limit or time_limit(module, place)
            found = key | {"killed": is_killed(mutant, place, limit)}
            if arguments.out:
                append_jsonl(arguments.out, found)
        yield found


def time_limit(module: str, place: Path) -> float:
    """Seconds that a mutant of a module may take, from a run of its tests without a fault.

    The run before compiles loops and compares nothing with a limit.
    """
    failure(module, place, None, "-p", "no:timeout")
    began = time.perf_counter()
    if found := failure(module, place, None):
        sys.exit(f"the tests of {module} fail without a fault:\n{found}")
    return 30 + TIMES * (time.perf_counter() - began)


def drawn(module: str, count: int, seed: int) -> list[Mutant]:
    """Mutants of a module, in a drawn order, no two of the same place, none that runs the same as the module."""
    code = (ROOT / module).read_text(encoding="utf-8")
    generator, same = random.Random(f"{seed} {module}"), what_runs(code)
    with use_db(":memory:", WorkDB.Mode.create) as database:
        init([ROOT / module], database, {})
        specs = [item.mutations[0] for item in database.work_items]
    specs.sort(key=lambda spec: (spec.start_pos, spec.operator_name, spec.occurrence))
    generator.shuffle(specs)
    mutants: dict[tuple[int, int], Mutant] = {}
    for spec in specs:
        if len(mutants) == count:
            break
        if spec.start_pos in mutants:
            continue
        try:
            changed = mutate_code(code, get_operator(spec.operator_name)(), spec.occurrence)
        except AttributeError:  # of cosmic-ray 8.7: an operator that meets what it does not know
            continue
        if changed is not None and what_runs(changed) not in ("", same):
            mutants[spec.start_pos] = Mutant(module, spec.start_pos[0], spec.operator_name, changed)
    return list(mutants.values())


def what_runs(code: str) -> str:
    """The syntax tree without docstrings and annotations; nothing of what is no Python, as ``{>>settings}``."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    for node in ast.walk(tree):
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, None if name == "returns" else ast.Constant(None))
    return ast.dump(tree)


def is_killed(mutant: Mutant, place: Path, limit: float) -> bool:
    """Whether a test of the module fails with the mutant in its place, or takes more than ``limit`` seconds."""
    file = place / mutant.module
    whole = file.read_text(encoding="utf-8")
    file.write_text(mutant.code, encoding="utf-8")
    try:
        return bool(failure(mutant.module, place, limit))
    finally:
        file.write_text(whole, encoding="utf-8")


def failure(module: str, place: Path, limit: float | None, *flags: str) -> str:
    """The last lines of the tests of a module if they fail or take more than ``limit`` seconds, else nothing."""
    tests = [f"tests/{name}.py" for name in TESTS[module].split()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *flags]
    command += ["-m", "not slow and not faults", *tests]
    environment = {**os.environ, "PROPERTY_EXAMPLES": "20", "PYTHONDONTWRITEBYTECODE": "1"}
    environment["NUMBA_CACHE_DIR"] = str(place.parent / "numba")  # never the compiled loops of another mutant
    try:
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return f"more than {limit:.0f} seconds"
    return "\n".join((done.stdout + done.stderr).splitlines()[-30:] or ["no output"]) if done.returncode else ""


if __name__ == "__main__":
    main(build_parser().parse_args())
