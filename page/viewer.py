"""The web page and the REST interface of one or two runs, as a FastAPI application.

    app = make_app([ServedRun.load(run, data)])

The page works without script: one form carries the text, the method and what is left out, and each answer is a whole
page; with script, only the answer is exchanged. Nothing is kept between two requests but tables of documents
(:mod:`page.scoring`): a link holds everything. Each text is escaped by the templates, and no inline script or style is
ever allowed to run.
"""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from explaining.explanations import METHODS, Method, methods_of
from explaining.pages import TEMPLATES, explanation_page
from page.answers import Answer, ServedRun, answer, run_named
from page.at_work import Workplace
from page.batcher import Busy
from page.documents import Form, add_documents, document_of_upload
from page.following import followed_by, share_done
from page.metrics import CLIENT_CLOSED, add_metrics
from page.overview import (
    Overview,
    faithfulness_rows,
    how_to_find_words,
    overview_of,
    overview_of_several,
    pushing,
    training_speed,
    whole_model,
)
from page.questions import Question, Refusal, parse_question
from page.rendering import READING, ROOT, excerpt, render_page
from page.rest import add_rest
from page.scoring import UPLOAD, Desk
from page.split_documents import FILTERS, LabelledDocument
from report.colours import class_styles
from report.shading import printable
from runtime.abandoning import Abandoned
from utils import UserError, human_size

MOST_BODY_BYTES = 8_000_000  # a form carries a byte as up to three, and an edited text beside its original
BODY_SECONDS = 30.0  # in which a request arrives
LEAST_BYTES_A_SECOND = 20_000  # of a file that is uploaded

UNEXPECTED = (
    "The server met an error that it did not expect, so there is no answer. Try again; if it happens again, look where "
    "attention_viewer.py was started: its output says what went wrong."
)
SAVED = {"html": "text/html", "json": "application/json"}
DISAGREE = "disagree"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # a link holds the text
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


# ---------------------------------------------------------------------------------------------------------------------
# What is checked and added at every request


class Guard:
    """Adds the headers to every response and refuses bodies that are too long, also where no length is given, or that
    do not arrive in time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        received, complete = 0, False
        uploads = scope["method"] == "POST" and scope["path"] == "/upload"  # which counts its bytes itself
        deadline = asyncio.get_running_loop().time() + BODY_SECONDS

        async def count(wait: Receive = receive) -> Message:
            nonlocal received, complete, deadline
            try:
                async with asyncio.timeout_at(None if complete else deadline):
                    message = await wait()
            except TimeoutError as error:
                slow = f"within {BODY_SECONDS:.0f} seconds" if not uploads else "fast enough"
                raise Refusal(408, f"The request did not arrive {slow}.") from error
            complete = complete or not message.get("more_body", False)
            received += len(message.get("body", b""))
            if uploads:
                deadline += len(message.get("body", b"")) / LEAST_BYTES_A_SECOND
            elif received > MOST_BODY_BYTES:
                raise Refusal(413, f"The request is too long: more than {human_size(MOST_BODY_BYTES)}.")
            return message

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self.app(scope, count, with_headers)


# ---------------------------------------------------------------------------------------------------------------------
# The application


def make_app(
    runs: Sequence[ServedRun],
    hosts: Sequence[str] = ("localhost", "127.0.0.1", "[::1]"),
    most_upload_bytes: int | None = None,
) -> FastAPI:
    """The page and the REST interface.

    Args:
        runs: One run, or two to compare.
        hosts: Names by which browsers may call this server; others are refused, so that no foreign page can point its
            own name here. ``"*"`` allows all.
        most_upload_bytes: Of a file of documents; ``None``: what the disk takes; 0: none is accepted.
    """
    desk = Desk(runs, most_upload_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> Any:
        whole_page(runs, desk, {})  # compiles its templates, so that nobody waits for that
        threading.Thread(target=read_documents, args=[runs], daemon=True).start()
        yield
        desk.close()

    app = FastAPI(
        title="Hierarchical Attention Network",
        description="Predictions of a trained network, in the form of TensorFlow Serving's REST interface.",
        version=str(runs[0].predictor.step),
        docs_url=None,  # these two load script from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(Guard)
    add_metrics(app, runs)  # around the guard, so that what it refuses is counted
    for kind in (Refusal, HTTPException, Abandoned):
        app.add_exception_handler(kind, functools.partial(error_response, runs))
    app.add_exception_handler(Exception, functools.partial(unexpected_response, runs))
    app.state.desk = desk
    workplace = Workplace()
    add_reading(app, runs, desk, workplace)
    add_documents(app, runs, desk, workplace)
    add_overview(app, runs)
    add_rest(app, runs, workplace)
    app.mount("/static", StaticFiles(directory=ROOT / "static"), name="static")
    return app


def read_documents(runs: Sequence[ServedRun]) -> None:
    """Reads and maps the test documents before anybody asks for them; errors are shown when somebody does."""
    for served in runs:
        try:
            served.draw_map()
        except (UserError, OSError, Busy):
            continue


async def error_response(runs: Sequence[ServedRun], request: Request, error: Exception) -> Response:
    """An error as a page, as the part of one that the script asked for, or as JSON."""
    if isinstance(error, Abandoned):
        return Response(status_code=CLIENT_CLOSED)
    status, detail = (error.status, error.detail) if isinstance(error, Refusal) else (500, str(error))
    later = retry_header(error)
    if isinstance(error, HTTPException):
        what = "There is nothing at this address" if error.status_code == 404 else error.detail
        status, detail = error.status_code, printable(f"{what}: {request.method} {request.url.path[:100]}")
    return error_in_form(runs, request, status, detail, later)


async def unexpected_response(runs: Sequence[ServedRun], request: Request, error: Exception) -> Response:
    """The answer where the program has an error: nothing of it but that it happened.

    It is sent from outside of :class:`Guard`, hence the headers. Afterwards the error is raised again, and uvicorn
    writes its traceback to the server's log.
    """
    return error_in_form(runs, request, 500, UNEXPECTED, HEADERS)


def error_in_form(
    runs: Sequence[ServedRun], request: Request, status: int, detail: str, headers: dict[str, str]
) -> Response:
    """A sentence in the form that the asker reads: JSON for a program, a part for the script, else a page."""
    if request.url.path.startswith("/v1/"):
        return JSONResponse({"error": detail}, status, headers)
    template = "error.html" if request.url.path == "/answer" else "error_page.html"
    return HTMLResponse(render_page(template, runs=runs, message=detail), status, headers)


def retry_header(error: Exception) -> dict[str, str]:
    """``Retry-After`` of a refusal that does not last."""
    seconds = error.retry_seconds if isinstance(error, Refusal) else 0
    return {"retry-after": str(seconds)} if seconds else {}


# ---------------------------------------------------------------------------------------------------------------------
# The page that reads a text


def add_reading(app: FastAPI, runs: Sequence[ServedRun], desk: Desk, workplace: Workplace) -> None:
    """Adds its routes: an answer as a whole page, and as the part that the script exchanges; a random document."""

    async def answered(request: Request, values: dict[str, str], work: Callable[[], Response]) -> Response:
        return await workplace.run(request, sum(map(len, values.values())), work)

    @app.api_route("/", methods=READING, include_in_schema=False)
    async def page(request: Request) -> Response:
        values = dict(request.query_params)
        if not values.keys() & {"text", "id"}:  # nothing to read: no thread is needed, however many are busy
            return whole_page(runs, desk, values)
        return await answered(request, values, lambda: whole_page(runs, desk, values))

    @app.post("/", include_in_schema=False)
    async def page_of_form(request: Request, values: Form) -> Response:
        return await answered(request, values, lambda: whole_page(runs, desk, values))

    @app.post("/answer", include_in_schema=False)
    async def part_of_page(request: Request, values: Form) -> Response:
        def part() -> HTMLResponse:
            with followed_by(values.get("ticket", "")):
                return HTMLResponse(render_page("answer.html", **asked(runs, desk, values)))

        return await answered(request, values, part)

    @app.api_route("/working", methods=READING, include_in_schema=False)
    async def working(ticket: str = "") -> JSONResponse:
        return JSONResponse({"share": share_done(ticket)})

    @app.post("/save.{form}", include_in_schema=False)
    async def save(request: Request, form: str, values: Form) -> Response:
        if form not in SAVED:
            raise Refusal(404, f"An explanation is saved as {' or '.join(SAVED)}.")
        return await answered(request, values, lambda: saved(runs, desk, values, form))

    @app.api_route("/methods", methods=READING, include_in_schema=False)
    async def methods(request: Request) -> Response:
        values = dict(request.query_params)
        return await answered(request, values, lambda: page_of_methods(runs, desk, values))

    @app.api_route("/random", methods=READING, include_in_schema=False)
    def random(filter: str = "any", method: str = "", target: str = "") -> RedirectResponse:
        link = Question(method=method, target=target).of_document(draw(runs, filter))
        return RedirectResponse(f"./{link}&{urlencode({'filter': filter})}", 303)


def asked(runs: Sequence[ServedRun], desk: Desk, values: dict[str, str], to_answer: bool = True) -> dict[str, Any]:
    """What the templates need for a question: the question, the document it is about, and the answers."""
    document = document_named(runs, desk, values["id"], values.get("data", "")) if values.get("id") else None
    question = parse_question(values, document)
    if question.method and question.method not in METHODS:
        raise Refusal(400, f"{question.method[:100]!r} is not a method; choose from {', '.join(methods_of_any(runs))}.")
    question = question._replace(method=question.method or runs[0].default_method)
    if question.target and question.target not in classes_of_any(runs):
        there = ", ".join(classes_of_any(runs))
        raise Refusal(400, f"{question.target[:100]!r} is not a class; the classes are: {there}.")
    answers = answers_of(runs, question) if to_answer or question.text else []
    used = [each.explanation.method for each in answers]
    if used and question.method not in used:  # none could be explained so: what is selected is what is shown
        question = question._replace(method=used[0])
    shown: dict[str, Any] = {"runs": runs, "question": question, "answers": answers, "classes": classes_of_any(runs)}
    shown["excerpt"] = excerpt
    return {**shown, "document": document if question.id else None}


def saved(runs: Sequence[ServedRun], desk: Desk, values: dict[str, str], form: str) -> Response:
    """The answer of one run as a file: a page that stands alone, or what ``explain.py --json`` prints."""
    shown = asked(runs, desk, values)
    wanted = run_named(runs, values.get("run") or "han")
    found = next(each for each in shown["answers"] if each.served is wanted)
    explanation, document = found.explanation, shown["document"]
    if form == "json":
        value = {"run": wanted.name, "step": wanted.predictor.step, **found.to_json()}
        content = json.dumps(value, ensure_ascii=False, indent=2)
    else:
        named = "a text" if document is None else document.title or f"{document.id} of {document.dataset}"
        left_out = int((~found.kept).sum())
        remarks = [f"Shaded by {found.method_title}.", *found.remarks]
        if document is not None and document.label:
            remarks.insert(0, f"Labelled {document.label}.")
        if found.before is not None:
            remarks.insert(0, f"Before the changes the prediction was {found.verdict_before}.")
        remarks += [f"{left_out:,} words are left out: they are struck through."] if left_out else []
        heading = printable(f"{wanted.name} (step {wanted.predictor.step}): {named}")
        content = explanation_page(explanation, heading, printable(" ".join(remarks)), None, found.kept.tolist())
    headers = {"content-disposition": f'attachment; filename="explanation.{form}"'}
    return Response(content.encode("utf-8", "replace"), media_type=f"{SAVED[form]}; charset=utf-8", headers=headers)


def page_of_methods(runs: Sequence[ServedRun], desk: Desk, values: dict[str, str]) -> HTMLResponse:
    """A text explained by every method that each run has, for one class."""
    shown = asked(runs, desk, values)
    question, [first, *_] = shown["question"], shown["answers"]
    question = question._replace(target=first.explanation.class_names[first.explanation.target])
    answers, remarks = [], []
    for name, method in methods_of_any(runs).items():
        for served in [each for each in runs if name in methods_of(each.predictor)]:
            found = answer(served, question._replace(method=name))
            if found.explanation.method == name:
                answers.append((method.title, found))
            else:
                remarks += found.remarks
    remarks += [remark for served in runs if (remark := methods_lacking(served, runs))]
    shown |= {"answers": answers, "remarks": list(dict.fromkeys(remarks))}
    return HTMLResponse(render_page("methods.html", **shown))


def methods_lacking(served: ServedRun, runs: Sequence[ServedRun]) -> str:
    """A sentence where a run cannot be explained by a method by which another one can; else empty."""
    own = methods_of(served.predictor)
    titles = [method.title for name, method in methods_of_any(runs).items() if name not in own]
    return f"{served.name} cannot be explained by {'; '.join(titles)}: its network has no attention." if titles else ""


def answers_of(runs: Sequence[ServedRun], question: Question) -> list[Answer]:
    """The answer of each run; all explain one class, that which the first predicts where none was asked for."""
    first = answer(runs[0], question)
    named = question.target or first.explanation.class_names[first.explanation.target]
    return [first, *(answer(served, question._replace(target=named)) for served in runs[1:])]


def whole_page(runs: Sequence[ServedRun], desk: Desk, values: dict[str, str]) -> HTMLResponse:
    """The page with the answer to a question, with the reason why there is none, or without a question yet."""
    error, status, later = "", 200, {}
    try:
        shown = asked(runs, desk, values, to_answer="text" in values)
    except Refusal as refusal:
        error, status, later = refusal.detail, refusal.status, retry_header(refusal)
        text = "" if status == 413 else values.get("text", "")
        question = parse_question({"text": text, "method": runs[0].default_method}, None)
        shown = {"runs": runs, "question": question, "answers": [], "document": None, "classes": classes_of_any(runs)}
        shown["excerpt"] = excerpt
    shown |= {"methods": methods_of_any(runs), "error": error}
    shown |= {"unsigned": [name for name in methods_of_all(runs) if not METHODS[name].signed]}
    shown |= {"filters": filters(runs), "filter": values.get("filter", "any"), "different_data": different_data(runs)}
    return HTMLResponse(render_page("page.html", **shown), status, later)


def methods_of_any(runs: Sequence[ServedRun]) -> dict[str, Method]:
    """The methods by which at least one of the runs can be explained."""
    known = {name for served in runs for name in methods_of(served.predictor)}
    return {name: method for name, method in METHODS.items() if name in known}


def methods_of_all(runs: Sequence[ServedRun]) -> list[str]:
    """The methods by which all runs can be explained."""
    return [name for name in METHODS if all(name in methods_of(served.predictor) for served in runs)]


def classes_of_any(runs: Sequence[ServedRun]) -> list[str]:
    """The classes of all runs, each once."""
    return list(dict.fromkeys(name for served in runs for name in served.predictor.class_names))


def datasets_of(runs: Sequence[ServedRun]) -> list[str]:
    """The data sets of the runs, each once."""
    return list(dict.fromkeys(served.dataset for served in runs))


def document_named(runs: Sequence[ServedRun], desk: Desk, name: str, dataset: str) -> LabelledDocument:
    """A document of a data set, of the first run's where none is named, or a row of an uploaded file."""
    if dataset.startswith(UPLOAD):
        return document_of_upload(runs, desk, dataset, name)
    known = datasets_of(runs)
    if dataset and dataset not in known:
        there = " and ".join(known)
        raise Refusal(404, f"{name[:100]!r} is a document of {dataset[:100]!r}; the runs shown here are of {there}.")
    served = next(each for each in runs if each.dataset == (dataset or known[0]))
    try:
        found = served.documents.all().get(name) or served.documents.anywhere(name)
    except UserError as error:
        raise Refusal(404, f"{error}.") from error
    if found is None:
        raise Refusal(404, f"There is no document {name[:100]!r} in {served.dataset}.")
    return found


def filters(runs: Sequence[ServedRun]) -> list[str]:
    """The filters for drawing a document; all but the first need predictions."""
    known = [*FILTERS] if runs[0].documents.tested else ["any"]
    comparable = len(runs) > 1 and all(served.documents.tested for served in runs) and not different_data(runs)
    return [*known, DISAGREE] if comparable else known


def different_data(runs: Sequence[ServedRun]) -> str:
    """A sentence where the runs are of different data sets; else empty."""
    if len(datasets_of(runs)) == 1:
        return ""
    named = " and ".join(f"{served.name} of {served.dataset}" for served in runs)
    return (
        f"The runs are of different data sets, {named}: both predict the same text, but test documents are drawn from "
        f"{runs[0].dataset}, and their predictions cannot be compared."
    )


def draw(runs: Sequence[ServedRun], filter: str) -> LabelledDocument:
    """A random document of the test split.

    Raises:
        Refusal: There is none, or the run has not been tested.
    """
    disagree = filter == DISAGREE and len(runs) > 1
    if disagree and different_data(runs):
        raise Refusal(400, different_data(runs))
    try:
        documents = list(disagreements(runs)) if disagree else runs[0].documents.chosen(filter)
    except UserError as error:
        raise Refusal(404, f"{error}.") from error
    if not documents:
        raise Refusal(404, f"No document of the test split passes the filter {filter[:50]!r}.")
    return secrets.choice(documents)


def disagreements(runs: Sequence[ServedRun]) -> Iterator[LabelledDocument]:
    """Yields the test documents that two runs predict differently."""
    one, other = (served.documents.all() for served in runs)
    for name, document in one.items():
        if name in other and other[name].prediction != document.prediction:
            yield document


# ---------------------------------------------------------------------------------------------------------------------
# The overview


def add_overview(app: FastAPI, runs: Sequence[ServedRun]) -> None:
    """Adds its route, with the figures of each run, and the styles that all pages share."""

    @app.api_route("/overview", methods=READING, include_in_schema=False)
    def overview() -> HTMLResponse:
        found = [(served, *figures_of(served), beside_figures(served)) for served in runs]
        shown = {"runs": runs, "found": found, "different_data": different_data(runs), "classes": classes_of_any(runs)}
        return HTMLResponse(render_page("overview.html", **shown))

    @app.api_route("/static/shaded.css", methods=READING, include_in_schema=False)
    def shaded_style() -> FileResponse:
        return FileResponse(TEMPLATES / "shaded.css")

    styles = class_styles(classes_of_any(runs))

    @app.api_route("/static/classes.css", methods=READING, include_in_schema=False)
    def colours_of_classes() -> Response:
        return Response(styles, media_type="text/css")


def figures_of(served: ServedRun) -> tuple[Overview | None, str]:
    """The figures of a run, or ``None`` with the reason why they are unknown; else a remark, which may be empty."""
    try:
        documents = list(served.documents.all().values())
        if not served.documents.tested:
            return None, served.documents.why_untested()
        count = overview_of if served.predictor.thresholds is None else overview_of_several
        return count(documents, served.predictor.class_names), served.documents.stale()
    except UserError as error:
        return None, str(error)


def beside_figures(served: ServedRun) -> dict[str, Any]:
    """What the run folder has beside its predictions: what pushes each class, how true each method is, and speeds."""
    run = served.documents.run
    try:
        model, training = whole_model(run, served.predictor.weights_sha256), training_speed(run)
        problem = "" if model else how_to_find_words(run, served.documents.data)
        if served.predictor.thresholds is not None:
            problem = "They are collected only for runs with one label a text."
    except UserError as error:
        model, training, problem = None, None, f"{error}."
    values: dict[str, Any] = {"model": model, "words": pushing(model) if model else {}, "no_words": problem}
    values |= {"methods": faithfulness_rows(served.findings), "flip_share": served.findings.get("flip_share")}
    return {**values, "training": training, "words_per_second": served.batcher.words_per_second}
