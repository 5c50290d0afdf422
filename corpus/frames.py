"""Files that are read as a whole: Parquet, Feather, Excel and Stata through pandas, and JSON lists.

A cell becomes text as a CSV file would hold it: a missing value is empty, ``3.0`` is ``3`` (pandas writes the former
where a column of whole numbers has gaps), a list is JSON.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from corpus.headers import NO_HEADER, SAMPLE_RECORDS, column_names, has_header, header_place, titles_remark
from corpus.sources import open_source
from utils import UserError, brief

if TYPE_CHECKING:
    import pandas as pd

JSON_LIST = "JSON list"
LONGEST_SHOWN = 200  # characters of an error of a library


@dataclass(frozen=True)
class Frame:
    """A table in memory.

    Attributes:
        kind: In words.
        names: Of the columns.
        remarks: What a person should know about it.
        columns: The cells of each column, all of the same length.
        first_row: The number of the first row below the names, as a spreadsheet counts.
    """

    kind: str
    names: tuple[str, ...]
    columns: list[Any]
    remarks: tuple[str, ...] = ()
    first_row: int = 2

    def rows(self) -> Iterator[list[str]]:
        """The rows, as text."""
        return (list(map(as_text, cells)) for cells in zip(*self.columns, strict=True))


class Content(NamedTuple):
    """What a library has read; the last two as in :class:`Frame`."""

    table: pd.DataFrame
    remarks: tuple[str, ...] = ()
    first_row: int = 2


def read_frame(path: Path) -> Frame:
    """Reads a file; asked for the same one again, it answers from memory.

    Raises:
        UserError: It is damaged, of another kind than its ending says, or has no rows.
    """
    stat = path.stat()
    return read_once(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1)
def read_once(path: Path, modified: int, size: int) -> Frame:
    """The table in a file as it was at that time and of that size."""
    kind, read = READERS[path.suffix.lower()]
    try:
        table, remarks, first_row = read(path)
    except MemoryError:
        raise
    except Exception as error:  # each of the libraries that pandas reads with has errors of its own
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(damaged(path, kind, error)) from error
    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    if not len(table):
        raise UserError(f"{path} holds no rows; save it again, with a row per document")
    columns = [table.iloc[:, place].tolist() for place in range(table.shape[1])]
    return Frame(kind, tuple(map(str, table.columns)), columns, remarks, first_row)


def damaged(path: Path, kind: str, error: Exception) -> str:
    """The message about a file that its library does not read."""
    reason = brief(str(error), LONGEST_SHOWN)
    return f"{path} is no {kind} file, or it is damaged ({reason}); save it again, or save it as CSV"


def read_parquet(path: Path) -> Content:
    """A Parquet file."""
    import pandas as pd

    return Content(pd.read_parquet(path, engine="pyarrow"))


def read_feather(path: Path) -> Content:
    """A Feather file (Arrow)."""
    import pandas as pd

    return Content(pd.read_feather(path))


def read_stata(path: Path) -> Content:
    """A Stata file; a coded column becomes its labels."""
    import pandas as pd

    return Content(pd.read_stata(path))


def read_excel(path: Path) -> Content:
    """The first sheet of an Excel workbook; titles above the names of the columns and a margin are left out."""
    import pandas as pd

    with pd.ExcelFile(path, engine="openpyxl") as book:
        sheets = [str(name) for name in book.sheet_names]
        table = pd.read_excel(book, header=None, dtype=object, keep_default_na=False)
    remarks = (f"of {len(sheets)} sheets the first is read: {sheets[0]!r}",) if len(sheets) > 1 else ()
    while table.shape[1] and not any(map(as_text, table.iloc[:, 0])):
        table = table.iloc[:, 1:]
    if table.empty:
        return Content(table, remarks)
    rows = [list(map(as_text, cells)) for cells in table.head(SAMPLE_RECORDS).itertuples(index=False, name=None)]
    first = header_place(rows)
    with_header = has_header(rows[first], rows[first + 1 :])
    remarks = (*remarks, *titles_remark(rows[:first], first + 1), *([] if with_header else [NO_HEADER]))
    table.columns = pd.Index(column_names(rows[first] if with_header else [""] * len(rows[first])))
    return Content(table.iloc[first + with_header :], remarks, first + with_header + 1)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    ".parquet": ("Parquet", read_parquet),
    ".feather": ("Feather", read_feather),
    ".arrow": ("Feather", read_feather),
    ".xlsx": ("Excel", read_excel),
    ".xlsm": ("Excel", read_excel),
    ".dta": ("Stata", read_stata),
}


def as_text(value: Any) -> str:
    """A cell as a CSV file would hold it."""
    import pandas as pd

    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")  # half a pair of surrogates is no text
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if not pd.api.types.is_scalar(value):
        value = value.tolist() if hasattr(value, "tolist") else value
        return json.dumps(value, ensure_ascii=False, default=str)
    if pd.isna(value):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


# ---------------------------------------------------------------------------------------------------------------------
# JSON


def is_json_list(path: Path, encoding: str, errors: str) -> bool:
    """Whether the first sign of a file is the bracket of a list."""
    with open_source(path, encoding, errors=errors) as file:
        head = (sign for sign in iter(lambda: file.read(1), "") if sign not in "\ufeff \t\r\n")
        return next(itertools.chain(head, [""])) == "["


def read_json_list(path: Path, encoding: str, errors: str) -> list[dict[str, Any]]:
    """The objects of a JSON list.

    Raises:
        UserError: It is damaged, empty, or holds something else than objects.
    """
    stat = path.stat()
    return read_list_once(path, encoding, errors, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=1)
def read_list_once(path: Path, encoding: str, errors: str, modified: int, size: int) -> list[dict[str, Any]]:
    """The objects in a file as it was at that time and of that size."""
    with open_source(path, encoding, errors=errors) as file:
        try:
            rows = json.loads(file.read().lstrip("\ufeff"))
        except ValueError as error:
            raise UserError(f"{path} is not JSON: {error}; save it again, or write one object per line") from error
    if bad := [number for number, row in enumerate(rows, start=1) if not isinstance(row, dict)]:
        raise UserError(f"{path}: item {bad[0]} of the list is no object with a text and a label; correct it")
    if not rows:
        raise UserError(f"{path} holds no rows; save it again, with an object per document")
    return list(rows)
