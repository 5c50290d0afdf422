"""HTML made from the templates in ``templates/``: every text is escaped, nothing is loaded from elsewhere, no script.

What a person or a file wrote passes through ``printable`` as it does on its way to a terminal, so that no invisible
character reverses the direction of a line.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report.colours import class_styles
from report.shading import MOST_SENTENCES, printable

if TYPE_CHECKING:
    from jinja2 import Environment

    from explaining.explained_text import Explanation

TEMPLATES = Path(__file__).parent / "templates"
MOST_CLASSES = 10  # of more classes the likeliest are shown


@functools.cache
def environment(*folders: Path) -> Environment:
    """The templates of this folder and of ``folders``, escaping on; a name that is not given is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([TEMPLATES, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["printable"] = printable
    made.filters["class_mark"] = class_mark
    made.filters["share"] = share_in_digits
    return made


def render_page(template: str, **values: Any) -> str:
    """A template filled in."""
    return environment().get_template(template).render(**values)


def explanation_page(
    explanation: Explanation,
    heading: str,
    note: str,
    most: int | None = MOST_SENTENCES,
    kept: Sequence[bool] | None = None,
) -> str:
    """One explained text as a self-contained page.

    Args:
        explanation: The text and its scores.
        heading: Title and first line.
        note: How it was explained, a sentence.
        most: Number of sentences to show at most; ``None`` shows all.
        kept: [N] whether each word was read; others are struck through. ``None``: all were.
    """
    return render_page(
        "explanation.html",
        heading=heading,
        note=note,
        parts=explanation.parts_in_words(),
        below=[*explanation.phrases_in_words(), *explanation.counterfactuals_in_words()],
        classes=likeliest(explanation),
        shown=explanation.shaded(most),
        explanation=explanation,
        marks=shade_marks(explanation, explanation.class_names),
        styles=class_styles(explanation.class_names),
        kept=kept,
        class_names=explanation.class_names,
    )


def class_mark(name: str, names: Sequence[str]) -> str:
    """The CSS class with the colour of a class. ``names``: those that :func:`report.colours.class_styles` was given."""
    return f"class{list(names).index(name)}" if name in names else "otherwise"


def share_in_digits(value: float, signed: bool, digits: int = 2) -> str:
    """``+0.52``, or ``0.52`` where no share can be negative; what rounds to zero has no minus."""
    return f"{value:+z.{digits}f}" if signed else f"{value:.{digits}f}"


def shade_marks(explanation: Explanation, names: Sequence[str]) -> tuple[str, str]:
    """The CSS classes of words that speak for the explained class, and of those that speak against it.

    With two classes, what speaks against one speaks for the other. Attention is of no class.
    """
    if not explanation.scores.signed:
        return "for attended", "against otherwise"
    own, others = explanation.class_names, explanation.other_classes()
    against = class_mark(others[0], names) if len(others) == 1 else "otherwise"
    return f"for {class_mark(own[explanation.target], names)}", f"against {against}"


def likeliest(explanation: Explanation) -> list[tuple[str, float]]:
    """The likeliest classes with their probabilities, the first one first."""
    named = zip(explanation.class_names, explanation.verdict.probabilities.tolist(), strict=True)
    return sorted(named, key=lambda pair: -pair[1])[:MOST_CLASSES]
