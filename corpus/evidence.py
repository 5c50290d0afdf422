"""Evidence in a person's own data: what a cell marks in the text beside it, as spans of characters.

A cell holds JSON, a list of ``[start, end]`` pairs, of objects with ``start`` and ``end``, or of parts of the text,
word for word; or it is itself such a part.
"""

from __future__ import annotations

import json
from typing import Any

from corpus.tables import MISSING, words

EVIDENCE_NAMES = words("evidence evidences rationale rationales")

Spans = tuple[tuple[int, int], ...]


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
