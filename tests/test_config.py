"""Ranges of settings: no number reaches a stage that it would choke on."""

from __future__ import annotations

import dataclasses
from typing import Any, get_type_hints

import pytest

from config import CsvSettings, ModelSettings, TextSettings, TrainingSettings, check_range, checked
from utils import UserError

CLASSES = (CsvSettings, TextSettings, ModelSettings, TrainingSettings)
NUMBERS = [
    (settings, field.name, value)
    for settings in CLASSES
    for field in dataclasses.fields(settings)
    for value in {float: (float("nan"), float("inf"), -1.0), int: (-1, 2**31, 10**30)}.get(
        get_type_hints(settings)[field.name], ()
    )
]


@pytest.mark.parametrize(("settings", "name", "value"), NUMBERS)
def test_every_numeric_setting_has_bounds(settings: Any, name: str, value: float) -> None:
    with pytest.raises(UserError, match=f"--{name} .* is out of range; give a value"):
        checked(settings(**{name: value}))


@pytest.mark.parametrize("settings", CLASSES)
def test_defaults_are_within_bounds(settings: Any) -> None:
    assert checked(settings()) == settings()


def test_check_range_includes_its_ends() -> None:
    for value in (0, 1, 0.5):
        check_range("share", value, 0, 1)
    with pytest.raises(UserError, match="from 0 to 1"):
        check_range("share", 1.01, 0, 1)
