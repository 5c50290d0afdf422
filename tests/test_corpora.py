"""The table of data sets, the reader of the IMDB archive, the reader of the CSV file."""

import csv
import gzip
import io
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

import linear_baselines
import serialize_data
from corpus import corpora, corpus_formats
from corpus.corpora import CORPORA, CSV_COLUMNS, CsvRow, find_corpus, read_csv
from corpus.corpus_formats import DamagedArchive, Row, read_imdb
from utils import DataPaths, UserError

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"Some text.", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, content


def tar_bytes(members: Iterable[Member]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return file.getvalue()


def write_archive(raw: Path, members: Iterable[Member]) -> Path:
    raw.mkdir(parents=True, exist_ok=True)
    archive = raw / "aclImdb_v1.tar.gz"
    archive.write_bytes(gzip.compress(tar_bytes(members), mtime=0))
    return archive


# ---------------------------------------------------------------------------------------------------------------------
# The table


def test_an_unknown_data_set_lists_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"'imdv'; the known ones are: imdb, sample, amazon_food, .*my_reviews\.csv.*imdb\?$"
    ):
        find_corpus("imdv")


def test_a_data_set_of_a_similar_name_is_offered(tmp_path: Path) -> None:
    (tmp_path / "my_reviews").mkdir()
    (tmp_path / "my_reviews" / "csv_manifest.json").touch()
    for typed, meant in (("smaple", "sample"), ("my_reveiws", "my_reviews")):
        with pytest.raises(UserError, match=rf"did you mean {meant}\?$"):
            find_corpus(typed, tmp_path)
    with pytest.raises(UserError, match=r"a sub-folder|one sub-folder per class$"):
        find_corpus("quite another", tmp_path)


def test_a_file_without_its_ending_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my reviews.tsv").touch()
    with pytest.raises(UserError, match=r"did you mean 'my reviews\.tsv'\?$"):
        find_corpus("my reviews")


def test_names_are_unique_and_lead_to_their_rows() -> None:
    assert [find_corpus(corpus.name) for corpus in CORPORA] == list(CORPORA)


def test_imdb_is_the_published_archive() -> None:
    imdb = find_corpus("imdb")
    assert imdb.url == "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz"
    assert (imdb.archive, imdb.documents) == ("aclImdb_v1.tar.gz", 100_000)
    assert imdb.sha256 == "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe"


@pytest.mark.parametrize("name", ["imdb", "sample"])
def test_classes(name: str) -> None:
    corpus = find_corpus(name)
    assert corpus.class_names(True) == ["negative", "positive"]
    assert corpus.class_names(False) == ["1", "2", "3", "4", "7", "8", "9", "10"]
    labels = {stars: corpus.label(Row("a", "test", stars, "x"), True) for stars in range(1, 11)}
    assert [stars for stars, label in labels.items() if label == "negative"] == [1, 2, 3, 4]
    assert [stars for stars, label in labels.items() if label == "positive"] == [7, 8, 9, 10]
    assert labels[5] is labels[6] is None
    assert corpus.label(Row("a", "train", 10, "x"), False) == "10"
    assert corpus.label(Row("a", "unlabelled", 0, "x"), True) == ""


def test_the_archive_that_was_never_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"aclImdb_v1\.tar\.gz is not there; run first: python download\.py imdb"):
        find_corpus("imdb").source_sha256(tmp_path / "imdb" / "raw")


def test_commands_name_the_data_folder_only_if_it_is_not_the_usual_one() -> None:
    assert corpora.command_line("a.py", "imdb", Path("data/imdb/raw")) == "python a.py imdb"
    assert corpora.command_line("a.py", "imdb", Path("/b c/imdb/raw")) == "python a.py imdb --data_dir '/b c'"


def test_sample_reads_the_same_rows_every_time() -> None:
    sample = find_corpus("sample")
    rows = list(sample.rows(Path("nowhere")))
    assert rows == list(sample.rows(Path("nowhere")))
    assert len(rows) == sample.documents
    assert {row.split for row in rows} == {"train", "test", "unlabelled"}
    for row in rows:
        assert sample.label(row, True) is not None and sample.label(row, False) is not None
        assert row.evidence and all(0 <= start < end <= len(row.text) for start, end in row.evidence)
    assert len(sample.source_sha256(Path("nowhere"))) == 64


# ---------------------------------------------------------------------------------------------------------------------
# The archive


def test_reads_the_published_layout(tmp_path: Path) -> None:
    text = 'He said: "Café",\r\n<br />\u2028\x85 done\n'
    write_archive(
        tmp_path,
        [
            member("aclImdb/README", b"\xff"),
            member("aclImdb/test/neg/0_2.txt", text.encode()),
            member("./aclImdb/train/pos/127_10.txt"),
            member("aclImdb/train/unsup/3_0.txt"),
            member("aclImdb/train/urls_pos.txt"),
        ],
    )
    assert list(read_imdb(tmp_path / "aclImdb_v1.tar.gz")) == [
        Row("test/neg/0_2", "test", 2, text),
        Row("train/pos/127_10", "train", 10, "Some text."),
        Row("train/unsup/3_0", "unlabelled", 0, "Some text."),
    ]


def test_hostile_members_are_passed_by(tmp_path: Path) -> None:
    members = [
        member("../../evil.txt"),
        member("/aclImdb/train/pos/1_9.txt"),
        member("aclImdb/train/pos/../../../../2_9.txt"),
        member("../aclImdb/train/pos/3_9.txt"),
        member("aclImdb/train/pos/4_9.txt\n"),
        member("aclImdb/train/pos/\u0665_9.txt"),  # a digit, but not one of ours
        member("aclImdb/train/pos/6_9.txt", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        member("aclImdb/train/pos/7_9.txt", kind=tarfile.LNKTYPE, link="aclImdb/train/pos/0_9.txt"),
        member("aclImdb/train/pos/8_9.txt", kind=tarfile.DIRTYPE),
        member("aclImdb/train/pos/9_9.txt", kind=tarfile.FIFOTYPE),
        member("aclImdb/train/pos/10_9.txt", kind=tarfile.CHRTYPE),
        member("aclImdb/train/pos/0_9.txt", b"the only review"),
    ]
    write_archive(tmp_path / "a" / "b" / "raw", members)
    before = sorted(tmp_path.rglob("*"))
    assert [row.id for row in read_imdb(tmp_path / "a" / "b" / "raw" / "aclImdb_v1.tar.gz")] == ["train/pos/0_9"]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_of_absurd_size_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_formats, "MAX_TEXT_BYTES", 1000)
    write_archive(
        tmp_path, [member("aclImdb/test/pos/0_9.txt", bytes(1000)), member("aclImdb/train/pos/5_9.txt", bytes(1001))]
    )
    rows = read_imdb(tmp_path / "aclImdb_v1.tar.gz")
    assert next(rows).id == "test/pos/0_9"
    with pytest.raises(UserError, match=r"aclImdb/train/pos/5_9\.txt is 1001 B long"):
        next(rows)


def test_the_limit_lies_between_a_long_document_and_10_megabytes() -> None:
    assert 1_000_000 < corpora.MAX_TEXT_BYTES < 10_000_000


def test_a_review_that_is_not_utf8(tmp_path: Path) -> None:
    write_archive(tmp_path, [member("aclImdb/train/neg/7_1.txt", "Café".encode("latin-1"))])
    with pytest.raises(UserError, match=r"aclImdb/train/neg/7_1\.txt is not UTF-8"):
        list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))


@pytest.mark.parametrize("name", ["train/neg/7_9", "test/pos/7_4", "train/pos/7_5", "train/unsup/7_3", "test/pos/7_11"])
def test_a_rating_in_the_wrong_folder(tmp_path: Path, name: str) -> None:
    write_archive(tmp_path, [member(f"aclImdb/{name}.txt")])
    with pytest.raises(UserError, match=f"aclImdb/{name}"):
        list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))


def reviews(count: int) -> list[Member]:
    random = Random(1)
    return [
        member(f"aclImdb/train/pos/{number}_9.txt", random.randbytes(300).hex().encode()) for number in range(count)
    ]


def test_an_archive_cut_anywhere_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, reviews(40))
    whole = archive.read_bytes()
    assert len(list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))) == 40
    for end in [*range(0, len(whole), 97), *range(len(whole) - 10, len(whole))]:
        archive.write_bytes(whole[:end])
        with pytest.raises(DamagedArchive) as caught:
            list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))
        assert str(archive) in str(caught.value) and caught.value.reason


@pytest.mark.parametrize("kept", [512, 512 + 10, 512 + 1024, 512 + 1024 + 100, 3 * 1536])
def test_a_tar_cut_before_it_was_packed_is_refused(tmp_path: Path, kept: int) -> None:
    """A disk that was full while the archive was made: gzip is whole, and tarfile alone would say nothing."""
    archive = write_archive(tmp_path, reviews(40))
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes())[:kept]))
    with pytest.raises(DamagedArchive):
        list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path, reviews(40))
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DamagedArchive):
        list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))


@pytest.mark.parametrize(
    "content", [b"", b"<html></html>", b"PK\3\4", gzip.compress(b"", mtime=0), gzip.compress(b"text " * 500, mtime=0)]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "aclImdb_v1.tar.gz").write_bytes(content)
    with pytest.raises(DamagedArchive):
        list(read_imdb(tmp_path / "aclImdb_v1.tar.gz"))
    with pytest.raises(DamagedArchive):
        corpora.check_imdb(tmp_path / "aclImdb_v1.tar.gz")


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        write_archive(tmp_path, reviews(count))
        tracemalloc.start()
        for _ in read_imdb(tmp_path / "aclImdb_v1.tar.gz"):
            pass
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10)  # imports, caches
    assert peak(2000) < peak(20) + 100_000  # 2,000 members that tarfile remembers are 1.5 MB


# ---------------------------------------------------------------------------------------------------------------------
# The CSV file

GOOD = ("train/pos/0_9", "train", "positive", "9", "A film.")


def write_rows(path: Path, *rows: tuple[str, ...], header: tuple[str, ...] = CSV_COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_reads_what_was_written(tmp_path: Path) -> None:
    texts = [
        '"',
        "a,b",
        "line\nline\r\nline\rline",
        "x\u2028\u2029\x85\x0b\x1c",
        " leading",
        "'",
        '""",\n"',
        "naïve 🎬",
        "\ufeff!",
        "x\n\ufeffy",
    ]
    rows = [(str(number), "test", "negative", "-3", text) for number, text in enumerate(texts)]
    path = write_rows(tmp_path / "a.csv", GOOD, *rows, ("u", "unlabelled", "", "0", "x"))
    expected = [CsvRow(*GOOD[:3], 9, GOOD[4]), *(CsvRow(*row[:3], -3, row[4]) for row in rows)]
    assert list(read_csv(path)) == [*expected, CsvRow("u", "unlabelled", "", 0, "x")]


def test_columns_are_found_by_name_and_a_byte_order_mark_is_no_part_of_the_first(tmp_path: Path) -> None:
    path = write_rows(
        tmp_path / "a.csv",
        ("A film.", "9", "seen", "x", "train", "good"),
        header=("text", "rating", "note", "id", "split", "label"),
    )
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_csv(path)) == [CsvRow("x", "train", "good", 9, "A film.")]


def replaced(place: int, value: str) -> tuple[str, ...]:
    return (*GOOD[:place], value, *GOOD[place + 1 :])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (replaced(4, ""), "the text of document 'train/pos/0_9' is empty"),
        (replaced(4, " \n\t"), "is empty"),
        (replaced(1, "dev"), "unknown split 'dev', not one of train, valid, test, unlabelled"),
        (replaced(2, ""), "'train/pos/0_9' of the train split has no label"),
        (replaced(3, "nine"), "the rating 'nine' is not a whole number"),
        (replaced(3, "9.5"), "the rating '9.5' is not"),
        (GOOD[:4], "4 fields where the header has 5"),
        ((*GOOD, "more"), "6 fields where the header has 5"),
        ((), "the row is empty"),
        (replaced(4, "x\0y"), "NUL"),
        (replaced(4, "x" * 10_000_000), "longer than 4.8 MB"),
        (replaced(4, "x\n" * 5_000_000), "longer than 4.8 MB"),
    ],
)  # fmt: skip
def test_a_bad_row_names_file_line_and_way_out(tmp_path: Path, row: tuple[str, ...], words: str) -> None:
    path = write_rows(tmp_path / "imdb.csv", GOOD, replaced(4, "two\nlines"), row, GOOD)
    rows = read_csv(path)
    assert [next(rows).text, next(rows).text] == ["A film.", "two\nlines"]
    with pytest.raises(UserError) as caught:
        next(rows)
    message = str(caught.value)
    assert message.startswith(f"{path}, line 5: ") and words in message
    assert "python create_csv.py imdb" in message and "\n" not in message and len(message) < 600


@pytest.mark.parametrize(
    ("damage", "line", "words"),
    [
        (lambda content: content.replace(b"A film.", "Café.".encode("latin-1")), 2, "it is not UTF-8"),
        (lambda content: content.decode().encode("utf-16"), 1, "it is not UTF-8|NUL"),
        (lambda content: content.decode().encode("utf-16-le"), 1, "NUL"),
        (lambda content: content.replace(b"label", b"class"), 1, "no column label in the header, which"),
        (lambda content: content.replace(b",", b";"), 1, "no column id, split, label, rating, text"),
        (lambda content: b"", 1, "no column id"),
        (lambda content: content.replace(b"A film.", b'"A film.'), 2, "closing quote is missing"),
        (lambda content: content.replace(b"A film.", b'"A" film.'), 2, "expected after"),
        (lambda content: content.replace(b"\r\n", b"\r"), 1, "new-line"),
    ],
)  # fmt: skip
def test_a_bad_file(tmp_path: Path, damage: Callable[[bytes], bytes], line: int, words: str) -> None:
    path = write_rows(tmp_path / "imdb.csv", GOOD)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=words) as caught:
        list(read_csv(path))
    assert str(caught.value).startswith(f"{path}, line {line}: ")


def test_a_line_that_never_ends_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "imdb.csv"
    with path.open("wb") as file:
        file.truncate(200_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="longer than"):
        list(read_csv(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * corpora.MAX_TEXT_BYTES


def test_a_csv_file_that_was_never_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"imdb\.csv is not there; run first: python create_csv\.py imdb --data_dir"):
        next(read_csv(tmp_path / "data" / "imdb" / "imdb.csv"))


def test_an_error_of_the_caller_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "imdb.csv", GOOD)
    with pytest.raises(ValueError, match="mine"):
        for _ in read_csv(path):
            raise ValueError("mine")


# ---------------------------------------------------------------------------------------------------------------------
# What must be read first


def test_a_command_that_is_named_works(tmp_path: Path) -> None:
    """For an own file that was never read, and for a name that nobody knows."""
    path = tmp_path / "mine.csv"
    paths = DataPaths("mine", tmp_path / "data")
    with pytest.raises(UserError, match=r"mine\.csv is not there; give the path of your file"):
        corpora.require_csv(str(path), paths)
    path.touch()
    with pytest.raises(UserError, match=rf"run first: python create_csv\.py {path} --data_dir {tmp_path}/data$"):
        corpora.require_csv(str(path), paths)
    with pytest.raises(UserError, match="unknown data set 'mine'; the known ones are: imdb"):
        corpora.require_csv("mine", paths)
    with pytest.raises(UserError, match=r"run first: python create_csv\.py ag_news"):
        corpora.require_csv("ag_news", DataPaths("ag_news", tmp_path))
    paths.folder.mkdir(parents=True)
    paths.csv.touch()
    corpora.require_csv("mine", paths)


@pytest.mark.parametrize("script", [linear_baselines, serialize_data])
def test_a_file_that_was_never_read_is_named_as_it_was_typed(tmp_path: Path, script: ModuleType) -> None:
    path, data = tmp_path / "mine.csv", tmp_path / "data"
    path.touch()
    with pytest.raises(UserError, match=rf"run first: python create_csv\.py {path}"):
        script.main(script.build_parser().parse_args([str(path), "--data_dir", str(data)]))
    (data / "mine").mkdir(parents=True)
    (data / "mine" / "mine.csv").touch()
    with pytest.raises(UserError, match=rf"{data}/mine/labels\.txt is not there"):  # once read, its name is enough
        script.main(script.build_parser().parse_args([str(path), "--data_dir", str(data)]))


@pytest.mark.parametrize("manifest", ["[]", "7", '{"source": 7}'])
def test_a_manifest_of_another_shape_is_one_line(tmp_path: Path, manifest: str) -> None:
    paths = DataPaths("mine", tmp_path)
    paths.folder.mkdir()
    paths.csv_manifest.write_text(manifest)
    with pytest.raises(UserError, match=r"csv_manifest\.json is damaged"):
        corpora.own_source("mine", paths)


def test_an_unknown_name_is_not_what_may_be_meant(tmp_path: Path) -> None:
    """A data set whose manifest names no file."""
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "csv_manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"unknown data set 'reviews'.*per class$"):
        corpora.find_corpus("reviews", tmp_path)
    with pytest.raises(UserError, match=r"did you mean reviews\?$"):
        corpora.find_corpus("review", tmp_path)
