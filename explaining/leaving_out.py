"""Documents with words left out, as if they had never been written.

N words   S sentences
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from data_processing import UNKNOWN_ID
from text.text_reader import EMPTY, EncodedDocument


def keep_words(document: EncodedDocument, kept: np.ndarray) -> EncodedDocument:
    """The document with some of its words only, as if the others had never been written.

    A sentence that loses all its words is removed; a document that loses all of them is what the text stages make of an
    empty text, a single ``<unk>``. The borders of sentences stay where they were.

    Args:
        document: The document.
        kept: bool [N].
    """
    lengths = np.add.reduceat(kept, first_words(document), dtype=np.int32)
    if not lengths.any():
        return EMPTY
    return EncodedDocument(document.token_ids[kept], lengths[lengths > 0])


def replace_words(document: EncodedDocument, kept: np.ndarray) -> EncodedDocument:
    """The document with ``<unk>`` in place of the words that are not kept. ``kept``: bool [N]."""
    return document._replace(token_ids=np.where(kept, document.token_ids, UNKNOWN_ID).astype(np.int32))


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


def first_words(document: EncodedDocument) -> np.ndarray:
    """int64 [S], the place of each sentence's first word."""
    return np.cumsum(document.words_per_sentence, dtype=np.int64) - document.words_per_sentence
