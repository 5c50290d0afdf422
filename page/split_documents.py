"""The documents of a test split with a run's predictions: right, wrong or unsure.

Labels and predictions are those of ``predictions-<split>.csv``, which the tester writes; the texts are read from the
data set's CSV. From a very large split a sample is drawn whose texts fit into memory.
"""

from __future__ import annotations

import csv
import functools
import shlex
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, NotRequired, TypedDict, TypeVar

import numpy as np

from corpus.corpora import CsvRow, read_csv
from corpus.several_labels import NO_LABELS, decoded
from runtime.decisions import in_words, margin
from runtime.run_folder import RunFolder
from schema import read_jsonl
from utils import DataPaths, UserError, folder_flags

SPLIT = "test"
MOST_DOCUMENTS = 50_000
Item = TypeVar("Item")

UNSURE = 0.2  # a prediction whose probability is less than this above that of the second class
FILTERS = ("any", "right", "wrong", "unsure")


class ResultRow(TypedDict):
    """What the page reads of a line of ``results.jsonl``; those of earlier versions have no weights and no step."""

    split: str
    weights_sha256: NotRequired[str | None]
    step: NotRequired[int]


class LabelledDocument(NamedTuple):
    """A document of a data set, or a row of an uploaded file.

    Attributes:
        id: Its name; of an uploaded file, the number of its row.
        label: Its class; empty where it has none. Several labels as they are shown, ``no label`` where there is none.
        text: The original.
        prediction: The class that the run predicted; empty where it was not tested.
        confidence: Probability of that class.
        margin: How much lower the probability of the second class is, or how far labels are from their thresholds.
        dataset: Name of its data set, or key of the uploaded file, without which ``id`` says nothing.
        title: How a row of an uploaded file is shown; else empty.
    """

    id: str
    label: str
    text: str
    prediction: str = ""
    confidence: float = 0.0
    margin: float = 1.0
    dataset: str = ""
    title: str = ""


class SplitDocuments:
    """The test split of a run's data set. Each file is read once, when it is first needed, from any thread.

    Args:
        run: The run folder.
        data: Its data set.
        weights_sha256: Hash of the weights that are served, to detect predictions of others.
        most: Number of documents to keep at most.
        thresholds: float32 [C], where a text may have several labels; else ``None``.
    """

    def __init__(
        self,
        run: RunFolder,
        data: DataPaths,
        weights_sha256: str,
        most: int = MOST_DOCUMENTS,
        thresholds: np.ndarray | None = None,
    ) -> None:
        self.run, self.data, self.most = run, data, most
        self.weights_sha256, self.thresholds = weights_sha256, thresholds
        self.predictions_file = run.path / f"predictions-{SPLIT}.csv"
        self._lock = threading.Lock()

    @property
    def tested(self) -> bool:
        """Whether the run has been tested."""
        return self.predictions_file.is_file()

    def why_untested(self) -> str:
        """One line with the command that tests the run."""
        named = ["--dataset", self.data.dataset, "--run", self.run.path.name]
        flags = [*named, *folder_flags(self.data.data_dir, self.run.path.parent)]
        command = shlex.join(["python", "han_tester.py", "--run_type", SPLIT, *flags])
        return f"{self.run.path.name} has not been tested; type: {command}"

    def stale(self) -> str:
        """A remark where the predictions were made with other weights than those served; else empty.

        Raises:
            UserError: ``results.jsonl`` is damaged.
        """
        rows = [row for row in read_jsonl(self.run.results, ResultRow) if row["split"] == SPLIT]
        if not rows or rows[-1].get("weights_sha256") in {None, self.weights_sha256}:
            return ""
        return f"{self.predictions_file.name} was written with the weights of step {rows[-1].get('step')}, not these."

    def all(self) -> dict[str, LabelledDocument]:
        """The documents by name, in the order of the CSV.

        Raises:
            UserError: The CSV is missing or damaged, or has no test split, or the predictions are of another one.
        """
        with self._lock:
            return self._all

    @functools.cached_property
    def _all(self) -> dict[str, LabelledDocument]:
        predicted = self._predictions() if self.tested else None
        names = None if predicted is None else set(sample(list(predicted), self.most))
        found: dict[str, LabelledDocument] = {}
        for row in read_csv(self.data.csv):
            if row.split != SPLIT or (names is not None and row.id not in names) or len(found) == self.most:
                continue
            document = self._document(row)
            if predicted:
                label, prediction, confidence, distance = predicted[row.id]
                if label != document.label:
                    break  # the same name for another document
                document = document._replace(prediction=prediction, confidence=confidence, margin=distance)
            found[row.id] = document
        if names is not None and len(found) < len(names):
            raise UserError(f"{self.predictions_file} is of other documents than {self.data.csv}; test the run again")
        if not found:
            raise UserError(f"{self.data.csv} has no document in its {SPLIT} split")
        return found

    def _predictions(self) -> dict[str, tuple[str, str, float, float]]:
        """Label, prediction, its probability and its margin, by document."""
        predictions = {}
        with self.predictions_file.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            try:
                columns = next(rows)
                name, label, prediction = map(columns.index, ("id", "label", "prediction"))
                classes = [place for place, column in enumerate(columns) if column.startswith("probability_")]
                for row in rows:
                    probabilities = np.array([float(row[place]) for place in classes])
                    names = (row[label], row[prediction])
                    if self.thresholds is not None:
                        names = (row[label] or NO_LABELS, row[prediction] or NO_LABELS)
                    figures = float(probabilities.max()), margin(probabilities, self.thresholds)
                    predictions[row[name]] = (*names, *figures)
            except (ValueError, IndexError, StopIteration, csv.Error) as error:
                raise UserError(f"{self.predictions_file} is damaged ({error}); {self.why_untested()}") from error
        return predictions

    def anywhere(self, name: str) -> LabelledDocument | None:
        """A document of any split by its name, which is looked for in the CSV.

        Raises:
            UserError: The CSV is missing or damaged.
        """
        found = next((row for row in read_csv(self.data.csv) if row.id == name), None)
        return found and self._document(found)

    def _document(self, row: CsvRow) -> LabelledDocument:
        """A row of the CSV, without a prediction."""
        label = row.label if self.thresholds is None or not row.label else in_words(decoded(row.label))
        return LabelledDocument(row.id, label, row.text, dataset=self.data.dataset)

    def chosen(self, filter: str) -> list[LabelledDocument]:
        """The documents that pass a filter, one of :data:`FILTERS`.

        Raises:
            UserError: The filter needs predictions and the run has not been tested, or as :meth:`all`.
        """
        if filter not in FILTERS:
            raise UserError(f"unknown filter {filter[:50]!r}, not one of {', '.join(FILTERS)}")
        documents = list(self.all().values())
        if filter == "any":
            return documents
        if not self.tested:
            raise UserError(self.why_untested())
        wanted: dict[str, Callable[[LabelledDocument], bool]] = {
            "right": lambda document: document.prediction == document.label,
            "wrong": lambda document: document.prediction != document.label,
            "unsure": lambda document: document.margin < UNSURE,
        }
        return [document for document in documents if wanted[filter](document)]


def sample(items: Sequence[Item], most: int) -> Sequence[Item]:
    """All items, or ``most`` of them drawn at random, always the same ones."""
    if len(items) <= most:
        return items
    return [items[place] for place in np.random.default_rng(1).permutation(len(items))[:most]]
