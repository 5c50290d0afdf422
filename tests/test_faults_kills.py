"""SIGKILL at random moments of every stage: what is written in the end is the same, byte for byte.

    make test-faults                  500 kills; about an hour of processor time
    make test-faults KILLS=50         fewer

A chain is a fresh folder in which stages run in order, or ``run_all.py`` runs them. Each is killed one to four
times before it may end, sometimes again when it repeats work that is done; half of the time its child processes are
killed with it. At the end of a chain every file has to be that of an undisturbed chain, and no other file may be left.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.stage_chain import contents, differences, run, run_and_kill, stage_commands, write_source

KILLS = int(os.environ.get("KILLS", "500"))
# To run a stage to its end and compare costs more than a kill does, so that there are several between two ends.
MOST_IN_A_ROW = 4
SEED = int(os.environ.get("KILL_SEED", "1"))

pytestmark = pytest.mark.faults


# Chains: the stages before it, which are not killed, those that are, and their share of the kills, the smaller the
# longer a chain takes.
CHAINS = {
    "data": ((), ("download", "create_csv", "serialize_data"), 0.6),
    "run": (("download", "create_csv", "serialize_data"), ("train", "test"), 0.3),
    "all": ((), ("run_all",), 0.1),
}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("kind", CHAINS)
def test_killed_anywhere_all_stages_end_with_the_same_files(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands, seconds = stage_commands(write_source(tmp_path / "source")), {}
    before, chain, share = CHAINS[kind]
    start, undisturbed = tmp_path / "start", tmp_path / "undisturbed"
    start.mkdir()
    run_all_of(before, commands, start)
    shutil.copytree(start, undisturbed)
    seconds = run_all_of(chain, commands, undisturbed)
    expected = contents(undisturbed)
    killed: Counter[str] = Counter()
    chains = 0
    while killed.total() < KILLS * share:
        generator = random.Random(f"{SEED}-{chains}")
        folder = Path(shutil.copytree(start, tmp_path / f"chain-{chains}"))
        for stage in chain:
            killed[stage] += kill_until_done(commands[stage], folder, seconds[stage], generator)
        assert not (found := differences(contents(folder), expected)), (chains, found)
        shutil.rmtree(folder)
        chains += 1
        with capsys.disabled():
            print(f"\n{kind}, {chains} chains: {killed.total()} kills, {dict(killed)}", end="", flush=True)


def run_all_of(stages: tuple[str, ...], commands: dict[str, list[str]], folder: Path) -> dict[str, float]:
    """Runs stages undisturbed; returns the processor time of each, in seconds."""
    seconds = {}
    for stage in stages:
        code, output, seconds[stage] = run(commands[stage], folder)
        assert code == 0, output
    return seconds


def kill_until_done(command: list[str], folder: Path, seconds: float, generator: random.Random) -> int:
    """Kills a script one to four times, lets it end, and sometimes kills a repetition, too; returns the kills.

    Args:
        command: The script and its arguments.
        folder: Where it runs.
        seconds: Of processor time that it takes undisturbed.
        generator: Draws the moments.
    """
    kills = 0
    for attempts in (generator.randint(1, MOST_IN_A_ROW), *generator.choice([(), (), (1,)])):
        for _ in range(attempts):
            kills += run_and_kill(command, folder, generator.uniform(0, seconds), group=generator.random() < 0.5)
        code, output, _ = run(command, folder)
        assert code == 0, output
    return kills
