"""One question, and what a run answers: the verdict on a text, why, and how both move when the text is changed.

Everything that the page shows of a text is found here; nothing here knows of the web.

    N words   S sentences   C classes   D size of a document vector
"""

from __future__ import annotations

import functools
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import urlencode

import numpy as np

from data_processing import UNKNOWN_ID, Span
from explaining.explanations import (
    METHODS,
    UNEXAMINED,
    Explanation,
    Scores,
    explain,
    first_words,
    keep_words,
    methods_of,
    read_text,
)
from explaining.faithfulness import default_method, verdict_in_words
from explaining.pages import likeliest
from page.batcher import Batcher, Busy
from page.mistakes import LabelledDocument, SplitDocuments, drawn
from page.neighbours import FEWEST_POINTS, MOST_POINTS, VectorMap
from report.shading import printable
from runtime.devices import explain_memory
from runtime.predictor import BATCH_WORDS, Predictor, Verdict, unfinished
from runtime.run_folder import RunFolder
from text.text_reader import EncodedDocument
from utils import DataPaths, UserError, folder_flags

MOST_TEXT_BYTES = 1_000_000  # a text of so many is refused
MOST_LINK_BYTES = 60_000  # of a permalink; longer texts have none
PATIENCE = 30.0  # seconds that an explanation waits for those before it
FAST_METHOD = "gradient"  # for a text that is too long for the method asked for


class Refusal(Exception):
    """A question that is not answered.

    Args:
        status: HTTP's code for the reason.
        detail: A sentence for the person who asked.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, printable(detail)


# ---------------------------------------------------------------------------------------------------------------------
# One run


@dataclass
class ServedRun:
    """A run as the page shows it.

    Attributes:
        name: Of the run, as it is shown.
        predictor: Its network.
        batcher: Scores the texts of all clients.
        documents: The test split of its data set.
        notice: A remark about unfinished training; empty for a finished run.
        default_method: The method that is selected at first.
        explaining: Held while a text is explained by a method that reads it again.
        map: Of documents of the test split; ``None`` until :meth:`draw_map` has drawn it.
        findings: What ``explain.py --faithfulness`` measured with these weights; empty where it has not been run.
    """

    name: str
    predictor: Predictor
    batcher: Batcher
    documents: SplitDocuments
    notice: str = ""
    default_method: str = UNEXAMINED[0]
    findings: dict[str, Any] = field(default_factory=dict)
    explaining: threading.Lock = field(default_factory=threading.Lock)
    map: VectorMap | None = None

    @classmethod
    def load(cls, run: RunFolder, data: DataPaths, device: str = "cpu") -> ServedRun:
        """Rebuilds a run's network and scores a first text with it, which traces the graph.

        Raises:
            UserError: As :meth:`runtime.predictor.Predictor.load`.
        """
        predictor = Predictor.load(run, device)
        predictor.score([predictor.read("A first text.").document])
        method, findings = default_method(predictor, run.path)
        documents = SplitDocuments(run, data, predictor.weights_sha256)
        batcher = Batcher(predictor.score, BATCH_WORDS)
        return cls(printable(run.path.name), predictor, batcher, documents, unfinished(run) or "", method, findings)

    def count_words(self, text: str) -> tuple[int, int]:
        """Words of a text, and those that the vocabulary does not know."""
        reading = self.predictor.read(text)
        return reading.words, reading.unknown_words

    def draw_map(self) -> None:
        """Draws the map of some documents of the test split, if there are enough.

        Raises:
            UserError: As :meth:`page.mistakes.SplitDocuments.all`.
        """
        documents = list(self.documents.all().values())
        chosen = drawn(documents, MOST_POINTS)
        verdicts = self.batcher.score([self.predictor.read(document.text).document for document in chosen])
        vectors = [verdict.vector for verdict in verdicts if verdict.vector is not None]
        if len(vectors) == len(chosen) >= FEWEST_POINTS:
            self.map = VectorMap.of(chosen, np.array(vectors))

    def trust(self) -> list[str]:
        """How faithful the explanations of this run are, in sentences."""
        if not self.findings:
            flags = folder_flags(self.documents.data.data_dir, self.documents.run.path.parent)
            command = shlex.join(["python", "explain.py", self.documents.run.path.name, "--faithfulness", *flags])
            return [f"How far to trust this has not been measured; type: {command}"]
        return list(verdict_in_words(self.findings))


# ---------------------------------------------------------------------------------------------------------------------
# A question and its answers


class Question(NamedTuple):
    """What a person asks.

    Attributes:
        text: The text, its line ends as newlines.
        method: How to explain; empty for the default of the first run.
        target: Name of the class to explain; empty for the predicted one.
        without: Ranges (start, end) of the text whose words are left out.
        original: The text before words were edited; empty where none was.
        id: The document of the test split that the text was taken from; empty for a person's own.
    """

    text: str = ""
    method: str = ""
    without: tuple[Span, ...] = ()
    original: str = ""
    id: str = ""
    target: str = ""

    def link(self) -> str:
        """A relative address that asks this again; empty where it would be too long."""
        values = {"id": self.id} if self.id else {"text": self.text}
        values |= {"method": self.method, "target": self.target}
        values |= {"without": format_ranges(self.without), "original": self.original}
        link = "?" + urlencode({name: value for name, value in values.items() if value})
        return link if len(link) <= MOST_LINK_BYTES else ""

    def of_document(self, name: str) -> str:
        """A relative address that asks the same of a document of the test split."""
        return Question(id=name, method=self.method, target=self.target).link()

    def left_out(self) -> str:
        """The ranges as one string."""
        return format_ranges(self.without)


def parse_question(values: dict[str, str], document: LabelledDocument | None) -> Question:
    """Reads a form or the query of a link.

    Args:
        values: By name; ``toggle`` is a range to leave out or to take back, ``undo`` takes all edits back.
        document: That ``id`` names.

    Raises:
        Refusal: A text that is too long, or a damaged range.
    """
    text, original = (plain_newlines(values.get(name, "")) for name in ("text", "original"))
    if document and not text:
        text = plain_newlines(document.text)
    for each in (text, original):
        if len(each.encode(errors="replace")) >= MOST_TEXT_BYTES:
            raise Refusal(413, f"The text is too long: {MOST_TEXT_BYTES:,} bytes or more. Give a part of it.")
    without = set(parse_ranges(values.get("without", "")))
    if values.get("undo") and original:
        text, original, without = original, "", set()
    without ^= set(parse_ranges(values.get("toggle", "")))
    same = document is not None and text == plain_newlines(document.text)
    return Question(
        text,
        values.get("method", ""),
        tuple(sorted(without)),
        "" if original == text else original,
        document.id if document and same else "",
        values.get("target", ""),
    )


def plain_newlines(text: str) -> str:
    """Line ends as a text box gives them, so that places in the text are the same here and there."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse_ranges(text: str) -> list[Span]:
    """``"0-12,40-51"`` -> ``[(0, 12), (40, 51)]``."""
    try:
        pairs = [part.split("-") for part in text.split(",") if part]
        ranges = [(int(start), int(end)) for start, end in pairs]
        if any(start >= end for start, end in ranges):
            raise ValueError("a range ends before it starts")
        return ranges
    except ValueError as error:
        raise Refusal(400, "What is left out is given as ranges of the text, such as 0-12,40-51.") from error


def format_ranges(ranges: Sequence[Span]) -> str:
    """The inverse of :func:`parse_ranges`."""
    return ",".join(f"{start}-{end}" for start, end in ranges)


@dataclass(frozen=True)
class Answer:
    """What one run says of a text.

    Attributes:
        served: The run.
        explanation: Verdict and scores; words that were left out score 0.
        kept: bool [N]; false for a word that was left out.
        unknown: bool [N]; true for a word that the vocabulary does not know.
        word_attention: float32 [N], 0 for a word that was left out; ``None`` for a network without attention.
        before: The verdict before anything was edited or left out; ``None`` where nothing was.
        remarks: Sentences to show with the answer.
    """

    served: ServedRun
    explanation: Explanation
    kept: np.ndarray
    unknown: np.ndarray
    word_attention: np.ndarray | None
    before: Verdict | None
    remarks: list[str]

    @property
    def verdict(self) -> str:
        """The likeliest class."""
        return self.explanation.class_names[int(self.explanation.verdict.probabilities.argmax())]

    @property
    def verdict_before(self) -> str:
        """The likeliest class before; empty where nothing was changed."""
        return "" if self.before is None else self.explanation.class_names[int(self.before.probabilities.argmax())]

    @functools.cached_property
    def classes(self) -> list[tuple[str, float, float | None]]:
        """The likeliest classes: name, probability, probability before."""
        names = self.explanation.class_names
        return [
            (name, probability, None if self.before is None else float(self.before.probabilities[names.index(name)]))
            for name, probability in likeliest(self.explanation)
        ]

    @functools.cached_property
    def spans(self) -> list[Span]:
        """[N] the place of each word."""
        return [span for sentence in self.explanation.spans for span in sentence]

    @functools.cached_property
    def sentences_left_out(self) -> list[bool]:
        """[S] whether all words of a sentence are left out."""
        ends = np.cumsum(self.explanation.words_per_sentence)
        return [not part.any() for part in np.split(self.kept, ends[:-1])]

    def range_of_sentence(self, number: int) -> str:
        """The range that leaving out a sentence adds."""
        words = self.explanation.spans[number]
        return f"{words[0][0]}-{words[-1][1]}"

    @functools.cached_property
    def points(self) -> list[tuple[float, float, bool]]:
        """The documents of the map: x and y, and whether they are labelled as this text is judged."""
        if self.served.map is None:
            return []
        places = self.served.map.places(self.served.map.vectors)
        labelled = (document.label == self.verdict for document in self.served.map.documents)
        return [(float(x), float(y), same) for (x, y), same in zip(places, labelled, strict=True)]

    @property
    def place(self) -> list[float]:
        """x and y of this text on the map."""
        return place_on_map(self.served, self.explanation.verdict)

    @property
    def place_before(self) -> list[float]:
        """x and y of the text before it was changed; empty where it was not."""
        return [] if self.before is None else place_on_map(self.served, self.before)

    def nearest(self, but: str) -> list[LabelledDocument]:
        """The documents of the map that are nearest to this text, without the one named ``but``."""
        vector = self.explanation.verdict.vector
        return [] if self.served.map is None or vector is None else self.served.map.nearest(vector, but=but)

    def note(self, word: int) -> str:
        """What is shown of a word when the mouse is over it."""
        parts = []
        if not self.kept[word]:
            return "left out"
        score = self.explanation.scores.words[word]
        if self.explanation.scores.signed:
            parts.append(f"{score:+.4f} log-odds of {self.explanation.class_names[self.explanation.target]}")
        if self.word_attention is not None:
            parts.append(f"attention {self.word_attention[word]:.3f} of its sentence's")
        if self.unknown[word]:
            parts.append("not in the vocabulary")
        return " · ".join(parts)


def place_on_map(served: ServedRun, verdict: Verdict) -> list[float]:
    """x and y of a text on the map of a run; empty where there is none."""
    return [] if served.map is None or verdict.vector is None else served.map.places(verdict.vector).tolist()


def answer(served: ServedRun, question: Question) -> Answer:
    """Asks one run.

    Raises:
        Refusal: The text has no word, is too long for the method, or too much is waiting.
    """
    predictor = served.predictor
    text, reading, spans = read_text(predictor, question.text)
    if not reading.words:
        raise Refusal(422, "There is no word in this text. Write or paste some, or draw a document.")
    document = reading.document
    kept = kept_words([span for sentence in spans for span in sentence], question.without)
    rest = keep_words(document, kept)
    baseline = predictor.read(question.original).document if question.original else document
    documents = [rest] if kept.all() and not question.original else [rest, baseline]
    verdict, *before = scored(served, documents)
    method, remarks = usable_method(served, question.method, len(rest.token_ids))
    target, more = class_to_explain(served, question.target, method, verdict)
    remarks += more
    attention = None
    if kept.any():
        left = explained(served, rest, target, method, verdict)
        kept_sentences = np.logical_or.reduceat(kept, first_words(document))
        words, sentences = scattered(left.words, kept), scattered(left.sentences, kept_sentences)
        scores = Scores(words, sentences, left.signed, left.completeness)
        attention = None if verdict.word_weights is None else scattered(verdict.word_weights, kept)
    else:
        scores = Scores(np.zeros(len(kept)), np.zeros(len(spans)), METHODS[method].signed)
        remarks.append("Everything is left out: this is the network's prediction for an empty text.")
    unknown = document.token_ids == UNKNOWN_ID
    if reading.unknown_words == reading.words:
        remarks.append("None of these words is in the vocabulary: the verdict means nothing.")
    if reading.cut_words:
        remarks.append(f"The text has too many sentences: its last {reading.cut_words:,} words were not read.")
    shown = Explanation(
        text, spans, predictor.class_names, target, method, verdict, scores, document.words_per_sentence
    )
    return Answer(served, shown, kept, unknown, attention, before[0] if before else None, remarks)


def kept_words(spans: Sequence[Span], without: Sequence[Span]) -> np.ndarray:
    """bool [N]: false for words that begin in one of the ranges."""
    starts = np.array([start for start, _ in spans])
    kept = np.ones(len(starts), bool)
    for start, end in without:
        kept &= ~((start <= starts) & (starts < end))
    return kept


def scattered(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    """An array as long as ``where`` with ``values`` where it is true and 0 elsewhere."""
    full = np.zeros(len(where), values.dtype)
    full[where] = values
    return full


def usable_method(served: ServedRun, asked: str, words: int) -> tuple[str, list[str]]:
    """The method for a text of so many words, and remarks where it is not the one asked for."""
    method = asked if asked in methods_of(served.predictor) else served.default_method
    title, most = METHODS[method].title, METHODS[method].most_words
    remarks = [] if asked == method else [f"{served.name} has no {METHODS[asked].title}: shown by {title}."]
    if most is not None and words > most:
        method = FAST_METHOD
        remarks.append(
            f"On this page {title} is limited to {most:,} words, and the text has {words:,}: shown by "
            f"{METHODS[method].title}. explain.py has no limit."
        )
    return method, remarks


def class_to_explain(served: ServedRun, asked: str, method: str, verdict: Verdict) -> tuple[int, list[str]]:
    """The class asked for, else the predicted one, and a remark where the run does not have the one asked for."""
    names, predicted = served.predictor.class_names, int(verdict.probabilities.argmax())
    if asked in names:
        return names.index(asked), []
    remark = f"{served.name} has no class {asked!r}: shown for {names[predicted]}, the predicted one."
    return predicted, [remark] if asked and METHODS[method].signed else []


def scored(served: ServedRun, documents: Sequence[EncodedDocument]) -> list[Verdict]:
    """The verdicts of documents, in a batch with those of others."""
    try:
        with explain_memory("give a shorter text"):
            return served.batcher.score(documents)
    except Busy as error:
        raise Refusal(503, "Too many texts are waiting. Try again in a few seconds.") from error
    except UserError as error:
        raise Refusal(503, f"{error}.") from error


def explained(served: ServedRun, document: EncodedDocument, target: int, method: str, verdict: Verdict) -> Scores:
    """Scores by a method; of those that read the text again, one at a time."""
    if not METHODS[method].passes(document):
        [scores] = explain(served.predictor, [document], [target], method, [verdict])
        return scores
    if not served.explaining.acquire(timeout=PATIENCE):
        raise Refusal(503, "Too many explanations are waiting. Try again in a while, or choose attention.")
    try:
        with explain_memory("give a shorter text, or choose attention"):
            [scores] = explain(served.predictor, [document], [target], method, [verdict])
        return scores
    except UserError as error:
        raise Refusal(503, f"{error}.") from error
    finally:
        served.explaining.release()


def run_named(runs: Sequence[ServedRun], name: str) -> ServedRun:
    """The run of that name; ``han`` is the first."""
    for served in runs:
        if name == served.name:
            return served
    if name == "han":
        return runs[0]
    there = ", ".join(["han", *(served.name for served in runs)])
    raise Refusal(404, f"There is no model {name[:100]!r} here; there are: {there}.")
