"""Properties that hold for any Unicode text: offsets, order, nothing lost, the same result twice."""

from __future__ import annotations

import itertools
from typing import TypeVar

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from data_processing import PAD, UNKNOWN, UNKNOWN_ID, Sentences, TextProcessor, Vocabulary, blank_markup, segments
from text.punkt import SentenceSplitter
from text.text_reader import TextReader, pack, unpack

# Pieces that decide about sentences, words and markup, which single characters drawn at random hardly ever form.
PIECES = (
    *(
        "Mr. ",
        "U.S. ",
        "e.g. ",
        "J. Bach ",
        "3.14",
        "1,000 ",
        "...",
        "?! ",
        ". ",
        ".\n\n",
        "\r\n \r\n",
        "\u2029",
        "。",
        "। ",
    ),
    *("<br />", "<BR>", "</p>", "<i>", "<a href='x'>", "<!-- a. b -->", "<3", "<", "&quot;", "&#39;", ":-) ", "^_^"),
    *(
        "don't",
        "AT&T",
        "***",
        "\u00ad",
        "\u200c",
        "\u200d",
        "\ufe0f",
        "e\u0301",
        "İ",
        "ß",
        "ﬁ",
        "中",
        "ส",
        "\x00",
        "\x85",
    ),
    *("👩\u200d👧", "🇩🇪", "\ud800", "\udfff", "\ufeff", "\u0130stanbul ", "a" * 70),
)
Item = TypeVar("Item")
ANY_CHARACTER = st.characters(exclude_categories=())  # half a pair of surrogates too
TEXTS = st.lists(st.one_of(st.sampled_from(PIECES), st.text(ANY_CHARACTER, max_size=12)), max_size=25).map("".join)
LIMITS = st.tuples(st.integers(1, 70), st.integers(1, 400))
SPLITTERS = st.builds(
    SentenceSplitter,
    abbreviations=st.frozensets(st.sampled_from(["mr", "u.s", "e.g", "dr", "a"])),
    collocations=st.frozensets(st.sampled_from([("j", "bach"), ("##number##", "the")])),
    sentence_starters=st.frozensets(st.sampled_from(["the", "bach", "don't"])),
)
# The characters that are no word and no part of one: what people see is never dropped.
INVISIBLE = {*map(chr, [*range(0x20), *range(0x7F, 0xA0), *range(0x200B, 0x2010), *range(0x2028, 0x202F)])}
INVISIBLE |= {*map(chr, [*range(0x2060, 0x2070), *range(0xFE00, 0xFE10), 0xFEFF, *range(0xD800, 0xE000)])}


def flat(sentences: list[list[Item]]) -> list[Item]:
    return list(itertools.chain.from_iterable(sentences))


@given(TEXTS, SPLITTERS, LIMITS)
@example("İ.I\u0307 <br />\ud800。", SentenceSplitter(), (1, 1))
def test_words_are_at_their_spans_in_order_without_overlap(
    text: str, splitter: SentenceSplitter, limits: tuple[int, int]
) -> None:
    found = TextProcessor(splitter, *limits).process(text)
    last = 0
    for words, spans in zip(found.words, found.spans, strict=True):
        for word, (start, end) in zip(words, spans, strict=True):
            assert last <= start < end <= len(text)
            assert text[start:end].lower() == word
            last = end


@given(TEXTS, SPLITTERS, LIMITS)
def test_limits_and_sentences_keep_every_word_in_its_order(
    text: str, splitter: SentenceSplitter, limits: tuple[int, int]
) -> None:
    whole = TextProcessor(splitter, 10**9, 10**9).process(text)
    limited = TextProcessor(splitter, *limits).process(text)
    words, spans = flat(limited.words), flat(limited.spans)
    assert flat(whole.words)[: len(words)] == words and flat(whole.spans)[: len(spans)] == spans
    assert len(words) + limited.cut_words == len(flat(whole.words))
    assert all(0 < len(sentence) <= limits[0] for sentence in limited.words)
    assert len(limited.words) <= limits[1] and (not limited.cut_words or len(limited.words) == limits[1])


@given(TEXTS, SPLITTERS)
def test_no_visible_character_is_lost(text: str, splitter: SentenceSplitter) -> None:
    found = TextProcessor(splitter, 60, 10**9).process(text)
    covered = {place for start, end in flat(found.spans) for place in range(start, end)}
    blanked = blank_markup(text)
    assert len(blanked) == len(text)
    for place, character in enumerate(blanked):
        assert place in covered or character.isspace() or character in INVISIBLE, (place, character)


@given(TEXTS)
def test_segments_cover_the_text_once(text: str) -> None:
    bounds = list(segments(text))
    assert "".join(text[start:end] for start, end in bounds) == text
    assert all(start < end for start, end in bounds)


def content(found: Sentences) -> tuple[object, ...]:
    return found.words, found.spans, found.cut_words


@given(TEXTS, SPLITTERS, LIMITS)
def test_reading_twice_and_by_a_stored_processor_gives_the_same(
    text: str, splitter: SentenceSplitter, limits: tuple[int, int]
) -> None:
    processor = TextProcessor(splitter, *limits)
    stored = TextProcessor.from_json(processor.to_json(), "stored")
    first = content(processor.process(text))
    assert content(processor.process(text)) == first == content(stored.process(text))


@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(1, 3))
def test_ids_name_the_words_and_special_words_never_come_from_a_text(texts: list[str], min_count: int) -> None:
    read = [TextProcessor().process(text).words for text in texts]
    words = [word for sentences in read for word in flat(sentences)]
    counts = {word: words.count(word) for word in words}
    vocabulary = Vocabulary.from_counts(counts.items(), min_count)
    assert vocabulary.words[:2] == [PAD, UNKNOWN] and not {PAD, UNKNOWN} & set(words)
    assert set(vocabulary.words[2:]) == {word for word, count in counts.items() if count >= min_count}
    for sentences in read:
        ids, lengths = vocabulary.encode(sentences)
        assert sum(lengths) == len(ids) > 0 and min(lengths) > 0
        named = [vocabulary.words[number] for number in ids]
        wanted = flat(sentences) or [UNKNOWN]
        assert named == [word if counts.get(word, 0) >= min_count else UNKNOWN for word in wanted]
        assert UNKNOWN_ID in ids or UNKNOWN not in named


@given(st.lists(TEXTS, max_size=5))
def test_readings_come_back_from_the_form_in_which_processes_exchange_them(texts: list[str]) -> None:
    reader = TextReader(TextProcessor(max_sentences_per_document=3), Vocabulary([PAD, UNKNOWN, "don't", "...", "中"]))
    readings = [reader.read(text) for text in texts]
    again = unpack(pack(readings))
    assert [one[1:] for one in again] == [one[1:] for one in readings]
    for one, other in zip(again, readings, strict=True):
        for found, wanted in zip(one.document, other.document, strict=True):
            np.testing.assert_array_equal(found, wanted)
