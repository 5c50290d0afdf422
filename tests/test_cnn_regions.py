"""The command that lists the regions of a CNN."""

from __future__ import annotations

import numpy as np

from cnn_regions import table
from report.regions import Region

VOCABULARY = ["<pad>", "<unk>", "not", "good", "film", "the"]


def test_table_lists_the_strongest_first() -> None:
    regions = [Region((2,), np.array([-1.0, 1.0]), 3), Region((3,), np.array([-2.0, 2.0]), 1234)]
    lines = list(table(regions, 1, "positive", VOCABULARY, 5))
    assert [line.split() for line in lines[1:]] == [["+2.00", "1,234", "good"], ["+1.00", "3", "not"]]
    assert len(list(table(regions, 0, "negative", VOCABULARY, 1))) == 2
