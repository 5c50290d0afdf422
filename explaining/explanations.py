"""Which words and sentences made the network predict what it predicts: several methods, one table, one kind of result.

``attention``             what the network attended to. A word counts sentence weight x word weight: the weights of a
                          text add up to 1. Never negative, and not of one class. Words are shaded as the paper shows
                          them, by sqrt(sentence weight) x word weight (Yang et al. 2016, section 3.3).
``contribution``          what each sentence adds to the log-odds: exact, because the logits are a sum over sentences of
                          attention weight x encoded sentence x classifier, and the bias. A word counts what its
                          sentence's vector receives from it, times the gradient at the sentence vectors.
``neighbours``            ``contribution``, each word's spread over its neighbours in the sentence: people mark
                          passages, and a word's state also speaks of the words around it. The sums stay the same.
``gradient``              gradient x input on the word vectors (Denil et al. 2014; Shrikumar et al. 2016).
``scaled_gradient``       the same with the gradient at word vectors scaled to :data:`SCALE`, where the network is not
                          yet sure: there it says more of what would turn the verdict (Miglani et al. 2020).
``integrated_gradients``  the gradient averaged along the straight line from word vectors of zero to the real ones,
                          times input (Sundararajan et al. 2017). The scores of all words add up to the difference
                          between the text's and the zero vectors' log-odds; how nearly they do is reported.
``leave_one_out``         the text is scored again without each word, and without each sentence (Li et al. 2016).

All but attention explain one class, by its log-odds log(p / (1 - p)): unlike the probability, they still change where
the network is sure, and with two classes they are the difference of the logits. A word's score is what it adds to them.
The sentence scores of the gradient methods are the sums of their words' scores; those of ``contribution`` add up, with
the log-odds of the bias, to the log-odds of the text.

With the n-gram lane (:mod:`network.ngrams`) these scores are of both parts: what a word brings to the lane counts as a
part of its input, and is exact. Attention is the network's alone.

A new method is one entry of :data:`METHODS` and one function. This module imports no TensorFlow, so that scripts list
the methods in ``--help`` at once.

    N words   S sentences   B documents
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from explaining.leaving_out import first_words, without_each_sentence, without_each_word
from explaining.log_odds import log_odds
from text.text_reader import EncodedDocument

if TYPE_CHECKING:
    from runtime.predictor import Predictor, Verdict

REACH = 9  # words; chosen on 200 training documents of ERASER's movie reviews, where 13 gave little more
SCALE = 0.4  # of scaled_gradient: chosen on validation documents of several data sets (docs/explanations.md)
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


# (predictor, documents [B], their verdicts [B], the class to explain of each [B]) -> scores [B]
Function: TypeAlias = "Callable[[Predictor, Sequence[EncodedDocument], Sequence[Verdict], Sequence[int]], list[Scores]]"

# The same with the verdicts; without targets the predicted classes are explained.
ScoredFunction: TypeAlias = (
    "Callable[[Predictor, Sequence[EncodedDocument], Sequence[int] | None], list[tuple[Verdict, Scores]]]"
)


@dataclass(frozen=True)
class Method:
    """A way to explain.

    Attributes:
        title: Its name as it is shown.
        note: What the shades of a text mean, a sentence; for a signed method the name of the class follows.
        signed: Whether it explains one class, with scores against it as well as for it.
        needs_attention: Whether only a network with attention can be explained by it.
        most_words: Words up to which the page offers it, about ten seconds on two cores; ``None`` for any number.
        passes: About how many times the network reads the document; a backward pass counts as two. 0 where the
            verdict already contains the explanation.
        function: Explains documents.
        scored: The same with the verdicts, for a method whose own pass gives them; targets may be ``None``.
    """

    title: str
    note: str
    signed: bool
    needs_attention: bool
    most_words: int | None
    passes: Callable[[EncodedDocument], int]
    function: Function
    scored: ScoredFunction | None = None


def methods_of(predictor: Predictor) -> tuple[str, ...]:
    """The methods that the predictor's network can be explained by, the cheapest first."""
    return tuple(name for name, method in METHODS.items() if predictor.has_attention or not method.needs_attention)


def explain(
    predictor: Predictor,
    documents: Sequence[EncodedDocument],
    targets: Sequence[int],
    method: str,
    verdicts: Sequence[Verdict] | None = None,
) -> list[Scores]:
    """Explains documents.

    Args:
        predictor: The network.
        documents: [B].
        targets: [B], the class of each document whose log-odds are explained.
        method: One of :func:`methods_of`.
        verdicts: [B], the outputs of the network for the documents; scored here where not given.

    Raises:
        ValueError: An unknown method, or one that needs attention of a network that has none.
    """
    if method not in methods_of(predictor):
        raise ValueError(f"unknown method {method!r}; there are: {', '.join(methods_of(predictor))}")
    known = predictor.score(documents) if verdicts is None else verdicts
    return METHODS[method].function(predictor, documents, known, targets)


def score_and_explain(
    predictor: Predictor, documents: Sequence[EncodedDocument], targets: Sequence[int] | None, method: str
) -> list[tuple[Verdict, Scores]]:
    """Scores documents and explains them; as :func:`explain`, but ``targets`` may be ``None``, the predicted classes.

    Cheaper than one after the other where a method's own pass through the network gives the verdicts.

    Raises:
        ValueError: As :func:`explain`.
    """
    if method in methods_of(predictor) and (scored := METHODS[method].scored):
        return scored(predictor, documents, targets)
    verdicts = predictor.score(documents)
    chosen = [int(verdict.probabilities.argmax()) for verdict in verdicts] if targets is None else targets
    return list(zip(verdicts, explain(predictor, documents, chosen, method, verdicts), strict=True))


def signed_scores(
    document: EncodedDocument, words: np.ndarray, completeness: tuple[float, float, int] | None = None
) -> Scores:
    """Scores whose sentences are the sums of their words. ``words``: float64 [N]."""
    return Scores(words, np.add.reduceat(words, first_words(document)), True, completeness)


# ---------------------------------------------------------------------------------------------------------------------
# The methods


def attention(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict], targets: Sequence[int]
) -> list[Scores]:
    """Attention as it is shown; the class makes no difference."""
    return [attention_scores(*pair) for pair in zip(documents, verdicts, strict=True)]


def attention_scores(document: EncodedDocument, verdict: Verdict) -> Scores:
    """Scores from the attention weights of a document that was scored."""
    if verdict.word_weights is None or verdict.sentence_weights is None:
        raise ValueError("the network has no attention")
    sentences = verdict.sentence_weights.astype(np.float64)
    # Without the paper's square root, which is for showing: words rank a little better (docs/explanations.md).
    words = np.repeat(sentences, document.words_per_sentence) * verdict.word_weights
    return Scores(words, sentences, signed=False)


def shades(scores: Scores, words_per_sentence: np.ndarray) -> np.ndarray:
    """float64 [N], how strongly each word is shaded: its score; by attention as the paper shows it.

    The paper's sqrt(sentence weight) x word weight shows the important words of less important sentences, too.

    Args:
        scores: By a method; the one without signs is attention.
        words_per_sentence: int32 [S].
    """
    if scores.signed:
        return scores.words
    roots = np.sqrt(np.repeat(scores.sentences, words_per_sentence))
    return np.divide(scores.words, roots, out=np.zeros_like(roots), where=roots > 0)


def contribution(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict], targets: Sequence[int]
) -> list[Scores]:
    """What each sentence adds to the log-odds, and what each word adds by way of the sentence vectors."""
    return [scores for _, scores in scored_contribution(predictor, documents, targets)]


def scored_contribution(
    predictor: Predictor, documents: Sequence[EncodedDocument], targets: Sequence[int] | None
) -> list[tuple[Verdict, Scores]]:
    """:func:`contribution` with the verdicts, which the same pass gives."""
    from explaining import gradients

    found = gradients.contributions(predictor, documents, targets)
    return [(verdict, Scores(words, sentences, signed=True)) for verdict, words, sentences in found]


def neighbours(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict], targets: Sequence[int]
) -> list[Scores]:
    """:func:`contribution` with each word's score spread over its neighbours."""
    return [scores for _, scores in scored_neighbours(predictor, documents, targets)]


def scored_neighbours(
    predictor: Predictor, documents: Sequence[EncodedDocument], targets: Sequence[int] | None
) -> list[tuple[Verdict, Scores]]:
    """:func:`neighbours` with the verdicts."""
    found = scored_contribution(predictor, documents, targets)
    return [
        (verdict, replace(scores, words=spread(scores.words, document.words_per_sentence)))
        for document, (verdict, scores) in zip(documents, found, strict=True)
    ]


def spread(words: np.ndarray, words_per_sentence: np.ndarray) -> np.ndarray:
    """Scores of words spread over their neighbours, float64 [N]; the sum of a sentence's stays the same.

    A word gives to one that is d places away in its sentence a share in proportion to REACH - d.

    Args:
        words: float64 [N].
        words_per_sentence: int32 [S].
    """
    result = np.zeros_like(words)
    for first, length in zip(np.cumsum(words_per_sentence) - words_per_sentence, words_per_sentence, strict=True):
        places = np.arange(length)
        kernel = np.maximum(REACH - np.abs(places[:, np.newaxis] - places), 0)
        result[first : first + length] = (kernel / kernel.sum(axis=0)) @ words[first : first + length]
    return result


def leave_one_out(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict], targets: Sequence[int]
) -> list[Scores]:
    """What the log-odds lose when a word, or a sentence, is left out: positive where it spoke for the class."""
    return [left_out_scores(predictor, *pair) for pair in zip(documents, targets, strict=True)]


def left_out_scores(predictor: Predictor, document: EncodedDocument, target: int) -> Scores:
    """Leave-one-out of one document."""
    variants = itertools.chain([document], without_each_word(document), without_each_sentence(document))
    logits = predictor.logits(variants)
    odds = log_odds(logits, np.full(len(logits), target), predictor.thresholds is not None)
    lost = odds[0] - odds[1:]
    words = len(document.token_ids)
    return Scores(lost[:words], lost[words:], signed=True)


def gradient(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict], targets: Sequence[int]
) -> list[Scores]:
    """Gradient x input."""
    return gradient_at(1.0, predictor, documents, targets)


def scaled_gradient(
    predictor: Predictor, documents: Sequence[EncodedDocument], verdicts: Sequence[Verdict], targets: Sequence[int]
) -> list[Scores]:
    """Gradient x input, with the gradient at word vectors scaled to :data:`SCALE`."""
    return gradient_at(SCALE, predictor, documents, targets)


def gradient_at(
    scale: float, predictor: Predictor, documents: Sequence[EncodedDocument], targets: Sequence[int]
) -> list[Scores]:
    """Gradient x input, with the gradient at word vectors scaled by ``scale``."""
    _, products = gradient_products(predictor, documents, np.full(len(documents), scale), targets)
    return [signed_scores(*pair) for pair in zip(documents, products, strict=True)]


def integrated_gradients(
    predictor: Predictor,
    documents: Sequence[EncodedDocument],
    verdicts: Sequence[Verdict],
    targets: Sequence[int],
    tolerance: float = TOLERANCE,
    most_steps: int = MOST_STEPS,
) -> list[Scores]:
    """Integrated gradients from word vectors of zero, by Gauss and Legendre's rule.

    The number of steps is doubled, document by document, until the scores add up to what they should (the completeness
    of Sundararajan et al. 2017, proposition 1) within ``tolerance`` of it, or of 1 where it is smaller than 1.
    """
    results: list[Any] = [None] * len(documents)
    waiting, steps = list(range(len(documents))), FEWEST_STEPS
    while waiting:
        missed = []
        for number in waiting:
            results[number] = integrate(predictor, documents[number], targets[number], steps)
            reached, wanted, _ = results[number].completeness
            if abs(reached - wanted) > tolerance * max(abs(wanted), 1) and 2 * steps <= most_steps:
                missed.append(number)
        waiting, steps = missed, 2 * steps
    return results


def integrate(predictor: Predictor, document: EncodedDocument, target: int, steps: int) -> Scores:
    """Integrated gradients of one document with a given number of steps."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    scales = np.concatenate([(nodes + 1) / 2, [0.0, 1.0]])  # both ends are scored along with the steps between
    odds, products = gradient_products(predictor, [document] * len(scales), scales, [target] * len(scales))
    words = weights / 2 @ np.array(products[:steps])
    return signed_scores(document, words, (float(words.sum()), float(odds[-1] - odds[-2]), steps))


def gradient_products(
    predictor: Predictor, documents: Sequence[EncodedDocument], scales: Any, targets: Sequence[int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """:func:`explaining.gradients.gradient_products`, imported at the first call: it brings TensorFlow."""
    from explaining import gradients

    return gradients.gradient_products(predictor, documents, scales, targets)


# In order of the time they take: of methods that are equally good the first is preferred.
METHODS = {
    "attention": Method(
        "attention",
        "Shaded by attention: sqrt(sentence weight) x word weight.",
        signed=False,
        needs_attention=True,
        most_words=None,
        passes=lambda document: 0,
        function=attention,
    ),
    "contribution": Method(
        "contribution",
        "Shaded by what each sentence adds to the log-odds, and each word by its sentence's vector, for",
        signed=True,
        needs_attention=True,
        most_words=None,
        passes=lambda document: 1,
        function=contribution,
        scored=scored_contribution,
    ),
    "neighbours": Method(
        "contribution, spread",
        "Shaded by contribution, each word's spread over its neighbours in the sentence, for",
        signed=True,
        needs_attention=True,
        most_words=None,
        passes=lambda document: 1,
        function=neighbours,
        scored=scored_neighbours,
    ),
    "gradient": Method(
        "gradient x input",
        "Shaded by gradient x input on the word vectors, for",
        signed=True,
        needs_attention=False,
        most_words=None,
        passes=lambda document: 3,
        function=gradient,
    ),
    "scaled_gradient": Method(
        "scaled gradient x input",
        f"Shaded by gradient x input, with the gradient at word vectors scaled to {SCALE}, for",
        signed=True,
        needs_attention=False,
        most_words=None,
        passes=lambda document: 3,
        function=scaled_gradient,
    ),
    "integrated_gradients": Method(
        "integrated gradients",
        "Shaded by integrated gradients from word vectors of zero, for",
        signed=True,
        needs_attention=False,
        most_words=10_000,
        passes=lambda document: 3 * (FEWEST_STEPS + 2),
        function=integrated_gradients,
    ),
    "leave_one_out": Method(
        "leave-one-out",
        "Shaded by what the log-odds lose when a word, or a sentence, is left out, for",
        signed=True,
        needs_attention=False,
        most_words=1_500,
        passes=lambda document: 1 + len(document.token_ids) + len(document.words_per_sentence),
        function=leave_one_out,
    ),
}
UNEXAMINED = ("contribution", "integrated_gradients")  # the first of these that a network has, until it is examined
