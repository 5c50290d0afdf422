"""Records in plain Python, decoded without TensorFlow and without the code that encodes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class DecodedDocument:
    """One record in plain Python.

    Attributes:
        id: The document's id.
        label: Class id, -1 for none.
        token_ids: All words in a row [words].
        words_per_sentence: [sentences].
    """

    id: str
    label: int
    token_ids: list[int]
    words_per_sentence: list[int]


def decode_example(payload: bytes) -> DecodedDocument:
    """Reads what :func:`text.records.encode_examples` wrote; ``ValueError`` for anything else."""
    try:
        ((_, features),) = fields_of(payload)
        entries = [dict(fields_of(entry)) for _, entry in fields_of(features)]
        values = {entry[1]: next(fields_of(next(fields_of(entry[2]))[1]))[1] for entry in entries}
        (label,) = decode_varints(values[b"label"])
        token_ids, lengths = decode_varints(values[b"token_ids"]), decode_varints(values[b"words_per_sentence"])
        return DecodedDocument(values[b"id"].decode(), label, token_ids, lengths)
    except (LookupError, TypeError, ValueError, StopIteration) as error:
        raise ValueError(f"not one of this project's records ({error!r})") from error


def fields_of(message: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of each field of a message whose fields are all of kind 2."""
    at = 0
    while at < len(message):
        tag = message[at]
        if tag & 7 != 2:
            raise ValueError(f"a field of kind {tag & 7}")
        size, shift, at = 0, 0, at + 1
        while True:
            byte, at = message[at], at + 1
            size |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        yield tag >> 3, message[at : at + size]
        at += size


def decode_varints(packed: bytes) -> list[int]:
    """Packed varints as signed 64-bit integers."""
    values, value, shift = [], 0, 0
    for byte in packed:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(value - (1 << 64) if value >> 63 else value)
            value, shift = 0, 0
    return values
