"""Documents one by one and documents in a flat batch: joined for the network, and cut apart again.

N words   S sentences   B documents
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from network.contract import Documents
from text.text_reader import EncodedDocument


class DocumentBorders:
    """Cuts the flat values of a batch into documents.

    Args:
        documents: The batch.
    """

    def __init__(self, documents: Documents) -> None:
        _, lengths, sentences = (vector.numpy() for vector in documents)
        ends = np.cumsum(sentences)
        self.between_words, self.between_sentences = np.cumsum(lengths)[ends - 1][:-1], ends[:-1]

    def cut_words(self, values: np.ndarray) -> list[np.ndarray]:
        """[N] values, one for each word -> a vector for each document."""
        return np.split(values, self.between_words)

    def cut_sentences(self, values: np.ndarray) -> list[np.ndarray]:
        """[S] values, one for each sentence -> a vector for each document."""
        return np.split(values, self.between_sentences)


def join(documents: Sequence[EncodedDocument]) -> Documents:
    """Documents one after another, as the network takes them."""
    token_ids, lengths = zip(*documents, strict=True)
    return Documents(
        tf.constant(np.concatenate(token_ids), tf.int32),
        tf.constant(np.concatenate(lengths), tf.int32),
        tf.constant([len(sentences) for sentences in lengths], tf.int32),
    )


def parted(documents: Documents) -> Iterator[EncodedDocument]:
    """Yields the documents of a batch: the reverse of :func:`join`."""
    borders = DocumentBorders(documents)
    token_ids, lengths = documents.token_ids.numpy(), documents.words_per_sentence.numpy()
    yield from map(EncodedDocument, borders.cut_words(token_ids), borders.cut_sentences(lengths))
