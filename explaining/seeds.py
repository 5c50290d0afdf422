"""Do networks that differ in their seed alone explain a text alike? Rank correlations of their explanations.

An explanation that is another one after every training says more about the seed than about the text. The networks are
explained for the class that the first one predicts, so that a difference is one of reasons, not of verdicts.

    R networks   B documents   N words   S sentences
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from explaining.deletions import LEVELS
from explaining.explanations import METHODS, Scores, explain, methods_of
from explaining.faithfulness import CHUNK, rank_correlations
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from runtime.predictor import Predictor

TOO_SLOW = "leave_one_out"  # a pass for each word, by every network


def seed_agreement(
    predictors: Sequence[Predictor],
    documents: Sequence[EncodedDocument],
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> dict[str, dict[str, float]]:
    """Explains documents by several networks and compares.

    Args:
        predictors: [R], at least two; their words and classes have the same numbers.
        documents: [B].
        progress: Wraps the loop over chunks of documents.

    Returns:
        For words and for sentences Spearman's rank correlation by each method that all networks have but
        :data:`TOO_SLOW`: mean over the pairs of networks and the documents where it is defined.
    """
    shared = [name for name in METHODS if all(name in methods_of(one) for one in predictors) and name != TOO_SLOW]
    found: dict[str, dict[str, list[float]]] = {level: {name: [] for name in shared} for level in LEVELS}
    for begin in progress(range(0, len(documents), CHUNK)):
        some = documents[begin : begin + CHUNK]
        predicted = predictors[0].probabilities(some).argmax(axis=1).tolist()
        for name in shared:
            explained = [explain(predictor, some, predicted, name) for predictor in predictors]
            for level in LEVELS:
                found[level][name] += correlations(explained, level)
    return {level: {name: float(np.nanmean(rows)) for name, rows in found[level].items()} for level in LEVELS}


def correlations(explained: Sequence[Sequence[Scores]], level: str) -> list[float]:
    """Spearman's rank correlations of [R, B] explanations: of each document, of each pair of networks."""
    return [
        rank_correlations(getattr(one, level), getattr(other, level))[1]
        for of_document in zip(*explained, strict=True)
        for one, other in itertools.combinations(of_document, 2)
    ]


def seed_table(value: dict[str, Any]) -> Iterator[str]:
    """Yields the lines of the table. ``value``: what :func:`seed_agreement` gave, and the names of the ``runs``."""
    yield f"{'Spearman, pairs of ' + str(len(value['runs'])) + ' runs':26}  words  sentences"
    for name, of_words in value["words"].items():
        yield f"{METHODS[name].title:26}  {of_words:5.2f}  {value['sentences'][name]:9.2f}"
