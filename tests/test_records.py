"""Records without TensorFlow, compared with TensorFlow's own."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_processing import tokeniser
from tests.decoded_records import DecodedDocument, decode_example
from tests.helpers import write_tiny_records
from text.records import (
    FRAME_FOOTER,
    FRAME_HEADER,
    INDEX_TYPE,
    RecordBatch,
    RecordReader,
    RecordWriter,
    describe_files,
    encode_examples,
    made_from,
    read_index,
    read_shard,
    varint,
    varints,
    verify_records,
    write_index,
)
from utils import FORMAT_VERSION, UserError, index_name, read_json, shard_name, write_json

SPLIT = "train"
SHARDS = 3


def make_documents(count: int, seed: int = 0) -> list[DecodedDocument]:
    """Documents of all lengths, with ids of one to three bytes, labels with and without."""
    generator = np.random.default_rng(seed)
    documents = []
    for number in range(count):
        lengths = generator.integers(1, 200 if number % 7 == 0 else 9, generator.integers(1, 6)).tolist()
        ids = generator.integers(0, [120, 16_000, 3_000_000][number % 3], sum(lengths)).tolist()
        documents.append(DecodedDocument(f"train/näme\n{number}", number % 4 - 1, ids, lengths))
    return documents


def batch_of(documents: list[DecodedDocument]) -> RecordBatch:
    return RecordBatch(
        [document.id.encode() for document in documents],
        np.array([document.label for document in documents]),
        np.array([word for document in documents for word in document.token_ids], np.int32),
        np.array([length for document in documents for length in document.words_per_sentence], np.int32),
        np.array([len(document.words_per_sentence) for document in documents]),
    )


@pytest.fixture
def documents() -> list[DecodedDocument]:
    return make_documents(61)


@pytest.fixture
def folder(tmp_path: Path, documents: list[DecodedDocument]) -> Path:
    """``<data_dir>/films/records`` with one split in three shards, each written in two batches."""
    place = tmp_path / "films" / "records"
    place.mkdir(parents=True)
    parts = []
    for shard in range(SHARDS):
        own = documents[shard * 25 : (shard + 1) * 25]
        with RecordWriter(place, SPLIT, shard, SHARDS) as writer:
            writer.write(batch_of(own[:10]))
            writer.write(batch_of(own[10:]))
        parts.append(writer.index)
    write_index(place, SPLIT, parts)
    write_json(place / "manifest.json", {
        "format_version": FORMAT_VERSION,
        "csv": {"sha256": "there is no CSV"},
        "files": describe_files(place, [path.name for path in place.iterdir()]),
    })  # fmt: skip
    return place


# ---------------------------------------------------------------------------------------------------------------------
# Against TensorFlow


def parse(tf: Any, payload: Any) -> DecodedDocument:
    parsed = tf.io.parse_single_example(
        payload,
        {
            "id": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64),
            "token_ids": tf.io.VarLenFeature(tf.int64),
            "words_per_sentence": tf.io.VarLenFeature(tf.int64),
        },
    )
    return DecodedDocument(
        parsed["id"].numpy().decode(),
        int(parsed["label"]),
        parsed["token_ids"].values.numpy().tolist(),
        parsed["words_per_sentence"].values.numpy().tolist(),
    )


def test_tensorflow_reads_our_shards(folder: Path, documents: list[DecodedDocument]) -> None:
    import tensorflow as tf

    paths = [str(folder / shard_name(SPLIT, shard, SHARDS)) for shard in range(SHARDS)]
    assert [parse(tf, payload) for payload in tf.data.TFRecordDataset(paths)] == documents


def test_our_bytes_are_those_of_protocol_buffers(documents: list[DecodedDocument]) -> None:
    import tensorflow as tf

    def integers(values: list[int]) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    for document, ours in zip(documents, encode_examples(batch_of(documents)), strict=True):
        name = tf.train.Feature(bytes_list=tf.train.BytesList(value=[document.id.encode()]))
        features = {
            "id": name,
            "label": integers([document.label]),
            "token_ids": integers(document.token_ids),
            "words_per_sentence": integers(document.words_per_sentence),
        }
        example = tf.train.Example(features=tf.train.Features(feature=features))
        assert ours == example.SerializeToString(deterministic=True)
        assert tf.train.Example.FromString(ours) == example


def test_we_read_shards_of_tensorflow(tmp_path: Path, documents: list[DecodedDocument]) -> None:
    import tensorflow as tf

    payloads = encode_examples(batch_of(documents))
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for payload in payloads:
            writer.write(payload)
    with RecordWriter(tmp_path, SPLIT, 0, 1) as ours:
        ours.write(batch_of(documents))
    assert (tmp_path / "theirs").read_bytes() == ours.path.read_bytes()
    assert list(read_shard(tmp_path / "theirs")) == payloads


# ---------------------------------------------------------------------------------------------------------------------
# Encoding


def test_varints_at_the_edges() -> None:
    edges = [edge + step for power in range(0, 63, 7) for edge in (1 << power,) for step in (-1, 0, 1)]
    values = np.array([0, *edges, -1, -128, 2**63 - 1, -(2**63)], np.int64)
    encoded, starts = varints(values)
    pieces = [encoded[start:end] for start, end in itertools.pairwise(starts)]
    assert pieces == [varint(value) for value in values.tolist()]
    assert len(varint(-1)) == 10
    assert varints(np.empty(0, np.int32)) == (b"", pytest.approx([0]))


def test_decoding_gives_the_document_back(documents: list[DecodedDocument]) -> None:
    assert [decode_example(payload) for payload in encode_examples(batch_of(documents))] == documents


@pytest.mark.parametrize(
    "payload", [b"", b"\x0a", b"\x0a\x05abc", b"\x08\x01", b"\x0a\x04\x0a\x02\x0a\x00", b"\xff" * 9]
)
def test_decoding_something_else_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError, match="not one of this project's records"):
        decode_example(payload)


# ---------------------------------------------------------------------------------------------------------------------
# Index and reader


def test_index_describes_every_document(folder: Path, documents: list[DecodedDocument]) -> None:
    index = read_index(folder, SPLIT)
    assert index.dtype == INDEX_TYPE and isinstance(index, np.memmap)
    assert index["shard"].tolist() == [0] * 25 + [1] * 25 + [2] * 11
    assert index["words"].tolist() == [len(document.token_ids) for document in documents]
    assert index["sentences"].tolist() == [len(document.words_per_sentence) for document in documents]
    assert index["label"].tolist() == [document.label for document in documents]
    for shard in range(SHARDS):
        rows = index[index["shard"] == shard]
        ends = (rows["offset"] + rows["length"] + FRAME_FOOTER.size).tolist()
        assert [0, *ends[:-1]] == [offset - FRAME_HEADER.size for offset in rows["offset"].tolist()]
        assert ends[-1] == (folder / shard_name(SPLIT, shard, SHARDS)).stat().st_size


def test_documents_are_read_in_any_order(folder: Path, documents: list[DecodedDocument]) -> None:
    order = np.random.default_rng(1).permutation(len(documents))
    with RecordReader(folder, SPLIT) as reader:
        assert len(reader) == len(documents)
        assert [decode_example(payload) for payload in reader.read_payloads(order)] == [documents[n] for n in order]
        assert decode_example(reader.read_payload(41)) == documents[41]
        assert reader.read_payloads([]) == []


def test_missing_split_shard_and_damaged_index_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no valid split"):
        read_index(folder, "valid")
    path = folder / index_name(SPLIT)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=rf"{path.name}.*python serialize_data.py films"):
        read_index(folder, SPLIT)
    np.save(path, np.zeros(3))
    with pytest.raises(UserError, match="another version"):
        read_index(folder, SPLIT)
    np.save(path, np.array([Path("anything that runs code when it is read")]), allow_pickle=True)
    with pytest.raises(UserError, match=r"is damaged \(.*Python objects"):
        read_index(folder, SPLIT)


def test_reader_notices_a_shard_that_is_gone_or_cut(folder: Path) -> None:
    last = folder / shard_name(SPLIT, SHARDS - 1, SHARDS)
    content = last.read_bytes()
    last.write_bytes(content[:-20])
    with RecordReader(folder, SPLIT) as reader, pytest.raises(UserError, match="cut short"):
        reader.read_payload(60)
    last.unlink()
    with pytest.raises(UserError, match=last.name):
        RecordReader(folder, SPLIT)


# ---------------------------------------------------------------------------------------------------------------------
# Damage


def test_damage_within_a_shard_is_found_by_its_checksums(folder: Path) -> None:
    path = folder / shard_name(SPLIT, 0, SHARDS)
    content = path.read_bytes()
    assert len(list(read_shard(path))) == 25
    for damaged in (content[:-1], content[:5], content[:40], flipped(content, 3), flipped(content, len(content) // 2)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=path.name):
            list(read_shard(path))


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def test_whole_records_pass(folder: Path) -> None:
    assert verify_records(folder)["format_version"] == FORMAT_VERSION


def test_a_shard_cut_between_records_reads_as_a_shorter_one_and_only_the_manifest_tells(folder: Path) -> None:
    index = read_index(folder, SPLIT)
    path = folder / shard_name(SPLIT, 1, SHARDS)
    row = index[40]
    path.write_bytes(path.read_bytes()[: row["offset"] + row["length"] + FRAME_FOOTER.size])
    assert len(list(read_shard(path))) == 16
    with pytest.raises(UserError, match=rf"{path.name} has \d+ bytes.*run: python serialize_data.py films --data_dir"):
        verify_records(folder)


@pytest.mark.parametrize("name", [shard_name(SPLIT, 2, SHARDS), index_name(SPLIT)])
def test_altered_and_missing_files_are_named(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(flipped(content, len(content) - 9))
    with pytest.raises(UserError, match=rf"{name}.*SHA-256"):
        verify_records(folder)
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is not there.*serialize_data.py films"):
        verify_records(folder)


def test_records_without_manifest_or_of_another_version_are_refused(folder: Path) -> None:
    write_json(folder / "manifest.json", {"format_version": FORMAT_VERSION + 1, "files": {}})
    with pytest.raises(UserError, match=f"format version {FORMAT_VERSION + 1}"):
        verify_records(folder)
    write_json(folder / "manifest.json", [])
    with pytest.raises(UserError, match="format version None"):
        verify_records(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"no complete records.*serialize_data.py films"):
        verify_records(folder)


def test_records_know_the_csv_file_that_they_were_made_from(tmp_path: Path) -> None:
    file = tmp_path / "films.csv"
    assert not made_from({"csv": {"sha256": ""}}, file)
    file.write_bytes(b"abc")
    manifest = {"csv": {"sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}}  # FIPS 180-2
    assert made_from(manifest, file)
    file.write_bytes(b"abd")
    assert not made_from(manifest, file)


@pytest.mark.parametrize(("stored", "message"), [
    ({"version": 9, "sha256": "0"}, r"made with version 9 of the tokeniser; .* run: python serialize_data.py films"),
    ({"version": "1"}, "damaged or of another version"),
])  # fmt: skip
def test_records_of_another_tokeniser_are_refused(folder: Path, stored: object, message: str) -> None:
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", {**manifest, "tokeniser": tokeniser()})
    verify_records(folder)
    write_json(folder / "manifest.json", {**manifest, "tokeniser": stored})
    with pytest.raises(UserError, match=message):
        verify_records(folder)


def test_an_error_while_writing_leaves_no_open_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), RecordWriter(tmp_path, SPLIT, 0, 1) as writer:
        raise RuntimeError
    assert writer._file.closed


def test_a_manifest_that_names_nothing_is_damaged(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"format_version": FORMAT_VERSION})
    with pytest.raises(UserError, match=r"names no files; run: python serialize_data.py"):
        verify_records(tmp_path)


def test_an_index_whose_header_is_no_python_is_one_line(tmp_path: Path) -> None:
    """NumPy parses it as Python code; the tokeniser's error is of another kind than the parser's."""
    write_tiny_records(tmp_path, 9)
    file = tmp_path / "train.index.npy"
    good = file.read_bytes()
    for damage in (b'"', b"(", b"\\", b"\xff"):
        for place in (8, 11, 40):
            file.write_bytes(good[:place] + damage + good[place + 1 :])
            with pytest.raises(UserError, match=r"train\.index\.npy is"):
                read_index(tmp_path, "train")


@pytest.mark.parametrize("facts", [{}, {"bytes": 3}, {"sha256": "0"}, {"bytes": "3", "sha256": "0"}])
def test_a_manifest_without_size_or_hash_is_one_line(tmp_path: Path, facts: dict[str, object]) -> None:
    write_tiny_records(tmp_path, 9)
    manifest = read_json(tmp_path / "manifest.json")
    write_json(tmp_path / "manifest.json", {**manifest, "files": {**manifest["files"], "vocab.txt": facts}})
    with pytest.raises(UserError, match=r"manifest\.json is damaged"):
        verify_records(tmp_path)


@pytest.mark.parametrize("csv", [None, {}, {"sha256": 7}])
def test_a_manifest_that_does_not_know_its_csv_file_is_one_line(tmp_path: Path, csv: object) -> None:
    write_tiny_records(tmp_path, 9)
    write_json(tmp_path / "manifest.json", {**read_json(tmp_path / "manifest.json"), "csv": csv})
    with pytest.raises(UserError, match=r"manifest\.json is damaged.*run: python serialize_data\.py"):
        verify_records(tmp_path)
