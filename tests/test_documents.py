"""The page of documents: splits, uploaded files and what is wrong with them, filters, download, old links, security."""

from __future__ import annotations

import asyncio
import bz2
import csv
import gzip
import html
import io
import json
import lzma
import random
import re
import socket
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

import page.viewer
from corpus import parquet as parquet_module
from page import conversion, sources, uploads
from page import scoring as scoring_module
from page.answers import ServedRun
from page.questions import Refusal
from page.scoring import Desk, Scoring, remove_leftovers
from page.sources import SplitSource, UploadedFile, ending_of, shown_name
from page.table import Selection
from page.uploads import FormReader
from page.viewer import make_app
from tests.served_runs import DOCUMENTS, Page, probabilities, serving, wait_for_table
from utils import UserError

EVIL = '"><script>alert(1)</script>'
TABLE = 'id,text,label\nn1,"good word01, good",positive\n=2,=bad word02,NEGATIVE\nn3,,negative\nn4,qqq unheard,other\n'


@pytest.fixture
def fresh(served: ServedRun) -> Iterator[TestClient]:
    """A client of a server of its own, so that its files are gone after the test."""
    with TestClient(make_app([served], ["testserver"])) as client:
        yield client


def token(client: TestClient) -> str:
    found = re.search(r'action="upload\?token=([^"]+)"', client.get("/documents").text)
    assert found
    return found[1]


def upload(client: TestClient, content: bytes | str, name: str = "texts.csv", **fields: str) -> Any:
    files = {"file": (name, content, "text/csv")}
    return client.post("/upload", params={"token": token(client)}, files=files, data=fields, follow_redirects=False)


def uploaded(client: TestClient, content: bytes | str, name: str = "texts.csv", **fields: str) -> tuple[str, Any]:
    """Uploads a file and waits; its key, and the progress."""
    response = upload(client, content, name, **fields)
    assert response.status_code == 303, response.text
    key = httpx2.URL(response.headers["location"]).params["source"]
    return key, wait_for_table(client, key)


def listed(page: str) -> list[str]:
    """The names of the documents on a page, in their order."""
    body = page.partition("<tbody>")[2]
    return [html.unescape(name) for name in re.findall(r'<th scope="row"><a href="[^"]+">([^<]*)</a>', body)]


def downloaded(client: TestClient, **asked: str) -> list[dict[str, str]]:
    response = client.get("/documents.csv", params=asked)
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/csv")
    assert response.headers["content-disposition"].startswith("attachment")
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))


def test_the_test_split_is_scored_as_the_network_scores_it(client: TestClient, served: ServedRun) -> None:
    assert wait_for_table(client)["documents"] == DOCUMENTS
    rows = downloaded(client, source="test")
    documents = served.documents.all()
    assert [row["id"] for row in rows] == list(documents)
    for row in rows:
        document = documents[row["id"]]
        values = probabilities(served.predictor, document.text)
        assert float(row["probability_positive"]) == pytest.approx(values[1], abs=2e-6)
        assert (row["label"], row["prediction"]) == (document.label, document.prediction)
        assert int(row["words"]) == served.predictor.read(document.text).words
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert f"{100 * right / DOCUMENTS:.2f}% of {DOCUMENTS} with a label" in client.get("/documents").text


def test_another_split_is_scored_when_somebody_asks_for_it(fresh: TestClient) -> None:
    page = fresh.get("/documents", params={"source": "train"}).text
    assert "has not been scored by this run" in page and not listed(page)
    act = {"token": token(fresh), "source": "train", "act": "score"}
    assert fresh.post("/table", data=act).status_code == 200
    assert wait_for_table(fresh, "train")["documents"] == DOCUMENTS
    page = fresh.get("/documents", params={"source": "train"}).text
    link = html.unescape(re.findall(r'<th scope="row"><a href="\./([^"]+)"', page)[3])
    answer = fresh.get(f"/{link}").text  # the page knows documents of the test split by heart, others not
    assert "<b>train/3</b> of tiny, labelled" in answer


def test_who_asks_whether_the_page_exists_starts_nothing(fresh: TestClient) -> None:
    assert fresh.head("/documents").status_code == 200
    assert fresh.get("/progress", params={"source": "test"}).status_code == 404
    fresh.get("/documents")
    assert wait_for_table(fresh)["state"] == "done"


def test_a_split_that_the_data_set_lacks_is_a_sentence(fresh: TestClient) -> None:
    fresh.post("/table", data={"token": token(fresh), "source": "valid", "act": "score"})
    progress = wait_for_table(fresh, "valid")
    assert progress["state"] == "failed" and "has no document in its valid split" in progress["problem"]
    assert progress["problem"] in html.unescape(fresh.get("/documents", params={"source": "valid"}).text)


def named(value: object) -> str:
    """The name of a test's argument: of a file its name; not its content, in which gzip writes the time of day."""
    return value if isinstance(value, str) and value.startswith("a.") else ""


@pytest.mark.parametrize("by", ["confident", "longest", "unknown"])
def test_old_links_to_mistakes_show_them_the_worst_first(client: TestClient, served: ServedRun, by: str) -> None:
    wait_for_table(client)
    with served.documents.predictions_file.open(encoding="utf-8") as file:
        wrong = {row["id"]: row for row in csv.DictReader(file) if row["label"] != row["prediction"]}
    measures = {}
    for name, row in wrong.items():
        text = served.documents.all()[name].text
        words = [word for line in served.predictor.reader.processor.process(text).words for word in line]
        unknown = sum(word not in served.predictor.reader.vocabulary.words for word in words) / len(words)
        confident = max(float(row["probability_negative"]), float(row["probability_positive"]))
        measures[name] = {"confident": confident, "longest": len(words), "unknown": unknown}[by]
    names = listed(client.get("/errors", params={"by": by, "run": served.name}).text)
    assert sorted(names) == sorted(wrong)
    values = [measures[name] for name in names]
    assert values == pytest.approx(sorted(values, reverse=True), abs=1e-5)


def test_the_headers_of_columns_sort_and_say_how(client: TestClient) -> None:
    wait_for_table(client)
    page = client.get("/documents", params={"sort": "words", "order": "descending", "show": "wrong"}).text
    headers = [attributes for tag, attributes in Page(page).tags if tag == "th" and attributes.get("scope") == "col"]
    assert [each.get("aria-sort") for each in headers] == [None, None, None, None, "descending", None]
    links = [attributes["href"] or "" for tag, attributes in Page(page).tags if tag == "a"]
    assert "documents?source=test&run=tiny-han&show=wrong&sort=words&order=ascending" in links
    controls = [attributes for tag, attributes in Page(page).tags if tag in {"select", "input"}]
    assert all(each.get("type") == "hidden" or each.get("name") for each in controls)


def test_all_rows_are_on_one_page_or_another(fresh: TestClient) -> None:
    lines = [f"n{number},good word0{number % 9}" for number in range(121)]
    key, progress = uploaded(fresh, "id,text\n" + "\n".join(lines) + "\n")
    assert (progress["state"], progress["documents"]) == ("done", 121)
    names: list[str] = []
    address = f"/documents?source={key}"
    while address:
        page = fresh.get(address).text
        names += listed(page)
        following = re.search(r'<a href="([^"]+)" rel="next">', page)
        address = f"/{html.unescape(following[1])}" if following else ""
    assert names == [f"n{number}" for number in range(121)]
    assert len(listed(fresh.get(f"/documents?source={key}&first=999999").text)) == 21


def test_an_uploaded_table_is_scored_shown_explained_and_deleted(fresh: TestClient, served: ServedRun) -> None:
    key, progress = uploaded(fresh, TABLE, "C:\\mine\\reviews.csv")
    assert progress["state"] == "done" and progress["documents"] == 4
    page = fresh.get("/documents", params={"source": key}).text
    assert listed(page) == ["n1", "=2", "n3", "n4"] and "The label is the column" in page
    rows = downloaded(fresh, source=key)
    assert [row["id"] for row in rows] == ["n1", "'=2", "n3", "n4"] and rows[1]["text"] == "'=bad word02"
    assert rows[1]["label"] == "negative" and rows[2]["prediction"] == rows[2]["confidence"] == ""
    value = probabilities(served.predictor, "good word01, good")[1]
    assert float(rows[0]["probability_positive"]) == pytest.approx(value, abs=2e-6)
    link = html.unescape(re.findall(r'<th scope="row"><a href="\./([^"]+)"', page)[0])
    answer = fresh.get(f"/{link}").text
    assert "n1 of reviews.csv" in answer and "good word01, good" in answer
    assert 'name="data" value="' + key in answer
    fresh.post("/table", data={"token": token(fresh), "source": key, "act": "delete"})
    assert fresh.get("/documents", params={"source": key}).status_code == 404
    assert fresh.get(f"/{link}").status_code == 404 and "upload it again" in fresh.get(f"/{link}").text


def test_a_browser_finds_the_files_that_it_uploaded_and_no_other_does(fresh: TestClient, served: ServedRun) -> None:
    key, _ = uploaded(fresh, TABLE, "mine.csv")
    assert key in fresh.get("/documents").text
    fresh.cookies.clear()
    assert key not in fresh.get("/documents").text and "mine.csv" not in fresh.get("/documents").text


@pytest.mark.parametrize(
    ("name", "content", "texts"),
    [
        ("a.txt", "good\n\nbad word01\n", ["good", "", "bad word01"]),
        ("a.csv", "text\ngood\nbad, word01\n", ["good", "bad, word01"]),
        ("a.tsv", "review\tstars\ngood\t1\nbad\t2\n", ["good", "bad"]),
        ("a.jsonl", '{"text": "good \\ud800", "label": 1}\n{"text": "bad", "label": 2}\n', ["good ?", "bad"]),
        ("a.csv.gz", gzip.compress(b"id,text\n1,good\n"), ["good"]),
        ("a.csv.bz2", bz2.compress(b"id,text\n1,good\n"), ["good"]),
        ("a.csv.xz", lzma.compress(b"id,text\n1,good\n"), ["good"]),
    ],
    ids=named,
)
def test_files_of_all_kinds_are_read(fresh: TestClient, name: str, content: str | bytes, texts: list[str]) -> None:
    key, progress = uploaded(fresh, content, name)
    assert progress["state"] == "done", progress
    assert [row["text"] for row in downloaded(fresh, source=key)] == texts


def workbook(sheets: dict[str, list[list[Any]]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def parquet(columns: dict[str, list[Any]]) -> bytes:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    return target.getvalue()


REVIEWS: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "review": ["good, word01", "bad\n=word02", None],
    "label": ["positive", "negative", ""],
}


def test_a_workbook_and_a_parquet_file_are_read_as_their_rows(fresh: TestClient) -> None:
    rows = [list(REVIEWS), [], *map(list, zip(*REVIEWS.values(), strict=True))]
    key, progress = uploaded(fresh, workbook({"Reviews": rows, "Notes": [["nothing"]]}), "a.xlsx")
    assert progress["state"] == "done", progress
    assert "Of 2 sheets the first is read: &#39;Reviews&#39;." in fresh.get("/documents", params={"source": key}).text
    of_workbook = downloaded(fresh, source=key)
    key, progress = uploaded(fresh, parquet({**REVIEWS, "tags": [["a"], ["b"], []]}), "a.parquet")
    assert progress["state"] == "done", progress
    assert "Columns of lists are not read: &#39;tags&#39;." in fresh.get("/documents", params={"source": key}).text
    assert [row["text"] for row in of_workbook] == ["good, word01", "bad\n=word02", ""]
    assert [row["label"] for row in of_workbook] == REVIEWS["label"]
    assert downloaded(fresh, source=key) == of_workbook


def test_a_file_of_few_bytes_that_stands_for_many_is_refused(
    fresh: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "FREE_PACKING", 1_000_000)
    bomb = parquet({"text": ["word01 good " * 1_000] * 5_000})
    assert len(bomb) < 100_000
    _, progress = uploaded(fresh, bomb, "a.parquet")
    assert progress["state"] == "failed" and "a.parquet unpacks to more than" in progress["problem"]
    monkeypatch.setattr(conversion, "MOST_WORKBOOK", 10_000)
    _, progress = uploaded(fresh, workbook({"all": [["text"], *[["word01 good " * 20]] * 500]}), "a.xlsx")
    assert progress["state"] == "failed" and "too much for a workbook" in progress["problem"]
    monkeypatch.setattr(parquet_module, "MOST_GROUP", 10)
    _, progress = uploaded(fresh, parquet({"text": ["good"]}), "a.parquet")
    assert progress["state"] == "failed" and "save it with smaller ones" in progress["problem"]


def test_a_column_can_be_named(fresh: TestClient) -> None:
    content = "one,two,three\n" + "\n".join(f"word01 good {n},word02 bad {n},positive" for n in range(9))
    key, progress = uploaded(fresh, content, text_column="two", label_column="3")
    assert progress["state"] == "done" and downloaded(fresh, source=key)[0]["text"] == "word02 bad 0"
    assert downloaded(fresh, source=key)[0]["label"] == "positive"
    _, progress = uploaded(fresh, content, text_column="four")
    assert (
        progress["state"] == "failed"
        and "the column of the text 'four': texts.csv has no such column" in (progress["problem"])
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"\x00\x01\x02\x03" * 100, "no row"),
        ("a.csv", bytes(range(250)) * 9, "is not text"),
        ("a.csv", b"%PDF-1.4", "a PDF"),
        ("a.json", b'[{"text": "good"}]', "one JSON list"),
        ("a.jsonl", b"[" * 100_000, "one JSON list"),
        ("a.jsonl", b'{"a":' * 100_000, "a.jsonl"),
        ("a.csv", b"", "empty"),
        ("a.csv.gz", b"no gzip", "damaged"),
        ("a.zip.csv.zip", b"PK no zip", "damaged"),
        ("a.txt", b"x" * 6_000_000, "longer"),
        ("a.xlsx", b"PK no workbook", "no Excel file"),
        ("a.parquet", b"PAR1 and nothing PAR1", "no Parquet file"),
    ],
    ids=named,
)
def test_what_cannot_be_read_is_a_sentence_without_paths(
    fresh: TestClient, name: str, content: bytes, message: str
) -> None:
    _, progress = uploaded(fresh, content, name)
    assert progress["state"] == "failed" and message in progress["problem"], progress
    assert "/tmp" not in progress["problem"] and "han-tables" not in progress["problem"]
    assert "Traceback" not in progress["problem"] and "--" not in progress["problem"]


def zip_of(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return target.getvalue()


def test_a_zip_file_is_read_where_it_holds_one_file_which_is_never_called_as_it_says(fresh: TestClient) -> None:
    key, progress = uploaded(fresh, zip_of({"../../../evil.csv": b"id,text\n1,good\n"}), "a.csv.zip")
    assert progress["state"] == "done" and len(downloaded(fresh, source=key)) == 1
    _, progress = uploaded(fresh, zip_of({"a.csv": b"x", "b.csv": b"y"}), "a.csv.zip")
    assert progress["state"] == "failed" and "holds 2 files" in progress["problem"]


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, lzma.compress, lambda content: zip_of({"a": content})])
def test_a_bomb_does_not_unpack(fresh: TestClient, monkeypatch: pytest.MonkeyPatch, packer: Any) -> None:
    monkeypatch.setattr(sources, "FREE_PACKING", 100_000)
    packed = packer(b"good word01\n" * 200_000)
    ending = {b"\x1f\x8b": ".gz", b"BZ": ".bz2", b"\xfd7": ".xz", b"PK": ".zip"}[packed[:2]]
    _, progress = uploaded(fresh, packed, f"a.txt{ending}")
    assert progress["state"] == "failed" and "unpacks to more than" in progress["problem"]


def test_a_file_larger_than_the_limit_is_refused_packed_or_not(served: ServedRun) -> None:
    with TestClient(make_app([served], ["testserver"], 2_000_000)) as client:
        response = upload(client, b"good word01\n" * 300_000, "a.txt")
        assert response.status_code == 413 and "the limit here (--max_upload_mb)" in response.text
        _, progress = uploaded(client, gzip.compress(b"good word01\n" * 300_000), "a.txt.gz")
        assert progress["state"] == "failed" and "the limit here" in progress["problem"]
        assert "of up to 1.9 MB" in client.get("/documents").text
    with TestClient(make_app([served], ["testserver"], 0)) as client:
        assert "upload" not in client.get("/documents").text
        desk = client.app.state.desk  # type: ignore[attr-defined]
        response = client.post("/upload", params={"token": desk.token}, files={"file": ("a.csv", "text\n")})
        assert response.status_code == 403 and "takes no files" in response.text


def test_a_disk_that_is_nearly_full_takes_no_file_and_stops_a_table(
    served: ServedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TestClient(make_app([served], ["testserver"])) as client:
        desk: Desk = client.app.state.desk  # type: ignore[attr-defined]
        given = token(client)
        wait_for_table(client)
        desk._reserve = 1 << 60
        response = client.post("/upload", params={"token": given}, files={"file": ("a.csv", TABLE)})
        assert response.status_code == 507 and "no room" in response.text
        client.post("/table", data={"token": given, "source": "train", "act": "score"})
        assert wait_for_table(client, "train")["state"] == "failed"
        assert [path.name for path in desk.folder.iterdir() if path.is_dir()] == []


def test_no_form_of_another_site_is_accepted(fresh: TestClient) -> None:
    for given in ("", "x", EVIL, "é"):
        response = fresh.post("/upload", params={"token": given}, files={"file": ("a.csv", TABLE)})
        assert response.status_code == 403 and EVIL not in response.text
        response = fresh.post("/table", data={"token": given, "source": "train", "act": "score"})
        assert response.status_code == 403
    assert fresh.get("/progress", params={"source": "train"}).status_code == 404
    for path in ("/upload", "/table"):
        assert fresh.get(path).status_code == 405
    assert fresh.post("/documents", headers={"host": "evil.example"}).status_code == 400
    assert fresh.get("/documents", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("name", ["a.exe", "a", ".csv/..", "a.csv.exe", "../../etc/passwd", "a.gz", "", "a.feather"])
def test_a_file_of_another_kind_is_refused_at_once(fresh: TestClient, name: str) -> None:
    response = upload(fresh, b"x" * 3_000_000, name) if name else fresh.post("/upload", params={"token": token(fresh)})
    assert response.status_code == 415, response.text


@pytest.mark.parametrize("name", [EVIL + ".csv", "../../../x.csv", "..\\..\\x.csv", "\u202egnp.csv", "a\x00b.csv"])
def test_the_name_of_a_file_is_only_shown(fresh: TestClient, name: str) -> None:
    folder = fresh.app.state.desk.folder  # type: ignore[attr-defined]
    key, progress = uploaded(fresh, TABLE, name)
    assert progress["state"] == "done"
    files = [path for path in folder.rglob("*") if path.is_file() and "sqlite" not in path.name]
    assert {path.name for path in files} == {"lock", "upload.csv"}
    page = fresh.get("/documents", params={"source": key}).text
    assert "<script>alert" not in page and "\u202e" not in page and "\x00" not in page
    assert re.search(r"x\.csv|script&gt;\.csv|gnp\.csv|b\.csv", page)


def test_nothing_of_a_file_becomes_markup(fresh: TestClient) -> None:
    content = f'id,text,label\n"{EVIL.replace(chr(34), chr(34) * 2)}",good {EVIL.replace(chr(34), "")},<b>x</b>\n' * 3
    key, progress = uploaded(fresh, content)
    assert progress["state"] == "done"
    for asked in ({}, {"search": EVIL}, {"label": EVIL, "prediction": EVIL}, {"label": "<b>x</b>"}):
        page = fresh.get("/documents", params={"source": key, **asked}).text
        assert "<script>alert" not in page and "<b>x</b>" not in page
        scripts = [attributes for tag, attributes in Page(page).tags if tag == "script"]
        assert scripts == [{"src": "static/documents.js", "defer": None}]


@pytest.mark.parametrize(
    "asked",
    [
        {"show": EVIL},
        {"sort": "words; DROP TABLE documents"},
        {"least_words": "x"},
        {"most_words": "-1"},
        {"least_unknown": "nan"},
        {"first": "1e99"},
        {"source": EVIL},
        {"source": "upload-../../x"},
        {"run": EVIL},
    ],
)
def test_a_filter_that_is_not_one_is_refused(client: TestClient, asked: dict[str, str]) -> None:
    for path in ("/documents", "/documents.csv"):
        response = client.get(path, params={"source": "test", **asked})
        assert response.status_code in {400, 404} or path == "/documents.csv"
        assert EVIL not in response.text and "Traceback" not in response.text
    assert client.get("/errors", params={"by": EVIL}).status_code == 404


def test_headers_protect_the_table_as_they_protect_the_page(client: TestClient) -> None:
    wait_for_table(client)
    for path in ("/documents", "/documents.csv", "/progress", "/static/documents.js"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"


def test_scoring_is_cancelled_and_starts_again(fresh: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, going_on = threading.Event(), threading.Event()
    rows_of = UploadedFile.rows

    def slow(self: UploadedFile) -> Iterator[Any]:
        for row in rows_of(self):
            yield row
            reading.set()
            going_on.wait(30)

    monkeypatch.setattr(UploadedFile, "rows", slow)
    response = upload(fresh, TABLE)
    key = httpx2.URL(response.headers["location"]).params["source"]
    assert reading.wait(30)
    act = {"token": token(fresh), "source": key}
    assert fresh.get("/progress", params={"source": key}).json()["state"] == "working"
    fresh.post("/table", data={**act, "act": "cancel"})
    going_on.set()
    assert wait_for_table(fresh, key)["state"] == "cancelled"
    assert "Score it again" in fresh.get("/documents", params={"source": key}).text
    fresh.post("/table", data={**act, "act": "score"})
    assert wait_for_table(fresh, key)["state"] == "done"


def test_an_uploaded_file_does_not_wait_for_a_split(fresh: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, going_on, finished = threading.Event(), threading.Event(), []
    rows_of, work = SplitSource.rows, Scoring.work

    def slow(self: SplitSource) -> Iterator[Any]:
        for row in rows_of(self):
            reading.set()
            going_on.wait(30)
            yield row

    def noted(self: Scoring, *arguments: Any) -> None:
        work(self, *arguments)
        finished.append(self.source.title)

    monkeypatch.setattr(SplitSource, "rows", slow)
    monkeypatch.setattr(Scoring, "work", noted)
    monkeypatch.setattr("page.scoring.ADDED_AT_ONCE", 5)
    fresh.get("/documents")
    assert reading.wait(30)
    response = upload(fresh, TABLE)
    key = httpx2.URL(response.headers["location"]).params["source"]
    assert fresh.get("/progress", params={"source": key}).json()["state"] == "waiting"
    going_on.set()
    assert wait_for_table(fresh, key)["state"] == "done" and wait_for_table(fresh)["documents"] == DOCUMENTS
    for _ in range(100):
        if len(finished) == 2:
            break
        time.sleep(0.02)
    assert finished[1:] == ["test split of tiny"]


def test_files_nobody_looks_at_and_folders_of_dead_servers_are_deleted(
    fresh: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = uploaded(fresh, TABLE)
    desk: Desk = fresh.app.state.desk  # type: ignore[attr-defined]
    desk.sweep()
    assert fresh.get("/documents", params={"source": key}).status_code == 200
    time.sleep(0.01)
    desk.sweep(keep_seconds=0)
    assert fresh.get("/documents", params={"source": key}).status_code == 404
    monkeypatch.setattr(scoring_module.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(scoring_module, "YOUNG_SECONDS", -1)
    dead, living = tmp_path / "han-tables-dead", tmp_path / "han-tables-living"
    for folder in (dead, living):
        folder.mkdir()
        (folder / "file").touch()
    (tmp_path / "han-tables-link").symlink_to(tmp_path / "elsewhere")
    with scoring_module.locked(living):
        remove_leftovers()
    assert not dead.exists() and (living / "file").exists() and (tmp_path / "han-tables-link").is_symlink()


def test_everything_is_deleted_when_the_server_ends(served: ServedRun) -> None:
    with TestClient(make_app([served], ["testserver"])) as client:
        uploaded(client, TABLE)
        folder: Path = client.app.state.desk.folder  # type: ignore[attr-defined]
        assert folder.is_dir() and folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_only_so_many_files_are_kept(fresh: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_module, "MOST_UPLOADS", 1)
    uploaded(fresh, TABLE)
    response = upload(fresh, TABLE)
    assert response.status_code == 503 and "delete one first" in response.text


def test_a_file_that_arrives_too_slowly_is_refused_and_leaves_nothing(
    served: ServedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page.viewer, "BODY_SECONDS", 0.5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    head = "POST /upload?token={} HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=b\r\n"
    with serving([served]) as address:
        given = re.search(r'action="upload\?token=([^"]+)"', httpx2.get(f"{address}/documents").text)
        assert given
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 30) as client:
            client.sendall(f"{head.format(given[1])}content-length: 1000000\r\n\r\n--b\r\n".encode())
            assert client.recv(10_000).startswith(b"HTTP/1.1 408")
        assert list(tmp_path.glob("han-tables-*")) and not list(tmp_path.glob("han-tables-*/upload-*"))


def test_only_so_many_files_arrive_at_once() -> None:
    receptions = uploads.Receptions(0)
    with pytest.raises(Refusal, match="Other files are arriving"):
        asyncio.run(receptions.receive(None, None))  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# Forms


def form_of(parts: list[tuple[str, bytes]], boundary: str = "xYz") -> bytes:
    lines = [f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body for head, body in parts]
    return b"\r\n".join([*lines, f"--{boundary}--\r\n".encode()])


def test_a_form_is_taken_apart_however_it_is_cut() -> None:
    content = b"\r\n--xY \r\n--xYzz"[:9] + bytes(range(256)) * 3 + b"\r\n--xY"
    form = form_of([('name="text_column"', b"b\xc3\xb6dy"), ('name="file"; filename="a;b.csv"', content)])
    for seed in range(60):
        generator, reader, found, rest = random.Random(seed), FormReader("xYz"), b"", form
        while rest:
            size = generator.choice([1, 2, 3, 7, 50, 1000])
            found += reader.feed(rest[:size])
            rest = rest[size:]
        assert found == content and reader.complete
        assert reader.field("text_column") == "bödy" and reader.file_name == "a;b.csv"


@pytest.mark.parametrize(
    "form",
    [
        b"no form at all, of some length",
        b"--xYz\r\n\r\n\r\nno name\r\n--xYz--\r\n",
        form_of([('name="other"; filename="a.csv"', b"x")]),
        form_of([('name="file"', b"x")]),
        form_of([('name="file"; filename="a.csv"', b"x")] * 2),
        form_of([(f'name="{number}"', b"x") for number in range(uploads.MOST_FIELDS + 1)]),
        form_of([('name="a"', b"x" * 5_000)]),
        b"--xYz\r\n" + b"A: " + b"x" * 10_000,
        b"--xYzzz",
    ],
)
def test_another_form_is_refused(form: bytes) -> None:
    reader = FormReader("xYz")
    with pytest.raises(Refusal):
        reader.feed(form)
    reader = FormReader("xYz")
    with pytest.raises(Refusal):
        for place in range(len(form)):
            reader.feed(form[place : place + 1])


@pytest.mark.parametrize("body", [b"", b"--b\r\n", form_of([('name="a"', b"x")], "b"), b"--b\r\n" + b"y" * 100])
def test_a_form_without_a_whole_file_leaves_nothing(fresh: TestClient, body: bytes) -> None:
    given, folder = token(fresh), fresh.app.state.desk.folder  # type: ignore[attr-defined]
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert fresh.post("/upload", params={"token": given}, content=body, headers=kind).status_code == 400
    assert [path for path in folder.iterdir() if path.is_dir()] == []
    for kind_of_other in ("text/csv", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 90):
        headers = {"content-type": kind_of_other}
        response = fresh.post("/upload", params={"token": given}, content=body, headers=headers)
        assert response.status_code == 415 and [path for path in folder.iterdir() if path.is_dir()] == []


def test_names_and_endings() -> None:
    assert ending_of("A.B.CSV.GZ") == ".csv.gz" and ending_of("x/y.tsv") == ".tsv"
    assert shown_name("/a/b\\c.csv") == "c.csv" and len(shown_name("x" * 500 + ".csv")) == 80
    with pytest.raises(UserError, match="none of the endings"):
        ending_of("a.feather")


def test_progress_is_json_that_a_script_can_follow(client: TestClient) -> None:
    progress = wait_for_table(client)
    assert set(progress) == {"state", "documents", "share", "words", "problem"} and progress["share"] == 1
    assert json.loads(json.dumps(progress)) == progress and Selection() == Selection()
