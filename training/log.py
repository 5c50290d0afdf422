"""The log of a training: ``steps.jsonl``, ``history.jsonl``, curves for TensorBoard and, if asked for, for Weights and
Biases, and figures at the end. Of several workers only the chief writes."""

from __future__ import annotations

import contextlib
import functools
from types import TracebackType
from typing import TypedDict

from network.contract import Network
from report.plots import training_pictures
from report.summaries import SilentWriter, SummaryWriter
from runtime.input_pipeline import Split
from runtime.run_folder import RunConfig, RunFolder
from runtime.scoring import Validation
from schema import read_jsonl
from training.text_panel import TextPanel
from training.tracking import WandbRun
from utils import DataPaths, append_jsonl, atomic_write, remove_leftovers, write_jsonl


class Step(TypedDict):
    """What every line of ``steps.jsonl`` has, besides the means."""

    step: int


class HistoryRow(Step):
    """A line of ``history.jsonl``."""

    epoch: float
    valid_loss: float
    valid_accuracy: float
    valid_class_accuracy: list[float | None]
    best: bool


class TrainingLog:
    """The log of a run, open while it trains.

    Args:
        run: The run folder.
        config: Of the run.
        data: The data set, whose texts TensorBoard shows as they were written.
        valid_split: Validation; ``None`` for a retraining, which has none.
        step: From which the training starts or resumes; lines of an earlier process about later steps are dropped.
        is_chief: Whether this process writes.
        wandb_project: Project on Weights and Biases that gets the curves, too; ``None`` for none.
    """

    def __init__(
        self,
        run: RunFolder,
        config: RunConfig,
        data: DataPaths,
        valid_split: Split | None,
        step: int,
        is_chief: bool,
        wandb_project: str | None = None,
    ) -> None:
        self.run, self.config, self.data, self.valid_split, self.step = run, config, data, valid_split, step
        self.is_chief = is_chief
        self.wandb_project = wandb_project if is_chief else None
        self.tracker: WandbRun | None = None
        self.train: SummaryWriter = SilentWriter()
        self.valid: SummaryWriter = SilentWriter()
        self.writers = contextlib.ExitStack()

    def __enter__(self) -> TrainingLog:
        if self.is_chief:
            drop_later_steps(self.run, self.step)
        self.tracker = self.start_tracking()
        with contextlib.ExitStack() as stack:
            self.train, self.valid = (stack.enter_context(self.writer(split)) for split in ("train", "valid"))
            self.writers = stack.pop_all()
        if not self.step:
            self.valid.hparams(plain_settings(self.config))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writers.close()
        if self.tracker:
            self.tracker.finish(0 if kind is None else 1)

    def start_tracking(self) -> WandbRun | None:
        """The run on Weights and Biases, if it is asked for."""
        if self.wandb_project is None:
            return None
        return WandbRun(self.run.path, self.wandb_project, self.config.to_json())

    def writer(self, split: str) -> SummaryWriter:
        """Writes curves for TensorBoard, after those of the run's earlier processes."""
        if not self.is_chief:
            return SilentWriter()
        return SummaryWriter(self.run.tensorboard / split, resume_step=self.step or None)

    def training(self, step: int, means: dict[str, float]) -> None:
        """Writes the means over the training steps since the last call."""
        self.train.scalars(step, means)
        if self.is_chief:
            append_jsonl(self.run.steps, {"step": step, **means})
        if self.tracker:
            self.tracker.scalars(step, "train", means)

    def validation(self, step: int, epoch: float, figures: Validation, better: bool, rates: dict[str, float]) -> None:
        """Writes a validation.

        Args:
            step: After which it was done.
            epoch: Passes over the training split until then.
            figures: Its result.
            better: Whether it is the best so far.
            rates: Learning rate and momentum of the step.
        """
        if self.is_chief:
            append_jsonl(
                self.run.history,
                {
                    "step": step,
                    "epoch": epoch,
                    "valid_loss": figures.loss,
                    "valid_accuracy": figures.accuracy,
                    "valid_class_accuracy": figures.class_accuracy,
                    "best": better,
                    **rates,
                },
            )
        by_class = {
            f"class_accuracy/{name}": value
            for name, value in zip(self.config.class_names, figures.class_accuracy, strict=True)
            if value is not None
        }
        measured = {"loss": figures.loss, "accuracy": figures.accuracy, **figures.entropy}
        self.valid.scalars(step, {**measured, **by_class})
        if self.tracker:
            self.tracker.scalars(step, "valid", measured)

    def model(self, step: int, model: Network) -> None:
        """Writes the attention in a few validation documents, and histograms of the weights."""
        if self.is_chief:
            for tag, text in self.text_panel.shaded(model).items():
                self.valid.text(step, tag, text)
            for name, weight in model.named_weights().items():
                self.valid.histogram(step, f"weights/{name}", weight.numpy())
        self.valid.flush()

    @functools.cached_property
    def text_panel(self) -> TextPanel:
        """The validation documents that are shown as training goes."""
        if self.valid_split is None:
            raise ValueError("a retraining has no validation")
        return TextPanel(self.valid_split, self.data, self.run.path, self.config.class_names)

    def draw(self, step: int) -> None:
        """Draws the curves of the finished run to ``plots/`` and for TensorBoard."""
        pictures = training_pictures(
            read_jsonl(self.run.steps, Step),
            read_jsonl(self.run.history, HistoryRow),
            self.config.class_names,
            self.run.path.name,
            self.config.several_labels,
        )
        with SummaryWriter(self.run.tensorboard / "valid") as writer:
            for name, picture in pictures.items():
                writer.image(step, name, picture)
                remove_leftovers(self.run.plots / f"{name}.png")
                with atomic_write(self.run.plots / f"{name}.png", "wb") as file:
                    file.write(picture)


def plain_settings(config: RunConfig) -> dict[str, float | int | str | bool]:
    """The settings of network and training by name, as TensorBoard lists them: numbers, names, true or false."""
    settings = config.to_json()
    for part in list(settings.values()):
        if isinstance(part, dict):
            settings |= part
    return {name: value for name, value in settings.items() if isinstance(value, float | int | str | bool)}


def drop_later_steps(run: RunFolder, step: int) -> None:
    """Drops lines about later steps: the process that wrote them was killed before its next checkpoint."""
    for path in (run.history, run.steps):
        rows = read_jsonl(path, Step)
        if any(row["step"] > step for row in rows):
            write_jsonl(path, [row for row in rows if row["step"] <= step])
