"""Pictures of a run: curves of training, ROC and precision-recall curves, confusion matrix, map of documents.

Each function fills and returns a ``matplotlib.figure.Figure``, from which tests and notebooks can read every value
back; :func:`png` turns it into a file's bytes. There is no global state (``pyplot`` is never imported), and matplotlib
and scikit-learn are imported where they are used.

A class has the colour that :mod:`report.colours` gives it everywhere. The pictures are 840
pixels wide, about what a README shows.

    N documents   C classes
"""

from __future__ import annotations

import contextlib
import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from report.abstention import accuracy_by_coverage, answered
from report.colours import COLOURS, class_colours
from report.evaluation import (
    CALIBRATION_BINS,
    MATRIX_CLASSES,
    Evaluation,
    expected_calibration_error,
    shortened,
    shortened_apart,
    star_ratings,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DPI = 6.0, 140
BLACK, GREY = "#000000", "#9a9a9a"
MOST_CURVES = len(COLOURS)  # of more classes the worst ones are named, the rest are grey
NAMED_OF_MANY = 4
NAME_WIDTH = 20
LONG_NAME_WIDTH = 66  # where a name has a line for itself
FEWEST_ANSWERED = 20  # documents of which an accuracy is drawn


# ---------------------------------------------------------------------------------------------------------------------
# Figures in general


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure (inches) that draws itself without a screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The bytes of a PNG file."""
    picture = io.BytesIO()
    with silent_about_glyphs():
        figure.savefig(picture, format="png")
    return picture.getvalue()


@contextlib.contextmanager
def silent_about_glyphs() -> Iterator[None]:
    """matplotlib's own font lacks Chinese, say; boxes in the picture are no reason to disturb a run."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def plain(axes: Axes, **settings: Any) -> None:
    """Labels axes, takes the frame away and draws a faint grid."""
    axes.set(**settings)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)


def entitle(axes: Axes, title: str) -> None:
    """A title as it is written: a dollar sign begins no formula."""
    axes.set_title(title, fontsize=11, loc="left", parse_math=False)


def legend(axes: Axes, **settings: Any) -> None:
    """A legend of what has a name, with names as they are written."""
    if axes.get_legend_handles_labels()[1]:
        for text in axes.legend(fontsize=8, edgecolor="none", framealpha=0.8, **settings).get_texts():
            text.set_parse_math(False)


def curve_styles(class_names: Sequence[str], quality: Mapping[int, float]) -> dict[int, dict[str, Any]]:
    """How the curve of each class is drawn and named; of many classes only the worst ones are highlighted.

    Args:
        class_names: [C].
        quality: A figure per class that has a curve; the lowest are the worst.
    """
    colours = class_colours(class_names)
    if len(class_names) <= MOST_CURVES:
        return {c: named_style(colours[c], class_names[c]) for c in quality}
    worst = sorted(quality, key=lambda c: quality[c])[:NAMED_OF_MANY]
    drawn = {c: {"color": GREY, "linewidth": 0.6, "alpha": 0.6} for c in quality if c not in worst}
    for c in worst:
        drawn[c] = named_style(colours[c], class_names[c])
    return drawn


def named_style(colour: Any, name: str) -> dict[str, Any]:
    """How a curve is drawn that is listed in the legend."""
    return {"color": colour, "linewidth": 1.6, "label": shortened(name, LONG_NAME_WIDTH)}


def legend_of_classes(axes: Axes, class_names: Sequence[str], **settings: Any) -> None:
    """A legend of curves: within or beside them (``settings``), or below, where the names of classes are long."""
    handles, names = axes.get_legend_handles_labels()
    if max(map(len, class_names)) <= NAME_WIDTH or not names:
        legend(axes, **settings)
        return
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.set_figheight(figure.get_figheight() + 0.18 * len(names))
    box = figure.legend(handles, names, loc="outside lower left", fontsize=8, frameon=False)
    for text in box.get_texts():
        text.set_parse_math(False)


# ---------------------------------------------------------------------------------------------------------------------
# All pictures of a stage


def evaluation_pictures(
    evaluation: Evaluation, labels: ArrayLike, probabilities: ArrayLike, title: str
) -> dict[str, bytes]:
    """The pictures of a tested model as PNG, by name; arguments as for :func:`roc_figure`."""
    names = evaluation.class_names
    return {
        "confusion_matrix": png(confusion_figure(evaluation, f"Confusion matrix: {title}")),
        "roc": png(roc_figure(labels, probabilities, names, f"ROC: {title}")),
        "precision_recall": png(pr_figure(labels, probabilities, names, f"Precision and recall: {title}")),
        "abstention": png(abstention_figure(labels, probabilities, f"Answering only where confident: {title}")),
        "reliability": png(reliability_figure(labels, probabilities, f"Reliability: {title}")),
    }


def training_pictures(
    steps: Sequence[Mapping[str, Any]],
    validations: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    title: str,
    several_labels: bool = False,
) -> dict[str, bytes]:
    """The pictures of a training as PNG, by name; arguments as for :func:`training_figure`."""
    pictures = {"training": png(training_figure(steps, validations, f"Training: {title}"))}
    if validations:  # a retraining on train and validation has none
        named = f"Accuracy of each class on validation: {title}"
        pictures["class_accuracy"] = png(class_accuracy_figure(validations, class_names, named, several_labels))
    return pictures


# ---------------------------------------------------------------------------------------------------------------------
# ROC and precision-recall


def roc_figure(labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str], title: str = "") -> Figure:
    """ROC curves: of two classes the second's, with the decision that is taken marked; of more each class against the
    rest, and their mean (the mean true-positive rate at each false-positive rate).

    Args:
        labels: int [N].
        probabilities: float [N, C].
        class_names: [C].
        title: Line above the picture.
    """
    from sklearn.metrics import auc, roc_curve

    y, p = np.asarray(labels), np.asarray(probabilities)
    scored = scorable(y, [1] if len(class_names) == 2 else range(len(class_names)))
    curves = {c: roc_curve(y == c, p[:, c])[:2] for c in scored}
    areas = {c: float(auc(*curve)) for c, curve in curves.items()}
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    draw_curves(axes, curves, areas, class_names, "AUC")
    if len(class_names) == 2 and curves:
        taken = p.argmax(axis=1) == 1
        axes.plot(
            [taken[y == 0].mean()],
            [taken[y == 1].mean()],
            "o",
            color=BLACK,
            markersize=5,
            label="decision taken: the more probable class",
        )
    elif curves:
        grid = np.unique(np.concatenate([x for x, _ in curves.values()]))
        mean = np.mean([np.interp(grid, *curve) for curve in curves.values()], axis=0)
        draw_mean(axes, grid, mean, f"mean of the classes, AUC {np.mean(list(areas.values())):.4f}")
    plain(axes, xlabel="false-positive rate", ylabel="true-positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    entitle(axes, title)
    legend_of_classes(axes, class_names, loc="lower right")
    return figure


def pr_figure(labels: ArrayLike, probabilities: ArrayLike, class_names: Sequence[str], title: str = "") -> Figure:
    """Precision-recall curves of each class against the rest and their mean; arguments as for :func:`roc_figure`.

    A dotted line for each of two classes shows the precision of chance: the share of the class.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    y, p = np.asarray(labels), np.asarray(probabilities)
    scored = scorable(y, range(len(class_names)))
    curves, areas = {}, {}
    for c in scored:
        precision, recall, _ = precision_recall_curve(y == c, p[:, c], drop_intermediate=True)
        curves[c] = recall[::-1], precision[::-1]  # from recall 0 on
        areas[c] = float(average_precision_score(y == c, p[:, c]))
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    draw_curves(axes, curves, areas, class_names, "average precision", drawstyle="steps-pre")
    for c in scored if len(class_names) == 2 else ():
        axes.axhline(float((y == c).mean()), color=class_colours(class_names)[c], linewidth=0.8, linestyle=":")
    if len(class_names) > 2 and curves:
        grid = np.linspace(0, 1, 501)
        mean = np.mean([np.interp(grid, *curve) for curve in curves.values()], axis=0)
        draw_mean(axes, grid, mean, f"mean of the classes, {np.mean(list(areas.values())):.4f}")
    plain(axes, xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    entitle(axes, title)
    legend_of_classes(axes, class_names, loc="lower left")
    return figure


def abstention_figure(labels: ArrayLike, probabilities: ArrayLike, title: str = "") -> Figure:
    """The accuracy on the documents that are answered, by their share; arguments as for :func:`roc_figure`.

    A mark for each threshold of the report. The first documents are left out: an accuracy of few means nothing.
    """
    y, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    share, accuracy = accuracy_by_coverage(p, y)
    enough = share * len(y) >= min(FEWEST_ANSWERED, len(y))
    figure = new_figure(4.6)
    axes = figure.add_subplot()
    axes.plot(share[enough], accuracy[enough], color=COLOURS[0], linewidth=1.6, label="the most confident documents")
    for row in answered(p, y):
        if row.accuracy is not None and row.documents >= min(FEWEST_ANSWERED, len(y)):
            axes.plot([row.share], [row.accuracy], "o", color=BLACK, markersize=4)
            axes.annotate(f"{row.confidence:g}", (row.share, row.accuracy), (4, 4), textcoords="offset points")
    axes.plot([], [], "o", color=BLACK, markersize=4, label="confidence of at least")
    plain(axes, xlabel="share of the documents answered", ylabel="accuracy among them", xlim=(-0.01, 1.04))
    entitle(axes, title)
    legend(axes, loc="lower left")
    return figure


def reliability_figure(labels: ArrayLike, probabilities: ArrayLike, title: str = "") -> Figure:
    """The share predicted right by confidence, in the bins of the calibration error, and their numbers of documents.

    Arguments as for :func:`roc_figure`.
    """
    y, p = np.asarray(labels), np.asarray(probabilities, np.float64)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    bins = np.digitize(confidence, edges[1:-1], right=True)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    there = counts > 0
    shares = np.bincount(bins, weights=right, minlength=CALIBRATION_BINS)[there] / counts[there]
    figure = new_figure(5.2)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], color=BLACK, linewidth=0.8, linestyle="--", label="confidence is accuracy")
    axes.bar(edges[:-1][there], shares, 1 / CALIBRATION_BINS, align="edge", color=COLOURS[0], edgecolor="white")
    error = expected_calibration_error(p, y)
    axes.plot([], [], " ", label=f"expected calibration error {error:.2%}")
    plain(axes, ylabel="share predicted right", xlim=(0, 1), ylim=(0, 1.02))
    entitle(axes, title)
    legend(axes, loc="upper left")
    below.bar(edges[:-1], counts, 1 / CALIBRATION_BINS, align="edge", color=COLOURS[0], edgecolor="white")
    plain(below, xlabel="confidence", ylabel="documents")
    return figure


def scorable(labels: NDArray[np.int64], classes: Sequence[int] | range) -> list[int]:
    """Classes that have documents and are not all: a curve is defined for them."""
    return [c for c in classes if 0 < (labels == c).sum() < len(labels)]


def draw_curves(
    axes: Axes,
    curves: Mapping[int, tuple[Any, Any]],
    areas: Mapping[int, float],
    class_names: Sequence[str],
    measure: str,
    **settings: Any,
) -> None:
    """Draws a curve per class, named with its area."""
    for c, style in curve_styles(class_names, areas).items():
        if "label" in style:
            style["label"] += f", {measure} {areas[c]:.4f}"
        axes.plot(*curves[c], **style, **settings)


def draw_mean(axes: Axes, x: Any, y: Any, name: str) -> None:
    """Draws the mean of all classes, black and thick."""
    axes.plot(x, y, color=BLACK, linewidth=2.2, label=name)


# ---------------------------------------------------------------------------------------------------------------------
# Confusion matrix


def confusion_figure(evaluation: Evaluation, title: str = "") -> Figure:
    """The confusion matrix: shade = share of the true class (on a square-root scale), number = documents.

    One hue from light to dark, so that it reads the same with any colour vision and in print. Up to twelve classes a
    cell also shows its share; beyond, empty cells stay blank. The picture grows with the number of classes.
    """
    classes = len(evaluation.class_names)
    side = max((0.95 if classes <= MATRIX_CLASSES else 0.45) * classes, 2.4)
    numbered = max(map(len, evaluation.class_names)) > NAME_WIDTH
    figure = new_figure(side + (1.0 if numbered else 1.8), side + (3.6 if numbered else 2.4))
    figure.set_dpi(100)
    axes = figure.add_subplot()
    draw_confusion(axes, evaluation)
    axes.set_title(title, parse_math=False)
    return figure


def draw_confusion(axes: Axes, evaluation: Evaluation) -> None:
    """Fills ``axes`` with shaded cells, their numbers and the names of the classes."""
    from matplotlib.colors import PowerNorm

    counts = np.array(evaluation.confusion)  # [C true, C predicted]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    classes = len(counts)
    # The square root lifts mistakes of a few percent, which are what one looks for, off the white of zero.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    rows, columns = list(evaluation.class_names), list(evaluation.class_names)
    if max(map(len, rows)) > NAME_WIDTH:  # each in full once, and its number above its column
        columns = [str(number) for number in range(1, classes + 1)]
        named = (f"{number} {shortened(name, 76)}" for number, name in zip(columns, rows, strict=True))
        rows = [textwrap.fill(name, 40) for name in named]
    axes.set_xticks(range(classes), columns, rotation=90 if max(map(len, columns)) > 8 else 0)
    axes.set_yticks(range(classes), rows, fontsize=None if rows == list(evaluation.class_names) else 8)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be called "$5 to $10"
    axes.set(xlabel="predicted class", ylabel="true class")
    for true, predicted in np.ndindex(classes, classes):
        draw_cell(axes, true, predicted, int(counts[true, predicted]), float(shares[true, predicted]), classes)
    axes.figure.colorbar(image, ax=axes, shrink=0.6, ticks=[0, 0.05, 0.2, 0.5, 1], label="share of the true class")


def draw_cell(axes: Axes, true: int, predicted: int, count: int, share: float, classes: int) -> None:
    """Writes the number of one cell, dark on light shades and white on dark ones."""
    if classes > MATRIX_CLASSES and count == 0:
        return
    small = classes > MATRIX_CLASSES
    text = f"{count}" if small else f"{count:,}\n{share:.1%}"
    axes.text(
        predicted,
        true,
        text,
        ha="center",
        va="center",
        fontsize=(8 if count < 10_000 else 6) if small else 11,
        color="white" if share > 0.5 else "black",
        in_layout=False,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Training


def training_figure(
    steps: Sequence[Mapping[str, float]], validations: Sequence[Mapping[str, float]], title: str = ""
) -> Figure:
    """Loss, accuracy, learning rate and, where it was changed or kept, momentum over the steps of a run.

    Args:
        steps: Lines of ``steps.jsonl``: step, loss, accuracy, learning_rate and perhaps momentum, each the mean since
            the line before.
        validations: Lines of ``history.jsonl``.
        title: Line above the picture.
    """
    rows: list[tuple[str, str, float]] = [("loss", "loss, nats", 1), ("accuracy", "accuracy, %", 100)]
    rows += [("learning_rate", "learning rate", 1)]
    rows += [("momentum", "momentum", 1)] if any("momentum" in row for row in steps) else []
    figure = new_figure(1.1 + 1.6 * len(rows))
    all_axes = list(figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0])
    for axes, (name, label, scale) in zip(all_axes, rows, strict=True):
        train = [(row["step"], scale * row[name]) for row in steps if name in row]
        valid = [(row["step"], scale * row[f"valid_{name}"]) for row in validations if f"valid_{name}" in row]
        if train:
            axes.plot(*zip(*train, strict=True), color=COLOURS[0], linewidth=1.4, label="training" if valid else None)
        if valid:
            axes.plot(*zip(*valid, strict=True), "s--", color=COLOURS[1], markersize=4, label="validation")
        mark_best(axes, validations, f"valid_{name}", scale)
        plain(axes, ylabel=label)
    legend(all_axes[0], loc="best")
    all_axes[-1].set_xlabel("step")
    mark_epochs(all_axes, validations)
    entitle(all_axes[0], title)
    return figure


def mark_best(axes: Axes, validations: Sequence[Mapping[str, float]], name: str, scale: float) -> None:
    """Puts a ring around the validation whose weights were kept."""
    best = [row for row in validations if row.get("best") and name in row]
    if best:
        axes.plot(
            [best[-1]["step"]],
            [scale * best[-1][name]],
            "o",
            markersize=11,
            markerfacecolor="none",
            color=BLACK,
            label="weights kept",
        )


def mark_epochs(all_axes: Sequence[Axes], validations: Sequence[Mapping[str, float]]) -> None:
    """A faint line where an epoch ends."""
    for row in validations:
        if abs(row["epoch"] - round(row["epoch"])) < 1e-9:
            for axes in all_axes:
                axes.axvline(row["step"], color="#c8c8c8", linewidth=0.8, zorder=0)


def class_accuracy_figure(
    validations: Sequence[Mapping[str, Any]], class_names: Sequence[str], title: str = "", several_labels: bool = False
) -> Figure:
    """Share of each class's validation documents that are classified right, over the epochs; black: all documents.

    Args:
        validations: Lines of ``history.jsonl``; those without ``valid_class_accuracy`` are left out.
        class_names: [C].
        title: Line above the picture.
        several_labels: Whether a document may have several; all of them are right for the black line.
    """
    rows = [row for row in validations if "valid_class_accuracy" in row]
    epochs = [row["epoch"] for row in rows]
    last = rows[-1]["valid_class_accuracy"] if rows else []
    figure = new_figure(4.0)
    axes = figure.add_subplot()
    for c, style in curve_styles(class_names, {c: value for c, value in enumerate(last) if value is not None}).items():
        values = [100 * row["valid_class_accuracy"][c] for row in rows]
        axes.plot(epochs, values, marker="o", markersize=3, **style)
    axes.plot(
        epochs,
        [100 * row["valid_accuracy"] for row in rows],
        color=BLACK,
        linewidth=2.2,
        marker="o",
        markersize=4,
        label="all labels right" if several_labels else "all classes",
    )
    plain(axes, xlabel="epoch", ylabel="validation documents classified right, %")
    entitle(axes, title)
    legend_of_classes(axes, class_names, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Map of the documents


def map_figure(
    maps: Mapping[str, Mapping[str, ArrayLike]], labels: ArrayLike, class_names: Sequence[str], title: str = ""
) -> Figure:
    """Points of documents, coloured by their true class: a row per state of the network, a column per method.

    Args:
        maps: ``{"before training": {"PCA": float [N, 2], ...}, ...}``; every row has the same methods.
        labels: int [N].
        class_names: [C].
        title: Line above the picture.
    """
    columns = list(next(iter(maps.values())))
    figure = new_figure(0.9 + 2.8 * len(maps))
    all_axes = figure.subplots(len(maps), len(columns), squeeze=False)
    y = np.asarray(labels)
    for row, (state, methods) in zip(all_axes, maps.items(), strict=True):
        for axes, method in zip(row, columns, strict=True):
            draw_map(axes, np.asarray(methods[method]), y, class_names)
            entitle(axes, f"{state}, {method}")
    add_legend_below(figure, *all_axes[0, 0].get_legend_handles_labels())
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return figure


def add_legend_below(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Names beside their colours under the picture, in as many columns as its width holds."""
    for columns in range(min(len(names), 8), 0, -1):
        box = figure.legend(
            handles, names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False, markerscale=2.5
        )
        for text in box.get_texts():
            text.set_parse_math(False)
        with silent_about_glyphs():
            width = box.get_window_extent().width
        if width <= figure.bbox.width:
            break
        if columns > 1:
            box.remove()


def draw_map(axes: Axes, points: NDArray[Any], labels: NDArray[Any], class_names: Sequence[str]) -> None:
    """One map. Classes beyond the colours, the rarest, are grey and called "other"."""
    counts = np.bincount(labels, minlength=len(class_names))
    named = set(range(len(class_names)))
    if len(class_names) > MOST_CURVES and star_ratings(class_names) is None:
        named = set(np.argsort(-counts, kind="stable")[:MOST_CURVES].tolist())
    colours, names = class_colours(class_names), shortened_apart(class_names, LONG_NAME_WIDTH)
    others = ~np.isin(labels, list(named))
    size = float(np.clip(4000 / max(len(labels), 1), 2, 14))
    if others.any():
        axes.scatter(points[others, 0], points[others, 1], s=size, color="#c8c8c8", linewidths=0, label="other")
    for c in sorted(named):
        chosen = labels == c
        axes.scatter(
            points[chosen, 0],
            points[chosen, 1],
            s=size,
            color=colours[c],
            linewidths=0,
            alpha=0.7,
            label=names[c],
        )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#c8c8c8")


# ---------------------------------------------------------------------------------------------------------------------
# Attention and explanations


def top_words_figure(
    tops: Sequence[Sequence[tuple[str, float]]], class_names: Sequence[str], title: str = ""
) -> Figure:
    """The words with the most attention of each class, as bars.

    Args:
        tops: [C] lists of (word, mean importance), the weightiest first.
        class_names: [C].
        title: Line above the picture.
    """
    shown = [c for c, words in enumerate(tops) if words][:MOST_CURVES]
    rows = max(1, -(-len(shown) // 2))
    longest = max((len(words) for words in tops), default=1)
    figure = new_figure(0.6 + rows * (0.7 + 0.22 * longest))
    all_axes = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    colours, titles = class_colours(class_names), shortened_apart(class_names, 24)
    for axes, c in zip(all_axes, shown, strict=False):
        places = np.arange(len(tops[c]))
        axes.barh(places, [weight for _, weight in tops[c]], color=colours[c], height=0.7)
        axes.set_yticks(places, [shortened(word, NAME_WIDTH) for word, _ in tops[c]], parse_math=False)
        axes.set_ylim(longest - 0.4, -0.6)
        plain(axes)
        entitle(axes, titles[c])
    for axes in all_axes[len(shown) :]:
        axes.set_axis_off()
    figure.supxlabel("mean importance where the word occurs", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return figure


def whole_model_figure(value: Mapping[str, Any], title: str = "") -> Figure:
    """The words and the phrases that push each class, as bars, with the number of their documents.

    Args:
        value: What ``whole_model.WholeModel.to_json`` gives.
        title: Line above the picture.
    """
    classes = list(value["classes"].items())[:MOST_CURVES]
    longest = max(1, max(len(row[kind]) for _, row in classes for kind in ("words", "phrases")))
    figure = new_figure(0.7 + len(classes) * (0.5 + 0.2 * longest), width=1.4 * WIDTH)
    grid = figure.subplots(len(classes), 2, squeeze=False, sharex="col")
    colours, titles = class_colours(list(value["classes"])), shortened_apart(list(value["classes"]), 30)
    for pair, (_, row), colour, name in zip(grid, classes, colours, titles, strict=False):
        for axes, (kind, key) in zip(pair, (("words", "word"), ("phrases", "text")), strict=True):
            places = np.arange(len(row[kind]))
            axes.barh(places, [one["mean_share"] for one in row[kind]], color=colour, height=0.7)
            names = [f"{shortened(one[key], 2 * NAME_WIDTH)} ({one['documents']:,})" for one in row[kind]]
            axes.set_yticks(places, names, parse_math=False, fontsize=8)
            axes.set_ylim(longest - 0.4, -0.6)
            plain(axes)
            if not row[kind]:
                axes.text(0.02, 0.9, "none in enough documents", fontsize=8, color=GREY, transform=axes.transAxes)
            entitle(axes, f"{kind} for {name}")
    figure.supxlabel("mean share of the log-odds where it occurs (documents)", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return figure


def evenness_figure(words: ArrayLike, sentences: ArrayLike, title: str = "") -> Figure:
    """How evenly attention is spread, as two histograms: 0 all on one, 1 the same for each.

    Args:
        words: float, one value per sentence: entropy of its words' weights as a share of the largest possible.
        sentences: float, one value per document.
        title: Line above the picture.
    """
    figure = new_figure(3.0)
    all_axes = figure.subplots(1, 2)
    parts = (("words within a sentence", "sentences", words), ("sentences within a document", "documents", sentences))
    for axes, (name, what, values) in zip(all_axes, parts, strict=True):
        axes.hist(np.asarray(values), bins=np.linspace(0, 1, 21), color=COLOURS[0])
        plain(axes, xlim=(0, 1), xlabel="entropy / largest possible", ylabel=what)
        entitle(axes, name)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return figure


def faithfulness_figure(value: Mapping[str, Any], names: Mapping[str, str], title: str = "") -> Figure:
    """How often the verdict changes when the words, or sentences, that a method ranks first are deleted.

    Args:
        value: What ``faithfulness.to_json`` gives.
        names: Of the methods, as they are shown.
        title: Line above the picture.
    """
    methods = list(value["words"])
    figure = new_figure(0.9 + 0.42 * len(methods))
    places = np.arange(len(methods))
    for axes, level in zip(figure.subplots(1, 2, sharey=True), ("words", "sentences"), strict=True):
        flips = [value[level][method]["flips"] for method in methods]
        shares = [100 * flip["mean"] for flip in flips]
        colours = [GREY if method == "random" else COLOURS[0] for method in methods]
        axes.barh(places, shares, xerr=[100 * flip["half_width"] for flip in flips], color=colours, height=0.65)
        axes.set_yticks(places, [names[method] for method in methods])
        plain(axes, xlim=(0, 100))
        entitle(axes, level)
    figure.axes[0].invert_yaxis()  # the first method on top; both share the axis
    figure.supxlabel(f"verdicts that change when the top {value['flip_share']:.0%} are deleted, %", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left", parse_math=False)
    return figure
