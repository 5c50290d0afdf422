"""Text to sentences, words, offsets and ids."""

from __future__ import annotations

import itertools
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer, PunktTrainer

import data_processing
from corpus.sample_corpus import generate
from data_processing import (
    TOKENISER_VERSION,
    TextProcessor,
    Vocabulary,
    blank_markup,
    load_text_processing,
    segments,
    tokeniser,
    tokeniser_difference,
    word_pattern,
)
from text import punkt
from text.punkt import COMMON_ABBREVIATIONS, SentenceSplitter, train_splitter
from utils import SPLITTER_FILE, VOCABULARY_FILE, UserError

ROOT = Path(__file__).parent.parent
# What random texts are made of: whatever Punkt, the markup and the words look at, and several scripts.
PIECES = [
    *["word", "Word", "the", "The", "I", "A", "no", "No", "j", "bach", "Mr", "Dr.", "e.g.", "U.S.", "etc", "half-wit"],
    *["foo,bar", "don't", "AT&T", "3", "10.", "7.5/10", "1,000", "²", "½", ":)", ":-(", "<3", "&amp;", "&#39;"],
    *["<br />", "<BR>", "</p>", "<i>", "<sigh>", "<unk>", "<!-- x -->", "<"],
    *[
        " ",
        " ",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\r\n\r\n",
        "\t",
        "\xa0",
        "\u2003",
        "\u2028",
        "\u2029",
        "\x85",
        "\x00",
        "\x1c",
    ],
    *[".", ".", "...", "!", "?", "?!", '"', "'", ")", "(", "--", "-", ",", ";", ":", "”", "“", "»", "]", "}", "*", "_"],
    *["é", "É", "e\u0301", "ß", "İ", "ΑΣ", "ŉ", "日本", "。", "हिन्दी", "।", "สวัสดี", "می\u200cخواهم", "؟", "ـ"],
    *["👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "🇩🇪", "\u200b", "\ufeff", "\ud800", "𝒜"],
]


def random_texts(count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return ["".join(generator.choices(PIECES, k=generator.randint(1, 40))) for _ in range(count)]


@pytest.fixture(scope="module")
def reviews() -> list[str]:
    """Made-up reviews, with abbreviations and initials that they lack by themselves."""
    extras = [
        "Dr. Grey met J. Bach at 5 p.m. on Friday. ",
        "It cost approx. 3.5 mill. dollars, e.g. in the U.S. it did. ",
    ]
    texts = [review.text for review in itertools.islice(generate(3), 250)]
    return [extras[number % 2] * (number % 5) + text for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def splitter(reviews: list[str]) -> SentenceSplitter:
    return train_splitter(map(blank_markup, reviews))


def nltk_splitter(splitter: SentenceSplitter) -> PunktSentenceTokenizer:
    """NLTK's own, with the same parameters."""
    parameters = PunktParameters()
    parameters.abbrev_types = set(splitter.abbreviations)
    parameters.collocations = set(splitter.collocations)
    parameters.sent_starters = set(splitter.sentence_starters)
    parameters.ortho_context.update(splitter.contexts)
    return PunktSentenceTokenizer(parameters)


# ---------------------------------------------------------------------------------------------------------------------
# The version

# Of the expressions of each version. Never change a line; a new version is a new line.
HASHES = {
    1: "c1a24e913b964fecf8e3ab66b0cf8cac9012250d11184d0e9c508563cd9bfb51",
}


def test_whoever_changes_how_texts_are_cut_raises_the_version() -> None:
    assert tokeniser() == {"version": TOKENISER_VERSION, "sha256": HASHES.get(TOKENISER_VERSION)}, (
        "an expression that cuts texts into sentences and words has changed: add 1 to TOKENISER_VERSION in "
        f"data_processing.py and the line {TOKENISER_VERSION + 1}: {tokeniser()['sha256']!r} to HASHES in this test"
    )


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (data_processing, "MARKUP", re.compile("<[^>]*>")),
        (data_processing, "MARKUP", re.compile(data_processing.MARKUP.pattern)),  # without its flag
        (data_processing, "PARAGRAPH_END", re.compile("\n")),
        (data_processing, "ENTITY_NAME", "[a-z]+"),
        (data_processing, "OTHER_PLANES", ""),
        (data_processing, "is_mark", str.isspace),
        (data_processing, "is_word_character", str.isalpha),
        (punkt, "DECIDING_PATTERNS", punkt.DECIDING_PATTERNS[1:]),
        (punkt, "CLOSING_FIRST", frozenset(")")),
    ],
)
def test_every_deciding_part_is_in_the_hash(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, value: Any
) -> None:
    monkeypatch.setattr(module, name, value)
    assert tokeniser.__wrapped__()["sha256"] != tokeniser()["sha256"]


def test_no_pattern_of_the_sentence_splitter_is_forgotten() -> None:
    patterns = {id(value) for value in vars(punkt).values() if hasattr(value, "pattern")}
    assert patterns == set(map(id, punkt.DECIDING_PATTERNS)) and len(patterns) == 9


def test_difference_of_tokenisers() -> None:
    sha256 = tokeniser()["sha256"]
    assert not tokeniser_difference({"version": TOKENISER_VERSION, "sha256": sha256})
    assert "version 9 of the tokeniser; this program has version" in tokeniser_difference(
        {"version": 9, "sha256": sha256}
    )
    assert "of the same version" in tokeniser_difference({"version": TOKENISER_VERSION, "sha256": "0"})


def test_what_was_made_before_the_version_was_stored_is_of_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_processing, "tokeniser", lambda: {"version": 1, "sha256": "0"})
    assert not tokeniser_difference(None)
    monkeypatch.setattr(data_processing, "tokeniser", lambda: {"version": 2, "sha256": "0"})
    assert "version 1 of the tokeniser; this program has version 2" in tokeniser_difference(None)


# ---------------------------------------------------------------------------------------------------------------------
# Offsets


@pytest.mark.parametrize("limits", [(60, 400), (3, 5)])
def test_every_word_is_where_its_span_says(limits: tuple[int, int]) -> None:
    processor = TextProcessor(SentenceSplitter(), *limits)
    for text in random_texts(1500, seed=1):
        found = processor.process(text)
        assert [len(words) for words in found.words] == [len(spans) for spans in found.spans]
        assert len(found.text) == len(text)
        last = 0
        for word, (start, end) in zip(itertools.chain(*found.words), itertools.chain(*found.spans), strict=True):
            assert last <= start < end
            assert text[start:end].lower() == word
            last = end


def test_no_visible_character_is_lost() -> None:
    invisible = "\u200b\ufeff\ud800\u200d\ufe0f"
    for text in random_texts(1500, seed=2):
        covered = set()
        for start, end in itertools.chain(*TextProcessor().process(text).spans):
            covered.update(range(start, end))
        for place, character in enumerate(blank_markup(text)):
            assert place in covered or character.isspace() or character in invisible, (text, place)


def test_limits_cut_long_sentences_in_pieces_and_long_documents_short() -> None:
    text = "one two three four five six seven. eight nine. ten. eleven twelve."
    found = TextProcessor(SentenceSplitter(), 3, 5).process(text)
    assert found.words == [["one", "two", "three"], ["four", "five", "six"], ["seven", "."], ["eight", "nine", "."],
                           ["ten", "."]]  # fmt: skip
    assert found.cut_words == 3
    whole = TextProcessor().process(text)
    assert whole.cut_words == 0
    assert len([word for words in whole.words for word in words]) == 13 + found.cut_words


@pytest.mark.parametrize("text", ["", " \n\t ", "<br /><br />", "<p></p>\u200b\x00"])
def test_a_text_without_a_word_has_no_sentence_and_is_one_unknown_word(text: str) -> None:
    found = TextProcessor().process(text)
    assert (found.words, found.spans, found.cut_words) == ([], [], 0)
    assert Vocabulary(["<pad>", "<unk>", "word"]).encode(found.words) == ([1], [1])


@pytest.mark.parametrize(
    "unit", [".", "a. ", "a.)", "<a", "<!--", "<br ", "! ", "x'", "1/", "&a", "中", "。", "\n ", "a.\xa0", ". . ", ".'"]
)
def test_time_grows_no_faster_than_the_text(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    start = time.process_time()
    assert TextProcessor().process(text).cut_words >= 0
    assert time.process_time() - start < 10  # it takes well under a second; anything quadratic takes minutes


# ---------------------------------------------------------------------------------------------------------------------
# Markup


def test_markup_is_blanked_in_place() -> None:
    text = 'A<br />b <i>c</i> <a href="x?y=1">d</a><hr/>e</P>f<!-- no -->g'
    blanked = blank_markup(text)
    assert len(blanked) == len(text)
    assert blanked.split() == ["A", "b", "c", "d", "e", "f", "g"]
    assert [text.index(letter) for letter in "A"] == [blanked.index("A")]


def test_blocks_end_a_paragraph_and_other_tags_do_not() -> None:
    processor = TextProcessor()
    assert processor.process("no stop here<br />next one").words == [["no", "stop", "here"], ["next", "one"]]
    assert processor.process("no stop <b>here</b> at all").words == [["no", "stop", "here", "at", "all"]]
    assert len(processor.process("first line\nsecond line").words) == 1
    assert len(processor.process("first paragraph\r\n \r\nsecond paragraph").words) == 2


def test_what_html_does_not_know_is_text() -> None:
    words = TextProcessor().process("I <3 this <sigh> and a < b > c").words
    assert list(itertools.chain(*words)) == ["i", "<3", "this", "<", "sigh", ">", "and", "a", "<", "b", ">", "c"]


def test_special_words_never_come_from_a_text() -> None:
    for text in ("<pad> <unk>", "<PAD>,<UNK>", *random_texts(500, seed=3)):
        assert not {"<pad>", "<unk>"} & set(itertools.chain(*TextProcessor().process(text).words))


# ---------------------------------------------------------------------------------------------------------------------
# Sentences


def test_training_learns_what_nltk_learns(reviews: list[str], splitter: SentenceSplitter) -> None:
    trainer = PunktTrainer()
    trainer.train("\n\n".join(map(blank_markup, reviews)))
    learnt = trainer.get_params()
    assert splitter.abbreviations == learnt.abbrev_types | COMMON_ABBREVIATIONS
    assert splitter.collocations == learnt.collocations
    assert splitter.sentence_starters == learnt.sent_starters
    assert splitter.contexts == {word: bits for word, bits in learnt.ortho_context.items() if bits}
    assert learnt.abbrev_types and learnt.sent_starters


def test_sentences_are_those_of_nltk_on_reviews(reviews: list[str], splitter: SentenceSplitter) -> None:
    nltk = nltk_splitter(splitter)
    for text in reviews:
        assert splitter.spans(text) == list(nltk.span_tokenize(text))


def test_sentences_are_those_of_nltk_on_random_texts(splitter: SentenceSplitter) -> None:
    richer = SentenceSplitter(
        splitter.abbreviations | {"half-wit", "wit", "é"},
        splitter.collocations | {("j", "bach"), ("##number##", "the"), ("word", "no")},
        splitter.sentence_starters | {"the", "no"},
        {**splitter.contexts, "word": 0b1110010, "no": 0b0000110, "the": 0b1110010, "bach": 0b0001000},
    )
    nltk = nltk_splitter(richer)
    for text in map(blank_markup, random_texts(6000, seed=4)):
        assert richer.spans(text) == list(nltk.span_tokenize(text)), text


def test_part_of_a_text_is_split_as_if_it_stood_alone(splitter: SentenceSplitter) -> None:
    for text in map(blank_markup, random_texts(300, seed=5)):
        cut = len(text) // 3, len(text) - len(text) // 4
        inner = splitter.spans(text[slice(*cut)])
        assert splitter.spans(text, *cut) == [(start + cut[0], end + cut[0]) for start, end in inner]


def test_segments_cover_the_text() -> None:
    for text in map(blank_markup, random_texts(500, seed=6)):
        bounds = list(segments(text))
        assert "".join(text[start:end] for start, end in bounds) == text


def test_abbreviations_do_not_end_a_sentence_and_other_scripts_have_full_stops() -> None:
    assert len(TextProcessor().process("Mr. Smith met Dr. Grey, e.g. at noon. They left.").words) == 2
    assert len(TextProcessor().process("これは本です。とても良い！「はい。」次。").words) == 4
    assert len(TextProcessor().process("यह अच्छा है। वह नहीं।").words) == 2


# ---------------------------------------------------------------------------------------------------------------------
# Words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't like well-made AT&T ads", ["I", "don't", "like", "well-made", "AT&T", "ads"]),
        ("10/10, 7.5/10; 3.14 (1,000) 3:45", ["10/10", ",", "7.5/10", ";", "3.14", "(", "1,000", ")", "3:45"]),
        ("80s 1980's 2nd", ["80s", "1980's", "2nd"]),
        ("U.S. and e.g. R.E.M", ["U.S", ".", "and", "e.g", ".", "R.E.M"]),
        ("great.But the end.", ["great", ".", "But", "the", "end", "."]),
        ("wow!!!!! what?! so... ***1/2", ["wow", "!!!", "!!", "what", "?!", "so", "...", "***", "1/2"]),
        ("a--b - c", ["a", "--", "b", "-", "c"]),
        ("'quoted' ''twice''", ["'", "quoted", "'", "'", "'", "twice", "'", "'"]),
        (":) :-( ;) :D <3 ^_^ (:", [":)", ":-(", ";)", ":D", "<3", "^_^", "(:"]),
        ("http://x.org", ["http", ":", "/", "/", "x", ".", "org"]),
        ("&quot;hi&quot; &#39; R&B", ["&quot;", "hi", "&quot;", "&#39;", "R&B"]),
        ("_so_ #1", ["_", "so", "_", "#", "1"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("مرحبا می\u200cخواهم", ["مرحبا", "می\u200cخواهم"]),
        ("e\u0301tude naïve Ελλάδα", ["e\u0301tude", "naïve", "Ελλάδα"]),
        ("👩\u200d👩\u200d👧👍🏽 ❤\ufe0f 🇩🇪🇫🇷", ["👩\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "🇩🇪", "🇫🇷"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert word_pattern().findall(text) == words


def test_words_are_lower_cased_one_by_one() -> None:
    found = TextProcessor().process("In İSTANBUL again")
    assert found.words == [["in", "i\u0307stanbul", "again"]]
    assert found.spans == [[(0, 2), (3, 11), (12, 17)]]


# ---------------------------------------------------------------------------------------------------------------------
# Vocabulary and files


def test_vocabulary_is_in_order_of_count_then_of_code_points() -> None:
    counts = {"zebra": 7, "apple": 7, "Ä": 7, "the": 50, "rare": 2, "just": 3}
    vocabulary = Vocabulary.from_counts(counts.items(), min_count=3)
    assert vocabulary.words == ["<pad>", "<unk>", "the", "apple", "zebra", "Ä", "just"]
    assert vocabulary.ids(["just", "rare", "the", "<pad>"]) == [6, 1, 2, 0]
    assert vocabulary.encode([["the", "rare"], ["apple"]]) == ([2, 1, 3], [2, 1])


def test_vocabulary_file_is_one_word_per_line(tmp_path: Path) -> None:
    words = {
        word for text in random_texts(800, seed=7) for words in TextProcessor().process(text).words for word in words
    }
    vocabulary = Vocabulary.from_counts(((word, 1) for word in words), 1)
    vocabulary.save(tmp_path / "vocab.txt")
    assert (tmp_path / "vocab.txt").read_bytes().decode().split("\n") == [*vocabulary.words, ""]
    assert Vocabulary.load(tmp_path / "vocab.txt").words == vocabulary.words


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<unk>\n<pad>\n", "first two words"),
        (b"", "first two words"),
        (b"<pad>\n<unk>\na\nb\na\n", "'a' comes twice"),
        (b"<pad>\n<unk>\n\nb\n", "'' is not one word"),
        (b"<pad>\n<unk>\na b\n", "'a b' is not one word"),
        (b"<pad>\n<unk>\na\nb", "cut short"),
        (b"<pad>\n<unk>\n\xff\n", "utf-8"),
    ],
)
def test_damaged_vocabulary_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value) and "serialize_data.py" in str(error.value)


def test_text_processing_is_rebuilt_from_a_folder(
    tmp_path: Path, splitter: SentenceSplitter, reviews: list[str]
) -> None:
    processor = TextProcessor(splitter, 7, 11)
    processor.save(tmp_path / SPLITTER_FILE)
    Vocabulary(["<pad>", "<unk>", "the"]).save(tmp_path / VOCABULARY_FILE)
    again, vocabulary = load_text_processing(tmp_path)
    assert again == processor
    assert vocabulary.words == ["<pad>", "<unk>", "the"]
    for text in [*reviews[:50], *random_texts(200, seed=8)]:
        assert again.process(text).spans == processor.process(text).spans


def without_version(value: dict[str, Any]) -> Any:
    del value["format_version"]
    return value


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda value: {**value, "format_version": 0}, "format version 0"),
        (without_version, "format_version"),
        (lambda value: {**value, "punkt": None}, "damaged"),
        (lambda value: [], "damaged"),
    ],
)
def test_damaged_splitter_is_refused(tmp_path: Path, damage: Any, problem: str) -> None:
    path = tmp_path / SPLITTER_FILE
    path.write_text(json.dumps(damage(TextProcessor().to_json())))
    with pytest.raises(UserError, match=problem) as error:
        TextProcessor.load(path)
    assert str(path) in str(error.value)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=SPLITTER_FILE):
        load_text_processing(tmp_path)
    TextProcessor().save(tmp_path / SPLITTER_FILE)
    with pytest.raises(UserError, match=VOCABULARY_FILE):
        load_text_processing(tmp_path)


def test_no_training_text_leaves_the_fixed_abbreviations() -> None:
    assert train_splitter([]) == SentenceSplitter()


def test_a_process_that_learns_sentences_imports_of_nltk_only_what_it_needs() -> None:
    code = "import sys; from text.punkt import quick_trainer; quick_trainer(); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = {*done.stdout.split()}
    assert "nltk" in imported and not imported & {"matplotlib", "pandas", "scipy", "sklearn"}
