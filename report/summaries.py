"""Summaries for TensorBoard, written without TensorFlow: scalars, histograms, pictures, PR curves and text.

What was found in tensorboard 2.21.0, and why this file is not thinner:

* Its record format (``RecordWriter``), its messages (``tensorboard.compat.proto``) and the builders ``scalar_pb``,
  ``text_pb`` and ``hparams_pb`` are plain Python: 0.2 s to import, TensorFlow is not touched.
* ``EventFileWriter`` opens its file through ``tensorboard.compat.tf``, which imports TensorFlow where it is installed
  (4 s). It also passes every event to a thread over a queue of ten, which a training loop ends up waiting for. Here the
  records go straight into a buffered file, flushed every few seconds.
* The builders ``pb`` of pictures and PR curves import TensorFlow themselves; theirs are written out below.
* ``histogram_pb`` compares every value with every bucket, about 9 bytes x 30 per value: 2 GB for an embedding of
  40,000 x 200. ``numpy.histogram`` needs none of that.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.histogram import metadata as histogram_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata
from tensorboard.plugins.scalar.summary import scalar_pb
from tensorboard.plugins.text.summary import text_pb
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

FILE_PREFIX = "events.out.tfevents."
FLUSH_SECONDS = 5.0
HISTOGRAM_BUCKETS = 30
PR_THRESHOLDS = 201  # tensorboard's own default: 0, 0.005, ..., 1
# What each curve and picture shows, by the part of its tag before a slash; a card of TensorBoard has it behind its "i".
DESCRIPTIONS = {
    "loss": "Mean cross-entropy of a document, in nats. In training with dropout, label smoothing and class weights.",
    "accuracy": "Share of documents whose likeliest class is their label.",
    "class_accuracy": "The same of the documents of one class.",
    "micro_f1": "Of texts that may have several labels: F1 of the decisions of all classes together.",
    "macro_f1": "F1 of each class, then the mean: each class counts alike.",
    "calibration_error": "Mean distance of confidence and accuracy, in 15 bins of confidence. 0 is best.",
    "auc": "Area under the ROC curve; of more than two classes the mean of each against the others.",
    "error_in_steps": "Mean distance of predicted and true class, counted in classes.",
    "quadratic_kappa": "Cohen's kappa with quadratic weights: 1 is best, 0 is chance.",
    "mae": "Mean distance of predicted and true number of stars.",
    "word_attention_entropy": "Entropy of the attention to the words of a sentence, in nats: 0 is all on one word.",
    "sentence_attention_entropy": "Entropy of the attention to the sentences of a document, in nats.",
    "gradient_norm": "Length of the gradient before clipping.",
    "words_per_second": "Words that were trained on per second since the last point.",
    "documents_per_second": "Documents that were trained on per second since the last point.",
    "learning_rate": "Of the step.",
    "momentum": "Of the step; the first moment's decay for Adam.",
    "confusion_matrix": "Documents by label (rows) and prediction (columns).",
    "roc": "True positives against false positives at every threshold.",
    "precision_recall": "Precision against recall at every threshold.",
    "abstention": "Accuracy where only the most confident documents are answered.",
    "reliability": "Share predicted right by confidence; on the diagonal the two are equal.",
    "training": "Loss and accuracy of the whole training.",
    "document_map": "Document vectors before and after training, in two dimensions, coloured by class.",
    "weights": "Distribution of the values of one weight.",
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class SummaryWriter:
    """Appends summaries to a folder that TensorBoard watches, one new file per writer.

    A file cut short by a crash does no harm: TensorBoard reads up to the last whole record and continues with the next
    file. For use by one thread.
    """

    def __init__(self, folder: Path, resume_step: int | None = None) -> None:
        """Creates ``folder`` and a new event file in it.

        Args:
            folder: Where TensorBoard looks; its name becomes the name of the curve.
            resume_step: Training resumes after this step, and points that a crashed run wrote *after* it are void.
                ``EventAccumulator`` and ``tensorboard --load_fast=false`` drop them all at once. TensorBoard's default
                data server knows no restarts: it drops a curve's later points as soon as an earlier or equal step
                arrives, so a run that repeats its steps (ours do) covers them one by one. ``None`` drops nothing.

        Raises:
            OSError: The folder cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / next_file_name(folder)
        self._file = self.path.open("xb")
        self._records = RecordWriter(self._file)
        self._flushed = time.monotonic()
        self._described: set[str] = set()
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        # TensorBoard takes the first START it meets in a folder for the beginning and only a second one for a restart,
        # which drops what has this step or a later one.
        for _ in range(0 if resume_step is None else 2):
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(event_pb2.Event(step=(resume_step or 0) + 1, session_log=start))
        self.flush()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one point of each curve ``{tag: value}``, kept as float32; a slash in a tag groups curves."""
        parts = [scalar_pb(tag, float(value), description=self._description_once(tag)) for tag, value in values.items()]
        self._write_summary(step, summary_pb2.Summary(value=[value for part in parts for value in part.value]))

    def histogram(self, step: int, tag: str, values: ArrayLike) -> None:
        """Writes the distribution of numbers of any shape in 30 buckets of equal width; NaN and infinity are left out.

        Values that are all equal are in one bucket of no width, as in tensorboard's own builder.
        """
        self._write_tensor(
            step,
            tag,
            histogram_buckets(values),
            histogram_metadata.create_summary_metadata(display_name=None, description=self._description_once(tag)),
        )

    def image(self, step: int, tag: str, png: bytes) -> None:
        """Writes a picture.

        Args:
            step: Training step.
            tag: Name.
            png: A PNG file's bytes, stored as they are.

        Raises:
            ValueError: Not a PNG file.
        """
        width, height = png_size(png)
        self._write_tensor(
            step,
            tag,
            [str(width).encode(), str(height).encode(), png],
            image_metadata.create_summary_metadata(display_name=None, description=self._description_once(tag)),
        )

    def pr_curve(self, step: int, tag: str, labels: ArrayLike, scores: ArrayLike) -> None:
        """Writes precision and recall of a binary decision at 201 thresholds.

        Args:
            step: Training step.
            tag: Name.
            labels: bool (or 0 and 1) [documents], true for the class in question.
            scores: float [documents], its probability.

        Raises:
            ValueError: Lengths that differ, or scores that are not within 0 and 1.
        """
        self._write_tensor(
            step,
            tag,
            pr_curve_table(labels, scores),
            pr_curve_metadata.create_summary_metadata(display_name=tag, description="", num_thresholds=PR_THRESHOLDS),
        )

    def text(self, step: int, tag: str, markdown: str) -> None:
        """Writes a text; TensorBoard renders Markdown and removes scripts."""
        self._write_summary(step, text_pb(tag, markdown))

    def hparams(self, settings: Mapping[str, float | int | str | bool]) -> None:
        """Writes the settings of a run, which TensorBoard lists beside its last figures in the tab HParams."""
        self._write_summary(0, hparams_pb(dict(settings), start_time_secs=time.time()))

    def flush(self) -> None:
        """Hands what was written so far to the operating system, where TensorBoard sees it."""
        self._records.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Flushes and closes; once is enough, twice does no harm."""
        self._file.close()

    def __enter__(self) -> SummaryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _description_once(self, tag: str) -> str | None:
        """What a tag shows, the first time; TensorBoard keeps the first one that it reads."""
        if tag in self._described:
            return None
        self._described.add(tag)
        return DESCRIPTIONS.get(tag.split("/")[0])

    def _write_tensor(self, step: int, tag: str, values: object, metadata: summary_pb2.SummaryMetadata) -> None:
        value = summary_pb2.Summary.Value(tag=tag, metadata=metadata, tensor=tensor_util.make_tensor_proto(values))
        self._write_summary(step, summary_pb2.Summary(value=[value]))

    def _write_summary(self, step: int, summary: summary_pb2.Summary) -> None:
        self._write(event_pb2.Event(step=step, summary=summary))

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()


class SilentWriter(SummaryWriter):
    """Takes scalars and histograms and writes nothing: for the workers beside the chief."""

    def __init__(self) -> None:
        pass

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes nothing."""

    def histogram(self, step: int, tag: str, values: ArrayLike) -> None:
        """Writes nothing."""

    def hparams(self, settings: Mapping[str, float | int | str | bool]) -> None:
        """Writes nothing."""

    def flush(self) -> None:
        """Has nothing to flush."""

    def close(self) -> None:
        """Has nothing to close."""


def next_file_name(folder: Path) -> str:
    """A name that sorts behind every event file in ``folder``: TensorBoard reads them in the order of their names.

    The clock alone would not do: two runs may start within a second, and clocks are set back.
    """
    taken = [file.name[len(FILE_PREFIX) :].split(".")[0] for file in folder.glob(f"{FILE_PREFIX}*")]
    stamp = max([int(time.time()), *(int(digits) + 1 for digits in taken if digits.isdecimal())])
    return f"{FILE_PREFIX}{stamp:010d}.{socket.gethostname()}.{os.getpid()}"


def histogram_buckets(values: ArrayLike) -> np.ndarray:
    """float64 [buckets, (left edge, right edge, count)] of the finite numbers among ``values``."""
    numbers = np.asarray(values, dtype=np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    table = np.zeros((HISTOGRAM_BUCKETS, 3))
    if numbers.size and numbers.min() == numbers.max():
        table[:, :2] = numbers[0]
        table[-1, 2] = numbers.size
    elif numbers.size:
        counts, edges = np.histogram(numbers, HISTOGRAM_BUCKETS)
        table[:] = np.stack([edges[:-1], edges[1:], counts], axis=1)
    return table


def png_size(png: bytes) -> tuple[int, int]:
    """(width, height) in pixels, from the header of a PNG file (ISO/IEC 15948, section 11.2.2)."""
    if len(png) < 24 or not png.startswith(PNG_SIGNATURE) or png[12:16] != b"IHDR":
        raise ValueError(f"not a PNG file: it begins with {png[:8]!r}")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def pr_curve_table(labels: ArrayLike, scores: ArrayLike) -> np.ndarray:
    """float32 [6, thresholds]: true and false positives, true and false negatives, precision, recall.

    At threshold t a document counts as positive where floor(200 score) >= 200 t, as in tensorboard's own ``pb``.
    """
    positive, probability = np.asarray(labels, dtype=bool), np.asarray(scores)
    if positive.ndim != 1 or positive.shape != probability.shape:
        raise ValueError(f"labels {positive.shape} and scores {probability.shape} must be vectors of one length")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("the scores of a PR curve must lie within 0 and 1")
    bucket = np.floor(probability * (PR_THRESHOLDS - 1)).astype(np.int64)
    true_positives, false_positives = (
        np.bincount(bucket[chosen], minlength=PR_THRESHOLDS)[::-1].cumsum()[::-1] for chosen in (positive, ~positive)
    )
    false_negatives, true_negatives = true_positives[0] - true_positives, false_positives[0] - false_positives
    precision = true_positives / np.maximum(true_positives + false_positives, 1)
    recall = true_positives / np.maximum(true_positives[0], 1)
    return np.stack([true_positives, false_positives, true_negatives, false_negatives, precision, recall]).astype(
        np.float32
    )
