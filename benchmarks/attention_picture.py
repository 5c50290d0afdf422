"""Draws documents with their attention as an SVG picture, the way the terminal shows them; made for the README.

python benchmarks/attention_picture.py sample-han docs/attention.svg --documents 3
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import Parser, atomic_write, run_script  # noqa: E402

CELL, LINE, MARGIN = 8.43, 20, 16
SEQUENCE = re.compile(r"\x1b\[([\d;]*)m")
CUBE = (0, 95, 135, 175, 215, 255)  # the six steps of the 256-colour palette's cube


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="attention_picture.py", description=__doc__)
    parser.add_argument("run", help="name of the run folder")
    parser.add_argument("picture", type=Path, help="SVG file to write")
    parser.add_argument(
        "--documents", type=int, default=3, help="most telling documents of the test split (default: 3)"
    )
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"))
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Tests the run, takes what the tester would show in colour, and draws it."""
    import contextlib
    import io

    from runtime.devices import start_tensorflow

    device = start_tensorflow("cpu")
    from han_tester import build_parser as tester_parser
    from runtime.checkpoints import best_checkpoint
    from runtime.run_folder import RunFolder
    from training import tester as tester_module

    run = RunFolder(arguments.runs_dir / arguments.run)
    flags = ["--data_dir", str(arguments.data_dir), "--show_documents", str(arguments.documents)]
    tester = tester_module.Tester(run, "test", device, tester_parser().parse_args(flags))
    result = tester.evaluate(best_checkpoint(run))
    tester_module.supports_colour = in_colour  # type: ignore[assignment]
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        tester.show(result)
    with atomic_write(arguments.picture) as file:
        file.write(svg(shown.getvalue().strip("\n").split("\n")))


def in_colour(stream: TextIO) -> bool:
    """In place of :func:`report.shading.supports_colour`: the picture is in colour."""
    return True


def svg(lines: list[str]) -> str:
    """A picture of terminal lines with their colours, on white."""
    width = max(len(SEQUENCE.sub("", line)) for line in lines) * CELL + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    drawn = [shape for number, line in enumerate(lines) for shape in shapes(line, MARGIN + (number + 0.7) * LINE)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14">\n'
        f'<rect width="100%" height="100%" fill="#ffffff" rx="6" stroke="#d0d7de"/>\n{"".join(drawn)}</svg>\n'
    )


def shapes(line: str, baseline: float) -> Iterator[str]:
    """Rectangles and texts of one line."""
    column, style = 0, ""
    for number, part in enumerate(SEQUENCE.split(line)):
        if number % 2:
            style = part
        elif part:
            x, length = MARGIN + column * CELL, len(part) * CELL
            background, foreground, extra = colours(style)
            if background:  # behind the letters
                top = baseline - 14
                yield f'<rect x="{x:.1f}" y="{top:.1f}" width="{length:.1f}" height="18" fill="{background}"/>'
            yield (
                f'<text x="{x:.1f}" y="{baseline:.1f}" textLength="{length:.1f}" fill="{foreground}" '
                f'xml:space="preserve"{extra}>{html.escape(part)}</text>\n'
            )
            column += len(part)


def colours(style: str) -> tuple[str, str, str]:
    """Background (or nothing), foreground and further attributes of an SGR style such as ``48;5;33;38;5;16``."""
    codes, background, foreground, extra = style.split(";"), "", "#1f2328", ""
    while codes:
        code = codes.pop(0)
        if code in {"38", "48"}:
            colour = palette(int(codes[1]))
            codes = codes[2:]
            background, foreground = (colour, foreground) if code == "48" else (background, colour)
        elif code == "1":
            extra += ' font-weight="bold"'
        elif code == "4":
            extra += ' text-decoration="underline"'
    return background, foreground, extra


def palette(number: int) -> str:
    """Colour of the 256-colour palette, from 16 up, as ``#rrggbb``."""
    if number >= 232:
        return "#" + f"{8 + 10 * (number - 232):02x}" * 3
    cube = number - 16
    return "#" + "".join(f"{CUBE[step]:02x}" for step in (cube // 36, cube // 6 % 6, cube % 6))


if __name__ == "__main__":
    run_script(main, build_parser())
