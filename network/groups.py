"""Sequences of different lengths as a few rectangles: which of them are padded together is chosen for each batch.

Padded to the longest, a batch of film reviews is two thirds padding. Sequences of similar length are therefore padded
together, in groups that a dynamic program chooses; all of it is TensorFlow's own operations on short vectors of
integers, which run on the host, also where a GPU computes the rest.

Axes: R sequences (rows), N elements of all sequences, G groups, R_g rows and T_g steps of a group, L bins of lengths, P
places of all rectangles, E size of an element.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = Any

# Lengths that the choice tells apart. Sentences have up to 60 words, and each length has a bin of its own; documents
# have thousands, and neighbouring lengths share one, so that the choice costs the same for any batch.
BINS = 64


def borders(lengths: Tensor, groups: int, step_rows: float) -> Tensor:
    """Where to divide sequences by length, so that the groups take the least time together.

    A group takes as many steps as its longest sequence has elements, and the time of a step is proportional to its rows
    plus ``step_rows``. No other division into so many groups or fewer takes less time, by this rule and up to the width
    of the bins. (Dynamic programming over the lengths: the best division into k groups is the best into k - 1 of the
    shorter lengths, and one of the others.)

    Args:
        lengths: int32 [R], each at least 1.
        groups: G, at least 1.
        step_rows: The number of rows that cost as much as a step does by itself.

    Returns:
        int32 [G - 1], rising: a sequence is in group g if g of them are smaller than its length. A group between equal
        ones, or before a 0, has no sequence.
    """
    if groups == 1:
        return tf.zeros([0], tf.int32)
    longest = tf.reduce_max(lengths)
    width = (longest + BINS - 1) // BINS
    rows = tf.math.bincount((lengths - 1) // width, minlength=BINS, maxlength=BINS)
    shorter = tf.cast(tf.concat([[0], tf.cumsum(rows)], axis=0), tf.float32)  # [L + 1], rows before each border
    steps = tf.cast(tf.minimum(tf.range(BINS + 1) * width, longest), tf.float32)
    inside = shorter[tf.newaxis, :] - shorter[:, tf.newaxis]  # [L + 1, L + 1], rows between two borders
    time = tf.where(inside > 0, steps * (inside + step_rows), 0)
    time = tf.where(steps[:, tf.newaxis] <= steps, time, float("inf"))
    best, first = time[0], []  # [L + 1], of what is shorter than each border; where its last group begins
    for _ in range(groups - 1):
        ways = best[:, tf.newaxis] + time
        first.append(tf.argmin(ways, axis=0, output_type=tf.int32))
        best = tf.reduce_min(ways, axis=0)
    border, found = tf.constant(BINS), list[Tensor]()
    for beginning in reversed(first):
        border = beginning[border]
        found.append(border * width)
    return tf.stack(found[::-1])


class Rectangles(NamedTuple):
    """Where each element of the sequences is in the rectangles of their groups, which lie one after another.

    Attributes:
        ahead: int32 [N], the place of each element where sequences are written from left to right.
        reverse: int32 [N], where they are written from right to left.
        masks: For each group bool [R_g, T_g], true where there is an element: in every row at least in its first place,
            and never behind a place without one.
        shapes: int32 [G, 2], R_g and T_g.
    """

    ahead: Tensor
    reverse: Tensor
    masks: list[Tensor]
    shapes: Tensor

    def filled(self, elements: Tensor, place: Tensor) -> list[Tensor]:
        """For each group float [R_g, T_g, E] with every element in its place, and zeros elsewhere.

        Args:
            elements: float [N, E].
            place: :attr:`ahead` or :attr:`reverse`.
        """
        size = elements.shape[1]
        with tf.device("CPU"):
            places = tf.reduce_prod(self.shapes, axis=1)
            shape = tf.stack([tf.reduce_sum(places), size])
        parts = tf.split(tf.scatter_nd(place[:, tf.newaxis], elements, shape), places, num=len(self.masks))
        return [tf.reshape(part, [-1, self.shapes[group, 1], size]) for group, part in enumerate(parts)]

    def elements(self, filled: list[Tensor], place: Tensor) -> Tensor:
        """float [N, E], what is in the place of each element: the way back from :meth:`filled`; ``place`` as there."""
        return tf.gather(tf.concat([tf.reshape(part, [-1, part.shape[2]]) for part in filled], axis=0), place)


def rectangles(lengths: Tensor, groups: int = 1, step_rows: float = 0) -> Rectangles:
    """Groups of similar length; arguments as for :func:`borders`.

    A group without a sequence gets one of a single element, zeros, which nothing reads: cuDNN takes neither a batch of
    no rows nor a row without an element.
    """
    with tf.device("CPU"):
        group = tf.reduce_sum(tf.cast(lengths[:, tf.newaxis] > borders(lengths, groups, step_rows), tf.int32), axis=1)
        members = tf.one_hot(group, groups, dtype=tf.int32)  # [R, G]
        shapes = tf.stack([tf.reduce_sum(members, axis=0), tf.reduce_max(members * lengths[:, tf.newaxis], axis=0)], 1)
        shapes = tf.maximum(shapes, 1)
        begins = tf.cumsum(tf.reduce_prod(shapes, axis=1), exclusive=True)
        above = tf.reduce_sum(members * tf.cumsum(members, exclusive=True), axis=1)  # rows of its group before it
        begin = tf.gather(begins, group) + above * tf.gather(shapes[:, 1], group)
        end = begin + lengths
        masks = []
        for number in range(groups):
            inside = tf.boolean_mask(lengths, tf.equal(group, number))
            inside = tf.pad(inside, [[0, shapes[number, 0] - tf.size(inside)]], constant_values=1)
            masks.append(tf.sequence_mask(inside, shapes[number, 1]))
        return Rectangles(
            tf.ragged.range(begin, end).flat_values, tf.ragged.range(end - 1, begin - 1, -1).flat_values, masks, shapes
        )
