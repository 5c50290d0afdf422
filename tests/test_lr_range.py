"""The learning-rate range test: on losses whose shape is known, and as its users run it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import han_trainer
from config import RangeTestSettings
from report.summaries import png_size
from tests.helpers import write_tiny_records
from training.lr_range import smooth, suggest, summary, watch
from training.schedules import Rise
from utils import UserError, read_json

RATES = np.geomspace(1e-5, 1, 201)  # 40 steps to a factor of ten


def valley(rates: np.ndarray) -> np.ndarray:
    """0.7 up to 1e-4, falling to 0.2 at 1e-2, flat to 1e-1, then diverging."""
    return np.interp(np.log10(rates), [-5, -4, -2, -1, 0], [0.7, 0.7, 0.2, 0.2, 3.0])


def test_bounds_are_where_the_fall_begins_and_ends() -> None:
    bounds = suggest(RATES, valley(RATES))
    assert bounds is not None
    # A tenth of the way from 1e-4 to 1e-2, and nine tenths.
    assert np.log10([bounds.lower, bounds.upper]) == pytest.approx([-3.8, -2.2], abs=0.03)
    assert suggest(RATES, np.linspace(0.7, 0.69, 201)) is None
    assert suggest(RATES, np.linspace(0.7, 3, 201)) is None
    assert suggest(RATES[:0], RATES[:0]) is None


def test_smoothing_is_scipys_inside_and_does_not_lag() -> None:
    from scipy.ndimage import gaussian_filter1d

    noisy = valley(RATES) + np.random.default_rng(1).normal(0, 0.1, 201)
    inside = slice(20, -20)
    np.testing.assert_allclose(smooth(noisy, 5)[inside], gaussian_filter1d(noisy, 5, truncate=3)[inside], rtol=1e-6)
    line = np.linspace(0, 1, 50)
    np.testing.assert_allclose(smooth(line, 3)[10:-10], line[10:-10])
    assert smooth(np.full(7, 2.5), 5) == pytest.approx(2.5)


def test_it_stops_when_the_loss_diverges_or_is_no_number() -> None:
    test = RangeTestSettings(1e-5, 1, 201, "exponential")
    rate = Rise(1e-5, 1, 201, "exponential")
    broken = watch(rate, iter(valley(RATES)), test)
    assert broken.diverged and 160 < len(broken.losses) < 201
    nan = watch(rate, iter([0.7, 0.7, float("nan"), 0.1]), test)
    assert nan.diverged and len(nan.losses) == 2 and "fell by less than 5%" in summary(nan, test)
    whole = watch(rate, iter(np.minimum(valley(RATES), 0.7)[:150]), test)
    assert not whole.diverged and len(whole.losses) == 150 and "did not diverge" in summary(whole, test)


@pytest.mark.drawn
@pytest.mark.parametrize("scale", ["exponential", "linear"])
def test_as_its_users_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scale: str
) -> None:
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: "cpu")
    write_tiny_records(tmp_path / "data" / "tiny" / "records")
    network = ["--word_units", "4", "--sentence_units", "3", "--attention_dim", "5", "--batch_size", "8"]
    highest = {"exponential": 5.0, "linear": 0.3}[scale]
    flags = ["--run_type", "lr_range", "--lr_min", "0.001", "--lr_max", str(highest), "--lr_steps", "60"]
    where = ["--dataset", "tiny", "--data_dir", str(tmp_path / "data"), "--runs_dir", str(tmp_path / "runs")]
    arguments = han_trainer.build_parser().parse_args(
        [*where, *network, *flags, "--lr_scale", scale, "--dropout_keep_proba", "1"]
    )
    for _ in range(1 if scale == "linear" else 2):
        assert han_trainer.main(arguments) == 0
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir())
    assert folders == ["tiny-han-lr_range", "tiny-han-lr_range.old1"][: len(folders)]
    folder = tmp_path / "runs" / "tiny-han-lr_range"
    found = read_json(folder / "lr_range.json")
    assert 0.001 <= found["bounds"]["lower"] < found["bounds"]["upper"] <= highest
    assert f"{found['bounds']['upper']:.2g}" in capsys.readouterr().out
    with (folder / "lr_range.csv").open() as file:
        rows = list(csv.DictReader(file))
    space = np.geomspace if scale == "exponential" else np.linspace
    rates = [float(row["learning_rate"]) for row in rows]
    np.testing.assert_allclose(rates, space(0.001, highest, 60)[: len(rows)], rtol=1e-4)
    assert len(rows) == found["steps_taken"] and min(float(row["smoothed_loss"]) for row in rows) < 0.6
    assert png_size((folder / "lr_range.png").read_bytes())[0] > 600


def test_rates_that_do_not_rise_are_refused() -> None:
    for flags in (["--lr_max", "0.001", "--lr_min", "0.01"], ["--lr_min", "0"], ["--lr_steps", "3"]):
        arguments = han_trainer.build_parser().parse_args(["--run_type", "lr_range", *flags])
        with pytest.raises(UserError, match=r"--lr_"):
            han_trainer.main(arguments)


def test_a_folder_that_cannot_be_written_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(han_trainer, "start_tensorflow", lambda *_, **__: pytest.fail("the work has begun"))
    write_tiny_records(tmp_path / "data" / "tiny" / "records")
    (tmp_path / "runs").touch()
    where = ["--dataset", "tiny", "--data_dir", str(tmp_path / "data"), "--runs_dir", str(tmp_path / "runs")]
    with pytest.raises(NotADirectoryError) as caught:
        han_trainer.main(han_trainer.build_parser().parse_args(["--run_type", "lr_range", *where]))
    assert str(caught.value.filename) == str(tmp_path / "runs")
