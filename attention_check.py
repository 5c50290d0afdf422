"""Attention beside the text it belongs to: documents with their words' places and weights, and attention checked
against the sentences that are known to decide."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from corpora import read_csv
from data_processing import load_text_processing
from input_pipeline import Split
from scoring import Scored, score_batches, scoring_function
from utils import DataPaths, UserError, read_jsonl

Span = tuple[int, int]


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
        split: The split they stand in.
        data: Where the CSV is.
        run: Run folder, for the text processing it was trained with.
        numbers: Positions in the split.
    """
    chosen = np.asarray(numbers, np.int64)
    batch = split.read(chosen)
    scored = Scored(batch, *(tensor.numpy() for tensor in scoring_function(model)(batch.documents)))
    names = split.ids(chosen)
    texts = texts_by_id(data, set(names))
    processor, _ = load_text_processing(run)
    return [
        AttendedText(name, texts[name], processor.process(texts[name]).spans, *weights)
        for name, weights in zip(names, weights_by_document(scored), strict=True)
    ]


def texts_by_id(data: DataPaths, names: set[str]) -> dict[str, str]:
    """Reads the texts of some documents from the data set's CSV."""
    texts = {row.id: row.text for row in read_csv(data.csv) if row.id in names}
    if len(texts) < len(names):
        raise UserError(
            f"{data.csv} no longer holds {sorted(names - texts.keys())[0]}; make the records anew: python "
            f"serialize_data.py {data.dataset}"
        )
    return texts


def weights_by_document(scored: Scored) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Cuts a batch's flat weights into documents: word weights, words per sentence, sentence weights of each."""
    _, lengths, sentences = (vector.numpy() for vector in scored.batch.documents)
    sentence_ends = np.cumsum(sentences)
    word_ends = np.cumsum(lengths)[sentence_ends - 1]
    return list(
        zip(
            np.split(scored.word_weights, word_ends[:-1]),
            np.split(lengths, sentence_ends[:-1]),
            np.split(scored.sentence_weights, sentence_ends[:-1]),
            strict=True,
        )
    )


def check_attention(model: Any, split: Split, data: DataPaths, run: Path, max_words: int) -> dict[str, float]:
    """How often the sentence with the most attention is one of those that are known to decide.

    Args:
        model: With ``attend``.
        split: The split.
        data: Where the CSV and ``evidence.jsonl`` are; a line of the latter is ``{"id", "evidence": [[start, end]]}``.
        run: Run folder, for the text processing it was trained with.
        max_words: Most words in a batch.

    Returns:
        ``precision``: share of documents whose top sentence overlaps the evidence; ``chance``: what a sentence drawn
        at random would reach; ``documents``: how many have evidence.
    """
    evidence = {row["id"]: [tuple(span) for span in row["evidence"]] for row in read_jsonl(data.evidence)}
    names = split.ids(np.arange(len(split)))
    texts = texts_by_id(data, set(names))
    processor, _ = load_text_processing(run)
    hits = chance = documents = 0.0
    for scored in score_batches(model, split, max_words):
        for number, (_, _, weights) in zip(scored.batch.numbers, weights_by_document(scored), strict=True):
            wanted = evidence.get(names[number])
            if not wanted:
                continue
            spans = processor.process(texts[names[number]]).spans
            deciding = [overlaps((sentence[0][0], sentence[-1][1]), wanted) for sentence in spans]
            hits += deciding[int(weights.argmax())]
            chance += sum(deciding) / len(deciding)
            documents += 1
    return {"precision": hits / documents, "chance": chance / documents, "documents": documents}


def overlaps(span: Span, others: list[Span]) -> bool:
    """Whether a span shares a character with any of the others."""
    return any(span[0] < end and start < span[1] for start, end in others)
