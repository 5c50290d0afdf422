"""Reading JSON files whose shape is checked: a wrong key or type is one line that names the file, never a traceback.

A shape is a ``TypedDict``, a dataclass or any other type that ``msgspec`` knows. Keys that the shape does not name are
allowed, so that files of newer versions stay readable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import installed  # noqa: F401

import msgspec

import utils
from utils import UserError

Shape = TypeVar("Shape")


def checked(value: Any, shape: type[Shape], source: str, remedy: str = "delete it and run its stage again") -> Shape:
    """Returns a JSON value as it is, after a check of its shape.

    Args:
        value: As ``json`` reads it.
        shape: The expected type.
        source: The file, for the message.
        remedy: What to do, for the message.

    Raises:
        UserError: The value has another shape.
    """
    try:
        msgspec.convert(value, shape)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter: half of a surrogate pair
        raise UserError(f"{source} is damaged or of another version ({error}); {remedy}") from error
    unchanged: Shape = value
    return unchanged


def read_json(path: Path, shape: type[Shape], remedy: str = "delete it and run its stage again") -> Shape:
    """Reads a JSON file of a known shape; arguments and errors as for :func:`checked`."""
    return checked(utils.read_json(path), shape, str(path), remedy)


def read_jsonl(path: Path, shape: type[Shape], remedy: str = "delete that line") -> list[Shape]:
    """Reads a JSON-lines file whose lines have a known shape; a missing file is an empty list."""
    rows = utils.read_jsonl(path)
    return [checked(row, shape, f"{path}, line {number}", remedy) for number, row in enumerate(rows, start=1)]
