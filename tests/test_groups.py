"""Which sequences are padded together, against every other division; what the rectangles hold, against plain Python."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf

from network.groups import BINS, borders, rectangles

SIZE = 3


def lengths_of(kind: str) -> np.ndarray:
    generator = np.random.default_rng(5)
    return {
        "reviews": np.clip(generator.lognormal(2.8, 0.7, 60).round(), 1, 60).astype(np.int32),
        "few": np.array([7, 2, 11, 2, 1], np.int32),
        "equal": np.full(6, 4, np.int32),
        "single elements": np.ones(5, np.int32),
        "one row": np.array([9], np.int32),
        "documents": np.clip(generator.lognormal(5, 0.8, 30).round(), 1, 2000).astype(np.int32),
    }[kind]


def time_of(lengths: np.ndarray, borders: tuple[int, ...], step_rows: float) -> float:
    """Of a division, by the rule that the groups are chosen by."""
    group = [sum(length > border for border in borders) for length in lengths]
    groups = [lengths[np.equal(group, number)] for number in range(len(borders) + 1)]
    return sum(max(one) * (len(one) + step_rows) for one in groups if len(one))


def least(lengths: np.ndarray, groups: int, step_rows: float) -> float:
    """The time of the best of all divisions."""
    inner = sorted(set(lengths.tolist()))[:-1]
    return min(
        time_of(lengths, cuts, step_rows)
        for count in range(min(groups, len(inner) + 1))
        for cuts in combinations(inner, count)
    )


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("step_rows", [0, 2.5, 40])
@pytest.mark.parametrize("kind", ["reviews", "few", "equal", "single elements", "one row"])
def test_no_other_division_takes_less_time(kind: str, step_rows: float, groups: int) -> None:
    lengths = lengths_of(kind)
    found = borders(tf.constant(lengths), groups, step_rows).numpy().tolist()
    assert len(found) == groups - 1 and found == sorted(found)
    assert time_of(lengths, tuple(found), step_rows) == least(lengths, groups, step_rows)


def test_lengths_beyond_the_bins_are_divided_nearly_as_well() -> None:
    lengths = lengths_of("documents")
    assert lengths.max() > 5 * BINS
    for step_rows in (0, 3):
        found = tuple(borders(tf.constant(lengths), 3, step_rows).numpy().tolist())
        best = least(lengths, 3, step_rows)
        assert best <= time_of(lengths, found, step_rows) <= 1.03 * best
        assert time_of(lengths, (), step_rows) > 1.3 * best


def test_a_dear_step_makes_one_group_and_a_free_one_leaves_no_padding() -> None:
    lengths = tf.constant(lengths_of("few"))
    assert rectangles(lengths, 4, step_rows=1e6).shapes.numpy().tolist() == [[1, 1]] * 3 + [[5, 11]]
    assert rectangles(lengths, 4, step_rows=0).shapes.numpy().tolist() == [[1, 1], [2, 2], [1, 7], [1, 11]]


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kind", ["reviews", "few", "equal", "single elements", "one row", "documents"])
def test_rectangles_hold_every_sequence_once_and_zeros_behind_it(kind: str, groups: int) -> None:
    lengths = lengths_of(kind)
    elements = np.random.default_rng(2).normal(size=(lengths.sum(), SIZE)).astype(np.float32)
    found = rectangles(tf.constant(lengths), groups, 1.0)
    assert len(found.masks) == groups
    for place, direction in ((found.ahead, 1), (found.reverse, -1)):
        filled = found.filled(tf.constant(elements), place)
        rows = []
        for part, mask, shape in zip(filled, found.masks, found.shapes.numpy(), strict=True):
            assert part.shape == (*shape, SIZE) and mask.shape == tuple(shape)
            inside = mask.numpy().sum(axis=1)
            assert inside.min() >= 1  # cuDNN takes no row without an element
            np.testing.assert_array_equal(mask, np.arange(shape[1]) < inside[:, np.newaxis])
            assert not part.numpy()[~mask.numpy()].any()
            rows += [row[:count] for row, count in zip(part.numpy(), inside, strict=True) if row.any()]
        # Groups are in the order of their lengths, and sequences in their own order within a group.
        group = (lengths[:, np.newaxis] > borders(tf.constant(lengths), groups, 1.0).numpy()).sum(axis=1)
        sequences = np.split(elements, np.cumsum(lengths)[:-1])
        expected = [sequences[number][::direction] for number in np.argsort(group, kind="stable")]
        assert len(rows) == len(expected)
        for row, sequence in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(row, sequence)
        np.testing.assert_array_equal(found.elements(filled, place), elements)


def test_what_chooses_the_groups_runs_on_the_host() -> None:
    """Dozens of operations on a few numbers: on a GPU each would wait for its start."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
    def chosen(lengths: tf.Tensor) -> tf.Tensor:
        found = rectangles(lengths, 4, 8.0)
        return found.ahead, found.reverse, found.masks, found.shapes

    nodes = chosen.get_concrete_function().graph.as_graph_def().node
    elsewhere = {node.op for node in nodes if "CPU" not in node.device}
    assert elsewhere <= {"Placeholder", "Identity"} and any(node.op == "ArgMin" for node in nodes)
