"""Attention that learns from marked evidence: what people marked in training documents as the reason for the label.

Zaidan and Eisner (2008) taught a classifier with marked passages; Bao et al. (2018) and Zhong et al. (2019) teach
attention with them. The loss of a document with evidence is the cross-entropy of even distributions, over its marked
sentences and over their marked words, with its attention:

    mean over the marked sentences of  -log(sentence's weight) - mean over its marked words of log(word's weight)

A document without evidence adds nothing. Nothing draws attention away from what is not marked but that weights add up
to 1.

    B documents   S sentences   N words
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from network.contract import Attended, Documents
from report.attention_check import marked_words
from runtime.input_pipeline import Split
from utils import DataPaths, UserError, log, sha256_of_file

SMALLEST_WEIGHT = 1e-8  # added to a weight before its logarithm: float32 weights underflow to 0


def read_marks(split: Split, data: DataPaths, sha256: str) -> dict[int, np.ndarray]:
    """The marked words of a split, bool [words] of each document that has any, by its position.

    Args:
        split: Of the records.
        data: Where the records, the CSV file and ``evidence.jsonl`` are.
        sha256: Of the evidence that the run is to learn from.

    Raises:
        UserError: Nothing is marked, or a file is missing, damaged or another one.
    """
    if not data.evidence.exists() or sha256_of_file(data.evidence) != sha256:
        raise UserError(f"{data.evidence} is not the one that this run began with; start again with --restart")
    numbers = np.arange(len(split))
    words = split.index["words"].tolist()
    # The last sentences of a document that is too long are not in the records.
    every = zip(marked_words(split, data, data.records, numbers), words, strict=True)
    marks = {number: flags[:count] for number, (flags, count) in enumerate(every) if flags[:count].any()}
    if not marks:
        raise UserError(f"{data.evidence} marks nothing in the {split.name} split; leave --evidence_weight out")
    log.info("evidence: words are marked in %s of %s training documents", f"{len(marks):,}", f"{len(split):,}")
    return marks


def evidence_loss(attended: Attended, documents: Documents, marked: Any) -> Any:
    """How far attention is from the evidence: a float32, mean over the documents of the batch, in nats.

    Args:
        attended: What the network gave for the documents.
        documents: The batch.
        marked: int32 [N], 1 for a marked word, else 0.
    """
    marks = tf.cast(marked, tf.float32)
    lengths, sentences = documents.words_per_sentence, documents.sentences_per_document
    sentence, document = (tf.repeat(tf.range(tf.size(some)), some) for some in (lengths, sentences))
    of_words = mean_surprise(attended.word_weights, marks, sentence)  # [S], 0 where nothing is marked
    is_marked = tf.sign(tf.math.segment_max(marks, sentence))
    of_sentences = mean_surprise(attended.sentence_weights, is_marked, document)  # [B]
    return tf.reduce_mean(of_sentences + segment_mean(of_words, is_marked, document))


def mean_surprise(weights: Any, marks: Any, segment: Any) -> Any:
    """Mean of -log(weight) over the marked elements of each segment; 0 for a segment without any."""
    return segment_mean(-tf.math.log(weights + SMALLEST_WEIGHT), marks, segment)


def segment_mean(values: Any, marks: Any, segment: Any) -> Any:
    """Mean over the marked elements of each segment; 0 for a segment without any.

    Args:
        values: float32 [N].
        marks: float32 [N], 1 or 0.
        segment: int32 [N], ascending from 0.
    """
    sums, counts = (tf.math.segment_sum(some, segment) for some in (values * marks, marks))
    return tf.math.divide_no_nan(sums, counts)
