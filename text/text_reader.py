"""A text as a network reads it: the words that it knows, by number. What predicts or explains starts here.

    reader = TextReader.load(Path("runs/imdb-han"))
    reader.read("A dull film.").document

No TensorFlow: another process can read texts while this one runs the network.

    N words   S sentences
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_processing import UNKNOWN_ID, Sentences, Span, TextProcessor, Vocabulary, load_text_processing


class EncodedDocument(NamedTuple):
    """One document as the network reads it; neither vector is ever empty.

    Attributes:
        token_ids: int32 [N].
        words_per_sentence: int32 [S], each at least 1; sums to N.
    """

    token_ids: np.ndarray
    words_per_sentence: np.ndarray


# What the text stages make of a text without a word: one sentence of one <unk>.
EMPTY = EncodedDocument(np.array([UNKNOWN_ID], np.int32), np.ones(1, np.int32))


class Reading(NamedTuple):
    """What the network gets to read of a text.

    Attributes:
        document: Its words; :data:`EMPTY` where there is none.
        words: Number of words of the text that the network reads; 0 for a text without a word.
        unknown_words: How many of them the vocabulary does not know.
        cut_words: Words that were cut off because the text has too many sentences.
    """

    document: EncodedDocument
    words: int
    unknown_words: int
    cut_words: int


def remarks_on(reading: Reading, short_text: int = 0) -> list[str]:
    """What a person should know before believing a prediction, a few words each; none for most texts.

    Args:
        reading: Of the text.
        short_text: A text with fewer words is shorter than almost all training texts; 0 where that is not known.
    """
    words, unknown = reading.words, reading.unknown_words
    if not words:
        return ["no word"]
    remarks = {
        "no known word": unknown == words,
        "mostly unknown words": words > unknown > words / 2,
        "much shorter than the training texts": words < short_text,
        "end was cut off": reading.cut_words > 0,
    }
    return [remark for remark, applies in remarks.items() if applies]


def sentences_on(reading: Reading, short_text: int = 0) -> list[str]:
    """:func:`remarks_on` as sentences, for whoever reads one prediction; none of a text without a word."""
    words, unknown = f"{reading.words:,}", f"{reading.unknown_words:,}"
    sentences = {
        "no known word": "None of these words is in the vocabulary: the prediction means nothing.",
        "mostly unknown words": f"{unknown} of the {words} words are not in the vocabulary: the others decide.",
        "much shorter than the training texts": f"The text is much shorter than the training texts (fewer than "
        f"{short_text:,} words): on such texts the network is right less often than its probabilities say.",
        "end was cut off": f"The text has too many sentences: its last {reading.cut_words:,} words were not read.",
    }
    return [sentences[remark] for remark in remarks_on(reading, short_text) if remark in sentences]


@dataclass(frozen=True)
class TextReader:
    """Cuts texts into words, with the limits of a run, and looks the words up in its vocabulary.

    Attributes:
        processor: Finds sentences and words.
        vocabulary: Words to ids.
    """

    processor: TextProcessor
    vocabulary: Vocabulary

    @classmethod
    def load(cls, folder: Path) -> TextReader:
        """Rebuilds what a run folder, or a folder of records, was made with; a :class:`UserError` if it is damaged."""
        return cls(*load_text_processing(folder))

    def read(self, text: str) -> Reading:
        """Cuts a text into sentences and words and looks the words up."""
        return self.encoded(self.processor.process(text))

    def read_with_spans(self, text: str) -> tuple[Reading, list[list[Span]]]:
        """What :meth:`read` and :meth:`spans` give, from cutting the text once."""
        sentences = self.processor.process(text)
        return self.encoded(sentences), sentences.spans

    def encoded(self, sentences: Sentences) -> Reading:
        """Looks the words of a text up."""
        words = sentences.words
        if not words:
            return Reading(EMPTY, 0, 0, 0)
        token_ids, lengths = (np.array(values, np.int32) for values in self.vocabulary.encode(words))
        unknown = int(np.count_nonzero(token_ids == UNKNOWN_ID))
        return Reading(EncodedDocument(token_ids, lengths), len(token_ids), unknown, sentences.cut_words)

    def spans(self, text: str) -> list[list[Span]]:
        """[S] sentences, each the (start, end) of its words in ``text``; empty for a text without a word."""
        return self.processor.process(text).spans


# ---------------------------------------------------------------------------------------------------------------------
# In another process


@functools.lru_cache(maxsize=1)
def reader_of(folder: Path) -> TextReader:
    """The reader of a run folder, loaded once per process."""
    return TextReader.load(folder)


class Packed(NamedTuple):
    """Readings of many texts as they travel between processes: a few arrays in place of thousands of small ones.

    Attributes:
        token_ids: int32 [words of all documents].
        words_per_sentence: int32 [sentences of all documents].
        numbers: int32 [B, 5]: words and sentences of the document, and the three numbers of :class:`Reading`.
    """

    token_ids: np.ndarray
    words_per_sentence: np.ndarray
    numbers: np.ndarray


def pack(readings: Sequence[Reading]) -> Packed:
    """Lays readings one after another."""
    documents = [reading.document for reading in readings]
    sizes = [(len(document.token_ids), len(document.words_per_sentence)) for document in documents]
    numbers = [(*size, *reading[1:]) for size, reading in zip(sizes, readings, strict=True)]
    token_ids, lengths = (np.concatenate([EMPTY[part][:0], *(one[part] for one in documents)]) for part in range(2))
    return Packed(token_ids, lengths, np.array(numbers, np.int32).reshape(-1, 5))


def unpack(packed: Packed) -> list[Reading]:
    """The readings that were packed; their documents are views into the arrays."""
    readings, word, sentence = [], 0, 0
    for words, sentences, *numbers in packed.numbers.tolist():
        token_ids = packed.token_ids[word : word + words]
        lengths = packed.words_per_sentence[sentence : sentence + sentences]
        readings.append(Reading(EncodedDocument(token_ids, lengths), *numbers))
        word, sentence = word + words, sentence + sentences
    return readings


def read_texts(folder: Path, texts: Sequence[str]) -> Packed:
    """Reads texts as the run in ``folder`` reads them."""
    read = reader_of(folder).read
    return pack([read(text) for text in texts])
