"""Do networks that differ in their seed alone explain a text alike? Rank correlations of their explanations.

An explanation that is another one after every training says more about the seed than about the text. The networks are
explained for the class that the first one predicts, so that a difference is one of reasons, not of verdicts.

    R networks   B documents   N words   S sentences
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from explaining.deletions import LEVELS, interval
from explaining.explanations import METHODS, Scores, explain, methods_of
from explaining.faithfulness import CHUNK, rank_correlations
from runtime.decisions import is_predicted
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from runtime.predictor import Predictor

TOO_SLOW = "leave_one_out"  # a pass for each word, by every network


def seed_agreement(
    predictors: Sequence[Predictor],
    documents: Sequence[EncodedDocument],
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
    targets: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Explains documents by several networks and compares.

    Args:
        predictors: [R], at least two; their words and classes have the same numbers.
        documents: [B].
        progress: Wraps the loop over chunks of documents.
        targets: [B], the class of each document, one that the first network predicts; the likeliest where ``None``.

    Returns:
        ``same_verdict``, the share of documents for which all networks predict the class that the first one does, and
        for words and for sentences Spearman's rank correlation by each method that all networks have but
        :data:`TOO_SLOW`: the mean over documents with its interval, ``None`` where fewer than two documents have one.
    """
    shared = [name for name in METHODS if name != TOO_SLOW and all(name in methods_of(one) for one in predictors)]
    found: dict[str, dict[str, list[float]]] = {level: {name: [] for name in shared} for level in LEVELS}
    same: list[bool] = []
    for begin in progress(range(0, len(documents), CHUNK)):
        some = documents[begin : begin + CHUNK]
        probabilities = [predictor.probabilities(some) for predictor in predictors]
        chosen = probabilities[0].argmax(axis=1).tolist() if targets is None else targets[begin:][:CHUNK]
        same += [
            all(
                bool(is_predicted(rows[place], target, getattr(predictor, "thresholds", None)))
                for rows, predictor in zip(probabilities, predictors, strict=True)
            )
            for place, target in enumerate(chosen)
        ]
        for name in shared:
            explained = [explain(predictor, some, chosen, name) for predictor in predictors]
            for level in LEVELS:
                found[level][name] += correlations(explained, level)
    tables = {level: {name: mean_of_known(values) for name, values in found[level].items()} for level in LEVELS}
    return {"same_verdict": float(np.mean(same)), **tables}


def correlations(explained: Sequence[Sequence[Scores]], level: str) -> list[float]:
    """[B] Spearman's rank correlations of [R, B] explanations, the mean over pairs; NaN where no pair has one."""
    means = []
    for of_document in zip(*explained, strict=True):
        pairs = itertools.combinations((getattr(one, level) for one in of_document), 2)
        known = [rho for rho in (rank_correlations(*pair)[1] for pair in pairs) if not np.isnan(rho)]
        means.append(float(np.mean(known)) if known else float("nan"))
    return means


def mean_of_known(values: Sequence[float]) -> dict[str, float] | None:
    """Mean and interval of the values that are no NaN; ``None`` for fewer than two of them."""
    known = np.array(values)[~np.isnan(values)]
    return interval(known) if len(known) > 1 else None
