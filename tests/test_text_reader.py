"""Texts as a network reads them, and how they travel between processes."""

from __future__ import annotations

import numpy as np

from data_processing import TextProcessor, Vocabulary
from text.text_reader import EMPTY, TextReader, pack, remarks_on, sentences_on, unpack

READER = TextReader(TextProcessor(max_sentences_per_document=2), Vocabulary(["<pad>", "<unk>", "good", "film", "."]))
TEXTS = ["A good film. Bad film.", "", "<br />", "film", "good. " * 4, "?"]


def test_words_are_looked_up_and_counted() -> None:
    reading = READER.read(TEXTS[0])
    assert reading.document.token_ids.tolist() == [1, 2, 3, 4, 1, 3, 4]
    assert reading.document.words_per_sentence.tolist() == [4, 3]
    assert (reading.words, reading.unknown_words, reading.cut_words) == (7, 2, 0)
    assert READER.read("<br />").document is EMPTY and READER.read("<br />").words == 0
    assert READER.read("Good.\n\ngood.\n\nfilm good.").cut_words == 3


def test_remarks_say_what_to_know_before_believing_a_prediction() -> None:
    def remarks(text: str) -> list[str]:
        return remarks_on(READER.read(text), short_text=4)

    assert remarks("A good film. Good.") == []
    assert remarks("<br />") == ["no word"]
    assert remarks("a b c d") == ["no known word"]
    assert remarks("a b good film") == [] and remarks("a b c film") == ["mostly unknown words"]
    assert remarks("a b good") == ["mostly unknown words", "much shorter than the training texts"]
    assert remarks("Good film good.\n\ngood.\n\nfilm good.") == ["end was cut off"]
    assert remarks_on(READER.read("good")) == []  # a run that does not know how long its training texts were


def test_sentences_say_the_same_to_whoever_reads_one_prediction() -> None:
    def said(text: str) -> str:
        return " ".join(sentences_on(READER.read(text), short_text=4))

    assert said("A good film. Good.") == said("<br />") == ""
    assert said("a b c d").startswith("None of these words") and "3 of the 4 words are not" in said("a b c film")
    assert "much shorter than the training texts (fewer than 4 words)" in said("good film")
    assert "its last 3 words were not read" in said("Good film good.\n\ngood.\n\nfilm good.")


def test_what_is_packed_comes_out_as_it_was() -> None:
    for texts in (TEXTS, TEXTS[1:3], []):
        readings = [READER.read(text) for text in texts]
        found = unpack(pack(readings))
        assert len(found) == len(texts)
        for one, other in zip(found, readings, strict=True):
            assert one[1:] == other[1:]
            for part, expected in zip(one.document, other.document, strict=True):
                assert part.dtype == np.int32
                np.testing.assert_array_equal(part, expected)
