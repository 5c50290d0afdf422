"""Records on disk: one ``tf.train.Example`` per document in TFRecord shards, written and read without TensorFlow.

A record holds four features and no padding::

    id                  bytes [1]            the document's id, UTF-8
    label               int64 [1]            class id, -1 if there is none; where a text may have several labels
                                             int64 [labels], the ids of all, and [-1] if it is unlabelled
    token_ids           int64 [words]        all words in a row
    words_per_sentence  int64 [sentences]    sums to words

A shard is a sequence of frames, ``length u8 | masked CRC-32C of the length u4 | payload | masked CRC-32C of the payload
u4``, little-endian, as ``tf.data.TFRecordDataset`` reads them. Each split has an index beside its shards, a NumPy
array with one row per document in the order of the documents (:data:`INDEX_TYPE`), which can be memory-mapped: a reader
picks any document at random with one ``pread``, so that the order of an epoch is a pure function of (seed, epoch) and
memory does not grow with the data. Where a text may have several labels, the label in the index is the number of their
combination, a row of ``label_sets.npy`` (uint8 [combinations, classes]).

``manifest.json`` is written last and knows the size and SHA-256 of every file: a shard that was cut between two records
reads as a shorter valid shard; only the manifest shows it.

No TensorFlow.
"""

from __future__ import annotations

import os
import shlex
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypedDict

import google_crc32c
import numpy as np
from numpy.typing import NDArray

import schema
from data_processing import MadeOfTexts, tokeniser_difference
from utils import (
    FORMAT_VERSION,
    LABEL_SETS_FILE,
    MANIFEST_FILE,
    UserError,
    address_of,
    index_name,
    read_json,
    sha256_of_file,
    shard_name,
)

NO_LABEL = -1

# One row of `<split>.index.npy`. offset and length are those of the payload: the frame starts 12 bytes earlier.
INDEX_TYPE = np.dtype(
    [("shard", "<u2"), ("offset", "<u8"), ("length", "<u4"), ("words", "<u4"), ("sentences", "<u4"), ("label", "<i4")]
)
FRAME_HEADER = struct.Struct("<QI")
FRAME_FOOTER = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


# ---------------------------------------------------------------------------------------------------------------------
# tf.train.Example by hand
#
# Protocol buffers' wire format: a field is a tag byte (number << 3 | kind) and, for kind 2, a length and its content.
#   Example  { 1: Features }      Features { 1: map entry, repeated }     map entry { 1: key, 2: Feature }
#   Feature  { 1: BytesList, 3: Int64List }    BytesList { 1: bytes }     Int64List { 1: packed varints }
# Every tag but Feature's third has number 1 or 2 and kind 2.

FIRST, SECOND, THIRD = b"\x0a", b"\x12", b"\x1a"


@dataclass(frozen=True)
class RecordBatch:
    """Documents laid out flat, without padding.

    Attributes:
        ids: The documents' ids [documents].
        labels: int [documents], -1 for none; of several labels a row of ``label_sets``.
        token_ids: int [words], document by document.
        words_per_sentence: int [sentences], document by document.
        sentences_per_document: int [documents].
    """

    ids: Sequence[bytes]
    labels: NDArray[np.integer]
    token_ids: NDArray[np.integer]
    words_per_sentence: NDArray[np.integer]
    sentences_per_document: NDArray[np.integer]
    label_sets: NDArray[np.uint8] | None = None

    @property
    def words_per_document(self) -> NDArray[np.int64]:
        """int64 [documents]"""
        ends = starts_of(self.words_per_sentence)[starts_of(self.sentences_per_document)]
        return np.diff(ends)


def starts_of(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Where each group of a flat layout starts, and at the end the total: int64 [groups + 1]."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def varints(values: NDArray[np.integer]) -> tuple[bytes, NDArray[np.int64]]:
    """Encodes integers as varints, all at once: seven bits to a byte, the lowest first; the eighth says "more follow".

    Args:
        values: [count]; a negative one takes ten bytes, as in protocol buffers.

    Returns:
        The bytes, and int64 [count + 1], where each value starts in them.
    """
    rest = values.astype(np.int64).view(np.uint64)
    largest = int(rest.max(initial=0))
    sizes = np.ones(len(rest), np.int64)
    bits = 7
    while largest >> bits:
        sizes += rest >= np.uint64(1 << bits)
        bits += 7
    starts = starts_of(sizes)
    encoded = np.empty(starts[-1], np.uint8)
    where = starts[:-1]
    while len(rest):
        more = rest >= 128
        encoded[where] = (rest & np.uint64(127)).astype(np.uint8) | (more.astype(np.uint8) << 7)
        rest, where = rest[more] >> np.uint64(7), where[more] + 1
    return encoded.tobytes(), starts


def varint(value: int) -> bytes:
    """One varint; a length is hardly ever more than two bytes long."""
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def delimited(tag: bytes, content: bytes) -> bytes:
    """A field of kind 2: tag, length, content."""
    return tag + varint(len(content)) + content


def int64_feature(name: bytes, packed: bytes) -> bytes:
    """The map entry of an integer feature, from its values as varints."""
    return delimited(FIRST, delimited(FIRST, name) + delimited(SECOND, delimited(THIRD, delimited(FIRST, packed))))


def bytes_feature(name: bytes, value: bytes) -> bytes:
    """The map entry of a feature with one byte string."""
    return delimited(FIRST, delimited(FIRST, name) + delimited(SECOND, delimited(FIRST, delimited(FIRST, value))))


def encode_examples(batch: RecordBatch) -> list[bytes]:
    """Each document as a serialised ``tf.train.Example``, features in the order of their names."""
    tokens, token_starts = varints(batch.token_ids)
    lengths, length_starts = varints(batch.words_per_sentence)
    first_words = starts_of(batch.words_per_sentence)
    first_sentences = starts_of(batch.sentences_per_document)
    token_bounds = token_starts[first_words[first_sentences]].tolist()
    length_bounds = length_starts[first_sentences].tolist()
    labels = encoded_labels(batch)
    return [
        delimited(
            FIRST,
            bytes_feature(b"id", document)
            + int64_feature(b"label", labels[label])
            + int64_feature(b"token_ids", tokens[token_bounds[number] : token_bounds[number + 1]])
            + int64_feature(b"words_per_sentence", lengths[length_bounds[number] : length_bounds[number + 1]]),
        )
        for number, (document, label) in enumerate(zip(batch.ids, batch.labels.tolist(), strict=True))
    ]


def encoded_labels(batch: RecordBatch) -> dict[int, bytes]:
    """The feature ``label`` of each label that occurs, as varints."""
    if batch.label_sets is None:
        return {label: varint(label) for label in np.unique(batch.labels).tolist()}
    return {
        label: varint(label) if label == NO_LABEL else varints(np.flatnonzero(batch.label_sets[label]))[0]
        for label in np.unique(batch.labels).tolist()
    }


# ---------------------------------------------------------------------------------------------------------------------
# Shards


def masked_crc(data: bytes) -> int:
    """CRC-32C as TFRecord stores it: rotated and offset, so that a checksum of checksums stays a good one."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


class RecordWriter:
    """Writes one shard and collects its rows of the index.

    Used as a context manager; on leaving without an error the file is flushed to disk.
    """

    def __init__(self, folder: Path, split: str, shard: int, shards: int) -> None:
        self.path = folder / shard_name(split, shard, shards)
        self._shard = shard
        self._offset = 0
        self._rows: list[NDArray[np.void]] = []
        self._file: IO[bytes] = self.path.open("wb")

    def write(self, batch: RecordBatch) -> None:
        """Appends documents."""
        payloads = encode_examples(batch)
        frames = bytearray()
        rows = np.empty(len(payloads), INDEX_TYPE)
        for payload in payloads:
            length = _LENGTH.pack(len(payload))
            frames += length + FRAME_FOOTER.pack(masked_crc(length)) + payload + FRAME_FOOTER.pack(masked_crc(payload))
        rows["shard"] = self._shard
        rows["length"] = [len(payload) for payload in payloads]
        frame_sizes = rows["length"].astype(np.int64) + FRAME_HEADER.size + FRAME_FOOTER.size
        rows["offset"] = self._offset + starts_of(frame_sizes)[:-1] + FRAME_HEADER.size
        rows["words"] = batch.words_per_document
        rows["sentences"] = batch.sentences_per_document
        rows["label"] = batch.labels
        self._file.write(frames)
        self._offset += len(frames)
        self._rows.append(rows)

    @property
    def index(self) -> NDArray[np.void]:
        """The rows of the index of what was written so far."""
        return np.concatenate([np.empty(0, INDEX_TYPE), *self._rows])

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._file:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())


def read_shard(path: Path) -> Iterator[bytes]:
    """The payloads of a shard from its start to its end, each checked against its checksum.

    Raises:
        UserError: The shard is damaged or ends within a record. (One cut between two records reads as a shorter one.)
    """
    with path.open("rb") as file:
        while header := file.read(FRAME_HEADER.size):
            at = file.tell()
            if len(header) < FRAME_HEADER.size or masked_crc(header[:8]) != FRAME_HEADER.unpack(header)[1]:
                raise UserError(f"{path} is damaged before byte {at}; run serialize_data.py again")
            payload, footer = file.read(FRAME_HEADER.unpack(header)[0]), file.read(FRAME_FOOTER.size)
            if len(footer) < FRAME_FOOTER.size or masked_crc(payload) != FRAME_FOOTER.unpack(footer)[0]:
                raise UserError(f"{path} is damaged after byte {at}; run serialize_data.py again")
            yield payload


# ---------------------------------------------------------------------------------------------------------------------
# The index, and documents at random


def write_index(folder: Path, split: str, parts: Sequence[NDArray[np.void]]) -> None:
    """Writes the index of a split from the parts of its shards, in their order."""
    with (folder / index_name(split)).open("wb") as file:
        np.save(file, np.concatenate([np.empty(0, INDEX_TYPE), *parts]), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())


def read_index(folder: Path, split: str) -> NDArray[np.void]:
    """Memory-maps the index of a split: a row per document, in the order of the documents, of :data:`INDEX_TYPE`.

    Raises:
        UserError: There is none, or it is damaged or of another version.
    """
    path = folder / index_name(split)
    try:
        index = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{folder} has no {split} split ({path.name} is not there)") from error
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python code: the kind of error depends on the damage
        raise UserError(f"{path} is damaged ({error}); {remake(folder)}") from error
    if index.dtype != INDEX_TYPE or index.ndim != 1:
        raise UserError(f"{path} is of another version of this project; {remake(folder)}")
    return index


def read_label_sets(folder: Path) -> NDArray[np.uint8] | None:
    """uint8 [combinations, C], where a text may have several labels; else ``None``.

    Raises:
        UserError: The file is damaged.
    """
    path = folder / LABEL_SETS_FILE
    if not path.is_file():
        return None
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.uint8)
    except Exception as error:  # as in read_index
        raise UserError(f"{path} is damaged ({error}); {remake(folder)}") from error


@dataclass
class RecordReader:
    """Reads documents of one split in any order; several threads may share it.

    Attributes:
        folder: The records folder.
        split: Name of the split.
        index: The memory-mapped index.
    """

    folder: Path
    split: str
    index: NDArray[np.void] = field(init=False, repr=False)
    _files: list[IO[bytes]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.index = read_index(self.folder, self.split)
        shards = int(self.index["shard"].max()) + 1 if len(self.index) else 0
        paths = [self.folder / shard_name(self.split, shard, shards) for shard in range(shards)]
        if missing := [path for path in paths if not path.is_file()]:
            raise UserError(f"{missing[0]} is not there; {remake(self.folder)}")
        self._files = [path.open("rb", buffering=0) for path in paths]

    def __len__(self) -> int:
        return len(self.index)

    def read_payload(self, number: int) -> bytes:
        """The serialised ``tf.train.Example`` of one document, by its place in the index."""
        row = self.index[number]
        return self._read(int(row["shard"]), int(row["offset"]), int(row["length"]))

    def read_payloads(self, numbers: NDArray[np.integer] | Sequence[int]) -> list[bytes]:
        """The same for many, in the order asked for."""
        rows = self.index[np.asarray(numbers, np.int64)]
        return list(map(self._read, rows["shard"].tolist(), rows["offset"].tolist(), rows["length"].tolist()))

    def _read(self, shard: int, offset: int, length: int) -> bytes:
        payload = os.pread(self._files[shard].fileno(), length, offset)
        if len(payload) != length:
            raise UserError(f"{self._files[shard].name} is cut short; {remake(self.folder)}")
        return payload

    def close(self) -> None:
        """Closes the shards."""
        for file in self._files:
            file.close()

    def __enter__(self) -> RecordReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# ---------------------------------------------------------------------------------------------------------------------
# The manifest


class FileFacts(TypedDict):
    """Size in bytes and hash of a file."""

    bytes: int
    sha256: str


class CsvFacts(TypedDict):
    """The hash of the CSV file that records were made from."""

    sha256: str


class ManifestFile(MadeOfTexts):
    """What is checked of ``manifest.json``; records of earlier versions have no ``tokeniser``."""

    csv: CsvFacts
    files: dict[str, FileFacts]


def remake(folder: Path) -> str:
    """The command that makes a records folder (``<data_dir>/<dataset>/records``) again."""
    if address := address_of(folder.parent.parent):
        return f"delete {folder} and run the same command again, which copies the records from {address}"
    dataset = folder.resolve().parent
    where = "" if folder.parent.parent == Path("data") else f" --data_dir {shlex.quote(str(folder.parent.parent))}"
    return f"run: python serialize_data.py {shlex.quote(dataset.name)}{where}"


def describe_files(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and hash of files, as the manifest keeps them."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of_file(folder / name)}
        for name in sorted(names)
    }


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a complete records folder of this format version and tokeniser; else a :class:`UserError`."""
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no complete records ({MANIFEST_FILE} is not there); {remake(folder)}")
    manifest = read_json(path)
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if version != FORMAT_VERSION:
        raise UserError(f"{path} has format version {version}, this program reads {FORMAT_VERSION}; {remake(folder)}")
    if not isinstance(manifest.get("files"), dict):
        raise UserError(f"{path} is damaged: it names no files; {remake(folder)}")
    schema.checked(manifest, ManifestFile, str(path), remake(folder))
    if difference := tokeniser_difference(manifest.get("tokeniser")):
        raise UserError(f"{folder} was made with {difference}; {remake(folder)}")
    return dict(manifest)


def made_from(manifest: Mapping[str, Any], csv: Path) -> bool:
    """Whether a CSV file is there and is, byte for byte, the one that the records with this manifest were made from."""
    return csv.is_file() and bool(sha256_of_file(csv) == manifest["csv"]["sha256"])


def verify_records(folder: Path) -> dict[str, Any]:
    """Checks every file of a records folder against the manifest, and returns the manifest.

    Raises:
        UserError: Names the file that is missing, cut short or altered, and the command to run.
    """
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path} is not there; {remake(folder)}")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise UserError(f"{path} has {size} bytes, its manifest says {expected['bytes']}; {remake(folder)}")
        if sha256_of_file(path) != expected["sha256"]:
            raise UserError(f"{path} is not what was written (its SHA-256 differs); {remake(folder)}")
    return manifest
