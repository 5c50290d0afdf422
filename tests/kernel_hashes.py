"""Prints hashes of what the kernels of attention return; ``test_kernels.py`` runs it in processes of their own."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from network import kernels

# Segments of which one is longer than a chunk, behind others in the same range.
LENGTHS = np.array([*range(40, 103), kernels.CHUNK + 26], np.int32)
UNITS, ATTENTION = 200, 200


def main() -> None:
    """Runs the kernels and prints."""
    generator = np.random.default_rng(1)

    def floats(*shape: int) -> np.ndarray:
        return (generator.normal(size=shape) * 0.3).astype(np.float32)

    elements, kernel = floats(int(LENGTHS.sum()), UNITS), floats(UNITS, ATTENTION)
    bias, context = floats(ATTENTION), floats(ATTENTION)
    pooled, weights, hidden = kernels.attention_forward(elements, LENGTHS, kernel, bias, context, keep=True)
    to_pooled, to_weights = floats(*pooled.shape), floats(*weights.shape)
    gradients = kernels.attention_gradient(
        to_pooled, to_weights, elements, LENGTHS, kernel, bias, context, weights, hidden
    )
    results = [pooled, weights, hidden, *gradients]
    print(*(hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()[:12] for result in results))


if __name__ == "__main__":
    main()
