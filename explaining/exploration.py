"""What ``explore.ipynb`` shows: a run opened with its data, texts explained, attention over many of them, a map.

    opened = open_run("sample-han")
    show(opened, "The plot is thin, but what acting!")
    documents = draw_documents(opened, 300)

What is shown is a :class:`Page` or a :class:`Picture`, or a :class:`Remark` that says why there is none; a notebook
draws each where it is a cell's last line.

    B documents   N words   S sentences   D size of a document vector
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from corpus.corpora import CsvRow, read_csv
from data_processing import UNKNOWN_ID
from explaining.explained_text import Explanation, explain_text
from explaining.explanations import METHODS, attention_scores, shades
from explaining.faithfulness import TITLES, default_method, examine, to_json
from explaining.pages import explanation_page, likeliest
from report.plots import evenness_figure, faithfulness_figure, map_figure, png, top_words_figure
from report.shading import LeftOut
from runtime.attention_statistics import evenness, top_words
from runtime.devices import start_for_runs
from runtime.run_folder import RunFolder, find_run, refuse_several_labels
from text.copies import data_set
from utils import DataPaths, UserError, data_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from runtime.predictor import Predictor, Verdict
    from text.text_reader import EncodedDocument

# Of a page as wide as a notebook: margins, legend and note; of each kind of line its height, characters, and margins.
HEAD_PIXELS, MOST_PIXELS = 225, 1_200
TITLE, CLASS, SENTENCE, QUIET, BELOW = (26, 60, 0), (28, 45, 3), (29, 75, 14), (24, 90, 15), (29, 80, 18)
MOST_NAMED = 5  # classes of a run


@dataclass(frozen=True)
class OpenRun:
    """A run, its network, and the data set it was trained on."""

    run: RunFolder
    predictor: Predictor
    data: DataPaths

    def __repr__(self) -> str:
        predictor = self.predictor
        names = predictor.class_names
        return (
            f"{self.run.path}: {self.run.config().title()}, weights of step {predictor.step}, "
            f"{len(predictor.reader.vocabulary):,} words, "
            + (f"classes {', '.join(names)}" if len(names) <= MOST_NAMED else f"{len(names)} classes")
        )


def open_run(named: str, data_dir: str | Path = "data", runs_dir: str | Path = "runs") -> OpenRun:
    """Rebuilds a run's network where it was trained, on a GPU if it is here, else on the CPU.

    Args:
        named: Name of the run in ``runs_dir``, or path of its folder.
        data_dir: Folder of the data sets.
        runs_dir: Folder of the runs.

    Raises:
        UserError: There is no such run, or it has no weights yet.
    """
    run = find_run(named, Path(runs_dir))
    device = start_for_runs([run], "auto", lean=False)
    from runtime.predictor import Predictor

    data = data_set(run.config().dataset, data_folder(str(data_dir)), texts=True)
    return OpenRun(run, Predictor.load(run, device), data)


# ---------------------------------------------------------------------------------------------------------------------
# Documents


class DrawnDocument(NamedTuple):
    """A document of the data set as the network reads it.

    Attributes:
        id: Its name.
        text: What a person wrote.
        label: Its true class, a number.
        document: Its words.
    """

    id: str
    text: str
    label: int
    document: EncodedDocument


def draw_documents(opened: OpenRun, count: int, split: str = "test", seed: int = 1) -> list[DrawnDocument]:
    """Draws documents at random, reading the CSV file once and keeping no more than are drawn.

    Args:
        opened: The run.
        count: How many, at most; those without a word are left out.
        split: ``train``, ``valid`` or ``test``.
        seed: Another one draws others.

    Raises:
        UserError: The data set's CSV file is not there, holds no such documents or other classes than the run, or its
            texts may have several labels.
    """
    refuse_several_labels(opened.run, "a sample of the documents")
    generator, names = np.random.default_rng(seed), opened.predictor.class_names
    kept: list[CsvRow] = []
    seen = 0
    for row in read_csv(opened.data.csv):
        if row.split != split:
            continue
        if row.label not in names:
            raise UserError(f"{opened.data.csv} has the class {row.label!r}, which {opened.run.path} does not know")
        seen += 1
        place = seen - 1 if seen <= count else int(generator.integers(seen))  # Vitter's algorithm R
        kept[place : place + 1] = [row] if place < count else []
    read = [(row, opened.predictor.read(row.text)) for row in kept]
    drawn = [DrawnDocument(row.id, row.text, names.index(row.label), it.document) for row, it in read if it.words]
    if not drawn:
        raise UserError(f"{opened.data.csv} has no document in its {split} split")
    return drawn


# ---------------------------------------------------------------------------------------------------------------------
# One text


class Page:
    """A page of HTML, set apart from the notebook's own in a frame in which no script runs."""

    def __init__(self, content: str, height: int) -> None:
        self.content, self.height = content, height

    def _repr_html_(self) -> str:
        return (
            f'<iframe sandbox srcdoc="{html.escape(self.content)}" width="100%" height="{self.height}" '
            'style="border: 0" title="explained text"></iframe>'
        )


def show(opened: OpenRun, text: str | DrawnDocument, method: str | None = None, target: str | None = None) -> Page:
    """A text with its words and sentences shaded, as ``explain.py --html`` draws it.

    Args:
        opened: The run.
        text: A person's own, or a drawn document.
        method: A name in :data:`explaining.explanations.METHODS`; ``None``: the run's default.
        target: The class to explain; ``None``: the one that the network predicts.

    Raises:
        ValueError: A text without a word, an unknown method or an unknown class.
    """
    names = opened.predictor.class_names
    chosen = method or default_method(opened.predictor, opened.run.path)[0]
    if target is not None and target not in names:
        raise ValueError(f"there is no class {target!r}; the classes are: {', '.join(names)}")
    written = text if isinstance(text, str) else text.text
    explanation = explain_text(opened.predictor, written, chosen, None if target is None else names.index(target))
    note = f"Shaded by {METHODS[chosen].title}"
    note += f", for {names[explanation.target]}." if explanation.scores.signed else "."
    title = heading(opened, text, explanation)
    return Page(explanation_page(explanation, title, note), page_height(explanation, title))


def heading(opened: OpenRun, text: str | DrawnDocument, explanation: Explanation) -> str:
    """``sample-han: positive (97.3%), labelled negative (test/00012)``."""
    verdict = explanation.predicted
    if explanation.thresholds is None:
        verdict += f" ({explanation.verdict.probabilities.max():.1%})"
    truth = "" if isinstance(text, str) else f", labelled {explanation.class_names[text.label]} ({text.id})"
    return f"{opened.run.path.name}: {verdict}{truth}"


def page_height(explanation: Explanation, title: str, note: str = "") -> int:
    """About how many pixels a page needs: a frame without scripts cannot ask. A longer one is scrolled."""
    shown = explanation.shaded()
    sentences = ["" if isinstance(part, LeftOut) else "".join(piece.text for piece in part.pieces) for part in shown]
    below = [*explanation.phrases_in_words(), *explanation.counterfactuals_in_words()]
    kinds = (
        (TITLE, [title]),
        (CLASS, [name for name, _ in likeliest(explanation)]),
        (QUIET, [*explanation.parts_in_words(), *([note] if note else [])]),
        (SENTENCE, sentences),
        (BELOW, below),
    )
    height = sum(
        around + line * (1 + len(text) // characters) for (line, characters, around), texts in kinds for text in texts
    )
    return min(HEAD_PIXELS + height, MOST_PIXELS)


# ---------------------------------------------------------------------------------------------------------------------
# Many texts


class Picture:
    """A picture that a notebook draws.

    Attributes:
        figure: The figure, from which every value can be read back.
    """

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def _repr_png_(self) -> bytes:
        return png(self.figure)


@dataclass(frozen=True)
class Remark:
    """A sentence in the place of a picture that cannot be drawn, so that a notebook runs to its end."""

    sentence: str

    def __repr__(self) -> str:
        return self.sentence


def without_attention(opened: OpenRun) -> Remark | None:
    """What to show for a network without attention; ``None`` for one with it."""
    if opened.predictor.has_attention:
        return None
    return Remark(
        f"A {opened.run.config().title()} has no attention to look at: open the run of a HAN for this picture."
    )


def verdicts(opened: OpenRun, documents: Sequence[DrawnDocument]) -> list[Verdict]:
    """The outputs of the network for each document."""
    return opened.predictor.score([drawn.document for drawn in documents])


def show_top_words(
    opened: OpenRun, documents: Sequence[DrawnDocument], most: int = 10, fewest_documents: int = 5
) -> Picture | Remark:
    """The words that get the most attention where the network predicts a class, class by class.

    Args:
        opened: The run.
        documents: [B].
        most: Words for each class.
        fewest_documents: A word of fewer documents of the class is left out.
    """
    if remark := without_attention(opened):
        return remark
    found = verdicts(opened, documents)
    predicted = [int(verdict.probabilities.argmax()) for verdict in found]
    importances = [
        shades(attention_scores(one.document, verdict), one.document.words_per_sentence)
        for one, verdict in zip(documents, found, strict=True)
    ]
    known = [one.document.token_ids != UNKNOWN_ID for one in documents]
    words = [
        [opened.predictor.reader.vocabulary.words[number] for number in one.document.token_ids[kept].tolist()]
        for one, kept in zip(documents, known, strict=True)
    ]
    values = [one[kept] for one, kept in zip(importances, known, strict=True)]
    names = opened.predictor.class_names
    tops = top_words(words, values, predicted, len(names), most, fewest_documents)
    pairs = [[(top.word, top.weight) for top in some] for some in tops]
    return Picture(top_words_figure(pairs, names, f"{opened.run.path.name}: {len(documents):,} documents"))


def show_evenness(opened: OpenRun, documents: Sequence[DrawnDocument]) -> Picture | Remark:
    """How evenly attention is spread within sentences, and over the sentences of a document."""
    if remark := without_attention(opened):
        return remark
    found = verdicts(opened, documents)
    lengths = [one.document.words_per_sentence for one in documents]
    words = evenness(np.concatenate([one.word_weights for one in found]), np.concatenate(lengths))
    sentences = evenness(np.concatenate([one.sentence_weights for one in found]), [len(one) for one in lengths])
    return Picture(evenness_figure(words, sentences, f"{opened.run.path.name}: {len(documents):,} documents"))


def faithfulness_of(opened: OpenRun, documents: Sequence[DrawnDocument], seed: int = 1) -> dict[str, Any]:
    """What ``explain.py --faithfulness`` measured for these weights; where it was not run, the same on ``documents``.

    The keys ``documents`` and ``step`` say on how many documents, and of which step the weights are.
    """
    _, measured = default_method(opened.predictor, opened.run.path)
    if measured:
        return measured
    findings = examine(opened.predictor, [drawn.document for drawn in documents], seed)
    return {"documents": len(documents), "step": opened.predictor.step, **to_json(findings)}


def show_faithfulness(value: dict[str, Any]) -> Picture:
    """How often deleting what a method names changes the verdict; ``value`` is from :func:`faithfulness_of`."""
    title = f"{value['documents']:,} documents, step {value['step']}"
    return Picture(faithfulness_figure(value, TITLES, title))


def show_map(opened: OpenRun, documents: Sequence[DrawnDocument]) -> Picture:
    """Documents by the two directions in which their vectors differ most, coloured by their true class."""
    from sklearn.decomposition import PCA

    vectors = document_vectors(opened, [drawn.document for drawn in documents])
    points = PCA(n_components=2, random_state=0).fit_transform(vectors)
    labels = [drawn.label for drawn in documents]
    title = f"{opened.run.path.name}: {len(documents):,} documents"
    return Picture(map_figure({"document vectors": {"PCA": points}}, labels, opened.predictor.class_names, title))


def document_vectors(opened: OpenRun, documents: Sequence[EncodedDocument]) -> np.ndarray:
    """What the last layer classifies: float32 [B, D], in the order of ``documents``."""
    return np.array([verdict.vector for verdict in opened.predictor.score(documents)])
