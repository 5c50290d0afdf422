"""What ``create_csv.py`` reads of a data set, block by block: hashes for the survey, rows of the CSV file, evidence.

These functions run in the process of the script, or as tasks on other machines (:mod:`corpus.runners`).
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from config import CsvSettings
from corpus.corpora import SPLITS, Corpus
from corpus.corpus_formats import Row
from corpus.runners import Runner, is_open
from corpus.splits import LEFT_OUT, SEEN, Noted, noted
from corpus.tables import TableBlock
from utils import UserError

PIECE = 1 << 16  # characters of the CSV file that are handed on at once
EVIDENCE_AT_ONCE = 10_000  # documents


class Readings:
    """The readings of a data set, of which the first comes before the others.

    Args:
        corpus: The data set.
        raw: Its raw folder.
        settings: Which classes it has; the seed of the hashes.
        runner: Reads it.
    """

    def __init__(self, corpus: Corpus, raw: Path, settings: CsvSettings, runner: Runner) -> None:
        self._common, self._runner = (corpus, raw, settings), runner
        self._sizes: Counter[int] = Counter()  # of the blocks, in documents

    def _blocks(self) -> Iterable[TableBlock | None]:
        return self._runner.blocks(self._common[0].table)

    def noted(self) -> Iterator[Noted]:
        """What is kept of the documents, some at a time."""
        calls = ((block, *self._common) for block in self._blocks())
        for number, more in self._runner.each(survey_block, calls):
            self._sizes[number] += len(more.splits)
            yield more

    def csv(self, codes: Iterator[int]) -> Iterator[tuple[bytes, list[str]]]:
        """The rows of the CSV file, some at a time; ``codes`` of all documents and results as in :func:`csv_block`."""
        calls = (
            (block, codes if is_open(block) else bytes(islice(codes, self._sizes[number])), *self._common)
            for number, block in enumerate(self._blocks())
        )
        return (piece for _, piece in self._runner.each(csv_block, calls))

    def evidence(self) -> Iterator[dict[str, Any]]:
        """The lines of ``evidence.jsonl``."""
        calls = ((block, *self._common) for block in self._blocks())
        for _, lines in self._runner.each(evidence_block, calls):
            yield from lines


def survey_block(block: TableBlock | None, corpus: Corpus, raw: Path, settings: CsvSettings) -> Iterator[Noted]:
    """Hashes, classes and splits of the documents of a block.

    Args:
        block: ``None`` for the whole data set.
        corpus: The data set.
        raw: Its raw folder.
        settings: Which classes it has; the seed of the hashes.

    Raises:
        UserError: A text that is none.
    """
    ids = {label: number for number, label in enumerate(corpus.class_names(settings.binary))}

    def documents() -> Iterator[tuple[str, str, int, int]]:
        for row in corpus.rows(raw, block):
            refuse_nul(row)
            label = corpus.label(row, settings.binary)
            yield row.id, row.text, LEFT_OUT if label is None else SPLITS.index(row.split), ids.get(label or "", -1)

    return noted(documents(), settings.split_seed)


def refuse_nul(row: Row) -> None:
    """Refuses a text with NUL characters, which no CSV reader would read again."""
    if "\0" in row.text:
        raise UserError(
            f"document {row.id} holds NUL characters, so it is not text; check that it is the right archive"
        )


def csv_block(
    block: TableBlock | None, codes: Iterable[int], corpus: Corpus, raw: Path, settings: CsvSettings
) -> Iterator[tuple[bytes, list[str]]]:
    """The rows of the CSV file, some at a time.

    Args:
        block: As above.
        codes: Of its documents, as in :class:`corpus.splits.Findings`.
        corpus: The data set.
        raw: Its raw folder.
        settings: Which classes it has.

    Yields:
        Rows, and the ids of those test documents among them whose text is also in train or valid.

    Raises:
        UserError: There are more or fewer documents than when they were counted.
    """
    file, seen = io.StringIO(newline=""), list[str]()
    writer = csv.writer(file)
    for row, code in placed(corpus, raw, block, codes):
        if code & SEEN:
            seen.append(row.id)
        if (split := code & ~SEEN) != LEFT_OUT:
            writer.writerow((row.id, SPLITS[split], corpus.label(row, settings.binary) or "", row.rating, row.text))
        if file.tell() > PIECE:
            yield file.getvalue().encode(errors="surrogateescape"), seen
            file, seen = io.StringIO(newline=""), []
            writer = csv.writer(file)
    yield file.getvalue().encode(errors="surrogateescape"), seen


def placed(corpus: Corpus, raw: Path, block: TableBlock | None, codes: Iterable[int]) -> Iterator[tuple[Row, int]]:
    """The documents of a block, each with its code."""
    try:
        yield from zip(corpus.rows(raw, block), codes, strict=True)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(
            f"{corpus.source_file(raw)} was changed while it was read; run the same command again"
        ) from error


def evidence_block(
    block: TableBlock | None, corpus: Corpus, raw: Path, _: CsvSettings
) -> Iterator[list[dict[str, Any]]]:
    """The lines of ``evidence.jsonl``, one for each document, some at a time."""
    lines: list[dict[str, Any]] = []
    for row in corpus.rows(raw, block):
        lines.append({"id": row.id, "evidence": row.evidence})
        if len(lines) == EVIDENCE_AT_ONCE:
            yield lines
            lines = []
    yield lines
