"""Fits the n-gram lane: which n-grams count, their weights, and how much the lane counts beside the network.

B documents   C classes   G n-grams in the table   K n-grams of all documents, each once a document
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from network.kernels import compiled
from network.ngrams import (
    LONGEST_NGRAM,
    NgramLane,
    NgramTable,
    fill_keys,
    find_rows,
    hash_table,
    starts_of_documents,
)
from report.linear_models import log_count_ratio, softmax, warning_of_convergence
from runtime.input_pipeline import Split, evaluation_batches
from text.records import NO_LABEL

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]

# Inverse strength of the L2 penalty (scikit-learn's C), chosen on IMDB's validation split and by cross-validation on
# sets of 1,600 reviews, where 30 to 300 are within 0.3 points of each other: docs/experiments.md.
PENALTY = 100.0
TOLERANCE = 0.01  # of the solver; a hundredth of it changes no verdict of 2,500
FEWEST_DOCUMENTS = 2  # that an n-gram stands in
MOST_WORDS = 16_000_000  # that the table is fitted on, drawn by document: bounds memory to about 2 GB
ABSENT_CLASS = -20.0  # log-odds of a class without training documents
READ_DOCUMENTS = 2_000
# Validation documents below which they choose no weights: the last ones count; below which their loss chooses, not
# their accuracy; and below which the scales have a prior, with its strength and its ratio: docs/experiments.md.
FEWEST_VALIDATED, FEW_VALIDATED = 20, 1_000
FEW_FOR_SCALES, PRIOR_STRENGTH, USUAL_RATIO = 500, 5.0, 0.5


# ---------------------------------------------------------------------------------------------------------------------
# Counting


@compiled
def write_ngrams(token_ids, starts, keys):  # type: ignore[no-untyped-def] # compiled
    """Writes the n-grams of documents, each once a document; returns how many there are.

    Args:
        token_ids: int32 [N].
        starts: int64 [B + 1], places of the documents' first words, and N.
        keys: int64 [3 N]; written from the beginning.
    """
    total = 0
    for document in range(len(starts) - 1):
        most = LONGEST_NGRAM * (starts[document + 1] - starts[document])
        found, places = np.empty(most, np.int64), np.empty(most, np.int64)
        ordered = np.sort(found[: fill_keys(token_ids, starts[document], starts[document + 1], found, places)])
        for place in range(len(ordered)):
            if place == 0 or ordered[place] != ordered[place - 1]:
                keys[total] = ordered[place]
                total += 1
    return total


def document_frequencies(split: Split, numbers: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The n-grams of some documents, int64 ascending, and in how many documents each stands, int64.

    Args:
        split: Of the documents.
        numbers: int64 [B], their positions.
    """
    # One array, sorted in its place: this is what takes most memory.
    keys, total = np.empty(LONGEST_NGRAM * int(split.index["words"][numbers].sum()), np.int64), 0
    for token_ids, starts in batches(split, numbers):
        total += write_ngrams(token_ids, starts, keys[total:])
    keys = keys[:total]
    keys.sort()
    first = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])) if total else np.zeros(0, np.int64)
    return keys[first], np.diff(first, append=total)


def batches(split: Split, numbers: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
    """Yields token ids, int32 [N], and the places where documents begin, int64 [B + 1], of documents read at once."""
    for begin in range(0, len(numbers), READ_DOCUMENTS):
        token_ids, lengths, sentences = split.read(numbers[begin : begin + READ_DOCUMENTS]).documents
        yield token_ids.numpy(), starts_of_documents(lengths.numpy(), sentences.numpy())


def drawn(split: Split) -> NDArray[np.int64]:
    """int64 [B], positions of the documents that the table is fitted on: all labelled ones, or as many as MOST_WORDS
    allows.
    """
    labelled = np.flatnonzero(split.index["label"] != NO_LABEL)
    words = split.index["words"][labelled].astype(np.int64)
    if words.sum() <= MOST_WORDS:
        return labelled
    order = np.random.default_rng(0).permutation(len(words))
    return labelled[np.sort(order[: max(int(np.searchsorted(np.cumsum(words[order]), MOST_WORDS)), 1)])]


# ---------------------------------------------------------------------------------------------------------------------
# Fitting


def fit_table(split: Split, classes: int, balanced: bool = False) -> NgramTable:
    """Fits the lane on the documents of a split.

    Each class gets a logistic regression against all others (of two classes, the second one alone) on TF-IDF features
    times the class's log-count ratio.

    Args:
        split: Documents, of which those with a label count.
        classes: C.
        balanced: Whether documents of rare classes weigh more, as with ``--class_weights balanced``.
    """
    numbers = drawn(split)
    labels = split.labels[numbers]
    keys, frequencies = document_frequencies(split, numbers)
    kept = frequencies >= min(FEWEST_DOCUMENTS, len(numbers))
    keys, idf = keys[kept], (np.log((1 + len(numbers)) / (1 + frequencies[kept])) + 1).astype(np.float32)
    features = tfidf(split, numbers, keys, idf)
    weights, bias = np.zeros((len(keys), classes), np.float32), np.zeros(classes, np.float32)
    if split.label_sets is not None:
        fit_several(features, labels == 1, weights, bias, balanced)
        return NgramTable(keys, idf, weights, bias)
    present = np.unique(labels)
    bias[np.setdiff1d(np.arange(classes), present)] = ABSENT_CLASS
    if len(keys) and len(present) > 1:
        for label in present[1:] if len(present) == 2 else present:
            weights[:, label], bias[label] = fit_class(features, labels == label, balanced)
    return NgramTable(keys, idf, weights, bias)


def fit_several(
    features: csr_matrix,
    has: NDArray[np.bool_],
    weights: NDArray[np.float32],
    bias: NDArray[np.float32],
    balanced: bool = False,
) -> None:
    """Fits each class where a text may have several: those with it against those without it.

    Args:
        features: float32 [B, G].
        has: bool [B, C].
        weights: float32 [G, C]; written.
        bias: float32 [C]; written.
        balanced: Whether documents with a rare label weigh more.
    """
    for label, positive in enumerate(has.T):
        if not features.shape[1] or positive.all() or not positive.any():
            bias[label] = -ABSENT_CLASS if positive.all() else ABSENT_CLASS
        else:
            weights[:, label], bias[label] = fit_class(features, positive, balanced)


def tfidf(split: Split, numbers: NDArray[np.int64], keys: NDArray[np.int64], idf: NDArray[np.float32]) -> csr_matrix:
    """float32 [B, G], sparse: (1 + ln count) * idf, each row of length 1. Arguments as of a table and its documents."""
    from scipy.sparse import csr_matrix

    slots = hash_table(keys)
    parts = [write_features(*batch, keys, slots, idf) for batch in batches(split, numbers)]
    columns, values, sizes = (np.concatenate(part) for part in zip(*parts, strict=True))
    ends = np.concatenate([[0], np.cumsum(sizes)])
    features = csr_matrix((values, columns, ends), (len(numbers), len(keys)))
    features.sort_indices()
    return features


@compiled
def write_features(token_ids, starts, keys, slots, idf):  # type: ignore[no-untyped-def] # compiled
    """The features of documents: int32 columns, float32 values and int64 [B], how many each document has.

    Args:
        token_ids: int32 [N].
        starts: int64 [B + 1].
        keys: int64 [G].
        slots: Of :func:`network.ngrams.hash_table`.
        idf: float32 [G].
    """
    columns = np.empty(LONGEST_NGRAM * len(token_ids), np.int32)
    values = np.empty(len(columns), np.float32)
    sizes = np.empty(len(starts) - 1, np.int64)
    counts = np.zeros(len(keys), np.int32)
    total = 0
    for document in range(len(sizes)):
        rows = columns[total:]
        found = find_rows(token_ids, starts[document], starts[document + 1], keys, slots, rows, counts)
        squares = 0.0
        for number in range(found):
            value = (1.0 + math.log(counts[rows[number]])) * idf[rows[number]]
            values[total + number] = value
            squares += value * value
            counts[rows[number]] = 0
        for number in range(found):
            values[total + number] /= math.sqrt(squares)
        sizes[document] = found
        total += found
    return columns[:total].copy(), values[:total].copy(), sizes


def fit_class(
    features: csr_matrix, positive: NDArray[np.bool_], balanced: bool
) -> tuple[NDArray[np.float32], np.float32]:
    """The weights, float32 [G], and the bias of one class against the others, ``positive``: bool [B]."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    presence = csr_matrix((np.ones_like(features.data), features.indices, features.indptr), features.shape)
    ratio = log_count_ratio(presence, positive)
    scaled = csr_matrix((features.data * ratio[features.indices], features.indices, features.indptr), features.shape)
    model = LogisticRegression(
        C=PENALTY,
        solver="liblinear",
        dual=True,
        tol=TOLERANCE,
        max_iter=1000,
        random_state=0,
        class_weight="balanced" if balanced else None,
    )
    with warning_of_convergence("the n-gram lane"):
        model.fit(scaled, positive)
    return ratio * model.coef_[0].astype(np.float32), np.float32(model.intercept_[0])


# ---------------------------------------------------------------------------------------------------------------------
# Beside the network


def logits_of_split(lane: NgramLane, split: Split, max_words: int) -> NDArray[np.float32]:
    """float32 [documents, C], the logits of the lane for a whole split."""
    logits = np.zeros((len(split), lane.classes), np.float32)
    for numbers in evaluation_batches(split.index, max_words):
        logits[numbers] = lane.logits_of(*(vector.numpy() for vector in split.read(numbers).documents))
    return logits


def fit_scales(
    network: NDArray[np.float32], lane: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """float32 [2], the factors of both logits whose sum has the smallest loss; convex, so that there is one answer.

    Half the sum of squares of their distances to 1 is added to the sum of the losses: documents that are all classified
    correctly do not let the factors grow without end. Of fewer than :data:`FEW_FOR_SCALES` documents the loss says
    little, and the fewer they are, the more another term replaces this one: half of :data:`PRIOR_STRENGTH` times the
    squares of the relative distances to what was best on average (:func:`usual_scales`).

    Args:
        network: float [B, C], logits.
        lane: float [B, C], logits.
        labels: int [B].
    """
    from scipy.optimize import minimize

    both = np.stack([network, lane]).astype(np.float64)  # [2, B, C]
    rows = np.arange(len(labels))
    usual, few = usual_scales(both), max(0.0, 1 - len(labels) / FEW_FOR_SCALES)

    def loss(scales: Floats) -> tuple[float, Floats]:
        logits = np.tensordot(scales, both, 1)
        probabilities = softmax(logits)
        highest = logits.max(axis=1)
        losses = np.log(np.exp(logits - highest[:, np.newaxis]).sum(axis=1)) + highest - logits[rows, labels]
        expected = (probabilities * both).sum(axis=(1, 2)) - both[:, rows, labels].sum(axis=1)
        from_one, from_usual = scales - 1, scales / usual - 1
        penalty = (1 - few) * (from_one**2).sum() / 2 + few * PRIOR_STRENGTH * (from_usual**2).sum() / 2
        slope = (1 - few) * from_one + few * PRIOR_STRENGTH * from_usual / usual
        return float(losses.sum() + penalty), expected + slope

    found = minimize(loss, np.ones(2), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2)
    return found.x.astype(np.float32)


def fit_scales_of_several(
    network: NDArray[np.float32], lane: NDArray[np.float32], labels: NDArray[np.float32]
) -> NDArray[np.float32]:
    """:func:`fit_scales` where a text may have several labels: by the sum over documents of the mean over classes.

    Args:
        network: float [B, C], logits.
        lane: float [B, C], logits.
        labels: float [B, C], 0 or 1.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    both = np.stack([network, lane]).astype(np.float64)  # [2, B, C]

    def loss(scales: Floats) -> tuple[float, Floats]:
        logits = np.tensordot(scales, both, 1)
        losses = (np.logaddexp(0, logits) - labels * logits).mean(axis=1)
        slope = ((expit(logits) - labels) * both).mean(axis=2).sum(axis=1)
        return float(losses.sum() + ((scales - 1) ** 2).sum() / 2), slope + scales - 1

    return minimize(loss, np.ones(2), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2).x.astype(np.float32)


def usual_scales(both: Floats) -> Floats:
    """float64 [2], scales at which the network's logits vary :data:`USUAL_RATIO` times as much as the lane's.

    A network is too sure of few training documents, so that its logits are large; one that has learnt nothing yet is
    not amplified. ``both``: float64 [2, B, C], the logits of the network and of the lane.
    """
    network, lane = (both - both.mean(axis=2, keepdims=True)).std(axis=(1, 2)).tolist()
    return np.array([USUAL_RATIO * lane / network if network > USUAL_RATIO * lane > 0 else 1.0, 1.0])
