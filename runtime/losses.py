"""The loss that is reported: validation in training, the tester and the linear models measure it alike."""

from __future__ import annotations

import numpy as np

# A float32 softmax underflows to 0 for a confident mistake, whose loss would be infinite. Clipping at the smallest
# normal float32 caps one document's loss at 87.3 and leaves every probability that float32 can hold as it is, so the
# mean agrees with a loss computed from the logits.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -ln(probability of the true class) in nats; probabilities are clipped at 1.2e-38.

    Args:
        probabilities: float [N, C].
        labels: int [N].
    """
    of_true_class = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_true_class, SMALLEST_PROBABILITY)).mean())


def binary_cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean over documents and classes of -ln(probability of the truth) in nats, where a text may have several labels.

    Args:
        probabilities: float [N, C], of having each class; clipped as above.
        labels: [N, C], 0 or 1.
    """
    p = np.asarray(probabilities, np.float64)
    of_truth = np.where(np.asarray(labels, bool), p, 1 - p)
    return float(-np.log(np.maximum(of_truth, SMALLEST_PROBABILITY)).mean())
