"""Several labels a text: how they are read from a table, and how the CSV file of a data set holds them.

A cell holds a list, or names with a separator between them; or several columns of 0 and 1 are the labels. In the
CSV file the label of a document is a JSON list of the names in the order of ``labels.txt``: ``["books", "positive"]``,
``[]`` for a document that has none. An unlabelled document has an empty label, as always.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils import UserError

SEPARATORS = ("|", ";", ",")
BETWEEN = " | "  # the names of several labels in one cell or line that this project writes
NO_LABELS = "no label"  # of a text that has none of several labels, where that is shown
YES, NO = {"1", "1.0", "true", "yes", "x"}, {"0", "0.0", "false", "no", ""}


def encoded(names: Sequence[str]) -> str:
    """The label of the CSV file: a JSON list."""
    return json.dumps(list(names), ensure_ascii=False)


def decoded(label: str) -> tuple[str, ...]:
    """The names in a label of the CSV file.

    Raises:
        ValueError: It is no JSON list of names.
    """
    names = json.loads(label)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{label[:50]!r} is no JSON list of names")
    return tuple(names)


@dataclass(frozen=True)
class LabelCells:
    """Which cells of a row are its labels.

    Attributes:
        places: Of the columns: one, or several of 0 and 1.
        names: Of these columns.
        separator: Between the names in a cell; empty where a cell is a JSON list.
    """

    places: tuple[int, ...]
    names: tuple[str, ...]
    separator: str

    def read(self, fields: Sequence[str]) -> str:
        """The names as a JSON list, sorted; empty where the row has no label.

        Raises:
            ValueError: A cell that is no list, or neither 0 nor 1.
        """
        if len(self.places) > 1:
            return self.read_columns([fields[place].strip().casefold() for place in self.places])
        cell = fields[self.places[0]].strip()
        return encoded(sorted(names_in(cell, self.separator))) if cell else ""

    def read_columns(self, cells: Sequence[str]) -> str:
        """The names of the columns that hold 1."""
        if not any(cells):
            return ""
        if other := next((cell for cell in cells if cell not in YES | NO), ""):
            raise ValueError(f"{other[:30]!r} is neither 0 nor 1")
        return encoded(sorted(name for name, cell in zip(self.names, cells, strict=True) if cell in YES))

    def in_words(self) -> str:
        """How labels are written, a sentence."""
        if len(self.places) > 1:
            return f"several labels a text: columns of 0 and 1, {', '.join(self.names)[:200]}"
        return f"several labels a text, {f'separated by {self.separator!r}' if self.separator else 'lists'}"


def names_in(cell: str, separator: str) -> set[str]:
    """The names in a cell, a JSON list or with a separator between them.

    A list may also be written as Python does, which pandas writes into CSV files: ``['a', 'b']``.

    Raises:
        ValueError: It begins like a list and is none.
    """
    found = listed(cell) if cell.strip().startswith("[") else cell.split(separator or SEPARATORS[0])
    return {tidy for name in found if (tidy := " ".join(name.split()))}


def listed(cell: str) -> Sequence[str]:
    """The names in a list, as JSON or Python write it; errors as for :func:`names_in`."""
    try:
        return decoded(cell)
    except ValueError:
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            names = ast.literal_eval(cell)
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
    raise ValueError(f"{cell[:30]!r} is no list of names")


def looks_like_several(labels: Iterable[str]) -> str:
    """A label that looks like several: a list, or names with a separator of which others are made; else empty."""
    every = list(labels)
    for label in every:
        if label.startswith("[") and label.endswith("]"):
            return label
    for sign in SEPARATORS:
        made = [label for label in every if sign in label]
        if made and len({part.strip() for label in every for part in label.split(sign)}) < len(every):
            return made[0]
    return ""


def detected_separator(cells: Iterable[str]) -> str:
    """The separator of the names in cells, the first of :data:`SEPARATORS` that occurs; empty for JSON lists."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    if filled and all(cell.startswith("[") for cell in filled):
        return ""
    return next((sign for sign in SEPARATORS if any(sign in cell for cell in filled)), SEPARATORS[0])


def named_sets(counts: Mapping[str, int]) -> tuple[list[str], dict[str, str]]:
    """The classes, and the label of the CSV file for each label as :meth:`LabelCells.read` gives it.

    Names that differ in case alone are one class, named as they are most often written.
    """
    written: Counter[str] = Counter()
    for label, count in counts.items():
        written.update(dict.fromkeys(decoded(label), count))
    usual: dict[str, str] = {}
    for name, _ in sorted(written.items(), key=lambda item: (-item[1], item[0])):
        usual.setdefault(name.casefold(), name)
    classes = sorted(usual.values(), key=str.casefold)
    sets = {}
    for label in counts:
        own = {usual[name.casefold()] for name in decoded(label)}
        sets[label] = encoded([name for name in classes if name in own])
    return classes, sets


def membership(labels: Sequence[str], names: Sequence[str]) -> NDArray[np.uint8]:
    """uint8 [labels, C], 1 where a label of the CSV file has a class.

    Raises:
        UserError: A name that is not among ``names``.
    """
    places = {name: place for place, name in enumerate(names)}
    matrix = np.zeros((len(labels), len(names)), np.uint8)
    for row, label in enumerate(labels):
        try:
            matrix[row, [places[name] for name in decoded(label)]] = 1
        except (KeyError, ValueError) as error:
            raise UserError(
                f"the label {label[:50]!r} is no JSON list of names in labels.txt ({error}); run create_csv.py again"
            ) from error
    return matrix
