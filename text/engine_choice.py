"""Which engine reads texts: the flags, and what is refused before anything is read."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from utils import UserError

ENGINES = ("local", "ray")
INSTALL = "python -m pip install --require-hashes -r requirements-ray.txt"


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that choose an engine."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default=ENGINES[0],
        help="where texts are read: this machine, or tasks of Ray; what is written is the same (default: local)",
    )
    parser.add_argument(
        "--ray_address",
        default="",
        help="with --engine ray: auto for the cluster that this machine belongs to, or HOST:PORT; not given: Ray is "
        "started on this machine",
    )


def check_engine(engine: str, ray_address: str) -> None:
    """Raises :class:`UserError` where an engine cannot be used, before anything is read.

    Args:
        engine: One of :data:`ENGINES`.
        ray_address: As given by ``--ray_address``; empty if it was not.
    """
    if ray_address and engine != "ray":
        raise UserError(f"--ray_address {ray_address} goes with --engine ray; add it, or leave the flag out")
    if engine == "ray" and find_spec("ray") is None:
        raise UserError(f"--engine ray needs the package ray, which is not installed; type: {INSTALL}")
