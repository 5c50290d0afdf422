"""Several runs as one classifier: the mean of their probabilities (an ensemble in which every network counts alike)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from runtime.decisions import mean_thresholds
from runtime.run_folder import TEXT_FILES, RunFolder
from utils import UserError

if TYPE_CHECKING:
    from runtime.predictor import Predictor
    from text.text_reader import EncodedDocument, Reading


def check_can_be_averaged(runs: Sequence[RunFolder]) -> None:
    """Refuses runs that do not read the same words or do not have the same classes, before TensorFlow starts.

    Raises:
        UserError: There is no such run, it is named twice, its vocabulary, classes or splitter are others, or only some
            of the runs are for several labels a text.
    """
    paths = [run.path.resolve() for run in runs]
    for run, path in zip(runs, paths, strict=True):
        run.check_files()
        if paths.count(path) > 1:
            raise UserError(f"{run.path} is named {paths.count(path)} times; name each run once")
        if run.config().several_labels != runs[0].config().several_labels:
            raise UserError(
                f"only one of {runs[0].path} and {run.path} is for several labels a text, so they have no mean; name "
                "other runs"
            )
        for name in TEXT_FILES:
            if (run.path / name).read_bytes() != (runs[0].path / name).read_bytes():
                raise UserError(
                    f"{run.path / name} differs from {runs[0].path / name}: only runs on the same records can be "
                    "averaged; name other runs"
                )


class MeanPredictor:
    """Several networks that read text as one; has what ``predict.py`` needs of a :class:`runtime.predictor.Predictor`.

    Args:
        predictors: At least one, of runs that :func:`check_can_be_averaged` accepts.

    Attributes:
        class_names: In order of the labels.
        short_text: Words below which a text is shorter than almost all training texts, 0 if unknown.
        thresholds: float32 [C], the mean of the networks', where a text may have several labels; else ``None``.
    """

    def __init__(self, predictors: Sequence[Predictor]) -> None:
        self.predictors = list(predictors)
        self.class_names = self.predictors[0].class_names
        known = [one.thresholds for one in self.predictors if one.thresholds is not None]
        self.thresholds = mean_thresholds(known) if known else None
        self.short_text = self.predictors[0].short_text

    def read(self, text: str) -> Reading:
        """Splits a text into sentences and words and looks the words up."""
        return self.predictors[0].read(text)

    def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        """float32 [documents, C], the mean over the networks."""
        given = list(documents)
        judged = [predictor.probabilities(given) for predictor in self.predictors]
        return np.asarray(np.mean(judged, axis=0, dtype=np.float32))
