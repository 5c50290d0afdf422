"""Text becomes sentences, sentences become words, words become ids: the one function that every consumer calls.

Serialising, testing, explaining and the web page all go through :class:`TextProcessor`, so a word means the same
everywhere. Every word carries ``(start, end)`` into the *original* text: markup is blanked with as many characters as
it had, and nothing is ever inserted, removed or lower-cased before the words are found.

* Sentences: Punkt (Kiss and Strunk, *Unsupervised Multilingual Sentence Boundary Detection*, Computational Linguistics
  32, 2006). NLTK trains it; :class:`SentenceSplitter` applies what was learnt, with NLTK's results and about ten times
  its speed, so that reading a run folder needs no NLTK. Paragraphs always end a sentence.
* Words: one compiled regular expression (:func:`word_pattern`).
* Ids: :class:`Vocabulary`, looked up by the lower-cased word.

Records and runs store the :func:`tokeniser` that they were made with; those of another one are refused.

What was learnt and the limits are stored together in ``sentence_splitter.json``; with ``vocab.txt`` beside it,
:func:`load_text_processing` rebuilds the same processing from a records folder or a run folder alone.

No TensorFlow; NLTK is imported only to train.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict, TypeVar

from text import punkt
from text.punkt import SentenceSplitter, Span
from utils import FORMAT_VERSION, SPLITTER_FILE, VOCABULARY_FILE, UserError, atomic_write, read_json

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID, UNKNOWN_ID = 0, 1

Item = TypeVar("Item")

# ---------------------------------------------------------------------------------------------------------------------
# Markup: blanked in place, so that every offset still points into the original text

PARAGRAPH_TAGS = (
    "address article aside blockquote body br center dd div dl dt figure footer form h1 h2 h3 h4 h5 h6 head header hr "
    "html li main nav ol p pre section table tbody td tfoot th thead title tr ul"
)
OTHER_TAGS = (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark q s samp small span strike "
    "strong sub sup tt u var wbr"
)
# Only names that HTML knows: people also write <sigh> and <3.
MARKUP = re.compile(
    rf"<(?:/?(?:(?P<paragraph>{'|'.join(PARAGRAPH_TAGS.split())})|{'|'.join(OTHER_TAGS.split())})"
    r"(?=[\s/>])[^<>]*|!--[^<>]*--)>",
    re.IGNORECASE,
)
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def blank_markup(text: str) -> str:
    """Replaces HTML tags and control characters by white space of the same length.

    Tags that start a new block (``<br />``, ``</p>``, ...) become line feeds, which :func:`segments` takes for the end
    of a paragraph; other tags become spaces.

    Returns:
        A text of the same length; all other characters are where they were.
    """
    if not text.isprintable():  # false for any line feed, too: a quick look that spares most texts the search
        text = CONTROL.sub(" ", text)
    if "<" in text:
        text = MARKUP.sub(same_length_blank, text.replace("<br />", "\n" * len("<br />")))
    return text


def same_length_blank(tag: re.Match[str]) -> str:
    """Line feeds for a tag that starts a new block, spaces for another."""
    return ("\n" if tag["paragraph"] else " ") * len(tag[0])


# ---------------------------------------------------------------------------------------------------------------------
# Paragraphs, and full stops that leave no doubt

PARAGRAPH_END = re.compile(r"\n[^\S\n]*\n\s*")
# Both start with a single character, or one of a set, which the engine looks for quickly.
SEGMENT_END = re.compile(
    r"""[\n\u2029。！？｡।॥؟۔](?:(?<=\n)[^\S\n]*\n|(?<=\u2029)|(?<![\n\u2029])["'”’」』）》)\]]*)\s*"""
)


def segments(text: str) -> Iterator[Span]:
    """Cuts a text after each paragraph and after each full stop of scripts that Punkt does not know (``。 । ؟``).

    Yields:
        Consecutive (start, end) that cover the whole text.
    """
    start = 0
    if text.isascii():
        ends = PARAGRAPH_END.finditer(text) if "\n" in text else ()
    else:
        ends = SEGMENT_END.finditer(text)
    for end in ends:
        yield start, end.end()
        start = end.end()
    if start < len(text):
        yield start, len(text)


# ---------------------------------------------------------------------------------------------------------------------
# Words

# Scripts written without spaces between words: each character, with its marks, is a word. Thai, Lao, Myanmar, Khmer,
# Han, Hiragana, Katakana.
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3021-\u3029\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
PICTURE = r"[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001f1e5\U0001f200-\U0001faff]"
PICTURE_CHANGES = r"[\ufe0f\u20e3\U0001f3fb-\U0001f3ff]"  # shown in colour, on a key, with a tone of skin
OTHER_PLANES = r"\U00010000-\U0001cfff\U0001d400-\U0001d7ff\U0001e000-\U0001efff"  # letters beyond the first plane
ENTITY_NAME = r"[A-Za-z][A-Za-z0-9]{1,7}"  # &quot; and its like are one word
INVISIBLE = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ud800-\udfff"


@functools.cache
def word_pattern() -> re.Pattern[str]:
    """The regular expression whose matches are the words and signs of a text, in any script.

    * ``well-made``, ``don't``, ``AT&T`` and ``U.S`` are one word each; so are ``10/10``, ``7.5/10`` and ``1,000``.
    * ``!``, ``?!``, ``...``, ``***`` and ``--`` are runs, cut after three signs (five stars) so that they stay few;
      emoticons and emoji with all their modifiers are words; any other sign is a word of its own.
    * In scripts without spaces each character is a word, with its combining marks.

    The letters of the Basic Multilingual Plane are listed one by one: compiled, they are one table look-up per
    character, about a quarter faster on English text than ``\\w`` and right for combining marks, which are not ``\\w``.
    """
    letters, marks = "".join(character_ranges(is_word_character)), "".join(character_ranges(is_mark))
    return re.compile(word_expression(f"[{letters}{OTHER_PLANES}]", f"[{marks}]"))


def word_expression(letter: str, mark: str) -> str:
    """The expression of :func:`word_pattern`, from those of a letter and of a combining mark."""
    joiner = (
        r"['’\-.,:/&](?:(?<=['’\-])"  # don't, well-made
        rf"|(?<=&)(?!{ENTITY_NAME};)|(?<=\d.)(?=\d)"  # AT&T, 7.5/10
        rf"|(?<=[A-Za-z]\.)(?<!{letter}{letter}\.)(?=[A-Za-z](?!{letter})))"  # U.S
    )
    return (
        rf"{letter}++(?:{joiner}{letter}++)*+"
        r"|(?=[!?.:;=*\-&<^_~(])(?:"  # most signs are none of these, and then the list is not gone through
        r"[!?]{1,3}+|\.{1,3}+"
        rf"|[:;=]['’]?[\-o^]?[()\[\]/\\|*DPpOo3Ss](?!{letter}|/)|\(-?[:;](?=\s|$)|\^[_.]?\^|<3(?!\d)"
        rf"|\*{{1,5}}+|-{{1,3}}+|={{1,3}}+|_{{1,3}}+|~{{1,3}}+|&(?:{ENTITY_NAME}|\#[0-9]{{1,6}});)"
        rf"|[{UNSPACED}]{mark}*+"
        rf"|{PICTURE}{PICTURE_CHANGES}*+(?:\u200d{PICTURE}{PICTURE_CHANGES}*+)*+|[\U0001f1e6-\U0001f1ff]{{2}}"
        rf"|[^\s{INVISIBLE}]"
    )


def character_ranges(wanted: Callable[[str], bool]) -> Iterator[str]:
    """The characters of the Basic Multilingual Plane that are ``wanted``, as ranges of a character class."""
    for chosen, run in itertools.groupby(range(0x10000), lambda code: wanted(chr(code))):
        if chosen:
            codes = list(run)
            yield f"\\u{codes[0]:04x}-\\u{codes[-1]:04x}"


def is_mark(character: str) -> bool:
    """Combining marks, which belong to the letter before them; not the variation selectors of emoji."""
    return unicodedata.category(character)[0] == "M" and not "\ufe00" <= character <= "\ufe0f"


def is_word_character(character: str) -> bool:
    """Letters, digits and marks of scripts that put spaces between words, and the two invisible signs within words."""
    within = character.isalnum() or is_mark(character) or character in "\u00ad\u200c"
    return within and not UNSPACED_CHARACTER.match(character)


UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")


# ---------------------------------------------------------------------------------------------------------------------
# The whole way from a text to its words


@dataclass(frozen=True)
class Sentences:
    """The sentences of one text; words and their places are computed when they are asked for.

    Sentences without a word are left out, a sentence longer than the limit continues in the next one, and sentences
    after the limit are cut off. A text without any word has no sentence.

    Attributes:
        text: The text with its markup blanked, character for character as long as the original.
        bounds: (start, end) of each sentence, before the limits.
        max_words: Limit of words in a sentence.
        max_sentences: Limit of sentences.
    """

    text: str
    bounds: list[Span]
    max_words: int
    max_sentences: int

    @functools.cached_property
    def _all_tokens(self) -> list[list[str]]:
        find = word_pattern().findall
        return list(self._pieces(find(self.text, start, end) for start, end in self.bounds))

    @property
    def tokens(self) -> list[list[str]]:
        """The words of each sentence as they are written."""
        return self._all_tokens[: self.max_sentences]

    @property
    def words(self) -> list[list[str]]:
        """The words of each sentence, lower-cased: what the vocabulary is asked for."""
        return [[token.lower() for token in tokens] for tokens in self.tokens]

    @property
    def spans(self) -> list[list[Span]]:
        """(start, end) of each word in the original text, in step with :attr:`words`."""
        find = word_pattern().finditer
        found = ([match.span() for match in find(self.text, start, end)] for start, end in self.bounds)
        return list(itertools.islice(self._pieces(found), self.max_sentences))

    @property
    def cut_words(self) -> int:
        """Number of words in the sentences that were cut off."""
        return sum(map(len, self._all_tokens[self.max_sentences :]))

    def _pieces(self, sentences: Iterable[list[Item]]) -> Iterator[list[Item]]:
        """Leaves empty sentences out and cuts long ones into pieces."""
        for words in sentences:
            if 0 < len(words) <= self.max_words:
                yield words
            else:
                yield from (words[first : first + self.max_words] for first in range(0, len(words), self.max_words))


@dataclass(frozen=True)
class TextProcessor:
    """Cuts texts into sentences and words, always in the same way; stored as ``sentence_splitter.json``.

    Attributes:
        splitter: Finds the ends of sentences.
        max_words_per_sentence: A longer sentence continues in the next one.
        max_sentences_per_document: Later sentences are cut off.
    """

    splitter: SentenceSplitter = field(default_factory=SentenceSplitter)
    max_words_per_sentence: int = 60
    max_sentences_per_document: int = 400

    def process(self, text: str) -> Sentences:
        """Finds the sentences of a text, and on demand their words (see :class:`Sentences`)."""
        text = blank_markup(text)
        bounds = [span for start, end in segments(text) for span in self.splitter.spans(text, start, end)]
        return Sentences(text, bounds, self.max_words_per_sentence, self.max_sentences_per_document)

    def to_json(self) -> dict[str, Any]:
        """Everything that the processing depends on, as plain JSON."""
        return {
            "format_version": FORMAT_VERSION,
            "max_words_per_sentence": self.max_words_per_sentence,
            "max_sentences_per_document": self.max_sentences_per_document,
            "punkt": self.splitter.to_json(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str) -> TextProcessor:
        """Reads what :meth:`to_json` wrote; anything else is a :class:`UserError` that names ``source``, the file."""
        try:
            version = value["format_version"]
            if version != FORMAT_VERSION:
                raise UserError(f"{source} has format version {version}, this program reads {FORMAT_VERSION}; {REMAKE}")
            return cls(
                SentenceSplitter.from_json(value["punkt"]),
                int(value["max_words_per_sentence"]),
                int(value["max_sentences_per_document"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{source} is damaged ({type(error).__name__}: {error}); {REMAKE}") from error

    def save(self, path: Path) -> None:
        """Writes :meth:`to_json` on one line, whole or not at all."""
        with atomic_write(path) as file:
            json.dump(self.to_json(), file, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, path: Path) -> TextProcessor:
        """Reads what :meth:`save` wrote; a missing or damaged file is a :class:`UserError`."""
        return cls.from_json(read_json(existing(path)), str(path))


# ---------------------------------------------------------------------------------------------------------------------
# The version of all this

# Raise it whenever a text may be cut into other sentences or words than before: records and runs of another version are
# refused, and run_all.py makes them again. Those that were made before it was stored count as version 1.
TOKENISER_VERSION = 1


class Tokeniser(TypedDict):
    """What records and runs store of the text processing that they were made with: :func:`tokeniser`."""

    version: int
    sha256: str


class MadeOfTexts(TypedDict):
    """The part of a manifest that names the tokeniser; what was made before it was stored has none."""

    tokeniser: NotRequired[Tokeniser]


@functools.cache
def tokeniser() -> Tokeniser:
    """The version of the text processing of this program, and the SHA-256 of the expressions that decide."""
    return {"version": TOKENISER_VERSION, "sha256": hashlib.sha256("\n".join(deciding_parts()).encode()).hexdigest()}


def deciding_parts() -> Iterator[str]:
    """Everything that decides about words, markup, paragraphs and sentence ends, apart from what training learns.

    The classes of characters are taken from those that Unicode 3.2 has, because every version of Python knows a few
    characters more than the one before: the same program is to have the same hash everywhere.
    """
    flags = re.IGNORECASE | re.MULTILINE | re.DOTALL | re.VERBOSE | re.ASCII  # the same numbers in `re` and `regex`
    for pattern in (MARKUP, CONTROL, PARAGRAPH_END, SEGMENT_END, *punkt.DECIDING_PATTERNS):
        yield f"{pattern.pattern} {pattern.flags & int(flags)}"
    yield "".join(sorted(punkt.CLOSING_FIRST))
    yield word_expression(f"LETTER|[{OTHER_PLANES}]", "MARK")
    for wanted in (is_word_character, is_mark):
        yield "".join(character_ranges(lambda character, wanted=wanted: is_old(character) and wanted(character)))  # type: ignore[misc]


def is_old(character: str) -> bool:
    """Whether Unicode 3.2 has the character."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn"


def tokeniser_difference(stored: Tokeniser | None) -> str:
    """In words, how a stored tokeniser differs from this program's; empty if it does not.

    Args:
        stored: As :func:`tokeniser` gave it; None for what was made before it was stored, which is version 1.
    """
    current = tokeniser()
    stored = stored or {**current, "version": 1}
    if stored == current:
        return ""
    if stored["version"] == current["version"]:
        return f"another tokeniser of the same version, {current['version']}"
    return f"version {stored['version']} of the tokeniser; this program has version {current['version']}"


# ---------------------------------------------------------------------------------------------------------------------
# The vocabulary

REMAKE = "run serialize_data.py again (and for a run folder train again)"


class Vocabulary:
    """The words that have an id of their own; the rest are ``<unk>``.

    The id is the line number in ``vocab.txt``: 0 ``<pad>``, 1 ``<unk>``, then by falling count, words of equal count in
    the order of their code points. No text contains the two special words: ``<`` is always a word by itself.

    Attributes:
        words: All words, in the order of their ids.
    """

    def __init__(self, words: Sequence[str]) -> None:
        """Checks and indexes the words.

        Raises:
            ValueError: The special words are not where they belong, or a word is empty, holds white space or comes
                twice.
        """
        self.words = list(words)
        if self.words[:2] != [PAD, UNKNOWN]:
            raise ValueError(f"the first two words are {self.words[:2]}, not {PAD} and {UNKNOWN}")
        self._ids = {word: number for number, word in enumerate(self.words)}
        if len(self._ids) < len(self.words):
            twice = next(word for number, word in enumerate(self.words) if self._ids[word] != number)
            raise ValueError(f"the word {twice!r} comes twice")
        for word in self.words:
            if word.split() != [word]:
                raise ValueError(f"{word!r} is not one word")

    @classmethod
    def from_counts(cls, counts: Iterable[tuple[str, int]], min_count: int) -> Vocabulary:
        """Keeps the words with at least ``min_count`` occurrences, in the order given above."""
        kept = sorted((-count, word) for word, count in counts if count >= min_count)
        return cls([PAD, UNKNOWN, *(word for _, word in kept)])

    def __len__(self) -> int:
        return len(self.words)

    def id(self, word: str) -> int:
        """The id of one lower-cased word."""
        return self._ids.get(word, UNKNOWN_ID)

    def ids(self, words: Iterable[str]) -> list[int]:
        """The ids of lower-cased words."""
        return [self._ids.get(word, UNKNOWN_ID) for word in words]

    def encode(self, sentences: Sequence[Sequence[str]]) -> tuple[list[int], list[int]]:
        """The two vectors of a document's record; a document without a word is one sentence of one ``<unk>``.

        Args:
            sentences: :attr:`Sentences.words`.

        Returns:
            token_ids [words] of all words in a row, and words_per_sentence [sentences]; neither is ever empty.
        """
        if not sentences:
            return [UNKNOWN_ID], [1]
        return self.ids(itertools.chain.from_iterable(sentences)), [len(words) for words in sentences]

    def save(self, path: Path) -> None:
        """Writes one word per line, whole or not at all."""
        with atomic_write(path, newline="\n") as file:
            file.writelines(f"{word}\n" for word in self.words)

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Reads ``vocab.txt``; a missing or damaged one is a :class:`UserError`."""
        try:
            lines = existing(path).read_bytes().decode("utf-8").split("\n")  # not splitlines: it knows other ends, too
            if lines.pop():
                raise ValueError("its last line is cut short")
            return cls(lines)
        except UserError:
            raise
        except ValueError as error:
            raise UserError(f"{path} is no vocabulary ({error}); {REMAKE}") from error


def existing(path: Path) -> Path:
    """``path``, if there is such a file."""
    if not path.is_file():
        raise UserError(f"{path} is not there; {REMAKE}")
    return path


def load_text_processing(folder: Path) -> tuple[TextProcessor, Vocabulary]:
    """Rebuilds the text processing from a records folder or a run folder, with its limits and its vocabulary.

    Raises:
        UserError: A file is missing, damaged or of another format version.
    """
    return TextProcessor.load(folder / SPLITTER_FILE), Vocabulary.load(folder / VOCABULARY_FILE)
