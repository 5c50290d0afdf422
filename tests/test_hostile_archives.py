"""``download.py --source`` with archives made to do harm: one line, nothing outside the data folder, nothing lost."""

from __future__ import annotations

import gzip
import io
import signal
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import download
from utils import run_script

REVIEW = "aclImdb/train/pos/0_9.txt"
KINDS = {
    "a symbolic link": tarfile.SYMTYPE,
    "a hard link": tarfile.LNKTYPE,
    "a character device": tarfile.CHRTYPE,
    "a block device": tarfile.BLKTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "a folder": tarfile.DIRTYPE,
    "of an unknown kind": b"Z",
}


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info


def header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def tar(*files: tuple[str, bytes]) -> bytes:
    return b"".join(header(member(name, size=len(data))) + padded(data) for name, data in files) + bytes(1024)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def pax(record: bytes) -> bytes:
    return header(member("pax", tarfile.XHDTYPE, len(record))) + padded(record) + tar((REVIEW, b"a good film"))


def with_size(field: bytes) -> bytes:
    """An archive whose member has this in the field of its size, with the right checksum."""
    content = bytearray(tar((REVIEW, b"a good film")))
    content[124:136] = field
    content[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(content[:512])
    return bytes(content)


LONG_NAME = header(member("././@LongLink", tarfile.GNUTYPE_LONGNAME, 3)) + padded(b"abc")
TARS = {
    "a way up": tar(("../../../outside.txt", b"x"), ("aclImdb/../../outside.txt", b"x")),
    "an absolute name": tar(("/tmp/outside.txt", b"x"), (f"/{REVIEW}", b"x")),
    **{f"the review is {what}": header(member(REVIEW, kind, link="/etc/passwd")) for what, kind in KINDS.items()},
    "a file where a folder is expected": tar(("aclImdb", b"x"), ("aclImdb/train", b"x")),
    "a name that is not UTF-8": tar(("aclImdb/train/pos/\udcff\udcfe_9.txt", b"x")),
    "nothing in it": tar(),
    "no byte in it": b"",
    "a member cut short": tar((REVIEW, b"x" * 5000))[:2000],
    "a member of terabytes in name only": header(member(REVIEW, size=10**12)) + bytes(512),
    "a member of 2^87 bytes": with_size(b"\x80" + b"\xff" * 11),
    "a member of a negative size": with_size(b"\xff" * 12),
    "a size that is no number": with_size(b"not a number"),
    "a name that never ends": header(member("././@LongLink", tarfile.GNUTYPE_LONGNAME, 10**10)) + bytes(1024),
    "3,000 names for one member": LONG_NAME * 3000 + tar((REVIEW, b"x")),
    "a map that is no number": pax(b"20 GNU.sparse.map=x\n"),
    "a character set that is not UTF-8": pax(b"17 hdrcharset=\xff\xfe\n"),
}


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the script on a source; returns its last line, after having looked at what is on disk."""

    def run(dataset: str, name: str, content: bytes) -> str:
        data, source = tmp_path / "data", tmp_path / name
        source.write_bytes(content)
        raw = data / dataset / "raw"
        raw.mkdir(parents=True)
        (raw / "what_was_there").write_text("good")
        monkeypatch.setattr(sys, "argv", ["download.py", dataset, "--data_dir", str(data), "--source", str(source)])
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_script(download.main, download.build_parser())
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("download.py: ")]
        assert ended.value.code == 2 and len(lines) == 1, (ended.value.code, lines)
        assert {path.name for path in tmp_path.iterdir()} == {"data", name}
        assert {path.name for path in raw.iterdir()} == {"what_was_there", ".download.lock"}
        return lines[0]

    return run


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", TARS)
def test_a_hostile_tar_archive_is_refused_in_one_line(outcome: Callable[..., str], what: str) -> None:
    line = outcome("imdb", "a.tar.gz", gzip.compress(TARS[what]))
    assert "error: " in line and "a.tar.gz is not the archive of imdb" in line and "--source FILE_OR_URL" in line


def zipped(name: str = "Reviews.csv", compression: int = zipfile.ZIP_STORED) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(name, "Id,Score,Text\n" + "".join(f"{n},{n % 5 + 1},film {n * n}\n" for n in range(3000)))
    return bytearray(file.getvalue())


def changed(content: bytearray, local: dict[int, bytes], central: dict[int, bytes]) -> bytes:
    """A zip file with other bytes in the header before its data and in its table of contents."""
    start = content.index(b"PK\x01\x02")
    for at, value in [*local.items(), *((start + at, value) for at, value in central.items())]:
        content[at : at + len(value)] = value
    return bytes(content)


ZIPS = {
    "a way up": bytes(zipped("../Reviews.csv")),
    "an absolute name": bytes(zipped("/Reviews.csv")),
    "nothing in it": b"PK\x05\x06" + bytes(18),
    "a folder where the table is expected": bytes(zipped("Reviews.csv/")),
    "cut short": bytes(zipped()[:2000]),
    "encrypted": changed(zipped(), {6: b"\x01"}, {8: b"\x01"}),
    "an unknown compression": changed(zipped(), {8: b"\x63"}, {10: b"\x63"}),
    "an unknown version": changed(zipped(), {}, {6: b"\xff\xff"}),
    "a name that is not UTF-8": changed(zipped(), {7: b"\x08", 30: b"\xff\xfe"}, {9: b"\x08", 46: b"\xff\xfe"}),
    "gigabytes in name only": changed(zipped(), {}, {20: b"\xff\xff\xff\x7f" * 2}),
    "a wrong checksum": changed(zipped(), {}, {16: b"abcd"}),
    "damaged deflate": changed(zipped(compression=zipfile.ZIP_DEFLATED), {80: b"\xff" * 40}, {}),
    "damaged bzip2": changed(zipped(compression=zipfile.ZIP_BZIP2), {80: b"\xff" * 40}, {}),
    "damaged lzma": changed(zipped(compression=zipfile.ZIP_LZMA), {80: b"\xff" * 40}, {}),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ZIPS)
def test_a_hostile_zip_archive_is_refused_in_one_line(outcome: Callable[..., str], what: str) -> None:
    line = outcome("amazon_food", "a.zip", ZIPS[what])
    assert "error: " in line and "a.zip is not the archive of amazon_food" in line
