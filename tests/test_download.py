"""download.py against a local server that misbehaves in every way that real ones do."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any

import pytest

import download
from corpus.corpora import Corpus, find_corpus
from utils import UserError, exclusive_lock, human_size, read_json, sha256_of_file, write_json

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = download.Patience(connect_seconds=2, read_seconds=0.3, failures=3, pause_seconds=0.001)
HTML = b"\n<!DOCTYPE html><html><body>Please log in to the network</body></html>"


def make_archive(seed: int, size: int = 150_000, member_name: str = "aclImdb/train/pos/0_9.txt") -> bytes:
    """A .tar.gz with one review that hardly compresses, so that there is something to cut."""
    text = Random(seed).randbytes(size).hex().encode()
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(member_name)
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return file.getvalue()


ARCHIVE = make_archive(seed=1)
OTHER_ARCHIVE = make_archive(seed=2, size=170_000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# The server


@dataclass
class Reply:
    """How the server answers one request; the default is what a good server does."""

    status: int | None = None  # an error status instead of the file
    content: bytes | None = None  # another file, from now on
    etag: str | None = "unchanged"  # another ETag, from now on
    cut: int | None = None  # close the connection after so many bytes of the body
    stall: bool = False  # do not close it then, but fall silent
    ignore_range: bool = False
    ignore_if_range: bool = False
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What the server saw and did."""

    range: str | None
    if_range: str | None
    status: int = 0
    sent: int = 0


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = ARCHIVE, '"first"'
        self.script: list[Reply] = []
        self.requests: list[Request] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/aclImdb_v1.tar.gz"

    def handle_error(self, *_: Any) -> None:
        """A client that went away is no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        server, reply = self.server, self.server.script.pop(0) if self.server.script else Reply()
        request = Request(self.headers.get("Range"), self.headers.get("If-Range"))
        server.requests.append(request)
        server.content = server.content if reply.content is None else reply.content
        server.etag = server.etag if reply.etag == "unchanged" else reply.etag
        request.status, body, headers = self.choose(reply, request)
        self.send_response(request.status)
        for name, value in {**headers, **reply.headers}.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.send_body(reply, request, body)

    def choose(self, reply: Reply, request: Request) -> tuple[int, bytes, dict[str, str]]:
        content, etag = self.server.content, self.server.etag
        headers = {"ETag": etag} if etag else {}
        if reply.status:
            return reply.status, b"no", {}
        fresh = request.if_range in (None, etag) or reply.ignore_if_range
        if not request.range or reply.ignore_range or not fresh:
            return 200, content, headers
        start = int(request.range.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return 416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"}
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return 206, content[start:], headers

    def send_body(self, reply: Reply, request: Request, body: bytes) -> None:
        piece = body if reply.cut is None else body[: reply.cut]
        request.sent = len(piece)
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(piece), piece) if reply.chunked else piece)
        if reply.cut is not None:
            self.close_connection = True
        if reply.stall:
            self.server.closing.wait(10)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()


# ---------------------------------------------------------------------------------------------------------------------
# The person


@dataclass
class Person:
    """Types commands and looks into the folder."""

    data_dir: Path

    @property
    def raw(self) -> Path:
        return self.data_dir / "imdb" / "raw"

    @property
    def target(self) -> Path:
        return self.raw / "aclImdb_v1.tar.gz"

    @property
    def part(self) -> Path:
        return self.raw / "aclImdb_v1.tar.gz.part"

    @property
    def record(self) -> dict[str, Any]:
        return read_json(self.raw / "source.json")

    def run(self, *arguments: object) -> None:
        command = ["imdb", "--data_dir", str(self.data_dir), *map(str, arguments)]
        download.main(download.build_parser().parse_args(command), PATIENCE)

    def fails(self, *arguments: object) -> str:
        with pytest.raises(UserError) as caught:
            self.run(*arguments)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def files(self) -> set[str]:
        return {file.name for file in self.raw.iterdir()} - {".download.lock"} if self.raw.exists() else set()


@pytest.fixture
def person(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Person:
    corpus: Corpus = replace(find_corpus("imdb"), url=server.url, sha256=sha256(ARCHIVE))
    monkeypatch.setattr(download, "find_corpus", lambda name: corpus)
    return Person(tmp_path / "data")


@pytest.fixture
def good(person: Person) -> Path:
    """A right archive that is in place already, from another address."""
    person.raw.mkdir(parents=True)
    person.target.write_bytes(OTHER_ARCHIVE)
    write_json(person.raw / "source.json", {"source": "http://elsewhere/", "sha256": sha256(OTHER_ARCHIVE)})
    return person.target


# ---------------------------------------------------------------------------------------------------------------------
# The way it should go


def test_downloads_checks_and_records(person: Person, server: Server) -> None:
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert person.files() == {"aclImdb_v1.tar.gz", "source.json"}
    assert person.record["source"] == server.url
    assert person.record["sha256"] == person.record["published_sha256"] == sha256(ARCHIVE)
    assert person.record["verified"] is True
    assert person.record["size"] == len(ARCHIVE)


def test_a_right_archive_is_left_alone(person: Person, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    person.run()
    before = person.target.stat()
    caplog.set_level("INFO")
    person.run()
    assert len(server.requests) == 1
    assert person.target.stat().st_mtime_ns == before.st_mtime_ns
    assert "nothing to do" in caplog.text


def test_an_archive_put_there_by_hand_is_recognised_and_recorded(person: Person, server: Server) -> None:
    person.raw.mkdir(parents=True)
    person.target.write_bytes(ARCHIVE)
    person.run()
    assert server.requests == []
    assert person.record["verified"] is True


def test_a_changed_archive_is_fetched_again(person: Person, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    person.run()
    person.target.write_bytes(ARCHIVE[:-1] + b"?")
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert "neither the published archive nor the recorded one" in caplog.text


def test_lines_tell_the_progress_where_there_is_no_terminal(person: Person, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    person.run()
    lines = [record.getMessage() for record in caplog.records]
    assert any(line == f"aclImdb_v1.tar.gz: {human_size(len(ARCHIVE))}" for line in lines)  # the total
    assert any(line.startswith("100%") for line in lines)
    assert lines[-1].startswith("next: python create_csv.py imdb")


def test_meter_writes_a_line_for_every_tenth(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    with download.Meter("file", have=300, total=1000) as meter:
        for _ in range(70):
            meter.advance(10)
    shares = [record.getMessage().split()[0] for record in caplog.records[1:]]
    assert shares == ["40%", "50%", "60%", "70%", "80%", "90%", "100%"]
    assert "resuming from 300 B" in caplog.records[0].getMessage()


# ---------------------------------------------------------------------------------------------------------------------
# Broken connections


def test_resumes_where_the_connection_broke(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000), Reply(cut=50_000)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert [request.range for request in server.requests] == [None, "bytes=60000-", "bytes=110000-"]
    assert {request.if_range for request in server.requests[1:]} == {'"first"'}
    assert sum(request.sent for request in server.requests) == len(ARCHIVE)  # not a byte was sent twice


def test_a_second_command_resumes_what_the_first_one_left(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000), *[Reply(status=503)] * 3]
    message = person.fails()
    assert "503" in message and "58.6 KB are kept" in message
    assert person.part.stat().st_size == 60_000
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert person.files() == {"aclImdb_v1.tar.gz", "source.json"}
    assert sum(request.sent for request in server.requests if request.status in (200, 206)) == len(ARCHIVE)


def test_only_failures_without_progress_count(person: Person, server: Server) -> None:
    server.script = [Reply(cut=10_000) for _ in range(8)]  # more than PATIENCE.failures
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert len(server.requests) == 9


def test_a_silent_server_times_out_and_is_asked_for_the_rest(person: Person, server: Server) -> None:
    server.script = [Reply(cut=70_001, stall=True)]
    started = time.monotonic()
    person.run()
    assert time.monotonic() - started < 5
    assert person.target.read_bytes() == ARCHIVE
    assert server.requests[1].range == "bytes=70001-"


def test_server_errors_are_waited_out(person: Person, server: Server) -> None:
    server.script = [Reply(status=500), Reply(status=429)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE


def test_pauses_grow(person: Person, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.script = [Reply(status=500)] * 3
    person.fails()
    assert pauses == [0.001, 0.002]


# ---------------------------------------------------------------------------------------------------------------------
# Ranges and versions


def test_a_server_that_ignores_ranges(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000), Reply(ignore_range=True)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert [request.status for request in server.requests] == [200, 200]


def test_a_server_that_ignores_ranges_and_always_breaks_off_is_given_up(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000, ignore_range=True) for _ in range(50)]
    assert "--source FILE_OR_URL" in person.fails()
    assert len(server.requests) == 1 + PATIENCE.failures - 1


@pytest.mark.parametrize("ignore_if_range", [False, True])
def test_a_changed_etag_starts_over(
    person: Person, server: Server, ignore_if_range: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server.script = [
        Reply(content=OTHER_ARCHIVE, cut=60_000),
        Reply(content=ARCHIVE, etag='"second"', ignore_if_range=ignore_if_range),
    ]
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert server.requests[1].status == (206 if ignore_if_range else 200)
    if ignore_if_range:  # the mismatch is seen in the headers, before anything is appended
        assert server.requests[2].range is None
        assert "no longer the one that was begun" in caplog.text
    assert "pieces" not in caplog.text


def test_another_range_than_the_one_asked_for_is_not_appended(
    person: Person, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = {"Content-Range": f"bytes 50000-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"}
    server.script = [Reply(cut=60_000), Reply(headers=wrong)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert server.requests[2].range is None
    assert "pieces" not in caplog.text


def test_a_range_that_ends_early(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000), Reply(cut=20_000, chunked=True)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert server.requests[2].range == "bytes=80000-"


def test_a_weak_etag_is_not_sent_as_a_condition(person: Person, server: Server) -> None:
    date = {"Last-Modified": "Fri, 24 Jun 2011 22:00:00 GMT"}
    server.script = [Reply(etag='W/"weak"', cut=60_000, headers=date), Reply(headers=date, ignore_if_range=True)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE
    assert server.requests[1].if_range == date["Last-Modified"]


def leave_part(person: Person, server: Server, content: bytes) -> None:
    """The state that a killed process leaves behind."""
    part = download.Part(person.part, server.url)
    person.raw.mkdir(parents=True, exist_ok=True)
    part.begin({"ETag": '"first"', "Last-Modified": None})
    person.part.write_bytes(content)


def test_416_on_a_complete_part(person: Person, server: Server) -> None:
    leave_part(person, server, ARCHIVE)
    person.run()
    assert [(request.status, request.sent) for request in server.requests] == [(416, 0)]
    assert person.target.read_bytes() == ARCHIVE


def test_416_on_a_part_that_is_too_long(person: Person, server: Server) -> None:
    leave_part(person, server, ARCHIVE + b"more")
    person.run()
    assert [request.status for request in server.requests] == [416, 200]
    assert person.target.read_bytes() == ARCHIVE


def test_a_part_that_was_damaged_on_the_disk_is_fetched_again(
    person: Person, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    leave_part(person, server, ARCHIVE[:50_000] + bytes(10_000))
    person.run()
    assert [request.range for request in server.requests] == ["bytes=60000-", None]
    assert person.target.read_bytes() == ARCHIVE
    assert "pieces do not form the archive" in caplog.text


@pytest.mark.parametrize("note", [None, "", '{"url": "http://elsewhere/", "version": {"ETag": "\\"first\\""}}'])
def test_a_part_of_unknown_origin_is_not_used(person: Person, server: Server, note: str | None) -> None:
    leave_part(person, server, OTHER_ARCHIVE[:60_000])
    note_file = person.raw / "aclImdb_v1.tar.gz.part.json"
    note_file.unlink() if note is None else note_file.write_text(note)
    person.run()
    assert server.requests[0].range is None
    assert person.target.read_bytes() == ARCHIVE


def test_the_bytes_are_taken_as_they_are(person: Person, server: Server) -> None:
    """A server that labels the archive as compressed for the journey does not get it unpacked."""
    server.script = [Reply(headers={"Content-Encoding": "gzip"})]
    person.run()
    assert person.target.read_bytes() == ARCHIVE


def test_a_length_that_is_not_told(person: Person, server: Server) -> None:
    server.script = [Reply(chunked=True)]
    person.run()
    assert person.target.read_bytes() == ARCHIVE


# ---------------------------------------------------------------------------------------------------------------------
# Refusals: one line, nothing half-written, what was good stays


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([Reply(status=404)], "404 Not Found"),
        ([Reply(status=403)], "403 Forbidden"),
        ([Reply(status=500)] * 3, "500 Internal Server Error"),
        ([Reply(content=HTML)], "web page"),
        ([Reply(content=b"PK\3\4" + bytes(100))], "not a gzip file"),
        ([Reply(content=b"")] * 3, "the server sent nothing"),
        ([Reply(content=OTHER_ARCHIVE)], f"its sha256 is {sha256(OTHER_ARCHIVE)}, not {sha256(ARCHIVE)}"),
    ],
)
def test_what_the_publisher_must_not_send(
    person: Person, server: Server, good: Path, script: list[Reply], words: str
) -> None:
    good.write_bytes(b"what the person had")  # neither published nor recorded: worth replacing, but not by nothing
    server.script = list(script)
    message = person.fails()
    assert words in message
    assert "python download.py imdb --data_dir" in message and "--source FILE_OR_URL" in message
    assert len(server.requests) == len(script)
    assert good.read_bytes() == b"what the person had"
    assert person.files() == {"aclImdb_v1.tar.gz", "source.json"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ARCHIVE[:-5_000], "damaged or cut short"),
        (ARCHIVE[:-8] + bytes(8), "damaged or cut short"),  # only the checksum at the end is wrong
        (
            gzip.compress(gzip.decompress(ARCHIVE)[:-20_000], mtime=0),
            "damaged or cut short",
        ),  # cut before it was packed
        (gzip.compress(b"no tar archive" * 100, mtime=0), "damaged or cut short"),
        (ARCHIVE + b"garbage", "damaged or cut short"),
        (b"\x1f", "damaged or cut short"),
        (HTML, "web page"),
        (make_archive(seed=3, member_name="ag_news_csv/train.csv"), "it holds no reviews"),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_a_source_that_is_not_a_whole_archive(
    person: Person, server: Server, good: Path, tmp_path: Path, content: bytes, words: str, local: bool
) -> None:
    source = tmp_path / "download.tar.gz"
    source.write_bytes(content)
    server.content = content
    record = person.record
    message = person.fails("--source", source if local else server.url)
    assert words in message and "--source FILE_OR_URL" in message
    assert good.read_bytes() == OTHER_ARCHIVE
    assert person.files() == {"aclImdb_v1.tar.gz", "source.json"}
    assert person.record == record


def test_a_web_page_does_not_cost_what_was_downloaded(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000), Reply(content=HTML, etag='"portal"'), Reply(content=ARCHIVE, etag='"first"')]
    assert "web page" in person.fails()
    assert person.part.stat().st_size == 60_000
    person.run()
    assert server.requests[-1].range == "bytes=60000-"
    assert person.target.read_bytes() == ARCHIVE


def test_no_network(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    message = person.fails("--source", "http://127.0.0.1:1/aclImdb_v1.tar.gz")
    assert "Connection refused" in message and "HTTPConnection" not in message
    assert "--source FILE_OR_URL" in message
    assert person.files() == set()


def test_an_address_without_a_host(person: Person) -> None:
    assert "--source FILE_OR_URL" in person.fails("--source", "http://")


def test_a_disk_that_fills_up_before_the_download(
    person: Person, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = download.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "1000 B are free" in person.fails()
    source = tmp_path / "archive"
    source.write_bytes(ARCHIVE)
    assert "1000 B are free" in person.fails("--source", source)
    assert person.files() == set()


@pytest.mark.parametrize("local", [True, False])
def test_a_disk_that_fills_up_on_the_way(
    person: Person, good: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, local: bool
) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    source = tmp_path / "archive"
    source.write_bytes(ARCHIVE)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as caught:
        patch.setattr(os, "fsync", no_space)
        person.run("--source", source if local else server.url)
    assert Path(str(caught.value.filename)).parent == person.raw  # run_script tells where the disk is full
    assert good.read_bytes() == OTHER_ARCHIVE


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_is_read_only(person: Person) -> None:
    person.data_dir.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        person.run()


def test_a_folder_that_is_a_file(person: Person) -> None:
    person.data_dir.write_text("in the way")
    with pytest.raises(OSError, match="data"):
        person.run()


def test_two_downloads_at_once(person: Person, server: Server) -> None:
    with exclusive_lock(person.raw / ".download.lock", ""):
        assert "another download.py" in person.fails()
    assert server.requests == []


# ---------------------------------------------------------------------------------------------------------------------
# --source and --sha256


def test_a_local_file_is_copied_and_recorded(
    person: Person, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "repacked.tar.gz"
    source.write_bytes(OTHER_ARCHIVE)
    person.run("--source", source)
    assert person.target.read_bytes() == source.read_bytes() == OTHER_ARCHIVE
    assert not person.target.samefile(source)
    assert person.record["source"] == str(source)
    assert person.record["sha256"] == sha256(OTHER_ARCHIVE)
    assert person.record["published_sha256"] == sha256(ARCHIVE)
    assert person.record["verified"] is False
    assert "its sha256 is not the published one" in caplog.text
    assert server.requests == []
    person.run()  # a recorded archive is what the person wants, without --source too
    assert server.requests == []
    assert person.files() == {"aclImdb_v1.tar.gz", "source.json"}


def test_the_published_file_from_a_local_copy_is_verified(person: Person, tmp_path: Path) -> None:
    source = tmp_path / "copy of archive.tar.gz"
    source.write_bytes(ARCHIVE)
    person.run("--source", source.as_uri())
    assert person.record["verified"] is True


def test_a_local_file_with_the_same_content_does_nothing(person: Person, good: Path, tmp_path: Path) -> None:
    source = tmp_path / "same.tar.gz"
    source.write_bytes(OTHER_ARCHIVE)
    before = good.stat().st_mtime_ns, person.record
    person.run("--source", source)
    assert (good.stat().st_mtime_ns, person.record) == before


def test_a_local_file_with_other_content_replaces_what_was_there(person: Person, good: Path, tmp_path: Path) -> None:
    source = tmp_path / "other.tar.gz"
    source.write_bytes(ARCHIVE)
    person.run("--source", source)
    assert good.read_bytes() == ARCHIVE
    assert person.record["sha256"] == sha256(ARCHIVE)


def test_another_address_replaces_what_was_there(person: Person, server: Server, good: Path) -> None:
    person.run("--source", server.url)
    assert good.read_bytes() == ARCHIVE
    assert person.record["source"] == server.url
    person.run("--source", server.url)
    assert len(server.requests) == 1


def test_another_address_with_the_same_content_leaves_the_file(person: Person, server: Server, good: Path) -> None:
    server.content = OTHER_ARCHIVE
    before = good.stat().st_mtime_ns
    person.run("--source", server.url)
    assert good.stat().st_mtime_ns == before
    assert person.files() == {"aclImdb_v1.tar.gz", "source.json"}


def test_sha256_is_binding(person: Person, server: Server, good: Path, tmp_path: Path) -> None:
    source = tmp_path / "archive.tar.gz"
    source.write_bytes(ARCHIVE)
    for where in (source, server.url):
        assert f"not {sha256(b'x')}" in person.fails("--source", where, "--sha256", sha256(b"x"))
        assert good.read_bytes() == OTHER_ARCHIVE
    server.content = other = make_archive(seed=3)
    person.run("--source", server.url, "--sha256", sha256(other).upper())
    assert good.read_bytes() == other
    assert person.record["verified"] is True and person.record["sha256"] != person.record["published_sha256"]


@pytest.mark.parametrize("value", ["", "abc", "g" * 64, "a" * 65])
def test_a_sha256_that_cannot_be_one(person: Person, server: Server, value: str) -> None:
    assert "--sha256" in person.fails("--sha256", value)
    assert server.requests == []


def test_a_source_that_is_not_there(person: Person, tmp_path: Path) -> None:
    for source in (tmp_path / "nowhere.tar.gz", "ftp://127.0.0.1/archive.tar.gz"):
        assert str(source) in (message := person.fails("--source", source))
        assert "is not there" in message
    assert "is a folder" in person.fails("--source", tmp_path)
    assert not person.raw.exists()


# ---------------------------------------------------------------------------------------------------------------------
# The script


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "download.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_the_script_refuses_in_one_line(tmp_path: Path) -> None:
    ended = run_script("imdb", "--data_dir", tmp_path, "--source", tmp_path / "nowhere")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and ended.stderr.startswith("download.py: error: --source")


def test_unknown_data_set(tmp_path: Path) -> None:
    ended = run_script("imdbb", "--data_dir", tmp_path)
    assert ended.returncode == 2
    assert "'imdbb'" in ended.stderr and "imdb, sample" in ended.stderr


def test_sample_needs_no_download(tmp_path: Path) -> None:
    ended = run_script("sample", "--data_dir", tmp_path)
    assert ended.returncode == 0
    assert "needs no download" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_does_not_wait_for_requests() -> None:
    code = "import sys, download; download.build_parser().format_help(); sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_json_beside_the_part_is_small_and_readable(person: Person, server: Server) -> None:
    server.script = [Reply(cut=60_000), *[Reply(status=404)]]
    person.fails()
    note = json.loads((person.raw / "aclImdb_v1.tar.gz.part.json").read_text())
    assert note == {"url": server.url, "version": {"ETag": '"first"', "Last-Modified": None}}
    assert sha256_of_file(person.part) == sha256(ARCHIVE[:60_000])


def test_what_a_killed_download_left_of_its_record_goes_unless_another_is_at_work(tmp_path: Path) -> None:
    leftover = tmp_path / ".source.json.abcdefgh.tmp"
    leftover.write_text("{")
    order = download.Order(find_corpus("imdb"), tmp_path, None, None, PATIENCE)
    with exclusive_lock(tmp_path / ".download.lock"):
        download.clear_leftovers(order)
        assert leftover.exists()
    download.clear_leftovers(order)
    assert not leftover.exists()


@pytest.mark.parametrize("record", ["[]", "7", '{"sha256": 7}', '{"source": []}'])
def test_a_record_of_another_shape_is_one_line(tmp_path: Path, record: str) -> None:
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(ARCHIVE)
    (tmp_path / "source.json").write_text(record)
    with pytest.raises(UserError, match=r"source\.json is damaged"):
        download.is_present(download.Order(find_corpus("imdb"), tmp_path, None, None, PATIENCE))
