"""The network of a run as a SavedModel, for TensorFlow Serving: word ids in, probabilities and attention out.

1/saved_model.pb, 1/variables/   the network; Serving looks for a folder with a number
text.json  ids.py                how texts become ids (shipping/classify.py under another name)
README.md  requirements.txt  LICENSE  sha256sums

The graph has TensorFlow's own operations alone: recurrent layers run padded, through ``keras.layers``, and the n-gram
lane is a search in a sorted table. Inputs and outputs are rectangles, as Serving's requests are.

    B documents   S sentences   T words   N words of the batch   C classes   D size of a document vector   G n-grams
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from config import NGRAM_WORD_BITS
from data_processing import UNKNOWN_ID
from network.contract import Attended, Documents
from network.layers import words_per_document
from network.ngrams import LONGEST_NGRAM, NgramTable
from runtime.checkpoints import restore
from runtime.networks import network_of
from shipping.bundle import LICENSE, PROGRAM, TEXT_FILE, ExportedRun, write_sums
from shipping.text_settings import text_settings
from utils import UserError, atomic_write

Tensor: TypeAlias = Any

NETWORK_FOLDER = "1"
IDS_PROGRAM = "ids.py"
IDS_IMPORTED = ("numpy", "regex")
SIGNATURE = "serving_default"
TOLERANCE = 1e-3  # of logits, between the network and what was written


class LaneInGraph(tf.Module):
    """The n-gram lane (:mod:`network.ngrams`) in operations of TensorFlow.

    Args:
        table: Of the n-grams.
    """

    def __init__(self, table: NgramTable) -> None:
        super().__init__()
        self.keys, self.idf, self.weights, self.bias = (
            tf.Variable(values, trainable=False)
            for values in (table.keys, table.idf.astype(np.float64), table.weights, table.bias)
        )

    def logits(self, documents: Documents) -> Tensor:
        """float32 [B, C]."""
        lengths = words_per_document(documents)
        document = tf.repeat(tf.range(tf.size(lengths)), lengths)  # [N]
        ids = tf.cast(documents.token_ids, tf.int64)
        found = [self.occurrences(ids, document, length) for length in range(1, LONGEST_NGRAM + 1)]
        rows_of_all = tf.size(self.keys, tf.int64)
        # Each n-gram once for each of its documents, as a number: document * G + row.
        different, _, counts = tf.unique_with_counts(tf.concat(found, axis=0))
        row, of = different % rows_of_all, different // rows_of_all
        values = (1 + tf.math.log(tf.cast(counts, tf.float64))) * tf.gather(self.idf, row)
        squares = tf.math.unsorted_segment_sum(values**2, of, tf.size(lengths))
        added = values[:, tf.newaxis] * tf.cast(tf.gather(self.weights, row), tf.float64)
        sums = tf.math.unsorted_segment_sum(added, of, tf.size(lengths))
        scale = tf.math.divide_no_nan(tf.ones_like(squares), tf.sqrt(squares))
        return self.bias + tf.cast(sums * scale[:, tf.newaxis], tf.float32)

    def occurrences(self, token_ids: Tensor, document: Tensor, length: int) -> Tensor:
        """int64 [K], document * G + row of each place where an n-gram of the table begins.

        Args:
            token_ids: int64 [N].
            document: int32 [N], of each word.
            length: Words of the n-gram.
        """
        end = tf.maximum(tf.size(token_ids) - length + 1, 0)
        words = [token_ids[place : place + end] for place in range(length)]
        last = length - 1
        inside = tf.equal(document[:end], document[last : last + end])  # it does not cross the border of a document
        for word in words:
            inside = inside & (word > UNKNOWN_ID)
        key = words[0]
        for word in words[1:]:
            key = key * (1 << NGRAM_WORD_BITS) + word
        row = tf.minimum(tf.searchsorted(self.keys, key, out_type=tf.int64), tf.size(self.keys, tf.int64) - 1)
        known = inside & tf.equal(tf.gather(self.keys, row), key)
        number = tf.cast(document[:end], tf.int64) * tf.size(self.keys, tf.int64) + row
        return tf.boolean_mask(number, known)


class Served(tf.Module):
    """What is saved: the network behind rectangles.

    Args:
        source: The run.
    """

    def __init__(self, source: ExportedRun) -> None:
        super().__init__()
        network: Any = network_of(source.run, source.config, padded=True)
        restore(source.checkpoint, network)
        self.attends, self.several = bool(network.attends), source.config.several_labels
        self.network = network.network if source.ngrams else network
        self.weights = [weight.value for weight in network.named_weights().values()]
        self.lane = LaneInGraph(source.ngrams) if source.ngrams else None
        self.scales = network.scales.value if source.ngrams else None

    @tf.function(input_signature=[tf.TensorSpec([None, None, None], tf.int32, "token_ids")])
    def serve(self, token_ids: Tensor) -> dict[str, Tensor]:
        """Scores documents.

        Args:
            token_ids: int32 [B, S, T]; 0 behind the last word of a sentence and for sentences that a document does not
                have. A document without any word is read as one unknown word.

        Returns:
            ``logits`` and ``probabilities`` float32 [B, C], ``document_vector`` float32 [B, D]; with attention also
            ``word_weights`` float32 [B, S, T] and ``sentence_weights`` float32 [B, S], 0 where there is no word.
        """
        ids = with_a_word(token_ids)
        is_word = ids > 0
        words = tf.reduce_sum(tf.cast(is_word, tf.int32), axis=2)  # [B, S]
        is_sentence = words > 0
        documents = Documents(
            tf.boolean_mask(ids, is_word),
            tf.boolean_mask(words, is_sentence),
            tf.reduce_sum(tf.cast(is_sentence, tf.int32), axis=1),
        )
        attended: Attended = self.network.attend(documents)
        logits = attended.logits
        if self.lane is not None and self.scales is not None:
            logits = self.scales[0] * logits + self.scales[1] * self.lane.logits(documents)
        outputs = {
            "logits": logits,
            "probabilities": tf.sigmoid(logits) if self.several else tf.nn.softmax(logits),
            "document_vector": attended.document_vectors,
        }
        if self.attends:
            outputs["word_weights"] = scattered(attended.word_weights, is_word)
            outputs["sentence_weights"] = scattered(attended.sentence_weights, is_sentence)
        return outputs


def with_a_word(token_ids: Tensor) -> Tensor:
    """Ids [B, S, T] with one ``<unk>`` in each document that has no word, and in the one place that is always there."""
    ids = tf.pad(token_ids, [[0, 0], [0, tf.maximum(1 - tf.shape(token_ids)[1], 0)], [0, 0]])
    ids = tf.pad(ids, [[0, 0], [0, 0], [0, tf.maximum(1 - tf.shape(ids)[2], 0)]])
    empty = tf.logical_not(tf.reduce_any(ids > 0, axis=[1, 2]))
    first = tf.one_hot(0, tf.shape(ids)[1] * tf.shape(ids)[2], UNKNOWN_ID, 0, dtype=tf.int32)
    unknown = tf.reshape(first, [1, tf.shape(ids)[1], tf.shape(ids)[2]])
    return tf.where(empty[:, tf.newaxis, tf.newaxis], unknown, ids)


def scattered(values: Tensor, where: Tensor) -> Tensor:
    """``values`` in the places of a mask, 0 elsewhere."""
    return tf.scatter_nd(tf.where(where), values, tf.shape(where, tf.int64))


# ---------------------------------------------------------------------------------------------------------------------
# The folder


def write_saved_model(folder: Path, source: ExportedRun) -> None:
    """Writes everything but the model card.

    Args:
        folder: An empty one.
        source: The run.

    Raises:
        UserError: What was written does not give the outputs of the network.
    """
    served = Served(source)
    path = str(folder / NETWORK_FOLDER)
    tf.saved_model.save(served, path, signatures={SIGNATURE: served.serve})
    compare(served, path)
    with atomic_write(folder / TEXT_FILE) as file:
        settings = text_settings(source.processor, source.vocabulary)
        if source.config.several_labels:
            settings |= {"thresholds": source.checkpoint.weights["thresholds"].tolist()}
        json.dump(settings, file, ensure_ascii=False, separators=(",", ":"))
    with atomic_write(folder / IDS_PROGRAM) as file:
        file.write(PROGRAM.read_text(encoding="utf-8"))
    with atomic_write(folder / LICENSE.name) as file:
        file.write(LICENSE.read_text(encoding="utf-8"))
    with atomic_write(folder / "requirements.txt") as file:
        file.writelines(f"{name}=={version(name)}\n" for name in IDS_IMPORTED)
    write_sums(folder)


def compare(served: Served, path: str) -> None:
    """Loads what was written and raises :class:`UserError` unless it gives what the network gives."""
    highest = int(served.weights[0].shape[0])
    ids = np.random.default_rng(1).integers(0, highest, (3, 4, 9), dtype=np.int32)
    loaded = tf.saved_model.load(path).signatures[SIGNATURE](tf.constant(ids))["logits"].numpy()
    difference = float(np.abs(loaded - served.serve(tf.constant(ids))["logits"].numpy()).max())
    if not difference <= TOLERANCE:
        raise UserError(f"the SavedModel gives other logits than the network (by {difference:.2g}); please report this")
