"""Attention in a few validation documents while the network learns, for TensorBoard's tab "Text".

The documents are the same at every validation and in every run on the same records. TensorBoard turns Markdown into
HTML and removes what could do harm: colours and classes are removed; ``strong``, ``em``, tables, links and pictures are
kept (``tensorboard.plugin_util``). A text could therefore still load a link or a picture from outside; every sign in it
is written as a number (``&#42;``), which neither Markdown nor HTML interprets.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_processing import Vocabulary, load_text_processing
from network.contract import thresholds_of
from report.attention_check import texts_by_id
from report.shading import MOST_SENTENCES, LeftOut, Piece, ShadedSentence, Span, printable, shade
from runtime.input_pipeline import Split
from runtime.scoring import score_batch
from text.records import made_from, read_manifest
from utils import DataPaths

MOST_DOCUMENTS = 4
BAR_CELLS = 8
# The marks around a word, by level of shade. TensorBoard removes colours, so grey blocks take their place.
MARKS = (
    ("", ""),
    ("", ""),
    ("<em>", "</em>"),
    ("<strong>", "</strong>"),
    ("░<strong>", "</strong>░"),
    ("▒<strong>", "</strong>▒"),
)
LEGEND = (
    "The number before a sentence is its share of attention. Words by theirs: <em>some</em>, <strong>more</strong>, "
    "░<strong>much</strong>░, ▒<strong>most</strong>▒."
)


class TextPanel:
    """The chosen documents of a split.

    Args:
        split: Usually validation.
        data: Where the records, and perhaps the texts they were made from, are.
        run: Run folder, for the text processing of the records.
        class_names: In order of the labels.
    """

    def __init__(self, split: Split, data: DataPaths, run: Path, class_names: Sequence[str]) -> None:
        self.split, self.data, self.run, self.class_names = split, data, run, class_names
        self.numbers = chosen(split.index)

    @functools.cached_property
    def texts(self) -> list[tuple[str, list[list[Span]]]]:
        """Each document's text and where its words stand in it; read once, when it is first needed.

        The original text, if it is available and still splits into the sentences of the record; else the words of the
        vocabulary, joined.
        """
        processor, vocabulary = load_text_processing(self.run)
        written = self.written()
        shown = []
        for name, (token_ids, lengths) in zip(
            self.split.ids(self.numbers), token_ids_of(self.split, self.numbers), strict=True
        ):
            spans = processor.process(written.get(name, "")).spans
            fits = [len(sentence) for sentence in spans] == lengths.tolist()
            shown.append((written[name], spans) if fits else joined_words(token_ids, lengths, vocabulary))
        return shown

    def written(self) -> dict[str, str]:
        """The original texts by document; empty unless the records were made from the CSV file."""
        if not made_from(read_manifest(self.data.records), self.data.csv):
            return {}
        return texts_by_id(self.data, set(self.split.ids(self.numbers)))

    def shaded(self, model: Any) -> dict[str, str]:
        """The current attention: HTML by tag, one tag for each document; empty for a network without attention.

        Args:
            model: The network.
        """
        if not len(self.numbers) or not model.attends or thresholds_of(model) is not None:
            return {}
        batch = self.split.read(self.numbers)
        scored = score_batch(model, batch)
        rows = zip(
            self.split.ids(self.numbers),
            self.texts,
            scored.weights_by_document(),
            scored.probabilities,
            self.split.index["label"][self.numbers].tolist(),
            strict=True,
        )
        return {
            f"attention/{name}": page(shade(*text, *weights), probabilities, label, self.class_names)
            for name, text, weights, probabilities, label in rows
        }


def chosen(index: np.ndarray, most: int = MOST_DOCUMENTS) -> np.ndarray:
    """Positions of a few documents, int64: classes in turn, short enough to show completely, always the same.

    Args:
        index: Structured [documents], with fields ``label``, ``sentences`` and ``words``.
        most: How many at most.
    """
    order = np.random.default_rng(0).permutation(len(index))
    order = order[index["words"][order] > 1]  # a text without words is one <unk> in the records
    order = order[np.argsort(index["sentences"][order] > MOST_SENTENCES, kind="stable")]
    turn = np.zeros(len(order), np.int64)  # which of its class a document is
    for label in np.unique(index["label"]):
        of_class = index["label"][order] == label
        turn[of_class] = np.arange(of_class.sum())
    return np.asarray(order[np.argsort(turn, kind="stable")][:most])


def token_ids_of(split: Split, numbers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and words per sentence of some documents."""
    documents = (split.read(numbers[i : i + 1]).documents for i in range(len(numbers)))
    return [(document.token_ids.numpy(), document.words_per_sentence.numpy()) for document in documents]


def joined_words(
    token_ids: np.ndarray, words_per_sentence: np.ndarray, vocabulary: Vocabulary
) -> tuple[str, list[list[Span]]]:
    """A text made of the vocabulary's words, and their places in it."""
    words = [vocabulary.words[number] for number in token_ids.tolist()]
    starts = np.concatenate([[0], np.cumsum([len(word) + 1 for word in words])]).tolist()
    spans = [(start, start + len(word)) for start, word in zip(starts, words, strict=False)]
    ends = np.cumsum(words_per_sentence).tolist()
    return " ".join(words), [spans[end - count : end] for end, count in zip(ends, words_per_sentence, strict=True)]


# ---------------------------------------------------------------------------------------------------------------------
# HTML that TensorBoard does not change


def page(
    shown: Sequence[ShadedSentence | LeftOut], probabilities: np.ndarray, label: int, class_names: Sequence[str]
) -> str:
    """One document: the verdict and a table of its sentences."""
    verdict = int(probabilities.argmax())
    prediction = f"<strong>{escaped(class_names[verdict])}</strong> ({probabilities[verdict]:.1%})"
    truth = "right" if verdict == label else f"wrong, it is labelled {escaped(class_names[label])}"
    rows = "".join(map(table_row, shown))
    return f"<p>{prediction}, {truth}</p>\n\n<table><tbody>{rows}</tbody></table>\n\n<p>{LEGEND}</p>"


def table_row(part: ShadedSentence | LeftOut) -> str:
    """A sentence with its weight and a bar for it, or what was left out; ``pre``, for a long text squeezes the rest."""
    if isinstance(part, LeftOut):
        return f"<tr><td><pre>{part.weight:.2f}</pre></td><td><em>{part.sentences} more</em></td></tr>"
    bar = "█" * round(BAR_CELLS * part.share_of_strongest)
    sentence = "".join(map(marked, part.pieces))
    return f"<tr><td><pre>{part.weight:.2f} {bar:{BAR_CELLS}}</pre></td><td>{sentence}</td></tr>"


def marked(piece: Piece) -> str:
    """A word with the marks of its level."""
    before, after = MARKS[piece.level]
    return before + escaped(piece.text) + after


def escaped(text: str) -> str:
    """``text`` with every sign that is not a letter, a digit or a blank as a number."""
    return re.sub(r"[^\w ]|_", lambda sign: f"&#{ord(sign[0])};", printable(text))
