"""The configuration of a distillation: a training on unlabelled documents, too, by what finished runs think of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from runtime.checkpoints import best_checkpoint
from runtime.run_folder import Distillation, RunConfig, RunFolder
from utils import UserError, index_name

UNLABELLED = "unlabelled"


def distillation_config(teachers: Sequence[RunFolder], asked: RunConfig, records: Path) -> RunConfig:
    """The configuration of a distillation: what the flags ask for, and whose judgements are learnt.

    Args:
        teachers: Finished runs on the same records.
        asked: What flags and records ask for.
        records: Their folder.

    Raises:
        UserError: A teacher is not finished or was trained on other records, or nothing is unlabelled.
    """
    if not (records / index_name(UNLABELLED)).exists():
        raise UserError(
            f"{records} has no unlabelled documents, from which a distillation learns; add some to the data set, or "
            "train without --run_type distil"
        )
    hashes = []
    for teacher in teachers:
        teacher.refuse_unfinished("name other --teachers")
        teacher.check_files()
        if teacher.config().records_sha256 != asked.records_sha256:
            raise UserError(f"{teacher.path} was trained on other records; train it again, or name other --teachers")
        hashes.append(best_checkpoint(teacher).weights_sha256)
    names = [teacher.path.name for teacher in teachers]
    if len(set(hashes)) < len(hashes):
        raise UserError(f"--teachers {' '.join(names)}: the same network is named twice; name each once")
    return replace(asked, distillation=Distillation(names, hashes))
