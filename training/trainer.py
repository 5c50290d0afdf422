"""A training from its first step, or from the last checkpoint, to its last step."""

from __future__ import annotations

import argparse
import functools
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from network.contract import JointSeed, Network, thresholds_of
from network.ngrams import NetworkWithNgrams, NgramLane, NgramTable
from runtime.checkpoints import newest_checkpoint, restore, save_weights, saved_weights, step_of
from runtime.input_pipeline import Epochs, LabelledBatch, Split, part_of, read_ahead
from runtime.networks import build_model, weights_by_layer
from runtime.ngram_tables import read_table, save_table
from runtime.run_folder import Progress, RunConfig, RunFolder
from runtime.scoring import Validation, validate
from runtime.workers import SINGLE_WORKER, SingleWorker
from text.records import NO_LABEL
from training.distillation import UNLABELLED
from training.evidence import read_marks
from training.log import TrainingLog
from training.ngrams import (
    FEW_VALIDATED,
    FEWEST_VALIDATED,
    fit_scales,
    fit_scales_of_several,
    fit_table,
    logits_of_split,
)
from training.optimizers import build_optimizer
from training.preparation import refuse_changed_records
from training.schedules import momentum_schedule, rate_schedule
from training.step import MOST_UNREAD, StepTotals, chosen_class_weights, compile_step
from training.teachers import training_targets
from utils import EMBEDDINGS_FILE, DataPaths, UserError, log, tester_command

EVALUATIONS_PER_EPOCH = 2


def names_of_training(config: RunConfig) -> str:
    """The splits that a run trains on, joined by a plus."""
    if config.retraining:
        return "train+valid"
    return f"train+{UNLABELLED}" if config.distillation else "train"


class Interrupted(Exception):
    """A signal asked the training to stop; the run is saved."""


class Trainer:
    """A training in progress: the network, its optimiser, the data and the progress.

    Args:
        run: The run folder, already begun.
        config: Of the run.
        records: Folder of the records.
        device: ``"cpu"`` or ``"gpu"``, as :func:`runtime.devices.start_tensorflow` returned it.
        arguments: The operational flags (intervals).
        workers: The processes that train together. Only the chief uses the run folder.
        teachers: Of a distillation, in the order of its configuration.
        ngrams: That the run begins with; ``None`` fits them on its training documents.
    """

    def __init__(
        self,
        run: RunFolder,
        config: RunConfig,
        records: Path,
        device: str,
        arguments: argparse.Namespace,
        workers: SingleWorker = SINGLE_WORKER,
        teachers: Sequence[RunFolder] = (),
        ngrams: NgramTable | None = None,
    ) -> None:
        settings = config.training
        self.run, self.config, self.device, self.arguments, self.workers = run, config, device, arguments, workers
        self.identity = run.identity() if workers.is_chief else ""
        self.train_split = Split(records, names_of_training(config), settings.max_sentences, settings.max_words)
        self.valid_split = None if config.retraining else Split(records, "valid")
        self.epochs = Epochs(self.train_split.index, settings)
        self.last_step = self.epochs.total_steps
        if config.retraining:
            self.last_step = self.epochs.step_after(config.retraining.epochs)
        embeddings = np.load(records / EMBEDDINGS_FILE, allow_pickle=False)
        try:
            refuse_changed_records(config, records)  # all of their files are open now
            if settings.evidence_weight:
                data = DataPaths(config.dataset, arguments.data_dir)
                self.train_split.marks = read_marks(self.train_split, data, config.evidence_sha256)
        except UserError:
            self.close()
            raise
        self.targets = self.learn_from(teachers, records) if config.distillation else None
        self.network = build_model(config, embeddings, padded=device == "gpu")
        self.ngrams = self.add_ngrams(ngrams) if config.model.ngrams == "on" else None
        self.model: Network = self.ngrams or self.network
        if config.retraining and config.retraining.thresholds:  # without validation, those that the first run chose
            thresholds_of(self.model).assign(config.retraining.thresholds)
        self.rate = rate_schedule(settings, self.epochs.total_steps, self.epochs.steps(0))
        self.momentum = momentum_schedule(settings, self.epochs.steps(0))
        self.optimizer = build_optimizer(settings, self.rate, self.momentum, self.model.trainable_variables)
        self.progress = self.restore_newest() if workers.is_chief else Progress()
        self.progress = Progress(**workers.broadcast_value(asdict(self.progress)))
        workers.broadcast(self.state())
        self.step_function = self.compile_step()
        self.training_log = self.make_log()
        self.totals = StepTotals()
        self.bar = tqdm(disable=True)
        self.stop_signal = 0

    # -- beginning ----------------------------------------------------------------------------------------------------

    def learn_from(self, teachers: Sequence[RunFolder], records: Path) -> np.ndarray:
        """What each training document is to be classified as, float32 [documents, C]: see :mod:`training.teachers`.

        The chief asks the teachers, the others hear of it.
        """
        own = np.zeros((0, len(self.config.class_names)), np.float32)
        if self.workers.is_chief:
            words = self.arguments.evaluation_batch_words
            own = training_targets(self.run, teachers, self.config, records, self.labels(), words, self.device)
        return self.workers.gather(own)

    def labels(self) -> np.ndarray:
        """The labels of the training documents that have one, as of :attr:`Split.labels`."""
        return self.train_split.labels[self.train_split.index["label"] != NO_LABEL]

    def add_ngrams(self, given: NgramTable | None) -> NetworkWithNgrams:
        """The network with the n-gram lane; a retraining, which has no validation, takes the first run's scales."""
        model = NetworkWithNgrams(self.network, NgramLane(self.ngram_table(given)))
        if self.config.retraining and self.config.retraining.ngram_scales:
            model.scales.assign(self.config.retraining.ngram_scales)
        return model

    def ngram_table(self, given: NgramTable | None) -> NgramTable:
        """The table of the n-gram lane: the run folder's, or the given one, or fitted now; saved in the run folder.

        Every worker fits its own, or is given its own.
        """
        if self.workers.is_chief and self.run.ngrams.exists():
            return read_table(self.run)
        table = self.fitted_ngrams() if given is None else given
        if self.workers.is_chief:
            save_table(self.run, table)
        return table

    def fitted_ngrams(self) -> NgramTable:
        """The table that the training documents give."""
        started = time.perf_counter()
        balanced = self.config.training.class_weights == "balanced"
        log.info("n-grams: counting those of %s training documents, and fitting", f"{len(self.train_split):,}")
        table = fit_table(self.train_split, len(self.config.class_names), balanced)
        log.info(
            "n-grams: %s of one to three words, fitted in %.0f s", f"{len(table.keys):,}", time.perf_counter() - started
        )
        return table

    def restore_newest(self) -> Progress:
        """Restores the newest usable checkpoint, if there is one; returns the progress of the run."""
        checkpoint = newest_checkpoint(self.run)
        progress = restore(checkpoint, self.model, self.optimizer) if checkpoint else Progress()
        for damaged in self.run.checkpoint_files():
            if step_of(damaged) > progress.step:
                damaged.unlink()  # newest_checkpoint reported it; new checkpoints must not be sorted before it
        return progress

    def state(self) -> list[Any]:
        """All variables that a step changes."""
        return [*saved_weights(self.model).values(), *self.optimizer.variables]

    def compile_step(self) -> Any:
        """The training step of this model and optimiser as one graph."""
        settings = self.config.training
        classes = len(self.config.class_names)
        weights = chosen_class_weights(settings, self.labels(), classes)
        soft = classes if self.targets is not None or self.config.several_labels else 0
        return compile_step(self.model, self.optimizer, settings, weights, self.workers, soft, self.draws_together)

    @property
    def draws_together(self) -> bool:
        """Whether this is one of several workers, whose dropout is to be that of one process."""
        settings = self.config.training
        return self.workers.count > 1 and (settings.dropout_keep_proba < 1 or settings.word_dropout > 0)

    def make_log(self) -> TrainingLog:
        """The log of this training, not opened yet."""
        data = DataPaths(self.config.dataset, self.arguments.data_dir)
        project = self.arguments.wandb_project if self.arguments.wandb else None
        return TrainingLog(
            self.run, self.config, data, self.valid_split, self.progress.step, self.workers.is_chief, project
        )

    # -- the whole training -------------------------------------------------------------------------------------------

    def train(self) -> int:
        """Trains to the end of the run, or to a signal; returns the exit code."""
        self.announce()
        previous = {number: signal.signal(number, self.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with self.training_log:
                reason = self.train_or_save()
        except Interrupted:
            return 128 + self.stop_signal
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.close()
        self.finish(reason)
        return 0

    def train_or_save(self) -> str:
        """Runs the remaining epochs and returns why training ended; stopped by a signal, it saves first."""
        try:
            return self.train_epochs()
        except Interrupted:
            self.save()
            log.info(
                "stopped by a signal at step %d and saved; run the same command (without --restart) to resume",
                self.progress.step,
            )
            raise

    def close(self) -> None:
        """Closes the splits."""
        self.train_split.close()
        if self.valid_split is not None:
            self.valid_split.close()

    def on_signal(self, number: int, frame: Any) -> None:
        """Records a signal; the step in progress is finished first. A second signal ends the process at once."""
        self.stop_signal = number
        signal.signal(number, signal.SIG_DFL)

    def announce(self) -> None:
        """Logs what is trained, and from which step."""
        layers = weights_by_layer(self.model)
        settings = self.config.training
        log.info(
            "run %s: %s; %s training and %s validation documents; %d epochs, %d steps on the %s",
            self.run.path,
            self.config.title(),
            f"{len(self.train_split):,}",
            "no" if self.valid_split is None else f"{len(self.valid_split):,}",
            settings.num_epochs,
            self.last_step,
            self.device.upper(),
        )
        parts = ", ".join(f"{name} {count:,}" for name, count in layers.items())
        log.info("%s weights: %s", f"{sum(layers.values()):,}", parts)
        if self.config.retraining:
            first = self.config.retraining
            log.info(
                "retraining on train and validation for %.2f epochs: %s was best after as many (step %d, validation "
                "accuracy %.2f%%)",
                first.epochs,
                first.run,
                first.step,
                100 * first.valid_accuracy,
            )
        if settings.max_sentences or settings.max_words:
            words, documents = self.train_split.cut_shares()
            log.info(
                "--max_sentences %d and --max_words %d cut off %.2f%% of the words in training, from %.2f%% of the "
                "documents; validation and test read all words",
                settings.max_sentences,
                settings.max_words,
                100 * words,
                100 * documents,
            )
        if self.progress.step:
            log.info("resuming from step %d of epoch %d", self.progress.step, self.progress.epoch + 1)

    def train_epochs(self) -> str:
        """Runs the remaining epochs; returns why training ended."""
        settings = self.config.training
        if settings.patience and self.progress.validations_without_improvement >= settings.patience:
            return "early stopping"  # the process was killed between the decision and the end
        self.totals = StepTotals()
        with self.progress_bar() as self.bar:
            while self.progress.epoch < settings.num_epochs:
                for batch in self.remaining_batches():
                    if self.config.retraining and self.progress.step == self.last_step:
                        return "the chosen number of epochs is done"
                    self.take_step(batch)
                    if self.at_evaluation() and self.evaluate_and_remember():
                        return "early stopping"
                    self.save_or_stop()
                self.progress.epoch += 1
        return "all epochs done"

    def progress_bar(self) -> Any:
        """A bar over all steps of the run; only on a terminal."""
        return tqdm(
            total=self.last_step,
            initial=self.progress.step,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    # -- one step -----------------------------------------------------------------------------------------------------

    def remaining_batches(self) -> Iterator[LabelledBatch]:
        """The batches of the current epoch that have not been trained on yet, read ahead."""
        done = self.progress.step - int(self.epochs.starts[self.progress.epoch])
        return read_ahead(self.read_part, self.epochs.batches(self.progress.epoch)[done:])

    def read_part(self, numbers: np.ndarray) -> LabelledBatch:
        """This worker's part of a joint batch (of one worker all of it), with the numbers of all documents."""
        own = self.workers.part(numbers)
        if self.draws_together:
            batch = part_of(self.train_split.read(numbers), self.workers.part(np.arange(len(numbers))))
        else:
            batch = self.train_split.read(own)
        batch = batch._replace(numbers=numbers)
        return batch if self.targets is None else batch._replace(labels=tf.constant(self.targets[own]))

    def take_step(self, batch: LabelledBatch) -> None:
        """Trains on one batch, counts it, and writes summaries when they are due."""
        seed: Any = [self.config.training.seed, self.progress.step]
        if batch.joint is not None:
            seed = JointSeed(tf.constant(seed, tf.int32), batch.joint)
        share = self.workers.share(len(batch.numbers))
        report = self.step_function(batch.documents, batch.labels, seed, share, batch.marked)
        self.progress.step += 1
        self.totals.add(len(batch.numbers), int(self.epochs.index["words"][batch.numbers].sum()), report)
        self.bar.update()
        if self.progress.step % self.arguments.log_summaries_every == 0:
            self.log_means()
        elif len(self.totals.unread) >= MOST_UNREAD:
            self.read_reports()

    def read_reports(self) -> None:
        """Fetches what the last steps reported, and ends the training where it is not finite.

        Before a summary, a validation and a checkpoint: nothing is written of a network that has diverged.
        """
        reports = self.totals.read()
        for step, report in enumerate(reports, start=self.progress.step - len(reports) + 1):
            self.refuse_not_finite({"loss": report["loss"], "gradient's norm": report["gradient_norm"]}, step)

    def refuse_not_finite(self, values: dict[str, float], step: int) -> None:
        """Ends the training when a value is NaN or infinite; no weights were saved since it was finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise UserError(
                    f"the {name} became {value} at step {step}; start again with --restart and a "
                    f"lower --learning_rate (now {self.config.training.learning_rate}) or --max_grad_norm; earlier "
                    "checkpoints are kept"
                )

    def log_means(self) -> None:
        """Writes the means since the last call to TensorBoard and, as one line, to the log."""
        self.read_reports()
        means = self.totals.means()
        means |= self.rates()
        self.totals = StepTotals()
        step = self.progress.step
        self.training_log.training(step, means)
        self.log_line(
            "step %5d  epoch %.2f  loss %.4f  accuracy %.2f%%  gradient %.2f  rate %.6f  momentum %.3f  "
            "%.0f documents/s",
            step,
            self.epochs.passed(step),
            means["loss"],
            100 * means["accuracy"],
            means["gradient_norm"],
            means["learning_rate"],
            means["momentum"],
            means["documents_per_second"],
        )

    def rates(self) -> dict[str, float]:
        """Learning rate and momentum of the last step."""
        step = self.progress.step - 1
        momentum = self.config.training.momentum if self.momentum is None else float(self.momentum(step))
        return {"learning_rate": float(self.rate(step)), "momentum": momentum}

    def log_line(self, message: str, *values: Any) -> None:
        """Logs a line without breaking the progress bar."""
        self.bar.clear()
        log.info(message, *values)

    # -- validation ---------------------------------------------------------------------------------------------------

    def at_evaluation(self) -> bool:
        """Whether validation is due after this step: at the chosen interval, else twice an epoch; always at the end."""
        settings, step = self.config.training, self.progress.step
        if self.config.retraining:
            return False
        if step == self.epochs.total_steps:
            return True
        if settings.evaluate_every:
            return step % settings.evaluate_every == 0
        steps = self.epochs.steps(self.progress.epoch)
        within_epoch = step - int(self.epochs.starts[self.progress.epoch])
        return within_epoch % math.ceil(steps / EVALUATIONS_PER_EPOCH) == 0 or within_epoch == steps

    def evaluate_and_remember(self) -> bool:
        """Validates, keeps the weights if they are the best so far; returns whether to stop early."""
        self.read_reports()
        started = time.perf_counter()
        self.workers.synchronise(self.state())
        figures = self.validate()
        self.refuse_not_finite({"validation loss": figures.loss}, self.progress.step)
        progress, patience = self.progress, self.config.training.patience
        better = self.is_better(figures)
        if better:
            progress.best_step, progress.best_loss, progress.best_accuracy = (
                progress.step,
                figures.loss,
                figures.accuracy,
            )
        progress.validations_without_improvement = 0 if better else progress.validations_without_improvement + 1
        self.log_line(
            "step %5d  validation loss %.4f  accuracy %.2f%%%s",
            progress.step,
            figures.loss,
            100 * figures.accuracy,
            "  best so far" if better else f"  best {100 * progress.best_accuracy:.2f}% at {progress.best_step}",
        )
        if better and self.workers.is_chief:
            save_weights(self.run.best, self.model, progress, run=self.identity)
        epoch = self.epochs.passed(progress.step)
        self.training_log.validation(progress.step, epoch, figures, better, self.rates())
        self.training_log.model(progress.step, self.model)
        self.totals.started += time.perf_counter() - started  # the reported speed is that of training alone
        return bool(patience) and progress.validations_without_improvement >= patience

    def is_better(self, figures: Validation) -> bool:
        """Whether the weights in memory are better than the best so far: by accuracy, and by loss where that is equal.

        The accuracy on few documents is too coarse, and while the network has learnt little it is the n-gram lane's: of
        a network with n-grams, whose scales make the loss comparable, the loss decides there. A handful of documents
        says nothing of a step: the last weights are the best.
        """
        best = self.progress
        if self.ngrams is not None and self.valid_split is not None and len(self.valid_split) < FEW_VALIDATED:
            return len(self.valid_split) < FEWEST_VALIDATED or figures.loss < best.best_loss
        if self.config.several_labels:  # thresholds move the accuracy, the loss is of the probabilities alone
            return figures.loss < best.best_loss
        return (figures.accuracy, -figures.loss) > (best.best_accuracy, -best.best_loss)

    def validate(self) -> Validation:
        """The figures of the weights in memory on validation."""
        if self.valid_split is None:
            raise ValueError("a retraining has no validation")
        words, classes = self.arguments.evaluation_batch_words, len(self.config.class_names)
        if self.ngrams is None:
            return validate(self.network, self.valid_split, words, classes, self.workers)
        return validate(self.network, self.valid_split, words, classes, self.workers, self.beside_ngrams)

    def beside_ngrams(self, logits: np.ndarray, labels: np.ndarray) -> Any:
        """Fits the scales of network and n-gram lane; returns the logits of both as one, float32 [documents, C].

        Args:
            logits: float32 [documents, C], of the network for the validation split.
            labels: int32 [documents].
        """
        if self.ngrams is None:
            raise ValueError("the run has no n-grams")
        fit = fit_scales_of_several if self.config.several_labels else fit_scales
        self.ngrams.scales.assign(fit(logits, self.lane_on_valid, labels))
        network, lane = self.ngrams.scales.numpy()
        self.log_line("step %5d  scale of the network %.2f, of the n-grams %.2f", self.progress.step, network, lane)
        return self.ngrams.combined(logits, self.lane_on_valid)

    @functools.cached_property
    def lane_on_valid(self) -> np.ndarray:
        """float32 [documents, C], the logits of the n-gram lane for the validation split."""
        if self.ngrams is None or self.valid_split is None:
            raise ValueError("the run has no n-grams, or no validation")
        return logits_of_split(self.ngrams.lane, self.valid_split, self.arguments.evaluation_batch_words)

    # -- saving -------------------------------------------------------------------------------------------------------

    def save_or_stop(self) -> None:
        """Saves a checkpoint when one is due; stops after a signal."""
        is_due = self.progress.step % self.workers.signal_steps == 0
        if is_due and (agreed := self.workers.signal_of_any(self.stop_signal)):
            self.stop_signal = agreed
            raise Interrupted
        if self.progress.step % self.arguments.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint and deletes the oldest beyond ``--num_checkpoints``."""
        self.read_reports()
        if not self.workers.is_chief:
            return
        path = self.run.checkpoints / f"step-{self.progress.step:08d}.safetensors"
        save_weights(path, self.model, self.progress, self.optimizer, self.identity)
        for old in self.run.checkpoint_files()[: -self.arguments.num_checkpoints]:
            old.unlink(missing_ok=True)

    def finish(self, reason: str) -> None:
        """Saves, draws, and last marks the run as finished, so that a finished run is complete."""
        self.save()
        if not self.workers.is_chief:
            log.info(
                "finished (%s) after %d steps; the run folder is on the chief's machine", reason, self.progress.step
            )
            return
        if self.config.retraining:
            save_weights(self.run.best, self.model, self.progress, run=self.identity)
        self.training_log.draw(self.progress.step)
        self.run.finish(reason, self.progress)
        if self.config.retraining:
            log.info("finished after %d steps; test it: %s", self.progress.step, tester_command(self.arguments))
            return
        log.info(
            "finished (%s) after %d steps; best validation accuracy %.2f%% at step %d; test it: %s",
            reason,
            self.progress.step,
            100 * self.progress.best_accuracy,
            self.progress.best_step,
            tester_command(self.arguments),
        )
