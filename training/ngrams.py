"""Fits the n-gram lane: which n-grams count, their weights, and how much the lane counts beside the network.

B documents   C classes   G n-grams in the table   K n-grams of all documents, each once a document
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from network.kernels import compiled
from network.ngrams import LONGEST_NGRAM, NgramLane, NgramTable, fill_keys, starts_of_documents
from report.linear_models import SMOOTHING, softmax, warning_of_convergence
from runtime.input_pipeline import Split, evaluation_batches

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]

# Inverse strength of the L2 penalty (scikit-learn's C), chosen on IMDB's validation split and by cross-validation on
# sets of 1,600 reviews, where 30 to 300 are within 0.3 points of each other: docs/training.md.
PENALTY = 100.0
TOLERANCE = 0.01  # of the solver; a hundredth of it changes no verdict of 2,500
FEWEST_DOCUMENTS = 2  # that an n-gram stands in
MOST_WORDS = 20_000_000  # that the table is fitted on, drawn by document: bounds memory to about 2 GB
ABSENT_CLASS = -20.0  # log-odds of a class without training documents
READ_DOCUMENTS = 2_000


class NgramCounts(NamedTuple):
    """The n-grams of documents, each n-gram once a document.

    Attributes:
        keys: int64 [K], document by document.
        counts: int32 [K], how often each stands in its document.
        per_document: int64 [B], how many belong to each document.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int32]
    per_document: NDArray[np.int64]


# ---------------------------------------------------------------------------------------------------------------------
# Counting


@compiled
def count_ngrams(token_ids, starts, keys, counts, per_document):  # type: ignore[no-untyped-def] # compiled
    """Counts the n-grams of documents; returns K.

    Args:
        token_ids: int32 [N].
        starts: int64 [B + 1].
        keys: int64 [3 N]; the first K are written.
        counts: int32 [3 N]; likewise.
        per_document: int64 [B]; written.
    """
    total = 0
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1]
        most = LONGEST_NGRAM * (end - begin)
        found, places = np.empty(most, np.int64), np.empty(most, np.int64)
        ordered = np.sort(found[: fill_keys(token_ids, begin, end, found, places)])
        before = total
        for place in range(len(ordered)):
            if place == 0 or ordered[place] != ordered[place - 1]:
                keys[total], counts[total] = ordered[place], 0
                total += 1
            counts[total - 1] += 1
        per_document[document] = total - before
    return total


def counted(split: Split, numbers: NDArray[np.int64]) -> NgramCounts:
    """The n-grams of some documents of a split, given by their positions, int64 [B]."""
    parts = [counted_batch(split, chunk) for chunk in chunks(numbers)]
    keys, counts, per_document = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return NgramCounts(keys, counts, per_document)


def chunks(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Positions in runs of a size that is read at once."""
    for begin in range(0, max(len(numbers), 1), READ_DOCUMENTS):
        yield numbers[begin : begin + READ_DOCUMENTS]


def counted_batch(split: Split, numbers: NDArray[np.int64]) -> NgramCounts:
    """The n-grams of documents that are read at once."""
    token_ids, lengths, sentences = (vector.numpy() for vector in split.read(numbers).documents)
    starts = starts_of_documents(lengths, sentences)
    keys = np.empty(LONGEST_NGRAM * len(token_ids), np.int64)
    counts = np.empty(len(keys), np.int32)
    per_document = np.empty(len(numbers), np.int64)
    total = count_ngrams(token_ids, starts, keys, counts, per_document)
    return NgramCounts(keys[:total].copy(), counts[:total].copy(), per_document)


def drawn(split: Split) -> NDArray[np.int64]:
    """int64 [B], positions of the documents that the table is fitted on: all, or as many as MOST_WORDS allows."""
    words = split.index["words"].astype(np.int64)
    if words.sum() <= MOST_WORDS:
        return np.arange(len(words))
    order = np.random.default_rng(0).permutation(len(words))
    return np.sort(order[: max(int(np.searchsorted(np.cumsum(words[order]), MOST_WORDS)), 1)])


# ---------------------------------------------------------------------------------------------------------------------
# Fitting


def fit_table(split: Split, classes: int, balanced: bool = False) -> NgramTable:
    """Fits the lane on the documents of a split.

    Each class gets a logistic regression against all others (of two classes, the second one alone) on TF-IDF features
    times the class's log-count ratio.

    Args:
        split: Labelled documents.
        classes: C.
        balanced: Whether documents of rare classes weigh more, as with ``--class_weights balanced``.
    """
    numbers = drawn(split)
    labels = split.index["label"][numbers].astype(np.int64)
    counts = counted(split, numbers)
    keys, frequencies = frequent(counts.keys, len(numbers))
    idf = (np.log((1 + len(numbers)) / (1 + frequencies)) + 1).astype(np.float32)
    features = tfidf(counts, keys, idf)
    weights, bias = np.zeros((len(keys), classes), np.float32), np.zeros(classes, np.float32)
    present = np.unique(labels)
    bias[np.setdiff1d(np.arange(classes), present)] = ABSENT_CLASS
    if len(keys) and len(present) > 1:
        for label in present[1:] if len(present) == 2 else present:
            weights[:, label], bias[label] = fit_class(features, labels == label, balanced)
    return NgramTable(keys, idf, weights, bias)


def frequent(keys: NDArray[np.int64], documents: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The n-grams that stand in enough documents, ascending, and in how many; of one document all of them."""
    distinct, frequencies = np.unique(keys, return_counts=True)
    kept = frequencies >= min(FEWEST_DOCUMENTS, documents)
    return distinct[kept], frequencies[kept]


def tfidf(counts: NgramCounts, keys: NDArray[np.int64], idf: NDArray[np.float32]) -> csr_matrix:
    """float32 [B, G], sparse: (1 + ln count) * idf, each row of length 1."""
    from scipy.sparse import csr_matrix
    from sklearn.preprocessing import normalize

    columns = np.searchsorted(keys, counts.keys)
    known = np.flatnonzero(np.append(keys, -1)[columns] == counts.keys)
    documents = np.repeat(np.arange(len(counts.per_document)), counts.per_document)[known]
    columns = columns[known].astype(np.int32)
    values = (1 + np.log(counts.counts[known], dtype=np.float32)) * idf[columns]
    ends = np.cumsum(np.bincount(documents, minlength=len(counts.per_document)))
    features = csr_matrix((values, columns, np.concatenate([[0], ends])), (len(counts.per_document), len(keys)))
    return normalize(features, copy=False)


def fit_class(
    features: csr_matrix, positive: NDArray[np.bool_], balanced: bool
) -> tuple[NDArray[np.float32], np.float32]:
    """The weights, float32 [G], and the bias of one class against the others, ``positive``: bool [B]."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    ratio = log_count_ratio(features, positive)
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


def log_count_ratio(features: csr_matrix, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Naive Bayes' log-count ratio (Wang and Manning 2012, section 2.1) of the presence of each n-gram: float32 [G]."""
    rows = np.repeat(positive, np.diff(features.indptr))
    p = np.bincount(features.indices[rows], minlength=features.shape[1]) + SMOOTHING
    q = np.bincount(features.indices[~rows], minlength=features.shape[1]) + SMOOTHING
    return np.log((p / p.sum()) / (q / q.sum())).astype(np.float32)


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

    Half the sum of squares of their distances to 1 is added to the sum of the losses: a few documents, or documents
    that are all classified correctly, do not let the factors grow without end.

    Args:
        network: float [B, C], logits.
        lane: float [B, C], logits.
        labels: int [B].
    """
    from scipy.optimize import minimize

    both = np.stack([network, lane]).astype(np.float64)  # [2, B, C]
    rows = np.arange(len(labels))

    def loss(scales: Floats) -> tuple[float, Floats]:
        logits = np.tensordot(scales, both, 1)
        probabilities = softmax(logits)
        highest = logits.max(axis=1)
        losses = np.log(np.exp(logits - highest[:, np.newaxis]).sum(axis=1)) + highest - logits[rows, labels]
        expected = (probabilities * both).sum(axis=(1, 2)) - both[:, rows, labels].sum(axis=1)
        return float(losses.sum() + ((scales - 1) ** 2).sum() / 2), expected + scales - 1

    found = minimize(loss, np.ones(2), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 2)
    return found.x.astype(np.float32)
