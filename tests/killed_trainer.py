"""Runs ``han_trainer.py`` and kills the process, as ``kill -9`` would, at a chosen point.

    python killed_trainer.py POINT:COUNT[,POINT:COUNT...] FLAGS...

Several trainings run one after the other, each in a process of its own that is forked before TensorFlow has started:
only its import is shared, which takes most of the time of a short training. Their exit codes are printed as a list.

POINT is ``step`` (after COUNT optimiser steps of this process), ``sigterm`` (the same, but with SIGTERM, at which the
trainer saves), ``never``, or the beginning of a file name (``step-``, ``best``, ``config``, ``finished``): when the
COUNT-th such file is written but not yet renamed into place.
A process that finishes prints the hash of the weights in its memory.
"""

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import han_trainer
import utils
from report import plots
from runtime.devices import import_tensorflow
from tests.quick_pictures import quick

SIGNALS = {"step": signal.SIGKILL, "sigterm": signal.SIGTERM}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    points = [(point, int(count)) for point, _, count in (pair.partition(":") for pair in sys.argv[1].split(","))]
    sys.argv = ["han_trainer.py", *sys.argv[2:]]
    import_tensorflow(lean=True)  # as a trainer does
    importlib.import_module("training.trainer")
    plots.new_figure = quick(plots.new_figure)
    if len(points) == 1:
        train(*points[0])
    else:
        print([exit_code_of(*point) for point in points])


def exit_code_of(point: str, count: int) -> int:
    """Trains in a process of its own; returns its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        train(point, count)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(point: str, left: int) -> None:
    """Trains until the point is reached so many times, or to the end; then this process has ended."""
    from runtime.checkpoints import hash_of_weights, weights_of
    from training import trainer

    take_step, replace = trainer.Trainer.take_step, os.replace

    def counted_step(self: Any, batch: Any) -> None:
        nonlocal left
        take_step(self, batch)
        left -= point in SIGNALS
        if point in SIGNALS and left == 0:
            os.kill(os.getpid(), SIGNALS[point])

    def counted_replace(source: Any, target: Any) -> None:
        nonlocal left
        name = Path(target).name
        if point not in {*SIGNALS, "never"} and name.startswith(point):
            left -= 1
            if left == 0:
                die()
        replace(source, target)

    finish = trainer.Trainer.finish

    def told_finish(self: Any, reason: str) -> None:
        finish(self, reason)
        print(hash_of_weights(weights_of(self.model)))

    trainer.Trainer.finish = told_finish  # type: ignore[method-assign]
    trainer.Trainer.take_step = counted_step  # type: ignore[method-assign]
    os.replace = counted_replace  # type: ignore[assignment]
    utils.run_script(han_trainer.main, han_trainer.build_parser())


if __name__ == "__main__":
    main()
