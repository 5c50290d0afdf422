"""Names of columns, and which row of a table has them; the same rules for delimited tables and for workbooks."""

from __future__ import annotations

import re
from collections.abc import Sequence

SAMPLE_RECORDS = 1_000
MOST_TITLES = 10  # rows above the header
NO_HEADER = "there is no header: columns are called by their number"


def words(text: str) -> tuple[str, ...]:
    """``"a b"`` -> ``("a", "b")``."""
    return tuple(text.split())


# Names of columns, as :func:`comparable_name` gives them, the likelier ones first.
TEXT_NAMES = words(
    "text texts review reviews review_text reviewtext text_review body content contents comment comments document "
    "message description sentence tweet post article abstract feedback utterance verbatim answer "
    "kommentar rezension texte avis commentaire texto comentario testo recensione tekst"
)
LABEL_NAMES = words(
    "label labels class classes category categories sentiment target polarity topic tag star_rating rating ratings "
    "stars star score overall grade y klasse kategorie bewertung sterne note etiqueta categoria classe etichetta"
)
SPLIT_NAMES = words("split set subset partition fold dataset_split data_split")
ID_NAMES = words("id doc_id document_id review_id row_id uid uuid")
OTHER_NAMES = words("title summary headline subject date time author user name product index")
SPLIT_WORDS = {
    **dict.fromkeys(words("train training trn learn"), "train"),
    **dict.fromkeys(words("valid validation val dev development"), "valid"),
    **dict.fromkeys(words("test testing tst eval evaluation"), "test"),
    **dict.fromkeys(words("unlabelled unlabeled unsup"), "unlabelled"),
}
# Cells that mean "no value": pandas writes some of them, and spreadsheets write others where they took a text that
# begins with a hyphen for a formula.
MISSING = {"", *words("nan n/a #n/a null <na> #name? #value! #ref! #div/0! #num! #null! #nv #wert! #bezug! #zahl!")}
KNOWN_NAMES = {*TEXT_NAMES, *LABEL_NAMES, *SPLIT_NAMES, *ID_NAMES, *OTHER_NAMES}
NUMBER = re.compile(r"[-+]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?")


def header_place(rows: Sequence[Sequence[str]]) -> int:
    """The place of the first row that is more than a title; reports come with some above the names of the columns.

    A title fills the first cell and no other. One that could itself be the name of a column is passed over only if the
    row below it has such a name. Of a single column the first row that is such a name is taken, if at most one title is
    above it or an empty row parts it from the titles; otherwise the rows above are texts, and it is a short one.
    """
    filled = [[bool(cell.strip()) for cell in row] for row in rows]
    first = next((place for place, cells in enumerate(filled) if any(cells)), 0)
    below = range(first, min(first + MOST_TITLES, len(rows)))
    wide = next((place for place in below if sum(filled[place]) > 1), None)
    if wide is None:
        place = next((place for place in below if knows(rows[place])), first)
        parted = place > first and not any(filled[place - 1])
        return place if parted or sum(map(any, filled[:place])) <= 1 else first
    titles = [place for place in range(first, wide) if any(filled[place])]
    if not titles or not all(filled[place][0] for place in titles) or not has_header(rows[wide], rows[wide + 1 :]):
        return first
    return wide if knows(rows[wide]) or not any(knows(rows[place]) for place in titles) else first


def titles_remark(above: Sequence[Sequence[str]], row: int) -> tuple[str, ...]:
    """What a person should know where the rows above the one with the names of the columns are left out."""
    return (f"the columns are named in row {row}; the rows above it are not read",) if any(map(any, above)) else ()


def column_names(header: Sequence[str]) -> tuple[str, ...]:
    """The names in a header; a column without one is called by its number."""
    return tuple(cell.strip() or f"column {number}" for number, cell in enumerate(header, start=1))


def knows(row: Sequence[str]) -> bool:
    """Whether a cell is a name that we know of columns."""
    return any(comparable_name(cell) in KNOWN_NAMES for cell in row)


def names_columns(row: Sequence[str], rows: Sequence[Sequence[str]], header: Sequence[str]) -> bool:
    """Whether the first row of a later part of a table names columns, if other ones than the header of the first part.

    It may as well be an ordinary row: a table that was cut in parts has a header in the first one only.
    """
    below = [{other[place] for other in rows if len(other) > place} for place in range(len(row))]
    cells = {comparable_name(cell) for cell, values in zip(row, below, strict=True) if cell not in values} - {""}
    return bool(cells & set(map(comparable_name, header))) or len(cells & KNOWN_NAMES) > 1


def comparable_name(name: str) -> str:
    """A column's name as names are compared: ``Review Text`` and ``review_text`` are one."""
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")


def has_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns: it has a name we know, or looks unlike the cells below it."""
    below = [row for row in rows if len(row) == len(first) and row != first]
    columns = [[cell.strip() for cell in column] for column in zip(*below, strict=True)] or [[] for _ in first]
    pairs = [(cell.strip(), values) for cell, values in zip(first, columns, strict=True)]
    if any(comparable_name(cell) in KNOWN_NAMES and cell not in values for cell, values in pairs):
        return True
    for cell, values in pairs:
        if is_number(cell):
            return False
        if cell and cell in values and len(set(values)) <= max(len(values) // 2, 1):
            return False  # a label: it occurs again
    return any(unlike(cell, values) for cell, values in pairs) or all(len(cell.split()) <= 6 for cell, _ in pairs)


def unlike(cell: str, values: Sequence[str]) -> bool:
    """Whether a cell must be a column's name, however long: below it are numbers, or few values and never this one."""
    filled = [value for value in values if value.casefold() not in MISSING]
    if cell.casefold() in MISSING or len(filled) < 10:
        return False
    return all(map(is_number, filled)) or (cell not in filled and len(set(filled)) <= len(filled) // 10)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number."""
    return bool(NUMBER.fullmatch(cell.strip()))
