"""The formats of Zhang et al. and of the Amazon fine foods, in every shape in which they are handed around."""

import csv
import gzip
import io
import tarfile
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path

import pytest

import create_csv
import download
from corpus.corpora import CORPORA, CsvRow, find_corpus, read_csv
from corpus.corpus_formats import DamagedArchive, Row, read_food, read_zhang
from utils import DataPaths, UserError, read_json

ZHANG_NAMES = ["amazon_full", "amazon_polarity", "yelp_full", "yelp_polarity", "yahoo_answers", "ag_news", "dbpedia"]


def zhang_tar(path: Path, files: dict[str, str], folder: str = "some_csv/") -> Path:
    """An archive as tar and gzip make it, with the things that lie beside the tables."""
    with tarfile.open(path, "w:gz" if path.suffix in {".gz", ".tgz"} else "w") as tar:
        for name, content in {"readme.txt": "1,2,3", "._train.csv": "\0", "classes.txt": "World\n", **files}.items():
            member = tarfile.TarInfo(folder + name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return path


# ---------------------------------------------------------------------------------------------------------------------
# Zhang et al.


def test_reads_classes_escapes_and_columns(tmp_path: Path) -> None:
    files = {
        "test.csv": '"2","Title","He said ""no"".\\nNext line, \\""so\\""."\n"1","","only text"\n',
        "train.csv": '"3","Grüße, 1",""\n',
    }
    archive = zhang_tar(tmp_path / "a.tar.gz", files)
    assert list(read_zhang(archive, classes=3, fields=3)) == [
        Row("test/0000001", "test", 2, 'Title\n\nHe said "no".\nNext line, "so".'),
        Row("test/0000002", "test", 1, "only text"),
        Row("train/0000001", "train", 3, "Grüße, 1"),
    ]


def test_a_lone_backslash_of_ag_news_is_a_line_break_of_its_source(tmp_path: Path) -> None:
    line = '"3","Bears","Wall Street\'s dwindling\\band of ultra-cynics, losing\\nothing"\n'
    archive = zhang_tar(tmp_path / "a.tgz", {"train.csv": line, "test.csv": line})
    row = next(iter(find_corpus("ag_news").read(archive)))
    assert row.text == "Bears\n\nWall Street's dwindling band of ultra-cynics, losing nothing"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.csv": '"1","a"\n'}, "test.csv is not in it"),
        ({"train.csv": '"6","a"\n', "test.csv": ""}, "record 1: the class is '6', not a number from 1 to 5"),
        ({"train.csv": '"Class","Text"\n', "test.csv": ""}, "'Class', not a number from 1 to 5; delete the header"),
        ({"train.csv": '"1","a"\n"0","b"\n', "test.csv": ""}, "record 2: the class is '0'"),
        ({"train.csv": '"1","a","b"\n', "test.csv": ""}, "line 1: 3 fields where 2 belong"),
        ({"train.csv": '"1","a"\n"1","cut sho', "test.csv": ""}, "line 2: unexpected end of data"),
    ],
)
def test_another_table_is_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    archive = zhang_tar(tmp_path / "a.tgz", files)
    with pytest.raises(UserError, match=words) as caught:
        list(read_zhang(archive, classes=5, fields=2))
    assert str(archive) in str(caught.value)


def test_an_archive_cut_short_is_refused(tmp_path: Path) -> None:
    text = "".join(f'"1","{n * 7919 % 10007} and more"\n' for n in range(3000))
    archive = zhang_tar(tmp_path / "a.tgz", {"train.csv": text, "test.csv": text})
    whole = archive.read_bytes()
    for end in range(20, len(whole), len(whole) // 25):
        archive.write_bytes(whole[:end])
        with pytest.raises(DamagedArchive):
            list(read_zhang(archive, classes=5, fields=2))


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        text = "".join(f'"1","text number {n}"\n' for n in range(count))
        archive = zhang_tar(tmp_path / "a.tgz", {"train.csv": text, "test.csv": text})
        del text
        tracemalloc.start()
        for _ in read_zhang(archive, classes=5, fields=2):
            pass
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(10)
    assert peak(20_000) < peak(200) + 200_000


@pytest.mark.parametrize("name", ZHANG_NAMES)
def test_each_set_goes_from_folder_to_csv(name: str, tmp_path: Path) -> None:
    corpus, source = find_corpus(name), tmp_path / "unpacked"
    columns = {"yelp_full": 1, "yelp_polarity": 1, "yahoo_answers": 3}.get(name, 2)
    classes = corpus.class_names(True)
    source.mkdir()
    for split, count in (("train", 10), ("test", 3)):
        with (source / f"{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            for number in range(count * len(classes)):
                writer.writerow([number % len(classes) + 1, *[f"{split} {number}, here"] * columns])
    rows = fetch_and_read(name, tmp_path, source)
    assert Counter(row.split for row in rows) == {
        "train": 9 * len(classes),
        "valid": len(classes),
        "test": 3 * len(classes),
    }
    assert all(row.label == classes[row.rating - 1] for row in rows)
    assert (tmp_path / "data" / name / "labels.txt").read_text().splitlines() == classes
    tar = tmp_path / "data" / name / "raw" / corpus.other_files[0]
    made = tar.read_bytes()
    (source / "test.csv").touch()
    fetch_and_read(name, tmp_path, source)
    assert tar.read_bytes() == made


def fetch_and_read(name: str, folder: Path, source: Path, *flags: str) -> list[CsvRow]:
    data = ["--data_dir", str(folder / "data")]
    download.main(download.build_parser().parse_args([name, "--source", str(source), *data]))
    create_csv.main(create_csv.build_parser().parse_args([name, *flags, *data]))
    return list(read_csv(DataPaths(name, folder / "data").csv))


def test_published_sizes() -> None:
    """Documents as Zhang et al. give them in their table 3, train and test together."""
    sizes = [3_650_000, 4_000_000, 700_000, 598_000, 1_460_000, 127_600, 630_000]
    assert [find_corpus(name).documents for name in ZHANG_NAMES] == sizes
    assert [len(find_corpus(name).class_names(False)) for name in ZHANG_NAMES] == [5, 2, 5, 2, 10, 4, 14]
    assert all(len(corpus.sha256) == 64 for corpus in CORPORA if corpus.name in ZHANG_NAMES)


def test_a_folder_without_its_test_split_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text('"1","a","b"\n')
    with pytest.raises(UserError, match=r"test\.csv is not in that folder"):
        fetch_and_read("ag_news", tmp_path, tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# Amazon fine foods

REVIEWS = [(f"B{n}", "12345"[n % 5] if n < 50 else "5", f'Item {n}: "good", naïve.<br />Next') for n in range(80)]


def snap(reviews: list[tuple[str, str, str]]) -> bytes:
    blocks = [
        f"product/productId: {name}\nreview/userId: A\nreview/profileName: Two\nlines\nreview/score: {score}.0\n"
        f"review/summary: x\nreview/text: {text}\n\n"
        for name, score, text in reviews
    ]
    return "".join(blocks).encode("latin-1")


def kaggle(reviews: list[tuple[str, str, str]]) -> bytes:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["Id", "ProductId", "Score", "Time", "Summary", "Text"])
    writer.writerows([n, name, score, 0, "x", text] for n, (name, score, text) in enumerate(reviews, start=1))
    return table.getvalue().encode()


def zipped(content: bytes, name: str = "Reviews.csv") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hashes.txt", "x")
        archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("finefoods.txt.gz", gzip.compress(snap(REVIEWS)), "finefoods.txt.gz"),
        ("finefoods.txt", snap(REVIEWS), "finefoods.txt"),
        ("head.csv", kaggle(REVIEWS), "Reviews.csv"),
        ("archive.zip", zipped(kaggle(REVIEWS)), "Reviews.csv.zip"),
    ],
)
def test_every_shape_gives_the_same_documents(tmp_path: Path, name: str, content: bytes, place: str) -> None:
    source = tmp_path / name
    source.write_bytes(content)
    rows = fetch_and_read("amazon_food", tmp_path, source, "False")
    assert Counter((row.text, row.label) for row in rows) == Counter((text, score) for _, score, text in REVIEWS)
    raw = tmp_path / "data" / "amazon_food" / "raw"
    assert [file.name for file in raw.iterdir() if file.suffix not in {".json", ".lock"}] == [place]
    assert read_json(raw / "source.json")["file"] == place


def test_another_shape_takes_the_place_of_the_first(tmp_path: Path) -> None:
    for name, content in (("a.csv", kaggle(REVIEWS)), ("b.gz", gzip.compress(snap(REVIEWS[:70])))):
        (tmp_path / name).write_bytes(content)
    assert len(fetch_and_read("amazon_food", tmp_path, tmp_path / "a.csv", "False")) == 80
    assert len(fetch_and_read("amazon_food", tmp_path, tmp_path / "b.gz", "False")) == 70


def test_one_star_against_five_is_balanced_and_split_by_seed(tmp_path: Path) -> None:
    source = tmp_path / "Reviews.csv"
    source.write_bytes(kaggle(REVIEWS))
    rows = fetch_and_read("amazon_food", tmp_path, source, "True")
    assert Counter((row.split, row.label, row.rating) for row in rows) == {
        ("train", "negative", 1): 7,
        ("train", "positive", 5): 7,
        ("valid", "negative", 1): 1,
        ("valid", "positive", 5): 1,
        ("test", "negative", 1): 2,
        ("test", "positive", 5): 2,
    }
    assert fetch_and_read("amazon_food", tmp_path, source) == rows
    other = fetch_and_read("amazon_food", tmp_path, source, "--split_seed", "2")
    assert {row.id for row in other} != {row.id for row in rows}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"Id,Stars,Text\n1,5,a\n", "no column Score"),
        (kaggle([("B", "6", "x")]), "review 1 has the score '6'"),
        (kaggle(REVIEWS)[:-8], "unexpected end of data|fields where"),
        (zipped(b"x", "other.csv"), r"Reviews\.csv is not in it"),
        (gzip.compress(snap(REVIEWS))[:-9], "end-of-stream"),
    ],
)
def test_another_food_file_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        list(read_food(path))
    assert str(path) in str(caught.value)
    with pytest.raises(UserError, match="is not the archive of amazon_food"):
        fetch_and_read("amazon_food", tmp_path, path)
    assert not (tmp_path / "data" / "amazon_food" / "raw" / "Reviews.csv").exists()


def test_a_refused_download_says_where_a_person_with_an_account_gets_it(tmp_path: Path) -> None:
    (tmp_path / "page.csv").write_text("<html>Log in</html>")
    with pytest.raises(UserError, match=r"kaggle\.com/datasets/snap/amazon-fine-food-reviews.*--source FILE_OR_URL"):
        fetch_and_read("amazon_food", tmp_path, tmp_path / "page.csv")
