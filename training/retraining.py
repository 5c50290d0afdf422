"""The configuration of a retraining: a finished run once more, on training and validation documents together."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict

from config import to_json
from runtime.checkpoints import best_checkpoint
from runtime.run_folder import Retraining, RunConfig, RunFolder
from schema import read_jsonl
from utils import UserError


class Validated(TypedDict):
    """What a retraining reads of a line of ``history.jsonl``."""

    step: int
    epoch: float


def retraining_config(first: RunFolder, asked: RunConfig) -> RunConfig:
    """The configuration of a retraining: that of a finished run, and the number of epochs after which it was best.

    Args:
        first: The finished run.
        asked: What flags and records ask for; a retraining has no settings of its own.

    Raises:
        UserError: The run is not finished or a distillation, was made from other records, or a flag asks for another
            setting.
    """
    if not first.exists():
        raise UserError(f"there is no run in {first.path}; train it first, or name another --run to retrain")
    first.refuse_unfinished("name another --run")
    first.check_files()
    config = first.config()
    if config.retraining:
        raise UserError(f"{first.path} is a retraining already; retrain {config.retraining.run}")
    if config.distillation:
        raise UserError(f"{first.path} is a distillation, which cannot be retrained; name another --run")
    if config.records_sha256 != asked.records_sha256:
        raise UserError(f"{first.path} was trained on other records; train it again with --restart")
    for settings, wanted in ((config.model, asked.model), (config.training, asked.training)):
        for name, value in to_json(wanted).items():
            if value not in {getattr(settings, name), getattr(type(settings)(), name)}:
                raise UserError(
                    f"--{name} {value}: a retraining takes the settings of {first.path}, which has "
                    f"{getattr(settings, name)}; leave the flag out, or train another --run"
                )
    best = best_checkpoint(first)
    epochs = {row["step"]: row["epoch"] for row in read_jsonl(first.history, Validated)}
    step = best.progress.step
    if step not in epochs:
        raise UserError(f"{first.history} has no line about step {step}, the best one; train {first.path} again")
    scales = best.weights["ngrams/scales"].tolist() if config.model.ngrams == "on" else None
    thresholds = best.weights["thresholds"].tolist() if config.several_labels else None
    accuracy = best.progress.best_accuracy
    chosen = Retraining(first.path.name, best.weights_sha256, step, epochs[step], accuracy, scales, thresholds)
    return replace(config, retraining=chosen)
