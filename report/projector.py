"""Files for TensorBoard's embedding projector: vectors, what is known of each, and the configuration that names them.

The projector looks in every folder that holds an event file for ``projector_config.pbtxt``; paths in it are relative to
that folder, so a run can be moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from utils import atomic_write

CONFIG = "projector_config.pbtxt"
METADATA = "metadata.tsv"


def write_projector(
    folder: Path, embeddings: Mapping[str, ArrayLike], columns: Sequence[str], rows: Sequence[Sequence[object]]
) -> None:
    """Writes everything the projector needs; the configuration last, so that it never names a missing file.

    Args:
        folder: A folder that TensorBoard watches and that holds an event file.
        embeddings: Name and float [N, D] of each set of vectors.
        columns: Two or more names of what is known of a document; the projector colours by them.
        rows: [N] values, one for each column.

    Raises:
        ValueError: Fewer than two columns (the projector would take the header for a document), or numbers of rows that
            differ.
    """
    if len(columns) < 2:
        raise ValueError("the projector needs two columns at least")
    lines = []
    for name, values in embeddings.items():
        vectors = np.asarray(values)
        if len(vectors) != len(rows):
            raise ValueError(f"{name!r} has {len(vectors)} vectors, but there are {len(rows)} rows of metadata")
        with atomic_write(folder / file_name(name)) as file:
            file.writelines("\t".join(f"{number:.6g}" for number in vector) + "\n" for vector in vectors)
        lines.append(
            f'embeddings {{\n  tensor_name: "{name}"\n  tensor_path: "{file_name(name)}"\n'
            f'  metadata_path: "{METADATA}"\n  tensor_shape: {vectors.shape[0]}\n'
            f"  tensor_shape: {vectors.shape[1]}\n}}\n"
        )
    with atomic_write(folder / METADATA) as file:
        file.writelines("\t".join(map(one_line, row)) + "\n" for row in [columns, *rows])
    with atomic_write(folder / CONFIG) as file:
        file.writelines(lines)


def file_name(name: str) -> str:
    """The file of a set of vectors: ``after training`` -> ``after-training.tsv``."""
    return "".join(sign if sign.isalnum() else "-" for sign in name) + ".tsv"


def one_line(value: object) -> str:
    """A value without tabs and line ends."""
    return " ".join(str(value).split())
