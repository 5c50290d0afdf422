"""What TensorBoard's own reader finds in the files of ``summaries.py``."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.histogram.summary import histogram_pb
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.pr_curve import metadata as pr_curve_metadata
from tensorboard.util import tensor_util

from report import summaries
from report.summaries import DESCRIPTIONS, SummaryWriter

ROOT = Path(summaries.__file__).parent.parent
PNG_3X2 = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001549444154789c63e4"
    "e460676060606060606280010001ee001c1983b5810000000049454e44ae426082"
)


def read(folder: Path) -> Any:
    """TensorBoard's own view of a folder, points that a restart made void left out."""
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0}, purge_orphaned_data=True)
    reader.Reload()
    return reader


def points(reader: Any, tag: str) -> list[tuple[int, Any]]:
    """(step, value) of every point of ``tag``."""
    return [(event.step, tensor_util.make_ndarray(event.tensor_proto)) for event in reader.Tensors(tag)]


def plugin(reader: Any, tag: str) -> str:
    """The TensorBoard tab that shows ``tag``."""
    return reader.SummaryMetadata(tag).plugin_data.plugin_name


def test_importing_it_does_not_import_tensorflow() -> None:
    code = (
        "import sys, pathlib, tempfile; from report import summaries;"
        "w = summaries.SummaryWriter(pathlib.Path(tempfile.mkdtemp()));"
        "w.scalars(1, {'a': 1.0}); w.histogram(1, 'h', [1.0, 2.0]); w.pr_curve(1, 'p', [0, 1], [0.5, 0.5]);"
        "w.text(1, 't', 'x'); w.hparams({'a': 1}); w.close(); sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_scalars_come_back_as_float32(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=5).astype(np.float32)
    with SummaryWriter(tmp_path / "deep" / "folder") as writer:
        for step, value in enumerate(values):
            writer.scalars(10 * step, {"train/loss": value, "train/rate": 2.0 * step})
    reader = read(tmp_path / "deep" / "folder")
    assert points(reader, "train/loss") == [(10 * step, value) for step, value in enumerate(values)]
    assert points(reader, "train/rate") == [(10 * step, 2.0 * step) for step in range(5)]
    assert plugin(reader, "train/loss") == "scalars"
    assert abs(reader.Tensors("train/loss")[0].wall_time - time.time()) < 60


def test_a_tag_is_described_once_and_settings_are_hparams(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.hparams({"learning_rate": 0.1, "cell": "gru", "ngrams": True})
        for step in (1, 2):
            writer.scalars(step, {"accuracy": 0.5, "class_accuracy/<b>": 0.5, "other": 1.0})
    reader = read(tmp_path)
    assert reader.SummaryMetadata("accuracy").summary_description == DESCRIPTIONS["accuracy"]
    assert reader.SummaryMetadata("class_accuracy/<b>").summary_description == DESCRIPTIONS["class_accuracy"]
    assert reader.SummaryMetadata("other").summary_description == ""
    assert len(points(reader, "accuracy")) == 2
    data = HParamsPluginData.FromString(reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content)
    found = data.session_start_info.hparams
    assert found["learning_rate"].number_value == 0.1 and found["cell"].string_value == "gru"
    assert found["ngrams"].bool_value is True
    with SummaryWriter(tmp_path) as writer:
        writer.scalars(3, {"accuracy": 0.5})
        writer.flush()
        first = writer.path.stat().st_size
        writer.scalars(4, {"accuracy": 0.5})
        writer.flush()
        assert writer.path.stat().st_size - first < 120 < first  # the description is not written again


def test_histogram_equals_tensorboards_own_builder(tmp_path: Path) -> None:
    numbers = np.random.default_rng(2).normal(size=(13, 17)).astype(np.float32)
    with SummaryWriter(tmp_path) as writer:
        writer.histogram(4, "weights", numbers)
        writer.histogram(4, "constant", np.full(9, 0.25))
        writer.histogram(4, "broken", [1.0, float("nan"), 3.0, float("inf")])
        writer.histogram(4, "empty", [])
    reader = read(tmp_path)
    for tag, kept in (("weights", numbers), ("constant", np.full(9, 0.25)), ("broken", [1.0, 3.0]), ("empty", [])):
        expected = tensor_util.make_ndarray(histogram_pb(tag, kept).value[0].tensor)
        ((step, table),) = points(reader, tag)
        assert step == 4 and plugin(reader, tag) == "histograms"
        np.testing.assert_array_equal(table[:, 2], expected[:, 2])
        np.testing.assert_allclose(table, expected, rtol=1e-12)


def test_picture_comes_back_with_its_size(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.image(7, "confusion", PNG_3X2)
        with pytest.raises(ValueError, match="not a PNG"):
            writer.image(7, "confusion", b"\xff\xd8\xff a JPEG" * 9)
    reader = read(tmp_path)
    ((step, value),) = points(reader, "confusion")
    assert (step, list(value), plugin(reader, "confusion")) == (7, [b"3", b"2", PNG_3X2], "images")


def test_pr_curve_counts_documents_at_every_threshold(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    labels = random.random(400) < 0.3
    scores = np.clip(0.35 * labels + 0.65 * random.random(400), 0, 1).astype(np.float32)
    scores[:3] = 0, 1, 0.5
    with SummaryWriter(tmp_path) as writer:
        writer.pr_curve(5, "positive", labels, scores)
    reader = read(tmp_path)
    ((step, table),) = points(reader, "positive")
    data = pr_curve_metadata.parse_plugin_metadata(reader.SummaryMetadata("positive").plugin_data.content)
    assert (step, plugin(reader, "positive"), data.num_thresholds) == (5, "pr_curves", 201)
    assert table.shape == (6, 201) and table.dtype == np.float32
    for t in range(201):
        chosen = np.floor(scores * 200) >= t
        true_positives, false_positives = (chosen & labels).sum(), (chosen & ~labels).sum()
        expected = [
            true_positives,
            false_positives,
            (~chosen & ~labels).sum(),
            (~chosen & labels).sum(),
            true_positives / max(chosen.sum(), 1),
            true_positives / labels.sum(),
        ]
        np.testing.assert_allclose(table[:, t], expected, rtol=1e-6)


@pytest.mark.parametrize(
    "labels, scores", [([0, 1], [0.5]), ([0, 1], [0.5, 1.5]), ([0, 1], [0.5, float("nan")]), ([[0, 1]], [[0.5, 0.5]])]
)
def test_pr_curve_refuses_what_is_no_probability(labels: Any, scores: Any) -> None:
    with pytest.raises(ValueError, match="scores"):
        summaries.pr_curve_table(labels, scores)


def test_text_comes_back(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.text(2, "note", "**naïve** 名\n\n- x")
    reader = read(tmp_path)
    ((step, value),) = points(reader, "note")
    assert (step, value.item().decode(), plugin(reader, "note")) == (2, "**naïve** 名\n\n- x", "text")


def test_resuming_drops_what_the_crashed_run_wrote_later(tmp_path: Path) -> None:
    crashed = SummaryWriter(tmp_path)
    for step in (10, 20, 30, 40):
        crashed.scalars(step, {"loss": step / 100, "only_before_the_crash": 1.0})
    crashed.flush()
    with SummaryWriter(tmp_path, resume_step=20) as resumed:
        resumed.scalars(25, {"loss": 0.5})
    reader = read(tmp_path)
    assert [step for step, _ in points(reader, "loss")] == [10, 20, 25]
    assert [step for step, _ in points(reader, "only_before_the_crash")] == [10, 20]
    with SummaryWriter(tmp_path, resume_step=0) as restarted:
        restarted.scalars(5, {"loss": 0.7})
    assert points(read(tmp_path), "loss") == [(5, np.float32(0.7))]
    crashed.close()


def test_opening_without_resume_drops_nothing(tmp_path: Path) -> None:
    for step in (30, 10):
        with SummaryWriter(tmp_path) as writer:
            writer.scalars(step, {"loss": 1.0})
    assert [step for step, _ in points(read(tmp_path), "loss")] == [30, 10]


def test_a_record_cut_short_by_a_crash_hides_nothing_else(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        writer.scalars(1, {"loss": 1.0})
        writer.scalars(2, {"loss": 2.0})
    writer.path.write_bytes(writer.path.read_bytes()[:-9])
    with SummaryWriter(tmp_path, resume_step=1) as writer:
        writer.scalars(2, {"loss": 3.0})
    assert points(read(tmp_path), "loss") == [(1, 1.0), (2, 3.0)]


def test_files_sort_in_the_order_of_opening_whatever_the_clock_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for now in (1_700_000_000.0, 1_700_000_000.5, 1_600_000_000.0, 1_800_000_000.0):
        monkeypatch.setattr(summaries.time, "time", lambda now=now: now)
        writer = SummaryWriter(tmp_path)
        writer.close()
        names.append(writer.path.name)
    assert names == sorted(names) and len(set(names)) == 4
    assert names[0].startswith("events.out.tfevents.1700000000.")


def test_points_reach_the_disk_on_flush_and_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SummaryWriter(tmp_path)
    before = writer.path.stat().st_size
    writer.scalars(1, {"loss": 1.0})
    assert writer.path.stat().st_size == before
    writer.flush()
    flushed = writer.path.stat().st_size
    assert flushed > before
    monkeypatch.setattr(summaries, "FLUSH_SECONDS", 0.0)
    writer.scalars(2, {"loss": 1.0})
    assert writer.path.stat().st_size > flushed
    writer.close()
    writer.close()
