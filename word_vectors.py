"""First word vectors."""

import numpy as np
from numpy.typing import NDArray


def random_vectors(words: int, dim: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).uniform(-0.05, 0.05, (words, dim)).astype(np.float32)
    vectors[0] = 0
    return vectors
