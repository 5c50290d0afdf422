"""What is counted and drawn when the documents of a data set are read for the first time."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from config import TextSettings
from corpus.corpora import CsvRow

# The sentence splitter learns from the beginning of a text; more of a novel would teach it nothing new.
SAMPLE_CHARACTERS = 20_000
SHOWN_DOCUMENTS = 3


@dataclass
class FirstReading:
    """What the first reading of the CSV file gives.

    Attributes:
        documents: Documents of each split.
        classes: For each labelled split, documents of each class.
        first: The first training documents, to be shown.
        sample: Training texts for the sentence splitter, in the order of the hashes of their ids.
    """

    documents: Counter[str] = field(default_factory=Counter)
    classes: dict[str, Counter[str]] = field(default_factory=dict)
    first: list[CsvRow] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)

    def add(self, other: FirstReading) -> None:
        """Adds the counts of the documents that come after these; the sample stays as it is."""
        self.documents.update(other.documents)
        for split, classes in other.classes.items():
            self.classes.setdefault(split, Counter()).update(classes)
        self.first = (self.first + other.first)[:SHOWN_DOCUMENTS]


def read_first(rows: Iterable[CsvRow], settings: TextSettings) -> FirstReading:
    """Counts documents and classes, and draws the sample: always the same for the same ids, whatever their order."""
    sample = Sample(settings.splitter_documents, settings.seed)
    found = count_rows(rows, sample)
    found.sample = sample.texts()
    return found


def count_rows(rows: Iterable[CsvRow], sample: Sample) -> FirstReading:
    """Counts documents and classes, and offers the training documents to ``sample``."""
    found = FirstReading()
    for row in rows:
        found.documents[row.split] += 1
        if row.split != "unlabelled":
            found.classes.setdefault(row.split, Counter())[row.label] += 1
        if row.split == "train":
            sample.offer(row)
            if len(found.first) < SHOWN_DOCUMENTS:
                found.first.append(row)
    return found


class Drawn(NamedTuple):
    """A document of a sample: the negative of its hash, its id, the beginning of its text."""

    negative_hash: int
    id: str
    text: str


class Sample:
    """Of the documents that are offered, the ``size`` with the lowest hashes of their ids; ``seed`` is hashed too.

    A sample of a part of the documents need not hold those with hashes above ``-least``, a negative hash: the others
    have them already.
    """

    def __init__(self, size: int, seed: int, least: int = -(1 << 64)) -> None:
        self._size, self._seed, self._least = size, seed, least
        self._drawn: list[Drawn] = []  # a heap: the highest hash is first

    @property
    def least(self) -> int:
        """The negative hash that a document must exceed to belong to the sample."""
        return self._drawn[0].negative_hash if len(self._drawn) == self._size > 0 else self._least

    def offer(self, row: CsvRow) -> None:
        """Takes the document if it belongs to the sample, in place of the one with the highest hash if that is full."""
        digest = hashlib.blake2b(f"{self._seed} {row.id}".encode(), digest_size=8).digest()
        negative_hash = -int.from_bytes(digest)
        if negative_hash > self.least:
            self.take(Drawn(negative_hash, row.id, row.text[:SAMPLE_CHARACTERS]))

    def take(self, item: Drawn) -> None:
        """Takes a document that another sample has drawn, if it belongs to this one."""
        if item.negative_hash <= self.least:
            return
        if len(self._drawn) < self._size:
            heapq.heappush(self._drawn, item)
        elif self._drawn:
            heapq.heapreplace(self._drawn, item)

    @property
    def drawn(self) -> list[Drawn]:
        """The documents, in no order."""
        return self._drawn

    def texts(self) -> list[str]:
        """The beginnings of the texts, by rising hash."""
        return [item.text for item in sorted(self._drawn, reverse=True)]
