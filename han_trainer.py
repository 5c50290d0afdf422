"""Trains a Hierarchical Attention Network, or a network to compare it with, on serialised records.

    python han_trainer.py --run_type train
    nohup python3 han_trainer.py --run_type "train" >> train.out &
    python han_trainer.py --run_type train --model cnn
    python han_trainer.py --run_type lr_range       where learning begins and ends: suggests learning rates
    python han_trainer.py --run_type retrain        once more on train + validation, as long as a finished run was best

Killed at any instant, the same command goes on from the last checkpoint and, on a CPU, ends with the same weights, bit
for bit: the order of documents is a pure function of (seed, epoch), dropout of (seed, step).
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import math
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import (
    ModelSettings,
    TrainingSettings,
    add_flags,
    add_model_flag,
    check_range,
    model_settings_from_flags,
    settings_from_flags,
    to_json,
)
from devices import explain_memory, start_tensorflow
from distributed import ALONE, Alone, meet_workers
from tracking import check_installed
from utils import (
    DataPaths,
    Parser,
    UserError,
    append_jsonl,
    atomic_write,
    dataset_name,
    exclusive_lock,
    log,
    read_jsonl,
    run_flags,
    run_path,
    run_script,
    write_json,
    write_jsonl,
)

if TYPE_CHECKING:
    import numpy as np

    from input_pipeline import Batch
    from run_folder import Progress, RunConfig, RunFolder
    from summaries import SummaryWriter
    from text_panel import TextPanel
    from tracking import WandbRun

EVALUATIONS_PER_EPOCH = 2
RUN_TYPES = ("train", "lr_range", "retrain")
LESS_MEMORY = (
    "lower --batch_size (in validation --evaluation_batch_words) or the flags that size the network, for example "
    "--word_units, and run the same command again"
)


def build_parser() -> Parser:
    """The command line; every setting of the model and of training is a flag."""
    parser = Parser(prog="han_trainer.py", description=__doc__)
    parser.add_argument("--dataset", default="imdb", type=dataset_name, help="name of the data set (default: imdb)")
    parser.add_argument("--run_type", default="train", choices=RUN_TYPES, help="what to do (default: train)")
    add_model_flag(parser, "network to train: han, or bilstm or cnn to compare it with")
    parser.add_argument("--run", help="name of the run folder (default: <dataset>-<model>)")
    parser.add_argument("--restart", action="store_true", help="put an existing run aside and begin anew")
    parser.add_argument("--data_dir", type=Path, default=Path("data"), help="folder of the data sets (default: data)")
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"), help="folder of the runs (default: runs)")
    parser.add_argument(
        "--embedding_dim",
        type=int,
        help="size of a word vector, if it must be checked: it is that of the records (default: as serialised)",
    )
    parser.add_argument("--log_summaries_every", type=int, default=50, help="steps between summaries (default: 50)")
    parser.add_argument("--checkpoint_every", type=int, default=200, help="steps between checkpoints (default: 200)")
    parser.add_argument("--num_checkpoints", type=int, default=3, help="checkpoints to keep (default: 3)")
    parser.add_argument(
        "--evaluation_batch_words",
        type=int,
        default=40_000,
        help="most words in a validation batch: the ceiling of its memory (default: 40000)",
    )
    parser.add_argument(
        "--device",
        default="auto",
        choices=("auto", "cpu", "gpu"),
        help="auto takes a GPU where TensorFlow sees one (default: auto)",
    )
    parser.add_argument(
        "--per_process_gpu_memory_fraction",
        type=float,
        default=0.0,
        help="share of the GPU's memory to take at most; 0 grows as needed (default: 0)",
    )
    parser.add_argument(
        "--wait_for_workers",
        type=float,
        default=600.0,
        help="seconds to wait for the other machines that TF_CONFIG names (default: 600)",
    )
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="send settings and curves to Weights and Biases, or keep them for it with WANDB_MODE=offline",
    )
    parser.add_argument("--wandb_project", default="han", help="name of the project there (default: han)")
    add_range_flags(parser)
    add_flags(parser, ModelSettings, unset=True)
    add_flags(parser, TrainingSettings)
    return parser


def add_range_flags(parser: Parser) -> None:
    """The flags of the learning-rate range test."""
    group = parser.add_argument_group("--run_type lr_range")
    group.add_argument("--lr_min", type=float, default=1e-5, help="learning rate at the start (default: 1e-05)")
    group.add_argument("--lr_max", type=float, default=1.0, help="learning rate at the end (default: 1)")
    group.add_argument("--lr_steps", type=int, default=200, help="steps from the one to the other (default: 200)")
    group.add_argument(
        "--lr_scale",
        choices=("exponential", "linear"),
        default="exponential",
        help="how the learning rate rises (default: exponential)",
    )


def main(arguments: argparse.Namespace) -> int:
    """Trains until the last epoch or early stopping; returns the exit code."""
    check_intervals(arguments)
    if arguments.wandb:
        check_installed()
    model_settings = model_settings_from_flags(arguments)
    training_settings = settings_from_flags(TrainingSettings, arguments)
    from records import verify_records
    from run_folder import RunFolder

    records = DataPaths(arguments.dataset, arguments.data_dir).records
    manifest = verify_records(records)
    run = RunFolder(run_path(arguments.runs_dir, arguments.run, arguments.dataset, arguments.model))
    config = run_config(arguments, model_settings, training_settings, records, manifest)
    if arguments.run_type == "lr_range":
        return find_rates(run, config, records, arguments)
    if arguments.run_type == "retrain":
        config = retraining_config(run, config)
        run = RunFolder(run.path.with_name(f"{run.path.name}-retrained"))
        arguments.run = run.path.name  # from here on a run like any other
    check_splits(records, config)
    agreed = {**config.flat(), "evaluation_batch_words": arguments.evaluation_batch_words}
    with meet_workers(agreed, arguments.wait_for_workers) as workers:
        if workers.is_chief:
            return begin_or_go_on(run, config, records, arguments, workers)
        return help_chief(run, config, records, arguments, workers)


def begin_or_go_on(
    run: RunFolder, config: RunConfig, records: Path, arguments: argparse.Namespace, workers: Alone
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


def help_chief(run: RunFolder, config: RunConfig, records: Path, arguments: argparse.Namespace, workers: Alone) -> int:
    """Trains as one of the workers beside the chief, without a run folder; returns the exit code."""
    device = start_together(arguments, workers)
    with explain_memory(LESS_MEMORY), workers.explain():
        return Trainer(run, config, records, device, arguments, workers).train()


def start_together(arguments: argparse.Namespace, workers: Alone) -> str:
    """Starts TensorFlow on all workers, now that the chief has nothing left to refuse; returns the device."""
    workers.go()
    return start_tensorflow(arguments.device, arguments.per_process_gpu_memory_fraction, workers.connect)


def check_splits(records: Path, config: RunConfig) -> None:
    """Refuses records without validation documents, before anything is written."""
    from records import index_name

    if not (records / index_name("valid")).exists():
        raise UserError(
            f"{records} has no validation documents; make some: python create_csv.py {config.dataset} "
            "--valid_share 0.1 and serialise again"
        )


def find_rates(run: RunFolder, config: RunConfig, records: Path, arguments: argparse.Namespace) -> int:
    """Runs the learning-rate range test and writes what it found beside the run; returns the exit code."""
    from lr_range import RangeTest, run_range_test, summary, write_outcome
    from run_folder import RunFolder

    test = RangeTest(arguments.lr_min, arguments.lr_max, arguments.lr_steps, arguments.lr_scale)
    device = start_tensorflow(arguments.device, arguments.per_process_gpu_memory_fraction)
    with explain_memory(LESS_MEMORY):
        outcome = run_range_test(config, records, device, test)
    place = RunFolder(run.path.with_name(f"{run.path.name}-lr_range"))
    if place.path.exists():
        log.info("the result that was in %s is now in %s", place.path, place.put_aside())
    write_outcome(place.path, outcome, config, test)
    print(f"{summary(outcome, test)}\n\nWritten: {place.path}/lr_range.png, .csv, .json", flush=True)
    return 0


def retraining_config(first: RunFolder, asked: RunConfig) -> RunConfig:
    """The configuration of a retraining: that of a finished run, and the epochs after which it was best.

    Args:
        first: The finished run.
        asked: What flags and records ask for: a retraining leaves nothing to choose.

    Raises:
        UserError: The run is not finished, was made from other records, or a flag asks for another setting.
    """
    from run_folder import Retraining, read_checkpoint

    if not first.finished.exists():
        raise UserError(
            f"{first.path} is not a finished run; train it first, then retrain with --run {first.path.name}"
        )
    config = first.config()
    if config.retraining:
        raise UserError(f"{first.path} was trained on validation already; retrain {config.retraining.run}")
    if config.records_sha256 != asked.records_sha256:
        raise UserError(f"the records are not what {first.path} was trained on; train it again with --restart")
    for settings, wanted in ((config.model, asked.model), (config.training, asked.training)):
        for name, value in to_json(wanted).items():
            if value not in {getattr(settings, name), getattr(type(settings)(), name)}:
                raise UserError(
                    f"--{name} {value}: a retraining takes the settings of {first.path}, which has "
                    f"{getattr(settings, name)}; leave the flag out, or train another --run"
                )
    best = read_checkpoint(first.best)
    (row,) = (row for row in read_jsonl(first.history) if row["step"] == best.progress.step)
    chosen = Retraining(
        first.path.name, best.weights_sha256, best.progress.step, row["epoch"], best.progress.best_accuracy
    )
    return dataclasses.replace(config, retraining=chosen)


def tester_command(arguments: argparse.Namespace) -> str:
    """What to type to test this run."""
    return shlex.join(["python", "han_tester.py", "--run_type", "test", *run_flags(arguments)])


def check_intervals(arguments: argparse.Namespace) -> None:
    """Refuses counts that make no sense."""
    for name in ("log_summaries_every", "checkpoint_every", "num_checkpoints", "evaluation_batch_words"):
        check_range(name, getattr(arguments, name), 1)
    check_range("lr_steps", arguments.lr_steps, 20)
    check_range("lr_min", arguments.lr_min, 1e-12)
    check_range("lr_max", arguments.lr_max, 1e-12)
    if arguments.lr_max <= arguments.lr_min:
        raise UserError(f"--lr_max {arguments.lr_max} is not above --lr_min {arguments.lr_min}; give it a higher value")
    check_range("per_process_gpu_memory_fraction", arguments.per_process_gpu_memory_fraction, 0, 1)
    check_range("wait_for_workers", arguments.wait_for_workers, 1)


def run_config(
    arguments: argparse.Namespace,
    model: ModelSettings,
    training: TrainingSettings,
    records: Path,
    manifest: dict[str, Any],
) -> RunConfig:
    """The run that the flags and the records ask for."""
    import numpy as np

    from run_folder import RunConfig
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
        device: ``"cpu"`` or ``"gpu"``, as :func:`devices.start_tensorflow` said.
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
        workers: Alone = ALONE,
    ) -> None:
        import numpy as np

        from input_pipeline import Epochs, Split
        from run_folder import Progress, build_model

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
        self.progress = Progress(**workers.from_chief(asdict(self.progress)))
        workers.hand_out(self.state())
        self.step_function = self.compile_step()
        self.stop_signal = 0

    def pick_up(self) -> Progress:
        """Restores the newest checkpoint, if there is one; returns where the run stands."""
        from run_folder import Progress, newest_checkpoint, restore, step_of

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
        from optimizers import build_optimizer
        from schedules import momentum_schedule, rate_schedule

        settings = self.config.training
        self.rate = rate_schedule(settings, self.epochs.total_steps, self.epochs.steps(0))
        self.momentum = momentum_schedule(settings, self.epochs.steps(0))
        return build_optimizer(settings, self.rate, self.momentum, self.model.trainable_variables)

    def compile_step(self) -> Any:
        """The training step of this model and optimiser as one graph."""
        from training import balanced_class_weights, compile_step

        settings, weights = self.config.training, None
        if settings.class_weights == "balanced":
            weights = balanced_class_weights(self.train_split.index["label"], len(self.config.class_names))
        return compile_step(self.model, self.optimizer, settings, weights, self.workers)

    def train(self) -> int:
        """Trains to the end of the run, or to a signal; returns the exit code."""
        self.announce()
        if self.workers.is_chief:
            forget_later_history(self.run, self.progress.step)
        previous = {number: signal.signal(number, self.on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        self.tracker = self.start_tracking()
        code = 1
        try:
            with (
                self.summary_writer("train") as self.train_summaries,
                self.summary_writer("valid") as self.valid_summaries,
            ):
                reason = self.train_epochs()
            code = 0
        except Interrupted:
            code = 128 + self.stop_signal
            self.save()
            log.info(
                "stopped by a signal at step %d, saved; the same command (without --restart) goes on from here",
                self.progress.step,
            )
            return code
        finally:
            if self.tracker:
                self.tracker.finish(code)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self.close()
        self.finish(reason)
        if self.workers.is_chief:
            draw_training(self.run, self.config.class_names, self.progress.step)
        return 0

    def summary_writer(self, split: str) -> SummaryWriter:
        """Writes curves for TensorBoard, behind those of the run's earlier processes."""
        from summaries import SilentWriter, SummaryWriter

        if not self.workers.is_chief:
            return SilentWriter()
        return SummaryWriter(self.run.tensorboard / split, resume_step=self.progress.step or None)

    def start_tracking(self) -> WandbRun | None:
        """The run on Weights and Biases, if it is asked for; the chief alone tells of it."""
        if not self.arguments.wandb or not self.workers.is_chief:
            return None
        from tracking import WandbRun

        return WandbRun(self.run.path, self.arguments.wandb_project, self.config.to_json())

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
        from run_folder import weights_by_layer

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
        from training import StepTotals

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

    def remaining_batches(self) -> Iterator[Batch]:
        """The batches of the current epoch that have not been trained on yet, read ahead."""
        from input_pipeline import read_ahead

        done = self.progress.step - int(self.epochs.starts[self.progress.epoch])
        return read_ahead(self.read_part, self.epochs.batches(self.progress.epoch)[done:])

    def read_part(self, numbers: np.ndarray) -> Batch:
        """This worker's part of a joint batch (all of it, where there is one worker), with the numbers of all."""
        return self.train_split.read(self.workers.part(numbers))._replace(numbers=numbers)

    def take_step(self, batch: Batch) -> None:
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
        from training import StepTotals

        means = self.totals.means()
        means |= self.pace()
        self.totals = StepTotals()
        step = self.progress.step
        self.train_summaries.scalars(step, means)
        if self.workers.is_chief:
            append_jsonl(self.run.steps, {"step": step, **means})
        if self.tracker:
            self.tracker.scalars(step, "train", means)
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
        started = time.perf_counter()
        self.workers.keep_in_step(self.state())
        loss, accuracy, class_accuracy, entropy = self.validate()
        self.refuse_not_finite({"validation loss": loss})
        progress, patience = self.progress, self.config.training.patience
        better = (accuracy, -loss) > (progress.best_accuracy, -progress.best_loss)
        if better:
            progress.best_step, progress.best_loss, progress.best_accuracy = progress.step, loss, accuracy
        progress.fruitless = 0 if better else progress.fruitless + 1
        self.say(
            "step %5d  validation loss %.4f  accuracy %.2f%%%s",
            progress.step,
            loss,
            100 * accuracy,
            "  best so far" if better else f"  best {100 * progress.best_accuracy:.2f}% at {progress.best_step}",
        )
        if self.workers.is_chief:
            self.remember(loss, accuracy, class_accuracy, better)
        by_class = {
            f"class_accuracy/{name}": value
            for name, value in zip(self.config.class_names, class_accuracy, strict=True)
            if value is not None
        }
        measured = {"loss": loss, "accuracy": accuracy, **entropy}
        self.valid_summaries.scalars(progress.step, {**measured, **by_class})
        if self.tracker:
            self.tracker.scalars(progress.step, "valid", measured)
        if self.workers.is_chief:
            for tag, text in self.text_panel.shaded(self.model).items():
                self.valid_summaries.text(progress.step, tag, text)
        for name, weight in self.model.named_weights().items():
            self.valid_summaries.histogram(progress.step, f"weights/{name}", weight.numpy())
        self.valid_summaries.flush()
        self.totals.started += time.perf_counter() - started  # rates speak of training alone
        return bool(patience) and progress.fruitless >= patience

    def remember(self, loss: float, accuracy: float, class_accuracy: list[float | None], better: bool) -> None:
        """Keeps the weights if they are the best so far, and adds a line to the history."""
        from run_folder import save_weights

        progress = self.progress
        if better:
            save_weights(self.run.best, self.model, progress, run=self.identity)
        append_jsonl(
            self.run.history,
            {
                "step": progress.step,
                "epoch": self.epochs.passed(progress.step),
                "valid_loss": loss,
                "valid_accuracy": accuracy,
                "valid_class_accuracy": class_accuracy,
                "best": better,
                **self.pace(),
            },
        )

    def validate(self) -> tuple[float, float, list[float | None], dict[str, float]]:
        """What the weights in memory do on validation.

        Returns:
            Loss, accuracy, accuracy of each class (``None``: no document), entropies of attention, if there is any.
        """
        if self.valid_split is None:
            raise ValueError("a retraining has no validation")
        import numpy as np

        from attention_statistics import MeanEntropy
        from scoring import add_entropy, score_split

        entropy, words = MeanEntropy(), self.arguments.evaluation_batch_words
        probabilities, labels = score_split(
            self.model, self.valid_split, words, self.workers, functools.partial(add_entropy, entropy)
        )
        entropy.sums = self.workers.concatenate(entropy.sums[np.newaxis].astype(np.float32)).sum(axis=0)
        chosen = np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)
        right = probabilities.argmax(axis=1) == labels
        by_class = [right[labels == c] for c in range(len(self.config.class_names))]
        class_accuracy = [float(of_class.mean()) if len(of_class) else None for of_class in by_class]
        return float(-np.log(chosen).mean()), float(right.mean()), class_accuracy, entropy.means()

    @functools.cached_property
    def text_panel(self) -> TextPanel:
        """The validation documents that are shown as training goes."""
        from text_panel import TextPanel

        if self.valid_split is None:
            raise ValueError("a retraining has no validation")
        data = DataPaths(self.config.dataset, self.arguments.data_dir)
        return TextPanel(self.valid_split, data, self.run.path, self.config.class_names)

    def save_or_stop(self) -> None:
        """Saves a checkpoint when one is due; ends the run if a signal came."""
        if agreed := self.workers.agree_on_signal(self.stop_signal):
            self.stop_signal = agreed
            raise Interrupted
        if self.progress.step % self.arguments.checkpoint_every == 0:
            self.save()

    def save(self) -> None:
        """Writes a checkpoint and deletes the oldest beyond ``--num_checkpoints``."""
        from run_folder import save_weights

        if not self.workers.is_chief:
            return
        path = self.run.checkpoints / f"step-{self.progress.step:08d}.safetensors"
        save_weights(path, self.model, self.progress, self.optimizer, self.identity)
        for old in self.run.checkpoint_files()[: -self.arguments.num_checkpoints]:
            old.unlink(missing_ok=True)

    def finish(self, reason: str) -> None:
        """Saves, and marks the run as finished."""
        from run_folder import save_weights

        self.save()
        if not self.workers.is_chief:
            log.info("finished (%s) after %d steps; the run is on the chief's machine", reason, self.progress.step)
            return
        if self.config.retraining:
            save_weights(self.run.best, self.model, self.progress, run=self.identity)
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


def forget_later_history(run: RunFolder, step: int) -> None:
    """Drops history lines after ``step``: they were written by a process that was killed before its next checkpoint."""
    for path in (run.history, run.steps):
        rows = read_jsonl(path)
        if any(row["step"] > step for row in rows):
            write_jsonl(path, [row for row in rows if row["step"] <= step])


def draw_training(run: RunFolder, class_names: Sequence[str], step: int) -> None:
    """Draws the curves of a run to ``plots/`` and for TensorBoard."""
    from plots import training_pictures
    from summaries import SummaryWriter

    pictures = training_pictures(read_jsonl(run.steps), read_jsonl(run.history), class_names, run.path.name)
    with SummaryWriter(run.tensorboard / "valid") as writer:
        for name, picture in pictures.items():
            writer.image(step, name, picture)
            with atomic_write(run.plots / f"{name}.png", "wb") as file:
                file.write(picture)


if __name__ == "__main__":
    run_script(main, build_parser())
