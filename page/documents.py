"""The page with a table of documents: a split or an uploaded file, scored by a run; to sort, to filter, to download."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse

from page.answers import ServedRun, run_named
from page.at_work import Workplace
from page.questions import Question, Refusal
from page.rendering import READING, excerpt, render_page
from page.rest import FORM, check_content_type
from page.scoring import UPLOAD, Desk, Scoring
from page.sources import ENDINGS, PACKED_ENDINGS, SPLITS, Source
from page.split_documents import LabelledDocument
from page.table import SHOWS, SORTS, Selection, TableRow
from page.uploads import Receptions
from runtime.decisions import is_known
from utils import human_size

ROWS_PER_PAGE = 50
MOST_ARRIVING = 2  # files at once
MOST_SEARCH = 200  # characters
COOKIE = "tables"  # keys of the files that this browser uploaded
COOKIE_SECONDS = 24 * 3600
OLD_ORDERS = {"confident": "confidence", "longest": "words", "unknown": "unknown"}  # of the page of mistakes


async def form_values(request: Request) -> dict[str, str]:
    """The values of a posted form."""
    check_content_type(request, (FORM,))
    try:
        text = (await request.body()).decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, errors="replace", max_num_fields=50))
    except ValueError as error:
        raise Refusal(400, "This is not a form.") from error


Form = Annotated[dict[str, str], Depends(form_values)]


def add_documents(app: FastAPI, runs: Sequence[ServedRun], desk: Desk, workplace: Workplace) -> None:
    """Adds its routes."""
    receptions = Receptions(MOST_ARRIVING)

    @app.api_route("/documents", methods=READING, include_in_schema=False)
    async def documents(request: Request) -> Response:
        values = dict(request.query_params)
        kept, looks = kept_keys(request), request.method == "GET"
        return await workplace.run(request, 0, lambda: page_of_documents(runs, desk, values, kept, looks))

    @app.api_route("/documents.csv", methods=READING, include_in_schema=False)
    async def download(request: Request) -> Response:
        return await workplace.run(request, 0, lambda: csv_of_documents(runs, desk, dict(request.query_params)))

    @app.api_route("/progress", methods=READING, include_in_schema=False)
    async def progress(source: str = "test", run: str = "") -> JSONResponse:
        scoring = desk.scoring(run_asked_for(runs, run), source)
        if scoring is None:
            raise Refusal(404, "This table is not here any more.")
        return JSONResponse(scoring.progress())

    @app.post("/upload", include_in_schema=False)
    async def upload(request: Request, token: str = "") -> Response:
        check_token(desk, token)
        arrived = await receptions.receive(request, desk)
        desk.add(arrived)
        response = RedirectResponse(f"./documents?{urlencode({'source': arrived.key})}", 303)
        keys = ".".join([*(each.key for each in desk.uploads(kept_keys(request))), arrived.key])
        response.set_cookie(COOKIE, keys, COOKIE_SECONDS, httponly=True, samesite="strict")
        return response

    @app.post("/table", include_in_schema=False)
    def change_table(values: Form) -> RedirectResponse:
        check_token(desk, values.get("token", ""))
        served, key = run_asked_for(runs, values.get("run", "")), values.get("source", "")
        act = values.get("act", "")
        if act == "score":
            desk.start(served, desk.source(served, key))
        elif act == "cancel" and (scoring := desk.scoring(served, key)) is not None:
            scoring.cancel()
        elif act == "delete":
            desk.remove(key)
            return RedirectResponse("./documents", 303)
        return RedirectResponse(f"./documents?{urlencode({'source': key, 'run': served.name})}", 303)

    @app.api_route("/errors", methods=READING, include_in_schema=False)
    def errors(by: str = "confident", run: str = "") -> RedirectResponse:
        if by not in OLD_ORDERS:
            raise Refusal(404, f"Mistakes are not sorted by {by[:50]!r} but by: {', '.join(OLD_ORDERS)}.")
        served = run_asked_for(runs, run)
        values = {"run": served.name, "show": "wrong", "sort": OLD_ORDERS[by], "order": "descending"}
        return RedirectResponse(f"./documents?{urlencode(values)}", 307)


def check_token(desk: Desk, token: str) -> None:
    """Refuses a form of another site, which cannot know this server's token."""
    if not secrets.compare_digest(token.encode(errors="replace"), desk.token.encode()):
        raise Refusal(403, "This form is of another server, or of this one before it restarted; open the page again.")


def kept_keys(request: Request) -> list[str]:
    """Keys of the files that a browser uploaded."""
    return request.cookies.get(COOKIE, "")[:4_000].split(".")


def run_asked_for(runs: Sequence[ServedRun], name: str) -> ServedRun:
    """The run of that name, or the first one without a name."""
    return run_named(runs, name) if name else runs[0]


def selection_of(values: dict[str, str]) -> Selection:
    """Reads the fields of a filter.

    Raises:
        Refusal: One of them is not what is expected.
    """
    show, sort = values.get("show") or "all", values.get("sort") or "place"
    for name, value, known in (("show", show, SHOWS), ("sort", sort, tuple(SORTS))):
        if value not in known:
            raise Refusal(400, f"{name}={value[:50]!r} is unknown; choose from {', '.join(known)}.")
    if "show" not in values and "label" in values and "prediction" in values:  # of an older link
        sort = values.get("sort", "confidence")
    return Selection(
        show,
        values.get("label", ""),
        values.get("prediction", ""),
        int(number_of(values, "least_words")),
        int(number_of(values, "most_words")),
        number_of(values, "least_unknown"),
        values.get("search", "")[:MOST_SEARCH],
        sort,
        values.get("order", "descending" if sort == "confidence" else "") == "descending",
    )


def number_of(values: dict[str, str], name: str) -> float:
    """A number of a filter; 0 where it is empty."""
    text = values.get(name, "").strip()
    try:
        number = float(text or 0)
        if not 0 <= number <= 1e9:
            raise ValueError("it is out of range")
        return number
    except ValueError as error:
        raise Refusal(400, f"{name}={text[:50]!r} is not a number from 0 to 1,000,000,000.") from error


def in_address(selection: Selection) -> dict[str, str]:
    """The fields of a filter that are not as they are without one."""
    plain = Selection()
    values = {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in selection._asdict().items()
    }
    values = {name: value for name, value in values.items() if getattr(selection, name) != getattr(plain, name)}
    return {**values, "order": "descending"} if values.pop("descending", "") else values


def page_of_documents(
    runs: Sequence[ServedRun], desk: Desk, values: dict[str, str], kept: Sequence[str], looks: bool
) -> HTMLResponse:
    """The page; whoever ``looks`` at the test split has it scored, but not who only asks whether the page exists."""
    served = run_asked_for(runs, values.get("run", ""))
    key = values.get("source") or SPLITS[0]
    source = desk.source(served, key)
    scoring = desk.scoring(served, key)
    if scoring is None and key == SPLITS[0] and looks:
        scoring = desk.start(served, source)
    selection = selection_of(values)
    shown: dict[str, Any] = {"runs": runs, "served": served, "source": source, "scoring": scoring, "desk": desk}
    shown |= {"selection": selection, "splits": SPLITS, "uploads": desk.uploads(list(dict.fromkeys([*kept, key])))}
    shown |= {"token": desk.token, "question": Question(), "excerpt": excerpt, "as_document": as_document}
    names, thresholds = served.predictor.class_names, served.predictor.thresholds
    shown |= {
        "classes": names,
        "limit": upload_limit(desk),
        "is_known": lambda label: is_known(label, names, thresholds),
    }
    shown |= {"endings": ", ".join(ENDINGS), "packed": ", ".join(PACKED_ENDINGS)}

    def address(page: str = "documents", **changes: str) -> str:
        fields = {"source": key, "run": served.name, **in_address(selection), **changes}
        return f"{page}?{urlencode({name: value for name, value in fields.items() if value})}"

    shown |= {"address": address} | listed(scoring, selection, int(number_of(values, "first")))
    return HTMLResponse(render_page("documents.html", **shown))


def upload_limit(desk: Desk) -> str:
    """How large a file may be, in words; empty where none is accepted."""
    most = desk.most_upload_bytes
    return "of any size that the disk takes" if most is None else f"of up to {human_size(most)}" if most else ""


def listed(scoring: Scoring | None, selection: Selection, first: int) -> dict[str, Any]:
    """The documents on a page of the table, and how many there are."""
    if scoring is None:
        return {"rows": [], "count": 0, "first": 0, "step": ROWS_PER_PAGE, "figures": None}
    count = scoring.table.count(selection)
    first = min(first, max(count - 1, 0)) // ROWS_PER_PAGE * ROWS_PER_PAGE
    rows = list(scoring.table.rows(selection, first, ROWS_PER_PAGE))
    figures = scoring.table.figures()
    return {"rows": rows, "count": count, "first": first, "step": ROWS_PER_PAGE, "figures": figures}


def csv_of_documents(runs: Sequence[ServedRun], desk: Desk, values: dict[str, str]) -> Response:
    """The documents that are selected as a CSV file, which is written while it is sent."""
    scoring = desk.scoring(run_asked_for(runs, values.get("run", "")), values.get("source") or SPLITS[0])
    if scoring is None:
        raise Refusal(404, "This table is not here any more; open the page of documents.")
    lines = scoring.table.csv(selection_of(values))
    name = "documents" if scoring.source.key.startswith(UPLOAD) else scoring.source.key
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(in_pieces(lines), media_type="text/csv; charset=utf-8", headers=headers)


def in_pieces(lines: Iterator[str], least: int = 1 << 16) -> Iterator[bytes]:
    """Lines in pieces of about so many characters, with the mark by which spreadsheets know UTF-8."""
    piece = "\ufeff"
    for line in lines:
        piece += line
        if len(piece) >= least:
            yield piece.encode()
            piece = ""
    yield piece.encode()


def as_document(source: Source, row: TableRow) -> LabelledDocument:
    """A row as a document that the page explains."""
    confidence = row.confidence if row.prediction else 0.0
    if source.key in SPLITS:
        return LabelledDocument(row.name, row.label, row.text, row.prediction, confidence, 1.0, source.dataset)
    title = f"{row.name} of {source.title}"
    return LabelledDocument(str(row.number), row.label, row.text, row.prediction, confidence, 1.0, source.key, title)


def document_of_upload(runs: Sequence[ServedRun], desk: Desk, key: str, number: str) -> LabelledDocument:
    """A row of an uploaded file.

    Raises:
        Refusal: The file or the row is not here.
    """
    source = desk.source(runs[0], key)
    for served in runs:
        scoring = desk.scoring(served, key)
        row = (
            scoring.table.numbered(int(number)) if scoring is not None and re.fullmatch("[0-9]{1,15}", number) else None
        )
        if row is not None:
            return as_document(source, row)
    raise Refusal(404, f"There is no row {number[:20]!r} in {source.title}, or it has not been scored yet.")
