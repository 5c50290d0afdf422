"""Starts the viewer on a run and photographs its page with the system's Chromium; made for the README.

python benchmarks/page_picture.py imdb-han docs/page.png --id test/neg/0_2
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils import Parser, UserError, atomic_write, run_script  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MOST_BYTES = 200_000


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="page_picture.py", description=__doc__)
    parser.add_argument("run", help="name of the run folder")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument("--id", default="", help="document of the test split (default: the first)")
    parser.add_argument("--method", default="integrated_gradients")
    parser.add_argument("--without", default="", help="ranges of the text to leave out, such as 0-80")
    parser.add_argument("--width", type=int, default=1200)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"))
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Takes the picture."""
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        raise UserError("there is no Chromium and no Chrome here; on Debian: apt-get install chromium")
    with viewer(arguments) as address:
        picture = with_palette(photograph(browser, address, arguments))
    if len(picture) > MOST_BYTES:
        raise UserError(f"the picture has {len(picture):,} bytes, more than {MOST_BYTES:,}; lower --width or --height")
    with atomic_write(arguments.picture, "wb") as file:
        file.write(picture)


@contextlib.contextmanager
def viewer(arguments: argparse.Namespace) -> Iterator[str]:
    """Runs the viewer on a free port; yields its address."""
    folders = ["--data_dir", str(arguments.data_dir.resolve()), "--runs_dir", str(arguments.runs_dir.resolve())]
    command = [sys.executable, str(ROOT / "attention_viewer.py"), arguments.run, "--port", "0", *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise UserError("the viewer did not start; its own line above says why")
        yield line.split()[0]
        process.terminate()


def photograph(browser: str, address: str, arguments: argparse.Namespace) -> bytes:
    """The page as PNG, once the map is drawn."""
    from playwright.sync_api import sync_playwright

    asked = {"id": arguments.id, "method": arguments.method, "without": arguments.without}
    with sync_playwright() as playwright:
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not run as root
        chromium = playwright.chromium.launch(executable_path=browser, args=root)
        page = chromium.new_page(
            viewport={"width": arguments.width, "height": arguments.height},
            color_scheme="dark" if arguments.dark else "light",
        )
        for _ in range(60):
            page.goto(f"{address}/?{urlencode({name: value for name, value in asked.items() if value})}")
            if page.locator(".map").count():
                break
            page.wait_for_timeout(500)
        page.locator("#text").evaluate("(box) => { box.rows = 3; box.blur(); }")
        return page.screenshot()


def with_palette(png: bytes) -> bytes:
    """The picture in 256 colours, a third of the size."""
    from PIL import Image  # comes with Matplotlib

    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    run_script(main, build_parser())
