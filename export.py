#!/usr/bin/env python3
"""Writes a finished run as a folder that classifies texts without this repository and without TensorFlow.

    python export.py imdb-han imdb-bundle          then, anywhere: python imdb-bundle/classify.py "A dull film."
    python export.py runs/imdb-han imdb-small --quantize int8
    python export.py imdb-han imdb-serving --format savedmodel     for TensorFlow Serving
    python export.py imdb-han imdb-page --format web               a web page that classifies in the browser

The folder holds the network as ONNX graph, the text processing, a program of one file that needs numpy, onnxruntime and
regex, and a model card; with --format savedmodel a SavedModel in place of graph and program, with --format web a page
and onnxruntime-web, which npm downloads, in place of the program. RUN is a run folder or its name in `runs/`; FOLDER
must not exist yet, or be empty.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import installed  # noqa: F401

from runtime.devices import start_tensorflow
from runtime.run_folder import find_run
from utils import Parser, UserError, add_folder_flags, human_size, log, run_script

if TYPE_CHECKING:
    from shipping.bundle import ExportedRun
    from shipping.quantization import Cost

SAMPLE = "A first text, which the bundle classifies before it gets its name."


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="export.py", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run folder, or its name in --runs_dir")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder to write")
    parser.add_argument(
        "--format",
        default="onnx",
        choices=("onnx", "savedmodel", "web"),
        help="onnx: a bundle that classifies by itself; savedmodel: word ids in, probabilities and attention out, for "
        "TensorFlow Serving; web: static files that classify in the browser (default: onnx)",
    )
    parser.add_argument(
        "--onnxruntime_web",
        type=Path,
        metavar="FILE",
        help="with --format web: the npm package of onnxruntime-web, as .tgz or unpacked (default: npm downloads it)",
    )
    parser.add_argument(
        "--quantize",
        default="none",
        choices=("none", "fp16", "int8"),
        help="store the word vectors in half (fp16) or a quarter (int8) of the space (default: none)",
    )
    add_folder_flags(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Writes the bundle and prints what it holds."""
    run = find_run(arguments.run, arguments.runs_dir)
    from shipping.bundle import new_folder, read_run, refuse_used_folder, write_card, write_program
    from shipping.card import model_card
    from shipping.classify import Classifier

    refuse_used_folder(arguments.folder)
    check_flags(arguments)
    source = read_run(run)
    if arguments.format == "savedmodel":
        export_saved_model(arguments.folder, source)
        return
    if arguments.format == "web":
        export_web_page(arguments, source)
        return
    with new_folder(arguments.folder) as folder:
        write_program(folder, source, arguments.quantize)
        Classifier(folder).predict([SAMPLE])
        cost = None if arguments.quantize == "none" else cost_of(folder, source, arguments.data_dir)
        write_card(folder, model_card(source, arguments.quantize, cost))
    list_files(arguments.folder)
    print(f'Look:    python {shlex.quote(str(arguments.folder / "classify.py"))} "A text to classify."')


def check_flags(arguments: argparse.Namespace) -> None:
    """Raises :class:`UserError` for flags that do not go together."""
    if arguments.format == "savedmodel" and arguments.quantize != "none":
        raise UserError(f"--quantize {arguments.quantize} is for --format onnx and web; leave one of them out")
    if arguments.format != "web" and arguments.onnxruntime_web is not None:
        raise UserError("--onnxruntime_web is for --format web; leave it out, or add --format web")


def export_saved_model(path: Path, source: ExportedRun) -> None:
    """Writes a SavedModel and prints what its folder holds."""
    start_tensorflow("cpu")
    from shipping.bundle import new_folder, write_card
    from shipping.card import model_card
    from shipping.saved_model import write_saved_model

    with new_folder(path) as folder:
        write_saved_model(folder, source)
        write_card(folder, model_card(source, form="savedmodel"))
    list_files(path)
    print(f"Next:    {path / 'README.md'} has the command that serves it")


def export_web_page(arguments: argparse.Namespace, source: ExportedRun) -> None:
    """Writes a web page and prints what its folder holds."""
    from shipping.bundle import new_folder, write_card
    from shipping.card import model_card
    from shipping.web import write_web_page

    with new_folder(arguments.folder) as folder:
        write_web_page(folder, source, arguments.quantize, arguments.onnxruntime_web)
        cost = None if arguments.quantize == "none" else cost_of(folder, source, arguments.data_dir)
        write_card(folder, model_card(source, arguments.quantize, cost, form="web"))
    list_files(arguments.folder)
    print(f"Look:    python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(arguments.folder))}")


def list_files(folder: Path) -> None:
    """Prints the files of a folder and their sizes."""
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
    print(f"Written: {folder} ({human_size(sum(sizes.values()))})")
    width = max(map(len, sizes))
    for name, size in sizes.items():
        print(f"  {name:<{width}}{human_size(size):>10}")


def cost_of(folder: Path, source: ExportedRun, data_dir: Path) -> Cost | None:
    """What smaller word vectors cost on validation, which is printed; None where it was not measured."""
    from shipping.quantization import measure

    cost = measure(folder, source, data_dir)
    log.info("%s", cost)
    return None if isinstance(cost, str) else cost


if __name__ == "__main__":
    run_script(main, build_parser())
