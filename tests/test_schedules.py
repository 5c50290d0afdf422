"""Learning-rate schedules step by step against NumPy, written independently."""

from __future__ import annotations

import math

import numpy as np
import pytest

from config import TrainingSettings
from training.schedules import Cyclical, Rise, WarmupDecay, momentum_schedule, rate_schedule

PEAK, WARMUP, TOTAL = 0.3, 7, 40


def expected(step: int, decay: str) -> float:
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    progress = min((step - WARMUP) / (TOTAL - WARMUP), 1.0)
    return {"none": PEAK, "linear": PEAK * (1 - progress), "cosine": PEAK * math.cos(math.pi * progress / 2) ** 2}[
        decay
    ]


@pytest.mark.parametrize("decay", ["none", "linear", "cosine"])
def test_every_step(decay: str) -> None:
    schedule = WarmupDecay(PEAK, WARMUP, TOTAL, decay)
    got = [float(schedule(step)) for step in range(TOTAL + 5)]
    np.testing.assert_allclose(got, [expected(step, decay) for step in range(TOTAL + 5)], atol=1e-7)


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert float(WarmupDecay(PEAK, 0, TOTAL, "linear")(0)) == pytest.approx(PEAK)


def test_an_unknown_decay_is_refused() -> None:
    with pytest.raises(ValueError, match="stairs"):
        WarmupDecay(PEAK, WARMUP, TOTAL, "stairs")


# ---------------------------------------------------------------------------------------------------------------------
# Cycles


def smith(step: int, low: float, high: float, stepsize: int, cycle: str, gamma: float) -> float:
    """As the paper writes it: section 3.2 and its code, with a stepsize of half a cycle."""
    number = math.floor(1 + step / (2 * stepsize))
    x = abs(step / stepsize - 2 * number + 1)
    height = (high - low) * max(0.0, 1 - x)
    return (
        low
        + {"triangular": height, "triangular2": height / 2 ** (number - 1), "exp_range": height * gamma**step}[cycle]
    )


@pytest.mark.parametrize("cycle", ["triangular", "triangular2", "exp_range"])
def test_rate_and_momentum_of_a_cycle_at_every_step(cycle: str) -> None:
    settings = TrainingSettings(
        cycle=cycle,
        learning_rate=0.3,
        min_learning_rate=0.02,
        cycle_steps=14,
        cycle_gamma=0.97,
        cycle_momentum=True,
        min_momentum=0.8,
        max_momentum=0.95,
    )
    rate, momentum = rate_schedule(settings, 99, 33), momentum_schedule(settings, 33)
    steps = np.arange(60)
    rates = [smith(step, 0.02, 0.3, 7, cycle, 0.97) for step in steps.tolist()]
    np.testing.assert_allclose([float(rate(step)) for step in steps], rates, rtol=1e-5)
    np.testing.assert_allclose(rate(steps), rates, rtol=1e-5)  # a whole vector of steps at once
    share = (np.array(rates) - 0.02) / (0.3 - 0.02)
    np.testing.assert_allclose([float(momentum(step)) for step in steps], 0.95 - 0.15 * share, rtol=1e-5)
    assert np.corrcoef(rate(steps), momentum(steps))[0, 1] == pytest.approx(-1, abs=1e-5)


def test_a_cycle_lasts_an_epoch_from_a_tenth_of_the_rate_unless_told_otherwise() -> None:
    rate = rate_schedule(TrainingSettings(cycle="triangular", learning_rate=0.5), 99, 20)
    np.testing.assert_allclose(rate([0, 10, 20, 30]), [0.05, 0.5, 0.05, 0.5], rtol=1e-6)
    assert momentum_schedule(TrainingSettings(cycle="triangular"), 20) is None


def test_a_cycle_keeps_its_place_after_many_steps() -> None:
    assert float(Cyclical(0.0, 1.0, 14, "triangular")(14 * 10**8 + 7)) == 1.0


def test_a_cycle_that_cannot_be_is_refused() -> None:
    for arguments in ((0.1, 0.2, 14, "round"), (0.1, 0.2, 1, "triangular")):
        with pytest.raises(ValueError, match=r"round|1 steps"):
            Cyclical(*arguments)


@pytest.mark.parametrize("scale", ["exponential", "linear"])
def test_the_rise_of_a_range_test(scale: str) -> None:
    rate = Rise(1e-5, 1.0, 21, scale)
    space = np.geomspace if scale == "exponential" else np.linspace
    np.testing.assert_allclose([float(rate(step)) for step in range(21)], space(1e-5, 1, 21), rtol=1e-4)
    assert float(rate(40)) == pytest.approx(1)
    with pytest.raises(ValueError, match="stairs"):
        Rise(1, 2, 3, "stairs")
