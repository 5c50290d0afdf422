"""One colour per class, and text that is legible on every shade of it."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from report.colours import TO_LAB, TO_LMS, class_colours, class_styles, from_oklch, oklch, on_dark

NAMES = [["negative", "positive"], [str(stars) for stars in range(1, 11)], [f"topic {c}" for c in range(30)]]
INK = {"light": {1: "#111111", 4: "#111111", 5: "#ffffff"}, "dark": {1: "#f2f2f2", 4: "#111111", 5: "#111111"}}


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("names", NAMES, ids=["two", "stars", "thirty"])
def test_text_is_legible_on_every_shade_of_every_class(names: list[str]) -> None:
    light, dark = class_styles(names).split("@media")
    for theme, rules in (("light", light), ("dark", dark)):
        found = re.findall(r"--shade(\d): (#[0-9A-F]{6})", rules)
        assert len(found) == 5 * (len(names) + 2)
        for number, shade in found:
            ink = INK[theme][max(level for level in INK[theme] if level <= int(number))]
            assert contrast(ink, shade) >= 4.5, (theme, number, shade)


@pytest.mark.parametrize("names", NAMES, ids=["two", "stars", "thirty"])
def test_no_two_classes_have_one_colour(names: list[str]) -> None:
    colours = class_colours(names)
    assert len(set(colours)) == len(names)
    assert [f".class{c} {{ --class: {colour}" in class_styles(names) for c, colour in enumerate(colours)]


# Without the cones that see green (Machado, Oliveira, Fernandes 2009, severity 1), in linear red, green and blue.
DEUTERANOPIA = np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]])


def seen(colour: str, by: np.ndarray) -> np.ndarray:
    """Place of a colour in OKLab, where distances are about as large as they look."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return np.asarray(TO_LAB @ np.cbrt(TO_LMS @ (by @ linear).clip(0, 1)))


@pytest.mark.parametrize(("by", "least"), [(np.eye(3), 0.07), (DEUTERANOPIA, 0.025)], ids=["all", "without green"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_twenty_classes_are_told_apart(theme: str, by: np.ndarray, least: float) -> None:
    colours = class_colours([f"topic {c}" for c in range(20)])
    places = [seen(on_dark(colour) if theme == "dark" else colour, by) for colour in colours]
    assert min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(places, 2)) > least


@pytest.mark.parametrize("colour", ["#000000", "#FFFFFF", "#0072B2", "#D55E00", "#123456"])
def test_a_colour_comes_back_from_oklch(colour: str) -> None:
    assert from_oklch(*oklch(colour)) == colour


def test_oklch_of_known_colours() -> None:
    """Ottosson's own examples: pure red is (0.628, 0.258, 29.2 degrees), pure blue (0.452, 0.313, 264.1 degrees)."""
    assert oklch("#FF0000") == pytest.approx((0.6280, 0.2577, 29.23 * 3.14159265 / 180), abs=1e-3)
    lightness, chroma, hue = oklch("#0000FF")
    assert (lightness, chroma, hue * 180 / 3.14159265 + 360) == pytest.approx((0.4520, 0.3132, 264.05), abs=0.05)
