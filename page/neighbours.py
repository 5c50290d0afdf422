"""Where a text lies among the documents of the test split: on a map of document vectors, and its neighbours.

The vectors are those that the last layer classifies. The map shows their two directions of largest variance (PCA), as
``document_map.py`` does; near and far are measured in all dimensions.

    M documents on the map   D size of a document vector
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from page.split_documents import LabelledDocument

MOST_POINTS = 400
FEWEST_POINTS = 20
MARGIN = 0.04  # on each side of the map
TINY = 1e-9  # in place of an extent of 0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VectorMap:
    """A map of document vectors.

    Attributes:
        documents: [M].
        vectors: float64 [M, D].
        centre: float64 [D], their mean.
        axes: float64 [2, D], orthonormal.
        low: float64 [2], the least coordinates of the documents along the axes.
        extent: float64 [2], how far they reach from there.
    """

    documents: Sequence[LabelledDocument]
    vectors: Floats
    centre: Floats
    axes: Floats
    low: Floats
    extent: Floats

    @property
    def height(self) -> float:
        """Of the map, whose width is 1; both axes have one scale."""
        return float(2 * MARGIN + (1 - 2 * MARGIN) * self.extent[1] / self.extent[0])

    @classmethod
    def of(cls, documents: Sequence[LabelledDocument], vectors: NDArray[np.floating]) -> VectorMap:
        """Fits a map to documents and their vectors, at least :data:`FEWEST_POINTS` of them."""
        from sklearn.decomposition import PCA

        values = vectors.astype(np.float64)
        fitted = PCA(n_components=2, random_state=0).fit(values)
        points = fitted.transform(values)
        extent = np.maximum(np.ptp(points, axis=0), TINY)
        return cls(documents, values, fitted.mean_, fitted.components_, points.min(axis=0), extent)

    def places(self, vectors: NDArray[np.floating]) -> Floats:
        """float64 [.., 2], x from 0 to 1 and y from 0 to the height; what lies outside the map is put on its edge."""
        along = (vectors.astype(np.float64) - self.centre) @ self.axes.T
        return np.clip(MARGIN + (1 - 2 * MARGIN) * (along - self.low) / self.extent[0], 0, [1, self.height])

    def nearest(self, vector: NDArray[np.floating], excluded: str = "", count: int = 3) -> list[LabelledDocument]:
        """The documents whose vectors are nearest (Euclidean), nearest first, without the one named ``excluded``."""
        order = np.argsort(np.linalg.norm(self.vectors - vector, axis=1), kind="stable")
        near = [self.documents[place] for place in order[: count + 1] if self.documents[place].id != excluded]
        return near[:count]
