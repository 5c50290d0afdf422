"""The command that serves the page."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import attention_viewer
from runtime.run_folder import newest_run
from tests.helpers import write_tiny_run
from utils import UserError


def start(page_folder: Path, *words: str) -> None:
    folders = ["--runs_dir", str(page_folder / "runs"), "--data_dir", str(page_folder / "data")]
    attention_viewer.main(attention_viewer.build_parser().parse_args([*words, *folders]))


def test_mistakes_on_the_command_line_are_one_line(page_folder: Path) -> None:
    with pytest.raises(UserError, match=r"there is no run 'none'; .* holds: tiny-han, tiny-other"):
        start(page_folder, "none")
    with pytest.raises(UserError, match=r"holds no trained run; make one: python run_all\.py sample"):
        attention_viewer.main(attention_viewer.build_parser().parse_args(["--runs_dir", str(page_folder / "gone")]))
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


def test_the_newest_run_is_shown_where_none_is_named(page_folder: Path, tmp_path: Path) -> None:
    for age, name in enumerate(["second", "first", "third"]):
        run = write_tiny_run(tmp_path / name, page_folder / "data" / "tiny" / "records")
        os.utime(run.best, (1e9 - age, 1e9 - age))
    (tmp_path / "young").mkdir()
    (tmp_path / "young" / "config.json").write_text("{}")  # without weights yet
    assert newest_run(tmp_path).path.name == "second"
