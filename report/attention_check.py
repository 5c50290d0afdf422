"""Attention beside the text it belongs to: documents with their words' places and weights, and attention checked
against the sentences that are known to decide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpus.corpora import read_csv
from corpus.evidence import read_evidence
from data_processing import Span, load_text_processing
from runtime.input_pipeline import Split
from runtime.scoring import score_batch
from text.records import made_from, read_manifest, remake
from utils import DataPaths, UserError


class AttendedText(NamedTuple):
    """A document as a person wrote it, with what the network attended to.

    Attributes:
        id: Of the document.
        text: The original.
        spans: [S] sentences, each the (start, end) of its words in ``text``.
        word_weights: float32 [N].
        words_per_sentence: int32 [S].
        sentence_weights: float32 [S].
    """

    id: str
    text: str
    spans: list[list[Span]]
    word_weights: np.ndarray
    words_per_sentence: np.ndarray
    sentence_weights: np.ndarray


def attended_texts(model: Any, split: Split, data: DataPaths, run: Path, numbers: list[int]) -> list[AttendedText]:
    """Scores documents and puts their weights beside their text, which is read from the CSV.

    Args:
        model: With ``attend``.
        split: The split that they are in.
        data: Where the CSV is.
        run: Run folder, for the text processing it was trained with.
        numbers: Positions in the split.
    """
    chosen = np.asarray(numbers, np.int64)
    batch = split.read(chosen)
    scored = score_batch(model, batch)
    names = split.ids(chosen)
    texts = texts_by_id(data, set(names))
    processor, _ = load_text_processing(run)
    return [
        AttendedText(name, texts[name], processor.process(texts[name]).spans, *weights)
        for name, weights in zip(names, scored.weights_by_document(), strict=True)
    ]


def texts_by_id(data: DataPaths, names: set[str]) -> dict[str, str]:
    """Reads the texts of some documents of the records from the data set's CSV file.

    Raises:
        UserError: The CSV file is missing or is not the one that the records were made from.
    """
    if not made_from(read_manifest(data.records), data.csv):
        raise UserError(
            f"{data.csv} is missing or is not the file that {data.records} was made from; {remake(data.records)}"
        )
    return {row.id: row.text for row in read_csv(data.csv) if row.id in names}


def deciding_sentences(split: Split, data: DataPaths, run: Path) -> list[list[bool]]:
    """Which sentences of each document are known to decide, in the split's order; empty where nothing is known.

    Args:
        split: The split.
        data: Where the CSV and ``evidence.jsonl`` are; a line of the latter is a :class:`corpus.evidence.EvidenceRow`.
        run: Run folder, for the text processing it was trained with.

    Raises:
        UserError: ``evidence.jsonl`` is damaged, or the CSV is of other documents.
    """
    evidence = read_evidence(data)
    names = split.ids(np.arange(len(split)))
    texts = texts_by_id(data, {name for name in names if evidence.get(name)})
    processor, _ = load_text_processing(run)

    def flags(name: str) -> list[bool]:
        sentences = processor.process(texts[name]).spans if name in texts else []
        return [overlaps((words[0][0], words[-1][1]), evidence[name]) for words in sentences]

    return [flags(name) for name in names]


def marked_words(split: Split, data: DataPaths, run: Path, numbers: np.ndarray) -> list[np.ndarray]:
    """Which words of some documents are marked as evidence: bool [N] each; empty where nothing is marked.

    Args:
        split: The split that they are in.
        data: Where the CSV and ``evidence.jsonl`` are; a line of the latter is a :class:`corpus.evidence.EvidenceRow`.
        run: Run folder, for the text processing it was trained with.
        numbers: int64, positions in the split.

    Raises:
        UserError: ``evidence.jsonl`` is damaged, or the CSV is of other documents.
    """
    evidence = read_evidence(data)
    names = split.ids(numbers)
    texts = texts_by_id(data, {name for name in names if evidence.get(name)})
    processor, _ = load_text_processing(run)

    def flags(name: str) -> np.ndarray:
        words = [word for sentence in processor.process(texts[name]).spans for word in sentence]
        found = np.array([overlaps(word, evidence[name]) for word in words], bool)
        return found if found.any() else found[:0]

    return [flags(name) if name in texts else np.zeros(0, bool) for name in names]


def evidence_score(top: np.ndarray, deciding: list[list[bool]]) -> dict[str, float] | None:
    """How often the sentence with the most attention is one of those that are known to decide.

    Args:
        top: int [documents], the place of each document's top sentence.
        deciding: As :func:`deciding_sentences` gives it.

    Returns:
        ``precision``: share of documents whose top sentence decides; ``chance``: what a sentence drawn at random would
        reach; ``documents``: how many have evidence. ``None`` where none has.
    """
    known = [(place, flags) for place, flags in zip(top.tolist(), deciding, strict=True) if any(flags)]
    if not known:
        return None
    return {
        "precision": sum(flags[place] for place, flags in known) / len(known),
        "chance": sum(sum(flags) / len(flags) for _, flags in known) / len(known),
        "documents": len(known),
    }


def overlaps(span: Span, others: Sequence[Span]) -> bool:
    """Whether a span shares a character with any of the others."""
    return any(span[0] < end and start < span[1] for start, end in others)
