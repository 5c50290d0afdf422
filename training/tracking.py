"""Weights and Biases, opt-in: the curves and settings of a run on a web page, next to those of other runs.

``--wandb`` needs the package of ``requirements-wandb.txt``. With an account (``wandb login``) the curves go to its
server while training runs; with ``WANDB_MODE=offline`` nothing leaves this machine, and ``wandb sync`` sends later what
was kept in the run folder. What is sent: settings, curves, and the name of the run. No code, no text, no weights, no
figures of the machine.

A run that resumes keeps its id, which is stored in the run folder. Points carry the number of their step, so that steps
which are trained again replace their earlier points.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypedDict

from schema import read_json
from utils import UserError, write_json

PROJECT = "han"
INSTALL = "python -m pip install --require-hashes -r requirements-wandb.txt"


def add_wandb_flags(parser: argparse.ArgumentParser) -> None:
    """Adds ``--wandb`` and ``--wandb_project``."""
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="send settings and curves of training to Weights and Biases, or keep them for it with WANDB_MODE=offline",
    )
    parser.add_argument("--wandb_project", default=PROJECT, help=f"name of the project there (default: {PROJECT})")


def wandb_flags(arguments: argparse.Namespace) -> list[str]:
    """The same flags as words, for a script that hands them on."""
    project = [] if arguments.wandb_project == PROJECT else ["--wandb_project", arguments.wandb_project]
    return ["--wandb", *project] if arguments.wandb else []


def check_installed(arguments: argparse.Namespace) -> None:
    """Raises :class:`UserError` where ``--wandb`` is given and the package is missing, before anything is written."""
    if arguments.wandb and find_spec("wandb") is None:
        raise UserError(f"--wandb needs the package wandb, which is not installed; type: {INSTALL}")


class Note(TypedDict):
    """``wandb.json``."""

    id: str
    project: str


class WandbRun:
    """One run on Weights and Biases, new or resumed.

    Args:
        folder: The run folder; the id is kept in its ``wandb.json``, what is not sent yet in its ``wandb``.
        project: Name of the project on the server.
        config: The run's settings, shown with the curves.

    Raises:
        UserError: The server cannot be reached, or there is no login.
    """

    def __init__(self, folder: Path, project: str, config: dict[str, Any]) -> None:
        import wandb

        note = folder / "wandb.json"
        if not note.exists():
            write_json(note, {"id": secrets.token_hex(4), "project": project})
        kept = read_json(note, Note, "delete it and run the same command again")
        try:
            self.run = wandb.init(
                id=kept["id"],
                project=kept["project"],
                name=folder.name,
                dir=folder,
                config=config,
                resume="allow",
                settings=wandb.Settings(
                    console="off",
                    silent=True,
                    save_code=False,
                    disable_code=True,
                    disable_git=True,
                    x_disable_stats=True,
                    x_disable_meta=True,
                    x_disable_machine_info=True,
                    x_save_requirements=False,
                ),
            )
        except wandb.Error as error:
            raise UserError(
                f"--wandb: {str(error).rstrip('.')}; log in with: wandb login, or keep the curves on this machine: "
                "WANDB_MODE=offline"
            ) from error
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def scalars(self, step: int, group: str, values: Mapping[str, float]) -> None:
        """Sends one point of each curve ``group/name``."""
        self.run.log({"step": step, **{f"{group}/{name}": value for name, value in values.items()}})

    def finish(self, exit_code: int = 0) -> None:
        """Sends the rest and closes; another exit code than 0 marks the run as failed."""
        self.run.finish(exit_code=exit_code)
