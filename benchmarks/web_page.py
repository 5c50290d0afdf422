"""A web page without a server in Chromium: differences from classify.py on test documents, and times.

python benchmarks/web_page.py imdb-han bundles/imdb-page

The page is served by Python's http.server and opened in headless Chromium. Times are wall-clock, from the text to the
whole explanation, so that other programs on the machine lengthen them.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from bundles import test_texts
from measuring import print_table, record
from playwright.sync_api import sync_playwright

from runtime.run_folder import find_run
from shipping.classify import Classifier
from utils import DataPaths, Parser, UserError, add_folder_flags, run_script

EXPLAIN = """async (texts) => {
  const found = [];
  for (const text of texts) {
    const start = performance.now();
    const { logits, sentences, words, unknownWords } = await classifier.explain(text);
    const milliseconds = performance.now() - start;
    found.push({ logits, shares: sentences.map(({ share }) => share), words, unknownWords, milliseconds });
  }
  return found;
}"""


class StaticHost(http.server.SimpleHTTPRequestHandler):
    """Any host of static files."""

    def log_message(self, *_: Any) -> None:
        """Nothing: the output is for the results."""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="web_page.py", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="run folder, or its name in --runs_dir")
    parser.add_argument("page", metavar="PAGE", type=Path, help="what export.py --format web made of it")
    parser.add_argument("--documents", type=int, default=1000, help="test documents, drawn at random (default: 1000)")
    add_folder_flags(parser)
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Compares, measures, prints and records."""
    run = find_run(arguments.run, arguments.runs_dir)
    texts = test_texts(DataPaths(run.config().dataset, arguments.data_dir).csv, arguments.documents)
    version, found = in_chromium(arguments.page, texts)
    classifier = Classifier(arguments.page)
    compared = differences(found, [classifier.explain(text) for text in texts])
    words = np.array([one["words"] for one in found])
    milliseconds = np.array([one["milliseconds"] for one in found])
    usual = (words >= 200) & (words <= 260)
    shown = {
        "run": run.path.name,
        "documents": len(texts),
        "words": float(words.mean()),
        **compared,
        "chromium": version,
        "median ms": float(np.median(milliseconds)),
        "mean ms": float(milliseconds.mean()),
        "95% under ms": float(np.quantile(milliseconds, 0.95)),
        "longest ms": float(milliseconds.max()),
        "median ms at 200 to 260 words": float(np.median(milliseconds[usual])) if usual.any() else None,
    }
    record("web_page", shown)
    rows = [[name, f"{value:,.3g}" if isinstance(value, float) else str(value)] for name, value in shown.items()]
    print_table("Web page; wall-clock milliseconds for an explanation", ["", "value"], rows)


def in_chromium(page_folder: Path, texts: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """The version of Chromium, and what the page in it finds in each text."""
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        raise UserError("no Chromium and no Chrome here; on Debian: apt-get install chromium")
    handler = functools.partial(StaticHost, directory=str(page_folder))
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not run as root
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=executable, args=[*root, "--disable-dev-shm-usage"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        page.locator("#classify:enabled").wait_for()
        page.evaluate(EXPLAIN, texts[:20])  # the compilation of the first texts is not measured
        found: list[dict[str, Any]] = page.evaluate(EXPLAIN, texts)
        version = browser.version
        browser.close()
        server.shutdown()
    return version, found


def differences(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, float]:
    """The largest difference of logits and of shares of sentences, and texts that were read differently."""
    logits = shares = 0.0
    others = 0
    for one, other in zip(ours, theirs, strict=True):
        given = np.array([list(sentence["shares"].values()) for sentence in other["sentences"]])
        found = np.array(one["shares"])
        logits = max(logits, float(np.abs(np.subtract(one["logits"], list(other["logits"].values()))).max()))
        same = (one["words"], one["unknownWords"]) == (other["words"], other["unknown_words"])
        if same and found.shape == given.shape:
            shares = max(shares, float(np.abs(found - given).max(initial=0)))
        else:
            others += 1
    return {"logits": logits, "shares of sentences": shares, "documents with other words": others}


if __name__ == "__main__":
    run_script(main, build_parser())
