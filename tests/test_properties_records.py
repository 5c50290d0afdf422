"""Properties of records: any documents come back from their bytes, by TensorFlow's parser and by plain Python."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.input_pipeline import Split
from tests.decoded_records import DecodedDocument, decode_example, decode_varints
from text.records import RecordBatch, RecordWriter, encode_examples, read_shard, varint, varints, write_index
from utils import shard_name

INT32 = 2**31 - 1
WORDS = st.one_of(st.integers(0, 200), st.integers(0, INT32))  # one byte, and up to five
SENTENCES = st.lists(st.lists(WORDS, min_size=1, max_size=9), min_size=1, max_size=5)


def decoded(identity: str, label: int, sentences: list[list[int]]) -> DecodedDocument:
    return DecodedDocument(
        identity, label, [word for one in sentences for word in one], [len(one) for one in sentences]
    )


DOCUMENTS = st.builds(decoded, st.text(max_size=12), st.integers(-1, INT32), SENTENCES)
BATCHES = st.lists(st.lists(DOCUMENTS, max_size=6), min_size=1, max_size=3)


def batch_of(documents: list[DecodedDocument]) -> RecordBatch:
    return RecordBatch(
        [document.id.encode() for document in documents],
        np.array([document.label for document in documents], np.int64),
        np.array([word for document in documents for word in document.token_ids], np.int32),
        np.array([length for document in documents for length in document.words_per_sentence], np.int32),
        np.array([len(document.words_per_sentence) for document in documents], np.int64),
    )


def by_tensorflow(payload: Any) -> DecodedDocument:
    """What the protocol-buffer classes of TensorFlow read, which our code does not use."""
    import tensorflow as tf

    feature = tf.train.Example.FromString(payload).features.feature
    (identity,), (label,) = feature["id"].bytes_list.value, feature["label"].int64_list.value
    lists = [list(feature[name].int64_list.value) for name in ("token_ids", "words_per_sentence")]
    return DecodedDocument(identity.decode(), label, *lists)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40))
def test_any_integers_come_back_from_varints(values: list[int]) -> None:
    packed, starts = varints(np.array(values, np.int64))
    assert decode_varints(packed) == values
    pieces = [packed[start:end] for start, end in itertools.pairwise(starts.tolist())]
    assert pieces == [varint(value) for value in values]


@given(st.lists(DOCUMENTS, max_size=8))
def test_any_documents_come_back_from_their_examples(documents: list[DecodedDocument]) -> None:
    payloads = encode_examples(batch_of(documents))
    assert [decode_example(payload) for payload in payloads] == documents
    assert [by_tensorflow(payload) for payload in payloads] == documents


@settings(max_examples=max(1, settings().max_examples // 4))  # each builds a data set of TensorFlow
@given(BATCHES, st.integers(0, 2**32))
def test_any_shards_are_read_by_tensorflow_by_ourselves_and_at_random(
    batches: list[list[DecodedDocument]], seed: int
) -> None:
    import tensorflow as tf

    documents = [document for batch in batches for document in batch]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        parts = []
        for shard, batch in enumerate(batches):
            with RecordWriter(folder, "train", shard, len(batches)) as writer:
                for begin in range(0, len(batch), 2):
                    writer.write(batch_of(batch[begin : begin + 2]))
            parts.append(writer.index)
        paths = [folder / shard_name("train", shard, len(batches)) for shard in range(len(batches))]
        read = list(tf.data.TFRecordDataset(list(map(str, paths))).as_numpy_iterator())
        assert [by_tensorflow(payload) for payload in read] == documents
        assert [payload for path in paths for payload in read_shard(path)] == read
        if all(batches) and documents:
            write_index(folder, "train", parts)
            check_split(folder, documents, np.random.default_rng(seed).permutation(len(documents)))


def check_split(folder: Path, documents: list[DecodedDocument], order: np.ndarray) -> None:
    """The batch of documents in some order is what a loop over them gives."""
    split = Split(folder, "train")
    batch = split.read(order)
    wanted = [documents[number] for number in order]
    assert batch.documents.token_ids.numpy().tolist() == [word for one in wanted for word in one.token_ids]
    assert batch.documents.words_per_sentence.numpy().tolist() == [n for one in wanted for n in one.words_per_sentence]
    assert batch.documents.sentences_per_document.numpy().tolist() == [len(one.words_per_sentence) for one in wanted]
    assert batch.labels.numpy().tolist() == [one.label for one in wanted]
    assert split.ids(order) == [one.id for one in wanted]
    assert split.index["words"].tolist() == [len(one.token_ids) for one in documents]
    split.close()
