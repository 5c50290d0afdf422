"""The page's templates, filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_processing import blank_markup
from explaining.pages import environment, shade_marks

ROOT = Path(__file__).parent
READING = ["GET", "HEAD"]  # FastAPI adds no HEAD of its own, which asks whether a page exists
EXCERPT = 400  # characters of a text from which its first lines are shown


def render_page(template: str, **values: Any) -> str:
    """A template of the page, or of the explanations that it shows, filled in."""
    return environment(ROOT / "templates").get_template(template).render(shade_marks=shade_marks, **values)


def excerpt(text: str) -> str:
    """The beginning of a text without its markup."""
    return " ".join(blank_markup(text[:EXCERPT]).split())
