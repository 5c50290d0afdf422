"""Skip-gram by blocks: its arithmetic, what it learns, that it repeats and does not run away."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.test_word_vectors import make_part
from text.skip_gram import (
    AROUND,
    BLOCK_NEGATIVES,
    BLOCK_WORDS,
    NEGATIVE_WEIGHT,
    WINDOW,
    Batch,
    Blocks,
    Change,
    SkipGram,
    add_rows,
    ascent,
    count_pairs,
    draw_negatives,
    guide_to,
    kept_share,
    lay_out,
    share_out,
    train_word2vec,
)
from text.word_vectors import random_vectors


def test_neighbours_are_near_in_the_same_document_and_another_word() -> None:
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 30, 12)
    document = np.repeat(np.arange(12, dtype=np.int32), lengths)
    words = generator.integers(2, 99, len(document)).astype(np.int32)
    blocks = Blocks.cut(words, document)
    assert len(blocks) == -(-len(words) // BLOCK_WORDS)
    chosen = generator.permutation(len(blocks))
    windows = generator.integers(1, WINDOW + 1, (len(chosen), BLOCK_WORDS), np.int8)
    reach = np.full((len(chosen), BLOCK_WORDS, 2), 9, np.int8)
    rows = np.full((len(chosen), BLOCK_WORDS), 99, np.int32)
    columns = np.full((len(chosen), AROUND + 3), 99, np.int32)
    lay_out(blocks.words, blocks.document, chosen, windows, reach, rows, columns)
    assert (columns[:, AROUND:] == 99).all()  # of the negatives
    for m, block in enumerate(chosen.tolist()):
        for row in range(BLOCK_WORDS):
            place, column = block * BLOCK_WORDS + row, WINDOW + row
            before, behind = reach[m, row].tolist()
            if place >= len(words):
                assert before == behind == 0
                continue
            assert rows[m, row] == words[place]
            window = int(windows[m, row])
            near = range(max(place - window, 0), min(place + window + 1, len(words)))
            expected = [other for other in near if document[other] == document[place]]
            assert list(range(place - before, place + behind + 1)) == expected
            assert columns[m, column - before : column + behind + 1].tolist() == words[expected].tolist()


def marked(reach: NDArray[np.int8]) -> NDArray[np.bool_]:
    """bool [M, W + B + W, B], which neighbours each word of a block has."""
    distance = np.arange(reach.shape[1] + 2 * WINDOW)[:, None] - WINDOW - np.arange(reach.shape[1])
    before, behind = reach[:, None, :, 0], reach[:, None, :, 1]
    return (distance != 0) & (-before <= distance) & (distance <= behind)


def test_pairs_are_counted_for_words_neighbours_and_negatives() -> None:
    reach = np.random.default_rng(3).integers(0, WINDOW + 1, (3, 7, 2), np.int8)
    of_rows, of_columns = np.full((3, 7), 9, np.float32), np.full((3, 7 + 2 * WINDOW + 4), 9, np.float32)
    count_pairs(reach, np.float32(0.25), of_rows, of_columns)
    pairs = marked(reach)
    np.testing.assert_array_equal(of_rows, pairs.sum(1))
    np.testing.assert_array_equal(of_columns[:, :-4], pairs.sum(2))
    np.testing.assert_array_equal(of_columns[:, -4:], np.repeat(0.25 * pairs.sum((1, 2))[:, None], 4, 1))


def test_ascent_is_the_gradient_of_the_log_likelihood() -> None:
    generator = np.random.default_rng(1)
    blocks, rows, dim = 2, 5, 3
    columns = rows + 2 * WINDOW + BLOCK_NEGATIVES
    inputs, outputs = generator.normal(size=(blocks, rows, dim)), generator.normal(size=(blocks, columns, dim))
    reach = generator.integers(0, WINDOW + 1, (blocks, rows, 2), np.int8)
    is_pair = marked(reach)
    pairs = is_pair.sum(1)

    def log_likelihood() -> float:
        scores = np.einsum("mbe,mce->mcb", inputs, outputs)
        near, drawn = scores[:, :-BLOCK_NEGATIVES], scores[:, -BLOCK_NEGATIVES:]
        negative = -np.logaddexp(0, drawn) * pairs[:, None, :] * float(NEGATIVE_WEIGHT)
        return float((-np.logaddexp(0, -near) * is_pair).sum() + negative.sum())

    changes = ascend(inputs, outputs, reach, 0.5)
    for table, change in zip((inputs, outputs), changes, strict=True):
        assert change.shape == table.shape
        for place in np.ndindex(table.shape):
            value, step = table[place], 1e-4
            table[place] = value + step
            above = log_likelihood()
            table[place] = value - step
            slope = (above - log_likelihood()) / (2 * step)
            table[place] = value
            assert change[place] == pytest.approx(0.5 * slope, abs=2e-5)


def ascend(
    inputs: NDArray[np.float64], outputs: NDArray[np.float64], reach: NDArray[np.int8], rate: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """:func:`ascent` where each block has rows of its own in the two tables, which stand in reverse order there."""
    tables = [vectors.reshape(-1, vectors.shape[-1])[::-1].astype(np.float32) for vectors in (inputs, outputs)]
    numbers = [
        np.arange(len(table) - 1, -1, -1, dtype=np.int32).reshape(vectors.shape[:2])
        for table, vectors in zip(tables, (inputs, outputs), strict=True)
    ]
    changes = np.full(inputs.shape, 9, np.float32), np.full(outputs.shape, 9, np.float32)
    ascent(*map(np.ascontiguousarray, tables), *numbers, reach, np.float32(rate), NEGATIVE_WEIGHT, *changes)
    return changes


def test_rows_are_added_each_time_they_come_and_frequent_ones_are_scaled_down() -> None:
    generator = np.random.default_rng(2)
    table = generator.normal(size=(11, 4)).astype(np.float32)
    rows, vectors = generator.integers(0, 11, (5, 6)).astype(np.int32), generator.normal(size=(5, 6, 4))
    pairs = generator.integers(0, 8, (5, 6)).astype(np.float32)
    total = np.bincount(rows.ravel(), pairs.ravel(), 11)
    assert (total > 10).any() and (total < 10).any()
    expected = table.astype(float)
    factor = np.minimum(1, 10 / np.maximum(total, 1))[rows]
    np.add.at(expected, rows, vectors * factor[..., None])
    scratch = np.zeros(11)
    share_out(rows, pairs, 10.0, scratch)
    assert not scratch.any()  # the next batch begins with it
    change = Change(rows, pairs, vectors.astype(np.float32))
    for task in range(4):
        add_rows(table, *change, 4, task)
    np.testing.assert_allclose(table, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("words", [1, 5, 64, 1000])
def test_negatives_are_those_that_a_search_finds(words: int) -> None:
    generator = np.random.default_rng(words)
    counts = generator.zipf(1.3, words) * (generator.random(words) < 0.7)
    counts[words // 2] = 1
    draw = np.cumsum(counts / counts.sum())
    uniform = generator.random((40, 50))
    uniform[0] = np.minimum(generator.choice(draw, 50), np.nextafter(1, 0))  # the edges belong to the next word
    uniform[1, :2] = 0, np.nextafter(1, 0)
    columns = np.full((40, 53), -1, np.int32)
    draw_negatives(uniform, draw, guide_to(draw), columns)
    expected = np.minimum(np.searchsorted(draw, uniform, side="right"), words - 1)
    np.testing.assert_array_equal(columns[:, 3:], expected)
    assert (columns[:, :3] == -1).all()


def test_frequent_words_are_kept_more_rarely() -> None:
    counts = np.array([0, 0, 1_000_000, 10_000, 100, *[5] * 30_000])
    share = kept_share(counts)
    assert share[2] < share[3] < share[4] == share[5] == 1
    assert kept_share(np.array([0, 0, 10, 10, 10])).tolist()[2:] == [1, 1, 1]  # a tiny vocabulary loses nothing


# ---------------------------------------------------------------------------------------------------------------------
# Whole trainings


def planted(tmp_path: Path, seed: int = 0) -> list[Path]:
    """Two topics of ten words each, and for each topic a pair of words that are used alike: 2, 3 and 4, 5."""
    generator = np.random.default_rng(seed)
    documents = []
    for number in range(900):
        topic = number % 2
        words = generator.integers(6 + 10 * topic, 16 + 10 * topic, 40)
        words[::8] = generator.integers(2 + 2 * topic, 4 + 2 * topic, 5)
        documents.append(words.tolist())
    return [make_part(tmp_path / f"{number}.npz", documents[number::3]) for number in range(3)]


def cosine(vectors: Any, one: int, other: int) -> float:
    a, b = vectors[one], vectors[other]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_words_used_alike_get_vectors_alike(tmp_path: Path) -> None:
    """In the median of three seeds: with so few words one training in ten mixes the topics up."""
    parts, alike, apart = planted(tmp_path), [], []
    for seed in (1, 2, 3):
        vectors, trained = train_word2vec(parts, 28, dim=12, epochs=8, seed=seed)
        assert vectors.shape == (28, 12) and vectors.dtype == np.float32
        assert trained.sum() == 24  # of 28 rows: not <pad>, not <unk>, and not the two words that never occur
        assert not vectors[0].any()
        np.testing.assert_array_equal(vectors[[1, 26, 27]], random_vectors(28, 12, seed)[[1, 26, 27]])
        alike.append(min(cosine(vectors, 2, 3), cosine(vectors, 4, 5)))
        apart.append(max(cosine(vectors, 2, 4), cosine(vectors, 3, 5)))
    assert np.median(alike) > 0.9 and np.median(apart) < 0.5


def test_result_is_the_same_for_any_number_of_workers_and_another_for_another_seed(tmp_path: Path) -> None:
    parts = planted(tmp_path)
    results = [train_word2vec(parts, 28, 12, 2, seed=1, workers=workers)[0].tobytes() for workers in (1, 2, 3, 9)]
    assert len(set(results)) == 1
    assert train_word2vec(parts, 28, 12, 2, seed=2)[0].tobytes() != results[0]


@pytest.mark.parametrize("words", [2, 20, 300])
def test_training_does_not_run_away_on_a_small_vocabulary(tmp_path: Path, words: int) -> None:
    generator = np.random.default_rng(words)
    documents = (2 + np.minimum(generator.zipf(1.2, (400, 150)), words) - 1).tolist()
    vectors, _ = train_word2vec([make_part(tmp_path / "part.npz", documents)], words + 2, 16, 5, seed=1)
    assert np.isfinite(vectors).all()
    assert np.linalg.norm(vectors, axis=1).max() < 20


def test_an_empty_corpus_gives_random_vectors(tmp_path: Path) -> None:
    path = make_part(tmp_path / "part.npz", [[1, 1], [1]])
    vectors, trained = train_word2vec([path], 5, 4, 2, seed=1)
    assert not trained.any()
    np.testing.assert_array_equal(vectors, random_vectors(5, 4, 1))


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn at random, against the papers' formulas

EPOCHS = 6


class Draws(NamedTuple):
    """What a training drew: its corpus, and of all blocks the words, their numbers of neighbours and the negatives."""

    corpus: NDArray[np.int64]
    words: NDArray[np.int64]
    neighbours: NDArray[np.int64]
    negatives: NDArray[np.int64]


@pytest.fixture(scope="module")
def draws(tmp_path_factory: pytest.TempPathFactory) -> Draws:
    """Six epochs over one document of 6,000 words, half of which are the same one and the rarest a hundredth."""
    shares = np.array([0.5, 0.2, 0.1, 0.06, 0.05, 0.04, 0.03, 0.01, 0.01])
    corpus = np.random.default_rng(5).choice(np.arange(2, 11), 6_000, p=shares)
    part = make_part(tmp_path_factory.mktemp("draws") / "part.npz", [corpus.tolist()])
    recorded: list[tuple[Any, ...]] = []
    ascend = SkipGram.ascend

    def record(model: SkipGram, lane: Batch, rate: float) -> None:
        of_words, of_negatives = lane.inputs.rows, lane.outputs.rows[:, -BLOCK_NEGATIVES:]
        recorded.append(tuple(part.flatten() for part in (of_words, lane.reach.sum(2), of_negatives)))
        ascend(model, lane, rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SkipGram, "ascend", record)
        train_word2vec([part], 11, 4, EPOCHS, seed=3)
    return Draws(corpus, *map(np.concatenate, zip(*recorded, strict=True)))


def shares_of(words: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.bincount(words, minlength=11)[2:]
    return counts / counts.sum()


def test_negatives_are_drawn_by_counts_to_the_power_of_three_quarters(draws: Draws) -> None:
    smoothed = shares_of(draws.corpus) ** 0.75
    assert len(draws.negatives) > 10_000 and draws.negatives.min() >= 2
    np.testing.assert_allclose(shares_of(draws.negatives), smoothed / smoothed.sum(), atol=0.012)
    assert np.abs(shares_of(draws.negatives) - shares_of(draws.corpus)).max() > 0.08  # else this test shows nothing


def test_frequent_words_are_subsampled_with_other_draws_in_each_epoch(draws: Draws) -> None:
    """Each occurrence is kept with probability sqrt(t / f) + t / f; of nine words, t is 1 / 9."""
    ratio = 1 / 9 / shares_of(draws.corpus)
    expected = np.bincount(draws.corpus, minlength=11)[2:] * np.minimum(1, np.sqrt(ratio) + ratio)
    kept = np.bincount(draws.words, minlength=11)[2:] / EPOCHS
    np.testing.assert_allclose(kept, expected, rtol=0.06)
    assert kept[0] < 0.75 * np.count_nonzero(draws.corpus == 2) and (kept != kept.round()).any()


def test_windows_are_of_every_size_up_to_the_largest_equally_often(draws: Draws) -> None:
    inner = draws.neighbours[draws.words > 1]
    assert inner.max() == 2 * WINDOW
    shares = [np.mean(inner == 2 * size) for size in range(1, WINDOW + 1)]  # the ends of the document aside
    np.testing.assert_allclose(shares, 1 / WINDOW, atol=0.015)
