"""The notebook, executed as a reader would, and the functions that its short cells call."""

from __future__ import annotations

import csv
import json
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

from explaining.explained_text import explain_text
from explaining.exploration import (
    OpenRun,
    Picture,
    document_vectors,
    draw_documents,
    faithfulness_of,
    open_run,
    show,
    show_evenness,
    show_faithfulness,
    show_map,
    show_top_words,
    verdicts,
)
from report.plots import evenness_figure, faithfulness_figure, top_words_figure
from runtime.documents import join
from tests.helpers import VOCABULARY, tiny_documents, write_tiny_records, write_tiny_run
from utils import DataPaths, UserError, write_json

NOTEBOOK = Path(__file__).parent.parent / "explore.ipynb"
LABELS = ("negative", "positive")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a run, with texts beside the records."""
    folder = tmp_path_factory.mktemp("exploration")
    data = DataPaths("tiny", folder / "data")
    write_tiny_records(data.records)
    with data.csv.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "split", "label", "rating", "text"])
        rows.writerow(["test/empty", "test", "positive", 0, "<br />"])
        for split in ("valid", "test"):
            for document in tiny_documents(split, 30):
                sentences = (" ".join(VOCABULARY[word] for word in sentence) for sentence in document.sentences)
                rows.writerow([document.id, split, LABELS[document.label], 0, "\n\n".join(sentences)])
    write_tiny_run(folder / "runs" / "tiny-han", data.records)
    return folder


@pytest.fixture(scope="module")
def opened(folder: Path) -> OpenRun:
    return open_run("tiny-han", folder / "data", folder / "runs")


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    monkeypatch.setenv("HAN_RUN", "tiny-han")
    monkeypatch.setenv("HAN_RUNS_DIR", str(folder / "runs"))
    monkeypatch.setenv("HAN_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    book = nbformat.read(NOTEBOOK, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Jupyter's own packages, about each other
        NotebookClient(book, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in {"error", "stream"}]
    kinds = [set(output.data) for output in outputs]
    assert sum("text/html" in kind for kind in kinds) == 3 and sum("image/png" in kind for kind in kinds) == 4


def test_the_notebook_is_kept_without_outputs_and_its_cells_are_short() -> None:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(book))
    assert set(book["metadata"]) == {"kernelspec", "language_info"}
    assert book["metadata"]["language_info"] == {"name": "python"}  # a version would change with every reader
    for cell in book["cells"]:
        assert not cell["metadata"] and len(cell["source"]) <= 10
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            lines = [line for line in cell["source"] if line.strip()]
            assert len(lines) <= 3 or "HAN_RUN" in "".join(lines)


class Frame(HTMLParser):
    """The one frame of a page."""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag == "iframe"
        self.attributes = dict(attributes)


def test_a_text_is_shown_as_explain_draws_it_in_a_frame_without_scripts(opened: OpenRun) -> None:
    text = 'good <script>alert(1)</script> "word01" & bad'
    page = show(opened, text, method="attention")
    frame = Frame()
    frame.feed(page._repr_html_())
    assert frame.attributes["sandbox"] is None and frame.attributes["srcdoc"] == page.content  # nothing is allowed
    assert "<script" not in page.content and "default-src 'none'" in page.content
    expected = explain_text(opened.predictor, text, "attention").verdict.probabilities
    assert f"{LABELS[int(expected.argmax())]} ({expected.max():.1%})" in page.content


def test_the_method_and_the_class_are_chosen_or_refused(opened: OpenRun) -> None:
    assert "Shaded by gradient x input, for negative." in show(opened, "good", "gradient", "negative").content
    assert "Shaded by contribution, for" in show(opened, "good").content
    for asked, message in ((("good", "magic"), "magic"), (("good", None, "maybe"), "maybe"), (("",), "no word")):
        with pytest.raises(ValueError, match=message):
            show(opened, *asked)


def test_a_drawn_document_is_shown_with_its_label(opened: OpenRun) -> None:
    drawn = draw_documents(opened, 1)[0]
    assert f"labelled {LABELS[drawn.label]} ({drawn.id})" in show(opened, drawn).content


def test_long_texts_get_higher_frames_up_to_a_limit(opened: OpenRun) -> None:
    short, long = (show(opened, " ".join(["word01"] * count)) for count in (3, 300))
    assert short.height < long.height <= 1200
    assert show(opened, "word01. " * 99).height == 1200


def test_documents_are_drawn_evenly_and_the_same_for_the_same_seed(opened: OpenRun) -> None:
    known = {document.id: document for document in tiny_documents("test", 30)}
    everything = draw_documents(opened, 99)
    assert {drawn.id for drawn in everything} == set(known)  # the one without a word is left out
    for drawn in everything:
        document = known[drawn.id]
        assert drawn.label == document.label
        assert drawn.document.token_ids.tolist() == [word for sentence in document.sentences for word in sentence]
    assert [d.id for d in draw_documents(opened, 5)] == [d.id for d in draw_documents(opened, 5)]
    counts = dict.fromkeys([*known, "test/empty"], 0)
    for seed in range(400):
        for drawn in draw_documents(opened, 4, seed=seed):
            counts[drawn.id] += 1
    del counts["test/empty"]
    expected = 400 * 4 / 31
    assert all(abs(count - expected) < 5 * np.sqrt(expected) for count in counts.values())


def test_what_is_missing_is_said_in_a_line(opened: OpenRun, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="tiny-han"):
        open_run("no-such-run", folder / "data", folder / "runs")
    with pytest.raises(UserError, match="create_csv"):
        draw_documents(OpenRun(opened.run, opened.predictor, DataPaths("tiny", tmp_path)), 3)
    with pytest.raises(UserError, match="no document in its train"):
        draw_documents(opened, 3, "train")
    other = DataPaths("tiny", tmp_path / "other")
    other.folder.mkdir(parents=True)
    other.csv.write_text("id,split,label,rating,text\n1,test,maybe,0,good\n", encoding="utf-8")
    with pytest.raises(UserError, match="class 'maybe'"):
        draw_documents(OpenRun(opened.run, opened.predictor, other), 3)


def test_vectors_are_those_of_each_document_alone(opened: OpenRun) -> None:
    documents = [drawn.document for drawn in draw_documents(opened, 7)]
    found = document_vectors(opened, documents)
    for document, vector in zip(documents, found, strict=True):
        alone = opened.predictor.model.document_vectors(join([document])).numpy()[0]
        np.testing.assert_allclose(vector, alone, atol=1e-5)


def heights(axes: Any) -> list[float]:
    """Of the bars."""
    return [bar.get_height() for bar in axes.patches]


def widths(axes: Any) -> list[float]:
    """Of the bars."""
    return [bar.get_width() for bar in axes.patches]


def test_pictures_hold_what_was_computed(opened: OpenRun) -> None:
    documents = draw_documents(opened, 99)
    assert show_map(opened, documents)._repr_png_().startswith(b"\x89PNG")
    spread = show_evenness(opened, documents)
    assert isinstance(spread, Picture)
    counts = [sum(heights(axes)) for axes in spread.figure.axes]
    lengths = [len(sentence) for document in tiny_documents("test", 30) for sentence in document.sentences]
    assert counts[0] == sum(length > 1 for length in lengths)
    assert counts[1] == sum(len(document.sentences) > 1 for document in tiny_documents("test", 30))
    tops = show_top_words(opened, documents, fewest_documents=1)
    assert isinstance(tops, Picture)
    shown = tops.figure
    found = verdicts(opened, documents)
    assert len(shown.axes) >= len({int(verdict.probabilities.argmax()) for verdict in found})
    words = {label.get_text() for axes in shown.axes if axes.patches for label in axes.get_yticklabels()}
    assert words <= set(VOCABULARY) and "<unk>" not in words


def test_a_network_without_attention_says_so_where_attention_would_be_drawn(folder: Path, tmp_path: Path) -> None:
    write_tiny_run(tmp_path / "flat", folder / "data" / "tiny" / "records", architecture="bilstm")
    flat = open_run("flat", folder / "data", tmp_path)
    documents = draw_documents(flat, 9)
    for shown in (show_top_words(flat, documents), show_evenness(flat, documents)):
        assert repr(shown) == "A BiLSTM has no attention to look at: open the run of a HAN for this picture."
    findings = faithfulness_of(flat, documents[:3])
    assert show_faithfulness(findings)._repr_png_().startswith(b"\x89PNG") and "attention" not in findings["words"]
    assert show_map(flat, documents)._repr_png_().startswith(b"\x89PNG")
    assert "<iframe" in show(flat, documents[0])._repr_html_()


def test_top_words_stand_in_order_with_their_weights() -> None:
    figure = top_words_figure([[("$good", 0.9), ("film", 0.5)], [], [("bad", 0.7)]], ["x", "y", "z"])
    first, second = figure.axes[:2]
    assert [widths(axes) for axes in (first, second)] == [[0.9, 0.5], [0.7]]
    assert [label.get_text() for label in first.get_yticklabels()] == ["$good", "film"]
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("x", "z")
    assert len(evenness_figure([], [0.5]).axes) == 2


def test_faithfulness_is_measured_here_unless_it_was_before(opened: OpenRun) -> None:
    value = faithfulness_of(opened, draw_documents(opened, 4))
    assert value["documents"] == 4 and set(value["words"]) >= {"random", "attention", "leave_one_out"}
    bars = widths(show_faithfulness(value).figure.axes[0])
    assert bars == pytest.approx([100 * row["flips"]["mean"] for row in value["words"].values()])
    file = opened.run.path / "faithfulness.json"
    sha256 = opened.predictor.weights_sha256
    write_json(file, value | {"documents": 999, "split": "valid", "weights_sha256": sha256})
    try:
        assert faithfulness_of(opened, [])["documents"] == 999
    finally:
        file.unlink()


def test_the_random_choice_is_grey() -> None:
    row = {"flips": {"mean": 0.25, "half_width": 0.1}}
    value = {
        "flip_share": 0.2,
        "words": {"random": row, "gradient": row},
        "sentences": {"random": row, "gradient": row},
    }
    figure = faithfulness_figure(value, {"random": "chance", "gradient": "gradients"})
    chance, gradients = figure.axes[0].patches
    assert chance.get_width() == 25 and chance.get_facecolor() != gradients.get_facecolor()  # type: ignore[attr-defined]
