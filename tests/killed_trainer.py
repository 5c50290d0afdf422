"""Runs ``han_trainer.py`` and kills the process, as ``kill -9`` would, at a chosen point.

    python killed_trainer.py POINT COUNT  FLAGS...

POINT is ``step`` (after COUNT optimiser steps of this process), ``never``, or the beginning of a file name (``step-``,
``best``, ``config``, ``finished``): when the COUNT-th such file is written but not yet renamed into place.
A process that finishes prints the hash of the weights in its memory.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import han_trainer
import utils
from runtime.checkpoints import hash_of_weights, weights_of
from training import trainer


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    point, left = sys.argv[1], int(sys.argv[2])
    sys.argv = ["han_trainer.py", *sys.argv[3:]]
    take_step, replace = trainer.Trainer.take_step, os.replace

    def counted_step(self: Any, batch: Any) -> None:
        nonlocal left
        take_step(self, batch)
        left -= point == "step"
        if point == "step" and left == 0:
            die()

    def counted_replace(source: Any, target: Any) -> None:
        nonlocal left
        name = Path(target).name
        if point not in {"step", "never"} and name.startswith(point):
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
