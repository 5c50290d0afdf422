"""The table of the n-gram lane in a run folder, ``ngrams.safetensors``: written once, before the first step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import schema
from network.ngrams import NgramTable
from runtime.checkpoints import hash_of_weights
from runtime.run_folder import START_AGAIN, RunFolder
from utils import FORMAT_VERSION, UserError, atomic_write


class Header(TypedDict):
    """The JSON header of the file."""

    format_version: int
    sha256: str
    run: str


def save_table(run: RunFolder, table: NgramTable) -> None:
    """Writes the table of a run, whole or not at all."""
    arrays: dict[str, np.ndarray] = {"keys": table.keys, "idf": table.idf, "weights": table.weights, "bias": table.bias}
    header: Header = {"format_version": FORMAT_VERSION, "sha256": hash_of_weights(arrays), "run": run.identity()}
    with atomic_write(run.ngrams, "wb") as file:
        # One entry: safetensors writes several in a random order, and equal runs should leave equal files.
        file.write(save(arrays, metadata={"table": json.dumps(header)}))


def read_table(run: RunFolder) -> NgramTable:
    """Reads the table of a run.

    Raises:
        UserError: It is missing, damaged, or another run's.
    """
    path = run.ngrams
    if not path.is_file():
        raise UserError(f"{path} is missing: the run has n-grams; put the file back, or {START_AGAIN}")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
            header = json.loads((file.metadata() or {}).get("table", "{}"))
    except (SafetensorError, json.JSONDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); {START_AGAIN}") from error
    return checked_table(run, path, schema.checked(header, Header, str(path), START_AGAIN), arrays)


def checked_table(run: RunFolder, path: Path, header: Header, arrays: dict[str, np.ndarray]) -> NgramTable:
    """The arrays of a file as a table, compared with its header."""
    if hash_of_weights(arrays) != header["sha256"]:
        raise UserError(f"{path} is damaged: it does not have the hash that it was saved with; {START_AGAIN}")
    if header["run"] != run.identity():
        raise UserError(f"{path} belongs to another run than {run.path}; put the right file in its place")
    return NgramTable(**arrays)
