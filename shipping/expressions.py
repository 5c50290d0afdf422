"""The regular expressions of the text processing for JavaScript, with the same matches.

The two languages differ in what ``\\s``, ``\\d``, ``.`` and ``$`` match, in the case of letters, and JavaScript has no
possessive quantifiers. So every character class is written as the ranges that Python's engine finds in it (of the
Unicode version of this Python), and ``x++`` as a lookahead with a reference to it, which gives nothing back either.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

from shipping.text_settings import ENGINES, as_data

CODES = range(sys.maxunicode + 1)
EVERY_CHARACTER = "".join(map(chr, CODES))
SYNTAX = frozenset("^$\\.*+?()[]{}|/")
GROUPS = ("(?:", "(?=", "(?!", "(?<=", "(?<!")
NAMED_GROUP = re.compile(r"\(\?P<(\w+)>")
QUANTIFIER = re.compile(r"([*+?]|\{\d+(?:,\d*)?\})([+?]?)")
CHARACTER_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]|\\[sSdDwW]", re.DOTALL)
CHARACTER = re.compile(r"\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|\\x[0-9a-f]{2}|\\[nrt]|\\[^0-9A-Za-z]|[^\\(]", re.DOTALL)
NAMED_CHARACTERS = {r"\n": "\n", r"\r": "\r", r"\t": "\t"}
ESCAPED_CODE = re.compile(r"\\[uUx]([0-9a-f]+)")
# What Python's methods of a string say about its characters.
CHARACTERS: dict[str, Callable[[str], bool]] = {
    "space": str.isspace,
    "letter": str.isalpha,
    "upper": str.isupper,
    "lower": str.islower,
    "unassigned": lambda character: unicodedata.category(character) == "Cn",
}


def javascript_expressions(patterns: dict[str, Any]) -> dict[str, str]:
    """Expressions for JavaScript's ``RegExp`` with the flag ``u``, and the classes of :data:`CHARACTERS`.

    Args:
        patterns: Compiled expressions of Python by name.

    Raises:
        ValueError: An expression has something that is not translated.
    """
    return {name: Translation(pattern).text for name, pattern in patterns.items()} | character_classes()


@functools.cache
def character_classes() -> dict[str, str]:
    """The classes of :data:`CHARACTERS`."""
    return {name: ranges(filter(wanted, EVERY_CHARACTER)) for name, wanted in CHARACTERS.items()}


def ranges(characters: Any) -> str:
    """A character class of JavaScript.

    Args:
        characters: Iterable of single characters, ascending.
    """
    codes = map(ord, characters)
    runs = (list(run) for _, run in itertools.groupby(enumerate(codes), lambda pair: pair[1] - pair[0]))
    return "[" + "".join(one_range(run[0][1], run[-1][1]) for run in runs) + "]"


def one_range(first: int, last: int) -> str:
    """A range within a class; both ends included."""
    return written(first) if first == last else f"{written(first)}-{written(last)}"


def written(code: int) -> str:
    """A character that means itself in and outside of a class."""
    character = chr(code)
    return character if character.isascii() and character.isalnum() else f"\\u{{{code:x}}}"


@functools.cache
def members(expression: str, engine: str, flags: int) -> str:
    """The class of all characters that an expression of one character matches."""
    return ranges(ENGINES[engine].findall(expression, EVERY_CHARACTER, flags))


class Translation:
    """One expression.

    Args:
        pattern: Compiled, of ``re`` or ``regex``.
    """

    def __init__(self, pattern: Any) -> None:
        given = as_data(pattern)
        if unknown := set(given["flags"]) - {"IGNORECASE", "MULTILINE"}:
            raise ValueError(f"flags {', '.join(sorted(unknown))} of {given['pattern']!r} are not translated")
        self.given: str = given["pattern"]
        self.engine: str = given["engine"]
        self.ignore_case = int(re.IGNORECASE) if "IGNORECASE" in given["flags"] else 0
        self.end = r"(?![^\n])" if "MULTILINE" in given["flags"] else r"(?=\n?(?![^]))"
        self.parts: list[str] = []
        self.open_groups: list[int] = []  # where each starts in `parts`
        self.last = 0  # where the last atom starts in `parts`
        self.atomic = 0
        self.at = 0
        while self.at < len(self.given):
            self.step()
        self.text = "".join(self.parts)

    def step(self) -> None:
        """Translates what comes next."""
        for translate in (self.group, self.sign, self.quantifier, self.character_class, self.character):
            if translate():
                return
        raise ValueError(f"{self.given[self.at : self.at + 10]!r} in {self.given!r} is not translated")

    def group(self) -> bool:
        """The start of a group."""
        if self.given[self.at] != "(":
            return False
        named = NAMED_GROUP.match(self.given, self.at)
        taken = next((kind for kind in GROUPS if self.given.startswith(kind, self.at)), "(")
        if not named and taken == "(" and self.given.startswith("(?", self.at):
            return False
        self.open_groups.append(len(self.parts))
        self.parts.append(f"(?<{named[1]}>" if named else taken)
        self.at += len(named[0]) if named else len(taken)
        return True

    def sign(self) -> bool:
        """The end of a group, alternatives, and the borders of the text."""
        sign = self.given[self.at]
        if sign not in ")|^$":
            return False
        if sign == ")":
            self.last = self.open_groups.pop()
        self.parts.append(self.end if sign == "$" else sign)
        self.at += 1
        return True

    def quantifier(self) -> bool:
        """A quantifier of the atom before it; a possessive one wraps the atom."""
        found = QUANTIFIER.match(self.given, self.at)
        if not found:
            return False
        self.at = found.end()
        if found[2] != "+":
            self.parts.append(found[0])
            return True
        self.atomic += 1
        name = f"atomic{self.atomic}"
        atom = "".join(self.parts[self.last :])
        self.parts[self.last :] = [rf"(?:(?=(?<{name}>{atom}{found[1]}))\k<{name}>)"]
        return True

    def character_class(self) -> bool:
        """A class, as ranges."""
        if self.given[self.at] == ".":
            self.add_atom(r"[^\n]", 1)
            return True
        found = CHARACTER_CLASS.match(self.given, self.at)
        if found:
            self.add_atom(members(found[0], self.engine, self.ignore_case), len(found[0]))
        return bool(found)

    def character(self) -> bool:
        """A single character."""
        found = CHARACTER.match(self.given, self.at)
        if not found:
            return False
        code = ESCAPED_CODE.fullmatch(found[0])
        character = chr(int(code[1], 16)) if code else NAMED_CHARACTERS.get(found[0], found[0][-1])
        if self.ignore_case and character.isalpha():
            self.add_atom(members(re.escape(character), self.engine, self.ignore_case), len(found[0]))
        else:
            plain = character.isascii() and character.isprintable()
            self.add_atom(
                f"\\{character}" if character in SYNTAX else character if plain else written(ord(character)),
                len(found[0]),
            )
        return True

    def add_atom(self, text: str, length: int) -> None:
        """Adds something that a quantifier can repeat; ``length`` characters of the given expression are done."""
        self.last = len(self.parts)
        self.parts.append(text)
        self.at += length
