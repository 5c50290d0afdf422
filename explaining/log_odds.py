"""The log-odds of a class, log(p / (1 - p)), and what they are made of: the network's part and the n-gram lane's.

N words   B documents   C classes   K n-grams
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing import Span
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from network.ngrams import FoundNgrams
    from runtime.predictor import Predictor, Verdict

SLOPE_STEPS = 64  # along the line between two points of C logits, which needs no network
MOST_NGRAMS = 5  # that are listed for a class, and as many against it
LEAST_SHARE = 0.01  # of the log-odds; n-grams with less are listed in JSON alone


def log_odds(logits: np.ndarray, targets: Sequence[int] | np.ndarray, several: bool = False) -> np.ndarray:
    """log(p / (1 - p)) of a class, from logits, exact where p is nearly 1.

    Args:
        logits: float [B, C], C at least 2.
        targets: int [B].
        several: Whether a text may have several labels: the log-odds are the logit of the class alone.

    Returns:
        float64 [B].
    """
    values, rows = logits.astype(np.float64), np.arange(len(logits))
    if several:
        return np.asarray(values[rows, targets])
    others = values.copy()
    others[rows, targets] = -np.inf
    return values[rows, targets] - np.logaddexp.reduce(others, axis=1)


@cache
def slope_steps() -> tuple[np.ndarray, np.ndarray]:
    """Where the gradient is taken, in (-1, 1), and its weights: Gauss and Legendre's. Finding them takes 0.6 ms."""
    return np.polynomial.legendre.leggauss(SLOPE_STEPS)


def mean_slopes(
    bias: np.ndarray, logits: np.ndarray, targets: Sequence[int] | np.ndarray, several: bool = False
) -> np.ndarray:
    """The gradient of the log-odds over the logits, averaged along the straight line from ``bias`` to ``logits``.

    So the slopes times (logits - bias) add up to the difference of the log-odds at both ends (integrated gradients of
    the last step alone). Of two classes they are 1 and -1 everywhere.

    Args:
        bias: float [C], where the line begins.
        logits: float [B, C], where it ends.
        targets: int [B].
        several: Whether a text may have several labels: 1 for the class and 0 for the others.

    Returns:
        float64 [B, C].
    """
    if several:
        return np.eye(logits.shape[1])[np.asarray(targets)]
    nodes, weights = slope_steps()
    rows = np.arange(len(logits))
    way = logits.astype(np.float64) - bias
    points = bias + (nodes[:, np.newaxis, np.newaxis] + 1) / 2 * way  # [steps, B, C]
    points[:, rows, targets] = -np.inf
    others = np.exp(points - points.max(axis=2, keepdims=True))
    slopes = -np.tensordot(weights / 2, others / others.sum(axis=2, keepdims=True), 1)
    slopes[rows, targets] = 1.0
    return slopes


# ---------------------------------------------------------------------------------------------------------------------
# A network with the n-gram lane


class NgramShare(NamedTuple):
    """An n-gram of a text and what it adds to the log-odds.

    Attributes:
        text: Its words as they are written where it first occurs, a blank between them.
        start: Where it first occurs, in code points of the text.
        end: Where that ends.
        times: How often it occurs.
        share: What all its occurrences together add; negative if it speaks against the class.
    """

    text: str
    start: int
    end: int
    times: int
    share: float


@dataclass(frozen=True)
class LogOddsParts:
    """What the log-odds of a class are the sum of.

    Attributes:
        network: What the network adds.
        ngrams: What all n-grams add.
        bias: The log-odds without any text, by the biases of both.
        strongest: The n-grams that add most, and those that take away most, the strongest first.
    """

    network: float
    ngrams: float
    bias: float
    strongest: list[NgramShare]

    def to_json(self) -> dict[str, Any]:
        """``parts`` and ``ngrams`` as plain JSON."""
        parts = {"network": self.network, "ngrams": self.ngrams, "bias": self.bias}
        return {"parts": parts, "ngrams": [ngram._asdict() for ngram in self.strongest]}

    def in_words(self, name: str) -> list[str]:
        """Sentences for people. ``name``: of the class."""
        total = self.network + self.ngrams + self.bias
        sentences = [
            f"Log-odds of {name} {total:+z.2f}: network {self.network:+z.2f}, n-grams {self.ngrams:+z.2f}, "
            f"bias {self.bias:+z.2f}."
        ]
        visible = [ngram for ngram in self.strongest if abs(ngram.share) >= LEAST_SHARE]
        chosen, against = ([ngram for ngram in visible if (ngram.share > 0) is sign] for sign in (True, False))
        for how, some in (("for", chosen), ("against", against)):
            if some:
                sentences.append(f"N-grams {how} it: {', '.join(map(shown, some))}.")
        return sentences


def shown(ngram: NgramShare) -> str:
    """``"not bad" +0.52``, with the number of times if it occurs more than once."""
    times = f" ({ngram.times} times)" if ngram.times > 1 else ""
    return f'"{ngram.text}"{times} {ngram.share:+z.2f}'


def log_odds_parts(
    predictor: Predictor, text: str, words: Sequence[Span], document: EncodedDocument, verdict: Verdict, target: int
) -> LogOddsParts | None:
    """What the network and the lane add to the log-odds of a class, exactly; ``None`` for a network without the lane.

    Args:
        predictor: The network.
        text: As a person wrote it.
        words: [N], the places of the document's words in it.
        document: What the network read.
        verdict: Its outputs.
        target: The class.
    """
    from network.ngrams import separated

    parts = separated(predictor.model)
    if parts.lane is None:
        return None
    bias = parts.bias()
    several = predictor.thresholds is not None
    [slopes] = mean_slopes(bias, verdict.logits[np.newaxis], [target], several)
    found = parts.lane.ngrams_of(document.token_ids)
    shares = parts.lane_scale * (found.shares @ slopes)  # [K]
    whole = float(slopes @ (verdict.logits - bias))
    [of_bias] = log_odds(bias[np.newaxis], [target], several)
    ngrams = float(shares.sum())
    return LogOddsParts(whole - ngrams, ngrams, float(of_bias), strongest_ngrams(text, words, found, shares))


def strongest_ngrams(text: str, words: Sequence[Span], found: FoundNgrams, shares: np.ndarray) -> list[NgramShare]:
    """The n-grams with the highest and the lowest shares, float64 [K], the strongest first."""
    order = np.argsort(-shares, kind="stable")
    chosen = [k for k in order[:MOST_NGRAMS] if shares[k] > 0] + [k for k in order[-MOST_NGRAMS:] if shares[k] < 0]
    ngrams = []
    for k in sorted(chosen, key=lambda k: -abs(shares[k])):
        place = int(found.places[k])
        spans = words[place : place + int(found.lengths[k])]
        written = " ".join(text[start:end] for start, end in spans)
        ngrams.append(NgramShare(written, spans[0][0], spans[-1][1], int(found.counts[k]), float(shares[k])))
    return ngrams
