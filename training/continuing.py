"""Going on with new data: text processing, vocabulary and weights of a finished run for a training on other documents.

The words keep their ids and the classes their numbers, so that the weights fit. Words that the run does not know stay
unknown, and its n-grams are kept; only their weight beside the network is fitted on the new validation documents.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from corpus.corpora import labels_in
from data_processing import TextProcessor, Vocabulary, load_text_processing
from runtime.checkpoints import best_checkpoint, restore
from runtime.run_folder import TEXT_FILES, Continuation, RunConfig, RunFolder
from utils import LABELS_FILE, SPLITTER_FILE, UserError

if TYPE_CHECKING:
    from training.trainer import Trainer


@dataclass(frozen=True)
class GivenText:
    """What records take from a run instead of learning it from their texts.

    Attributes:
        run: The folder.
        weights_sha256: Of its best weights.
        processor: Finds sentences and words, with the limits of the run.
        vocabulary: Words to ids.
        labels: The names of the classes, in order.
        vectors: float32 [V, E], the trained word vectors.
    """

    run: RunFolder
    weights_sha256: str
    processor: TextProcessor
    vocabulary: Vocabulary
    labels: list[str]
    vectors: np.ndarray

    def save_splitter(self, folder: Path) -> None:
        """Copies the sentence splitter, byte for byte."""
        shutil.copyfile(self.run.path / SPLITTER_FILE, folder / SPLITTER_FILE)


def text_of_run(run: RunFolder) -> GivenText:
    """Reads what records take from a run.

    Raises:
        UserError: The run is not finished, or something in it is damaged or of another tokeniser.
    """
    run.refuse_unfinished("name another --from_run")
    run.check_files()
    checkpoint = best_checkpoint(run)
    labels = labels_in(run.path / LABELS_FILE, "train the run again")
    vectors = np.asarray(checkpoint.weights["embeddings"], np.float32)
    return GivenText(run, checkpoint.weights_sha256, *load_text_processing(run.path), labels, vectors)


def refuse_unknown_labels(given: GivenText, labels: Sequence[str], source: Path) -> None:
    """Raises :class:`UserError` for classes of the new data that the run does not know."""
    if unknown := [label for label in labels if label not in given.labels]:
        raise UserError(
            f"{source} has the class {unknown[0][:50]!r}, which {given.run.path} does not know (it knows "
            f"{', '.join(given.labels)[:200]}); correct the labels, name another --label_column, or train a run of its "
            "own without --from_run"
        )


def continued_config(first: RunFolder, asked: RunConfig, given: Sequence[str], records: Path) -> RunConfig:
    """The configuration of a training that goes on: what the flags ask for, with the network of the first run.

    Args:
        first: The finished run.
        asked: What flags and records ask for.
        given: Names of the settings of the network that were given as flags.
        records: Their folder.

    Raises:
        UserError: The run is not finished, its network is another than the flags ask for, or the records were not made
            with ``--from_run``.
    """
    first.refuse_unfinished("name another --from_run")
    first.check_files()
    config = first.config()
    if config.architecture != asked.architecture:
        raise UserError(f"{first.path} is a {config.architecture}; add --model {config.architecture}")
    for name in given:
        if getattr(asked.model, name) != getattr(config.model, name):
            raise UserError(
                f"--{name} {getattr(asked.model, name)}: a training that goes on has the network of {first.path}, with "
                f"{getattr(config.model, name)}; leave the flag out"
            )
    for name in TEXT_FILES:
        if (first.path / name).read_bytes() != (records / name).read_bytes():
            again = shlex.join(["python", "serialize_data.py", asked.dataset, "--from_run", str(first.path)])
            raise UserError(f"{records / name} is not that of {first.path}; make the records with it: {again}")
    weights_sha256 = best_checkpoint(first).weights_sha256
    return replace(asked, model=config.model, continuation=Continuation(first.path.name, weights_sha256))


def take_ngrams(first: RunFolder, run: RunFolder) -> None:
    """Gives a run that has just begun the n-grams of the first one, if it has any."""
    if first.config().model.ngrams == "on" and not run.ngrams.exists():
        from runtime.ngram_tables import read_table, save_table

        save_table(run, read_table(first))


def begin_with(trainer: Trainer, first: RunFolder) -> None:
    """Puts the weights of the first run into a training that has taken no step yet."""
    if trainer.progress.step == 0:
        model: Any = trainer.model
        restore(best_checkpoint(first), model)
