"""A disk that is full from any write on: one line, nothing that was good is lost, and the same command then succeeds.

``full_disk/sitecustomize.py`` makes the nth write of a script and its child processes fail, and all that follow. Where
the test may mount one, a small ``tmpfs`` is really full. `make test-faults` tries many writes of every stage (40 of
each; FULL_DISK_POINTS=5 fewer), `make test` a few of the stages that do not load TensorFlow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stage_chain import STAGES, contents, differences, run, stage_commands, write_source

FULL_DISK = Path(__file__).parent / "full_disk"
MOST_POINTS = int(os.environ.get("FULL_DISK_POINTS", "40"))
NEVER = 10**9
# Other settings than those of the finished chain: so a file that is neither the old nor the new one is seen.
OTHER = {"create_csv": ["--split_seed", "2"], "serialize_data": ["--seed", "2"]}
# These do nothing where they have ended before; the others write their files again.
DONE_ONCE = {"download", "train"}
# Disappears before the file that it describes is replaced.
MAY_BE_MISSING = {"data/ag_news/csv_manifest.json"}


class Case:
    """A stage with what was there before it, and what is there after it.

    Args:
        stage: Name of the stage.
        folder: Where the case may write.
    """

    def __init__(self, stage: str, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        commands = stage_commands(write_source(folder / "source"))
        self.command = [*commands[stage], *OTHER.get(stage, [])]
        self.before = folder / "before"
        for name in STAGES[: STAGES.index(stage) + (stage not in DONE_ONCE)]:
            code, output, _ = run(commands[name], self.before)
            assert code == 0, output
        self.before.mkdir(exist_ok=True)
        self.old = contents(self.before)
        self.writes, output = self.run_until(NEVER, "counted")
        self.new = contents(folder / "counted")

    def run_until(self, write: int, name: str) -> tuple[int, str]:
        """Runs the stage on a copy of what was there, with this write and all later ones failing.

        Returns:
            The writes that it made or tried, and its output.
        """
        place, count = Path(shutil.copytree(self.before, self.folder / name)), self.folder / f"{name}.count"
        names = {"UNDER": str(place), "AT": str(write), "COUNT": str(count)}
        environment = {f"FULL_DISK_{key}": value for key, value in names.items()} | {"PYTHONPATH": str(FULL_DISK)}
        code, output, _ = run(self.command, place, environment)
        writes = count.stat().st_size
        # Two workers do not always need as many writes as the first time.
        assert code == (0 if writes < write else 2), (write, writes, output)
        return writes, output

    def check(self, write: int) -> None:
        """One point at which the disk becomes full."""
        name = f"write-{write}"
        place = self.folder / name
        writes, output = self.run_until(write, name)
        if writes >= write:
            check_message(output, str(place), write)
        found = contents(place)
        for path, value in self.old.items():
            allowed = {value, self.new.get(path), None if path in MAY_BE_MISSING else value}
            assert found.get(path) in allowed, (write, path)
        if self.stage != "train":  # whose checkpoints come and go
            assert found.keys() <= {*self.old, *self.new}, (write, found.keys() - {*self.old, *self.new})
        code, output, _ = run(self.command, place)
        assert code == 0, output
        assert not (wrong := differences(contents(place), self.new)), (write, wrong)
        shutil.rmtree(place)


def check_message(output: str, place: str, where: object) -> None:
    """The last line says what is full; nothing looks like a fault of the program."""
    last = output.splitlines()[-1]
    assert "error: " in last and "the disk is full" in last and "run the same command again" in last, (where, output)
    assert output.count("error: ") == 1 and "Traceback" not in output, (where, output)


def spread(writes: int, most: int) -> list[int]:
    """Up to ``most`` numbers from 1 to ``writes``, the first and the last among them."""
    return sorted({1 + round(place * (writes - 1) / (most - 1)) for place in range(most)})


@pytest.mark.parametrize(("stage", "points"), [("download", 2), ("create_csv", 3)])
def test_a_full_disk_costs_nothing_that_was_good(stage: str, points: int, tmp_path: Path) -> None:
    case = Case(stage, tmp_path)
    for write in spread(case.writes, points):
        case.check(write)


@pytest.mark.faults
@pytest.mark.timeout(0)
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_at_any_write(stage: str, tmp_path: Path) -> None:
    case = Case(stage, tmp_path)
    assert case.writes > 5
    for write in spread(case.writes, MOST_POINTS):
        case.check(write)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory of 16 KB; the test is skipped where it may not mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.faults
@pytest.mark.timeout(0)
def test_a_small_disk_that_grows(small_disk: Path, tmp_path: Path) -> None:
    """Each stage meets a full disk several times, which is then made larger, until all have ended."""
    commands = stage_commands(write_source(tmp_path / "source"))
    for stage in STAGES:
        assert run(commands[stage], tmp_path / "enough")[0] == 0
    size, full = 16, 0
    for stage in STAGES:
        while True:
            code, output, _ = run(commands[stage], small_disk)
            if code == 0:
                break
            check_message(output, str(small_disk), (stage, size))
            full += 1
            size = size * 5 // 4
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(small_disk)], check=True)
    assert full > 5
    assert not differences(contents(small_disk), contents(tmp_path / "enough"))
