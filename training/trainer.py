"""A training run: begun or resumed, from the first step to the last."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import (
    ModelSettings,
    RangeTestSettings,
    TrainingSettings,
)
from runtime.devices import explain_memory, start_tensorflow
from runtime.workers import SINGLE_WORKER, SingleWorker
from utils import (
    DataPaths,
    UserError,
    check_writable,
    exclusive_lock,
    log,
    tester_command,
    write_json,
)

if TYPE_CHECKING:
    import numpy as np

    from runtime.input_pipeline import LabelledBatch
    from runtime.run_folder import Progress, RunConfig, RunFolder
    from runtime.scoring import Validation
    from training.log import TrainingLog


EVALUATIONS_PER_EPOCH = 2


LESS_MEMORY = (
    "lower --batch_size (in validation --evaluation_batch_words) or the flags that size the network, for example "
    "--word_units, and run the same command again"
)


def begin_or_go_on(
    run: RunFolder, config: RunConfig, records: Path, arguments: argparse.Namespace, workers: SingleWorker
) -> int:
    """Makes or checks the run folder, which is the chief's alone, and trains; returns the exit code."""
    refusal = f"another trainer is at work on {run.path}; wait for it, stop it, or choose another --run NAME"
    with exclusive_lock(run.lock, refusal):
        going_on = run.exists() and run.has_weights() and not arguments.restart
        if going_on:
            run.refuse_other_settings(config)
            if run.finished.exists():
                log.info("the run in %s is finished; test it: %s", run.path, tester_command(arguments))
                return 0
        device = start_together(arguments, workers)
        if arguments.restart and (run.exists() or run.has_weights()):  # now that nothing is left to refuse
            log.info("the run that was in %s is now in %s", run.path, run.put_aside())
        run.remove_leftovers()
        if not going_on:
            run.create(config, records)
        with explain_memory(LESS_MEMORY), workers.explain():
            return Trainer(run, config, records, device, arguments, workers).train()


def help_chief(
    run: RunFolder, config: RunConfig, records: Path, arguments: argparse.Namespace, workers: SingleWorker
) -> int:
    """Trains as one of the workers beside the chief, without a run folder; returns the exit code."""
    device = start_together(arguments, workers)
    with explain_memory(LESS_MEMORY), workers.explain():
        return Trainer(run, config, records, device, arguments, workers).train()


def start_together(arguments: argparse.Namespace, workers: SingleWorker) -> str:
    """Starts TensorFlow on all workers, now that the chief has nothing left to refuse; returns the device."""
    workers.start()
    return start_tensorflow(arguments.device, arguments.per_process_gpu_memory_fraction, workers.connect)


def check_splits(records: Path, config: RunConfig) -> None:
    """Refuses records without validation documents, before anything is written."""
    from text.records import index_name

    if not (records / index_name("valid")).exists():
        raise UserError(
            f"{records} has no validation documents; make some: python create_csv.py {config.dataset} "
            "--valid_share 0.1 and serialise again"
        )


def find_rates(
    run: RunFolder, config: RunConfig, records: Path, arguments: argparse.Namespace, test: RangeTestSettings
) -> int:
    """Runs the learning-rate range test and tells what it found; returns the exit code."""
    from training.lr_range import run_range_test, tell

    check_writable(run.path.parent)
    device = start_tensorflow(arguments.device, arguments.per_process_gpu_memory_fraction)
    with explain_memory(LESS_MEMORY):
        outcome = run_range_test(config, records, device, test)
    tell(outcome, config, test, run)
    return 0


def run_config(
    arguments: argparse.Namespace,
    model: ModelSettings,
    training: TrainingSettings,
    records: Path,
    manifest: dict[str, Any],
) -> RunConfig:
    """The run that the flags and the records ask for."""
    import numpy as np

    from runtime.run_folder import RunConfig
    from utils import sha256_of_json

    embeddings = np.load(records / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    if arguments.embedding_dim not in {None, embeddings.shape[1]}:
        raise UserError(
            f"--embedding_dim {arguments.embedding_dim} does not fit the word vectors in {records} "
            f"({embeddings.shape[1]}); make them anew: python serialize_data.py {arguments.dataset} "
            f"--embedding_dim {arguments.embedding_dim}"
        )
    names = [name for name in (records / "labels.txt").read_text(encoding="utf-8").split("\n") if name]
    vocabulary_size, embedding_dim = map(int, embeddings.shape)
    return RunConfig(
        arguments.dataset,
        arguments.model,
        model,
        training,
        tuple(names),
        vocabulary_size,
        embedding_dim,
        sha256_of_json(manifest),
    )


# ---------------------------------------------------------------------------------------------------------------------
# The whole run


class Interrupted(Exception):
    """A signal asked for an end; the run is saved."""


class Trainer:
    """A run in progress: the model, its optimiser, the data and where it stands.

    Args:
        run: The run folder, already begun.
        config: Of the run.
        records: Folder of the records.
        device: ``"cpu"`` or ``"gpu"``, as :func:`runtime.devices.start_tensorflow` said.
        arguments: The operational flags (intervals).
        workers: Who trains together. The chief alone touches the run folder.
    """

    def __init__(
        self,
        run: RunFolder,
        config: RunConfig,
        records: Path,
        device: str,
        arguments: argparse.Namespace,
        workers: SingleWorker = SINGLE_WORKER,
    ) -> None:
        import numpy as np

        from runtime.input_pipeline import Epochs, Split
        from runtime.networks import build_model
        from runtime.run_folder import Progress

        settings = config.training
        self.run, self.config, self.device, self.arguments, self.workers = run, config, device, arguments, workers
        names = "train+valid" if config.retraining else "train"
        self.train_split = Split(records, names, settings.max_sentences, settings.max_words)
        self.valid_split = None if config.retraining else Split(records, "valid")
        self.epochs = Epochs(self.train_split.index, settings)
        self.last_step = self.epochs.total_steps
        if config.retraining:
            self.last_step = self.epochs.step_after(config.retraining.epochs)
        embeddings = np.load(records / "embeddings.npy", allow_pickle=False)
        self.model = build_model(config, embeddings, padded=self.device == "gpu")
        self.optimizer = self.build_optimizer()
        self.progress = self.pick_up() if workers.is_chief else Progress()
        self.progress = Progress(**workers.broadcast_value(asdict(self.progress)))
        workers.broadcast(self.state())
        self.step_function = self.compile_step()
        self.stop_signal = 0

    def pick_up(self) -> Progress:
        """Restores the newest checkpoint, if there is one; returns where the run stands."""
        from runtime.checkpoints import newest_checkpoint, restore, step_of
        from runtime.run_folder import Progress

        self.identity = self.run.identity()
        checkpoint = newest_checkpoint(self.run)
        progress = restore(checkpoint, self.model, self.optimizer) if checkpoint else Progress()
        for damaged in self.run.checkpoint_files():
            if step_of(damaged) > progress.step:
                damaged.unlink()  # newest_checkpoint told of it; new checkpoints must not sort before it
        return progress

    def state(self) -> list[Any]:
        """All variables that a step changes."""
        return [*self.model.named_weights().values(), *self.optimizer.variables]

    def build_optimizer(self) -> Any:
        """The optimiser on the run's schedules of learning rate and momentum."""
        from training.optimizers import build_optimizer
        from training.schedules import momentum_schedule, rate_schedule

        settings = self.config.training
        self.rate = rate_schedule(settings, self.epochs.total_steps, self.epochs.steps(0))
        self.momentum = momentum_schedule(settings, self.epochs.steps(0))
        return build_optimizer(settings, self.rate, self.momentum, self.model.trainable_variables)

    def compile_step(self) -> Any:
        """The training step of this model and optimiser as one graph."""
        from training.step import chosen_class_weights, compile_step

        settings = self.config.training
        weights = chosen_class_weights(settings, self.train_split.index["label"], len(self.config.class_names))
        return compile_step(self.model, self.optimizer, settings, weights, self.workers)

    def train(self) -> int:
        """Trains to the end of the run, or to a signal; returns the exit code."""
        self.announce()
        previous = {number: signal.signal(number, self.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            with self.open_log() as self.training_log:
                reason = self.train_or_save()
        except Interrupted:
            return 128 + self.stop_signal
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.close()
        self.finish(reason)
        return 0

    def open_log(self) -> TrainingLog:
        """Where this training writes what it finds."""
        from training.log import TrainingLog

        data = DataPaths(self.config.dataset, self.arguments.data_dir)
        project = self.arguments.wandb_project if self.arguments.wandb else None
        return TrainingLog(
            self.run, self.config, data, self.valid_split, self.progress.step, self.workers.is_chief, project
        )

    def train_or_save(self) -> str:
        """Runs the remaining epochs and returns why training ended; stopped by a signal, it saves first."""
        try:
            return self.train_epochs()
        except Interrupted:
            self.save()
            log.info(
                "stopped by a signal at step %d, saved; the same command (without --restart) goes on from here",
                self.progress.step,
            )
            raise

    def close(self) -> None:
        """Closes the splits."""
        self.train_split.close()
        if self.valid_split is not None:
            self.valid_split.close()

    def on_signal(self, number: int, frame: Any) -> None:
        """Remembers that a signal came; the step in progress is finished first. A second one ends it all."""
        self.stop_signal = number
        signal.signal(number, signal.SIG_DFL)

    def announce(self) -> None:
        """Says what is about to be trained, and from where."""
        from runtime.networks import weights_by_layer

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
                "retraining on train and validation for %.2f epochs, after which %s was best (step %d, validation "
                "accuracy %.2f%%)",
                first.epochs,
                first.run,
                first.step,
                100 * first.valid_accuracy,
            )
        if settings.max_sentences or settings.max_words:
            words, documents = self.train_split.cut_shares()
            log.info(
                "in training --max_sentences %d and --max_words %d cut %.2f%% of the words, in %.2f%% of the "
                "documents; validation and test read all",
                settings.max_sentences,
                settings.max_words,
                100 * words,
                100 * documents,
            )
        if self.progress.step:
            log.info("going on from step %d of epoch %d", self.progress.step, self.progress.epoch + 1)

    def train_epochs(self) -> str:
        """Runs the remaining epochs; returns why training ended."""
        from training.step import StepTotals

        settings = self.config.training
        if settings.patience and self.progress.fruitless >= settings.patience:
            return "early stopping"  # it was killed between the decision and the end
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
        """A bar over all steps of the run; invisible unless standard error is a terminal."""
        from tqdm import tqdm

        return tqdm(
            total=self.last_step,
            initial=self.progress.step,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def remaining_batches(self) -> Iterator[LabelledBatch]:
        """The batches of the current epoch that have not been trained on yet, read ahead."""
        from runtime.input_pipeline import read_ahead

        done = self.progress.step - int(self.epochs.starts[self.progress.epoch])
        return read_ahead(self.read_part, self.epochs.batches(self.progress.epoch)[done:])

    def read_part(self, numbers: np.ndarray) -> LabelledBatch:
        """This worker's part of a joint batch (all of it, where there is one worker), with the numbers of all."""
        return self.train_split.read(self.workers.part(numbers))._replace(numbers=numbers)

    def take_step(self, batch: LabelledBatch) -> None:
        """Trains on one batch, counts it, and writes summaries when they are due."""
        seed = [self.workers.seed(self.config.training.seed), self.progress.step]
        share = self.workers.share(len(batch.numbers))
        reported = self.step_function(batch.documents, batch.labels, seed, share)
        report = {name: float(value) for name, value in reported.items()}
        self.refuse_not_finite({"loss": report["loss"], "gradient's norm": report["gradient_norm"]})
        self.progress.step += 1
        self.totals.add(len(batch.numbers), int(self.epochs.index["words"][batch.numbers].sum()), report)
        self.bar.update()
        if self.progress.step % self.arguments.log_summaries_every == 0:
            self.summarise()

    def refuse_not_finite(self, values: dict[str, float]) -> None:
        """Ends the run with one line when something is NaN or infinite; nothing was saved since it was not."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise UserError(
                    f"the {name} became {value} at step {self.progress.step + 1}; begin anew with --restart and a "
                    f"lower --learning_rate (now {self.config.training.learning_rate}) or --max_grad_norm; what was "
                    "saved before is kept"
                )

    def summarise(self) -> None:
        """Writes the means since the last time to TensorBoard and, as one line, to the log."""
        from training.step import StepTotals

        means = self.totals.means()
        means |= self.pace()
        self.totals = StepTotals()
        step = self.progress.step
        self.training_log.training(step, means)
        self.say(
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

    def pace(self) -> dict[str, float]:
        """Learning rate and momentum of the step taken last."""
        step = self.progress.step - 1
        momentum = self.config.training.momentum if self.momentum is None else float(self.momentum(step))
        return {"learning_rate": float(self.rate(step)), "momentum": momentum}

    def say(self, message: str, *values: Any) -> None:
        """Logs a line without breaking the progress bar."""
        self.bar.clear()
        log.info(message, *values)

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
        from runtime.checkpoints import save_weights

        started = time.perf_counter()
        self.workers.synchronise(self.state())
        found = self.validate()
        self.refuse_not_finite({"validation loss": found.loss})
        progress, patience = self.progress, self.config.training.patience
        better = (found.accuracy, -found.loss) > (progress.best_accuracy, -progress.best_loss)
        if better:
            progress.best_step, progress.best_loss, progress.best_accuracy = progress.step, found.loss, found.accuracy
        progress.fruitless = 0 if better else progress.fruitless + 1
        self.say(
            "step %5d  validation loss %.4f  accuracy %.2f%%%s",
            progress.step,
            found.loss,
            100 * found.accuracy,
            "  best so far" if better else f"  best {100 * progress.best_accuracy:.2f}% at {progress.best_step}",
        )
        if better and self.workers.is_chief:
            save_weights(self.run.best, self.model, progress, run=self.identity)
        epoch = self.epochs.passed(progress.step)
        self.training_log.validation(progress.step, epoch, found, better, self.pace())
        self.training_log.model(progress.step, self.model)
        self.totals.started += time.perf_counter() - started  # rates speak of training alone
        return bool(patience) and progress.fruitless >= patience

    def validate(self) -> Validation:
        """What the weights in memory do on validation."""
        if self.valid_split is None:
            raise ValueError("a retraining has no validation")
        from runtime.scoring import validate

        words = self.arguments.evaluation_batch_words
        return validate(self.model, self.valid_split, words, len(self.config.class_names), self.workers)

    def save_or_stop(self) -> None:
        """Saves a checkpoint when one is due; ends the run if a signal came."""
        if agreed := self.workers.signal_of_any(self.stop_signal):
            self.stop_signal = agreed
            raise Interrupted
        if self.progress.step % self.arguments.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint and deletes the oldest beyond ``--num_checkpoints``."""
        from runtime.checkpoints import save_weights

        if not self.workers.is_chief:
            return
        path = self.run.checkpoints / f"step-{self.progress.step:08d}.safetensors"
        save_weights(path, self.model, self.progress, self.optimizer, self.identity)
        for old in self.run.checkpoint_files()[: -self.arguments.num_checkpoints]:
            old.unlink(missing_ok=True)

    def finish(self, reason: str) -> None:
        """Saves, draws, and marks the run as finished: last, so that a run which says so lacks nothing."""
        from runtime.checkpoints import save_weights

        self.save()
        if not self.workers.is_chief:
            log.info("finished (%s) after %d steps; the run is on the chief's machine", reason, self.progress.step)
            return
        if self.config.retraining:
            save_weights(self.run.best, self.model, self.progress, run=self.identity)
        self.training_log.draw(self.progress.step)
        progress = asdict(self.progress)
        write_json(self.run.finished, {"reason": reason, **progress})
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
