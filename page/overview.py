"""How well a run does on the test split, counted from its predictions: accuracy, confusion matrix, reliability.

Also what the run folder has beside: words that push each class, how true the explanations are, and how fast it trained.

N documents   C classes   B bins of confidence
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from corpus.several_labels import BETWEEN
from explaining.explanations import METHODS
from explaining.faithfulness import RANDOM, TITLES
from page.split_documents import LabelledDocument
from report.evaluation import CALIBRATION_BINS, expected_calibration_error, wilson_interval
from runtime.run_folder import RunFolder
from schema import read_json, read_jsonl
from utils import DataPaths, folder_flags

SPLITS = ("test", "valid", "train")
MOST_WORDS = 15  # of a class


class Bin(NamedTuple):
    """The documents that were predicted with about the same confidence.

    Attributes:
        low: Confidence is above it.
        high: Largest confidence.
        documents: Number of them.
        confidence: Their mean.
        accuracy: Share that was predicted right.
    """

    low: float
    high: float
    documents: int
    confidence: float
    accuracy: float


class LabelCounts(NamedTuple):
    """Of one of several labels: its name, and the documents that have it, that are predicted to, and both."""

    name: str
    has: int
    predicted: int
    both: int

    @property
    def figures(self) -> tuple[float, float, float]:
        """Precision, recall and F1; 0 where nothing is predicted, or nothing has the label."""
        f1 = 2 * self.both / max(self.has + self.predicted, 1)
        return self.both / max(self.predicted, 1), self.both / max(self.has, 1), f1


class Overview(NamedTuple):
    """The figures of a run.

    Attributes:
        names: [C] classes, of the run first, then others that are labels.
        documents: N.
        accuracy: Share of them that was predicted right.
        interval: 95% Wilson interval of the accuracy.
        confusion: [C true, C predicted] numbers of documents; empty of several labels.
        bins: Those that have documents, by rising confidence; none of several labels.
        calibration_error: Mean distance of confidence and accuracy in the bins, weighted by their documents.
        labels: [C] of several labels; empty where a text has one.
    """

    names: list[str]
    documents: int
    accuracy: float
    interval: tuple[float, float]
    confusion: list[list[int]]
    bins: list[Bin]
    calibration_error: float
    labels: Sequence[LabelCounts] = ()


def overview_of_several(documents: Sequence[LabelledDocument], class_names: Sequence[str]) -> Overview:
    """Counts where a text may have several labels. Arguments as for :func:`overview_of`."""
    own = [set(document.label.split(BETWEEN)) for document in documents]
    predicted = [set(document.prediction.split(BETWEEN)) for document in documents]
    labels = [
        LabelCounts(
            name,
            sum(name in some for some in own),
            sum(name in some for some in predicted),
            sum(name in some and name in others for some, others in zip(own, predicted, strict=True)),
        )
        for name in class_names
    ]
    right = sum(some == others for some, others in zip(own, predicted, strict=True))
    interval = wilson_interval(right, len(documents))
    return Overview(list(class_names), len(documents), right / len(documents), interval, [], [], 0.0, labels)


def overview_of(documents: Sequence[LabelledDocument], class_names: Sequence[str]) -> Overview:
    """Counts.

    Args:
        documents: [N] at least one, all with a prediction.
        class_names: Of the run.
    """
    others = (name for document in documents for name in (document.label, document.prediction))
    names = list(dict.fromkeys([*class_names, *others]))
    places = {name: place for place, name in enumerate(names)}
    confusion = np.zeros((len(names), len(names)), np.int64)
    for document in documents:
        confusion[places[document.label], places[document.prediction]] += 1
    right = int(confusion.trace())
    bins = reliability(documents)
    interval = wilson_interval(right, len(documents))
    return Overview(
        names, len(documents), right / len(documents), interval, confusion.tolist(), bins, calibration_error(documents)
    )


def reliability(documents: Sequence[LabelledDocument]) -> list[Bin]:
    """The bins of confidence that have documents, those of the calibration error."""
    confidence = np.array([document.confidence for document in documents])
    right = np.array([document.prediction == document.label for document in documents])
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    numbers = np.digitize(confidence, edges[1:-1], right=True)
    found = []
    for number in np.unique(numbers).tolist():
        chosen = numbers == number
        mean, share = float(confidence[chosen].mean()), float(right[chosen].mean())
        found.append(Bin(float(edges[number]), float(edges[number + 1]), int(chosen.sum()), mean, share))
    return found


def calibration_error(documents: Sequence[LabelledDocument]) -> float:
    """The tester's, for which the probability of the likeliest class is enough."""
    confidence = np.array([document.confidence for document in documents])
    wrong = np.array([document.prediction != document.label for document in documents])
    return expected_calibration_error(np.stack([confidence, np.zeros_like(confidence)], axis=1), wrong.astype(np.int64))


# ---------------------------------------------------------------------------------------------------------------------
# What is in the run folder


class Word(TypedDict):
    """A word of ``global-<split>.json``: its documents, and what it adds to the log-odds in them."""

    word: str
    documents: int
    mean_share: float


class Phrase(TypedDict):
    """A phrase of ``global-<split>.json``."""

    text: str
    documents: int
    mean_share: float


class OfClass(TypedDict):
    """What pushes a class, the strongest first."""

    words: list[Word]
    phrases: list[Phrase]


class WholeModel(TypedDict):
    """What is read here of ``global-<split>.json``, which ``explain.py --global`` writes."""

    weights_sha256: str
    split: str
    documents: int
    method: str
    classes: dict[str, OfClass]


def whole_model(run: RunFolder, weights_sha256: str) -> WholeModel | None:
    """What ``explain.py --global`` found with these weights, on the test split where it did; ``None`` where it did not.

    Raises:
        UserError: The file is damaged.
    """
    files = [run.path / f"global-{split}.json" for split in SPLITS]
    found = [read_json(file, WholeModel) for file in files if file.is_file()]
    return next((value for value in found if value["weights_sha256"] == weights_sha256), None)


def pushing(model: WholeModel) -> dict[str, list[tuple[str, int, float]]]:
    """The words and phrases that push each class most: what it is, its documents, and what it adds to the log-odds."""
    found = {}
    for name, one in model["classes"].items():
        words = [(word["word"], word["documents"], word["mean_share"]) for word in one["words"]]
        phrases = [(phrase["text"], phrase["documents"], phrase["mean_share"]) for phrase in one["phrases"]]
        found[name] = sorted([*words, *phrases], key=lambda each: -each[2])[:MOST_WORDS]
    return found


def how_to_find_words(run: RunFolder, data: DataPaths) -> str:
    """One line with the command that finds the words."""
    command = ["python", "explain.py", run.path.name, "--global", *folder_flags(data.data_dir, run.path.parent)]
    return f"The words that push each class have not been collected; type: {shlex.join(command)}"


def faithfulness_rows(findings: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """For each method, and a random choice, its title, how often deleting its first words changes the verdict, and the
    half-width of the 95% interval; the best first.
    """
    words = findings.get("words", {})
    known = [name for name in words if name in METHODS or name == RANDOM]
    rows = [(TITLES[name], words[name]["flips"]["mean"], words[name]["flips"]["half_width"]) for name in known]
    return sorted(rows, key=lambda row: -row[1])


class TrainingStep(TypedDict):
    """What is read here of a line of ``steps.jsonl``."""

    words_per_second: float
    documents_per_second: float


def training_speed(run: RunFolder) -> tuple[float, float] | None:
    """Documents and words per second of its training, the median of what was logged; ``None`` where nothing was.

    Raises:
        UserError: ``steps.jsonl`` is damaged.
    """
    rows = read_jsonl(run.steps, TrainingStep) if run.steps.is_file() else []
    if not rows:
        return None
    documents, words = (
        float(np.median([row[name] for row in rows])) for name in ("documents_per_second", "words_per_second")
    )
    return documents, words
