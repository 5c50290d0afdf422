"""A document with its words and sentences shaded by the attention they got, or by what they add to a prediction.

The first half decides *what* is shown, whatever it is drawn on: how important each word is, which sentences of a long
document are shown, which pieces of the original text have which level of shade. The second half draws that on a
terminal, in 256 colours or with marks such as ``**word**`` where there are none.

    S sentences   N words
"""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

Span = tuple[int, int]

# A word reaches level 1, 2, ... from this importance on; below the first it is level 0, not shaded.
LEVEL_FLOORS = (0.1, 0.2, 0.4, 0.6, 0.8)
MOST_SENTENCES = 15  # of a longer document the weightiest are shown
MARKUP = re.compile(r"<[^<>]*>")  # between words only: what the tokeniser took for markup, such as <br />


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


@dataclass(frozen=True)
class Piece:
    """A run of the original text that is shaded evenly.

    Attributes:
        text: As the person wrote it, but with markup and white space between words as one blank. Not made safe for
            any output: whoever draws it escapes it.
        word: Position of the word in the document, from 0 to N - 1; ``None`` for what is between words.
        importance: From 0 to 1, the document's most important word; negative, down to -1, for a word that speaks
            against the class; 0 between words.
        level: Shade, from 0 (none) to 5, or to -5 for a word that speaks against the class.
    """

    text: str
    word: int | None = None
    importance: float = 0.0
    level: int = 0


@dataclass(frozen=True)
class ShadedSentence:
    """A sentence that is shown.

    Attributes:
        index: Position in the document, from 0 to S - 1.
        weight: Attention's weight, or the score, negative for a sentence that speaks against the class.
        share_of_strongest: The weight without its sign, divided by the largest of the document: from 0 to 1.
        pieces: Its text, in order.
    """

    index: int
    weight: float
    share_of_strongest: float
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class LeftOut:
    """A run of neighbouring sentences that are not shown, and the sum of their weights."""

    sentences: int
    weight: float


def importance(
    word_weights: ArrayLike,
    words_per_sentence: ArrayLike,
    sentence_weights: ArrayLike,
) -> NDArray[np.float64]:
    """Attention as it is shown: how much each word counts in its document, sqrt(sentence weight) x word weight.

    The square root is the paper's (Yang et al. 2016, section 3.3): without it the important words of less important
    sentences could not be distinguished.

    Args:
        word_weights: float [N], summing to 1 in each sentence.
        words_per_sentence: int [S], summing to N.
        sentence_weights: float [S], summing to 1.

    Returns:
        float64 [N], from 0 to 1.

    Raises:
        ValueError: Lengths that do not fit, a negative weight, NaN.
    """
    words, lengths, sentences = (np.asarray(values) for values in (word_weights, words_per_sentence, sentence_weights))
    if lengths.shape != sentences.shape or words.ndim != 1 or sentences.ndim != 1 or lengths.sum() != len(words):
        raise ValueError(
            f"{words.shape} word weights, {sentences.shape} sentence weights and sentences of "
            f"{int(lengths.sum())} words together do not fit each other"
        )
    if not all((weights >= 0).all() and np.isfinite(weights).all() for weights in (words, sentences)):
        raise ValueError("attention weights must be finite and not negative")
    products: NDArray[np.float64] = np.sqrt(np.repeat(sentences.astype(np.float64), lengths.astype(np.int64))) * words
    return products


def strongest_sentences(sentence_weights: ArrayLike, most: int | None) -> NDArray[np.int64]:
    """int64 positions of the ``most`` weightiest sentences (``None``: all) in the order of the text.

    Of equally weighty ones the earlier is taken; signs do not count.
    """
    weights = np.abs(np.asarray(sentence_weights))
    return np.sort(np.argsort(-weights, kind="stable")[:most])


def shade(
    text: str,
    sentences: Sequence[Sequence[Span]],
    word_weights: ArrayLike,
    words_per_sentence: ArrayLike,
    sentence_weights: ArrayLike,
    most: int | None = MOST_SENTENCES,
) -> list[ShadedSentence | LeftOut]:
    """Divides a document into what is shown, in the order of the text, by the attention it got.

    Args:
        text: What the person wrote.
        sentences: [S] sentences, each the (start, end) of its words in ``text``, in order.
        word_weights: float [N], as :func:`importance` takes them.
        words_per_sentence: int [S].
        sentence_weights: float [S].
        most: Number of sentences to show at most; ``None`` shows all.

    Raises:
        ValueError: Sentences that are not those the weights belong to, words out of order or outside the text.
    """
    check_spans(text, sentences, words_per_sentence)
    words = importance(word_weights, words_per_sentence, sentence_weights)
    return shade_scores(text, sentences, words, sentence_weights, most)


def shade_scores(
    text: str,
    sentences: Sequence[Sequence[Span]],
    word_scores: ArrayLike,
    sentence_weights: ArrayLike,
    most: int | None = MOST_SENTENCES,
) -> list[ShadedSentence | LeftOut]:
    """Divides a document into what is shown, by scores that may be negative.

    Args:
        text: What the person wrote.
        sentences: [S] sentences, each the (start, end) of its words in ``text``, in order.
        word_scores: float [N], on any scale; negative ones speak against the class.
        sentence_weights: float [S], on any scale.
        most: Number of sentences to show at most; ``None`` shows all.

    Raises:
        ValueError: As many scores as there are no words, words out of order or outside the text, NaN.
    """
    check_spans(text, sentences, [len(sentence) for sentence in sentences])
    weights, words = (np.asarray(values, dtype=np.float64) for values in (sentence_weights, word_scores))
    if (len(words), len(weights)) != (sum(map(len, sentences)), len(sentences)) or not np.isfinite(words).all():
        raise ValueError(f"{len(words)} word and {len(weights)} sentence scores do not fit the text, or are not finite")
    shaded = shaded_sentences(text, sentences, words, weights)
    shown: list[ShadedSentence | LeftOut] = []
    end = 0
    for index in [*strongest_sentences(weights, most).tolist(), len(weights)]:
        if index > end:
            shown.append(LeftOut(index - end, float(weights[end:index].sum())))
        if index < len(weights):
            shown.append(shaded(index))
        end = index + 1
    return shown


def shaded_sentences(
    text: str, sentences: Sequence[Sequence[Span]], words: NDArray[np.float64], weights: NDArray[np.float64]
) -> Callable[[int], ShadedSentence]:
    """A function from a sentence's position to the sentence as it is shown; arguments as in :func:`shade_scores`."""
    strongest = np.abs(weights).max(initial=0) or 1
    importances = words / (np.abs(words).max(initial=0) or 1)
    levels = np.searchsorted(LEVEL_FLOORS, np.abs(importances), side="right") * np.sign(importances).astype(np.int64)
    ends = np.cumsum([0, *map(len, sentences)])
    extents = sentence_extents(text, sentences)

    def shaded(index: int) -> ShadedSentence:
        first, chosen = int(ends[index]), slice(ends[index], ends[index + 1])
        pieces = pieces_of_sentence(text, extents[index], sentences[index], first, importances[chosen], levels[chosen])
        return ShadedSentence(index, float(weights[index]), float(abs(weights[index]) / strongest), tuple(pieces))

    return shaded


def check_spans(text: str, sentences: Sequence[Sequence[Span]], words_per_sentence: ArrayLike) -> None:
    """Raises a ``ValueError`` unless the words are in order within ``text``, as many per sentence as given."""
    if [len(sentence) for sentence in sentences] != np.asarray(words_per_sentence).tolist():
        raise ValueError("the text was split into other sentences than the ones the weights belong to")
    end = 0
    for span in (span for sentence in sentences for span in sentence):
        if not end <= span[0] < span[1] <= len(text):
            raise ValueError(f"word {span} lies outside the text or before the end of the word before it ({end})")
        end = span[1]


def sentence_extents(text: str, sentences: Sequence[Sequence[Span]]) -> list[Span]:
    """[S] the part of ``text`` each sentence is drawn with: its words and the signs that no word holds.

    Signs right behind the last word (a closing quote) belong to it, all others up to the next sentence (an opening
    quote, a line of stars) to the next. Nothing is lost but what follows the last word after a blank: where a text was
    cut off, that is the rest of it.
    """
    extents: list[Span] = []
    end = 0
    for number, sentence in enumerate(sentences):
        if not sentence:
            extents.append((end, end))
            continue
        limit = next((later[0][0] for later in sentences[number + 1 :] if later), len(text))
        signs = re.compile(r"[^\s<]*").match(text, sentence[-1][1], limit)
        extents.append((end, signs.end() if signs else sentence[-1][1]))
        end = extents[-1][1]
    return extents


def pieces_of_sentence(
    text: str,
    extent: Span,
    spans: Sequence[Span],
    first_word: int,
    importances: NDArray[np.float64],
    levels: NDArray[np.int64],
) -> Iterator[Piece]:
    """Yields the words of one sentence and what is between them; blanks at both ends are dropped."""
    end = extent[0]
    for number, (start, stop) in enumerate(spans):
        if gap := between_words(text[end:start], at_edge=number == 0):
            yield Piece(gap)
        yield Piece(text[start:stop], first_word + number, float(importances[number]), int(levels[number]))
        end = stop
    if tail := between_words(text[end : extent[1]], at_edge=False).rstrip():
        yield Piece(tail)


def between_words(gap: str, at_edge: bool) -> str:
    """``gap`` without markup, white space as one blank; none before the first word of a sentence."""
    plain = re.sub(r"\s+", " ", MARKUP.sub(" ", gap))
    return plain.lstrip() if at_edge else plain


# ---------------------------------------------------------------------------------------------------------------------
# Text that a terminal prints and never obeys

# The invisible format characters (category Cf) that are kept: they join letters and emoji, and move nothing.
JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    """``text`` with nothing in it that a terminal would act on.

    Control characters become visible signs (ESC becomes U+241B), which takes every escape sequence its start; white
    space becomes blanks; halves of surrogate pairs, which no file could hold, become U+FFFD. Invisible format
    characters, among them the marks that reverse the direction of writing, are dropped.
    """
    return "".join(map(printable_character, text))


def printable_character(character: str) -> str:
    """See :func:`printable`."""
    code, category = ord(character), unicodedata.category(character)
    if character in "\t\n\v\f\r" or category in {"Zs", "Zl", "Zp"}:
        return " "
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if category in {"Cc", "Cs"}:
        return "\ufffd"
    return "" if category == "Cf" and character not in JOINERS else character


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal: 2 for wide East Asian characters and emoji, 0 for combining marks.

    An approximation (Unicode annex 11): terminals differ on emoji joined from several and on Indic scripts.
    """
    return len(text) if text.isascii() else sum(map(character_cells, text))


def character_cells(character: str) -> int:
    """See :func:`cells`."""
    if unicodedata.category(character) in {"Mn", "Me", "Cf"} or "\u1160" <= character <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# ---------------------------------------------------------------------------------------------------------------------
# On a terminal

# Shades are steps in saturation at middle brightness, so that a stronger one is more visible on black and on white
# alike; words are blue and sentences red as in the paper. Every shade names its foreground: the theme's own could be
# illegible on it. Words that speak against the class are orange: who confuses red and green still tells it from blue.
SHADES = ("", "4", "48;5;103;38;5;16", "48;5;68;38;5;16", "48;5;33;38;5;16", "1;48;5;27;38;5;231")
SHADES_AGAINST = ("", "4;38;5;173", "48;5;180;38;5;16", "48;5;179;38;5;16", "48;5;172;38;5;16", "1;48;5;166;38;5;231")
BAR = "38;5;167"
NOTE = "38;5;244"
MARKS = ("", "", "", "*", "*", "**")  # by level, where there is no colour
MARKS_AGAINST = ("", "", "", "~", "~", "~~")

BAR_CELLS = 4
NARROWEST = 40


def supports_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether shades can be shown: a terminal, not a dumb one, and no ``NO_COLOR`` (https://no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def render(shown: Iterable[ShadedSentence | LeftOut], colour: bool, width: int = 80) -> str:
    """Draws what :func:`shade` returned: each sentence on its own lines, a bar and the number for its weight before it.

    The bar is full for the document's strongest sentence; the number is the weight itself, with its sign where any
    sentence has a negative one.

    Args:
        shown: Sentences and gaps.
        colour: 256-colour shades, or marks: ``**word**`` from an importance of 0.8 on, ``*word*`` from 0.4;
            ``~~word~~`` and ``~word~`` for words that speak against the class.
        width: Columns of the terminal; less than 40 counts as 40.

    Returns:
        Lines joined by newlines. Every line resets what it sets, so any of them can be cut out.
    """
    lines, parts = [], list(shown)
    form = "+z.2f" if any(part.weight < 0 for part in parts) else ".2f"
    for part in parts:
        if isinstance(part, LeftOut):
            lines.append(painted(left_out_note(part, form), NOTE if colour else ""))
        else:
            lines += sentence_lines(part, colour, max(width, NARROWEST), form)
    return "\n".join(lines) or painted("(no words)", NOTE if colour else "")


def left_out_note(gap: LeftOut, form: str = ".2f") -> str:
    """What is shown in the place of sentences that are not."""
    count = "1 sentence" if gap.sentences == 1 else f"{gap.sentences} sentences"
    return f"… {count} not shown, together {gap.weight:{form}} …"


def sentence_lines(sentence: ShadedSentence, colour: bool, width: int, form: str = ".2f") -> list[str]:
    """The lines of one sentence; those after the first are indented by the width of the bar and the number."""
    number = format(sentence.weight, form)
    full = round(sentence.share_of_strongest * BAR_CELLS)
    bar = painted("▇" * full + "▁" * (BAR_CELLS - full), BAR) + " " if colour else ""
    indent = " " * (len(number) + 2 + (BAR_CELLS + 1 if colour else 0))
    marked = sentence.pieces if colour else with_marks(sentence.pieces)
    lines = wrapped(marked, width - len(indent))
    drawn = ["".join(painted(text, style(level) if colour else "") for text, level in line) for line in lines] or [""]
    return [f"{bar}{number}  {drawn[0]}".rstrip(), *(indent + line for line in drawn[1:])]


def with_marks(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Yields the pieces with marks instead of levels; words that touch share a pair of marks (``**awful!**``)."""
    for mark, group in itertools.groupby(pieces, key=lambda piece: mark_of(piece.level)):
        yield Piece(mark + "".join(piece.text for piece in group) + mark)


def mark_of(level: int) -> str:
    """The mark of a level, from -5 to 5, where there is no colour."""
    return (MARKS_AGAINST if level < 0 else MARKS)[abs(level)]


def style(level: int) -> str:
    """What sets the shade of a level, from -5 to 5."""
    return (SHADES_AGAINST if level < 0 else SHADES)[abs(level)]


def painted(text: str, style: str) -> str:
    """``text`` between the escape sequence that sets ``style`` and the one that resets it; as it is without a style."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and text else text


Run = list[tuple[str, int]]  # neighbouring pieces of text with their levels


def wrapped(pieces: Iterable[Piece], width: int) -> list[Run]:
    """Breaks pieces into lines of at most ``width`` columns, at blanks; only what fits no line is broken within.

    Returns:
        Lines, each a list of (printable text, level).
    """
    lines: list[Run] = []
    room = 0
    for run in unbreakable_runs(pieces):
        needed = sum(cells(text) for text, _ in run)
        if lines and needed + 1 <= room:
            lines[-1].append((" ", 0))
            lines[-1].extend(run)
            room -= needed + 1
            continue
        lines += broken(run, width)
        room = width - sum(cells(text) for text, _ in lines[-1])
    return lines


def unbreakable_runs(pieces: Iterable[Piece]) -> Iterator[Run]:
    """Yields what is between blanks: a word of the text with the signs that touch it, each with its level."""
    run: Run = []
    for piece in pieces:
        first, *others = printable(piece.text).split(" ")
        run += [(first, piece.level)] if first else []
        for text in others:
            if run:
                yield run
            run = [(text, piece.level)] if text else []
    if run:
        yield run


def broken(run: Run, width: int) -> Iterator[Run]:
    """Yields ``run`` in lines of at most ``width`` columns; a character is never divided from its combining marks."""
    line: Run = []
    room = width
    for text, level in run:
        start = 0
        for position, character in enumerate(text):
            if character_cells(character) > room:
                yield [*line, (text[start:position], level)]
                line, room, start = [], width, position
            room -= character_cells(character)
        line.append((text[start:], level))
    yield line
