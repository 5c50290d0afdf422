"""Which words and sentences made the network say what it says: four methods, one form of answer.

``attention``             what the network attended to. A word counts sqrt(sentence weight) x word weight, as the paper
                          shows it (Yang et al. 2016, section 3.3). Never negative, and not made for one class.
``gradient``              gradient x input on the word vectors (Denil et al. 2014; Shrikumar et al. 2016).
``integrated_gradients``  the gradient averaged on the straight way from word vectors of zero to the real ones, times
                          input (Sundararajan et al. 2017). The scores of all words add up to the difference between
                          the text's and the zero vectors' log-odds; how nearly they do is reported.
``leave_one_out``         the text is scored again without each word, and without each sentence (Li et al. 2016).

The last three explain one class, by its log-odds log(p / (1 - p)): unlike the probability, they still move where the
network is sure, and with two classes they are the difference of the logits. A word's score is what it adds to them.
The sentence scores of both gradient methods are the sums of their words' scores.

Gradient methods need no more of a model than ``model(documents)`` and its table of word vectors, ``model.embeddings``.

    N words   S sentences   B documents   E embedding   C classes
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from config import EXPLANATION_METHODS
from data_processing import Span
from network.layers import Documents
from report.shading import MOST_SENTENCES, LeftOut, ShadedSentence, shade_scores
from runtime.predictor import Predictor, Verdict, batches, join
from runtime.scoring import VECTOR
from text.text_reader import EMPTY, EncodedDocument
from utils import read_json

FAITHFULNESS_FILE = "faithfulness.json"  # in the run folder

GRADIENT_WORDS = 15_000  # most words in a batch whose gradient is taken: several times the memory of a forward pass

FEWEST_STEPS, MOST_STEPS = 16, 256
TOLERANCE = 0.01  # of integrated gradients: relative to the difference to be explained; absolute where that is below 1


@dataclass(frozen=True)
class Scores:
    """How much each word and each sentence of a document counts, by one method.

    Attributes:
        words: float64 [N]; the larger, the more the word speaks for the class.
        sentences: float64 [S].
        signed: Whether negative scores occur, which speak against the class.
        completeness: Of integrated gradients: (sum of the word scores, the difference that they should add up to,
            steps taken); ``None`` for other methods.
    """

    words: np.ndarray
    sentences: np.ndarray
    signed: bool
    completeness: tuple[float, float, int] | None = None


def methods_of(predictor: Predictor) -> tuple[str, ...]:
    """The methods that the predictor's network can be explained with: without attention the others."""
    return EXPLANATION_METHODS if predictor.has_attention else EXPLANATION_METHODS[1:]


def default_method(predictor: Predictor, run: Path) -> tuple[str, dict[str, Any]]:
    """The method that a run is explained by unless another is asked for.

    Args:
        predictor: The network.
        run: The run folder.

    Returns:
        The method, and what ``explain.py --faithfulness`` found; nothing where it has not examined these weights.
    """
    file, there = run / FAITHFULNESS_FILE, methods_of(predictor)
    found = read_json(file) if file.exists() else {}
    if found.get("weights_sha256") == predictor.weights_sha256 and found.get("best_method") in there:
        return found["best_method"], found
    return "attention" if "attention" in there else "integrated_gradients", {}


def explain(
    predictor: Predictor, documents: Sequence[EncodedDocument], targets: Sequence[int], method: str
) -> list[Scores]:
    """Explains documents.

    Args:
        predictor: The network.
        documents: [B].
        targets: [B], the class of each document whose log-odds are explained.
        method: One of :func:`methods_of`.

    Raises:
        ValueError: An unknown method, or attention of a network that has none.
    """
    if method not in methods_of(predictor):
        raise ValueError(f"unknown method {method!r}; there are: {', '.join(methods_of(predictor))}")
    if method == "attention":
        return [attention_scores(*pair) for pair in zip(documents, predictor.score(documents), strict=True)]
    if method == "leave_one_out":
        return [leave_one_out(predictor, *pair) for pair in zip(documents, targets, strict=True)]
    if method == "gradient":
        _, products = gradient_products(predictor, documents, np.ones(len(documents)), targets)
        return [signed_scores(*pair) for pair in zip(documents, products, strict=True)]
    return integrated_gradients(predictor, documents, targets)


def attention_scores(document: EncodedDocument, verdict: Verdict) -> Scores:
    """Scores from the attention weights of a document that was scored."""
    if verdict.word_weights is None or verdict.sentence_weights is None:
        raise ValueError("the network has no attention")
    sentences = verdict.sentence_weights.astype(np.float64)
    words = np.sqrt(np.repeat(sentences, document.words_per_sentence)) * verdict.word_weights
    return Scores(words, sentences, signed=False)


def signed_scores(
    document: EncodedDocument, words: np.ndarray, completeness: tuple[float, float, int] | None = None
) -> Scores:
    """Scores whose sentences are the sums of their words. ``words``: float64 [N]."""
    return Scores(words, np.add.reduceat(words, first_words(document)), True, completeness)


def first_words(document: EncodedDocument) -> np.ndarray:
    """int64 [S], the place of each sentence's first word."""
    return np.cumsum(document.words_per_sentence, dtype=np.int64) - document.words_per_sentence


def log_odds(logits: np.ndarray, targets: Sequence[int] | np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of a class, from logits, exact where p is nearly 1.

    Args:
        logits: float [B, C], C at least 2.
        targets: int [B].

    Returns:
        float64 [B].
    """
    values, rows = logits.astype(np.float64), np.arange(len(logits))
    others = values.copy()
    others[rows, targets] = -np.inf
    return values[rows, targets] - np.logaddexp.reduce(others, axis=1)


# ---------------------------------------------------------------------------------------------------------------------
# Texts with words left out


def keep_words(document: EncodedDocument, kept: np.ndarray) -> EncodedDocument:
    """The document with some of its words only, as if the others had never been written.

    A sentence that loses all its words goes away; a document that loses all of them is what the text stages make of an
    empty text, a single ``<unk>``. Sentences stay divided as they were.

    Args:
        document: The document.
        kept: bool [N].
    """
    lengths = np.add.reduceat(kept, first_words(document), dtype=np.int32)
    if not lengths.any():
        return EMPTY
    return EncodedDocument(document.token_ids[kept], lengths[lengths > 0])


def words_of_sentences(document: EncodedDocument, chosen: np.ndarray) -> np.ndarray:
    """bool [N]: the words of the chosen sentences. ``chosen``: bool [S]."""
    return np.repeat(chosen, document.words_per_sentence)


def without_each_word(document: EncodedDocument) -> Iterator[EncodedDocument]:
    """Yields N documents, the first without the first word, and so on."""
    for place in range(len(document.token_ids)):
        kept = np.ones(len(document.token_ids), bool)
        kept[place] = False
        yield keep_words(document, kept)


def without_each_sentence(document: EncodedDocument) -> Iterator[EncodedDocument]:
    """Yields S documents, the first without the first sentence, and so on."""
    for place in range(len(document.words_per_sentence)):
        kept = np.ones(len(document.words_per_sentence), bool)
        kept[place] = False
        yield keep_words(document, words_of_sentences(document, kept))


def leave_one_out(predictor: Predictor, document: EncodedDocument, target: int) -> Scores:
    """What the log-odds lose when a word, or a sentence, is left out: positive where it spoke for the class."""
    variants = itertools.chain([document], without_each_word(document), without_each_sentence(document))
    logits = predictor.logits(variants)
    odds = log_odds(logits, np.full(len(logits), target))
    lost = odds[0] - odds[1:]
    words = len(document.token_ids)
    return Scores(lost[:words], lost[words:], signed=True)


# ---------------------------------------------------------------------------------------------------------------------
# Gradients


def logits_from_vectors(model: Any, documents: Documents, vectors: Any) -> Any:
    """The logits of a batch whose words have the given vectors, one for each occurrence: float32 [B, C].

    The model is not asked to know of this: while it is called, the vectors stand in the place of its table, behind the
    rows of ``<pad>`` and ``<unk>``, and the words are numbered through.

    Args:
        model: ``logits = model(documents)``; looks words up in ``model.embeddings``.
        documents: The batch; its token ids are not looked at.
        vectors: float32 [N, E].
    """
    special = 2
    table = tf.concat([model.embeddings.value[:special], vectors], axis=0)
    numbered = documents._replace(token_ids=tf.range(special, tf.shape(table)[0]))
    scope = keras.StatelessScope()
    scope.add_update((model.embeddings, table))
    with scope:
        return model(numbered)


def product_function(model: Any) -> Any:
    """The gradient of the log-odds with respect to each word's vector, times that vector, as one graph.

    Made once per model. Arguments: documents; float32 [B], with which the word vectors of each document are multiplied
    before they are read; int32 [B], the classes. Returns float32 [B], the log-odds, and float32 [N], the inner products
    of gradient and (unscaled) vector.
    """
    if not hasattr(model, "_product_function"):
        signature = [Documents(VECTOR, VECTOR, VECTOR), tf.TensorSpec([None], tf.float32), VECTOR]

        @tf.function(input_signature=signature, autograph=False)
        def products(documents: Documents, scales: Any, targets: Any) -> Any:
            vectors = tf.gather(model.embeddings.value, documents.token_ids)  # [N, E]
            of_words = tf.repeat(tf.repeat(scales, documents.sentences_per_document), documents.words_per_sentence)
            scaled = vectors * of_words[:, tf.newaxis]
            with tf.GradientTape() as tape:
                tape.watch(scaled)
                logits = tf.cast(logits_from_vectors(model, documents, scaled), tf.float32)  # [B, C]
                is_target = tf.one_hot(targets, tf.shape(logits)[1], on_value=True, off_value=False)
                others = tf.reduce_logsumexp(tf.where(is_target, logits.dtype.min, logits), axis=1)
                odds = tf.boolean_mask(logits, is_target) - others
            # A document's log-odds depend on its own words alone, so one gradient of all serves every document.
            gradient = dense(tape.gradient(odds, scaled), tf.shape(scaled)[0])
            return odds, tf.reduce_sum(gradient * vectors, axis=1)

        model._product_function = products
    return model._product_function


def dense(gradient: Any, rows: Any) -> Any:
    """A gradient as a plain tensor, whichever form TensorFlow chose for it."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, rows)
    return gradient


def gradient_products(
    predictor: Predictor, documents: Sequence[EncodedDocument], scales: Any, targets: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Gradient times input, in batches.

    Args:
        predictor: The network.
        documents: [B]; one may stand there several times.
        scales: float [B], factors on the word vectors of each document.
        targets: int [B].

    Returns:
        float64 [B], log-odds of the target, and B times float64 [N], a value per word.
    """
    products = product_function(predictor.model)
    scales, classes = np.asarray(scales, np.float32), np.asarray(targets, np.int32)
    odds, values = np.zeros(len(documents)), [np.zeros(0)] * len(documents)
    for numbers in batches(documents, GRADIENT_WORDS):
        chosen = [documents[number] for number in numbers]
        some_odds, some = products(join(chosen), tf.constant(scales[numbers]), tf.constant(classes[numbers]))
        odds[numbers] = some_odds.numpy()
        ends = np.cumsum([len(document.token_ids) for document in chosen])[:-1]
        for number, words in zip(numbers, np.split(some.numpy().astype(np.float64), ends), strict=True):
            values[number] = words
    return odds, values


def integrated_gradients(
    predictor: Predictor,
    documents: Sequence[EncodedDocument],
    targets: Sequence[int],
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> list[Scores]:
    """Integrated gradients from word vectors of zero, by Gauss and Legendre's rule.

    The number of steps is doubled, document by document, until the scores add up to what they should (the completeness
    of Sundararajan et al. 2017, proposition 1) within ``tolerance``.
    """
    found: list[Any] = [None] * len(documents)
    waiting, steps = list(range(len(documents))), FEWEST_STEPS
    while waiting:
        missed = []
        for number in waiting:
            found[number] = integrate(predictor, documents[number], targets[number], steps)
            reached, wanted, _ = found[number].completeness
            if abs(reached - wanted) > tolerance * max(abs(wanted), 1) and 2 * steps <= most_steps:
                missed.append(number)
        waiting, steps = missed, 2 * steps
    return found


def integrate(predictor: Predictor, document: EncodedDocument, target: int, steps: int) -> Scores:
    """Integrated gradients of one document with a given number of steps."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    scales = np.concatenate([(nodes + 1) / 2, [0.0, 1.0]])  # both ends are scored along with the steps between
    odds, products = gradient_products(predictor, [document] * len(scales), scales, [target] * len(scales))
    words = weights / 2 @ np.array(products[:steps])
    return signed_scores(document, words, (float(words.sum()), float(odds[-1] - odds[-2]), steps))


# ---------------------------------------------------------------------------------------------------------------------
# A text with its explanation


@dataclass(frozen=True)
class Explanation:
    """A text as a person wrote it, what the network says of it, and why by one method.

    Attributes:
        text: The original.
        spans: [S] sentences, each the (start, end) of its words in ``text``.
        class_names: C names.
        target: The class that is explained; the predicted one unless another was asked for.
        method: One of :func:`methods_of`.
        verdict: Probabilities and attention weights.
        scores: By the method.
        words_per_sentence: int32 [S].
    """

    text: str
    spans: list[list[Span]]
    class_names: tuple[str, ...]
    target: int
    method: str
    verdict: Verdict
    scores: Scores
    words_per_sentence: np.ndarray

    def shaded(self, most: int | None = MOST_SENTENCES) -> list[ShadedSentence | LeftOut]:
        """The text as it is shown; a sentence's weight is its share in all sentences' scores, with its sign."""
        total = np.abs(self.scores.sentences).sum() or 1.0
        return shade_scores(self.text, self.spans, self.scores.words, self.scores.sentences / total, most)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON; starts and ends count code points of the text."""
        probabilities = self.verdict.probabilities.tolist()
        value: dict[str, Any] = {
            "prediction": self.class_names[int(self.verdict.probabilities.argmax())],
            "probabilities": dict(zip(self.class_names, probabilities, strict=True)),
            "method": self.method,
            "explained_class": self.class_names[self.target],
            "text": self.text,
            "sentences": [self.sentence_json(number) for number in range(len(self.spans))],
        }
        if self.scores.completeness:
            reached, wanted, steps = self.scores.completeness
            value["completeness"] = {"sum_of_scores": reached, "difference_of_log_odds": wanted, "steps": steps}
        return value

    def sentence_json(self, number: int) -> dict[str, Any]:
        """One sentence: place, score, attention weight, and the same of its words."""
        words = self.spans[number]
        first = int(self.words_per_sentence[:number].sum())
        value: dict[str, Any] = {
            "start": words[0][0],
            "end": words[-1][1],
            "score": float(self.scores.sentences[number]),
            "words": [],
        }
        if self.verdict.sentence_weights is not None:
            value["attention"] = float(self.verdict.sentence_weights[number])
        for place, (start, end) in enumerate(words, start=first):
            word: dict[str, Any] = {"word": self.text[start:end], "start": start, "end": end}
            word["score"] = float(self.scores.words[place])
            if self.verdict.word_weights is not None:
                word["attention"] = float(self.verdict.word_weights[place])
            value["words"].append(word)
        return value


def explain_text(predictor: Predictor, text: str, method: str, target: int | None = None) -> Explanation:
    """Scores and explains one text.

    Args:
        predictor: The network.
        text: What a person wrote.
        method: One of :func:`methods_of`.
        target: The class to explain; the predicted one where ``None``.

    Raises:
        ValueError: The text has no word, or the network has no such method.
    """
    reading = predictor.read(text)
    if not reading.words:
        raise ValueError("the text has no word")
    [verdict] = predictor.score([reading.document])
    chosen = int(verdict.probabilities.argmax()) if target is None else target
    [scores] = explain(predictor, [reading.document], [chosen], method)
    return Explanation(
        text,
        predictor.spans(text),
        predictor.class_names,
        chosen,
        method,
        verdict,
        scores,
        reading.document.words_per_sentence,
    )
