"""Going on with new data: text processing, vocabulary and weights of a finished run for a training on other documents.

The words keep their ids and the classes their numbers, so that the weights fit. Words that the run does not know stay
unknown. The n-grams of the new training documents are fitted and put together with those of the run
(:func:`together`), and their weight beside the network is fitted on the new validation documents.

Where records have new words or new classes, these come after those of the run. A new word begins with the vector that
the records have for it (:func:`vectors_with_new_words`), a new class with the mean of the weights of the known ones, so
that it is never the likeliest before the first step.

    V words   E size of a word vector   C classes   G n-grams
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from config import NGRAMS_FROM
from corpus.corpora import labels_in
from data_processing import UNKNOWN_ID, TextProcessor, Vocabulary, load_text_processing
from runtime.checkpoints import Checkpoint, best_checkpoint, hash_of_weights, restore
from runtime.decisions import USUAL
from runtime.run_folder import TEXT_FILES, Continuation, RunConfig, RunFolder
from utils import LABELS_FILE, SPLITTER_FILE, VOCABULARY_FILE, UserError, log

if TYPE_CHECKING:
    from network.ngrams import NgramTable
    from training.trainer import Trainer

RIDGE = 1e-3  # share of the mean square of a coordinate that is added, so that few words give a stable map


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


def refuse_other_kind(run: RunFolder, several: bool, source: Path) -> None:
    """Refuses data with several labels a text for a run with one, and the other way round.

    Args:
        run: The finished run.
        several: Whether a text of the new data may have several labels.
        source: The new data.

    Raises:
        UserError: As said.
    """
    if run.config().several_labels != several:
        what, flag = ("several labels a text", "without") if several else ("one label a text", "with")
        other = "one label" if several else "several labels"
        raise UserError(
            f"{source} has {what}, and {run.path} was trained on {other} a text; run create_csv.py again {flag} "
            "--multi_label, or name another --from_run"
        )


def refuse_unknown_labels(given: GivenText, labels: Sequence[str], source: Path) -> None:
    """Raises :class:`UserError` for classes of the new data that the run does not know."""
    if unknown := [label for label in labels if label not in given.labels]:
        raise UserError(
            f"{source} has the class {unknown[0][:50]!r}, which {given.run.path} does not know (it knows "
            f"{', '.join(given.labels)[:200]}); correct the labels, name another --label_column, or add --new_classes"
        )


def with_new_words(given: GivenText, counts: Sequence[tuple[str, int]], min_count: int) -> Vocabulary:
    """The vocabulary of a run, and behind it the words that it does not know and the new texts have often enough.

    Args:
        given: Of the run.
        counts: How often each word of the new training texts occurs.
        min_count: Occurrences that a new word needs.
    """
    known = set(given.vocabulary.words)
    new = Vocabulary.from_counts([(word, count) for word, count in counts if word not in known], min_count).words[2:]
    return Vocabulary([*given.vocabulary.words, *new])


def vectors_with_new_words(
    given: GivenText, learnt: NDArray[np.float32] | None, is_learnt: NDArray[np.bool_], size: int
) -> NDArray[np.float32]:
    """The trained vectors of a run, and behind them first vectors of new words.

    The vectors that word2vec has learnt from the new texts are mapped to where the run has the words that both know: by
    least squares (T. Mikolov, Q. Le and I. Sutskever, "Exploiting Similarities among Languages", 2013). A word without
    a learnt vector begins with that of ``<unk>``.

    Args:
        given: Of the run.
        learnt: float32 [V, E], from the new texts; None where every new word begins with ``<unk>``.
        is_learnt: bool [V], which of them are.
        size: V, of the vocabulary with new words.

    Returns:
        float32 [V, E].
    """
    known = len(given.vectors)
    vectors = np.tile(given.vectors[UNKNOWN_ID], (size, 1))
    vectors[:known] = given.vectors
    common = np.flatnonzero(is_learnt[:known])
    common = common[common > UNKNOWN_ID]
    if learnt is None or not len(common):
        return vectors
    new = known + np.flatnonzero(is_learnt[known:])
    vectors[new] = mapped(learnt[common], given.vectors[common], learnt[new])
    return vectors


def mapped(
    sources: NDArray[np.float32], targets: NDArray[np.float32], others: NDArray[np.float32]
) -> NDArray[np.float64]:
    """float64 [M, E]: ``others`` by the affine map that takes ``sources`` [K, E] nearest to ``targets`` [K, E]."""
    middle, target = sources.mean(axis=0, dtype=np.float64), targets.mean(axis=0, dtype=np.float64)
    x, y = sources - middle, targets - target
    products = x.T @ x
    ridge = RIDGE * max(np.trace(products) / len(products), np.finfo(np.float64).tiny)
    weights = np.linalg.solve(products + ridge * np.eye(len(products)), x.T @ y)
    moved: NDArray[np.float64] = (others - middle) @ weights + target
    return moved


def continued_config(
    first: RunFolder, asked: RunConfig, given: Sequence[str], records: Path, ngrams: str | None = None
) -> RunConfig:
    """The configuration of a training that goes on: what the flags ask for, with the network of the first run.

    Args:
        first: The finished run.
        asked: What flags and records ask for.
        given: Names of the settings of the network that were given as flags.
        records: Their folder.
        ngrams: Whose n-grams it is to have, one of :data:`config.NGRAMS_FROM`; ``None`` for the first of them.

    Raises:
        UserError: The run is not finished, its network is another than the flags ask for, it has no n-grams and some
            are asked for, or the records were not made with ``--from_run``.
    """
    first.refuse_unfinished("name another --from_run")
    first.check_files()
    config = first.config()
    if config.architecture != asked.architecture:
        raise UserError(f"{first.path} is a {config.architecture}; add --model {config.architecture}")
    refuse_other_kind(first, asked.several_labels, records)
    for name in given:
        if getattr(asked.model, name) != getattr(config.model, name):
            raise UserError(
                f"--{name} {getattr(asked.model, name)}: a training that goes on has the network of {first.path}, with "
                f"{getattr(config.model, name)}; leave the flag out"
            )
    for name in TEXT_FILES:
        old, new = (first.path / name).read_bytes(), (records / name).read_bytes()
        if not (new.startswith(old) if name in (VOCABULARY_FILE, LABELS_FILE) else new == old):
            again = shlex.join(["python", "serialize_data.py", asked.dataset, "--from_run", str(first.path)])
            raise UserError(f"{records / name} is not that of {first.path}; make the records with it: {again}")
    source = source_of_ngrams(first, config, asked, ngrams)
    continuation = Continuation(first.path.name, best_checkpoint(first).weights_sha256, source)
    return replace(asked, model=config.model, continuation=continuation)


def source_of_ngrams(first: RunFolder, config: RunConfig, asked: RunConfig, ngrams: str | None) -> str:
    """Whose n-grams a training has that goes on from ``first``, of ``config``; empty for a network without n-grams."""
    if config.model.ngrams == "off":
        if ngrams:
            raise UserError(f"--ngrams_from {ngrams}: {first.path} has no n-grams; leave the flag out")
        return ""
    if ngrams == "run" and len(asked.class_names) > len(config.class_names):
        raise UserError("--ngrams_from run: the n-grams of the run do not know the new classes; leave the flag out")
    return ngrams or NGRAMS_FROM[0]


def continued_ngrams(first: RunFolder, config: RunConfig, records: Path) -> NgramTable | None:
    """The n-grams that a training begins with that goes on: those of ``first``, of the new documents, or both.

    Args:
        first: The finished run.
        config: Of the training.
        records: Of the new documents.

    Returns:
        ``None`` for a network without n-grams.
    """
    if config.continuation is None or not config.continuation.ngrams:
        return None
    from runtime.input_pipeline import Split
    from runtime.ngram_tables import read_table
    from training.ngrams import fit_table

    table, classes = read_table(first), len(config.class_names)
    if config.continuation.ngrams == "run":
        return table
    with contextlib.closing(Split(records, "train")) as split:
        present = classes_of(split.labels, classes, config.several_labels)
        new = fit_table(split, classes, config.training.class_weights == "balanced")
    if config.continuation.ngrams == "new":
        return new
    both = together(table, new, present, config.several_labels)
    log.info("n-grams: %s of %s, %s with the new documents", f"{len(table.keys):,}", first.path, f"{len(both.keys):,}")
    return both


def classes_of(labels: NDArray[Any], classes: int, several: bool) -> NDArray[np.bool_]:
    """bool [C], which classes some documents have; ``labels`` as of :attr:`runtime.input_pipeline.Split.labels`."""
    return (labels == 1).any(axis=0) if several else np.isin(np.arange(classes), labels)


def together(old: NgramTable, new: NgramTable, present: NDArray[np.bool_], several: bool = False) -> NgramTable:
    """The n-grams of a run and of new documents as one table.

    An n-gram that both have gets the mean of its weights, one that only one of them has keeps them. A new class has the
    weights that the new documents gave it; a class that they lack has those of the run.

    Args:
        old: Of the run, for the first classes.
        new: Of the new documents, for all classes.
        present: bool [C], which classes the new documents have.
        several: Whether a text may have several labels, so that each class stands for itself.
    """
    from network.ngrams import NgramTable

    keys = np.union1d(old.keys, new.keys)
    classes, known = len(new.bias), len(old.bias)
    has = np.array([np.isin(keys, table.keys) for table in (old, new)])
    idf = np.zeros((2, len(keys)), np.float32)
    weights = np.zeros((2, len(keys), classes), np.float32)
    # A constant added to all classes changes no prediction of one table, but would change that of both together.
    shared = present & (np.arange(classes) < known)
    stays = several or not shared.any()

    def level(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values if stays else around_mean(values, shared)

    weights[0, has[0], :known] = level(old.weights)
    weights[1, has[1]] = level(new.weights)
    idf[0, has[0]], idf[1, has[1]] = old.idf, new.idf
    counts = np.stack(
        [has[0, :, np.newaxis] & (np.arange(classes) < known), has[1, :, np.newaxis] & present], dtype=np.float32
    )
    bias = np.stack([np.append(level(old.bias), np.zeros(classes - known)), level(new.bias)])
    has_bias = np.stack([np.arange(classes) < known, present]).astype(np.float32)
    return NgramTable(
        keys,
        (idf.sum(axis=0) / has.sum(axis=0)).astype(np.float32),
        ((weights * counts).sum(axis=0) / np.maximum(counts.sum(axis=0), 1)).astype(np.float32),
        ((bias * has_bias).sum(axis=0) / np.maximum(has_bias.sum(axis=0), 1)).astype(np.float32),
    )


def around_mean(values: NDArray[np.float32], classes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """float32 [..., C], less their mean over some of the classes, which is the same for the softmax.

    Args:
        values: float32 [..., C].
        classes: bool, which ones; those behind the first C are left out.
    """
    return values - values[..., classes[: values.shape[-1]]].mean(axis=-1, keepdims=True)


def begin_with(trainer: Trainer, first: RunFolder) -> None:
    """Puts the weights of the first run into a training that has taken no step yet."""
    if trainer.progress.step == 0:
        model: Any = trainer.model
        vectors = np.asarray(model.embeddings, np.float32)  # those of the records
        restore(extended(best_checkpoint(first), vectors, len(trainer.config.class_names)), model)


def extended(checkpoint: Checkpoint, vectors: NDArray[np.float32], classes: int) -> Checkpoint:
    """A checkpoint with new words and classes behind those that it has.

    Args:
        checkpoint: Of the first run.
        vectors: float32 [V, E] of the records; those of its own words stay as they are.
        classes: C.
    """
    weights = dict(checkpoint.weights)
    known = weights["embeddings"]
    weights["embeddings"] = np.concatenate([known, vectors[len(known) :]])
    missing = classes - len(weights["classifier/bias"])
    if "thresholds" in weights:
        weights["thresholds"] = np.append(weights["thresholds"], np.full(missing, USUAL, np.float32))
    for name in ("classifier/kernel", "classifier/bias"):
        mean = weights[name].mean(axis=-1, keepdims=True)
        weights[name] = np.concatenate([weights[name], np.repeat(mean, missing, axis=-1)], axis=-1)
    return replace(checkpoint, weights=weights, weights_sha256=hash_of_weights(weights))
