"""Learning-rate schedules step by step against NumPy, written independently."""

from __future__ import annotations

import math

import numpy as np
import pytest

from schedules import WarmupDecay

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
