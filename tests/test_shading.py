"""What is shown of a document, and what a terminal makes of it."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pytest

from report import shading
from report.shading import LeftOut, Piece, ShadedSentence, cells, importance, printable, render, shade, supports_colour

WORD = re.compile(r"[^\W_]+|[.,!?]")
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")


def document(*texts: str, between: str = " ") -> tuple[str, list[list[tuple[int, int]]]]:
    """(text, spans of the words of each sentence) of sentences joined by ``between``."""
    spans, start = [], 0
    for text in texts:
        spans.append([(start + match.start(), start + match.end()) for match in WORD.finditer(text)])
        start += len(text) + len(between)
    return between.join(texts), spans


def evenly(spans: list[list[tuple[int, int]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(word weights, words per sentence, sentence weights), all words and all sentences alike."""
    lengths = np.array([len(sentence) for sentence in spans], dtype=np.int32)
    words = np.concatenate([np.full(n, 1 / n) for n in lengths] or [np.zeros(0)]).astype(np.float32)
    return words, lengths, np.full(len(lengths), 1 / max(len(lengths), 1), dtype=np.float32)


def shown_text(sentence: ShadedSentence | LeftOut) -> str:
    assert isinstance(sentence, ShadedSentence)
    return "".join(piece.text for piece in sentence.pieces)


def without_escapes(drawn: str) -> str:
    return ESCAPE.sub("", drawn)


# ---------------------------------------------------------------------------------------------------------------------
# What is shown


def test_importance_is_root_of_sentence_weight_times_word_weight() -> None:
    words = np.array([0.25, 0.75, 0.5, 0.3, 0.2], np.float32)
    result = importance(words, [2, 3], [0.64, 0.36])
    raw = [0.8 * 0.25, 0.8 * 0.75, 0.6 * 0.5, 0.6 * 0.3, 0.6 * 0.2]
    np.testing.assert_allclose(result, raw, rtol=1e-6)


def test_importance_of_nothing_and_of_no_weight_at_all() -> None:
    assert importance([], [], []).shape == (0,)
    assert importance([0.0, 0.0], [2], [1.0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    "words, lengths, sentences",
    [
        ([0.5, 0.5], [3], [1.0]),
        ([0.5, 0.5], [1, 1], [1.0]),
        ([[0.5, 0.5]], [2], [1.0]),
        ([0.5, float("nan")], [2], [1.0]),
        ([1.5, -0.5], [2], [1.0]),
        ([0.5, 0.5], [2], [float("inf")]),
    ],
)
def test_weights_that_are_none_are_refused(words: Any, lengths: Any, sentences: Any) -> None:
    with pytest.raises(ValueError, match="weights"):
        importance(words, lengths, sentences)


def test_pieces_carry_the_words_of_the_text_with_position_importance_and_level() -> None:
    text, spans = document("Dull plot.", "Awful, awful acting!")
    words = np.array([0.2, 0.71, 0.09, 0.75, 0.05, 0.04, 0.06, 0.1], np.float32)
    first, second = shade(text, spans, words, [3, 5], [0.36, 0.64])
    assert (shown_text(first), shown_text(second)) == ("Dull plot.", "Awful, awful acting!")
    expected = importance(words, [3, 5], [0.36, 0.64])
    expected = expected / expected.max()
    assert isinstance(first, ShadedSentence) and isinstance(second, ShadedSentence)
    seen = [piece for sentence in (first, second) for piece in sentence.pieces if piece.word is not None]
    assert [piece.word for piece in seen] == list(range(8))
    assert [piece.text for piece in seen] == ["Dull", "plot", ".", "Awful", ",", "awful", "acting", "!"]
    np.testing.assert_allclose([piece.importance for piece in seen], expected)
    assert [piece.level for piece in seen] == [2, 4, 0, 5, 0, 0, 0, 1]
    assert (second.index, second.weight, second.share_of_strongest) == (1, 0.64, 1.0)
    assert first.share_of_strongest == pytest.approx(0.36 / 0.64)


@pytest.mark.parametrize("value, level", [(0.0999, 0), (0.1, 1), (0.2, 2), (0.4, 3), (0.6, 4), (0.8, 5), (1.0, 5)])
def test_levels_begin_at_their_floors(value: float, level: int) -> None:
    text, spans = document("strong other")
    (sentence,) = shade(text, spans, np.array([1.0, value]), [2], [1.0])
    assert isinstance(sentence, ShadedSentence) and sentence.pieces[-1].level == level


def test_weightiest_sentences_stand_for_a_long_document_in_the_order_of_the_text() -> None:
    text, spans = document("One.", "Two.", "Three.", "Four.", "Five.", "Six.")
    words, lengths, _ = evenly(spans)
    shown = shade(text, spans, words, lengths, [0.02, 0.3, 0.03, 0.05, 0.5, 0.1], most=2)
    assert [part.index if isinstance(part, ShadedSentence) else part.sentences for part in shown] == [1, 1, 2, 4, 1]
    gaps = [part.weight for part in shown if isinstance(part, LeftOut)]
    assert gaps == pytest.approx([0.02, 0.08, 0.1])
    drawn = render(shown, colour=False).split("\n")
    assert drawn[0] == "… 1 sentence not shown, together 0.02 …"
    assert drawn[2] == "… 2 sentences not shown, together 0.08 …"
    # The scale of importance stays the whole document's: the sentences left out do not change the shades.
    whole = shade(text, spans, words, lengths, [0.02, 0.3, 0.03, 0.05, 0.5, 0.1], most=None)
    assert shown[1] == whole[1] and shown[3] == whole[4]


def test_equal_sentences_are_taken_from_the_front() -> None:
    assert shading.strongest_sentences([0.2, 0.2, 0.2, 0.2, 0.2], 2).tolist() == [0, 1]
    assert shading.strongest_sentences(np.full(100, 0.01), 30).tolist() == list(range(30))
    assert shading.strongest_sentences([0.1, 0.5, 0.4], None).tolist() == [0, 1, 2]


def test_signs_and_markup_around_words() -> None:
    text = '"Great," he said.<br /><br />*** "Not\n\t great," I say (now).) And what was cut off'
    said, say = text.index(".<br"), text.index("(now)")
    spans = [
        [match.span() for match in WORD.finditer(text) if match.end() <= said + 1],
        [match.span() for match in WORD.finditer(text) if text.index('"Not') < match.start() < say + 6],
    ]
    shown = shade(text, spans, *evenly(spans))
    assert [shown_text(sentence) for sentence in shown] == ['"Great," he said.', '*** "Not great," I say (now).)']


def test_a_sentence_without_words_keeps_its_place() -> None:
    text, spans = document("One.", "Two.")
    shown = shade(text, [spans[0], [], spans[1]], [0.5, 0.5, 0.5, 0.5], [2, 0, 2], [0.5, 0.2, 0.3])
    assert [shown_text(sentence) for sentence in shown] == ["One.", "", "Two."]
    assert render(shown, colour=False) == "0.50  **One.**\n0.20\n0.30  *Two.*"


def test_no_words_at_all() -> None:
    assert render(shade("", [], [], [], []), colour=False) == "(no words)"
    assert without_escapes(render(shade("  \n", [], [], [], []), colour=True)) == "(no words)"


@pytest.mark.parametrize(
    "sentences, lengths, message",
    [
        ([[(0, 3)], [(4, 7)]], [2], "other sentences"),
        ([[(0, 3), (4, 7)]], [1, 1], "other sentences"),
        ([[(0, 3), (2, 7)]], [2], "word"),
        ([[(0, 3), (4, 99)]], [2], "word"),
        ([[(4, 7), (0, 3)]], [2], "word"),
        ([[(0, 0), (4, 7)]], [2], "word"),
        ([[(-3, -1), (4, 7)]], [2], "word"),
    ],
)
def test_spans_that_do_not_belong_to_the_text_are_refused(sentences: Any, lengths: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        shade("one two", sentences, [0.5, 0.5], lengths, [1.0])


# ---------------------------------------------------------------------------------------------------------------------
# On a terminal


def test_marks_where_there_is_no_colour() -> None:
    text, spans = document("A truly awful film.", "Pass it by.")
    words = np.array([0.02, 0.25, 0.6, 0.08, 0.05, 0.5, 0.2, 0.2, 0.1], np.float32)
    drawn = render(shade(text, spans, words, [5, 4], [0.9, 0.1]), colour=False)
    assert drawn == "0.90  A *truly* **awful** film.\n0.10  Pass it by."


def test_colours_name_background_and_foreground_and_reset_on_every_line() -> None:
    text, spans = document("A truly awful film.", "Pass it by, all of you, and read a book or two instead.")
    words, lengths, _ = evenly(spans)
    words[:5] = 0.02, 0.25, 0.6, 0.08, 0.05
    drawn = render(shade(text, spans, words, lengths, [0.75, 0.25]), colour=True, width=40)
    assert drawn.startswith("\x1b[38;5;167m▇▇▇▇\x1b[0m 0.75  ")
    assert "\x1b[38;5;167m▇▁▁▁\x1b[0m 0.25  Pass it" in drawn
    assert f"\x1b[{shading.SHADES[5]}mawful\x1b[0m" in drawn
    for line in drawn.split("\n"):
        styles = ESCAPE.findall(line)
        assert all((style == "0") == (number % 2 == 1) for number, style in enumerate(styles)) and len(styles) % 2 == 0
    for style in shading.SHADES[2:]:
        assert re.search(r"48;5;\d+;38;5;\d+$", style)


def contrast(one: int, other: int) -> float:
    """Contrast ratio of two colours of the 256-colour cube (WCAG 2)."""

    def luminance(number: int) -> float:
        steps = ((number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6)
        channels = [(0 if step == 0 else 55 + 40 * step) / 255 for step in steps]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_every_shade_is_legible_and_stands_out_from_black_and_from_white() -> None:
    for style in shading.SHADES[2:]:
        background, foreground = map(int, re.findall(r"8;5;(\d+)", style))
        assert contrast(background, foreground) >= 4.5  # WCAG 2, level AA
        assert min(contrast(background, 16), contrast(background, 231)) >= 2.9
    bar = int(shading.BAR.removeprefix("38;5;"))
    assert min(contrast(bar, 16), contrast(bar, 231)) >= 3


def test_lines_keep_to_the_width_and_lose_nothing() -> None:
    random = np.random.default_rng(4)
    texts = [" ".join("x" * int(n) for n in random.integers(1, 12, 40)) + "." for _ in range(5)]
    texts.append("y" * 200 + " 映画" * 30 + " " + "漢" * 77 + ".")
    text, spans = document(*texts)
    for colour in (True, False):
        for width in (40, 63, 80):
            drawn = without_escapes(render(shade(text, spans, *evenly(spans)), colour, width))
            assert max(map(cells, drawn.split("\n"))) <= width
            flat = re.sub(r"[\s*▇▁]|\d\.\d\d", "", drawn)
            assert flat == text.replace(" ", "")
    assert render(shade(text, spans, *evenly(spans)), True, 3) == render(shade(text, spans, *evenly(spans)), True, 40)


def test_words_are_broken_at_blanks_and_signs_stay_with_their_word() -> None:
    pieces = [Piece("aaa", 0), Piece(" "), Piece("bbb", 1, 1.0, 5), Piece("!)", None), Piece(" "), Piece("cc", 2)]
    assert shading.wrapped(pieces, 9) == [[("aaa", 0), (" ", 0), ("bbb", 5), ("!)", 0)], [("cc", 0)]]
    assert shading.wrapped(pieces, 8) == [[("aaa", 0)], [("bbb", 5), ("!)", 0), (" ", 0), ("cc", 0)]]
    assert shading.wrapped([Piece("漢漢漢e\u0301", 0, 1.0, 3)], 5) == [[("漢漢", 3)], [("漢e\u0301", 3)]]


@pytest.mark.parametrize(
    "text, width",
    [
        ("abc", 3),
        ("漢字", 4),
        ("ｆｕ", 4),
        ("😀", 2),
        ("e\u0301", 1),
        ("한국", 4),
        ("a\u200db", 2),
        ("", 0),
        ("ñ", 1),
        ("\u1112\u1161\u11ab", 2),
    ],
)
def test_columns_of_wide_narrow_and_combining_characters(text: str, width: int) -> None:
    assert cells(text) == width


HOSTILE = [
    "\x1b[2J\x1b[31mred",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\x1bP$q\x1b\\",
    "a\rb",
    "a\x08\x08b",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\x00\x7f",
    "\ud800",
    "a\u2028b\u2029c\x85d",
    "\ufeff\u200bz",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("colour", [True, False])
def test_a_hostile_review_does_not_drive_the_terminal(text: str, colour: bool) -> None:
    for spans in ([[(0, len(text))]], [[(0, 1)], [(len(text) - 1, len(text))]] if len(text) > 1 else [[(0, 1)]]):
        drawn = render(shade(text, spans, *evenly(spans)), colour)
        plain = without_escapes(drawn)
        assert all(style in {*shading.SHADES, shading.BAR, shading.NOTE, "0"} for style in ESCAPE.findall(drawn))
        assert all(character == "\n" or character.isprintable() for character in plain), ascii(plain)
        assert plain.count("\n") == len(spans) - 1
        drawn.encode("utf-8")


def test_controls_become_visible_and_joined_emoji_stay_whole() -> None:
    assert printable("\x1b[1m\x07\x7f\x9b\ud800") == "␛[1m␇␡\ufffd\ufffd"
    assert printable("tab\tnew\nline\u2028non\u00a0break") == "tab new line non break"
    assert printable("👩\u200d💻 שלום naïve") == "👩\u200d💻 שלום naïve"
    assert printable("\u202eabc\u2069") == "abc"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "stream, environment, expected",
    [
        (Terminal(), {"TERM": "xterm-256color"}, True),
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {}, False),
    ],
)
def test_colour_only_on_a_terminal_that_wants_it(stream: Any, environment: dict[str, str], expected: bool) -> None:
    assert supports_colour(stream, environment) is expected
