"""The command that serves the page."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import attention_viewer
from utils import UserError


def start(page_folder: Path, *words: str) -> None:
    folders = ["--runs_dir", str(page_folder / "runs"), "--data_dir", str(page_folder / "data")]
    attention_viewer.main(attention_viewer.build_parser().parse_args([*words, *folders]))


def test_mistakes_on_the_command_line_are_one_line(page_folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'none'; .* holds: tiny-han, tiny-other"):
        start(page_folder, "none")
    with pytest.raises(UserError, match="are the same run"):
        start(page_folder, "tiny-han", "tiny-han")
    with pytest.raises(UserError, match="--port 70000 is out of range"):
        start(page_folder, "tiny-han", "--port", "70000")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port} is in use on 127.0.0.1; try --port"):
            start(page_folder, "tiny-han", "--port", str(port))
    with pytest.raises(UserError, match=r"--host 192\.0\.2\.1"):
        start(page_folder, "tiny-han", "--port", "0", "--host", "192.0.2.1")
