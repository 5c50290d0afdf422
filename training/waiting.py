"""Waiting for a trainer: for its run to begin, for its checkpoints, for its end.

The tester and the trainer are separate processes: the tester sees the run folder and its lock.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime.checkpoints import Checkpoint, run_checkpoint, step_of
from runtime.run_folder import RunFolder, no_such_run
from utils import DataPaths, UserError, address_of, log

SPLIT_OF_RUN_TYPE = {"val": "valid", "test": "test"}
# Seconds that a trainer may take to begin its run. A tester that follows a trainer waits longer; for the other one the
# name of the run is more likely misspelt, see :func:`seconds_to_wait`.
WAIT_FOR_RUN_SECONDS = {"val": 30.0, "test": 10.0}
STOPPED_SECONDS = 60.0  # without a trainer: it is reported as stopped


def wait_for(condition: Callable[[], bool], message: str, seconds: float = float("inf"), pause: float = 1.0) -> None:
    """Waits, logging ``message`` once, until ``condition()`` holds or ``seconds`` have passed."""
    started, logged = time.monotonic(), False
    while not condition() and time.monotonic() - started < seconds:
        if not logged:
            log.info("%s", message)
            logged = True
        time.sleep(pause)


def seconds_to_wait(arguments: argparse.Namespace) -> float:
    """How long the tester waits for a trainer to begin the run.

    Args:
        arguments: Its parsed flags, completed by :func:`runtime.run_folder.chosen_run`.

    Returns:
        What ``--wait`` says. Without it, a test of the best checkpoint does not wait where nobody is about to train:
        RUN names what exists, and a trainer needs records.
    """
    if arguments.wait is not None:
        return float(arguments.wait)
    records = DataPaths(arguments.dataset, arguments.data_dir).manifest
    likely = arguments.named_run is None and (records.exists() or address_of(arguments.data_dir) is not None)
    return WAIT_FOR_RUN_SECONDS[arguments.run_type] if likely or arguments.run_type == "val" else 0.0


def wait_for_run(run: RunFolder, train: str, seconds: float) -> None:
    """Waits for a trainer to begin a run.

    Args:
        run: The run.
        train: The command that trains it, for the messages.
        seconds: How long to wait while no trainer works on it.

    Raises:
        UserError: There is no run after that time.
    """
    missing = no_such_run(run, train)
    message = f"{missing}; waiting {seconds:.0f} s for a trainer to begin it"
    wait_for(lambda: run.exists() or run.is_training(), message, seconds)
    wait_for(lambda: run.exists() or not run.is_training(), f"a trainer is starting {run.path}")
    if not run.exists():
        raise missing


def refuse_missing_checkpoint(run: RunFolder, named: Path | None) -> None:
    """Refuses a ``--checkpoint`` that does not exist; before TensorFlow is imported, which takes seconds.

    Raises:
        UserError: As said, with the checkpoints of the run.
    """
    if named and not named.is_file():
        existing = ", ".join(str(path) for path in [*run.checkpoint_files(), run.best] if path.exists())
        raise UserError(f"--checkpoint {named}: no such file; the checkpoints are: {existing or 'none'}")


def chosen_checkpoint(run: RunFolder, named: Path | None) -> Checkpoint:
    """The checkpoint of ``--checkpoint``, or the best one when training has finished.

    Raises:
        UserError: The named file does not exist, or training did not finish and no trainer is running.
    """
    if named:
        refuse_missing_checkpoint(run, named)
        return run_checkpoint(run, named)
    wait_for(
        lambda: run.finished.exists() or not run.is_training(),
        f"{run.path} is still training; waiting for its end (--checkpoint FILE tests one now)",
    )
    run.refuse_unfinished(f"test the best weights so far: --checkpoint {run.best}" if run.best.exists() else "")
    if not run.best.exists():
        raise UserError(f"{run.best} is missing; train again with --restart, or name another --checkpoint")
    return run_checkpoint(run, run.best)


def follow_checkpoints(run: RunFolder, wait: float | None = None, pause: float = 1.0) -> Iterator[Checkpoint]:
    """Yields each checkpoint of a run once, oldest first, as a trainer writes them; ends when training has finished.

    A checkpoint that the trainer deletes before it could be read is skipped.

    Args:
        run: The run.
        wait: Seconds to wait while no trainer is working on the run; ``None``: without limit.
        pause: Seconds between looks.

    Raises:
        UserError: No trainer has worked on the run for that time.
    """
    seen = -1
    idle = Idle(run, wait)
    while True:
        finished = run.finished.exists()  # checked before the files, so that the last checkpoint is not missed
        for path in run.checkpoint_files():
            if (step := step_of(path)) > seen:
                seen = step
                try:
                    yield run_checkpoint(run, path)
                except FileNotFoundError:
                    continue
        if finished:
            return
        idle.look()
        time.sleep(pause)


class Idle:
    """Reports that no trainer is working on a run, at once and once more after a minute.

    Args:
        run: The run.
        wait: Seconds until :meth:`look` raises; ``None``: never.
    """

    def __init__(self, run: RunFolder, wait: float | None) -> None:
        self.run, self.wait = run, wait
        self.since: float | None = None
        self.reports = 0

    def look(self) -> None:
        """Looks whether a trainer is working.

        Raises:
            UserError: None has for the seconds of ``wait``.
        """
        if self.run.is_training():
            self.since, self.reports = None, 0
            return
        now = time.monotonic()
        self.since = now if self.since is None else self.since
        seconds = now - self.since
        if self.wait is not None and seconds >= self.wait:
            raise UserError(
                f"no trainer has been working on {self.run.path} for {seconds:.0f} s and its training is not finished; "
                f"resume it: {self.run.training_command()}"
            )
        if self.reports == 0:
            log.info("no trainer is working on %s; waiting for its next checkpoint", self.run.path)
            self.reports = 1
        elif self.reports == 1 and seconds >= STOPPED_SECONDS:
            log.warning("still no trainer: it has probably been stopped; resume it: %s", self.run.training_command())
            self.reports = 2
