"""Texts as a network reads them, and how they travel between processes."""

from __future__ import annotations

import numpy as np

from data_processing import TextProcessor, Vocabulary
from text.text_reader import EMPTY, TextReader, pack, unpack

READER = TextReader(TextProcessor(max_sentences_per_document=2), Vocabulary(["<pad>", "<unk>", "good", "film", "."]))
TEXTS = ["A good film. Bad film.", "", "<br />", "film", "good. " * 4, "?"]


def test_words_are_looked_up_and_counted() -> None:
    reading = READER.read(TEXTS[0])
    assert reading.document.token_ids.tolist() == [1, 2, 3, 4, 1, 3, 4]
    assert reading.document.words_per_sentence.tolist() == [4, 3]
    assert (reading.words, reading.unknown_words, reading.cut_words) == (7, 2, 0)
    assert READER.read("<br />").document is EMPTY and READER.read("<br />").words == 0
    assert READER.read("Good.\n\ngood.\n\nfilm good.").cut_words == 3


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
