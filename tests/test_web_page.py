"""The web page without a server: its folder, onnxruntime-web from npm, and the page in a real browser."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

import export
from runtime.run_folder import RunFolder
from shipping import web
from shipping.bundle import read_run, write_program
from shipping.classify import Classifier
from shipping.expressions import javascript_expressions
from shipping.text_settings import patterns
from tests.helpers import write_tiny_records, write_tiny_run
from tests.test_export import AWKWARD, NETWORKS
from tests.test_expressions import UNICODE
from tests.test_viewer_browser import EXECUTABLE, HOSTILE, chromium, contrast
from utils import UserError, sha256_of_file

TEXT = "A good word01! Bad word02, unheard.\nQuite good word03 and word04? good word05."
CONTENTS = {"dist/script.mjs": b"script();\n//# sourceMappingURL=script.mjs.map\n", "dist/module.wasm": b"\0asm"}
LONE_SURROGATE = re.compile("[\ud800-\udfff]")
SHOWN = "gru-lane"
IN_BROWSER = [SHOWN, *(pytest.param(name, marks=pytest.mark.slow) for name in ("lstm", "bilstm-lane", "cnn"))]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "tiny" / "records"
    write_tiny_records(folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, records: Path) -> RunFolder:
    return write_tiny_run(tmp_path_factory.mktemp("runs") / SHOWN, records, **NETWORKS[SHOWN])


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files stand for those of the package."""
    files = [(name, Path(name).name, hashlib.sha256(content).hexdigest()) for name, content in CONTENTS.items()]
    monkeypatch.setattr(web, "RUNTIME_FILES", files)


@pytest.fixture
def archive(tmp_path: Path, pinned: None) -> Path:
    """Such a package as npm packs it."""
    return write_archive(tmp_path / "onnxruntime-web-1.30.0.tgz", CONTENTS)


def write_archive(path: Path, contents: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, content in {**contents, "../outside": b"", "package.json": b"{}"}.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def export_to(folder: Path, run: RunFolder, *flags: str) -> None:
    export.main(export.build_parser().parse_args([str(run.path), str(folder), "--format", "web", *flags]))


# ---------------------------------------------------------------------------------------------------------------------
# The folder


def test_the_folder_holds_what_a_bundle_holds_and_the_page(
    tmp_path: Path, run: RunFolder, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, bundle = tmp_path / "page", tmp_path / "bundle"
    export_to(folder, run, "--onnxruntime_web", str(archive))
    bundle.mkdir()
    write_program(bundle, read_run(run), "none")
    for name in ("model.onnx", "text.json", "ngrams.npy", "LICENSE"):
        assert (folder / name).read_bytes() == (bundle / name).read_bytes()
    assert (folder / "script.mjs").read_text() == "script();\n" and (folder / "module.wasm").read_bytes() == b"\0asm"
    lines = (line.split("  ") for line in (folder / "sha256sums").read_text(encoding="utf-8").splitlines())
    sums = {name: sha256 for sha256, name in lines}
    assert sums == {path.name: sha256_of_file(path) for path in folder.iterdir() if path.name != "sha256sums"}
    assert {"index.html", "page.js", "page.css", "LICENSE-onnxruntime-web"} < sums.keys()
    expressions = json.loads((folder / "expressions.json").read_text(encoding="utf-8"))
    assert expressions == javascript_expressions(patterns())
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "python -m http.server" in card and "classify.py" not in card and str(tmp_path) not in card
    assert f"--directory {folder}" in capsys.readouterr().out


def test_the_package_can_be_an_unpacked_folder_and_vectors_small(tmp_path: Path, run: RunFolder, pinned: None) -> None:
    for name, content in CONTENTS.items():
        path = tmp_path / "node_modules" / "onnxruntime-web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    flags = ["--onnxruntime_web", str(tmp_path / "node_modules" / "onnxruntime-web"), "--quantize", "int8"]
    export_to(tmp_path / "page", run, *flags, "--data_dir", str(tmp_path))
    assert "8-bit integers" in (tmp_path / "page" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [None, b"damaged", {"dist/script.mjs": b"other();"}, {}])
def test_another_package_is_refused_in_one_line(
    tmp_path: Path, run: RunFolder, pinned: None, content: bytes | dict[str, bytes] | None
) -> None:
    package = tmp_path / "package.tgz"
    if isinstance(content, bytes):
        package.write_bytes(content)
    elif content is not None:
        write_archive(package, CONTENTS | content if content else {})
    with pytest.raises(UserError, match=rf"{package}.*npm pack onnxruntime-web@1.30.0") as refusal:
        export_to(tmp_path / "page", run, "--onnxruntime_web", str(package))
    assert "\n" not in str(refusal.value) and not (tmp_path / "page").exists()
    assert [path.name for path in tmp_path.iterdir() if path != package] == []


def npm_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commands: str) -> None:
    """Puts a program of the name npm in place of the real one."""
    program = tmp_path / "programs" / "npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{commands}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent) + os.pathsep + "/usr/bin:/bin")


def test_npm_downloads_the_pinned_version(
    tmp_path: Path, run: RunFolder, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm_that(
        tmp_path, monkeypatch, f'[ "$1 $2 $3" = "pack onnxruntime-web@1.30.0 --pack-destination" ] && cp {archive} "$4"'
    )
    export_to(tmp_path / "page", run)
    assert (tmp_path / "page" / "module.wasm").is_file()


def test_without_npm_or_network_one_line_says_what_to_do(
    tmp_path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    npm_that(tmp_path, monkeypatch, "echo; echo 'npm error code ENOTFOUND'; echo more; exit 1")
    monkeypatch.setattr(web, "SECONDS_FOR_NPM", 60)
    with pytest.raises(UserError, match=r"cannot download .*\(no reason given\); --onnxruntime_web FILE takes"):
        export_to(tmp_path / "page", run)
    (tmp_path / "programs" / "npm").write_text(
        "#!/bin/sh\necho 'npm error code ENOTFOUND' >&2; echo more >&2; exit 1\n"
    )
    with pytest.raises(UserError, match=r"\(npm error code ENOTFOUND\); --onnxruntime_web FILE takes"):
        export_to(tmp_path / "page", run)
    (tmp_path / "programs" / "npm").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(web, "SECONDS_FOR_NPM", 0.2)
    with pytest.raises(UserError, match=r"npm did not end in 0.2 s; .*--onnxruntime_web FILE takes"):
        export_to(tmp_path / "page", run)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"npm, .*is not installed; .*--onnxruntime_web FILE takes"):
        export_to(tmp_path / "page", run)
    assert not (tmp_path / "page").exists()


def test_the_flag_needs_the_format(tmp_path: Path, run: RunFolder) -> None:
    arguments = [str(run.path), str(tmp_path / "page"), "--onnxruntime_web", "package.tgz"]
    with pytest.raises(UserError, match="--onnxruntime_web is for --format web"):
        export.main(export.build_parser().parse_args(arguments))


# ---------------------------------------------------------------------------------------------------------------------
# In the browser


def in_browser(test: Any) -> Any:
    """Marks a test."""
    reason = "no Chromium and no Chrome here; on Debian: apt-get install chromium"
    return pytest.mark.browser(pytest.mark.skipif(EXECUTABLE is None, reason=reason)(test))


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Any static host."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real onnxruntime-web."""
    try:
        return web.download(tmp_path_factory.mktemp("npm"))
    except UserError as error:
        pytest.skip(f"onnxruntime-web is needed: {error}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, run: RunFolder, package: Path) -> Path:
    """What a static host serves: a folder with the page."""
    folder = tmp_path_factory.mktemp("site")
    export_to(folder / SHOWN, run, "--onnxruntime_web", str(package))
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A page; whatever the browser complains about, and any request to another host, fails the test."""
    context = browser.new_context(base_url=address)
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(address) else complaints.append(request.url))
    yield page
    context.close()
    assert complaints == []


def open_page(page: Page, name: str = SHOWN) -> None:
    page.goto(f"/{name}/")
    expect(page.get_by_role("button", name="Classify")).to_be_enabled(timeout=30_000)


def classify(page: Page, text: str) -> None:
    """Fills in a text and waits for its answer."""
    page.locator("#text").fill(text)
    page.locator("#verdict").evaluate("(verdict) => { verdict.textContent = 'waiting'; }")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#verdict")).not_to_have_text("waiting")


@in_browser
@pytest.mark.parametrize("name", IN_BROWSER)
def test_verdicts_are_those_of_python(
    page: Page, site: Path, tmp_path: Path, records: Path, package: Path, name: str
) -> None:
    if not (site / name).exists():
        other = write_tiny_run(tmp_path / name, records, **NETWORKS[name])
        export_to(site / name, other, "--onnxruntime_web", str(package))
    classifier = Classifier(site / name)
    open_page(page, name)
    texts = [text for text in (TEXT, *AWKWARD, *UNICODE) if not LONE_SURROGATE.search(text)]  # which do not get there
    found = page.evaluate(
        "async (texts) => { const all = []; for (const text of texts) all.push(await classifier.explain(text));"
        " return all; }",
        texts,
    )
    for text, ours in zip(texts, found, strict=True):
        check_explanation(ours, classifier.explain(text), classifier.class_names)


def check_explanation(ours: dict[str, Any], theirs: dict[str, Any], names: list[str]) -> None:
    """Compares what JavaScript and Python say about a text."""
    assert (None if ours["label"] is None else names[ours["label"]]) == theirs["label"]
    assert (ours["words"], ours["unknownWords"], ours["remarks"]) == (
        theirs["words"],
        theirs["unknown_words"],
        theirs["remarks"],
    )
    for key in ("logits", "rest"):
        np.testing.assert_allclose(ours[key], list(theirs[key].values()), atol=1e-4)
    if theirs["label"] is not None:
        np.testing.assert_allclose(ours["probabilities"], list(theirs["probabilities"].values()), atol=1e-4)
    for one, other in zip(ours["sentences"], theirs["sentences"], strict=True):
        np.testing.assert_allclose(one["share"], list(other["shares"].values()), atol=1e-4)
        np.testing.assert_allclose(np.sum([word["share"] for word in one["words"]], axis=0), one["share"], atol=1e-4)
        assert one["weight"] == (None if other["weight"] is None else pytest.approx(other["weight"], abs=1e-4))
        assert len(one["words"]) == len(other["words"])
    found = sorted(abs(np.subtract(*one["added"])) for one in ours["ngrams"])
    expected = sorted(abs(np.subtract(*one["shares"].values())) for one in theirs["ngrams"])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.fixture(scope="module")
def labelled_site(site: Path) -> Path:
    """The same page with thresholds, as that of a run of several labels a text has."""
    folder = site / "several"
    shutil.copytree(site / SHOWN, folder)
    settings = json.loads((folder / "text.json").read_text(encoding="utf-8"))
    (folder / "text.json").write_text(json.dumps(settings | {"thresholds": [0.35, 0.6]}), encoding="utf-8")
    web.write_sums(folder)
    return folder


@in_browser
def test_several_labels_are_those_of_python(page: Page, labelled_site: Path) -> None:
    classifier = Classifier(labelled_site)
    open_page(page, "several")
    texts = [TEXT, "good", "bad word01", "", *(f"word0{a} word0{b} good" for a in range(5) for b in range(5))]
    found = page.evaluate(
        "async (texts) => { const all = []; for (const text of texts) all.push(await classifier.explain(text));"
        " return all; }",
        texts,
    )
    sizes = set()
    for text, ours in zip(texts, found, strict=True):
        theirs = classifier.explain(text)
        names = None if ours["labels"] is None else [classifier.class_names[place] for place in ours["labels"]]
        assert names == theirs["label"]
        sizes.add(None if names is None else len(names))
        np.testing.assert_allclose(ours["logits"], list(theirs["logits"].values()), atol=1e-4)
        if names is not None:
            np.testing.assert_allclose(ours["probabilities"], list(theirs["probabilities"].values()), atol=1e-4)
            assert ours["confidence"] == pytest.approx(theirs["confidence"], abs=1e-4)
    assert len(sizes) >= 3


@in_browser
def test_the_page_shows_all_labels_and_what_speaks_for_the_one_chosen(page: Page, labelled_site: Path) -> None:
    expected = Classifier(labelled_site).explain(TEXT)
    open_page(page, "several")
    classify(page, TEXT)
    expect(page.locator("#verdict")).to_have_text(" | ".join(expected["label"]) or "no label")
    assert page.locator("#probabilities tr.first").count() == len(expected["label"])
    for name, threshold in (("positive", "60.0%"), ("negative", "35.0%")):
        button = page.get_by_role("button", name=name, exact=True)
        button.click()
        expect(button).to_be_focused()
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator("#legend")).to_contain_text(f"log-odds of {name};")
        expect(page.locator("#probabilities")).to_contain_text(f"predicted from {threshold}")
        shares = [number(text) for text in page.locator("#sentences .number:first-of-type").all_inner_texts()]
        assert shares == pytest.approx([one["shares"][name] for one in expected["sentences"]], abs=0.0051)


@in_browser
def test_the_page_shows_them_and_needs_no_network_any_more(page: Page, site: Path) -> None:
    expected = Classifier(site / SHOWN).explain(TEXT)
    open_page(page)
    page.context.set_offline(True)
    assert page.evaluate("document.activeElement.id") == "text"
    page.keyboard.insert_text(TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#verdict")).to_have_text(f"{expected['label']} ({expected['confidence']:.1%})")
    shares = [number(text) for text in page.locator("#sentences .number:first-of-type").all_inner_texts()]
    others = [name for name in expected["probabilities"] if name != expected["label"]]
    assert len(others) == 1
    for shown, sentence in zip(shares, expected["sentences"], strict=True):
        share = sentence["shares"][expected["label"]] - sentence["shares"][others[0]]
        assert shown == pytest.approx(share, abs=0.0051)
    assert page.locator(".word").all_inner_texts() == [
        word["text"] for sentence in expected["sentences"] for word in sentence["words"]
    ]
    assert (
        page.locator(".level5").count() >= 1 and expected["ngrams"][0]["ngram"] in page.locator("#ngrams").inner_text()
    )
    classify(page, "")
    expect(page.locator("#remarks")).to_have_text("no word in the text: no prediction")
    expect(page.locator("#verdict")).to_be_hidden()


def number(shown: str) -> float:
    return float(shown.replace("−", "-"))


@in_browser
def test_words_are_reached_by_keyboard(page: Page) -> None:
    open_page(page)
    classify(page, TEXT)
    page.get_by_role("button", name="Classify").focus()
    page.keyboard.press("Tab")
    expect(page.locator(".word").first).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".word").nth(1)).to_be_focused()
    assert page.locator("#detail").inner_text().startswith("good: ")
    page.keyboard.press("End")
    expect(page.locator(".word").last).to_be_focused()
    page.locator(".word").first.hover()
    expect(page.locator("#detail")).to_contain_text("of the sentence's attention")


@in_browser
def test_nothing_of_a_text_runs_and_a_missing_file_is_told(
    page: Page, site: Path, browser: Browser, address: str
) -> None:
    open_page(page)
    for text in HOSTILE:
        classify(page, text)
        assert page.evaluate("window.hacked === undefined") and page.locator("#answer :is(script, img)").count() == 0
    shutil.copytree(site / SHOWN, site / "damaged")
    (site / "damaged" / "model.onnx").unlink()
    other = browser.new_page(base_url=address)
    other.goto("/damaged/")
    expect(other.locator("#state")).to_contain_text("model.onnx cannot be loaded (status 404)")
    other.close()


@in_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_is_legible(page: Page, scheme: Any) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme=scheme)
    open_page(page)
    classify(page, f"{'unbroken' * 40} {TEXT}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    for selector in ("#verdict", ".quiet", "#legend", "button", ".level5"):
        colours = page.locator(selector).first.evaluate(
            """(element) => {
                let behind = element;
                while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
                return [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
            }"""
        )
        assert contrast(*colours) >= 4.5, (selector, colours)
    # What speaks for a class has its colour, as have the bar of its probability and that of a sentence.
    fills = {
        name: page.locator(f"{where} .bar.{name} .part").first.evaluate("(part) => getComputedStyle(part).fill")
        for where, name in (("#probabilities", "class0"), ("#probabilities", "class1"))
    }
    verdict = page.locator("#verdict").inner_text().split(" ")[0]
    mark = f"class{['negative', 'positive'].index(verdict)}"
    assert len(set(fills.values())) == 2 and page.locator(f".word.for.{mark}").count() > 0
    shown = page.locator(f"#sentences .bar.for.{mark} .part").first.evaluate("(part) => getComputedStyle(part).fill")
    assert shown == fills[mark]
