"""A trained network on one split: metrics, report, predictions, figures, TensorBoard summaries."""

from __future__ import annotations

import argparse
import functools
import itertools
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from corpus.corpora import is_ordinal
from data_processing import UNKNOWN_ID
from network.contract import thresholds_of
from report.attention_check import attended_texts, deciding_sentences, evidence_score
from report.evaluation import Evaluation, evaluate, write_predictions
from report.plots import evaluation_pictures
from report.several_labels import SeveralLabels, evaluate_several, report_of, write_several
from report.shading import render, shade, supports_colour
from report.summaries import SummaryWriter
from runtime.checkpoints import Checkpoint, restore
from runtime.input_pipeline import Split
from runtime.networks import network_of
from runtime.run_folder import RunFolder, origin
from runtime.scoring import score_batches
from schema import read_json, read_jsonl
from text.copies import data_set
from text.records import made_from, verify_records
from utils import (
    UserError,
    atomic_write,
    exclusive_lock,
    log,
    remove_leftovers,
    write_jsonl,
)


class ResultRow(TypedDict):
    """What the tester reads of a line of ``results.jsonl``."""

    split: str
    weights_sha256: str


class SeenTexts(TypedDict):
    """What the tester reads of ``csv_manifest.json``; earlier versions did not list the seen documents."""

    csv_sha256: NotRequired[str]
    seen_test_documents: NotRequired[list[str]]


class Unseen(TypedDict):
    """The test split without the documents whose text is also in train or validation.

    Attributes:
        left_out: Number of those documents.
        documents: Number of the others.
        accuracy: Share of the others that are classified correctly.
    """

    left_out: int
    documents: int
    accuracy: float


class LinearRow(TypedDict):
    """What the tester reads of a line that ``linear_baselines.py`` wrote."""

    split: str
    csv_sha256: str
    system: str
    accuracy: float


@dataclass(frozen=True)
class Result:
    """One checkpoint on one split.

    Attributes:
        checkpoint: What was tested.
        evaluation: The metrics.
        probabilities: float32 [documents, C].
        labels: int32 [documents]; where a text may have several, float32 [documents, C].
        sentence_focus: float32 [documents], largest sentence weight of each document; ``None`` without attention.
        unknown_words: Share of words that are ``<unk>``.
        cut_words: Share of words cut off when the records were made.
        evidence: The result of :func:`report.attention_check.evidence_score`, for data sets with known evidence.
        unseen: The accuracy on new texts alone; ``None`` on validation, and where it is not known which are new.
    """

    checkpoint: Checkpoint
    evaluation: Evaluation | SeveralLabels
    probabilities: np.ndarray
    labels: np.ndarray
    sentence_focus: np.ndarray | None
    unknown_words: float
    cut_words: float
    evidence: dict[str, float] | None
    unseen: Unseen | None


class Tester:
    """A network rebuilt from its run folder, and the split it is tested on.

    Args:
        run: The run folder.
        split_name: ``valid`` or ``test``.
        device: ``"cpu"`` or ``"gpu"``, as :func:`runtime.devices.start_tensorflow` returned it.
        arguments: Batch size and folders.
    """

    def __init__(self, run: RunFolder, split_name: str, device: str, arguments: argparse.Namespace) -> None:

        self.run, self.arguments = run, arguments
        run.check_files()
        self.config = run.config()
        texts = bool(arguments.show_documents)
        self.data = data_set(self.config.dataset, arguments.data_dir, texts, evidence=True)
        self.manifest = verify_records(self.data.records)
        run.refuse_other_records(self.config, self.data.records, self.manifest)
        if self.config.retraining and split_name == "valid":
            raise UserError(
                f"{run.path} was also trained on the validation documents, so they test nothing; use --run_type test"
            )
        self.split = Split(self.data.records, split_name)
        if not len(self.split):
            raise UserError(f"{self.data.records} has no documents in its {split_name} split")
        self.model = network_of(run, self.config, padded=device == "gpu")
        self.deciding = self.find_evidence()
        self.seen_documents = self.find_seen_documents()
        self.ordinal = is_ordinal(self.data, self.manifest["csv"]["sha256"])

    @functools.cached_property
    def ids(self) -> list[str]:
        """The names of all documents of the split, read once from their records."""
        return self.split.ids(np.arange(len(self.split)))

    def csv_is_that_of_the_records(self) -> bool:
        """Whether the records were made from the CSV file; logs so if not."""
        same = made_from(self.manifest, self.data.csv)
        if not same:
            log.warning("the records were made from another file than %s: no texts are shown or checked", self.data.csv)
        return same

    def has_result(self, checkpoint: Checkpoint) -> bool:
        """Whether these weights were tested on this split before."""
        return any(self.same_result(row, checkpoint) for row in read_jsonl(self.run.results, ResultRow))

    def same_result(self, row: ResultRow, checkpoint: Checkpoint) -> bool:
        """Whether a line of ``results.jsonl`` is about these weights on this split."""
        return (row["split"], row["weights_sha256"]) == (self.split.name, checkpoint.weights_sha256)

    def evaluate(self, checkpoint: Checkpoint) -> Result:
        """Scores the split with a checkpoint's weights and writes every result file."""

        restore(checkpoint, self.model)
        size, classes = len(self.split), len(self.config.class_names)
        probabilities = np.zeros((size, classes), np.float32)
        focus, top = np.zeros(size, np.float32), np.zeros(size, np.int64)
        attends = self.model.attends
        unknown = words = 0
        for scored in score_batches(self.model, self.split, self.arguments.evaluation_batch_words):
            numbers, (tokens, _, sentences) = scored.batch.numbers, scored.batch.documents
            probabilities[numbers] = scored.probabilities
            if scored.sentence_weights is not None:
                focus[numbers], top[numbers] = strongest_sentence(scored.sentence_weights, sentences.numpy())
            unknown += int((tokens.numpy() == UNKNOWN_ID).sum())
            words += int(tokens.shape[0])
        labels = self.split.labels
        counts = self.manifest["splits"][self.split.name]
        result = Result(
            checkpoint,
            self.measured(probabilities, labels),
            probabilities,
            labels,
            focus if attends else None,
            unknown / words,
            counts["cut_words"] / (counts["words"] + counts["cut_words"]),
            evidence_score(top, self.deciding) if attends and self.deciding else None,
            self.without_seen(self.rightly_classified(probabilities, labels)),
        )
        self.write(result)
        return result

    @property
    def thresholds(self) -> np.ndarray | None:
        """float32 [C], of the weights that were restored last, where a text may have several labels; else ``None``."""
        thresholds = thresholds_of(self.model)
        return None if thresholds is None else np.asarray(thresholds.numpy())

    def measured(self, probabilities: np.ndarray, labels: np.ndarray) -> Evaluation | SeveralLabels:
        """The metrics; arguments as in :class:`Result`."""
        if self.thresholds is not None:
            return evaluate_several(probabilities, labels.astype(np.uint8), self.config.class_names, self.thresholds)
        return evaluate(probabilities, labels, self.config.class_names, self.ordinal)

    def rightly_classified(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """bool [documents]; where a text may have several labels, whether all of its classes are right."""
        if self.thresholds is None:
            return np.asarray(probabilities.argmax(axis=1) == labels)
        return np.asarray(((probabilities >= self.thresholds) == (labels == 1)).all(axis=1))

    def find_evidence(self) -> list[list[bool]] | None:
        """The sentences that are known to decide, for data sets with known evidence (``evidence.jsonl``)."""

        if not self.data.evidence.exists() or not self.csv_is_that_of_the_records():
            return None
        return deciding_sentences(self.split, self.data, self.run.path)

    def find_seen_documents(self) -> list[str] | None:
        """The ids of the test documents whose text is also in train or validation.

        ``None`` on validation, which has no such texts, and where ``csv_manifest.json`` does not list them or belongs
        to another CSV file than the records.
        """
        if self.split.name != "test" or not self.data.csv_manifest.is_file():
            return None
        found = read_json(self.data.csv_manifest, SeenTexts)
        same = found.get("csv_sha256") == self.manifest["csv"]["sha256"]
        return found.get("seen_test_documents") if same else None

    def without_seen(self, correct: np.ndarray) -> Unseen | None:
        """The accuracy on the documents whose text was not seen in training.

        Args:
            correct: bool [documents], whether each was classified correctly.
        """
        if self.seen_documents is None:
            return None
        seen = set(self.seen_documents)
        new = np.array([name not in seen for name in self.ids])
        if not new.any():
            return None
        return Unseen(left_out=int((~new).sum()), documents=int(new.sum()), accuracy=float(correct[new].mean()))

    # -- what is written ----------------------------------------------------------------------------------------------

    def write(self, result: Result) -> None:
        """Writes predictions, a line of ``results.jsonl`` and the TensorBoard summaries."""
        with exclusive_lock(self.run.results_lock):  # two testers may finish at the same time
            self.write_predictions(result)
            self.write_summaries(result)
            remove_leftovers(self.run.results)
            rows = [
                row for row in read_jsonl(self.run.results, ResultRow) if not self.same_result(row, result.checkpoint)
            ]
            write_jsonl(self.run.results, [*rows, self.result_row(result)])

    def result_file(self, kind: str, ending: str, checkpoint: Checkpoint) -> Path:
        """Path of a report or of predictions; a checkpoint named by --checkpoint does not overwrite the best one's."""
        which = "" if checkpoint.path == self.run.best else f"-{checkpoint.path.stem}"
        return self.run.result_file(kind, self.split.name + which, ending)

    def picture_file(self, kind: str, checkpoint: Checkpoint) -> Path:
        """Path of a figure; while checkpoints are followed, each overwrites the one before."""
        which = f"-{checkpoint.path.stem}" if self.arguments.checkpoint and checkpoint.path != self.run.best else ""
        return self.run.plots / f"{kind}-{self.split.name}{which}.png"

    def result_row(self, result: Result) -> dict[str, Any]:
        """One line of ``results.jsonl``: what was tested, how it was made, the figures."""

        made = self.run.read_config()["origin"]
        progress = result.checkpoint.progress
        return {
            "run": self.run.path.name,
            "dataset": self.config.dataset,
            "split": self.split.name,
            "architecture": self.config.architecture,
            "title": self.config.title(),
            "cell": self.config.to_json()["model"].get("cell"),
            "seed": self.config.training.seed,
            "step": progress.step,
            "checkpoint": result.checkpoint.path.name,
            "weights_sha256": result.checkpoint.weights_sha256,
            "valid_accuracy": None if self.config.retraining else progress.best_accuracy,
            "chosen": self.chosen(),
            **result.evaluation.to_json(),
            "unknown_words": result.unknown_words,
            "cut_words": result.cut_words,
            "evidence": result.evidence,
            "unseen": result.unseen,
            "trained": made,
            "tested": origin(),
        }

    def chosen(self) -> str:
        """How the weights of this run were chosen, in words."""
        first = self.config.retraining
        if first is None:
            return "the best on validation"
        return (
            f"the last of a training on train and validation together, for the {first.epochs:.2f} epochs that "
            f"validation chose in {first.run} (step {first.step}, validation accuracy {first.valid_accuracy:.2%})"
        )

    def write_predictions(self, result: Result) -> None:
        """Writes ``predictions-<split>.csv``."""

        path = self.result_file("predictions", "csv", result.checkpoint)
        remove_leftovers(path)
        if self.thresholds is not None:
            several = result.labels.astype(np.uint8), result.probabilities, self.config.class_names, self.thresholds
            write_several(path, self.ids, *several)
            return
        write_predictions(path, self.ids, result.labels, result.probabilities, self.config.class_names)

    def write_summaries(self, result: Result) -> None:
        """Scalars, figures and precision-recall curves for TensorBoard; the figures as files, too."""

        step, measured = result.checkpoint.progress.step, result.evaluation
        if isinstance(measured, SeveralLabels):
            with SummaryWriter(self.run.tensorboard / f"tester-{self.split.name}") as writer:
                figures = {"loss": measured.loss, "accuracy": measured.accuracy, "macro_f1": measured.macro_f1}
                writer.scalars(step, figures | {"micro_f1": measured.micro_f1})
            return
        scalars = {
            "accuracy": measured.accuracy,
            "loss": measured.loss,
            "macro_f1": measured.macro_f1,
            "calibration_error": measured.calibration_error,
            "auc": measured.auc,
            "mae": measured.mae,
        }
        if measured.ordered is not None:
            scalars |= {
                "error_in_steps": measured.ordered.likeliest.error,
                "quadratic_kappa": measured.ordered.likeliest.kappa,
            }
        with SummaryWriter(self.run.tensorboard / f"tester-{self.split.name}") as writer:
            writer.scalars(step, {name: value for name, value in scalars.items() if value is not None})
            title = f"{self.run.path.name} on {self.split.name}, step {step}"
            for name, picture in evaluation_pictures(measured, result.labels, result.probabilities, title).items():
                writer.image(step, name, picture)
                remove_leftovers(self.picture_file(name, result.checkpoint))
                with atomic_write(self.picture_file(name, result.checkpoint), "wb") as file:
                    file.write(picture)
            for number, name in enumerate(self.config.class_names):
                writer.pr_curve(step, f"pr_curve/{name}", result.labels == number, result.probabilities[:, number])

    # -- what is printed ----------------------------------------------------------------------------------------------

    def log_line(self, result: Result) -> None:
        """Logs one line for a checkpoint of a running training."""
        measured, (low, high) = result.evaluation, result.evaluation.accuracy_interval
        log.info(
            "step %5d  %s loss %.4f  accuracy %.2f%% (95%% interval %.2f to %.2f)",
            result.checkpoint.progress.step,
            self.split.name,
            measured.loss,
            100 * measured.accuracy,
            100 * low,
            100 * high,
        )

    def report(self, result: Result) -> None:
        """Prints the whole report, with clear examples if they were asked for."""

        step = result.checkpoint.progress.step
        heading = f"{self.run.path} on {self.split.name}: {self.config.title()}, weights of step {step}"
        text = "\n" + report_of(result.evaluation, heading, result.unknown_words, result.cut_words) + "\n"
        if self.config.retraining:
            text += f"\nThe weights are {self.chosen()}.\n"
        if result.evidence:
            text += (
                f"\nAttention's top sentence is one that decided in {result.evidence['precision']:.1%} of "
                f"documents; by chance: {result.evidence['chance']:.1%}.\n"
            )
        text += unseen_line(result.unseen)
        text += self.linear_baselines()
        print(text, end="")
        with exclusive_lock(self.run.results_lock):
            remove_leftovers(self.result_file("report", "txt", result.checkpoint))
            with atomic_write(self.result_file("report", "txt", result.checkpoint)) as file:
                file.write(text)
        if self.arguments.show_documents and self.csv_is_that_of_the_records():
            self.show(result)
        print(f"\nWritten: {self.result_file('predictions', 'csv', result.checkpoint)}, {self.run.results}")
        if self.thresholds is None:
            print(f"Look:    {self.picture_file('*', result.checkpoint)}")
        print(f"         tensorboard --logdir {shlex.quote(str(self.run.path.parent))} --host 127.0.0.1", flush=True)

    def linear_baselines(self) -> str:
        """The accuracy of linear classifiers on the same documents, if ``linear_baselines.py`` has tested them."""
        linear = RunFolder(self.run.path.with_name(f"{self.config.dataset}-linear"))
        rows = read_jsonl(linear.results, LinearRow)
        same = (self.split.name, self.manifest["csv"]["sha256"])
        same_documents = [row for row in rows if (row["split"], row["csv_sha256"]) == same]
        lines = [f"{row['accuracy']:7.2%}  {row['system']}\n" for row in same_documents]
        return "\nLinear classifiers on the same documents:\n" + "".join(lines) if same_documents else ""

    def show(self, result: Result) -> None:
        """Prints clear examples, shaded by attention."""

        if self.thresholds is not None:
            log.info("no document to show: --show_documents is for one label a text; use explain.py")
            return
        if result.sentence_focus is None:
            log.info("no document to show: a %s has no attention; use explain.py", self.config.title())
            return
        names = self.config.class_names
        numbers = clear_examples(result, self.split, self.arguments.show_documents)
        if not numbers:
            log.info("no document to show: no document of 4 to 12 sentences was classified correctly")
            return
        for number, shown in zip(
            numbers, attended_texts(self.model, self.split, self.data, self.run.path, numbers), strict=True
        ):
            probability = result.probabilities[number].max()
            print(
                f"\n{shown.id}: predicted {names[int(result.probabilities[number].argmax())]} "
                f"({probability:.1%}), labelled {names[result.labels[number]]}"
            )
            print(
                render(
                    shade(
                        shown.text, shown.spans, shown.word_weights, shown.words_per_sentence, shown.sentence_weights
                    ),
                    supports_colour(sys.stdout),
                )
            )


def unseen_line(unseen: Unseen | None) -> str:
    """The paragraph of the report about test texts that were seen in training; empty where there are none."""
    if unseen is None or not unseen["left_out"]:
        return ""
    return (
        f"\nWithout the {unseen['left_out']:,} documents whose text is also in train or validation: "
        f"accuracy {unseen['accuracy']:.2%} ({unseen['documents']:,} documents).\n"
    )


def strongest_sentence(weights: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest sentence weight of each document and its place in the document; of equals the first.

    Args:
        weights: float32 [S].
        lengths: int [B], sentences of each document.

    Returns:
        float32 [B] and int64 [B].
    """

    first = np.cumsum(lengths) - lengths
    largest = np.maximum.reduceat(weights, first)
    document = np.repeat(np.arange(len(lengths)), lengths)
    hits = np.flatnonzero(weights == largest[document])
    _, earliest = np.unique(document[hits], return_index=True)
    return largest, hits[earliest] - first


def clear_examples(result: Result, split: Split, count: int) -> list[int]:
    """Documents in which few sentences decided: classified correctly and confidently, with focused attention, 4 to 12
    sentences long. Classes take turns, so that more than one is shown.
    """

    right = result.probabilities.argmax(axis=1) == result.labels
    sentences = split.index["sentences"]
    fit = right & (sentences >= 4) & (sentences <= 12)
    score = result.probabilities.max(axis=1) * result.sentence_focus
    best = [int(number) for number in np.argsort(-score, kind="stable") if fit[number]]
    queues = [[number for number in best if result.labels[number] == label] for label in np.unique(result.labels)]
    turns = [number for turn in itertools.zip_longest(*queues) for number in turn if number is not None]
    return turns[:count]
