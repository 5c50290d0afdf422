"""Sentence boundaries by Punkt (Kiss and Strunk 2006): NLTK's decisions and training, several times as fast.

:func:`train_splitter` learns from texts, :class:`SentenceSplitter` splits texts with what was learnt. Words of Punkt:

* *Candidate*: a full stop, question or exclamation mark that white space or a closing sign follows.
* *Kind* of a word: the word lower-cased; all numbers are one kind.
* *Orthographic context* of a kind: where in sentences, and in which case, training has seen it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import regex  # NLTK's engine: what it takes for a letter is part of Punkt's results

from utils import absent

Item = TypeVar("Item")
Span = tuple[int, int]

# In which positions, and in which case, training has seen a word: the bits of Punkt's orthographic contexts.
INITIAL_UPPER, INTERNAL_UPPER, UNKNOWN_UPPER, INITIAL_LOWER, INTERNAL_LOWER, UNKNOWN_LOWER = (
    1 << n for n in range(1, 7)
)
ANY_UPPER = INITIAL_UPPER | INTERNAL_UPPER | UNKNOWN_UPPER
ANY_LOWER = INITIAL_LOWER | INTERNAL_LOWER | UNKNOWN_LOWER


NLTK_DOES_WITHOUT = ("matplotlib", "pandas", "scipy", "sklearn")
COMMON_ABBREVIATIONS = frozenset(
    re.findall(
        r"\S+",
        "mr mrs ms messrs mme dr drs prof rev fr hon st mt ft sgt lt col gen capt cpl pvt maj cmdr adm sen rep gov "
        "pres supt jr sr bros inc ltd corp co vs dept univ assn approx est vol vols pp ed eds fig jan feb apr aug sept "
        "oct nov dec e.g i.e a.k.a a.m p.m u.s u.s.a u.k u.n d.c l.a n.y ph.d b.a m.a m.d b.c a.d etc",
    )
)

_CLOSING = "\u2018\u2019\u201c\u201d\xab\xbb"  # curly quotes and guillemets
_NO_WORD = rf"""[)";}}\]*:@'({{\[{_CLOSING}?!]"""  # cannot stand within a word
_SEVERAL_SIGNS = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_SPACE = r"[^\S\x1c-\x1f]"  # white space as NLTK's engine has it

# A place where a sentence may end; group 1 is the first character of the next word where white space lies between.
CANDIDATE = re.compile(rf"[.?!](?={_NO_WORD}|{_SPACE}+([\S\x1c-\x1f]))")
NEXT_WORD = re.compile(r"[\S\x1c-\x1f]+")
ASCII_SPACE = re.compile(r"[\t\n\r\x0b\x0c]")
# Closing signs after a full stop belong to the sentence that they close.
CLOSING_SIGNS = regex.compile(rf"""["')\]}}{_CLOSING}]+?(?:\s+|(?=--)|$)""", regex.MULTILINE)
CLOSING_FIRST = frozenset("\"')]}" + _CLOSING)
# The words that the decision looks at: punctuation split off, full stops kept.
PUNKT_WORD = regex.compile(
    rf"""({_SEVERAL_SIGNS}|(?=[^("`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_NO_WORD}|{_SEVERAL_SIGNS}"""
    rf"""|,(?=$|\s|{_NO_WORD}|{_SEVERAL_SIGNS}))|\S)"""
)
ASCII_PUNKT_WORD = re.compile(PUNKT_WORD.pattern)  # the same on ASCII without control characters, twice as fast
ELLIPSIS = regex.compile(r"\.\.+$")
NUMBER = regex.compile(r"^-?[\.,]?\d[\d,\.-]*\.?$")
INITIAL = regex.compile(r"[^\W\d]\.$")
NUMBER_TYPE = "##number##"
# What decides about the ends of sentences, apart from what training learns (see data_processing.tokeniser).
DECIDING_PATTERNS: tuple[Any, ...] = (
    CANDIDATE,
    NEXT_WORD,
    ASCII_SPACE,
    CLOSING_SIGNS,
    PUNKT_WORD,
    ASCII_PUNKT_WORD,
    ELLIPSIS,
    NUMBER,
    INITIAL,
)
REMEMBERED_DECISIONS, REMEMBERED_LENGTH = 50_000, 60


@dataclass(frozen=True)
class SentenceSplitter:
    """Punkt's decisions with given parameters: the spans of NLTK's ``PunktSentenceTokenizer``, about ten times as fast.

    NLTK takes every candidate (a full stop, question or exclamation mark before white space or a closing sign) through
    the whole machinery. Here a question or exclamation mark, and a full stop after a plain word that cannot be an
    abbreviation, are decided on sight; the rest goes through the same steps as in NLTK and is remembered.

    Attributes:
        abbreviations: Lower-cased, without the final full stop.
        collocations: Pairs of words that a full stop between them does not part (``("j", "bach")``).
        sentence_starters: Words that often begin a sentence.
        contexts: For each word, bits of where and in which case it was seen.
    """

    abbreviations: frozenset[str] = COMMON_ABBREVIATIONS
    collocations: frozenset[tuple[str, str]] = frozenset()
    sentence_starters: frozenset[str] = frozenset()
    contexts: Mapping[str, int] = field(default_factory=dict)
    _doubtful: frozenset[str] = field(init=False, repr=False, compare=False)
    _decisions: dict[str, bool] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        doubtful = self.abbreviations | {first for first, _ in self.collocations}
        object.__setattr__(self, "_doubtful", doubtful)  # the way to set a field of a frozen class

    def spans(self, text: str, start: int = 0, stop: int | None = None) -> list[Span]:
        """The sentences of ``text[start:stop]`` as (start, end) into ``text``; white space between them is left out."""
        stop = len(text) if stop is None else stop
        sentences = []
        begin = start
        for match, word_start in last_candidates(text, start, stop):
            if self._ends_sentence(text, match, word_start, stop):
                sentences.append((begin, match.end()))
                begin = match.end() if match.start(1) < 0 else match.start(1)
        sentences.append((begin, start + len(text[start:stop].rstrip())))
        if any(text[first : first + 1] in CLOSING_FIRST for first, _ in sentences):
            return list(with_closing_signs(text, sentences))
        return [(first, end) for first, end in sentences if first < end]

    def _ends_sentence(self, text: str, match: re.Match[str], word_start: int, stop: int) -> bool:
        """Whether a sentence ends at a candidate; ``word_start`` is where the word before it starts."""
        at = match.start()
        if text[at] != "." or (at > word_start and text[at - 1] in ')"]}'):
            return True  # after a closing sign the full stop is a word of its own, and not the end of an abbreviation
        word = text[word_start:at].lower()
        # Two letters or more are neither an initial nor a number, so only a known abbreviation or collocation could
        # make the full stop anything but an end. (isalpha: lower-casing a dotted capital I adds a combining mark.)
        if len(word) > 1 and word.isalpha() and word not in self._doubtful:
            return True
        after = match.start(1)
        context_end = at + 2 if after < 0 else NEXT_WORD.match(text, after, stop).end()  # type: ignore[union-attr]
        return self._remembered(text[word_start:context_end])

    def _remembered(self, context: str) -> bool:
        """:meth:`_contains_end`, whose answers for short contexts are kept."""
        if (decision := self._decisions.get(context)) is not None:
            return decision
        decision = self._contains_end(context)
        if len(context) <= REMEMBERED_LENGTH:
            if len(self._decisions) >= REMEMBERED_DECISIONS:
                self._decisions.clear()
            self._decisions[context] = decision
        return decision

    def _contains_end(self, context: str) -> bool:
        """Whether any word of the context but the last ends a sentence (Kiss and Strunk 2006, sections 3 and 4)."""
        lines = [line for line in context.split("\n") if line.strip()]
        tokens = [self._classify(word) for line in lines for word in punkt_words(line)]
        return any(self._reconsider(this, following) for this, following in itertools.pairwise(tokens))

    def _classify(self, word: str) -> PunktToken:
        """The first pass, by the kind of the word alone: end of a sentence, abbreviation, ellipsis or none of them."""
        kind = NUMBER.sub(NUMBER_TYPE, word.lower())
        if word in (".", "?", "!"):
            return PunktToken(word, kind, ends=True)
        if ELLIPSIS.match(word):
            return PunktToken(word, kind, ellipsis=True)
        if word.endswith(".") and not word.endswith(".."):
            base = word[:-1].lower()
            known = base in self.abbreviations or base.split("-")[-1] in self.abbreviations
            return PunktToken(word, kind, ends=not known, abbreviation=known)
        return PunktToken(word, kind)

    def _reconsider(self, this: PunktToken, following: PunktToken) -> bool:
        """The second pass, by the word that follows: whether ``this`` ends a sentence after all."""
        if not this.word.endswith("."):
            return this.ends
        kind = without_full_stop(this.kind)
        next_kind = without_full_stop(following.kind) if following.ends else following.kind
        if (kind, next_kind) in self.collocations:
            return False
        initial = bool(INITIAL.match(this.word))
        starts = self._starts_sentence(following, next_kind)
        upper = following.word[0].isupper()
        begins = starts or (upper and next_kind in self.sentence_starters)
        if begins and (this.abbreviation or this.ellipsis) and not initial:
            return True
        if starts is False and (initial or kind == NUMBER_TYPE):
            return False
        never_lower = not self.contexts.get(next_kind, 0) & ANY_LOWER
        return this.ends and not (initial and starts is None and upper and never_lower)

    def _starts_sentence(self, token: PunktToken, kind: str) -> bool | None:
        """The orthographic heuristic (section 4.1.1): yes, no, or None where the case of the word decides nothing."""
        if token.word in (";", ":", ",", ".", "!", "?"):
            return False
        seen, first = self.contexts.get(kind, 0), token.word[0]
        if first.isupper() and seen & ANY_LOWER and not seen & INTERNAL_UPPER:
            return True
        if first.islower() and (seen & ANY_UPPER or not seen & INITIAL_LOWER):
            return False
        return None

    def to_json(self) -> dict[str, Any]:
        """The parameters as plain JSON, in a fixed order."""
        by_bits: dict[str, list[str]] = {}
        for word, bits in sorted(self.contexts.items()):
            by_bits.setdefault(str(bits), []).append(word)
        return {
            "abbreviations": sorted(self.abbreviations),
            "collocations": sorted(map(list, self.collocations)),
            "sentence_starters": sorted(self.sentence_starters),
            "contexts": dict(sorted(by_bits.items())),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> SentenceSplitter:
        """Reads what :meth:`to_json` wrote."""
        return cls(
            frozenset(value["abbreviations"]),
            frozenset((first, second) for first, second in value["collocations"]),
            frozenset(value["sentence_starters"]),
            {word: int(bits) for bits, words in value["contexts"].items() for word in words},
        )


@dataclass(slots=True)
class PunktToken:
    """A word beside a candidate: as written, its kind, and what the first pass has decided about it."""

    word: str
    kind: str
    ends: bool = False
    abbreviation: bool = False
    ellipsis: bool = False


def punkt_words(line: str) -> list[str]:
    """Cuts one line into the words that Punkt decides by."""
    return (ASCII_PUNKT_WORD if line.isascii() and line.isprintable() else PUNKT_WORD).findall(line)


def without_full_stop(kind: str) -> str:
    """A kind without its final full stop; a full stop alone stays."""
    return kind[:-1] if len(kind) > 1 and kind[-1] == "." else kind


def last_candidates(text: str, start: int, stop: int) -> Iterator[tuple[re.Match[str], int]]:
    """Of the candidates that no white space parts (``what?!``) the last, with the start of the word before it."""
    word_start, at, previous = start, start, None
    for match in CANDIDATE.finditer(text, start, stop):
        space = last_ascii_space(text, at, match.start())
        # At the very place of the last candidate, white space counts for none: NLTK's rule, kept for equal results.
        next_start = space + 1 if space > at else word_start
        if previous is not None and at <= next_start:
            yield previous, word_start
        previous, word_start, at = match, next_start, match.start()
    if previous is not None:
        yield previous, word_start


def last_ascii_space(text: str, start: int, stop: int) -> int:
    """Position of the last ASCII white space in ``text[start:stop]``, -1 if there is none."""
    space = text.rfind(" ", start, stop)
    word = text[max(space, start) : stop]
    if not word.isprintable():  # a line feed or a tab may come after the last space
        for other in ASCII_SPACE.finditer(text, max(space, start), stop):
            space = other.start()
    return space


def with_closing_signs(text: str, sentences: Sequence[Span]) -> Iterator[Span]:
    """Yields the sentences, each with the quotes and brackets behind its full stop, which the next one began with."""
    moved = 0
    for (start, end), following in itertools.zip_longest(sentences, sentences[1:]):
        start += moved
        closing = CLOSING_SIGNS.match(text, *following) if following else None
        moved = closing.end() - following[0] if closing else 0
        if closing:
            yield start, following[0] + len(closing[0].rstrip())
        elif start < end:
            yield start, end


# ---------------------------------------------------------------------------------------------------------------------
# Training

# A sample of this size is enough for Punkt: more texts cost memory and change no split.
MOST_TRAINING_CHARACTERS = 8_000_000


def train_splitter(texts: Iterable[str]) -> SentenceSplitter:
    """Learns abbreviations, collocations and sentence starters from raw text, without any annotation.

    The result depends on the texts and their order alone. Texts beyond 8 million characters are not read.

    Args:
        texts: Whole documents, markup blanked (:func:`data_processing.blank_markup`).
    """
    paragraphs, room = [], MOST_TRAINING_CHARACTERS
    for text in texts:
        if len(text) > room:
            break
        room -= len(text)
        paragraphs.append(text)
    if not paragraphs:
        return SentenceSplitter()
    trainer = quick_trainer()
    with garbage_collection_paused():
        trainer.train("\n\n".join(paragraphs), finalize=True)
    learnt = trainer.get_params()
    return SentenceSplitter(
        COMMON_ABBREVIATIONS | learnt.abbrev_types,
        frozenset(learnt.collocations),
        frozenset(learnt.sent_starters),
        {kind: bits for kind, bits in learnt.ortho_context.items() if bits},
    )


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Without Python's search for cycles, which costs time among the trainer's millions of objects and finds none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_punkt() -> None:
    """Imports ``nltk.tokenize.punkt``, without what the rest of NLTK imports where it is installed.

    That took five sixths of the time: 2.9 s of a core, and 0.6 s without it, in each process.
    """
    with absent(NLTK_DOES_WITHOUT):
        import nltk.tokenize.punkt  # noqa: F401


def quick_trainer() -> Any:
    """NLTK's ``PunktTrainer``, three times as fast; a test compares the results.

    The facts about a word are computed once and not at every occurrence, and ASCII text is split by Python's own
    engine of regular expressions.
    """
    import_punkt()
    from nltk.tokenize import punkt

    @functools.cache
    def facts(word: str) -> tuple[Any, ...]:
        token = punkt.PunktToken(word)
        return (
            token.type,
            token.period_final,
            token.first_case,
            bool(token.is_alpha),
            bool(token.is_ellipsis),
            bool(token.is_initial),
            bool(token.is_non_punct),
            token.is_number,
        )

    class Token(punkt.PunktToken):
        __slots__ = tuple("first_case is_alpha is_ellipsis is_initial is_non_punct is_number".split())  # noqa: SIM905

        def __init__(self, word: str, parastart: bool | None = None, linestart: bool | None = None) -> None:
            self.tok = word
            self.parastart, self.linestart = parastart, linestart
            self.sentbreak = self.abbr = self.ellipsis = None
            (
                self.type,
                self.period_final,
                self.first_case,
                self.is_alpha,
                self.is_ellipsis,
                self.is_initial,
                self.is_non_punct,
                self.is_number,
            ) = facts(word)

    class Language(punkt.PunktLanguageVars):
        def word_tokenize(self, line: str) -> list[str]:
            return punkt_words(line)

    class Trainer(punkt.PunktTrainer):
        def _unique_types(self, tokens: list[Token]) -> list[str]:
            # NLTK's set has another order in every process; the order can matter to types with two full stops.
            return sorted({token.type for token in tokens})

    return Trainer(lang_vars=Language(), token_cls=Token)
