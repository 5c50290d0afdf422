"""What every network offers, and what every network is built from.

A new network is a file with a class that fulfils :class:`Network`, is built from :class:`NetworkArguments`, and has an
entry in ``config.NETWORKS``.

Axes: B documents, S sentences, N words, V vocabulary, E embedding, D size of a document vector, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from config import ModelSettings

Tensor: TypeAlias = Any


class Documents(NamedTuple):
    """A batch: three flat vectors, nothing padded.

    Attributes:
        token_ids: int32 [N], every word of the batch, document by document.
        words_per_sentence: int32 [S], each at least 1; sums to N.
        sentences_per_document: int32 [B], each at least 1; sums to S.
    """

    token_ids: Tensor
    words_per_sentence: Tensor
    sentences_per_document: Tensor


class JointBatch(NamedTuple):
    """The documents of all workers, and the places among them of one worker's part.

    Attributes:
        documents: Of all workers.
        words: int32 [N], the place of each word of the part.
        sentences: int32 [S], the place of each of its sentences.
        parts: int32 [B], the place of each of its documents.
    """

    documents: Documents
    words: Tensor
    sentences: Tensor
    parts: Tensor


class JointSeed(NamedTuple):
    """The seed of dropout for a worker's part of a batch: its masks are those of one process with all documents.

    Attributes:
        values: int32 [2].
        joint: Of which the batch is a part.
    """

    values: Tensor
    joint: JointBatch


class Attended(NamedTuple):
    """The output of a network, with its attention.

    Attributes:
        logits: float32 [B, C].
        word_weights: float32 [N], adding up to 1 within each sentence; empty, [0], from a network without attention.
            What a weight is depends on the pooling: see :mod:`han`.
        sentence_weights: float32 [S], adding up to 1 within each document; empty likewise.
        document_vectors: float32 [B, D], what the last layer classifies.
    """

    logits: Tensor
    word_weights: Tensor
    sentence_weights: Tensor
    document_vectors: Tensor


class Network(Protocol):
    """A network that can be trained, tested and explained: a ``keras.Model`` with these members.

    A document's output depends on the document alone: not on the other documents of its batch, their lengths or their
    order.

    Attributes:
        attends: Whether :meth:`attend` returns weights of words and sentences; as in ``config.NETWORKS``.
        embeddings: The word vectors, a Keras variable float32 [V, E].
        trainable_variables: The Keras variables that training changes, in a fixed order.
        classifier: The last layer, document vectors float32 [B, D] -> logits float32 [B, C].
    """

    attends: bool
    embeddings: Any
    classifier: Any
    trainable_variables: list[Any]

    def __call__(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Tensor:
        """Logits, float32 [B, C].

        Args:
            documents: The batch.
            training: Whether to apply dropout.
            seed: int32 [2], or the :class:`JointSeed` of a worker; required in training: dropout is a pure function of
                it, so that a resumed run repeats it.
        """

    def attend(self, documents: Documents, training: bool = False, seed: Tensor | None = None) -> Attended:
        """Logits, attention and document vectors; arguments as for :meth:`__call__`."""

    def document_vectors(self, documents: Documents) -> Tensor:
        """float32 [B, D], what :attr:`classifier` turns into logits; without dropout."""

    def named_weights(self) -> dict[str, Any]:
        """Every weight by a stable name, for checkpoints and for readers that have NumPy alone."""


def thresholds_of(network: Any) -> Any:
    """The thresholds of a network whose texts may have several labels, a Keras variable float32 [C]; else ``None``.

    Its classes are a yes or no each: a probability is the logit's sigmoid, and a class is predicted from its threshold
    on. The thresholds are chosen on validation, as the scales of an n-gram lane are, and saved with the weights.
    """
    return getattr(network, "thresholds", None)


@dataclass(frozen=True, eq=False)
class NetworkArguments:
    """What a network is built from; one that has no use for an argument ignores it.

    Attributes:
        vocabulary_size: V.
        embedding_dim: E.
        classes: C.
        settings: The shape of the network.
        dropout: Share of values dropped in training; of which values depends on the network.
        word_dropout: Share of words replaced by ``<unk>`` in training.
        seed: Of the initial weights.
        embeddings: float32 [V, E], initial word vectors; small random values without them.
        freeze_embeddings: Do not train the word vectors.
        padded: Run recurrent layers padded through ``keras.layers`` (for GPUs) instead of compiled loops (for CPUs).
        dtype: ``"float32"`` or ``"mixed_bfloat16"``.
    """

    vocabulary_size: int
    embedding_dim: int
    classes: int
    settings: ModelSettings
    dropout: float = 0.0
    word_dropout: float = 0.0
    seed: int = 0
    embeddings: np.ndarray | None = None
    freeze_embeddings: bool = False
    padded: bool = False
    dtype: str = "float32"
