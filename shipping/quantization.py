"""What smaller word vectors cost: the same validation documents with and without them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnxruntime

from runtime.devices import start_tensorflow
from shipping.bundle import ExportedRun
from shipping.classify import Classifier, Document, sigmoid
from shipping.graph import build_graph
from text.copies import data_set
from text.records import read_manifest
from utils import UserError

if TYPE_CHECKING:
    from text.text_reader import EncodedDocument


class Cost(NamedTuple):
    """Accuracy on validation with trained and with quantised word vectors.

    Attributes:
        documents: How many.
        before: Share that is right with the trained word vectors.
        after: Share that is right with the quantised ones.
        changed: Predictions that differ.
        largest_difference: Of a logit.
    """

    documents: int
    before: float
    after: float
    changed: int
    largest_difference: float

    def __str__(self) -> str:
        return (
            f"accuracy on {self.documents:,} validation documents {self.after:.2%}, before {self.before:.2%}; "
            f"{self.changed:,} predictions changed, no logit by more than {self.largest_difference:.2g}"
        )


def measure(folder: Path, source: ExportedRun, data_dir: Path) -> Cost | str:
    """Compares a quantised bundle with the trained network.

    Args:
        folder: The bundle.
        source: Its run.
        data_dir: Folder of the data sets.

    Returns:
        The cost, or in words why it was not measured.
    """
    try:
        records = data_set(source.config.dataset, data_dir).records
        source.run.refuse_other_records(source.config, records, read_manifest(records))
    except (UserError, FileNotFoundError) as error:
        return f"accuracy not measured: {error}"
    quantised = Classifier(folder)
    trained = Classifier(folder)
    model = build_graph(source.config.architecture, source.config.model, source.checkpoint.weights)
    trained.session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    documents, labels = validation(records)
    if not documents:
        return "accuracy not measured: the records have no validation documents"
    before, after = (logits_of(classifier, documents) for classifier in (trained, quantised))
    first, second = (decisions(trained, logits) for logits in (before, after))
    truth = labels.reshape(len(first), -1)  # one label, or a column of 0 and 1 for each
    return Cost(
        len(documents),
        float((first == truth).all(axis=1).mean()),
        float((second == truth).all(axis=1).mean()),
        int((first != second).any(axis=1).sum()),
        float(np.abs(before - after).max()),
    )


def decisions(classifier: Classifier, logits: np.ndarray) -> np.ndarray:
    """[B, 1] the predicted classes, or bool [B, C] the predicted labels where a text may have several."""
    if classifier.thresholds is None:
        return logits.argmax(axis=1)[:, np.newaxis]
    reached: np.ndarray = sigmoid(logits) >= classifier.thresholds
    return reached


def validation(records: Path) -> tuple[list[EncodedDocument], np.ndarray]:
    """The documents of the validation split and their labels, int [B], or 0 and 1 [B, C]."""
    start_tensorflow("cpu")  # which reads records
    from runtime.documents import parted
    from runtime.input_pipeline import Split

    with contextlib.closing(Split(records, "valid")) as split:
        batches = [split.read(numbers) for numbers in np.array_split(np.arange(len(split)), len(split) // 500 + 1)]
    documents = [document for batch in batches if len(batch.labels) for document in parted(batch.documents)]
    return documents, np.concatenate([np.asarray(batch.labels) for batch in batches])


def logits_of(classifier: Classifier, documents: list[EncodedDocument]) -> np.ndarray:
    """float64 [B, C]."""
    read = (Document(document.token_ids, document.words_per_sentence, [], 0) for document in documents)
    return np.stack([classifier.run(document).logits for document in read])
