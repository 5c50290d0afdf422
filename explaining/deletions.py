"""Deletes the words, or sentences, that a ranking names, and asks the network again: the measures of ERASER.

Both are of the class that the network predicts for the whole text (DeYoung et al., ACL 2020), where a text may have
several labels of one that it predicts, whose verdict changes where the label is no longer predicted:

    comprehensiveness   p(text) - p(text without its top words)     high: the words named were needed
    sufficiency         p(text) - p(top words alone)                low: the words named are enough

each averaged over the top 1, 5, 10, 20 and 50% of words (AOPC; rounded up, so at least one word). The same is done with
sentences. Deleting is what :func:`explaining.leaving_out.keep_words` says: as if the words had never been written.
Sufficiency is also insertion, from nothing upward: how often the text's verdict is reached with each share is counted.
Words can be replaced by ``<unk>`` in place of being deleted, which leaves the text its length.

    N words   S sentences   B documents   C classes   K shares
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np

from explaining.leaving_out import keep_words, words_of_sentences
from runtime.decisions import is_predicted
from text.text_reader import EncodedDocument

SHARES = (0.01, 0.05, 0.10, 0.20, 0.50)
FLIP_SHARE = 0.20
REACH_SHARE = 0.05
LEVELS = ("words", "sentences")

# (a document, bool [N] of the words to keep) -> the document without the others
Edit: TypeAlias = Callable[[EncodedDocument, np.ndarray], EncodedDocument]


class Scorer(Protocol):
    """What deleting needs of a network."""

    def probabilities(self, documents: Iterable[EncodedDocument]) -> np.ndarray:
        """float32 [documents, C]."""


@dataclass
class Deletions:
    """What deleting by one method did to each of B documents.

    Attributes:
        comprehensiveness: [B] times float64 [K].
        sufficiency: [B] times float64 [K].
        flips: [B], 1 where the verdict changes when the top 20% are deleted; a share where several rankings were tried.
        reached: [B] times float64 [K], 1 where the top alone has the verdict of the text; a share likewise.
    """

    comprehensiveness: list[np.ndarray] = field(default_factory=list)
    sufficiency: list[np.ndarray] = field(default_factory=list)
    flips: list[float] = field(default_factory=list)
    reached: list[np.ndarray] = field(default_factory=list)

    def extend(self, other: Deletions) -> None:
        """Appends what was measured on further documents."""
        self.comprehensiveness += other.comprehensiveness
        self.sufficiency += other.sufficiency
        self.flips += other.flips
        self.reached += other.reached

    def quality(self) -> np.ndarray:
        """float64 [B]: comprehensiveness less sufficiency, each averaged over the shares."""
        return np.mean(self.comprehensiveness, axis=1) - np.mean(self.sufficiency, axis=1)

    def to_json(self) -> dict[str, Any]:
        """Means and 95% intervals over the documents."""
        value: dict[str, Any] = {"flips": interval(np.array(self.flips))}
        for name in ("comprehensiveness", "sufficiency"):
            by_share = np.array(getattr(self, name))  # [B, K]
            value[name] = interval(by_share.mean(axis=1))
            value[f"{name}_by_share"] = by_share.mean(axis=0).tolist()
        reached = np.array(self.reached)  # [B, K]
        value["reached"] = interval(reached[:, SHARES.index(REACH_SHARE)])
        value["reached_by_share"] = reached.mean(axis=0).tolist()
        return value


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean and half the width of its 95% interval (normal approximation). ``values``: float [B]."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "half_width": 1.96 * spread / math.sqrt(len(values))}


def top_counts(items: int) -> list[int]:
    """How many of ``items`` words or sentences make up each of the K shares: rounded up, at least one."""
    return [max(1, math.ceil(share * items - 1e-9)) for share in SHARES]


def edits(document: EncodedDocument, scores: np.ndarray, level: str, edit: Edit = keep_words) -> list[EncodedDocument]:
    """Deletes the top words, or sentences, of a ranking.

    Args:
        document: The whole text.
        scores: float [N], or [S] at the level of sentences; of equals the earlier counts more.
        level: One of :data:`LEVELS`.
        edit: Makes the document with some of its words only.

    Returns:
        2 K documents: the text without its top, for each share, and then the top alone.
    """
    ranking = np.argsort(-scores, kind="stable")
    without, alone = [], []
    for count in top_counts(len(scores)):
        top = np.zeros(len(scores), bool)
        top[ranking[:count]] = True
        words = top if level == "words" else words_of_sentences(document, top)
        without.append(edit(document, ~words))
        alone.append(edit(document, words))
    return without + alone


def delete(
    scorer: Scorer,
    documents: Sequence[EncodedDocument],
    rankings: Sequence[Sequence[np.ndarray]],
    level: str,
    edit: Edit = keep_words,
    targets: Sequence[int] | None = None,
    thresholds: np.ndarray | None = None,
) -> Deletions:
    """Measures what deleting does, averaged over the rankings of each document.

    Args:
        scorer: The network.
        documents: [B].
        rankings: [B], for each document one or more vectors of scores, as :func:`edits` takes them.
        level: One of :data:`LEVELS`.
        edit: Makes a document with some of its words only.
        targets: [B], the predicted class of each document that is measured; the likeliest where ``None``.
        thresholds: [C], where a text may have several labels.
    """
    edited = [
        one
        for document, draws in zip(documents, rankings, strict=True)
        for scores in draws
        for one in edits(document, scores, level, edit)
    ]
    probabilities = scorer.probabilities([*documents, *edited]).astype(np.float64)
    whole, changed = probabilities[: len(documents)], probabilities[len(documents) :]
    found = Deletions()
    begin = 0
    chosen = whole.argmax(axis=1).tolist() if targets is None else targets
    for row, draws, verdict in zip(whole, rankings, chosen, strict=True):
        end = begin + len(draws) * 2 * len(SHARES)
        values = changed[begin:end].reshape(len(draws), 2, len(SHARES), -1)
        begin, stays = end, is_predicted(values, verdict, thresholds)  # [draws, 2, K]
        lost = (row[verdict] - values[..., verdict]).mean(axis=0)  # [2, K]
        found.comprehensiveness.append(lost[0])
        found.sufficiency.append(lost[1])
        found.flips.append(float((~stays[:, 0, SHARES.index(FLIP_SHARE)]).mean()))
        found.reached.append(stays[:, 1].mean(axis=0))
    return found
