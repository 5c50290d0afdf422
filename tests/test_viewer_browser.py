"""The page in a real browser: the whole flow with mouse and with keyboard, hostile and odd texts, small screens."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from explaining.explained_text import explain_text
from explaining.explanations import METHODS, methods_of
from explaining.explanations import explain as explain_documents
from explaining.exploration import page_height
from explaining.pages import explanation_page
from page.answers import ServedRun
from tests.served_runs import (
    MANY_CLASSES,
    load_run,
    load_run_of_many_classes,
    load_run_of_other_data,
    probabilities,
    serving,
    write_folder,
)

expect.set_options(timeout=20_000)  # as for everything else here: a busy machine takes its time
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROME_OF_MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
EXECUTABLE = next(filter(None, map(shutil.which, (*NAMES, CHROME_OF_MACOS))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        EXECUTABLE is None, reason="no Chromium and no Chrome here; on Debian: apt-get install chromium"
    ),
]
TEXT = "A good word01! Bad word02, unheard.\nQuite good word03 and word04? word05."
HOSTILE = [
    "<script>window.hacked = 1</script> good",
    '"><img src=x onerror="window.hacked = 1"> bad',
    "</textarea><svg onload='window.hacked = 1'> good",
    '" autofocus onfocus="window.hacked = 1 bad',
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[ServedRun]:
    folder = write_folder(tmp_path_factory.mktemp("browser"))
    runs = [load_run(folder, name) for name in ("tiny-han", "tiny-other")]
    for served in runs:
        served.draw_map()
    return runs


@pytest.fixture(scope="module")
def address(runs: list[ServedRun]) -> Iterator[str]:
    with serving(runs[:1]) as address:
        yield address


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox does not run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=[*root, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """An empty page; whatever the browser complains about (its policy, a script) fails the test."""
    context = browser.new_context(base_url=address, viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    page.on("request", lambda request: None if request.url.startswith(address) else complaints.append(request.url))
    page.goto("/")
    yield page
    context.close()
    assert [text for text in complaints if not re.search("status of 4(15|22)", text)] == []


def explain(page: Page, text: str, method: str = "attention") -> None:
    page.locator(f"#ask input[value={method}]").check()
    page.locator("#text").fill(text)
    with page.expect_response("**/answer"):
        page.get_by_role("button", name="Explain").click()
    expect(page.locator("#answer.busy")).to_have_count(0)


def answer(page: Page, act: Any) -> None:
    """Does something that asks for another answer, and waits for it."""
    with page.expect_response("**/answer"):
        act()
    expect(page.locator("#answer.busy")).to_have_count(0)


def shown(page: Page) -> list[str]:
    return page.locator(".probabilities td.number:not(.quiet)").all_inner_texts()


def expected(served: ServedRun, text: str) -> list[str]:
    return [f"{100 * value:.1f}%" for value in sorted(probabilities(served.predictor, text), reverse=True)]


def wait_until_scored(page: Page) -> None:
    """Waits for the last exchange of the rows of a table."""
    expect(page.locator("#scoring")).to_have_count(0)


def word(page: Page, text: str) -> Any:
    return page.locator(".word").get_by_text(text, exact=True).first


def test_the_whole_flow_with_a_mouse(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT)
    assert shown(page) == expected(runs[0], TEXT)
    by_attention = page.locator(".shaded").inner_html()
    assert page.locator(".word.level5").count() >= 1 and page.locator(".word.against").count() == 0
    answer(page, lambda: page.get_by_label("integrated gradients").check())
    assert page.locator(".shaded").inner_html() != by_attention and "method=integrated_gradients" in page.url

    page.locator("button.weight").nth(1).click()
    expect(page.locator("li.out")).to_have_count(1)
    assert shown(page) == expected(runs[0], "A good word01! \nQuite good word03 and word04? word05.")
    expect(page.locator(".probabilities")).to_contain_text(f"was {expected(runs[0], TEXT)[0]}")
    page.locator("button.weight").nth(1).click()
    expect(page.locator("li.out")).to_have_count(0)

    word(page, "Bad").click()
    page.locator("input.edit").fill("good good")
    answer(page, lambda: page.locator("input.edit").press("Enter"))
    edited = TEXT.replace("Bad", "good good")
    assert page.locator("#text").input_value() == edited and shown(page) == expected(runs[0], edited)
    expect(page.locator(".about")).to_contain_text("Words were edited")
    link, before = page.url, shown(page)
    answer(page, lambda: page.get_by_role("button", name="Undo all").click())
    assert page.locator("#text").input_value() == TEXT and shown(page) == expected(runs[0], TEXT)

    page.goto(link)
    assert shown(page) == before and page.locator("#text").input_value() == edited
    expect(page.locator(".about")).to_contain_text("Words were edited")


def test_the_class_to_explain_is_chosen_where_the_method_knows_classes(page: Page, runs: list[ServedRun]) -> None:
    choice = page.get_by_label("class to explain")
    explain(page, TEXT)
    expect(choice).to_be_hidden()
    answer(page, lambda: page.get_by_label("gradient x input", exact=True).check())
    predicted = page.locator(".probabilities caption").inner_text()
    other = next(name for name in runs[0].predictor.class_names if name != predicted)
    expect(page.locator(".legend")).to_contain_text(f"speaks for {predicted}")
    answer(page, lambda: choice.select_option(other))
    expect(page.locator(".legend")).to_contain_text(f"speaks for {other}")
    page.goto(page.url)
    expect(choice).to_have_value(other)
    expect(page.locator(".legend")).to_contain_text(f"speaks for {other}")


def test_a_sentence_stays_left_out_while_a_word_before_it_is_edited(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT)
    answer(page, lambda: page.locator("button.weight").nth(2).click())
    word(page, "Bad").click()
    page.locator("input.edit").fill("Wonderful")
    answer(page, lambda: page.locator("input.edit").press("Enter"))
    assert page.locator("li.out .word").first.inner_text() == "Quite"
    assert shown(page) == expected(runs[0], "A good word01! Wonderful word02, unheard.\n word05.")


def test_escape_leaves_a_word_and_typing_in_the_text_begins_anew(page: Page) -> None:
    explain(page, TEXT)
    word(page, "Bad").click()
    page.locator("input.edit").fill("good")
    page.locator("input.edit").press("Escape")
    assert page.locator("#text").input_value() == TEXT and page.locator("input.edit").count() == 0
    answer(page, lambda: page.locator("button.weight").first.click())
    page.locator("#text").press("End")
    page.locator("#text").type(" bad")
    answer(page, lambda: page.locator("#text").press("Control+Enter"))
    assert page.locator("li.out").count() == 0 and "was" not in page.locator(".probabilities").inner_text()


def test_a_stale_answer_says_so_and_changes_nothing(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT)
    new = "Good word07 word08. Bad word09."
    page.locator("#text").fill(new)
    expect(page.locator("#stale")).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for selector in ("button.weight", ".word"):
        page.locator(selector).first.dispatch_event("click")
    page.locator("button.weight").first.evaluate("(button) => button.click()")
    page.wait_for_timeout(300)
    assert asked == [] and page.locator("#text").input_value() == new and page.locator("input.edit").count() == 0
    page.locator("#text").fill(TEXT)
    expect(page.locator("#stale")).to_be_hidden()
    answer(page, lambda: page.locator("button.weight").first.click())
    expect(page.locator("li.out")).to_have_count(1)
    page.locator("#text").fill(new)
    answer(page, lambda: page.get_by_role("button", name="Explain").click())
    expect(page.locator("#stale")).to_be_hidden()
    assert shown(page) == expected(runs[0], new) and page.locator("li.out").count() == 0


def test_the_method_that_was_possible_is_the_one_selected(page: Page) -> None:
    page.evaluate("(text) => { document.getElementById('text').value = text; }", "good word01 bad word02 qqq. " * 330)
    page.locator("#ask input[value=leave_one_out]").check()
    expect(page.locator("#answer")).to_contain_text("leave-one-out is limited to 1,500 words")
    expect(page.get_by_label("gradient x input", exact=True)).to_be_checked()
    assert page.locator("#draw input[name=method]").get_attribute("value") is not None
    assert page.locator("#draw input[name=method]").input_value() == "gradient" and "method=gradient" in page.url


def test_a_text_that_was_not_sent_comes_back(page: Page) -> None:
    explain(page, "good word01.")
    page.locator("#text").fill("A long letter to the network.")
    page.get_by_role("button", name="Draw a test document").click()
    expect(page.locator(".about")).to_contain_text("labelled")
    page.go_back()
    expect(page.locator("#text")).to_have_value("A long letter to the network.")
    expect(page.locator("#stale")).to_be_visible()
    answer(page, lambda: page.get_by_role("button", name="Explain").click())
    page.get_by_role("link", name="Documents").click()
    page.go_back()
    expect(page.locator("#text")).to_have_value("A long letter to the network.")
    expect(page.locator("#stale")).to_be_hidden()


def test_edited_words_are_framed_and_say_what_they_were(page: Page) -> None:
    explain(page, TEXT)
    word(page, "Bad").click()
    page.locator("input.edit").fill("Quite good")
    answer(page, lambda: page.locator("input.edit").press("Enter"))
    assert page.locator(".word.edited").all_inner_texts() == ["Quite", "good"]
    assert (page.locator(".word.edited").first.get_attribute("title") or "").endswith('edited, was "Bad"')
    assert page.locator(".word.edited").first.evaluate("(word) => getComputedStyle(word).boxShadow") != "none"


def test_all_numbers_have_one_unit_which_is_named(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT, "contribution")
    predicted = page.locator(".probabilities caption").inner_text()
    expect(page.locator(".unit")).to_have_text(f"Numbers: log-odds of {predicted}.")
    target = runs[0].predictor.class_names.index(predicted)
    [scores] = explain_documents(runs[0].predictor, [runs[0].predictor.read(TEXT).document], [target], "contribution")
    assert page.locator("button.weight .number").all_inner_texts() == [f"{score:+.2f}" for score in scores.sentences]
    page.locator("button.weight").first.hover()
    expect(page.locator("#detail")).to_contain_text(f"{scores.sentences[0]:+.4f} log-odds of {predicted}")
    answer(page, lambda: page.get_by_label("attention").check())
    expect(page.locator(".unit")).to_have_text("Numbers: share of attention.")


def test_printing_keeps_the_shades_and_leaves_the_controls_out(browser: Browser, address: str) -> None:
    context = browser.new_context(base_url=address, color_scheme="dark")
    page = context.new_page()
    page.goto(f"/?text={TEXT}&method=gradient".replace("\n", " "))
    page.emulate_media(media="print", color_scheme="dark")
    for selector in ("#text", ".actions", ".methods", "nav", "#permalink"):
        expect(page.locator(selector).first).to_be_hidden()
    style = "(element) => [getComputedStyle(element).printColorAdjust, getComputedStyle(element).backgroundColor]"
    assert page.locator(".word.level5").first.evaluate(style)[0] == "exact"
    assert page.locator(".bar").first.evaluate(style)[0] == "exact"
    assert page.locator("body").evaluate(style)[1] == "rgb(255, 255, 255)"
    context.close()


def test_an_answer_to_a_text_that_was_changed_meanwhile_is_stale(page: Page) -> None:
    page.locator("#text").fill(TEXT)

    def type_first(route: Any) -> None:
        page.locator("#text").fill("Good.")
        route.continue_()

    page.route("**/answer", type_first)
    answer(page, lambda: page.get_by_role("button", name="Explain").click())
    expect(page.locator("#stale")).to_be_visible()
    page.unroute("**/answer")


@pytest.mark.parametrize("form", ["HTML", "JSON", "PNG"])
def test_what_one_sees_is_saved(page: Page, form: str) -> None:
    explain(page, TEXT, "gradient")
    verdict = page.locator(".probabilities caption").inner_text()
    with page.expect_download() as download:
        page.locator(".save").get_by_role("button", name=form).click()
    content = download.value.path().read_bytes()
    assert download.value.suggested_filename == f"explanation.{form.lower()}"
    if form == "PNG":
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.width > 1_000 and len(picture.convert("RGB").getcolors(1 << 24) or []) > 20
    else:
        assert verdict in content.decode() and "unheard" in content.decode()
    expect(page.locator("#stale")).to_be_hidden()
    assert page.locator("#text").input_value() == TEXT


def test_a_picture_strikes_out_what_is_left_out_and_has_the_way_on_the_map(page: Page) -> None:
    explain(page, TEXT, "gradient")
    answer(page, lambda: page.locator("button.weight").first.click())
    page.evaluate(
        """() => {
          window.strikes = 0;
          window.ways = [];
          const [fill, line] = [CanvasRenderingContext2D.prototype.fillRect, CanvasRenderingContext2D.prototype.lineTo];
          CanvasRenderingContext2D.prototype.fillRect = function (...values) {
            window.strikes += values[3] === 1;
            fill.apply(this, values);
          };
          CanvasRenderingContext2D.prototype.lineTo = function (...values) {
            window.ways.push(values);
            line.apply(this, values);
          };
        }"""
    )
    with page.expect_download():
        page.locator(".save").get_by_role("button", name="PNG").click()
    assert page.evaluate("strikes") == 4  # A good word01 and its mark
    page.evaluate("document.querySelector('.run').classList.add('picture')")  # where it was when it was drawn
    box = page.locator(".map .here").bounding_box()
    assert box is not None
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert any(place == pytest.approx(middle, abs=1) for place in page.evaluate("ways"))


def test_a_picture_shows_nothing_of_what_is_folded(browser: Browser, address_of_many: str) -> None:
    page = browser.new_page(base_url=address_of_many)
    page.goto("/?text=Good+word01.+Bad+word02.")
    page.evaluate(
        """() => {
          window.drawn = [];
          const write = CanvasRenderingContext2D.prototype.fillText;
          CanvasRenderingContext2D.prototype.fillText = function (...values) {
            window.drawn.push(values[0]);
            write.apply(this, values);
          };
        }"""
    )
    for opened, count in ((False, 0), (True, 20)):
        if opened:
            page.get_by_text("Colours of the classes").click()
        page.evaluate("drawn.length = 0")
        with page.expect_download():
            page.locator(".save").get_by_role("button", name="PNG").click()
        drawn = page.evaluate("drawn")
        assert "Colours" in drawn  # ten classes with bars, the legend and sentences name some of them, too
        named = " ".join(drawn[drawn.index("Colours") :]).split(" Phrases:")[0].count("review")
        assert named == count
    page.close()


def test_a_slow_explanation_shows_how_far_it_is_and_is_cancelled(page: Page) -> None:
    explain(page, "Good word01.")
    before = page.locator(".shaded").inner_text()
    page.route("**/working?*", lambda route: route.fulfill(json={"share": 0.25}))
    page.route("**/answer", lambda route: None)  # never answered
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#working")).to_be_visible()
    expect(page.get_by_label("Explained so far")).to_have_js_property("value", 0.25)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#working")).to_be_hidden()
    expect(page.locator("#answer.busy")).to_have_count(0)
    assert page.locator(".shaded").inner_text() == before and page.locator("#text").input_value() == TEXT
    expect(page.locator("#stale")).to_be_visible()
    page.unroute_all(behavior="ignoreErrors")


def test_the_back_button_returns_to_the_answer_before(page: Page) -> None:
    explain(page, "good word01.")
    first = shown(page)
    explain(page, "bad word02. word03")
    page.go_back()
    expect(page.locator("#text")).to_have_value("good word01.")
    assert shown(page) == first


def test_everything_can_be_done_from_the_keyboard(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT)
    first = page.locator(".word").first
    page.locator("#permalink").focus()
    for _ in range(6):  # the links to the nearest documents and the sentence's bar lie between
        page.keyboard.press("Tab")
        if first.evaluate("word => word === document.activeElement"):
            break
    expect(first).to_be_focused()
    expect(page.locator("#detail")).to_contain_text("A: attention")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.keyboard.type("bad")
    answer(page, lambda: page.keyboard.press("Enter"))
    edited = TEXT.replace("A good", "A bad")
    assert page.locator("#text").input_value() == edited
    expect(word(page, "bad")).to_be_focused()
    answer(page, lambda: page.keyboard.press("Delete"))
    assert shown(page) == expected(runs[0], TEXT.replace("good ", "", 1))
    page.keyboard.press("End")
    expect(page.locator(".word").last).to_be_focused()
    page.locator("button.weight").first.focus()
    answer(page, lambda: page.keyboard.press("Enter"))
    expect(page.locator("button.weight").first).to_be_focused()
    assert page.locator("button.weight").first.get_attribute("aria-pressed") == "true"


def test_numbers_are_shown_where_the_mouse_points(page: Page) -> None:
    explain(page, TEXT, "gradient")
    word(page, "unheard").hover()
    expect(page.locator("#detail")).to_have_text(re.compile(r"^unheard: [+-]\d.* log-odds of .*not in the vocabulary$"))
    page.locator("button.weight").first.hover()
    expect(page.locator("#detail")).to_contain_text("click to leave it out")


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_of_a_text_runs(page: Page, text: str) -> None:
    explain(page, text)
    assert page.locator(".word").count() >= 1 and page.evaluate("window.hacked === undefined")
    assert page.locator("#answer script, #answer img, #answer [onload], #answer [onfocus]").count() == 0
    page.goto(page.url)
    assert page.evaluate("window.hacked === undefined") and page.locator("#text").input_value() == text


def test_places_hold_in_every_script(page: Page) -> None:
    text = "👩‍👩‍👧 good 🏳️‍🌈, مرحبا bad שלום 𝔘nicode word01"
    explain(page, text)
    word(page, "bad").click()
    page.locator("input.edit").fill("good 🎬")
    answer(page, lambda: page.locator("input.edit").press("Enter"))
    assert page.locator("#text").input_value() == text.replace("bad", "good 🎬")
    assert page.locator(".shaded bdi").first.get_attribute("dir") == "auto"


def test_five_thousand_words_one_word_and_none(page: Page) -> None:
    long = "good word01 bad word02 qqq. " * 834  # 400 sentences of it are read
    page.evaluate("(text) => { document.getElementById('text').value = text; }", long)  # typing takes Chromium seconds
    answer(page, lambda: page.get_by_role("button", name="Explain").click())
    assert page.locator(".word").count() == 400 * 6 and "were not read" in page.locator(".says").inner_text()
    explain(page, "good")
    assert page.locator(".word").count() == 1
    explain(page, "")
    assert "There is no word in this text" in page.get_by_role("alert").inner_text()


def test_from_the_mistakes_to_a_text_and_a_random_one(page: Page, runs: list[ServedRun]) -> None:
    page.get_by_role("link", name="Documents").click()
    page.get_by_label("show").select_option("predicted wrong")
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("link", name="words").click()
    wrong = runs[0].documents.chosen("wrong")
    longest = max(wrong, key=lambda document: runs[0].predictor.read(document.text).words)
    first = page.locator(".documents tbody a").first
    expect(first).to_have_text(longest.id)
    expect(page.locator(".documents [aria-sort=descending]")).to_contain_text("words")
    wait_until_scored(page)
    first.click()
    assert page.locator("#text").input_value() == longest.text and shown(page) == expected(runs[0], longest.text)
    expect(page.locator(".about")).to_contain_text("predicted wrong")
    page.locator("select[name=filter]").select_option("right")
    page.get_by_role("button", name="Draw a test document").click()
    expect(page.locator(".about")).to_contain_text("predicted right")
    assert page.locator("select[name=filter]").input_value() == "right"


def test_a_number_of_the_confusion_matrix_opens_its_documents(page: Page, runs: list[ServedRun]) -> None:
    page.get_by_role("link", name="Overview").click()
    number = page.locator(".confusion .right a").first
    count, label = number.inner_text(), runs[0].predictor.class_names[0]
    number.click()
    expect(page.locator("#rows")).to_contain_text(f"{count} documents are selected")
    expect(page.get_by_label("labelled")).to_have_value(label)
    wait_until_scored(page)
    page.locator(".documents tbody a").first.click()
    expect(page.locator(".about")).to_contain_text(f"labelled {label}: predicted right")


def test_a_file_is_uploaded_scored_sorted_searched_opened_and_downloaded(
    page: Page, runs: list[ServedRun], tmp_path: Path
) -> None:
    texts = {f"n{number}": f"good word0{number % 9} bad " * (1 + number % 5) for number in range(70)}
    texts["n33"] = HOSTILE[0]
    file = tmp_path / "my reviews.csv"
    with file.open("w", newline="", encoding="utf-8") as target:
        csv.writer(target).writerows([["id", "text"], *texts.items()])
    page.get_by_role("link", name="Documents").click()
    page.get_by_text("Upload a file of texts").click()
    page.get_by_label("file", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and score").click()
    expect(page.locator("#rows")).to_contain_text("70 documents are selected: 1 to 50 are shown")
    expect(page.get_by_role("link", name="my reviews.csv")).to_have_attribute("aria-current", "page")
    page.get_by_role("link", name="Next").click()
    expect(page.locator("#rows")).to_contain_text("51 to 70 are shown")
    page.get_by_role("link", name="confidence").click()
    expect(page.locator("th[aria-sort]")).to_contain_text("confidence")
    values = [float(text.rstrip("%")) for text in page.locator(".documents td:nth-child(4)").all_inner_texts()]
    assert values == sorted(values, reverse=True) and len(values) == 50
    page.get_by_label("text or id contains").fill("WINDOW.hacked")
    page.keyboard.press("Enter")
    expect(page.locator("#rows")).to_contain_text("1 document is selected")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download it as CSV").click()
    with download.value.path().open(encoding="utf-8-sig", newline="") as source:
        assert [row["id"] for row in csv.DictReader(source)] == ["n33"]
    page.locator(".documents tbody a").click()
    expect(page.locator(".about")).to_contain_text("n33 of my reviews.csv")
    assert page.locator("#text").input_value() == texts["n33"] and page.evaluate("window.hacked === undefined")
    assert shown(page) == expected(runs[0], texts["n33"])
    page.go_back()
    page.get_by_role("button", name="Delete this file").click()
    expect(page.get_by_role("link", name="test split")).to_have_attribute("aria-current", "page")
    assert page.get_by_role("link", name="my reviews.csv").count() == 0


def test_rows_are_not_exchanged_under_a_pressed_button_and_keep_the_focus(page: Page) -> None:
    """A click would be lost or meet another row, and who reads with the keyboard would begin again at the top."""
    page.goto("/documents")
    wait_until_scored(page)
    finished = {"state": "finished", "share": 1, "words": "Scored.", "documents": 40}
    page.route("**/progress?*", lambda route: route.fulfill(json=finished))
    follow = """() => {
      document.querySelector("#rows table").dataset.old = "yes";
      const part = document.querySelector(".scoring");
      part.dataset.progress = "progress?source=test";
      part.append(document.createElement("progress"));
      follow(part);
    }"""
    old = page.locator("[data-old]")
    page.locator(".documents td").first.hover()
    page.mouse.down()
    page.evaluate(follow)
    page.wait_for_timeout(1_500)
    expect(old).to_have_count(1)
    page.mouse.up()
    expect(old).to_have_count(0)
    link = page.locator(".documents tbody a").nth(3)
    link.focus()
    page.evaluate(follow)
    expect(old).to_have_count(0)
    expect(link).to_be_focused()


def test_a_press_is_of_the_main_button_and_always_ends(page: Page) -> None:
    page.goto("/documents")
    page.locator(".documents td").first.hover()
    page.mouse.down(button="middle")
    assert page.evaluate("pressed") is False
    page.mouse.up(button="middle")
    for end in (
        'document.body.dispatchEvent(new PointerEvent("pointercancel", { bubbles: true }))',
        'document.body.dispatchEvent(new MouseEvent("contextmenu", { bubbles: true }))',
        'window.dispatchEvent(new Event("blur"))',
    ):
        page.mouse.down()
        page.evaluate('document.body.dispatchEvent(new Event("blur"))')
        assert page.evaluate("pressed") is True
        page.evaluate(end)
        assert page.evaluate("pressed") is False, end
        page.mouse.up()


def test_a_row_without_a_word_has_no_confidence_on_a_phone(browser: Browser, address: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("id,text\nfirst,\nsecond,good word01\n", encoding="utf-8")
    page = browser.new_page(base_url=address, viewport={"width": 390, "height": 800})
    page.goto("/documents")
    page.get_by_text("Upload a file of texts").click()
    assert fits(page)
    page.get_by_label("file", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and score").click()
    expect(page.locator("#rows")).to_contain_text("2 documents are selected.")
    added = "(cell) => getComputedStyle(cell, '::after').content"
    cells = page.locator(".documents td:nth-child(4)")
    assert [cells.nth(row).evaluate(added) for row in (0, 1)] == ["none", '" sure"']
    page.close()


def test_a_file_that_is_refused_says_why_and_leaves_the_page(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(b"x")
    page.goto("/documents")
    page.get_by_text("Upload a file of texts").click()
    page.get_by_label("file", exact=True).set_input_files(file)
    with page.expect_response("**/upload?*"):
        page.get_by_role("button", name="Upload and score").click()
    expect(page.locator("#upload-progress")).to_contain_text("picture.png has none of the endings that are read here")


def test_the_table_works_without_script(browser: Browser, address: str, tmp_path: Path) -> None:
    file = tmp_path / "reviews.txt"
    file.write_text("good word01\nbad word02\n", encoding="utf-8")
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/documents")
    page.get_by_text("Upload a file of texts").click()
    page.get_by_label("file", exact=True).set_input_files(file)
    page.get_by_role("button", name="Upload and score").click()
    for _ in range(50):
        if page.locator(".documents tbody tr").count() == 2:
            break
        page.goto(page.url)
    page.locator(".documents tbody a").nth(1).click()
    assert page.locator("#text").input_value() == "bad word02"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_every_shade_is_legible(browser: Browser, address: str, scheme: Any) -> None:
    context = browser.new_context(base_url=address, viewport={"width": 320, "height": 640}, color_scheme=scheme)
    page = context.new_page()
    for path in (
        "/",
        "/errors",
        "/overview",
        "/documents?label=negative&prediction=negative",
        "/methods?text=good",
        f"/?text={'unbroken' * 40}+good&method=gradient&original=bad",
        "/?id=test/39",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320, path
    page.goto(f"/?text={TEXT}&method=gradient".replace("\n", " "))
    for kind in ("class0", "class1", "attended", "otherwise"):
        for level in range(1, 6):
            page.locator(".word").first.evaluate(f"(word) => {{ word.className = 'word for {kind} level{level}'; }}")
            colours = page.locator(".word").first.evaluate(
                "(word) => [getComputedStyle(word).color, getComputedStyle(word).backgroundColor]"
            )
            assert contrast(*colours) >= 4.5, (kind, level, colours)
            assert "0, 0, 0, 0" not in colours[1], (kind, level)
    context.close()


@pytest.fixture(scope="module")
def address_of_many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a run of twenty classes with long names."""
    served = load_run_of_many_classes(write_folder(tmp_path_factory.mktemp("many")))
    served.draw_map()
    with serving([served]) as address:
        yield address


SCROLLING_WITHOUT_A_KEY = """() => [...document.querySelectorAll("main *")].filter((each) =>
  getComputedStyle(each).overflowX === "auto" && each.scrollWidth > each.clientWidth && each.tabIndex < 0).length"""


def fits(page: Page) -> bool:
    """Whether nothing lies beyond the right side of the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize(("size", "media"), [((320, 640), "screen"), ((1200, 700), "screen"), ((720, 1000), "print")])
def test_twenty_classes_with_long_names_fit(
    browser: Browser, address_of_many: str, size: tuple[int, int], media: Any
) -> None:
    page = browser.new_page(base_url=address_of_many, viewport={"width": size[0], "height": size[1]})
    page.emulate_media(media=media)
    edited = urlencode({"text": "Good word01.\n" * 60, "original": "Bad word02.\n" * 60, "method": "gradient"})
    for path in ("/", "/overview", "/documents", "/methods?text=good", f"/?{edited}"):
        page.goto(path)
        assert fits(page), path
        assert page.evaluate(SCROLLING_WITHOUT_A_KEY) == 0, path
    if media == "screen":  # the verdict stays in sight, and does not fill it
        page.locator(".shaded li").nth(55).scroll_into_view_if_needed()
        expect(page.locator(".probabilities caption").first).to_be_in_viewport()
        box = page.locator(".probabilities").first.bounding_box()
        assert box and box["height"] < size[1] / 2
    else:  # nothing of the matrix is cut off
        page.goto("/overview")
        table, frame = (page.locator(name).bounding_box() for name in (".confusion", ".wide-table:has(.confusion)"))
        assert table and frame and table["width"] <= frame["width"] + 1
    page.close()


def test_of_twenty_classes_the_likeliest_are_shown_and_all_colours_are_named(
    browser: Browser, address_of_many: str
) -> None:
    page = browser.new_page(base_url=address_of_many)
    page.goto("/?text=Good+word01.+Bad+word02.")
    expect(page.locator(".probabilities.rest caption")).to_have_text("The next 8 of 20 classes")
    assert page.locator(".probabilities tr").count() == 10
    page.get_by_text("Colours of the classes").click()
    assert page.locator(".colours li").all_inner_texts() == list(MANY_CLASSES)
    page.goto("/overview")
    assert page.locator(".confusion thead th").count() == 20 == page.locator(".confusion tbody tr").count()
    expect(page.locator(".confusion tbody th").nth(6)).to_have_text(f"7 {MANY_CLASSES[6]}")
    assert page.locator(".confusion .heat4").count() >= 1
    page.close()


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (Web Content Accessibility Guidelines 2.2)."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted([luminance(one), luminance(other)])
    return (lighter + 0.05) / (darker + 0.05)


def colours_of_words(page: Page, run: int = 0) -> dict[str, str]:
    """Which class each word of an answer is shaded for."""
    words = page.locator(".run").nth(run).locator(".word")
    classes = words.evaluate_all("(words) => words.map((word) => [word.textContent, word.className])")
    return {text: named[0] for text, name in classes if (named := re.findall(r"class\d", name))}


def test_a_class_has_one_colour_whatever_the_verdict_is(browser: Browser, runs: list[ServedRun]) -> None:
    with serving(runs) as address:
        page = browser.new_page()
        page.goto(address)
        explain(page, TEXT, "gradient")
        names = runs[0].predictor.class_names
        predicted = page.locator(".probabilities caption").first.inner_text()
        for number in range(2):  # the second explains what the first predicts
            expect(page.locator(".legend").nth(number)).to_contain_text(f"speaks for {predicted}")
            expect(page.locator(".legend .for").nth(number)).to_have_class(re.compile(f"class{names.index(predicted)}"))
            expect(page.locator(".legend .against").nth(number)).to_have_class(
                re.compile(f"class{1 - names.index(predicted)}")
            )
        before, dots = (
            colours_of_words(page),
            page.locator(".map")
            .first.locator(".dot")
            .evaluate_all("(dots) => dots.map((dot) => dot.className.baseVal)"),
        )
        assert {dot.split()[1] for dot in dots} == {"class0", "class1"}
        other = names[1 - names.index(predicted)]
        answer(page, lambda: page.get_by_label("class to explain").select_option(other))
        assert colours_of_words(page) == before and len(before) > 3
        fills = page.evaluate(
            "() => ['class0', 'class1'].map((n) => getComputedStyle(document.querySelector(`.dot.${n}`)).fill)"
        )
        assert fills == ["rgb(0, 114, 178)", "rgb(213, 94, 0)"]  # those of the figures (report.colours.COLOURS)
        page.close()


def test_an_edit_that_turns_the_verdict_leaves_the_class_that_is_explained(page: Page, runs: list[ServedRun]) -> None:
    texts = [document.text for document in runs[0].documents.all().values()]
    by_class = {int(probabilities(runs[0].predictor, text).argmax()): text for text in texts}
    page.goto("/?" + urlencode({"text": by_class[1], "original": by_class[0], "method": "gradient"}))
    names = runs[0].predictor.class_names
    expect(page.locator(".turned")).to_have_text(f"{names[0]} → {names[1]}")
    expect(page.locator(".legend .for")).to_have_text(f"speaks for {names[0]}")
    expect(page.locator(".legend .for")).to_have_class(re.compile("class0"))


def test_a_dot_of_the_map_opens_its_document_and_says_how_it_begins(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT, "gradient")
    link = page.locator(".map a:has(.dot)").nth(5)
    name, _, beginning = (link.locator("title").text_content() or "").partition(": ")
    document = runs[0].documents.all()[name.split(",")[0]]
    assert beginning.rstrip("…").split()[0] in document.text[:20] and name.endswith(document.label)
    link.dispatch_event("click")
    expect(page.locator(".about")).to_contain_text(f"{document.id} of tiny, labelled {document.label}")
    assert page.locator("#text").input_value() == document.text and "method=gradient" in page.url


@pytest.mark.parametrize("size", [(1200, 700), (390, 700)])
def test_the_verdict_stays_in_sight(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.evaluate("(text) => { document.getElementById('text').value = text; }", "Good word01 bad word02.\n" * 60)
    answer(page, lambda: page.get_by_role("button", name="Explain").click())
    page.locator(".shaded li").nth(50).scroll_into_view_if_needed()
    expect(page.locator(".probabilities caption")).to_be_in_viewport()


def test_all_methods_are_shown_side_by_side_for_one_class(page: Page, runs: list[ServedRun]) -> None:
    explain(page, TEXT, "gradient")
    predicted = page.locator(".probabilities caption").inner_text()
    page.get_by_role("link", name="All methods side by side").click()
    sections = page.locator(".methods-grid section")
    assert sections.locator("h2").all_inner_texts() == [METHODS[name].title for name in methods_of(runs[0].predictor)]
    for number, name in enumerate(methods_of(runs[0].predictor)):
        if METHODS[name].signed:
            expect(sections.nth(number).locator(".legend")).to_contain_text(f"speaks for {predicted}")
    page.get_by_role("link", name="Back to the text").click()
    assert page.locator("#text").input_value() == TEXT


def test_methods_of_two_runs_are_in_the_rows_of_a_table(browser: Browser, runs: list[ServedRun]) -> None:
    with serving(runs) as address:
        page = browser.new_page(base_url=address, viewport={"width": 1200, "height": 900})
        page.goto("/methods?" + urlencode({"text": TEXT}))
        sections = page.locator(".methods-grid section")
        names = sections.evaluate_all("(all) => all.map((each) => each.getAttribute('aria-label'))")
        methods = [METHODS[name].title for name in methods_of(runs[0].predictor)]
        assert names == [f"{run.name}: {method}" for method in methods for run in runs]
        for number in range(0, len(names), 2):
            one, two = sections.nth(number).bounding_box(), sections.nth(number + 1).bounding_box()
            assert one and two and one["y"] == two["y"] and one["x"] < two["x"]
        page.close()


def test_two_runs_stand_side_by_side_and_below_each_other_on_a_phone(browser: Browser, runs: list[ServedRun]) -> None:
    with serving(runs) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(address)
        explain(page, TEXT)
        assert shown(page) == expected(runs[0], TEXT) + expected(runs[1], TEXT)
        answer(page, lambda: page.locator(".run").nth(1).locator("button.weight").first.click())
        assert page.locator("li.out").count() == 2

        def places() -> list[Any]:
            return [page.locator(".run").nth(number).bounding_box() for number in (0, 1)]

        one, two = places()
        assert one["y"] == two["y"] and one["x"] + one["width"] <= two["x"]
        page.set_viewport_size({"width": 390, "height": 844})
        one, two = places()
        assert one["y"] + one["height"] <= two["y"] and one["x"] == two["x"]
        page.close()


def test_an_id_belongs_to_the_data_set_that_it_names(browser: Browser, tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    runs = [load_run(folder, "tiny-han"), load_run_of_other_data(folder)]
    document = runs[1].documents.chosen("wrong")[0]
    assert document.text != runs[0].documents.all()[document.id].text
    with serving(runs) as address:
        page = browser.new_page()
        page.goto(f"{address}/errors?run=second-han")
        wait_until_scored(page)
        page.get_by_role("link", name=document.id, exact=True).click()
        expect(page.locator("#text")).to_have_value(document.text)
        expect(page.locator(".about")).to_contain_text(f"{document.id} of second, labelled {document.label}")
        assert page.locator(".run").nth(0).locator(".label").count() == 0
        assert page.locator(".run").nth(1).locator(".label").count() == 1
        expect(page.locator("#main")).to_contain_text(
            "The runs are of different data sets, tiny-han of tiny and second-han of"
        )
        assert page.locator("select[name=filter] option[value=disagree]").count() == 0
        page.goto(f"{address}/random?filter=disagree")
        expect(page.get_by_role("alert")).to_contain_text("their predictions cannot be compared")
        page.goto(f"{address}/?id=test/1&data=gone")
        expect(page.get_by_role("alert")).to_contain_text(
            "'test/1' is a document of 'gone'; the runs shown here are of tiny"
        )
        page.close()


def test_it_answers_without_script(browser: Browser, address: str, runs: list[ServedRun]) -> None:
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="Explain").click()
    assert shown(page) == expected(runs[0], TEXT)
    page.locator("button.weight").first.click()
    assert page.locator("li.out").count() == 1 and shown(page) == expected(runs[0], TEXT[14:])
    page.locator("#text").fill("Good word07 word08. Bad word09.")
    page.locator("button.weight").nth(1).click()
    assert page.locator("li.out").count() == 0
    assert shown(page) == expected(runs[0], "Good word07 word08. Bad word09.")
    context.close()


@pytest.mark.parametrize("text", ["good", TEXT, "Good word01 bad word02.\n" * 12])
def test_the_frame_of_a_notebook_is_as_high_as_its_page(browser: Browser, runs: list[ServedRun], text: str) -> None:
    explanation = explain_text(runs[0].predictor, text, "contribution")
    page = browser.new_page(viewport={"width": 900, "height": 10})
    page.set_content(explanation_page(explanation, "tiny-han: positive (97.3%)", "Shaded by contribution."))
    needed = page.evaluate("document.documentElement.scrollHeight")
    assert needed <= page_height(explanation, "tiny-han: positive (97.3%)") <= needed + 120
    page.close()


def test_a_server_that_is_gone_is_told(browser: Browser, runs: list[ServedRun]) -> None:
    page = browser.new_page()
    with serving(runs[:1]) as address:
        page.goto(address)
    page.locator("#text").fill(TEXT)
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")
    page.close()
