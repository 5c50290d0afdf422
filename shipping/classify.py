#!/usr/bin/env python3
"""Classifies texts with the network of this folder. Needs numpy, onnxruntime and regex only: see requirements.txt.

    python classify.py "A dull film."                      verdict, sentences and phrases that decided
    python classify.py < review.txt                        the same for standard input
    python classify.py --csv reviews.csv > predictions.csv
    python classify.py --serve 8000                        POST {"text": "A dull film."} to /predict; GET /metrics

    from classify import Classifier
    classifier = Classifier()
    classifier.predict(["A dull film.", "A splendid film."])
    classifier.explain("A dull film.")

The files that it loads were written by ``export.py`` and are compared with ``sha256sums`` each time.

    N words   S sentences   C classes   G n-grams in the table
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import io
import itertools
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, NoReturn


def without_package(error: ImportError) -> NoReturn:
    """Ends the program where this Python lacks a package, with one line that says what to type."""
    listed = Path(__file__).resolve().with_name("requirements.txt")
    command = f"{sys.executable} -m pip install -r {listed}"
    print(
        f"{Path(__file__).name}: error: {sys.executable} has no package {error.name}; type: {command}", file=sys.stderr
    )
    sys.exit(2)


try:
    import numpy as np
    import regex
    from numpy.typing import NDArray
except ImportError as error:
    if __name__ != "__main__":
        raise
    without_package(error)

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    import onnxruntime

Span = tuple[int, int]
Floats = NDArray[np.floating]

BUNDLE_FORMAT = 1
CHECKED_FILES = ("model.onnx", "text.json", "ngrams.npy")
UNKNOWN_ID = 1
LONGEST_NGRAM = 3
BETWEEN_LABELS = " | "  # of a text with several, in a table
STRONGEST_NGRAMS = 10  # in an explanation
REMEMBERED_DECISIONS = 50_000  # of the sentence splitter
LARGEST_REQUEST = 10_000_000  # bytes
SECONDS_FOR_A_REQUEST = 30
MOST_REQUESTS = 64  # at work at the same time; more are refused
RETRY_SECONDS = 5
DELIMITERS = ",;\t"  # of a table; of those that are equally frequent in its first line the first one
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b", b"PAR1")  # how such files begin
AS_CSV = "save it as CSV in UTF-8 (in a spreadsheet: Save As, CSV UTF-8)"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus' text format
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # seconds, upper limits


class BundleError(ValueError):
    """A mistake that the user can correct, in one line."""


# ---------------------------------------------------------------------------------------------------------------------
# Text: markup, sentences, words. The same results as data_processing.py and text/punkt.py of the repository, which a
# test there compares.

# Bits of a word's orthographic contexts: where in sentences, and in which case, training has seen it.
INITIAL_UPPER, INTERNAL_UPPER, UNKNOWN_UPPER, INITIAL_LOWER, INTERNAL_LOWER, UNKNOWN_LOWER = (
    1 << n for n in range(1, 7)
)
ANY_UPPER = INITIAL_UPPER | INTERNAL_UPPER | UNKNOWN_UPPER
ANY_LOWER = INITIAL_LOWER | INTERNAL_LOWER | UNKNOWN_LOWER
NUMBER_TYPE = "##number##"


class PunktWord(NamedTuple):
    """A word beside a full stop: as written, its kind, and what it is by itself."""

    word: str
    kind: str
    ends: bool = False
    abbreviation: bool = False
    ellipsis: bool = False


class Punkt:
    """Sentence boundaries (Kiss and Strunk, Computational Linguistics 32, 2006) with learnt parameters.

    Args:
        parameters: The part ``punkt`` of ``text.json``.
        patterns: Compiled expressions by name.
    """

    def __init__(self, parameters: dict[str, Any], patterns: dict[str, Any]) -> None:
        self.patterns = patterns
        self.closing = frozenset(parameters["closing_signs"])
        self.abbreviations = frozenset(parameters["abbreviations"])
        self.collocations = frozenset((first, second) for first, second in parameters["collocations"])
        self.starters = frozenset(parameters["sentence_starters"])
        self.contexts = {word: int(bits) for bits, words in parameters["contexts"].items() for word in words}
        self.doubtful = self.abbreviations | {first for first, _ in self.collocations}
        self.contains_end = functools.lru_cache(REMEMBERED_DECISIONS)(self.decide)

    def spans(self, text: str, start: int, stop: int) -> list[Span]:
        """The sentences of ``text[start:stop]`` as (start, end) into ``text``, without white space between them."""
        sentences, begin = [], start
        for match, word_start in self.last_candidates(text, start, stop):
            if self.ends_sentence(text, match, word_start, stop):
                sentences.append((begin, match.end()))
                begin = match.end() if match.start(1) < 0 else match.start(1)
        sentences.append((begin, start + len(text[start:stop].rstrip())))
        if any(text[first : first + 1] in self.closing for first, _ in sentences):
            return list(self.with_closing_signs(text, sentences))
        return [(first, end) for first, end in sentences if first < end]

    def last_candidates(self, text: str, start: int, stop: int) -> Iterator[tuple[re.Match[str], int]]:
        """Of the candidates that no white space parts (``what?!``) the last, with the start of the word before it."""
        word_start, at, previous = start, start, None
        for match in self.patterns["candidate"].finditer(text, start, stop):
            space = self.last_space(text, at, match.start())
            next_start = space + 1 if space > at else word_start
            if previous is not None and at <= next_start:
                yield previous, word_start
            previous, word_start, at = match, next_start, match.start()
        if previous is not None:
            yield previous, word_start

    def last_space(self, text: str, start: int, stop: int) -> int:
        """Position of the last ASCII white space in ``text[start:stop]``, -1 if there is none."""
        space = text.rfind(" ", start, stop)
        for other in self.patterns["ascii_space"].finditer(text, max(space, start), stop):
            space = other.start()
        return space

    def ends_sentence(self, text: str, match: re.Match[str], word_start: int, stop: int) -> bool:
        """Whether a sentence ends at a candidate; ``word_start`` is where the word before it starts."""
        at = match.start()
        if text[at] != "." or (at > word_start and text[at - 1] in ')"]}'):
            return True
        word = text[word_start:at].lower()
        if len(word) > 1 and word.isalpha() and word not in self.doubtful:
            return True
        after = match.start(1)
        end = at + 2 if after < 0 else self.patterns["next_word"].match(text, after, stop).end()
        return self.contains_end(text[word_start:end])

    def decide(self, context: str) -> bool:
        """Whether any word of the context but the last ends a sentence."""
        lines = (line for line in context.split("\n") if line.strip())
        words = [self.classified(word) for line in lines for word in self.words(line)]
        return any(self.reconsider(this, following) for this, following in itertools.pairwise(words))

    def words(self, line: str) -> list[str]:
        """The words that Punkt decides by."""
        plain = line.isascii() and line.isprintable()
        found: list[str] = self.patterns["ascii_punkt_word" if plain else "punkt_word"].findall(line)
        return found

    def classified(self, word: str) -> PunktWord:
        """What a word is by itself: end of a sentence, abbreviation, ellipsis or none of them."""
        kind = self.patterns["number"].sub(NUMBER_TYPE, word.lower())
        if word in (".", "?", "!"):
            return PunktWord(word, kind, ends=True)
        if self.patterns["ellipsis"].match(word):
            return PunktWord(word, kind, ellipsis=True)
        if word.endswith(".") and not word.endswith(".."):
            base = word[:-1].lower()
            known = base in self.abbreviations or base.split("-")[-1] in self.abbreviations
            return PunktWord(word, kind, ends=not known, abbreviation=known)
        return PunktWord(word, kind)

    def reconsider(self, this: PunktWord, following: PunktWord) -> bool:
        """Whether ``this`` ends a sentence, by the word that follows."""
        if not this.word.endswith("."):
            return this.ends
        kind = without_full_stop(this.kind)
        next_kind = without_full_stop(following.kind) if following.ends else following.kind
        if (kind, next_kind) in self.collocations:
            return False
        initial = bool(self.patterns["initial"].match(this.word))
        starts = self.starts_sentence(following, next_kind)
        upper = following.word[0].isupper()
        begins = starts or (upper and next_kind in self.starters)
        if begins and (this.abbreviation or this.ellipsis) and not initial:
            return True
        if starts is False and (initial or kind == NUMBER_TYPE):
            return False
        never_lower = not self.contexts.get(next_kind, 0) & ANY_LOWER
        return this.ends and not (initial and starts is None and upper and never_lower)

    def starts_sentence(self, word: PunktWord, kind: str) -> bool | None:
        """Whether a word starts a sentence: yes, no, or None where its case decides nothing."""
        if word.word in (";", ":", ",", ".", "!", "?"):
            return False
        seen, first = self.contexts.get(kind, 0), word.word[0]
        if first.isupper() and seen & ANY_LOWER and not seen & INTERNAL_UPPER:
            return True
        if first.islower() and (seen & ANY_UPPER or not seen & INITIAL_LOWER):
            return False
        return None

    def with_closing_signs(self, text: str, sentences: Sequence[Span]) -> Iterator[Span]:
        """Yields the sentences, each with the quotes and brackets behind its full stop."""
        moved = 0
        for (start, end), following in itertools.zip_longest(sentences, sentences[1:]):
            start += moved
            closing = self.patterns["closing_signs"].match(text, *following) if following else None
            moved = closing.end() - following[0] if closing else 0
            if closing:
                yield start, following[0] + len(closing[0].rstrip())
            elif start < end:
                yield start, end


def without_full_stop(kind: str) -> str:
    """A kind without its final full stop; a full stop alone stays."""
    return kind[:-1] if len(kind) > 1 and kind[-1] == "." else kind


class Document(NamedTuple):
    """A text as the network reads it.

    Attributes:
        token_ids: int32 [N]; one ``<unk>`` for a text without a word.
        words_per_sentence: int32 [S].
        spans: [S] sentences, each the (start, end) of its words in the text; empty for a text without a word.
        cut_words: Words after the largest number of sentences, which the network does not read.
    """

    token_ids: NDArray[np.int32]
    words_per_sentence: NDArray[np.int32]
    spans: list[list[Span]]
    cut_words: int

    @property
    def words(self) -> int:
        """Words of the text that the network reads."""
        return len(self.token_ids) if self.spans else 0

    @property
    def unknown_words(self) -> int:
        """How many of them it does not know."""
        return int((self.token_ids == UNKNOWN_ID).sum()) if self.spans else 0


class TextReader:
    """Cuts texts into sentences and words and looks the words up.

    Args:
        settings: The content of ``text.json``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        engines: dict[str, Any] = {"re": re, "regex": regex}
        self.patterns = {}
        for name, given in settings["patterns"].items():
            engine = engines[given["engine"]]
            flags = sum(int(getattr(engine, flag)) for flag in given["flags"])
            self.patterns[name] = engine.compile(given["pattern"], flags)
        self.punkt = Punkt(settings["punkt"], self.patterns)
        self.vocabulary: list[str] = settings["vocabulary"]
        self.ids = {word: number for number, word in enumerate(self.vocabulary)}
        self.max_words: int = settings["max_words_per_sentence"]
        self.max_sentences: int = settings["max_sentences_per_document"]

    def read(self, text: str) -> Document:
        """Cuts a text into sentences and words and looks the words up."""
        if not isinstance(text, str):
            raise BundleError(
                f"a text is {text!r:.40}, of the type {type(text).__name__}; give a str, '' for a missing one"
            )
        plain = self.blank_markup(text)
        bounds = [span for start, end in self.segments(plain) for span in self.punkt.spans(plain, start, end)]
        spans = [piece for start, end in bounds for piece in self.pieces(plain, start, end)]
        spans, cut = spans[: self.max_sentences], spans[self.max_sentences :]
        words = [plain[start:end].lower() for sentence in spans for start, end in sentence]
        ids = [self.ids.get(word, UNKNOWN_ID) for word in words]
        lengths = [len(sentence) for sentence in spans]
        return Document(
            np.array(ids or [UNKNOWN_ID], np.int32), np.array(lengths or [1], np.int32), spans, sum(map(len, cut))
        )

    def blank_markup(self, text: str) -> str:
        """Replaces HTML tags and control characters by white space of the same length."""
        if not text.isprintable():
            text = self.patterns["control"].sub(" ", text)
        if "<" in text:
            text = text.replace("<br />", "\n" * len("<br />"))
            text = self.patterns["markup"].sub(lambda tag: ("\n" if tag["paragraph"] else " ") * len(tag[0]), text)
        return text

    def segments(self, text: str) -> Iterator[Span]:
        """Yields (start, end) of paragraphs and of what full stops end that Punkt does not know (``。 । ؟``)."""
        start = 0
        for end in self.patterns["paragraph_end" if text.isascii() else "segment_end"].finditer(text):
            yield start, end.end()
            start = end.end()
        if start < len(text):
            yield start, len(text)

    def pieces(self, text: str, start: int, end: int) -> Iterator[list[Span]]:
        """The words of a sentence as (start, end); a long sentence is cut into several."""
        words = [match.span() for match in self.patterns["word"].finditer(text, start, end)]
        yield from (words[first : first + self.max_words] for first in range(0, len(words), self.max_words))


# ---------------------------------------------------------------------------------------------------------------------
# The n-gram lane: a linear classifier on runs of one to three words, beside the network


class Ngrams:
    """TF-IDF of the n-grams of a document times their weights.

    Args:
        table: [G] with the fields ``key`` (ascending), ``idf`` and ``weights`` [C], as in ``ngrams.npy``.
        word_bits: Bits of a word's id in a key.
        bias: [C].
        scale: By which the logits of the lane count.
    """

    def __init__(self, table: NDArray[Any], word_bits: int, bias: Sequence[float], scale: float) -> None:
        self.keys = np.append(table["key"], np.iinfo(np.int64).max)  # no key is larger, so that a search ends within
        self.idf, self.weights, self.word_bits = table["idf"], table["weights"], word_bits
        self.bias, self.scale = np.array(bias, np.float64) * scale, scale

    def occurrences(self, token_ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64 [occurrences, 3]: row in the table, place of the first word, number of words."""
        ids, found = token_ids.astype(np.int64), []
        for length in range(1, min(LONGEST_NGRAM, len(ids)) + 1):
            windows = np.lib.stride_tricks.sliding_window_view(ids, length)
            places = np.flatnonzero((windows > UNKNOWN_ID).all(axis=1))
            keys = np.zeros(len(places), np.int64)
            for column in windows[places].T:
                keys = keys << self.word_bits | column
            rows = np.searchsorted(self.keys, keys)
            known = self.keys[rows] == keys
            found.append(np.stack([rows[known], places[known], np.full(known.sum(), length)], axis=1))
        return np.concatenate(found)

    def contributions(self, token_ids: NDArray[np.int32]) -> Contributions:
        """What each n-gram of a document adds to its logits."""
        occurrences = self.occurrences(token_ids)
        rows, which, counts = np.unique(occurrences[:, 0], return_inverse=True, return_counts=True)
        values = (1 + np.log(counts)) * self.idf[rows].astype(np.float64)
        norm = np.sqrt((values**2).sum()) or 1.0
        added = self.scale * (values / norm)[:, np.newaxis] * self.weights[rows]
        return Contributions(self.keys[rows], counts, added, occurrences, which)

    def words_of(self, key: int) -> list[int]:
        """The ids of an n-gram's words."""
        mask = (1 << self.word_bits) - 1
        ids = (key >> shift * self.word_bits & mask for shift in reversed(range(LONGEST_NGRAM)))
        return [number for number in ids if number]


class Contributions(NamedTuple):
    """What the n-grams of a document add to its logits.

    Attributes:
        keys: int64 [different n-grams].
        counts: int64 [different n-grams], how often each is in the document.
        added: float64 [different n-grams, C].
        occurrences: As :meth:`Ngrams.occurrences` gives it.
        which: int64 [occurrences], which of the n-grams each is.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    added: NDArray[np.float64]
    occurrences: NDArray[np.int64]
    which: NDArray[np.int64]

    def of_words(self, words: int) -> NDArray[np.float64]:
        """float64 [N, C]: each n-gram's part divided among its places, and there among its words."""
        shares = np.zeros((words, self.added.shape[1]))
        places, lengths = self.occurrences[:, 1], self.occurrences[:, 2]
        each = self.added[self.which] / (self.counts[self.which] * lengths)[:, np.newaxis]
        for offset in range(LONGEST_NGRAM):
            longer = lengths > offset
            np.add.at(shares, places[longer] + offset, each[longer])
        return shares


# ---------------------------------------------------------------------------------------------------------------------
# The network


class Outputs(NamedTuple):
    """What network and n-gram lane give for a document.

    Attributes:
        logits: float64 [C], of both together.
        vector: float32 [D], the document vector of the network.
        word_weights: float32 [N], adding up to 1 within each sentence; None for a network without attention.
        sentence_weights: float32 [S], adding up to 1; None likewise.
        sentence_shares: float64 [S, C], what each sentence adds to the logits, in a network with attention and in the
            lane.
        rest: float64 [C], what no sentence accounts for: the bias; without attention the network's logits as well.
            With the sentence shares it adds up to the logits.
        ngrams: Of the lane; None without one.
    """

    logits: NDArray[np.float64]
    vector: NDArray[np.float32]
    word_weights: NDArray[np.float32] | None
    sentence_weights: NDArray[np.float32] | None
    sentence_shares: NDArray[np.float64]
    rest: NDArray[np.float64]
    ngrams: Contributions | None


class Classifier:
    """The network of a bundle with its text processing.

    Args:
        folder: The bundle; the folder of this file by default.
        threads: For the network; one is fastest for single texts.

    Raises:
        BundleError: A file is missing, or is not what ``export.py`` wrote.
    """

    def __init__(self, folder: Path | str = Path(__file__).parent, threads: int = 1) -> None:
        self.folder = Path(folder)
        check_files(self.folder)
        self.settings: dict[str, Any] = json.loads((self.folder / "text.json").read_text(encoding="utf-8"))
        if self.settings["bundle_format"] != BUNDLE_FORMAT:
            raise BundleError(
                f"{self.folder} has bundle format {self.settings['bundle_format']}, this program reads "
                f"{BUNDLE_FORMAT}; use the classify.py of the bundle"
            )
        self.class_names: list[str] = self.settings["class_names"]
        self.attends: bool = self.settings["attends"]
        self.scale: float = self.settings["scale"]
        self.bias = np.array(self.settings["bias"], np.float64) * self.scale
        self.reader = TextReader(self.settings)
        thresholds = self.settings.get("thresholds")  # only where a text may have several labels
        self.thresholds = None if thresholds is None else np.array(thresholds, np.float64)
        lane = self.settings["ngrams"]
        self.ngrams = Ngrams(np.load(self.folder / "ngrams.npy"), **lane) if lane else None
        self.session = session_of(self.folder / "model.onnx", threads)

    # -- many texts ---------------------------------------------------------------------------------------------------

    def predict(self, texts: Iterable[str]) -> list[dict[str, Any]]:
        """Classifies texts.

        Returns:
            For each text ``label`` and ``confidence`` (None for a text without a word), ``probabilities`` by class,
            ``words``, ``unknown_words`` and ``remarks``. Where a text may have several labels, ``label`` is the list of
            those whose probability reaches their threshold, and may be empty.

        Raises:
            BundleError: Something is not a text, for example a missing value.
        """
        if isinstance(texts, str):
            raise BundleError("predict takes a list of texts; for one text give [text]")
        return [self.predict_one(text) for text in texts]

    def predict_one(self, text: str) -> dict[str, Any]:
        """One entry of :meth:`predict`."""
        document = self.reader.read(text)
        return self.verdict(document, self.run(document).logits)

    def verdict(self, document: Document, logits: NDArray[np.float64]) -> dict[str, Any]:
        """One entry of :meth:`predict` from the logits."""
        probabilities, best = self.probabilities_of(logits), int(logits.argmax())
        counts: dict[str, Any] = {"words": document.words, "unknown_words": document.unknown_words}
        counts["remarks"] = remarks(document, self.settings.get("short_text", 0))
        if not document.words:
            return {"label": None, "confidence": None, "probabilities": None, **counts}
        return {
            "label": self.class_names[best] if self.thresholds is None else self.labels_of(probabilities),
            "confidence": float(probabilities[best]),
            "probabilities": self.by_class(probabilities),
            **counts,
        }

    def probabilities_of(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """float64 [C]: of one label, or each label's own where a text may have several."""
        return softmax(logits) if self.thresholds is None else sigmoid(logits)

    def labels_of(self, probabilities: NDArray[np.float64]) -> list[str]:
        """The labels that reach their thresholds, in order."""
        if self.thresholds is None:
            raise ValueError("a text has one label")
        reached = probabilities >= self.thresholds
        return [name for name, one in zip(self.class_names, reached.tolist(), strict=True) if one]

    def margin(self, shares: Floats, label: int) -> Floats:
        """What shares of the logits [..., C] add to the log-odds of a label: [...]."""
        return margin(shares, label) if self.thresholds is None else shares[..., label]

    # -- one text -----------------------------------------------------------------------------------------------------

    def explain(self, text: str) -> dict[str, Any]:
        """Classifies a text and says what decided.

        Returns:
            The entry of :meth:`predict` with ``logits`` by class, ``sentences`` (``text``, ``start``, ``end``,
            ``weight`` of attention, ``shares`` of the logits by class, ``words`` with their attention), ``rest``
            (with the shares of all sentences it adds up to the logits) and ``ngrams``, the strongest runs of words.
        """
        document = self.reader.read(text)
        outputs = self.run(document)
        return {
            **self.verdict(document, outputs.logits),
            "logits": self.by_class(outputs.logits),
            "rest": self.by_class(outputs.rest),
            "sentences": [self.sentence(text, document, outputs, number) for number in range(len(document.spans))],
            "ngrams": self.strongest_ngrams(outputs),
        }

    def sentence(self, text: str, document: Document, outputs: Outputs, number: int) -> dict[str, Any]:
        """One sentence of an explanation."""
        spans = document.spans[number]
        first = int(document.words_per_sentence[:number].sum())
        attention = None if outputs.word_weights is None else outputs.word_weights[first : first + len(spans)]
        return {
            "text": text[spans[0][0] : spans[-1][1]],
            "start": spans[0][0],
            "end": spans[-1][1],
            "weight": None if outputs.sentence_weights is None else float(outputs.sentence_weights[number]),
            "shares": self.by_class(outputs.sentence_shares[number]),
            "words": [
                {
                    "text": text[start:end],
                    "start": start,
                    "end": end,
                    "attention": None if attention is None else float(attention[place]),
                }
                for place, (start, end) in enumerate(spans)
            ],
        }

    def strongest_ngrams(self, outputs: Outputs) -> list[dict[str, Any]]:
        """The n-grams that speak most for or against the verdict, strongest first."""
        if outputs.ngrams is None or self.ngrams is None:
            return []
        strength = self.margin(outputs.ngrams.added, int(outputs.logits.argmax()))
        order = np.argsort(-np.abs(strength), kind="stable")[:STRONGEST_NGRAMS]
        return [
            {
                "ngram": " ".join(self.reader.vocabulary[word] for word in self.ngrams.words_of(int(key))),
                "count": int(count),
                "shares": self.by_class(added),
            }
            for key, count, added in zip(
                outputs.ngrams.keys[order], outputs.ngrams.counts[order], outputs.ngrams.added[order], strict=True
            )
        ]

    # -- numbers ------------------------------------------------------------------------------------------------------

    def run(self, document: Document) -> Outputs:
        """Runs network and n-gram lane on a document."""
        lengths = document.words_per_sentence
        words = weights = None
        if self.attends:
            logits, vector, padded, weights, shares = self.session.run(
                None, {"token_ids": padded_sentences(document), "words_per_sentence": lengths}
            )
            words = padded[np.arange(padded.shape[1]) < lengths[:, np.newaxis]]
            shares, rest = self.scale * shares.astype(np.float64), self.bias
        else:
            logits, vector = self.session.run(None, {"token_ids": document.token_ids})
            shares, rest = np.zeros((len(lengths), len(logits))), self.scale * logits.astype(np.float64)
        total = self.scale * logits.astype(np.float64)
        if self.ngrams is None:
            return Outputs(total, vector, words, weights, shares, rest, None)
        found = self.ngrams.contributions(document.token_ids)
        starts = np.cumsum(lengths) - lengths
        shares = shares + np.add.reduceat(found.of_words(len(document.token_ids)), starts, axis=0)
        total, rest = total + found.added.sum(axis=0) + self.ngrams.bias, rest + self.ngrams.bias
        return Outputs(total, vector, words, weights, shares, rest, found)

    def by_class(self, values: Floats) -> dict[str, float]:
        """[C] numbers by the names of the classes."""
        return dict(zip(self.class_names, map(float, values), strict=True))


def padded_sentences(document: Document) -> NDArray[np.int32]:
    """int32 [S, longest sentence]: the words of each sentence, zeros behind them."""
    lengths = document.words_per_sentence
    padded = np.zeros((len(lengths), int(lengths.max())), np.int32)
    padded[np.arange(padded.shape[1]) < lengths[:, np.newaxis]] = document.token_ids
    return padded


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities, float64 [C]."""
    exponentials = np.exp(logits - logits.max())
    result: NDArray[np.float64] = exponentials / exponentials.sum()
    return result


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each label by itself, float64 [C]."""
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0, -logits))
    return result


def margin(shares: Floats, label: int) -> Floats:
    """What shares of the logits [..., C] add to those of a class beyond the mean of the others: [...]."""
    others = (shares.sum(axis=-1) - shares[..., label]) / (shares.shape[-1] - 1)
    difference: Floats = shares[..., label] - others
    return difference


def remarks(document: Document, short_text: int = 0) -> list[str]:
    """What a reader of the verdict should know.

    Args:
        document: The text.
        short_text: A text with fewer words is shorter than 99 of 100 training texts; 0 where that is not known.
    """
    found = []
    words, unknown = document.words, document.unknown_words
    if not words:
        found.append("no word in the text: no prediction")
    elif words == unknown:
        found.append("no word that the vocabulary knows: the prediction means nothing")
    elif unknown > words / 2:
        found.append(f"{unknown:,} of the {words:,} words are not in the vocabulary: the others decide")
    if 0 < words < short_text:
        found.append(
            f"much shorter than the training texts (fewer than {short_text:,} words): right less often than its "
            "probabilities say"
        )
    if document.cut_words:
        found.append(f"the last {document.cut_words:,} words were not read: the text has too many sentences")
    return found


def session_of(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """The network, on the processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_files(folder: Path) -> None:
    """Compares the files that decide about results with ``sha256sums``; raises :class:`BundleError`."""
    sums = folder / "sha256sums"
    if not sums.is_file():
        raise BundleError(f"{sums} is missing: {folder} is not a bundle, or not all of it; copy it again")
    lines = (line.split(maxsplit=1) for line in sums.read_text(encoding="utf-8").splitlines() if line)
    known = {name: sha256 for sha256, name in lines}
    for name in (name for name in CHECKED_FILES if name in known or name != "ngrams.npy"):
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing; copy the bundle again")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 != known.get(name):
            raise BundleError(f"{path} was changed or damaged after the export; copy the bundle again")


# ---------------------------------------------------------------------------------------------------------------------
# Command line


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="classify.py",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("text", nargs="?", help="text to classify (default: standard input, all of it)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="classify every row of a CSV file (UTF-8)")
    parser.add_argument("--text_column", metavar="NAME", help="with --csv: column of the text (default: text)")
    parser.add_argument("--json", action="store_true", help="print JSON: one object, or with --csv one per line")
    parser.add_argument(
        "--serve", type=int, nargs="?", const=8000, metavar="PORT", help="answer POST /predict on 127.0.0.1 (8000)"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the network (default: 1)")
    return parser


def main() -> int:
    """Runs the command line; returns the exit code: 2 for a mistake that the user can correct."""
    arguments = build_parser().parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    try:
        check_arguments(arguments)
        classifier = Classifier(threads=arguments.threads)
        if arguments.serve is not None:
            serve(classifier, arguments.serve)
        elif arguments.csv:
            predict_rows(classifier, arguments.csv, arguments.text_column, arguments.json, sys.stdout)
        else:
            text = read_standard_input() if arguments.text is None else arguments.text
            explanation = classifier.explain(text)
            print(json.dumps(explanation, ensure_ascii=False) if arguments.json else shown(explanation))
        sys.stdout.flush()
    except BundleError as error:
        print(f"classify.py: error: {error}", file=sys.stderr)
        return 2
    except ImportError as error:  # of onnxruntime, which is loaded with the network
        without_package(error)
    except BrokenPipeError:  # `... | head` closed the output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"classify.py: error: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises :class:`BundleError` for flags that do not go together or values out of range."""
    modes = [arguments.text is not None, arguments.csv is not None, arguments.serve is not None]
    if sum(modes) > 1:
        raise BundleError("give one of a text, --csv and --serve")
    if arguments.text is not None and len(arguments.text) < 1_000 and os.path.isfile(arguments.text):
        raise BundleError(
            f"{arguments.text} is a file; type --csv {arguments.text} for a table, < {arguments.text} for a text"
        )
    if arguments.text_column is not None and not arguments.csv:
        raise BundleError("--text_column needs --csv FILE")
    if arguments.threads < 1:
        raise BundleError(f"--threads {arguments.threads} is out of range; give at least 1")
    if arguments.serve is not None and not 0 <= arguments.serve < 65536:
        raise BundleError(f"--serve {arguments.serve} is no port; give a number from 1 to 65535, or 0 for a free one")


def read_standard_input() -> str:
    """All of standard input as one text."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError(f"standard input is not UTF-8 ({error.reason} at byte {error.start})") from error


def shown(explanation: dict[str, Any]) -> str:
    """An explanation for a terminal: verdict, sentences with what they add, strongest n-grams."""
    lines = [f"remark: {remark}" for remark in explanation["remarks"]]
    if explanation["label"] is None:
        return "\n".join(lines)
    label, several = explanation["label"], isinstance(explanation["label"], list)
    if several:
        chances = explanation["probabilities"]
        lines.append(", ".join(f"{name} ({chances[name]:.1%})" for name in label) or "no label")
        label = max(chances, key=chances.__getitem__)
    else:
        lines.append(f"{label} ({explanation['confidence']:.1%})")
    for sentence in explanation["sentences"]:
        weight = "" if sentence["weight"] is None else f"{sentence['weight']:6.2f}"
        lines.append(
            f"{evidence(sentence['shares'], label, several):+7.2f}{weight}  {' '.join(sentence['text'].split())}"
        )
    if explanation["ngrams"]:
        strongest = (f"{one['ngram']} {evidence(one['shares'], label, several):+.2f}" for one in explanation["ngrams"])
        lines.append("n-grams: " + ", ".join(strongest))
    lines.append(f"Columns: what a sentence adds to the log-odds of {label}; its attention, where there is attention.")
    return "\n".join(lines)


def evidence(shares: dict[str, float], label: str, several: bool = False) -> float:
    """What shares of the logits add to the log-odds of a class: where a text has one, beyond the mean of the others."""
    if several:
        return shares[label]
    names = list(shares)
    return float(margin(np.array([shares[name] for name in names]), names.index(label)))


# ---------------------------------------------------------------------------------------------------------------------
# CSV files


def predict_rows(classifier: Classifier, path: Path, column: str | None, as_json: bool, output: IO[str]) -> None:
    """Classifies the rows of a CSV file one after another and writes a line for each.

    A file is read to its end before anything is written, so that one that cannot be read costs no half of a table.
    """
    if path.is_file():
        for _ in rows_of(path, column):
            pass
    rows = rows_of(path, column)
    first = next(rows, None)  # a pipe is read once: its columns at least are looked at before the first line
    write = json_writer(output) if as_json else csv_writer(output, classifier.class_names)
    for name, text in itertools.chain([] if first is None else [first], rows):
        write(name, classifier.predict_one(text))


def rows_of(path: Path, column: str | None) -> Iterator[tuple[str, str]]:
    """Yields (name, text) of each row; its name is in the column ``id``, or else ``row/2`` and so on.

    Raises:
        BundleError: The file is no such table, has no such column, or a row has more cells than the header or none for
            the text: a header without a delimiter means one column, so that a text with commas needs quotation marks.
    """
    csv.field_size_limit(LARGEST_REQUEST)
    with path.open("rb") as file:
        lines = text_lines(file, path)
        first = next(lines, "")
        delimiter = max(DELIMITERS, key=first.count)
        reader = csv.DictReader(itertools.chain([first], lines), strict=True, delimiter=delimiter)
        try:
            names = reader.fieldnames or []
            chosen = column or (names[0] if len(names) == 1 else "text")
            if chosen not in names:
                has = f"the columns {', '.join(names)[:200]}" if names else "no header"
                raise BundleError(f"{path} has no column {chosen!r} but {has}; name the text's: --text_column NAME")
            for number, row in enumerate(reader, start=2):
                place = f"{path}, line {reader.line_num}"
                if None in row:  # where csv.DictReader puts them
                    raise BundleError(f"{place}: more cells than the header; put quotation marks around the text")
                if row[chosen] is None:
                    raise BundleError(f'{place}: fewer cells than the header, and no text; put "" for an empty one')
                yield row.get("id") or f"row/{number}", row[chosen]
        except csv.Error as error:
            raise BundleError(f"{path}, near line {reader.line_num + 1}: {error}") from error


def text_lines(file: IO[bytes], path: Path) -> Iterator[str]:
    """The lines of a CSV file; raises :class:`BundleError` for one that is no text in UTF-8."""
    for number, line in enumerate(iter(lambda: file.readline(2 * LARGEST_REQUEST), b""), start=1):
        if number == 1 and line.startswith(WORKBOOKS):
            raise BundleError(f"{path} is a workbook, or packed; {AS_CSV}")
        if b"\0" in line:
            raise BundleError(f"{path}, line {number}: this is not text in UTF-8 (it holds a zero byte); {AS_CSV}")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{path}, line {number}: this is not UTF-8 ({error.reason}); {AS_CSV}") from error
        yield from io.StringIO(text, newline="")  # lines may also end as on an old Mac


def csv_writer(output: IO[str], class_names: Sequence[str]) -> Callable[[str, dict[str, Any]], None]:
    """A function that writes a verdict as a row."""
    table = csv.writer(output, lineterminator="\n")
    table.writerow(["id", "prediction", *(f"probability_{name}" for name in class_names), "words", "unknown_words"])

    def write(name: str, verdict: dict[str, Any]) -> None:
        probabilities = verdict["probabilities"] or {}
        cells = [f"{probabilities[one]:.6f}" if one in probabilities else "" for one in class_names]
        label = verdict["label"] or ""
        label = BETWEEN_LABELS.join(label) if isinstance(label, list) else label
        table.writerow([name, label, *cells, verdict["words"], verdict["unknown_words"]])

    return write


def json_writer(output: IO[str]) -> Callable[[str, dict[str, Any]], None]:
    """A function that writes a verdict as a line of JSON."""

    def write(name: str, verdict: dict[str, Any]) -> None:
        output.write(json.dumps({"id": name, **verdict}, ensure_ascii=False) + "\n")

    return write


# ---------------------------------------------------------------------------------------------------------------------
# HTTP


Sample = tuple[str, Mapping[str, str], float]  # what is added to the name, labels, value


class Metrics:
    """What a server counts, for Prometheus. Every method may be called from any thread.

    ``attention_viewer.py`` of the repository counts with this class, too.

    Args:
        documents: Returns for each model how many documents it has classified since the server started.
        waiting: Returns for each model how many documents wait for the network.
    """

    def __init__(self, documents: Callable[[], Mapping[str, int]], waiting: Callable[[], Mapping[str, int]]) -> None:
        self._documents, self._waiting = documents, waiting
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[tuple[str, str], list[float]] = {}
        self._within: dict[tuple[str, str], list[int]] = {}

    def answered(self, model: str, route: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            model: The name of the run.
            route: The address without what differs from request to request, so that their number is small.
            status: Of HTTP; 503 is a request that was refused because too much was waiting.
            seconds: From its arrival to its answer.
        """
        with self._lock:
            self._requests[model, route, status] += 1
            total = self._seconds.setdefault((model, route), [0.0])
            total[0] += seconds
            within = self._within.setdefault((model, route), [0] * (len(BUCKETS) + 1))
            within[next((n for n, limit in enumerate(BUCKETS) if seconds <= limit), len(BUCKETS))] += 1

    def text(self) -> str:
        """Everything in Prometheus' text format (version 0.0.4)."""
        with self._lock:
            requests = sorted(self._requests.items())
            spans = [(key, list(within), self._seconds[key][0]) for key, within in sorted(self._within.items())]
        refused: Counter[str] = Counter()
        counted: list[Sample] = []
        durations: list[Sample] = []
        for (model, route, status), number in requests:
            refused[model] += number if status == 503 else 0
            counted.append(("", {"model": model, "route": route, "status": str(status)}, number))
        for (model, route), within, total in spans:
            labels = {"model": model, "route": route}
            for limit, number in zip((*map(str, BUCKETS), "+Inf"), itertools.accumulate(within), strict=True):
                durations.append(("_bucket", {**labels, "le": limit}, number))
            durations += [("_sum", labels, total), ("_count", labels, sum(within))]
        documents, waiting, memory = self._documents(), self._waiting(), resident_bytes()
        families: list[tuple[str, str, str, list[Sample]]] = [
            ("han_requests_total", "counter", "Requests by route and status.", counted),
            ("han_request_seconds", "histogram", "Seconds from a request to its answer.", durations),
            ("han_refused_total", "counter", "Requests refused because too much was waiting.", by_model(refused)),
            ("han_documents_total", "counter", "Documents classified.", by_model(documents)),
            ("han_waiting_documents", "gauge", "Documents that wait for the network.", by_model(waiting)),
        ]
        if memory is not None:
            families.append(("process_resident_memory_bytes", "gauge", "Memory of this process.", [("", {}, memory)]))
        return "".join(line for family in families for line in metric_lines(*family))


def by_model(numbers: Mapping[str, int]) -> list[Sample]:
    """A sample for each model."""
    return [("", {"model": model}, number) for model, number in sorted(numbers.items())]


def metric_lines(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    """The lines of a metric: what it is, its kind, its samples."""
    yield f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
    for ending, labels, value in samples:
        shown_labels = ",".join(f'{label}="{escaped(text)}"' for label, text in labels.items())
        yield f"{name}{ending}{{{shown_labels}}} {value!r}\n" if labels else f"{name}{ending} {value!r}\n"


def escaped(text: str) -> str:
    """The value of a label."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def resident_bytes() -> int | None:
    """Memory that this process has in use; None on systems without ``/proc``."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def serve(classifier: Classifier, port: int) -> None:
    """Answers requests on 127.0.0.1 until it is interrupted."""
    try:
        server = server_of(classifier, port)
    except OSError as error:
        raise BundleError(f"port {port} cannot be used ({error.strerror}); give another one: --serve PORT") from error
    with server:
        print(f"POST to http://127.0.0.1:{server.server_port}/predict; Ctrl-C ends", file=sys.stderr, flush=True)
        server.serve_forever()


class Desk:
    """The requests that are at work, and what was done. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = self.waiting = self.classified = 0

    def come(self) -> bool:
        """Takes a request, or returns False where there are too many."""
        with self._lock:
            accepted = self.requests < MOST_REQUESTS
            self.requests += accepted
        return accepted

    def leave(self) -> None:
        """A request that was taken is answered."""
        with self._lock:
            self.requests -= 1

    def each(self, texts: Sequence[str], classify: Callable[[str], Any]) -> Iterator[Any]:
        """Yields what ``classify`` returns for each text; those whose turn has not come are counted as waiting."""
        left = len(texts)
        with self._lock:
            self.waiting += left
        try:
            for text in texts:
                with self._lock:
                    self.waiting, left = self.waiting - 1, left - 1
                verdict = classify(text)
                with self._lock:
                    self.classified += 1
                yield verdict
        finally:
            with self._lock:
                self.waiting -= left


def server_of(classifier: Classifier, port: int) -> ThreadingHTTPServer:
    """A server for ``POST /predict`` with ``{"text": ...}`` or ``{"texts": [...]}``, and ``"explain": true``.

    ``/v1/models/NAME:predict`` takes ``{"instances": [...]}`` as the repository's server does, and ``GET /metrics``
    gives what :class:`Metrics` counts.
    """

    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer  # 20 ms that a single text does not need

    desk, name = Desk(), str(classifier.settings["run"])
    metrics = Metrics(lambda: {name: desk.classified}, lambda: {name: desk.waiting})
    forms = {"/predict": answer_to, "/v1/models/han:predict": predictions_of}
    forms[f"/v1/models/{name}:predict"] = predictions_of

    class Handler(BaseHTTPRequestHandler):
        timeout = SECONDS_FOR_A_REQUEST
        came = 0.0

        def do_GET(self) -> None:
            self.came = time.monotonic()
            if self.path == "/metrics":
                self.send(200, metrics.text().encode(), METRICS_TYPE)
            else:
                self.refuse_address()

        def do_POST(self) -> None:
            self.came = time.monotonic()
            if self.path not in forms:
                self.refuse_address()
            elif not desk.come():
                self.close_connection = True
                self.answer(503, {"error": "too many requests at once; try again in a few seconds"})
            else:
                try:
                    self.answer(200, forms[self.path](classifier, body_of(self), desk))
                except BundleError as error:
                    self.answer(400, {"error": str(error)})
                finally:
                    desk.leave()

        def refuse_address(self) -> None:
            self.answer(404, {"error": 'send a POST request to /predict, for example {"text": "A dull film."}'})

        def answer(self, status: int, value: Any) -> None:
            body = json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")
            self.send(status, body, "application/json; charset=utf-8")

        def send(self, status: int, body: bytes, kind: str) -> None:
            # Counted before it is sent: who asks for the metrics next finds it there.
            route = route_of(self.path, (*forms, "/metrics"))
            metrics.answered(name, route, status, time.monotonic() - self.came)
            send_response(self, status, body, kind)

        def log_message(self, *_: Any) -> None:
            """Texts of users are nobody's business: nothing is logged."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def send_response(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str) -> None:
    """Sends a whole response; ``kind``: its media type."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    if status == 503:
        handler.send_header("Retry-After", str(RETRY_SECONDS))
    handler.end_headers()
    handler.wfile.write(body)


def body_of(handler: BaseHTTPRequestHandler) -> bytes:
    """What a request holds, if it says how long it is."""
    length = handler.headers.get("Content-Length", "")
    if not length.isdecimal() or int(length) > LARGEST_REQUEST:
        handler.close_connection = True
        raise BundleError(f"the request needs a Content-Length of at most {LARGEST_REQUEST:,} bytes")
    return handler.rfile.read(int(length))


def route_of(path: str, known: Sequence[str]) -> str:
    """The address as it is counted: one for all names of the model, and one for all that there are not."""
    if path not in known:
        return "other"
    return "/v1/models/{model}:predict" if path.startswith("/v1/") else path


def request_in(body: bytes) -> dict[str, Any]:
    """The object of a request."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise BundleError(f"the request is not JSON ({error})") from error
    return request if isinstance(request, dict) else {}


def answer_to(classifier: Classifier, body: bytes, desk: Desk) -> Any:
    """What a request to ``/predict`` gets: an object for ``text``, a list for ``texts``."""
    request = request_in(body)
    if ("text" in request) == ("texts" in request):
        refuse_request()
    texts = request.get("texts", [request.get("text")])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        refuse_request()
    classify = classifier.explain if request.get("explain") is True else classifier.predict_one
    verdicts = list(desk.each(texts, classify))
    return verdicts if "texts" in request else verdicts[0]


def predictions_of(classifier: Classifier, body: bytes, desk: Desk) -> Any:
    """What a request in the form of TensorFlow Serving gets: ``{"predictions": [...]}`` for ``instances``."""
    request = request_in(body)
    rows = request.get("instances")
    given = rows if isinstance(rows, list) else []
    texts: list[Any] = [row.get("text") if isinstance(row, dict) else row for row in given]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BundleError('send {"instances": ["a text", {"text": "another"}, ...]}')
    classify = classifier.explain if request.get("explain") is True else classifier.predict_one
    return {"predictions": list(desk.each(texts, classify))}


def refuse_request() -> NoReturn:
    """Raises the error about a request of another shape."""
    raise BundleError('send {"text": "..."} or {"texts": ["...", "..."]}, with "explain": true for explanations')


if __name__ == "__main__":
    sys.exit(main())
