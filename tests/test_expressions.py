"""The text processing in JavaScript, run by Node, against that of Python: the same words, sentences and ids."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import regex

from corpus.sample_corpus import generate
from data_processing import TextProcessor, Vocabulary, blank_markup
from shipping import classify
from shipping.expressions import CHARACTERS, CODES, Translation, javascript_expressions
from shipping.text_settings import patterns, text_settings
from tests.test_data_processing import random_texts
from tests.test_export import AWKWARD, random_splitter
from text.punkt import train_splitter

SCRIPT = Path(classify.__file__).parent / "static" / "classify.js"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node here; on Debian: apt-get install nodejs")
UNICODE = [
    "ΟΔΥΣΣΕΥΣ ΣΑΣ Σ. ΑΣ\u0378Β İstanbul ıI ǅungla ẞ STRASSE ﬁn \u2126 K",
    "<DıV>word</dİv> <ſpan>x</ſpan>y <K>k</K> <\u017ftrong >z<P\u2028>",
    "a\u00a0b\u1680c\u2003d\u3000e\ufefff\u200bg\x85h\x1ci\x1dj\x1ek\x1fl\x0bm\x0cn\ro",
    "He said.\x1cNext. One.\x85Two. Three.\u2028Four. Five.\u2029Six.\ufeffSeven.\u00a0Eight. a.\u180eb",
    "3.5 ٣.٥ १.२ 𝟏.𝟐 ² ½ Ⅷ. x² 1,000.00 7.5/10 No. ٣. Yes.",
    "e\u0301 n\u0303o\u200dk \u0301alone अनुच्छेद। हिन्दी॥ ไทย ລາວ မြန်မာ ខ្មែរ 한국어. 日本語！？ 中。文",
    "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 ❤\ufe0f 1\ufe0f\u20e3 👍🏽👍🏿 🇩🇪🇫🇷🇩 𝔘nicode 𐐀𐐨 𐒰",
    "\U0001e900 \U0001e922 \U00010d50 \ua7cb \ua7dc \u1c89",
    "𝐀. 𝐁ach 𐐀. Was 𐐨. was. (𐐀.) 𐐀𐐁. Next",
    "\ud800 lone \udc00. Next\udfff\ud83d word. \ud83d",
    "\ue000 \U000f0000 \u0378 \U000e0001 \u200e\u202eword\u202c \u2066x\u2069",
    "He left. \"Who?!\" she asked.) 'So.' [Yes.] «Non.» ‹x.› “Done.”” -- End.\n\nNew.\r\n\r\nMore\u2029\u2029x",
    "mr. Smith vs. Jones et al.; i.e. e.g... etc. U.S.A. is. p.m. A. B. C. -- J. Bach. No... yes .. . . . x",
    "a.\tB.\nc.\x0bD.\x0cE. x\ny. Z.\n\n w? !! ?. ." + "\x00.\x1b. A",
    "<b>bold</b><br/>x<br />y<!-- a -- b --><p class='x'>z</p ><bx><ı><a\n href=>q</A><! --x-->",
    ":-) :( ;) =D :'( ^^ ^_^ <3 <33 *** ****** ----- ~~~~ &amp; &#39; &x; AT&T R&amp;B :/ :// :-|",
    "don't it’s well-made- -x x--y A.I. a.b. Ab.C U.S U.S.A x.y 1:2 1.a a/b 1/b and/or 10/10",
]
CHARACTERS_TO_MIX = (
    "aAbBzZσΣςİıſKKß.。।!?;:,'\"’“”()[]{}<>/-_*&#0123٣½ \t\n\r\x0b\x0c\x1c\x1f\x85\u00a0\u2028\u2029\u200b\u200d\ufeff"
    "\u0301\ufe0f\u20e3👩🏽🇩❤日ไक𐐀𐐨𝟏\u0378\ud800\ue000"
)


def mixed_texts(count: int, seed: int) -> list[str]:
    """Texts of characters that the two languages could see differently, with letters and full stops between them."""
    generator = random.Random(seed)
    alphabet = list(CHARACTERS_TO_MIX) + list("abAB. ") * 8
    texts = ("".join(generator.choices(alphabet, k=generator.randint(1, 80))) for _ in range(count))
    return [re.sub("\ud800(?=[\udc00-\udfff])", "", text) for text in texts]


def compare(folder: Path, processor: TextProcessor, texts: list[str]) -> None:
    """Compares words, sentences and ids of every text; half of the words have an id, and all of the rare letters."""
    known = [*texts[::2], *UNICODE]
    words = {word for text in known for sentence in processor.process(text).words for word in sentence}
    settings = json.loads(json.dumps(text_settings(processor, Vocabulary(["<pad>", "<unk>", *sorted(words)]))))
    theirs = classify.TextReader(settings)
    for text, found in zip(texts, in_node(folder, settings, texts), strict=True):
        document = theirs.read(text)
        expected = {
            "token_ids": document.token_ids.tolist(),
            "words_per_sentence": document.words_per_sentence.tolist(),
            "spans": [[list(span) for span in sentence] for sentence in document.spans],
            "counts": [document.words, document.unknown_words, document.cut_words],
        }
        assert found == expected, ascii(text)


def in_node(folder: Path, settings: dict[str, Any], texts: list[str]) -> list[dict[str, Any]]:
    """What the page's script reads."""
    assert NODE
    script = Path(shutil.copy(SCRIPT, folder / "classify.mjs"))  # Node goes by the name
    content = {"settings": settings, "expressions": javascript_expressions(patterns()), "texts": texts}
    (folder / "input.json").write_text(json.dumps(content), encoding="utf-8")
    program = [NODE, str(Path(__file__).with_name("read_texts.mjs")), str(script), str(folder / "input.json")]
    done = subprocess.run(program, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@needs_node
@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.slow)])
def test_words_sentences_and_ids_are_those_of_python(count: int, tmp_path: Path) -> None:
    reviews = [review.text for review in itertools.islice(generate(3), 300)]
    extras = ["Dr. Grey met J. Bach at 5 p.m. on Friday. ", "It cost approx. 3.5 mill. dollars, e.g. in the U.S. "]
    reviews = [extras[number % 2] * (number % 5) + text for number, text in enumerate(reviews)]
    processor = TextProcessor(train_splitter(map(blank_markup, reviews)), 7, 20)
    compare(tmp_path, processor, [*reviews, *AWKWARD, *UNICODE, *random_texts(count, 6), *mixed_texts(count, 7)])


@needs_node
@pytest.mark.parametrize("number", range(2))
def test_every_rule_about_sentences_is_that_of_the_splitter(tmp_path: Path, number: int) -> None:
    """Random parameters, under which initials can be abbreviations and every word can start a sentence."""
    generator = random.Random(number)
    words = ["word", "the", "i", "a", "no", "j", "bach", "mr", "e.g", "u.s", "etc", "##number##", "3", "é", "𐐨", "σας"]
    splitter = random_splitter(generator, words)
    cased = [word.title() + dot for word in words for dot in ("", ".", "...")] + [f"{word}." for word in words]
    sentences = [" ".join(generator.choices(words + cased, k=12)) for _ in range(300)]
    compare(tmp_path, TextProcessor(splitter), random_texts(500, number) + sentences)


def test_a_class_has_the_characters_that_python_finds() -> None:
    found = javascript_expressions({})
    ends = [re.findall(r"\\u\{(\w+)\}", part) for part in re.findall(r"\\u\{\w+\}(?:-\\u\{\w+\})?", found["space"])]
    codes = {code for end in ends for code in range(int(end[0], 16), int(end[-1], 16) + 1)}
    assert (
        codes == {code for code in CODES if chr(code).isspace()}
        and set(CHARACTERS) == javascript_expressions({}).keys()
    )


def test_what_is_not_translated_is_refused() -> None:
    for pattern in (re.compile("a(?>b)"), re.compile(r"(a)\1"), re.compile(r"a\b"), re.compile("a.", re.DOTALL)):
        with pytest.raises(ValueError, match="not translated"):
            Translation(pattern)
    assert Translation(regex.compile(r"a{2,3}+$")).text == r"(?:(?=(?<atomic1>a{2,3}))\k<atomic1>)(?=\n?(?![^]))"
