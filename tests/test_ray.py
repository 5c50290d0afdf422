"""Records and CSV files on Ray: on this machine, on two machines of which one is lost, and what is refused.

Skipped without Ray, but what needs none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import create_csv
import run_all
import serialize_data
from corpus.readings import Readings
from serialize_data import serialize
from tests.test_serialize_data import SETTINGS, contents, make_rows, write_data
from text import block_engine, engine_choice
from text.block_engine import BlockEngine
from text.engine_choice import check_engine
from utils import DataPaths, UserError, write_json

ROOT = Path(__file__).parent.parent
MODULES = "create_csv, serialize_data, text.block_engine, text.table_tasks"
RANDOM = replace(SETTINGS, embeddings="random", word2vec_epochs=0)


def test_without_ray_one_line_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package ray, .*; type: python -m pip .*requirements-ray\.txt"):
        check_engine("ray", "")
    check_engine("local", "")
    with pytest.raises(UserError, match="--ray_address auto goes with --engine ray"):
        check_engine("local", "auto")


def test_who_does_not_ask_for_ray_does_not_import_it() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", f"import sys, {MODULES}; print('ray' in sys.modules)"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert shown.stdout == "False\n"


# ---------------------------------------------------------------------------------------------------------------------
# With Ray


@pytest.mark.slow
def test_ray_writes_the_bytes_of_the_local_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.setattr(block_engine, "SMALLEST_BLOCK", 5_000)
    monkeypatch.chdir(tmp_path)
    rows = make_rows()
    rows[30] = rows[30]._replace(text='He said "no", and\r\nleft.\n\n\u201cYes\u201d, \U0001f600' * 40)
    paths = write_data(Path("data"), rows)  # a relative path: tasks run elsewhere
    serialize(paths, SETTINGS, 2)
    expected = contents(paths.records)
    handler = signal.getsignal(signal.SIGTERM)
    serialize(paths, SETTINGS, 2, engine="ray")
    assert contents(paths.records) == expected
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.slow
def test_an_error_of_a_task_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    paths = write_data(tmp_path, make_rows())
    paths.csv.write_text(paths.csv.read_text(encoding="utf-8").replace("train/36,train", "train/36,trian"), "utf-8")
    flags = ["films", "--data_dir", str(tmp_path), "--engine", "ray"]
    refused = subprocess.run(
        [sys.executable, "serialize_data.py", *flags], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(f"serialize_data.py: error: {paths.csv}, line ")
    assert "Traceback" not in refused.stderr and not paths.records.exists()


@pytest.mark.slow
def test_no_cluster_at_an_address_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    paths = write_data(tmp_path, make_rows())
    with pytest.raises(UserError, match=r"no Ray cluster answers at --ray_address 127\.0\.0\.1:1 .*ray start --head"):
        serialize(paths, RANDOM, 1, engine="ray", ray_address="127.0.0.1:1")
    with pytest.raises(UserError, match="--ray_address 'here' is no address; give auto"):
        serialize(paths, RANDOM, 1, engine="ray", ray_address="here")
    assert not paths.records.exists()


def write_table(folder: Path, rows: int, ending: str = ".csv", times: int = 1) -> Path:
    """A table with ids, in which one text in ten is that of another document."""
    texts = [f'Film {n % (rows * 9 // 10)}: "so", he said,\nand left. ' * times for n in range(rows)]
    columns = {"id": [f"d{n}" for n in range(rows)], "label": ["good", "bad"] * (rows // 2), "text": texts}
    path = folder / f"films{ending}"
    frame = pd.DataFrame(columns)
    if ending == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, row_group_size=rows // 8)
    return path


def create(source: object, *flags: str) -> dict[str, bytes]:
    """Runs create_csv.py; the files of the data set, in ``data`` of the working folder."""
    create_csv.main(create_csv.build_parser().parse_args([str(source), *flags]))
    return {path.name: path.read_bytes() for path in Path("data/films").rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_read_on_ray_give_the_csv_file_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(block_engine, "SMALLEST_BLOCK", 3_000)
    path = write_table(Path(), 2_000, ending)
    source = path if ending == ".csv" else f"file://{path.resolve()}"
    expected = create(source)
    assert create(source, "--engine", "ray") == expected and "csv_manifest.json" in expected


@pytest.mark.slow
def test_a_wrong_row_that_a_task_finds_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray", exc_type=ImportError)
    path = write_table(tmp_path, 100)
    with path.open("a", encoding="utf-8") as file:
        file.write('d0,bad,"twice"\n')
        file.write('d100,bad,"never closed\n')
    refused = [
        subprocess.run(
            [sys.executable, "create_csv.py", str(path), "--data_dir", str(tmp_path), "--engine", engine],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )
        for engine in ("local", "ray")
    ]
    local, ray = (one.stderr.splitlines()[-1] for one in refused)
    assert [one.returncode for one in refused] == [2, 2] and local == ray
    assert local.endswith("films.csv, line 203: a quotation mark opens here and is never closed; close it or delete it")
    assert "Traceback" not in refused[1].stderr and not (tmp_path / "films/films.csv").exists()


@pytest.fixture
def two_nodes() -> Iterator[Any]:
    """A cluster of two nodes on this machine; the first runs no tasks until the second is lost."""
    pytest.importorskip("ray", exc_type=ImportError)
    from ray.cluster_utils import Cluster

    import text.ray_cluster  # noqa: F401  its settings of Ray come before the nodes

    before = os.environ.get("PYTHONPATH")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    try:
        yield cluster
    finally:
        cluster.shutdown()
        assert os.environ.get("PYTHONPATH") == before


@pytest.mark.slow
@pytest.mark.parametrize("step", ["find_words", "number_words"])
def test_a_node_that_is_killed_costs_time_and_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_nodes: Any, step: str
) -> None:
    """The node is lost among the tasks that find words, or afterwards, with most of what they have found."""
    monkeypatch.setattr(block_engine, "SMALLEST_BLOCK", 4_000)
    monkeypatch.setattr(block_engine, "BLOCK_BYTES", 4_000)
    rows = [row._replace(id=f"{row.id}-{n}", text=row.text * 4) for n in range(8) for row in make_rows()]
    paths = write_data(tmp_path, rows)
    serialize(paths, RANDOM, 2)
    expected = contents(paths.records)
    own = getattr(BlockEngine, step)

    def lose() -> None:
        (worker,) = two_nodes.worker_nodes
        two_nodes.remove_node(worker, allow_graceful=False)

    def find_words(self: Any, *arguments: Any) -> Iterator[Any]:
        for number, chunk in enumerate(own(self, *arguments)):
            if number == 1:
                lose()
            yield chunk

    def number_words(self: Any, *arguments: Any) -> None:
        lose()
        own(self, *arguments)

    monkeypatch.setattr(BlockEngine, step, {"find_words": find_words, "number_words": number_words}[step])
    serialize(paths, RANDOM, 2, engine="ray", ray_address=two_nodes.address)
    assert not two_nodes.worker_nodes and contents(paths.records) == expected


@pytest.mark.slow
@pytest.mark.parametrize("step", ["noted", "csv"])
def test_a_node_that_is_killed_changes_no_byte_of_the_csv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, two_nodes: Any, step: str
) -> None:
    """The node is lost among the tasks that hash the texts, or among those that write, with what they have written."""
    monkeypatch.chdir(tmp_path)
    size = {"noted": 20_000, "csv": 400_000}[step]  # of 100 KB and more a value is on the machine that made it
    monkeypatch.setattr(block_engine, "BLOCK_BYTES", size)
    monkeypatch.setattr(block_engine, "SMALLEST_BLOCK", size)
    source = write_table(tmp_path, 8_000, times=20)
    expected = create(source)
    own = getattr(Readings, step)

    def losing(self: Any, *arguments: Any) -> Iterator[Any]:
        for number, value in enumerate(own(self, *arguments)):
            if number == 3:
                (worker,) = two_nodes.worker_nodes
                two_nodes.remove_node(worker, allow_graceful=False)
            yield value

    monkeypatch.setattr(Readings, step, losing)
    assert create(source, "--engine", "ray", "--ray_address", two_nodes.address) == expected
    assert not two_nodes.worker_nodes


def test_the_script_offers_both_engines() -> None:
    arguments = serialize_data.build_parser().parse_args(["films", "--engine", "ray", "--ray_address", "auto"])
    assert (arguments.engine, arguments.ray_address) == ("ray", "auto")
    assert serialize_data.build_parser().parse_args(["films"]).engine == "local"


def test_run_all_passes_the_engine_and_does_not_serialise_again_for_it(tmp_path: Path) -> None:
    flags = ["sample", "--data_dir", str(tmp_path), "--engine", "ray", "--ray_address", "auto"]
    arguments, paths = run_all.build_parser().parse_args(flags), DataPaths("sample", tmp_path)
    write_json(paths.csv_manifest, {"splits": {"train": {"documents": 100_000}}})
    stages = run_all.stages(arguments, paths)
    [stage] = [stage for stage, _ in zip(stages, range(3), strict=False) if stage.name == "serialize_data"]
    assert stage.options == flags[3:] and "--engine" not in stage.command
    assert run_all.csv_stage(arguments, paths, None).options == []  # an archive is read by one process
    own = run_all.csv_stage(arguments, paths, tmp_path / "films.csv")
    assert own.options == flags[3:] and "--engine" not in own.command
