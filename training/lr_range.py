"""The learning-rate range test (Smith 2017, section 3.3): raise the rate, see where learning starts and stops.

A fresh network is trained for a few hundred steps while the learning rate rises from far too low to far too high. At
first the loss does not change, then it falls, then it flattens and diverges. The rates between which it falls are
the bounds of a cyclical learning rate; the upper one is also a good peak for warm-up and decay.

A range test changes no training run: its results go into their own folder, ``<run>-lr_range``.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config import RangeTestSettings
from runtime.input_pipeline import Epochs, Split, read_ahead
from runtime.networks import build_model
from runtime.run_folder import RunConfig, RunFolder, origin
from training.evidence import read_marks
from training.optimizers import build_optimizer
from training.schedules import Rise
from training.step import chosen_class_weights, compile_step
from utils import EMBEDDINGS_FILE, DataPaths, atomic_write, log, write_json

# The test ends when the smoothed loss is this many times its lowest value so far.
DIVERGED = 2.0
# The bounds are where the smoothed loss has made these shares of its whole fall.
BEGINS, ENDS = 0.1, 0.9
# A smaller fall than this share of the first loss does not count as learning.
LEAST_FALL = 0.05
SMOOTHING = 40  # the standard deviation of the smoothing is this part of the steps


@dataclass(frozen=True)
class Bounds:
    """Learning rates between which the loss falls."""

    lower: float
    upper: float


@dataclass(frozen=True)
class Outcome:
    """The result of a range test.

    Attributes:
        rates: float [steps taken], learning rates.
        losses: float [steps taken], training loss of each step's batch.
        smoothed: float [steps taken].
        bounds: ``None`` if the loss did not fall.
        diverged: Whether the loss diverged before the last step.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    bounds: Bounds | None
    diverged: bool


def run_range_test(config: RunConfig, data: DataPaths, device: str, test: RangeTestSettings) -> Outcome:
    """Trains a fresh network of the run's settings while the learning rate rises.

    Args:
        config: Of the run, whose learning rate and cycle are not used.
        data: Where the records are, and the evidence.
        device: ``"cpu"`` or ``"gpu"``.
        test: The rise.
    """
    settings = config.training
    records = data.records
    with closing(Split(records, "train", settings.max_sentences, settings.max_words)) as split:
        if settings.evidence_weight:
            split.marks = read_marks(split, data, config.evidence_sha256)
        embeddings = np.load(records / EMBEDDINGS_FILE, allow_pickle=False)
        model = build_model(config, embeddings, padded=device == "gpu")
        rate = Rise(test.lr_min, test.lr_max, test.lr_steps, test.lr_scale)
        optimizer = build_optimizer(settings, rate, None, model.trainable_variables)
        weights = chosen_class_weights(settings, split.labels, len(config.class_names))
        soft = len(config.class_names) if config.several_labels else 0
        step_function = compile_step(model, optimizer, settings, weights, soft=soft)
        epochs = Epochs(split.index, settings)
        numbers = (batch for epoch in itertools.count() for batch in epochs.batches(epoch))
        with closing(read_ahead(split.read, itertools.islice(numbers, test.lr_steps))) as batches:
            return watch(rate, losses_of(batches, step_function, settings.seed), test)


def losses_of(batches: Any, step_function: Any, seed: int) -> Iterator[float]:
    """Takes a step on each batch and yields its loss."""
    for step, batch in enumerate(batches):
        yield float(step_function(batch.documents, batch.labels, [seed, step], 1.0, batch.marked)["loss"])


def watch(rate: Any, losses: Iterator[float], test: RangeTestSettings) -> Outcome:
    """Follows the losses of the steps until the last one or until they diverge."""
    seen: list[float] = []
    width = test.lr_steps / SMOOTHING
    diverged = False
    for step, loss in enumerate(losses):
        if not math.isfinite(loss):
            diverged = True
            break
        seen.append(loss)
        smoothed = smooth(np.array(seen), width)
        if step % 10 == 0:
            log.info("step %4d of %d  rate %.3g  loss %.4f", step + 1, test.lr_steps, float(rate(step)), smoothed[-1])
        if step > 2 * width and smoothed[-1] > DIVERGED * smoothed.min():
            diverged = True
            break
    rates = np.array([float(rate(step)) for step in range(len(seen))])
    smoothed = smooth(np.array(seen), width)
    return Outcome(rates, np.array(seen), smoothed, suggest(rates, smoothed), diverged)


def smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Averages neighbours with the weights of a normal distribution of standard deviation ``width``; float [steps].

    Looks both ways, so that the curve does not lag behind the rate; near its ends over fewer neighbours.
    """
    reach = math.ceil(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    middle = slice(reach, reach + len(values))
    return np.convolve(values, kernel)[middle] / np.convolve(np.ones(len(values)), kernel)[middle]


def suggest(rates: np.ndarray, smoothed: np.ndarray) -> Bounds | None:
    """The rates at which the smoothed loss has made a tenth and nine tenths of its fall; ``None`` if it never fell."""
    if not len(smoothed):
        return None
    # The fall is measured from the highest point before the lowest one: a loss may climb a little before it falls.
    lowest = int(smoothed.argmin())
    start = float(smoothed[: lowest + 1].max())
    fall = start - float(smoothed[lowest])
    if fall < LEAST_FALL * start:
        return None
    begin = int(smoothed[: lowest + 1].argmax())
    after = smoothed[begin : lowest + 1]
    lower, upper = (begin + int(np.argmax(after <= start - share * fall)) for share in (BEGINS, ENDS))
    return Bounds(float(rates[lower]), float(rates[upper]))


# ---------------------------------------------------------------------------------------------------------------------
# What is written and printed


def report(outcome: Outcome, config: RunConfig, test: RangeTestSettings, run: RunFolder) -> None:
    """Writes the outcome into ``<run>-lr_range``, renames an earlier one, and prints the suggestion."""
    place = RunFolder(run.path.with_name(f"{run.path.name}-lr_range"))
    if place.path.exists():
        log.info("the old result in %s is now in %s", place.path, place.put_aside())
    write_outcome(place.path, outcome, config, test)
    print(f"{summary(outcome, test)}\n\nWritten: {place.path}/lr_range.png, .csv, .json", flush=True)


def write_outcome(folder: Path, outcome: Outcome, config: RunConfig, test: RangeTestSettings) -> None:
    """Writes ``lr_range.csv``, ``lr_range.json`` and ``lr_range.png`` into a new folder."""
    with atomic_write(folder / "lr_range.csv", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "learning_rate", "loss", "smoothed_loss"])
        rows = zip(outcome.rates.tolist(), outcome.losses.tolist(), outcome.smoothed.tolist(), strict=True)
        writer.writerows([step, *row] for step, row in enumerate(rows, start=1))
    with atomic_write(folder / "lr_range.png", "wb") as file:
        file.write(picture(outcome, test))
    write_json(
        folder / "lr_range.json",
        {
            "bounds": asdict(outcome.bounds) if outcome.bounds else None,
            "diverged": outcome.diverged,
            "steps_taken": len(outcome.losses),
            "test": asdict(test),
            "settings": config.to_json(),
            "origin": origin(),
        },
    )


def picture(outcome: Outcome, test: RangeTestSettings) -> bytes:
    """The loss over the learning rate, the suggested bounds marked, as a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(outcome.rates, outcome.losses, color="#9a9a9a", linewidth=0.7, label="loss of each batch")
    axes.plot(outcome.rates, outcome.smoothed, color="#0072B2", linewidth=2, label="smoothed")
    if outcome.bounds:
        axes.axvspan(outcome.bounds.lower, outcome.bounds.upper, color="#009E73", alpha=0.12)
        for name, value in asdict(outcome.bounds).items():
            axes.axvline(value, color="#009E73", linestyle="--", label=f"{name} bound {value:.2g}")
    if test.lr_scale == "exponential":
        axes.set_xscale("log")
    if len(outcome.smoothed):  # one batch that diverged must not flatten the rest
        low, high = outcome.smoothed.min(), outcome.smoothed.max()
        axes.set_ylim(max(0.0, low - 0.3 * (high - low) - 0.05), high + 0.3 * (high - low) + 0.05)
    end = "diverged" if outcome.diverged else "did not diverge"
    axes.set_title(f"Learning-rate range test, {len(outcome.losses)} of {test.lr_steps} steps, {end}", fontsize=11)
    axes.set_xlabel(f"learning rate ({test.lr_scale} rise)")
    axes.set_ylabel("training loss (nats per document)")
    axes.legend(fontsize=9)
    axes.grid(alpha=0.25)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def summary(outcome: Outcome, test: RangeTestSettings) -> str:
    """The result of the test, in words."""
    taken = len(outcome.losses)
    if outcome.diverged:
        reached = outcome.rates[-1] if taken else test.lr_min
        end = f"the loss diverged at a learning rate of {reached:.3g}, after {taken} of {test.lr_steps} steps"
    else:
        end = f"the loss did not diverge up to a learning rate of {test.lr_max:.3g}; try a higher --lr_max"
    if outcome.bounds is None:
        return (
            f"{end}\nno suggestion: the loss fell by less than {LEAST_FALL:.0%}; "
            "try a lower --lr_min, a higher --lr_max or more --lr_steps"
        )
    lower, upper = outcome.bounds.lower, outcome.bounds.upper
    return (
        f"{end}\n"
        f"lower bound   {lower:.2g}   the loss has started to fall\n"
        f"upper bound   {upper:.2g}   the loss has nearly stopped falling\n"
        f"for a cycle:  --cycle triangular --min_learning_rate {lower:.2g} --learning_rate {upper:.2g}\n"
        f"for a decay:  --learning_rate {upper:.2g} at most"
    )
