"""The sample corpus: the same everywhere, its labels to be read from its texts, and only by reading."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from corpus import sample_corpus
from corpus.sample_corpus import (
    ADJECTIVES,
    BLAME,
    MILD,
    NOUNS,
    PRAISE,
    REACTIONS,
    REPORTER,
    STRONG,
    VERBS,
    Draft,
    Opinion,
    SampleReview,
    draft_review,
    generate,
)

SEED = 11
TRAIN, TEST, UNLABELLED = 1200, 300, 200


@pytest.fixture(scope="module")
def reviews() -> list[SampleReview]:
    return list(generate(SEED, TRAIN, TEST, UNLABELLED))


@pytest.fixture(scope="module")
def drafts(reviews: list[SampleReview]) -> list[Draft]:
    return [draft_review(SEED, review.split, int(review.id.split("/")[1])) for review in reviews]


def digest(some: Iterable[SampleReview]) -> str:
    return hashlib.sha256("\n".join(map(repr, some)).encode()).hexdigest()


def share(flags: Iterable[bool]) -> float:
    values = list(flags)
    return sum(values) / len(values)


# --- a reader of its own, which knows the words and English, but not how a review came about --------------------------

WHAT_A_WORD_SAYS = {
    phrase.replace("{object}", "").strip(): opinion
    for table in (ADJECTIVES, NOUNS, VERBS, REACTIONS)
    for opinion, entries in table.items()
    for entry in entries
    for phrase in ([entry.replace(" {object} to anyone", "")] if "{object} to" in entry else entry.split("/"))
}
WORDS = re.compile(r"\b(" + "|".join(sorted(map(re.escape, WHAT_A_WORD_SAYS), key=len, reverse=True)) + r")\b")
NEGATION = re.compile(r"\b(not|nothing|anything but|by no means|far from|be the last to)\b")
WITHOUT_EXCEPTION = re.compile(r"\b(single|not one)\b")
CONCESSIONS = (
    r"^(although|even though) [^,]*, ",
    r", (although|even if) .*$",
    r"^.*, but ",
    r"^unlike [^,]*, (which|who) [^,]*, ",
)
NOT_THE_WRITER_OR_NOT_THIS_FILM = re.compile(
    "|".join([*REPORTER, *sample_corpus.OTHER_WORK])
    + r"|\bI had (?!a good time)|I was (told|sure)|people keep|the poster|newspaper|would have bet|some say"
    + r"|judging by|the trailer|I was ready",
    re.IGNORECASE,
)


def main_clause(sentence: str) -> str:
    clause = sentence.rstrip(".!")
    for concession in CONCESSIONS:
        clause = re.sub(concession, "", clause, flags=re.IGNORECASE)
    return clause


def read_opinion(sentence: str) -> Opinion | None:
    """The judgement passed in the main clause, None if there is none or if it contradicts itself."""
    clause = main_clause(sentence).lower()
    said = {WHAT_A_WORD_SAYS[match] for match in WORDS.findall(clause)}
    if len(said) != 1:
        return None
    (opinion,) = said
    if NEGATION.search(clause):
        return Opinion(-opinion.polarity, STRONG if WITHOUT_EXCEPTION.search(clause) else MILD)
    return opinion


@pytest.mark.parametrize(
    ("sentence", "opinion"),
    [
        ("This film is superb!", Opinion(PRAISE, STRONG)),
        ("I would not call this film dull.", Opinion(PRAISE, MILD)),
        ("There is not a single good moment in it.", Opinion(BLAME, STRONG)),
        ("Although the music is superb, the film falls flat.", Opinion(BLAME, MILD)),
        ("Unlike the sequel, which was awful, the film was a gem.", Opinion(PRAISE, STRONG)),
        ("My aunt loved it, but I found this film bland.", Opinion(BLAME, MILD)),
        ("The camera hardly ever moves.", None),
    ],
)
def test_the_reader_of_these_tests_can_read(sentence: str, opinion: Opinion | None) -> None:
    assert read_opinion(sentence) == opinion


# --- the same everywhere ----------------------------------------------------------------------------------------------


def test_same_seed_same_reviews_in_a_process_with_another_hash_seed() -> None:
    program = (
        "import hashlib; from corpus import sample_corpus as s;"
        "print(hashlib.sha256('\\n'.join(map(repr, s.generate(5, 30, 20, 10))).encode()).hexdigest())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "4321"}
    folder = Path(sample_corpus.__file__).parent.parent
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == digest(generate(5, 30, 20, 10))


def test_reviews_are_those_of_every_other_python_and_machine() -> None:
    """A change of the grammar changes this number, and every figure that was measured on the sample."""
    assert digest(generate(1, 40, 20, 10)) == "113c638627cd53df25bad8b42ccb5173b872d28a8e9d8180975a1ac531b813a7"


def test_other_seed_other_reviews() -> None:
    texts = [{review.text for review in generate(seed, 50, 0, 0)} for seed in (1, 2)]
    assert not texts[0] & texts[1]


def test_more_reviews_leave_the_earlier_ones_as_they_were(reviews: list[SampleReview]) -> None:
    fewer = list(generate(SEED, 31, 17, 5))
    by_id = {review.id: review for review in reviews}
    assert [by_id[review.id] for review in fewer] == fewer


def test_default_sizes_need_not_be_written_to_be_begun() -> None:
    assert [review.id for review in islice(generate(3), 2)] == ["train/00000", "train/00001"]


# --- splits, stars, lengths -------------------------------------------------------------------------------------------


def test_ids_and_splits(reviews: list[SampleReview]) -> None:
    assert Counter(review.split for review in reviews) == {"train": TRAIN, "test": TEST, "unlabelled": UNLABELLED}
    assert len({review.id for review in reviews}) == len(reviews)
    assert all(re.fullmatch(review.split + r"/\d{5}", review.id) for review in reviews)


def test_classes_balance_and_their_order_is_no_clue(reviews: list[SampleReview]) -> None:
    for split, count in (("train", TRAIN), ("test", TEST)):
        praised = [review.rating >= 7 for review in reviews if review.split == split]
        assert sum(praised) == count / 2
        assert 0.4 < share(praised[0::2]) < 0.6  # not every second one


def test_stars(reviews: list[SampleReview]) -> None:
    assert {review.rating for review in reviews if review.split == "unlabelled"} == {0}
    stars = Counter(review.rating for review in reviews if review.split != "unlabelled")
    assert sorted(stars) == [1, 2, 3, 4, 7, 8, 9, 10]
    assert min(stars.values()) > (TRAIN + TEST) / 16  # half of an equal share


def test_lengths(drafts: list[Draft]) -> None:
    lengths = [len(draft.sentences) for draft in drafts]
    assert min(lengths) == 2
    assert 18 <= max(lengths) <= 25
    assert 9 <= sum(lengths) / len(lengths) <= 10


def test_no_text_is_written_twice() -> None:
    texts = Counter(review.text for review in generate(SEED, 2400, 800, 400))
    assert max(texts.values()) == 1


# --- English ----------------------------------------------------------------------------------------------------------


def test_sentences_begin_and_end_as_sentences_do(drafts: list[Draft]) -> None:
    for draft in drafts:
        for sentence in draft.sentences:
            assert re.fullmatch(r"[A-Z][^.!?{}<>]*[.!?]", sentence.text), sentence.text


def test_text_is_its_sentences_with_one_space_or_a_paragraph_break_between(
    reviews: list[SampleReview], drafts: list[Draft]
) -> None:
    for review, draft in zip(reviews, drafts, strict=True):
        assert review.text.replace("<br /><br />", " ") == " ".join(sentence.text for sentence in draft.sentences)
    assert 0.05 < share("<br /><br />" in review.text for review in reviews) < 0.3


@pytest.mark.parametrize(
    "mistake", [r"\b(\w+) \1\b", r"\b[Aa] [aeiou]", r"\b[Aa]n [^aeiou]", r"a\(n\)", "  ", r"[,:] ?[.,!?]", r"\bi\b"]
)
def test_no_slips_of_the_pen(reviews: list[SampleReview], mistake: str) -> None:
    found = re.search(mistake, "\n".join(review.text for review in reviews))
    assert found is None, found.string[found.start() - 30 : found.end() + 30]


def test_no_sentence_stands_twice_in_a_review(drafts: list[Draft]) -> None:
    for draft in drafts:
        texts = [sentence.text for sentence in draft.sentences]
        assert len(set(texts)) == len(texts)


# --- the label can be read from the evidence --------------------------------------------------------------------------


def test_evidence_spans_cut_out_the_deciding_sentences(reviews: list[SampleReview], drafts: list[Draft]) -> None:
    for review, draft in zip(reviews, drafts, strict=True):
        own = [sentence.text for sentence in draft.sentences if sentence.role == "own"]
        assert [review.text[start:end] for start, end in review.evidence] == own
        assert 1 <= len(own) <= 3


def test_stars_follow_from_every_evidence_sentence_alone(reviews: list[SampleReview]) -> None:
    stars = {(BLAME, STRONG): (1, 2), (BLAME, MILD): (3, 4), (PRAISE, MILD): (7, 8), (PRAISE, STRONG): (9, 10)}
    for review in reviews:
        for start, end in review.evidence:
            opinion = read_opinion(review.text[start:end])
            assert opinion is not None, review.text[start:end]
            assert review.rating in stars[opinion] or review.split == "unlabelled", review.text[start:end]


def test_evidence_is_of_the_writer_about_this_film(reviews: list[SampleReview]) -> None:
    for review in reviews:
        for start, end in review.evidence:
            clause = main_clause(review.text[start:end])
            assert not NOT_THE_WRITER_OR_NOT_THIS_FILM.search(clause), clause


def test_other_opinions_are_of_others_or_about_something_else(drafts: list[Draft]) -> None:
    for draft in drafts:
        for sentence in draft.sentences:
            if sentence.role in ("reported", "elsewhere", "expected"):
                assert NOT_THE_WRITER_OR_NOT_THIS_FILM.search(sentence.text), sentence.text
            if sentence.role == "plot":
                assert not re.search(r"\b(I|my|me|film|picture)\b", sentence.text), sentence.text


def test_neutral_sentences_judge_nothing(drafts: list[Draft]) -> None:
    neutral = {sentence.text for draft in drafts for sentence in draft.sentences if sentence.role == "neutral"}
    assert len(neutral) > 1000
    assert not [text for text in neutral if WORDS.search(text.lower())]


def test_share_and_place_of_evidence(drafts: list[Draft]) -> None:
    roles = [[sentence.role == "own" for sentence in draft.sentences] for draft in drafts]
    assert 0.15 < sum(map(share, roles)) / len(roles) <= 0.2
    places = [index / (len(own) - 1) for own in roles for index, decides in enumerate(own) if decides]
    assert 0.45 < sum(places) / len(places) < 0.55
    assert share(place == 0 for place in places) > 0.05
    assert share(place == 1 for place in places) > 0.05


# --- and not from the words alone -------------------------------------------------------------------------------------


def test_distractions_do_not_know_the_label(drafts: list[Draft]) -> None:
    agrees: dict[str, list[bool]] = {}
    for draft in drafts:
        for sentence in draft.sentences:
            if sentence.role not in ("own", "neutral"):
                agrees.setdefault(sentence.role, []).append(sentence.polarity == draft.own.polarity)
    assert sorted(agrees) == ["elsewhere", "expected", "plot", "reported"]
    for role, flags in agrees.items():
        assert abs(share(flags) - 0.5) < 4 * 0.5 / len(flags) ** 0.5, role  # four standard deviations of a fair coin


def test_every_adjective_stands_in_evidence_and_distractions_of_both_labels(drafts: list[Draft]) -> None:
    seen = {
        (word, sentence.role == "own", draft.own.polarity)
        for draft in drafts
        for sentence in draft.sentences
        for word in re.findall(r"\w+", sentence.text)
    }
    adjectives = [word for words in ADJECTIVES.values() for word in words]
    expected = {(word, own, polarity) for word in adjectives for own in (True, False) for polarity in (PRAISE, BLAME)}
    assert expected - seen == set()


def test_counting_good_and_bad_words_is_a_poor_reader(reviews: list[SampleReview]) -> None:
    right = []
    for review in reviews[: TRAIN + TEST]:
        score = sum(WHAT_A_WORD_SAYS[word].polarity for word in WORDS.findall(review.text.lower()))
        if score:
            right.append((score > 0) == (review.rating >= 7))
    assert len(right) > 0.6 * (TRAIN + TEST)
    assert 0.5 < share(right) < 0.7
