"""The linear classifiers that networks are compared with: TF-IDF with logistic regression, and NB-SVM.

They read documents as counts of words and of runs of words (n-grams); scikit-learn, imported where it is used, does the
work. No TensorFlow.

    N documents   F features   C classes   K classes that occur in training (of two, only the second has a model)
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_processing import blank_markup, word_pattern
from runtime.decisions import best_thresholds
from runtime.losses import binary_cross_entropy, negative_log_likelihood
from utils import log

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Margins = Callable[["csr_matrix"], Floats]  # counts [N, F] -> [N, C], whose softmax is a probability

LONGEST_GRAM = 3  # words in a row that are a feature
LOGISTIC_LONGEST_GRAM = 2
INTERPOLATIONS = (0.25, 0.5, 1.0)  # beta of the paper, which recommends 0.25; 1 is the SVM's own weights
SMOOTHING = 1.0  # alpha of the paper


# ---------------------------------------------------------------------------------------------------------------------
# Documents as counts


def words_of(text: str) -> list[str]:
    """The words of a text as the network's vocabulary has them: markup taken out, lower-cased once they are found."""
    return [word.lower() for word in word_pattern().findall(blank_markup(text))]


def gram_counter() -> CountVectorizer:
    """scikit-learn's counter of the features of up to three words."""
    from sklearn.feature_extraction.text import CountVectorizer

    return CountVectorizer(
        tokenizer=words_of, token_pattern=None, lowercase=False, ngram_range=(1, LONGEST_GRAM), dtype=np.float32
    )


def gram_lengths(vocabulary: Mapping[str, int]) -> NDArray[np.int8]:
    """int8 [F], number of words in each feature; scikit-learn joins them by spaces, and no word has one."""
    lengths = np.zeros(len(vocabulary), np.int8)
    for feature, column in vocabulary.items():
        lengths[column] = feature.count(" ") + 1
    return lengths


def document_frequency(counts: csr_matrix) -> Ints:
    """int64 [F], number of documents that have each feature."""
    return np.bincount(counts.indices, minlength=counts.shape[1])


@dataclass(frozen=True)
class CountedDocuments:
    """Labelled documents as counts.

    Attributes:
        counts: float32 [N, F], sparse.
        labels: int64 [N]; where a text may have several, int64 [N, C], 0 or 1.
        lengths: int8 [F], words in each feature.
        classes: C.
    """

    counts: csr_matrix
    labels: Ints
    lengths: NDArray[np.int8]
    classes: int

    @property
    def several(self) -> bool:
        """Whether a text may have several labels."""
        return self.labels.ndim == 2

    def only(self, chosen: NDArray[np.bool_]) -> CountedDocuments:
        """Some of the documents (bool [N]); every feature keeps its column."""
        return CountedDocuments(self.counts[chosen], self.labels[chosen], self.lengths, self.classes)


# ---------------------------------------------------------------------------------------------------------------------
# The models


@dataclass(frozen=True)
class Candidate:
    """A trained model with the settings that it was trained with."""

    settings: dict[str, float]
    margins: Margins


def fit_majority(train: CountedDocuments, penalty: float) -> Iterator[Candidate]:
    """Each class as probable as it is common in training, whatever the document."""
    if train.several:
        has = train.labels.sum(axis=0)
        odds = np.log((has + 1) / (len(train.labels) - has + 1))
        yield Candidate({}, lambda documents: np.tile(odds, (documents.shape[0], 1)))
        return
    counts = np.bincount(train.labels, minlength=train.classes)
    shares = np.log((counts + 1) / (counts + 1).sum())
    yield Candidate({}, lambda documents: np.tile(shares, (documents.shape[0], 1)))


def fit_logistic(train: CountedDocuments, penalty: float) -> Iterator[Candidate]:
    """Logistic regression on TF-IDF of the features of up to two words that occur in at least two documents.

    A count n weighs 1 + ln n, documents are scaled to length 1; several classes share one softmax. ``penalty`` is
    scikit-learn's C: the larger, the less weights are held back.
    """
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    columns = np.flatnonzero((document_frequency(train.counts) >= 2) & (train.lengths <= LOGISTIC_LONGEST_GRAM))
    tfidf = TfidfTransformer(sublinear_tf=True)
    with warning_of_convergence(f"logistic regression, C {penalty:g}"):
        model = LogisticRegression(C=penalty, max_iter=1000).fit(
            tfidf.fit_transform(train.counts[:, columns]), train.labels
        )

    def margins(documents: csr_matrix) -> Floats:
        values = model.decision_function(tfidf.transform(documents[:, columns]))
        return spread_margins(values, model.classes_, train.classes)

    yield Candidate({"C": penalty}, margins)


def fit_nbsvm(train: CountedDocuments, penalty: float) -> Iterator[Candidate]:
    """NB-SVM (S. Wang and C. Manning, "Baselines and Bigrams", ACL 2012), its weights interpolated to three degrees.

    A linear SVM (squared hinge, ``penalty`` is its C) whose features, 1 where a document has them, are scaled by naive
    Bayes' log-count ratio. Several classes: one against the rest.
    """
    from sklearn.svm import LinearSVC

    presence = train.counts.sign()
    present = np.unique(train.labels)
    ratios, weights, biases = [], [], []
    for number in present[1:] if len(present) == 2 else present:
        ratio = log_count_ratio(presence, train.labels == number)
        with warning_of_convergence(f"linear SVM, C {penalty:g}"):
            svm = LinearSVC(C=penalty, random_state=0).fit(presence.multiply(ratio).tocsr(), train.labels == number)
        ratios.append(ratio)
        weights.append(svm.coef_[0].astype(np.float32))
        biases.append(float(svm.intercept_[0]))
    model = NaiveBayesSvm(
        np.stack(ratios), np.stack(weights), np.array(biases), int((document_frequency(presence) > 0).sum())
    )
    for degree in INTERPOLATIONS:
        yield Candidate(
            {"C": penalty, "interpolation": degree},
            lambda documents, degree=degree: spread_margins(model.margins(documents, degree), present, train.classes),  # type: ignore[misc]
        )


@contextlib.contextmanager
def warning_of_convergence(what: str) -> Iterator[None]:
    """Logs one line if a fit in the block ended before it converged."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", ConvergenceWarning)
        yield
    if found:
        log.warning("%s: ended before it converged; its figures may be a little off", what)


@dataclass(frozen=True)
class NaiveBayesSvm:
    """Trained NB-SVMs.

    Attributes:
        ratios: float32 [K, F], log-count ratios.
        weights: float32 [K, F], of the SVM on features scaled by the ratios.
        biases: float64 [K].
        seen: Number of features that occur in training: the mean weight is taken over them.
    """

    ratios: NDArray[np.float32]
    weights: NDArray[np.float32]
    biases: Floats
    seen: int

    def margins(self, documents: csr_matrix, interpolation: float) -> Floats:
        """float64 [N, K] (or [N] where K is 1) with the weights w' = (1 - beta) mean(|w|) + beta w (section 2.3)."""
        means = np.abs(self.weights).sum(axis=1, keepdims=True) / self.seen
        weights = self.ratios * ((1 - interpolation) * means + interpolation * self.weights)
        margins = np.asarray(documents.sign() @ weights.T, np.float64) + self.biases
        return margins[:, 0] if len(self.biases) == 1 else margins


def log_count_ratio(presence: csr_matrix, positive: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Naive Bayes' log-count ratio (Wang and Manning, section 2.1): r = ln((p / |p|) / (q / |q|)), p = 1 + counts.

    A feature that does not occur in training gets 0 and does not count in the sums.

    Args:
        presence: float32 [N, F], 1 where a document has a feature.
        positive: bool [N], documents of the class in question.

    Returns:
        float32 [F].
    """
    chosen = positive.astype(np.float32)
    p, q = (np.asarray(presence.T @ rows, np.float64) for rows in (chosen, 1 - chosen))
    seen = p + q > 0
    p, q = p[seen] + SMOOTHING, q[seen] + SMOOTHING
    ratio = np.zeros(len(seen), np.float32)
    ratio[seen] = np.log((p / p.sum()) / (q / q.sum()))
    return ratio


def spread_margins(margins: Floats, present: Ints, classes: int) -> Floats:
    """Margins as float64 [N, C] whose softmax is a probability: one column m for two classes becomes (0, m).

    Classes that training does not have get a margin far below all others.
    """
    margins = np.asarray(margins, np.float64)
    if margins.ndim == 1:
        margins = np.stack([np.zeros_like(margins), margins], axis=1)
    spread = np.full((len(margins), classes), margins.min(initial=0.0) - 1e3)
    spread[:, present] = margins
    return spread


# ---------------------------------------------------------------------------------------------------------------------
# Choosing on validation


@dataclass(frozen=True)
class System:
    """One kind of classifier.

    Attributes:
        name: In tables.
        slug: In names of files.
        penalties: That are tried, from strong to weak.
        fit: Trains with one penalty; several candidates where they share the training.
        scaled: Whether margins need a factor that makes their softmax a probability.
    """

    name: str
    slug: str
    penalties: tuple[float, ...]
    fit: Callable[[CountedDocuments, float], Iterator[Candidate]]
    scaled: bool = False


def one_against_rest(fit: Callable[[CountedDocuments, float], Iterator[Candidate]]) -> Any:
    """A kind of classifier of two classes, fitted for each label of texts that may have several: with it or without."""

    def fit_several(train: CountedDocuments, penalty: float) -> Iterator[Candidate]:
        if not train.several:
            yield from fit(train, penalty)
            return
        of_classes = [
            list(fit(CountedDocuments(train.counts, has, train.lengths, 2), penalty))
            for has in np.asarray(train.labels, np.int64).T
        ]
        for candidates in zip(*of_classes, strict=True):

            def margins(documents: csr_matrix, candidates: tuple[Candidate, ...] = candidates) -> Floats:
                both = [one.margins(documents) for one in candidates]
                return np.stack([values[:, 1] - values[:, 0] for values in both], axis=1)

            yield Candidate(candidates[0].settings, margins)

    return fit_several


SYSTEMS = (
    System("majority class", "majority", (0.0,), fit_majority),
    System(
        "TF-IDF + logistic regression, 1-2 grams",
        "logistic",
        (1.0, 3.0, 10.0, 30.0, 100.0),
        one_against_rest(fit_logistic),
    ),
    System("NB-SVM, 1-3 grams", "nbsvm", (0.0001, 0.001, 0.01, 0.1, 1.0), one_against_rest(fit_nbsvm), scaled=True),
)


@dataclass(frozen=True)
class Chosen:
    """A model with the settings that validation prefers.

    Attributes:
        system: What it is.
        settings: Chosen on validation.
        valid_accuracy: On validation, trained without it.
        scale: Factor of the margins, chosen on validation.
        margins: Of the model to be tested.
        thresholds: float32 [C], chosen on validation where a text may have several labels; else ``None``.
    """

    system: System
    settings: dict[str, float]
    valid_accuracy: float
    scale: float
    margins: Margins
    thresholds: NDArray[np.float32] | None = None

    def probabilities(self, counts: csr_matrix) -> Floats:
        """float64 [N, C]."""
        scaled = self.scale * self.margins(counts)
        return softmax(scaled) if self.thresholds is None else sigmoid(scaled)


def choose(system: System, train: CountedDocuments, valid: CountedDocuments) -> Chosen:
    """Trains candidates on ``train`` and keeps the one that is right most often on ``valid``, of equals the first.

    Penalties are tried in their order until one is worse than the one before.
    """
    best: Chosen | None = None
    before = -1.0
    for penalty in system.penalties:
        highest = 0.0
        for candidate in system.fit(train, penalty):
            margins = candidate.margins(valid.counts)
            accuracy = share_right(margins, valid)
            log.info("validation %.2f%%  %s", 100 * accuracy, described(system, candidate.settings))
            highest = max(highest, accuracy)
            if best is None or accuracy > best.valid_accuracy:
                scale = best_scale(margins, valid.labels) if system.scaled else 1.0
                thresholds = best_thresholds(sigmoid(scale * margins), valid.labels) if valid.several else None
                best = Chosen(system, candidate.settings, accuracy, scale, candidate.margins, thresholds)
        if highest < before:
            break
        before = highest
    if best is None:
        raise ValueError(f"{system.name} has no candidate")
    return best


def share_right(margins: Floats, valid: CountedDocuments) -> float:
    """The share of documents that are classified rightly; of several labels the share of decisions."""
    if valid.several:
        return float(((margins > 0) == (valid.labels == 1)).mean())
    return float((margins.argmax(axis=1) == valid.labels).mean())


def trained_again(chosen: Chosen, documents: CountedDocuments) -> Chosen:
    """The same settings trained on other documents."""
    candidates = chosen.system.fit(documents, chosen.settings.get("C", 0.0))
    margins = next(candidate.margins for candidate in candidates if candidate.settings == chosen.settings)
    return replace(chosen, margins=margins)


def described(system: System, settings: Mapping[str, float]) -> str:
    """Name and settings in words."""
    return ", ".join([system.name, *(f"{name} {value:g}" for name, value in settings.items())])


def best_scale(margins: Floats, labels: Ints) -> float:
    """The factor by which the softmax of ``margins`` [N, C] has the smallest loss on ``labels`` [N].

    An SVM's margins are no log-odds; one factor changes no decision (temperature scaling, Guo et al., ICML 2017).
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda power: (
            binary_cross_entropy(sigmoid(np.exp(power) * margins), labels)
            if labels.ndim == 2
            else negative_log_likelihood(softmax(np.exp(power) * margins), labels)
        ),
        bounds=(-5, 5),
        method="bounded",
    )
    return float(np.exp(found.x))


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)) of each value."""
    from scipy.special import expit

    return np.asarray(expit(values))


def softmax(values: Floats) -> Floats:
    """Softmax of each row."""
    from scipy.special import softmax as rows_softmax

    return np.asarray(rows_softmax(values, axis=1))
