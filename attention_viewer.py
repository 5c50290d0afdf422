#!/usr/bin/env python3
"""Shows in a browser what one trained network, or two side by side, predict for a text and why; serves programs, too.

    python attention_viewer.py                              the newest run, at http://127.0.0.1:8000
    python attention_viewer.py imdb-han                     this one
    python attention_viewer.py imdb-han imdb-lstm           the same text in both
    curl -d '{"instances": ["A dull film."]}' http://127.0.0.1:8000/v1/models/han:predict

RUN is a run folder or its name in `runs/`, the newest where none is named. The REST interface has the form of
TensorFlow Serving's; /openapi.json describes it. Everybody who can reach the port can read the test texts: by default
only this machine.
"""

from __future__ import annotations

import argparse
import errno
import socket
import threading

from config import check_range
from runtime.devices import add_device_flag, start_for_runs
from runtime.run_folder import RunFolder, find_run, newest_run
from text.copies import data_set
from utils import Parser, UserError, add_folder_flags, log, run_script

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")
MOST_HEADER_BYTES = 128_000  # a permalink holds a whole text


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(prog="attention_viewer.py", description=__doc__)
    parser.add_argument(
        "run", metavar="RUN", nargs="?", help="run folder, or its name in --runs_dir (default: the newest)"
    )
    parser.add_argument("other", metavar="OTHER_RUN", nargs="?", help="a second run to compare it with")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (default: 8000)")
    parser.add_argument(
        "--max_upload_mb",
        type=float,
        metavar="MB",
        help="largest file of texts that the page takes, in megabytes; 0: none (default: what the disk takes)",
    )
    add_folder_flags(parser)
    add_device_flag(parser)
    return parser


def main(arguments: argparse.Namespace) -> int:
    """Serves until it is stopped; returns the exit code."""
    check_range("port", arguments.port, 0, 65535)
    check_range("max_upload_mb", arguments.max_upload_mb, 0)
    named = [name for name in (arguments.run, arguments.other) if name is not None]
    folders = [find_run(name, arguments.runs_dir) for name in named] or [newest_run(arguments.runs_dir)]
    if len(folders) == 2 and folders[0].path.resolve() == folders[1].path.resolve():
        raise UserError(f"{arguments.run} and {arguments.other} are the same run; name another one to compare it with")
    with listening_socket(arguments.host, arguments.port) as listening:
        serve(folders, listening, arguments)
    return 0


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before anything slow is done.

    Raises:
        UserError: The port is taken or not allowed, or this machine has no such address.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port {port} is in use on {host}; try --port {port + 1}, or 0 for a free one") from error
        if error.errno == errno.EACCES:
            raise UserError(f"--port {port} is not allowed; choose one from 1024 on") from error
        raise UserError(f"--host {host} --port {port}: {error.strerror or error}; try --host 127.0.0.1") from error


def serve(folders: list[RunFolder], listening: socket.socket, arguments: argparse.Namespace) -> None:
    """Loads the runs and answers requests until Ctrl-C or SIGTERM."""
    device = start_for_runs(folders, arguments.device, arguments.tf32)
    import uvicorn

    from page.answers import ServedRun, explain_first_text
    from page.connections import ImpatientProtocol
    from page.viewer import make_app

    data_dir = arguments.data_dir
    sets = [data_set(run.config().dataset, data_dir, texts=True) for run in folders]
    runs = [ServedRun.load(run, data, device) for run, data in zip(folders, sets, strict=True)]
    for served in runs:
        if served.notice:
            log.warning("%s (step %d)", served.notice, served.predictor.step)
    host, port = listening.getsockname()[:2]
    hosts = ("*",) if arguments.host in EVERYWHERE else (*LOOPBACK, arguments.host)
    most = arguments.max_upload_mb
    app = make_app(runs, hosts, None if most is None else int(most * 1e6))
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        log_level="warning",
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
    )
    shown = "127.0.0.1" if arguments.host in EVERYWHERE else f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{port}   (Ctrl-C ends it)", flush=True)
    threading.Thread(target=explain_first_text, args=[runs], daemon=True).start()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    except KeyboardInterrupt:  # the way to end it
        log.info("ended")
    finally:
        for served in runs:
            served.batcher.close()


if __name__ == "__main__":
    run_script(main, build_parser())
