"""Loads the viewer of a run for a minute: many clients, half-open connections, one with leave-one-out of long texts.

    python benchmarks/page_load.py imdb-han --record

With ``--record`` the figures are appended to ``benchmarks/results.jsonl``.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from measuring import record  # noqa: E402

from utils import Parser, UserError, run_script  # noqa: E402

SHORT, LONG, LONGEST = 230, 1_400, 5_000  # words: a review; near the limit of leave-one-out here; beyond it
PAUSE_SECONDS = 1.0  # of a client, between two questions
TIMEOUT_SECONDS = 60.0
SENTENCE = "the film was not good but a bad plot with great acting and awful music that I never liked at all"


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="page_load.py", description=__doc__)
    parser.add_argument("run", help="name of the run folder")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the load (default: 60)")
    parser.add_argument("--clients", type=int, default=200, help="clients that ask at once (default: 200)")
    parser.add_argument("--half_open", type=int, default=100, help="connections that send half a header (default: 100)")
    parser.add_argument("--record", action="store_true", help="append the figures to benchmarks/results.jsonl")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--runs_dir", type=Path, default=Path("runs"))
    return parser


@dataclass
class Load:
    """What the clients saw.

    Attributes:
        seconds: Of each answer, by the kind of question.
        codes: How often each HTTP status came, by the kind of question.
        closed: Half-open connections that the server closed.
        megabytes: Memory of the server, a second apart.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    codes: dict[str, collections.Counter[int]] = field(
        default_factory=lambda: collections.defaultdict(collections.Counter)
    )
    closed: int = 0
    megabytes: list[float] = field(default_factory=list)


def main(arguments: argparse.Namespace) -> None:
    """Prints a line per kind of question and one about memory."""
    command = [sys.executable, str(ROOT / "attention_viewer.py"), arguments.run, "--port", "0"]
    command += ["--data_dir", str(arguments.data_dir.resolve()), "--runs_dir", str(arguments.runs_dir.resolve())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line:
                raise UserError("the viewer did not start; its own line above says why")
            port = int(line.split()[0].rpartition(":")[2])
            load = asyncio.run(run_load(port, server.pid, arguments))
        finally:
            server.terminate()
    figures = figures_of(load)
    print_figures(figures)
    if arguments.record:
        record("page_load", {"run": arguments.run, "clients": arguments.clients, "load": os.getloadavg()[0], **figures})


def figures_of(load: Load) -> dict[str, Any]:
    """By kind of question how often each status came and the seconds of its answers; connections; megabytes."""
    questions = {}
    for kind, codes in sorted(load.codes.items()):
        seconds: list[float | None] = [*sorted(load.seconds[kind])] or [None]
        late = seconds[int(0.99 * (len(seconds) - 1))]
        times = {"median": seconds[len(seconds) // 2], "99%": late, "longest": seconds[-1]}
        questions[kind] = {"codes": {str(code): count for code, count in sorted(codes.items())}, **times}
    fifth = max(len(load.megabytes) // 5, 1)
    megabytes = {
        "first fifth": max(load.megabytes[:fifth]),
        "last fifth": max(load.megabytes[-fifth:]),
        "ever": max(load.megabytes),
    }
    return {"questions": questions, "half-open connections closed": load.closed, "megabytes": megabytes}


def print_figures(figures: dict[str, Any]) -> None:
    """The figures as lines of text."""
    for kind, one in figures["questions"].items():
        counts = ", ".join(f"{count:,} x {code}" for code, count in one["codes"].items())
        times = f"median {one['median']:.2f} s, 99% {one['99%']:.2f} s, longest {one['longest']:.2f} s"
        print(f"{kind:24} {counts:32} {times}")
    print(f"half-open connections that were closed: {figures['half-open connections closed']}")
    first, last, ever = figures["megabytes"].values()
    print(f"memory: {first:.0f} MB at most in the first fifth, {last:.0f} MB in the last, {ever:.0f} ever")


async def run_load(port: int, server: int, arguments: argparse.Namespace) -> Load:
    """Runs all clients until the time is over."""
    load = Load()
    await warmed_up(port)
    end = time.monotonic() + arguments.seconds
    kinds = [short_question, short_question, rest_question, rest_question]
    tasks = [client(port, end, load, kinds[number % 4], number) for number in range(arguments.clients)]
    tasks += [half_open(port, load) for _ in range(arguments.half_open)]
    tasks += [client(port, end, load, question, 0) for question in (first_page, long_question)]
    watching = asyncio.create_task(watch_memory(server, load))
    await asyncio.gather(*tasks)
    watching.cancel()
    return load


async def warmed_up(port: int) -> None:
    """Asks for a short text by each method, for the graphs of the methods are built at the first."""
    for method in ("contribution", "gradient", "leave_one_out"):
        await ask(port, form({"text": text_of(random.Random(1), 30), "method": method}))


async def client(port: int, end: float, load: Load, question: object, seed: int) -> None:
    """One client: asks, waits for the answer, thinks for a moment, and asks again."""
    generator = random.Random(seed)
    if question is short_question or question is rest_question:
        await asyncio.sleep(generator.random() * PAUSE_SECONDS)
    while time.monotonic() < end:
        kind, request = question(generator)  # type: ignore[operator]
        begun = time.monotonic()
        code = await ask(port, request)
        load.seconds[f"{kind} {code}" if code == 503 else kind].append(time.monotonic() - begun)
        load.codes[kind if code != 503 else f"{kind} 503"][code] += 1
        await asyncio.sleep(PAUSE_SECONDS * generator.uniform(0.5, 1.5))


async def ask(port: int, request: bytes) -> int:
    """Sends a request on a connection of its own; returns the HTTP status, 0 where no whole answer came."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=10_000_000)
            writer.write(request)
            answer = await reader.read()
            writer.close()
        return int(answer.split(b" ", 2)[1]) if answer else 0
    except (OSError, TimeoutError):
        return 0


async def half_open(port: int, load: Load) -> None:
    """Sends half a header and waits until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: local")
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            closed = await reader.read() == b""
        load.closed += closed
    except (OSError, TimeoutError):
        return
    finally:
        writer.close()


async def watch_memory(server: int, load: Load) -> None:
    """Notes the resident memory of the server every second."""
    status = Path(f"/proc/{server}/status")
    while True:
        [kilobytes] = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmRSS")]
        load.megabytes.append(int(kilobytes) / 1000)
        await asyncio.sleep(1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Questions


def text_of(generator: random.Random, words: int) -> str:
    """Words in sentences of about fifteen."""
    chosen = generator.choices(SENTENCE.split(), k=words)
    return " ".join(word + "." * (generator.random() < 1 / 15) for word in chosen)


def short_question(generator: random.Random) -> tuple[str, bytes]:
    """A review on the page, by contribution."""
    return "page, 230 words", form({"text": text_of(generator, SHORT), "method": "contribution"})


def long_question(generator: random.Random) -> tuple[str, bytes]:
    """Leave-one-out of a long text."""
    words = generator.choice((LONG, LONGEST))
    return f"leave-one-out, {words:,}", form({"text": text_of(generator, words), "method": "leave_one_out"})


def rest_question(generator: random.Random) -> tuple[str, bytes]:
    """A review over REST."""
    body = json.dumps({"instances": [text_of(generator, SHORT)]}).encode()
    return "REST, 230 words", request("POST /v1/models/han:predict", "application/json", body)


def first_page(_: random.Random) -> tuple[str, bytes]:
    """The page without a question."""
    return "GET /", request("GET /", "text/plain", b"")


def form(values: dict[str, str]) -> bytes:
    """A question to the page."""
    return request("POST /answer", "application/x-www-form-urlencoded", urlencode(values).encode())


def request(line: str, kind: str, body: bytes) -> bytes:
    """An HTTP request after which the server closes the connection."""
    header = f"{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\n"
    return f"{header}content-length: {len(body)}\r\n\r\n".encode() + body


if __name__ == "__main__":
    run_script(main, build_parser())
