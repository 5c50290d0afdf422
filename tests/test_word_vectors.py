"""First word vectors that are random or looked up, and the corpus that word2vec reads."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from text.word_vectors import (
    count_words,
    enough_epochs,
    look_up,
    random_vectors,
    read_part,
    vector_size,
    write_part,
)
from utils import UserError


def make_part(path: Path, documents: list[list[int]]) -> Path:
    words = np.array([word for document in documents for word in document], np.int32)
    write_part(path, words, np.array([len(document) for document in documents]))
    return path


def test_random_vectors_are_small_seeded_and_zero_for_padding() -> None:
    vectors = random_vectors(50, 7, seed=3)
    assert vectors.shape == (50, 7) and vectors.dtype == np.float32
    assert not vectors[0].any() and vectors[1:].all()
    assert 0.04 < np.abs(vectors).max() <= 0.05
    np.testing.assert_array_equal(vectors, random_vectors(50, 7, seed=3))
    assert (vectors[1:] != random_vectors(50, 7, seed=4)[1:]).any()


# ---------------------------------------------------------------------------------------------------------------------
# A published file

WORDS = ["<pad>", "<unk>", "the", "café", "rare", "."]
GLOVE = "the 0.1 -0.2 3e-1\nof 1 1 1\n. . . 9 9 9\n. 4 5 6\ncafé 7 8 9\nthe 0 0 0\n<unk> 5 5 5\nThe 2 2 2\n"


@pytest.mark.parametrize("header", ["", "8 3\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_vectors_are_looked_up_in_a_file_of_glove_or_of_word2vec(tmp_path: Path, header: str, packed: bool) -> None:
    path = tmp_path / "vectors.txt"
    content = (header + GLOVE).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    assert vector_size(path) == 3
    vectors, found = look_up(path, WORDS, 3, seed=4)
    assert found.tolist() == [False, False, True, True, False, True]
    # The first of two vectors counts, "<unk>" is not looked up, ". . ." is another word than ".".
    np.testing.assert_allclose(vectors[[2, 3, 5]], [[0.1, -0.2, 0.3], [7, 8, 9], [4, 5, 6]])
    np.testing.assert_array_equal(vectors[[0, 1, 4]], random_vectors(6, 3, 4)[[0, 1, 4]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no text file of GloVe or word2vec"),
        (b"hello world\n", "no text file of GloVe or word2vec"),
        (b"2 3\n\x00\x01binary\n\x07", "line 2: 3 numbers are expected, and there are 0"),
        (b"the 1 2 3\nof 1 2\n", "line 2: 3 numbers are expected, and there are 2"),
        (b"the 1 2 3\n. 1 x 3\n", "line 2 does not hold a word and 3 numbers"),
        (b"the 1 2 nan\n", "not finite"),
        (gzip.compress(GLOVE.encode() * 2000)[:-30], "cut short or damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        look_up(path, WORDS, vector_size(path), seed=1)
    with pytest.raises(UserError, match="there is no file"):
        vector_size(tmp_path / "elsewhere.txt")


def test_parts_leave_padding_and_unknown_words_out(tmp_path: Path) -> None:
    path = make_part(tmp_path / "part.npz", [[2, 1, 3], [1], [0, 4, 4]])
    words, document = read_part(path)
    assert words.tolist() == [2, 3, 4, 4]
    assert document.tolist() == [0, 0, 2, 2]
    other = make_part(tmp_path / "other.npz", [[4, 2]])
    assert count_words([path, other], 6).tolist() == [0, 0, 2, 1, 3, 0]


@pytest.mark.parametrize(("words", "epochs"), [(0, 100), (75_000, 100), (250_000, 40), (2_000_000, 5), (20_000_000, 5)])
def test_small_texts_are_read_more_often(words: int, epochs: int) -> None:
    assert enough_epochs(words) == epochs
