"""The locked requirements install with any pip: what a package asks of another, the lock names."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def locked_requirements(path: Path) -> dict[str, Requirement]:
    """Requirement by package name, as the lines of a locked file give them."""
    lines = re.findall(r"^[A-Za-z0-9][^\\\n]*", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


def extras_asked_for(names: set[str]) -> Iterator[tuple[str, Requirement]]:
    """What the installed ones of these packages ask for with extras: name of who asks, requirement."""
    for distribution in importlib.metadata.distributions():
        if canonicalize_name(distribution.name) not in names:
            continue
        for requirement in map(Requirement, distribution.requires or ()):
            if requirement.extras and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
                yield distribution.name, requirement


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: path.name)
def test_extras_are_locked(path: Path) -> None:
    """pip 23 takes ``coverage[toml]`` for another package than ``coverage``: unlocked, the next release breaks it."""
    locked = locked_requirements(path)
    missing = [
        f"{name} asks for {requirement}"
        for name, requirement in extras_asked_for(set(locked))
        if not requirement.extras <= locked[canonicalize_name(requirement.name)].extras
    ]
    assert not missing


def test_the_check_sees_an_extra() -> None:
    """pytest-cov asks for one: were none seen, the test above would pass for nothing."""
    asked = dict(extras_asked_for({"pytest-cov"}))
    assert asked["pytest-cov"].extras == {"toml"}
