"""Evidence: which parts of a text decide, as spans of characters; from a cell of a table to ``evidence.jsonl``.

In a person's own data a cell marks parts of the text beside it. It holds JSON, a list of ``[start, end]`` pairs, of
objects with ``start`` and ``end``, or of parts of the text, word for word; or it is itself such a part.
"""

from __future__ import annotations

import json
from typing import Any, TypedDict

from corpus.corpora import read_csv
from corpus.headers import MISSING, words
from schema import read_jsonl
from utils import DataPaths

EVIDENCE_NAMES = words("evidence evidences rationale rationales")

Spans = tuple[tuple[int, int], ...]


class EvidenceRow(TypedDict):
    """A line of ``evidence.jsonl``: the spans (start, end) of the text that are known to decide."""

    id: str
    evidence: list[tuple[int, int]]


def read_evidence(data: DataPaths) -> dict[str, list[tuple[int, int]]]:
    """The marked spans of each document, by its id.

    Raises:
        UserError: ``evidence.jsonl`` is damaged.
    """
    rows = read_jsonl(data.evidence, EvidenceRow, f"make it again: python create_csv.py {data.dataset}")
    return {row["id"]: row["evidence"] for row in rows}


def marks_training(data: DataPaths) -> bool:
    """Whether any training document of a data set has marked parts.

    Raises:
        UserError: ``evidence.jsonl`` or the CSV file is damaged.
    """
    if not data.evidence.exists():
        return False
    marked = {name for name, spans in read_evidence(data).items() if spans}
    return any(row.split == "train" and row.id in marked for row in read_csv(data.csv))


def spans_in(cell: str, text: str) -> Spans | None:
    """The spans ``[start, end)`` of ``text`` that a cell marks, in their order; ``None`` where the cell marks no such.

    Args:
        cell: Of the column of evidence.
        text: Of the same row.
    """
    plain = cell.strip()
    if plain.casefold() in MISSING:
        return ()
    try:
        value = json.loads(plain)
    except ValueError:
        value = plain
    spans = [span_of(one, text) for one in (value if isinstance(value, list) else [plain])]
    return None if None in spans else tuple(sorted(span for span in spans if span))


def span_of(value: Any, text: str) -> tuple[int, int] | None:
    """The span that one value marks: a pair, an object with ``start`` and ``end``, or the text of the span."""
    if isinstance(value, str):
        start = text.find(value) if value.strip() else -1
        return (start, start + len(value)) if start >= 0 else None
    if isinstance(value, dict):
        value = [value.get("start"), value.get("end")]
    if not isinstance(value, list) or [type(one) for one in value] != [int, int]:
        return None
    start, end = value
    return (start, end) if 0 <= start < end <= len(text) else None
