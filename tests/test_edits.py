"""Which words are marked as edited."""

from __future__ import annotations

import pytest

from page.edits import MOST_COMPARED, edited_words


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("a b c", "a b c", {}),
        ("a b c", "a x c", {1: 'edited, was "b"'}),
        ("a b c", "a x y c", {1: 'edited, was "b"', 2: 'edited, was "b"'}),
        ("a b c", "a b new c", {2: "added"}),
        ("a a a", "a a a a", {3: "added"}),
        ("a b c", "a c", {1: '"b" was deleted before it'}),
        ("a b c", "a b", {1: '"c" was deleted after it'}),
        ("a b c d e", "x b c d", {0: 'edited, was "a"', 3: '"e" was deleted after it'}),
        ("a", "", {}),
        ("", "a", {0: "added"}),
    ],
)
def test_edited_words(before: str, after: str, marked: dict[int, str]) -> None:
    assert edited_words(before.split(), after.split()) == marked


def test_of_a_long_text_all_between_the_first_and_the_last_edit_is_marked() -> None:
    before = [f"word{n}" for n in range(MOST_COMPARED + 10)]
    after = ["x", *before[1:-1], "y"]
    assert edited_words(before, after) == dict.fromkeys(range(len(after)), "edited")
    one = [*before[:5], "x", *before[6:]]
    assert edited_words(before, one) == {5: 'edited, was "word5"'}
