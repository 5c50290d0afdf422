"""What stands in the pictures, read back from the figures and compared with scikit-learn and with the input."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex

from report.colours import COLOURS, class_colours
from report.evaluation import evaluate
from report.plots import (
    FEWEST_ANSWERED,
    GREY,
    abstention_figure,
    class_accuracy_figure,
    confusion_figure,
    evaluation_pictures,
    map_figure,
    png,
    pr_figure,
    reliability_figure,
    roc_figure,
    silent_about_glyphs,
    training_figure,
    training_pictures,
    whole_model_figure,
)

pytestmark = pytest.mark.drawn
SOURCE = (Path(__file__).parent.parent / "report" / "plots.py").read_text()
STEPS = [{"step": s, "loss": 1 / s, "accuracy": 1 - 1 / s, "learning_rate": 0.002 / s} for s in range(50, 301, 50)]
HISTORY: list[dict[str, Any]] = [
    {
        "step": step,
        "epoch": step / 150,
        "valid_loss": 2 / step,
        "valid_accuracy": 0.5 + step / 1000,
        "valid_class_accuracy": [0.4 + step / 1000, 0.6 + step / 1000, None],
        "best": step < 300,
    }
    for step in (75, 150, 225, 300)
]


def example(documents: int, classes: int, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities; a class is recognised the better the higher its number."""
    generator = np.random.default_rng(classes)
    labels = generator.integers(classes, size=documents)
    scores = generator.normal(size=(documents, classes))
    scores[np.arange(documents), labels] += skill * (1 + labels)
    return labels, np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)


def lines(axes: Any) -> dict[str, Any]:
    """The curves of the legend by the beginning of their name."""
    return {line.get_label().split(",")[0]: line for line in axes.lines if not line.get_label().startswith("_")}


def test_roc_of_two_classes_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score, roc_curve

    y, p = example(300, 2)
    axes = roc_figure(y, p, ["no", "yes"], "title").axes[0]
    drawn = lines(axes)
    rates = roc_curve(y, p[:, 1])
    np.testing.assert_array_equal(drawn["yes"].get_xydata(), np.stack(rates[:2], axis=1))
    assert drawn["yes"].get_label() == f"yes, AUC {roc_auc_score(y, p[:, 1]):.4f}" and "no" not in drawn
    predicted = p[:, 1] > p[:, 0]
    taken = [(predicted & (y == c)).sum() / (y == c).sum() for c in (0, 1)]
    np.testing.assert_allclose(drawn["decision taken: the more probable class"].get_xydata(), [taken])


def test_mean_roc_has_the_mean_area() -> None:
    y, p = example(500, 4)
    drawn = lines(roc_figure(y, p, list("abcd")).axes[0])
    mean = drawn["mean of the classes"]
    area = np.trapezoid(mean.get_ydata(), mean.get_xdata())
    assert area == pytest.approx(evaluate(p, y, list("abcd")).auc, abs=2e-3)
    assert f"AUC {evaluate(p, y, list('abcd')).auc:.4f}" in mean.get_label()
    assert [drawn[name].get_color() for name in "abcd"] == list(COLOURS[:4])


def test_precision_recall_is_scikit_learns() -> None:
    from sklearn.metrics import average_precision_score

    y, p = example(400, 3)
    drawn = lines(pr_figure(y, p, list("abc")).axes[0])
    means = []
    for c, name in enumerate("abc"):
        recall, precision = drawn[name].get_data()
        assert drawn[name].get_drawstyle() == "steps-pre" and (np.diff(recall) >= 0).all()
        area = (np.diff(recall) * precision[1:]).sum()  # what the steps enclose
        means.append(average_precision_score(y == c, p[:, c]))
        assert area == pytest.approx(means[-1]) and f"{means[-1]:.4f}" in drawn[name].get_label()
    assert drawn["mean of the classes"].get_label().endswith(f"{np.mean(means):.4f}")


def bars(axes: Any) -> list[Any]:
    return list(axes.patches)


def test_the_bars_of_reliability_are_the_shares_predicted_right() -> None:
    y, p = example(400, 3)
    shown, below = reliability_figure(y, p, "title").axes
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    error = 0.0
    counts = [bar.get_height() for bar in bars(below)]
    assert sum(counts) == 400
    for bar in bars(shown):
        chosen = (bar.get_x() < confidence) & (confidence <= bar.get_x() + bar.get_width() + 1e-12)
        assert bar.get_height() == pytest.approx(right[chosen].mean())
        error += abs(right[chosen].sum() - confidence[chosen].sum()) / 400
    assert f"calibration error {error:.2%}" in lines(shown)[f"expected calibration error {error:.2%}"].get_label()


def test_the_curve_of_abstention_meets_the_accuracy_at_the_full_share() -> None:
    y, p = example(400, 3)
    axes = abstention_figure(y, p, "title").axes[0]
    curve = lines(axes)["the most confident documents"]
    share, accuracy = map(np.asarray, curve.get_data())
    assert (share[-1], accuracy[-1]) == (1, pytest.approx(evaluate(p, y, list("abc")).accuracy))
    assert share[0] * len(y) >= FEWEST_ANSWERED and (np.diff(share) > 0).all()
    drawn = [np.asarray(line.get_xydata()) for line in axes.get_lines()]
    marks = [points[0] for points in drawn if len(points) == 1]
    assert len(marks) == len(axes.texts) >= 3
    for (x, value), note in zip(marks, axes.texts, strict=True):
        kept = p.max(axis=1) >= float(note.get_text())
        assert x == pytest.approx(kept.mean()) and value == pytest.approx((p.argmax(axis=1) == y)[kept].mean())


def test_of_many_classes_the_worst_are_named() -> None:
    y, p = example(3000, 30, skill=0.1)
    names = [f"class {c}" for c in range(30)]
    axes = roc_figure(y, p, names).axes[0]
    areas = [evaluate_area(y, p, c) for c in range(30)]
    worst = [names[c] for c in np.argsort(areas)[:4]]
    assert list(lines(axes)) == [*worst, "mean of the classes"]
    assert sum(line.get_color() == GREY and line.get_linestyle() == "-" for line in axes.lines) == 26


def evaluate_area(labels: np.ndarray, probabilities: np.ndarray, c: int) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels == c, probabilities[:, c]))


def test_a_class_without_documents_has_no_curve() -> None:
    y, p = example(200, 3)
    y[y == 1] = 0
    for figure in (roc_figure(y, p, list("abc")), pr_figure(y, p, list("abc"))):
        assert list(lines(figure.axes[0])) == ["a", "c", "mean of the classes"]
    alone = np.zeros(5, int)
    for figure in (roc_figure(alone, np.full((5, 2), 0.5), ["a", "b"]), pr_figure(alone, np.full((5, 2), 0.5), "ab")):
        assert not lines(figure.axes[0])


def test_stars_get_shades_in_their_order() -> None:
    shades = class_colours(["1", "2", "3", "4", "7", "8", "9", "10"])
    parts = [[int(shade[place : place + 2], 16) for place in (1, 3, 5)] for shade in shades]
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in parts]
    assert lightness == sorted(lightness) and len(set(shades)) == 8
    assert class_colours(["low", "high"]) == list(COLOURS[:2])
    many = [f"class {c}" for c in range(20)]
    assert len(set(class_colours(many))) == 20 and class_colours(many)[:9] == class_colours(many[:9])


def test_confusion_shows_true_classes_downwards_and_every_number() -> None:
    y, p = example(200, 3, skill=0.3)
    result = evaluate(p, y, ["a", "b", "c"])
    axes: Any = confusion_figure(result).axes[0]
    shares = np.array(result.confusion) / np.sum(result.confusion, axis=1, keepdims=True)
    np.testing.assert_allclose(axes.images[0].get_array(), shares)
    for text in axes.texts:
        predicted, true = text.get_position()
        assert text.get_text() == f"{result.confusion[true][predicted]}\n{shares[true, predicted]:.1%}"
    assert len(axes.texts) == 9
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


@pytest.mark.parametrize("momentum", [False, True])
def test_curves_of_training_are_what_was_logged(momentum: bool) -> None:
    steps = [{**row, **({"momentum": 0.9 - row["learning_rate"]} if momentum else {})} for row in STEPS]
    all_axes: Any = training_figure(steps, HISTORY, "run").axes
    assert [axes.get_ylabel() for axes in all_axes[:3]] == ["loss, nats", "accuracy, %", "learning rate"]
    assert len(all_axes) == (4 if momentum else 3)
    for axes, name, scale in zip(all_axes, ("loss", "accuracy", "learning_rate", "momentum"), (1, 100, 1, 1)):  # noqa: B905
        expected = [(row["step"], scale * row[name]) for row in steps]
        np.testing.assert_allclose(axes.lines[0].get_xydata(), expected)
    for axes, name, scale in zip(all_axes[:2], ("valid_loss", "valid_accuracy"), (1, 100), strict=True):
        drawn = lines(axes)
        np.testing.assert_allclose(
            drawn["validation"].get_xydata(), [(row["step"], scale * row[name]) for row in HISTORY]
        )
        np.testing.assert_allclose(drawn["weights kept"].get_xydata(), [(225, scale * HISTORY[2][name])])
    ends = [
        line.get_xdata()[0]
        for line in all_axes[0].lines
        if len(set(line.get_xdata())) == 1 and len(line.get_xdata()) == 2
    ]
    assert ends == [150, 300]


def test_accuracy_of_each_class_over_the_epochs() -> None:
    drawn = lines(class_accuracy_figure([{"epoch": 0.1}, *HISTORY], ["a", "b", "c"]).axes[0])
    assert list(drawn) == ["a", "b", "all classes"]  # c has no document
    np.testing.assert_allclose(drawn["b"].get_xydata(), [(s / 150, 60 + s / 10) for s in (75, 150, 225, 300)])
    np.testing.assert_allclose(drawn["all classes"].get_ydata(), [50 + s / 10 for s in (75, 150, 225, 300)])


def test_map_puts_every_document_in_the_colour_of_its_class() -> None:
    generator = np.random.default_rng(3)
    labels = np.array([0, 2, 1, 1, 0])
    maps = {
        state: {"PCA": generator.normal(size=(5, 2)), "t-SNE": generator.normal(size=(5, 2))} for state in ("x", "y")
    }
    figure: Any = map_figure(maps, labels, ["a", "b", "c"], "title")
    assert len(figure.axes) == 4 and figure.axes[3].get_title(loc="left") == "y, t-SNE"
    for c, points in enumerate(figure.axes[1].collections):
        np.testing.assert_array_equal(points.get_offsets(), maps["x"]["t-SNE"][labels == c])
        assert tuple(points.get_facecolor()[0, :3]) == pytest.approx(
            tuple(int(COLOURS[c][i : i + 2], 16) / 255 for i in (1, 3, 5))
        )


def test_map_of_many_classes_keeps_the_commonest() -> None:
    labels = np.repeat(np.arange(12), np.arange(1, 13))
    points = {"after training": {"PCA": np.random.default_rng(0).normal(size=(len(labels), 2))}}
    axes: Any = map_figure(points, labels, [f"class {c}" for c in range(12)]).axes[0]
    assert [group.get_label() for group in axes.collections] == ["other", *(f"class {c}" for c in range(4, 12))]
    colours = class_colours([f"class {c}" for c in range(12)])
    drawn = [to_hex(group.get_facecolor()[0]).upper() for group in axes.collections[1:]]
    assert drawn == [colour.upper() for colour in colours[4:]]
    assert sum(len(group.get_offsets()) for group in axes.collections) == len(labels)


@pytest.mark.parametrize("name", ["c{}", "class {}", "a class whose name is long {}", "名前の長いクラス{}"])
def test_the_names_of_a_map_are_within_the_picture(name: str) -> None:
    labels = np.arange(12)
    points = {"after training": {"PCA": np.random.default_rng(0).normal(size=(12, 2))}}
    figure = map_figure(points, labels, [name.format(c) for c in range(12)])
    assert len(figure.legends) == 1
    with silent_about_glyphs():
        width = figure.legends[0].get_window_extent().width
    assert width <= figure.bbox.width and len(figure.legends[0].get_texts()) == 9


LONG = [
    f"books and other printed matter, {opinion} pleased, a {n}th kind"
    for opinion in ("very", "rather")
    for n in range(6)
]


def test_long_names_that_begin_alike_are_told_apart_and_within_the_picture() -> None:
    """In the matrix each is written once, beside its row, and its number above its column."""
    y, p = example(600, 12, skill=0.3)
    matrix = confusion_figure(evaluate(p, y, LONG))
    rows = [label.get_text().replace("\n", " ") for label in matrix.axes[0].get_yticklabels()]
    assert rows == [f"{number} {name}" for number, name in enumerate(LONG, start=1)]
    assert [label.get_text() for label in matrix.axes[0].get_xticklabels()] == [str(n) for n in range(1, 13)]
    for draw in (roc_figure, pr_figure):
        figure = draw(y, p, LONG)
        [box] = figure.legends
        names = [text.get_text() for text in box.get_texts()]
        assert sum(name.startswith(tuple(LONG)) for name in names) == 4 and len(set(names)) == 5
        figure.canvas.draw()
        assert box.get_window_extent().width <= figure.bbox.width
        assert not box.get_window_extent().overlaps(figure.axes[0].get_window_extent())


def test_words_of_classes_whose_names_begin_alike_have_titles_of_their_own() -> None:
    found = [{"word": "good", "documents": 7, "mean_share": 0.5}]
    value = {"classes": {name: {"words": found, "phrases": []} for name in LONG}}
    figure = whole_model_figure(value)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(set(titles)) == len(titles) == 16
    assert [text.get_text() for text in figure.axes[1].texts] == ["none in enough documents"]
    colours = class_colours(LONG)
    assert [to_hex(axes.patches[0].get_facecolor()).upper() for axes in figure.axes[::2]] == colours[:8]


def test_shades_of_ratings_are_those_of_all_ratings() -> None:
    names = [str(stars) for stars in range(1, 11)]
    found = [{"word": "good", "documents": 7, "mean_share": 0.5}]
    figure = whole_model_figure({"classes": {name: {"words": found, "phrases": []} for name in names}})
    shown = [to_hex(axes.patches[0].get_facecolor()) for axes in figure.axes[::2]]
    assert shown == [colour.lower() for colour in class_colours(names)][:8]


@pytest.mark.parametrize("names", [["negative", "positive"], ["$5 to $10_", "名前 $x^$", "c"]])
def test_pictures_are_png_files_without_a_word(names: list[str], recwarn: pytest.WarningsRecorder) -> None:
    y, p = example(80, len(names))
    pictures = evaluation_pictures(evaluate(p, y, names), y, p, "title with $ and _")
    pictures |= training_pictures(STEPS, HISTORY, names, "a $ run_")
    pictures["empty"] = png(training_figure([], [], ""))
    for picture in pictures.values():
        width, height = struct.unpack(">II", picture[16:24])
        assert picture.startswith(b"\x89PNG\r\n\x1a\n") and width >= 300 and height >= 300
    assert struct.unpack(">I", pictures["roc"][16:20]) == (840,)
    assert not recwarn.list
    assert "import pyplot" not in SOURCE and "matplotlib.pyplot" not in SOURCE  # it has global state
