"""What a run answers to a question: its prediction for a text, why, and how both change when the text is changed.

Everything that the page shows of a text is computed here; nothing here knows of the web.

    N words   S sentences   C classes   D size of a document vector
"""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from corpus.several_labels import BETWEEN
from data_processing import UNKNOWN_ID, Span
from explaining.counterfactuals import Counterfactual, counterfactuals
from explaining.explained_text import Explanation, WrittenText, read_text, words_of
from explaining.explanations import METHODS, UNEXAMINED, Scores, explain, methods_of
from explaining.faithfulness import default_method, trust_in_words, verdict_in_words
from explaining.leaving_out import first_words, keep_words
from explaining.log_odds import log_odds_parts
from explaining.pages import likeliest
from page.batcher import RETRY_SECONDS, Batcher, Busy
from page.edits import edited_words
from page.following import will_read
from page.line import Lines
from page.neighbours import FEWEST_POINTS, MOST_POINTS, VectorMap
from page.questions import Question, Refusal
from page.split_documents import LabelledDocument, SplitDocuments, sample
from report.shading import printable
from runtime.decisions import is_known, predicted_name
from runtime.devices import explain_memory
from runtime.predictor import BATCH_WORDS, Predictor, Verdict, unfinished
from runtime.run_folder import RunFolder
from text.text_reader import EncodedDocument, Reading, sentences_on
from utils import DataPaths, UserError, folder_flags

FAST_METHOD = "gradient"  # for a text that is too long for the method asked for
COUNTERFACTUAL_WORDS = 3_000  # of a longer text no counterfactuals are searched for: some seconds on two cores
LONG_NAME = 24  # characters of a class's name that does not fit beside its probability
COUNTERFACTUAL_PASSES = 100  # about how many times the network reads a text in the search for them


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
        default_method: The method that is selected on a new page.
        lines: Where explanations that read a text again take turns.
        map: Of documents of the test split; ``None`` until :meth:`draw_map` has drawn it.
        rows_scored: Rows of tables that were scored; written by the thread that scores them alone.
        findings: What ``explain.py --faithfulness`` measured with these weights; empty where it has not been run.
    """

    name: str
    predictor: Predictor
    batcher: Batcher
    documents: SplitDocuments
    notice: str = ""
    default_method: str = UNEXAMINED[0]
    findings: dict[str, Any] = field(default_factory=dict)
    lines: Lines = field(default_factory=Lines)
    map: VectorMap | None = None
    rows_scored: int = 0

    @classmethod
    def load(cls, run: RunFolder, data: DataPaths, device: str = "cpu") -> ServedRun:
        """Rebuilds a run's network and scores a first text with it, which traces the graph.

        Raises:
            UserError: As :meth:`runtime.predictor.Predictor.load`.
        """
        predictor = Predictor.load(run, device)
        predictor.score([predictor.read("A first text.").document])
        method, findings = default_method(predictor, run.path)
        documents = SplitDocuments(run, data, predictor.weights_sha256, thresholds=predictor.thresholds)
        batcher = Batcher(predictor.score, BATCH_WORDS)
        return cls(printable(run.path.name), predictor, batcher, documents, unfinished(run) or "", method, findings)

    @property
    def dataset(self) -> str:
        """Name of its data set."""
        return self.documents.data.dataset

    def draw_map(self) -> None:
        """Draws the map of some documents of the test split, if there are enough.

        Raises:
            UserError: As :meth:`page.split_documents.SplitDocuments.all`.
        """
        documents = list(self.documents.all().values())
        chosen = sample(documents, MOST_POINTS)
        verdicts = self.batcher.score([self.predictor.read(document.text).document for document in chosen])
        if len(chosen) >= FEWEST_POINTS:
            self.map = VectorMap.of(chosen, np.array([verdict.vector for verdict in verdicts]))

    def trust(self) -> list[str]:
        """How far the explanations of this run can be trusted, in sentences."""
        if not self.findings:
            flags = folder_flags(self.documents.data.data_dir, self.documents.run.path.parent)
            command = shlex.join(["python", "explain.py", self.documents.run.path.name, "--faithfulness", *flags])
            return [f"How far to trust this has not been measured; type: {command}"]
        return list(verdict_in_words(self.findings))


# ---------------------------------------------------------------------------------------------------------------------
# The answer


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
        edited: What was edited, by the position of the word.
    """

    served: ServedRun
    explanation: Explanation
    kept: np.ndarray
    unknown: np.ndarray
    word_attention: np.ndarray | None
    before: Verdict | None
    remarks: list[str]
    edited: dict[int, str]

    @property
    def verdict(self) -> str:
        """The predicted class, or all labels that are predicted, as they are shown."""
        return self.explanation.predicted

    @property
    def method_title(self) -> str:
        """The name of the method."""
        return METHODS[self.explanation.method].title

    @property
    def trust(self) -> list[str]:
        """How far this explanation can be trusted, in sentences: first the figure of its method, where there is one."""
        own = trust_in_words(self.explanation.method, self.served.findings)
        return [*([own] if own else []), *self.served.trust()]

    @property
    def verdict_before(self) -> str:
        """The prediction before; empty where nothing was changed."""
        if self.before is None:
            return ""
        return predicted_name(self.before.probabilities, self.explanation.class_names, self.explanation.thresholds)

    def has_label(self, name: str, label: str) -> bool:
        """Whether a class is the label of a document, or one of its several labels."""
        return name == label if self.explanation.thresholds is None else name in label.split(BETWEEN)

    def knows(self, label: str) -> bool:
        """Whether the run knows the label of a document, so that it is predicted right or wrong."""
        return is_known(label, self.explanation.class_names, self.explanation.thresholds)

    @functools.cached_property
    def classes(self) -> list[tuple[str, float, float | None]]:
        """The likeliest classes: name, probability, probability before."""
        names = self.explanation.class_names
        return [
            (name, probability, None if self.before is None else float(self.before.probabilities[names.index(name)]))
            for name, probability in likeliest(self.explanation)
        ]

    @property
    def has_long_names(self) -> bool:
        """Whether names of classes need lines of their own."""
        return max(map(len, self.explanation.class_names)) > LONG_NAME or len(self.verdict) > LONG_NAME

    @functools.cached_property
    def spans(self) -> list[Span]:
        """[N] the place of each word."""
        return words_of(self.explanation.spans)

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
    def points(self) -> list[tuple[float, float, LabelledDocument]]:
        """The documents of the map with their x and y."""
        if self.served.map is None:
            return []
        places = self.served.map.places(self.served.map.vectors)
        return [(float(x), float(y), one) for (x, y), one in zip(places, self.served.map.documents, strict=True)]

    @property
    def explained_class(self) -> str:
        """The name of the class that is explained."""
        return self.explanation.class_names[self.explanation.target]

    def colour_of(self, document: LabelledDocument) -> str:
        """The class whose colour a document has on the map; empty where it has none.

        Where a document has several labels there is one question at a time: whether it has the one that is explained.
        """
        if self.explanation.thresholds is None:
            return document.label
        return self.explained_class if self.has_label(self.explained_class, document.label) else ""

    @property
    def place(self) -> list[float]:
        """x and y of this text on the map."""
        return place_on_map(self.served, self.explanation.verdict)

    @property
    def place_before(self) -> list[float]:
        """x and y of the text before it was changed; empty where it was not."""
        return [] if self.before is None else place_on_map(self.served, self.before)

    def nearest(self, excluded: str) -> list[LabelledDocument]:
        """The documents of the map that are nearest to this text, without the one named ``excluded``."""
        return [] if self.served.map is None else self.served.map.nearest(self.explanation.verdict.vector, excluded)

    def to_json(self) -> dict[str, Any]:
        """What ``explain.py --json`` prints, and the ranges of words that are left out."""
        sentences = self.explanation.verdict.sentence_weights
        if self.word_attention is None or sentences is None:
            weights: dict[str, Any] = {"word_weights": None, "sentence_weights": None}
        else:
            kept = ~np.array(self.sentences_left_out)
            weights = {"word_weights": self.word_attention, "sentence_weights": scattered(sentences, kept)}
        whole = replace(self.explanation, verdict=self.explanation.verdict._replace(**weights))
        out = [list(span) for span, stays in zip(self.spans, self.kept, strict=True) if not stays]
        return {**whole.to_json(), "left_out": out} if out else whole.to_json()

    def note(self, word: int) -> str:
        """What is shown of a word when the mouse is over it."""
        parts = []
        if not self.kept[word]:
            return "left out"
        score = self.explanation.scores.words[word]
        if self.explanation.scores.signed:
            parts.append(f"{score:+z.4f} {self.explanation.unit_in_words()}")
        if self.word_attention is not None:
            parts.append(f"attention {self.word_attention[word]:.3f} of its sentence's")
        if self.unknown[word]:
            parts.append("not in the vocabulary")
        if word in self.edited:
            parts.append(self.edited[word])
        return " · ".join(parts)


def place_on_map(served: ServedRun, verdict: Verdict) -> list[float]:
    """x and y of a text on the map of a run; empty where there is none."""
    return [] if served.map is None else served.map.places(verdict.vector).tolist()


def answer(served: ServedRun, question: Question) -> Answer:
    """Asks one run.

    Raises:
        Refusal: The text has no word, is too long for the method, or too much is waiting.
    """
    written = read_text(served.predictor, question.text)
    if not written.reading.words:
        raise Refusal(422, "There is no word in this text. Write or paste some, or draw a document.")
    document = written.reading.document
    kept = kept_words(written.spans, question.without)
    method, about_method = usable_method(served, question.method, int(kept.sum()))
    cost = words_to_read(keep_words(document, kept), method) if kept.any() else 0
    refuse_if_busy(served, cost)
    will_read(cost)
    verdict, before = predictions(served, question, document, kept)
    compared = verdict if before is None else before  # an edit does not change the class that is explained
    target, about_class = class_to_explain(served, question.target, method, compared)
    words = [span for span, stays in zip(words_of(written.spans), kept, strict=True) if stays]
    with in_turn(served, cost):
        scores = scores_of_kept(served, document, kept, target, method, verdict)
        turning = counterfactuals_of_kept(served, document, kept, scores, verdict, target)
    explanation = Explanation(
        written.text,
        written.spans,
        served.predictor.class_names,
        target,
        method,
        verdict,
        scores,
        document.words_per_sentence,
        log_odds_parts(served.predictor, written.text, words, keep_words(document, kept), verdict, target),
        turning,
        served.predictor.thresholds,
    )
    return Answer(
        served,
        explanation,
        kept,
        document.token_ids == UNKNOWN_ID,
        attention_of_kept(verdict, kept),
        before,
        [*about_method, *about_class, *remarks_on(written.reading, kept, served.predictor.short_text)],
        edits(served, question.original, written) if question.original else {},
    )


def explain_first_text(runs: Sequence[ServedRun]) -> None:
    """Explains a text before anybody asks: the first explanation traces its graph, which takes seconds."""
    for served in runs:
        with contextlib.suppress(Refusal):
            answer(served, Question(text="A first text. And a second sentence.", method=served.default_method))


def edits(served: ServedRun, original: str, written: WrittenText) -> dict[int, str]:
    """What was edited, by the position of the word. ``original``: the text before."""
    before = [original[start:end] for start, end in words_of(served.predictor.spans(original))]
    return edited_words(before, [written.text[start:end] for start, end in words_of(written.spans)])


def predictions(
    served: ServedRun, question: Question, document: EncodedDocument, kept: np.ndarray
) -> tuple[Verdict, Verdict | None]:
    """What the network says of the words that are kept, and of the text before anything was edited or left out.

    Args:
        served: The run.
        question: With the text before words were edited.
        document: The edited text.
        kept: bool [N].

    Returns:
        The second is ``None`` where nothing was changed.
    """
    documents = [keep_words(document, kept)]
    if question.original:
        documents.append(served.predictor.read(question.original).document)
    elif not kept.all():
        documents.append(document)
    verdict, *before = scored(served, documents)
    return verdict, before[0] if before else None


def scores_of_kept(
    served: ServedRun, document: EncodedDocument, kept: np.ndarray, target: int, method: str, verdict: Verdict
) -> Scores:
    """Scores of all words and sentences, 0 for those that are left out.

    Args:
        served: The run.
        document: The whole text.
        kept: bool [N].
        target: The class to explain.
        method: How.
        verdict: On the words that are kept.
    """
    if not kept.any():
        return Scores(np.zeros(len(kept)), np.zeros(len(document.words_per_sentence)), METHODS[method].signed)
    [scores] = explain(served.predictor, [keep_words(document, kept)], [target], method, [verdict])
    kept_sentences = np.logical_or.reduceat(kept, first_words(document))
    words, sentences = scattered(scores.words, kept), scattered(scores.sentences, kept_sentences)
    return Scores(words, sentences, scores.signed, scores.completeness)


def counterfactuals_of_kept(
    served: ServedRun, document: EncodedDocument, kept: np.ndarray, scores: Scores, verdict: Verdict, target: int
) -> list[Counterfactual]:
    """What else would have to be left out for another verdict; none of a long text.

    Arguments as for the scores.
    """
    if not 0 < kept.sum() <= COUNTERFACTUAL_WORDS:
        return []
    kept_sentences = np.logical_or.reduceat(kept, first_words(document))
    of_kept = replace(scores, words=scores.words[kept], sentences=scores.sentences[kept_sentences])
    thresholds = served.predictor.thresholds
    text = keep_words(document, kept)
    found = counterfactuals(served.predictor, text, of_kept, verdict.probabilities, target, thresholds)
    where = {"words": np.flatnonzero(kept), "sentences": np.flatnonzero(kept_sentences)}
    return [one._replace(removed=where[one.level][one.removed]) for one in found]


def attention_of_kept(verdict: Verdict, kept: np.ndarray) -> np.ndarray | None:
    """float32 [N], attention of each word, 0 for one that is left out; ``None`` without attention or words."""
    return None if verdict.word_weights is None or not kept.any() else scattered(verdict.word_weights, kept)


def remarks_on(reading: Reading, kept: np.ndarray, short_text: int) -> list[str]:
    """What a person should know of the text that was read.

    Args:
        reading: Of the whole text.
        kept: bool [N], the words that are not left out.
        short_text: A text with fewer words is shorter than almost all training texts; 0 where that is not known.
    """
    remarks = []
    if not kept.any():
        remarks.append("Everything is left out: this is the network's prediction for an empty text.")
    if kept.sum() > COUNTERFACTUAL_WORDS:
        remarks.append(
            f"No words that would turn the verdict are searched for in more than {COUNTERFACTUAL_WORDS:,} words here; "
            "explain.py has no limit."
        )
    return [*remarks, *sentences_on(reading, short_text)]


def kept_words(spans: Sequence[Sequence[Span]], without: Sequence[Span]) -> np.ndarray:
    """bool [N]: false for words that begin in one of the ranges. ``spans``: the words of each sentence."""
    starts = np.array([start for start, _ in words_of(spans)])
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
        raise Refusal(503, "Too many texts are waiting. Try again in a few seconds.", error.seconds) from error
    except UserError as error:
        raise Refusal(503, f"{error}.", RETRY_SECONDS) from error


def words_to_read(document: EncodedDocument, method: str) -> int:
    """About how many words the network reads to explain a text and to find what turns its verdict."""
    words = len(document.token_ids)
    search = COUNTERFACTUAL_PASSES if words <= COUNTERFACTUAL_WORDS else 0
    return words * (METHODS[method].passes(document) + search)


def refuse_if_busy(served: ServedRun, words: int) -> None:
    """Refuses at once what would wait too long for its turn, before anything is computed for it."""
    try:
        served.lines.check(words)
    except Busy as error:
        raise too_many_explanations(error) from error


def too_many_explanations(error: Busy) -> Refusal:
    """The refusal of an explanation that would wait too long."""
    return Refusal(503, "Too many explanations are waiting. Try again in a while.", error.seconds)


@contextlib.contextmanager
def in_turn(served: ServedRun, words: int) -> Iterator[None]:
    """Waits for the turn of work that reads so many words; what fails for lack of memory is a refusal."""
    turn = served.lines.turn(words) if words else contextlib.nullcontext()
    try:
        with turn, explain_memory("give a shorter text, or choose attention"):
            yield
    except Busy as error:
        raise too_many_explanations(error) from error
    except UserError as error:
        raise Refusal(503, f"{error}.", RETRY_SECONDS) from error


def run_named(runs: Sequence[ServedRun], name: str) -> ServedRun:
    """The run of that name; ``han`` is the first."""
    for served in runs:
        if name == served.name:
            return served
    if name == "han":
        return runs[0]
    known = ", ".join(["han", *(served.name for served in runs)])
    raise Refusal(404, f"There is no model {name[:100]!r} here; there are: {known}.")
