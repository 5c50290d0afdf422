"""One colour per class: the same in every picture, in a notebook, on the page and in HTML.

The first classes have the colours of Okabe and Ito, which people with any colour vision can distinguish; 24 classes can
be told apart, of more some look alike. Classes that are ratings have shades of one scale instead, so that their order
is seen. Words are shaded with five steps of the colour of the class they speak for, in OKLCH (Ottosson 2020): a step
has one lightness whatever the colour is, so that text on it is legible.

    C classes
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np

from report.evaluation import star_ratings

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6A3D9A", "#8C6D1F")
# Each is, among strong colours that are neither very dark nor very light, the one that is farthest from all before it
# in OKLab: as it is seen on a light and on a dark page, and by people who do not see green or red.
FURTHER = (
    *("#74052C", "#02464F", "#1F01B5", "#ABB886", "#1C6402", "#AC43A5", "#7A7AF5", "#82456F"),
    *("#343470", "#6CCC56", "#376A50", "#AB4046", "#04C9D1", "#465E85", "#D99FA7", "#93739A"),
)
ATTENDED = "#F0E442"  # attention is of no class: the colour of Okabe and Ito that no class has
AGAINST = "#767676"  # words that speak against a class, where it is not said for which other one
GOLDEN = (math.sqrt(5) - 1) / 2  # hues that are so far apart stay apart, however many there are

# Lightness and share of the colour's chroma of the shades 1 to 5; text is dark on light ones and light on dark ones.
LIGHT = ((0.95, 0.3), (0.89, 0.6), (0.82, 0.8), (0.72, 1.0), (0.42, 1.0))
DARK = ((0.27, 0.4), (0.33, 0.6), (0.42, 0.8), (0.72, 1.0), (0.86, 1.0))
# Lightness of a class's own colour on a dark page, from that on a light one: shifted, not cut, so that two colours that
# differ by their lightness alone still do.
DARKEST, LIGHTEST = 0.30, 0.86
DARKEST_ON_DARK, LIGHTEST_ON_DARK = 0.62, 0.88


def class_colours(class_names: Sequence[str]) -> list[str]:
    """[C] colour of each class, as ``#rrggbb``."""
    if star_ratings(class_names) is not None:
        from matplotlib import colormaps
        from matplotlib.colors import to_hex

        return [to_hex(shade) for shade in colormaps["viridis"](np.linspace(0, 0.92, len(class_names)))]
    known = (*COLOURS, *FURTHER)
    return [known[c] if c < len(known) else further_colour(c) for c in range(len(class_names))]


def further_colour(number: int) -> str:
    """A colour for a class behind those of :data:`COLOURS` and :data:`FURTHER`."""
    red, green, blue = colorsys.hls_to_rgb(number * GOLDEN % 1, (0.36, 0.6)[number % 2], 0.6)
    return to_hex_colour((red, green, blue))


def class_styles(class_names: Sequence[str]) -> str:
    """CSS that gives ``.class0``, ``.class1``, ..., ``.attended`` and ``.otherwise`` their colours in both themes.

    Each sets ``--class``, the colour itself, and ``--shade1`` to ``--shade5``.
    """
    named = {f"class{c}": colour for c, colour in enumerate(class_colours(class_names))}
    named |= {"attended": ATTENDED, "otherwise": AGAINST}
    light = [rule(name, colour, colour, LIGHT) for name, colour in named.items()]
    dark = [rule(name, colour, on_dark(colour), DARK) for name, colour in named.items()]
    return "\n".join([*light, "@media screen and (prefers-color-scheme: dark) {", *dark, "}\n"])


def on_dark(colour: str) -> str:
    """The colour as it is on a dark page."""
    lightness, chroma, hue = oklch(colour)
    lighter = float(np.interp(lightness, (DARKEST, LIGHTEST), (DARKEST_ON_DARK, LIGHTEST_ON_DARK)))
    return from_oklch(lighter, chroma, hue)


def rule(name: str, colour: str, own: str, shades: Sequence[tuple[float, float]]) -> str:
    """The rule of one class. ``own``: its colour in this theme; ``shades``: their lightness and share of the chroma."""
    _, chroma, hue = oklch(colour)
    steps = [from_oklch(light, share * chroma, hue) for light, share in shades]
    variables = "; ".join(f"--shade{number}: {shade}" for number, shade in enumerate(steps, start=1))
    return f".{name} {{ --class: {own}; {variables}; }}"


# ---------------------------------------------------------------------------------------------------------------------
# OKLCH, by https://bottosson.github.io/posts/oklab/

TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklch(colour: str) -> tuple[float, float, float]:
    """Lightness (0 to 1), chroma and hue (radians) of ``#rrggbb``."""
    values = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    lightness, a, b = TO_LAB @ np.cbrt(TO_LMS @ linear)
    return float(lightness), float(np.hypot(a, b)), float(np.arctan2(b, a))


def from_oklch(lightness: float, chroma: float, hue: float) -> str:
    """``#rrggbb`` of a colour; with less chroma where the screen has none so strong."""
    for share in np.linspace(1, 0, 51):
        lab = np.array([lightness, share * chroma * math.cos(hue), share * chroma * math.sin(hue)])
        linear = np.linalg.solve(TO_LMS, np.linalg.solve(TO_LAB, lab) ** 3)
        if (linear > -1e-4).all() and (linear < 1 + 1e-4).all():
            break
    linear = linear.clip(0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return to_hex_colour((float(red), float(green), float(blue)))


def to_hex_colour(colour: tuple[float, float, float]) -> str:
    """``#rrggbb`` of red, green and blue from 0 to 1."""
    return "#" + "".join(f"{round(255 * value):02X}" for value in colour)
