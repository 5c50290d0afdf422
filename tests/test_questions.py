"""Questions as forms and links carry them."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from page.questions import MOST_TEXT_BYTES, Question, Refusal, parse_question
from page.split_documents import LabelledDocument

DOCUMENT = LabelledDocument("test/7", "good", "A text.\r\nAnother line.", dataset="films")


def test_a_text_with_odd_line_ends_keeps_its_places() -> None:
    asked = parse_question({"text": "\r\ngood\rbad\n", "without": "", "method": "gradient"}, None)
    assert asked.text == "\ngood\nbad\n"
    assert Question("good", "", ((0, 4),)).link() == "?text=good&without=0-4"


def test_a_link_holds_the_whole_question() -> None:
    question = Question("é & b", "gradient", ((0, 1), (2, 5)), "a b", "", "bad")
    assert parse_question(dict(parse_qsl(question.link()[1:])), None) == question


def test_a_range_is_left_out_and_taken_back_and_edits_are_undone() -> None:
    once = parse_question({"text": "a b c", "without": "0-1", "toggle": "4-5"}, None)
    assert once.without == ((0, 1), (4, 5))
    assert parse_question({"text": "a b c", "without": "0-1,4-5", "toggle": "0-1"}, None).without == ((4, 5),)
    undone = parse_question({"text": "a x c", "original": "a b c", "without": "0-1", "undo": "1"}, None)
    assert (undone.text, undone.original, undone.without) == ("a b c", "", ())


def test_places_in_another_text_change_nothing() -> None:
    shown = parse_question({"text": "a b c", "without": "0-1", "original": "x b c"}, None)
    typed = {"text": "new words", "without": "0-1", "toggle": "2-3", "original": "x b c", "mark": shown.mark()}
    assert parse_question(typed, None) == Question("new words")
    assert parse_question({**typed, "undo": "1"}, None) == Question("new words")
    same = parse_question({**typed, "text": "a b c"}, None)
    assert (same.without, same.original) == (((0, 1), (2, 3)), "x b c")


def test_a_document_is_named_until_its_text_is_another() -> None:
    asked = parse_question({"id": "test/7"}, DOCUMENT)
    assert (asked.text, asked.id) == ("A text.\nAnother line.", "test/7")
    assert asked.link() == Question().of_document(DOCUMENT) == "?id=test%2F7&data=films"
    assert parse_question({"id": "test/7", "text": "A text."}, DOCUMENT).id == ""


@pytest.mark.parametrize("without", ["1", "1-", "a-b", "5-3", "3-3", "1-2-3"])
def test_damaged_ranges_are_refused(without: str) -> None:
    with pytest.raises(Refusal, match="ranges of the text") as caught:
        parse_question({"text": "a b c", "without": without}, None)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["text", "original"])
def test_a_text_of_a_million_bytes_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="too long") as caught:
        parse_question({"text": "a", name: "é" * (MOST_TEXT_BYTES // 2)}, None)
    assert caught.value.status == 413
    assert parse_question({"text": "a", name: "é" * (MOST_TEXT_BYTES // 2 - 1)}, None)
