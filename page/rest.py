"""Predictions for programs, in the form of TensorFlow Serving's REST interface.

POST /v1/models/han:predict   {"instances": ["a text", {"text": "another"}]}   gives rows: {"predictions": [...]}
                              {"inputs": {"text": ["a text", "another"]}}      columns: {"outputs": {"label": [...]}}
     ... "explain": true      also why: the scores of words and sentences, and what would turn the verdict
POST /v1/models/han:explain   {"instances": [...], "method": "gradient", "target": "positive"}
                              why, by which method and for which class: {"explanations": [...]}
GET  /v1/models/han           whether it can be called, and the training step of its weights, which is its version
GET  /v1/models/han/metadata  what goes in and what comes out

Each address may name the version: ``/v1/models/han/versions/1200:predict``. What differs from TensorFlow Serving:
``probabilities`` are an object by the name of the class, and there is one signature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from explaining.explained_text import words_of
from explaining.explanations import methods_of
from explaining.log_odds import log_odds_parts
from network.ngrams import separated
from page.answers import ServedRun, answer, run_named, scored
from page.at_work import Workplace
from page.questions import MOST_TEXT_BYTES, Question, Refusal
from runtime.decisions import chosen_names
from runtime.predictor import Verdict
from text.text_reader import Reading

MOST_INSTANCES = 1_000
MOST_EXPLAINED = 20  # instances of a request that are explained: each is read several times
SIGNATURE = "serving_default"
EXAMPLE = 'send {"instances": ["a text", ...]} or {"inputs": {"text": ["a text", ...]}}'
FORM, JSON, PLAIN = "application/x-www-form-urlencoded", "application/json", "text/plain"


Asked = TypeVar("Asked", bound="PredictRequest")


class Instance(BaseModel):
    """A text to classify."""

    text: str


class Column(BaseModel):
    """The texts of a request in column form."""

    model_config = ConfigDict(extra="forbid")
    text: list[str] = Field(min_length=1, max_length=MOST_INSTANCES)


class PredictRequest(BaseModel):
    """Texts to classify, as rows (``instances``) or as a column (``inputs``); a plain string is read as the text.

    With ``explain`` at most 20, each with its explanation.
    """

    model_config = ConfigDict(json_schema_extra={"example": {"instances": ["A dull film.", {"text": "What acting!"}]}})
    instances: list[str | Instance] | None = Field(default=None, min_length=1, max_length=MOST_INSTANCES)
    inputs: Annotated[list[str], Field(min_length=1, max_length=MOST_INSTANCES)] | Column | None = None
    signature_name: str = SIGNATURE
    explain: bool = False

    def texts(self) -> list[str]:
        """The texts, whichever form they have."""
        if isinstance(self.inputs, Column):
            return self.inputs.text
        rows = self.instances if self.inputs is None else self.inputs
        return [row if isinstance(row, str) else row.text for row in rows or []]


class ExplainRequest(PredictRequest):
    """Texts to explain, at most 20, by a method and for a class.

    Without ``method`` it is the run's own, without ``target`` the class that is predicted.
    """

    method: str = ""
    target: str = ""


class ExplainResponse(BaseModel):
    """What ``explain.py --json`` prints of each text, in their order; ``null`` for a text without a word."""

    explanations: list[dict[str, Any] | None]


class Ngram(BaseModel):
    """An n-gram of a text, where it first occurs (in code points), how often, and what it adds to the log-odds."""

    text: str
    start: int
    end: int
    times: int
    share: float


class Prediction(BaseModel):
    """The network's prediction for a text; ``null`` twice where the text has no word.

    Of a run whose texts may have several labels, ``label`` is the list of those that are predicted.
    ``words`` were read, ``unknown_words`` of them are not in the vocabulary; ``cut_words`` were not read, because the
    text has more sentences than the network reads.

    Of a run with the n-gram lane also what the log-odds of the label are the sum of, and the strongest n-grams. Where
    the request asks for it, ``explanation`` is what ``explain.py --json`` prints of the text.
    """

    label: str | list[str] | None
    probabilities: dict[str, float] | None
    words: int
    unknown_words: int
    cut_words: int
    parts: dict[str, float] = {}
    ngrams: list[Ngram] = []
    explanation: dict[str, Any] = {}


class PredictResponse(BaseModel):
    """One prediction per instance, in their order: as rows, or each value as a column where the request was one."""

    predictions: list[Prediction] | None = None
    outputs: dict[str, list[Any]] | None = None


class ErrorResponse(BaseModel):
    """What is wrong with a request."""

    error: str


def checked_texts(request: PredictRequest, explain: bool) -> list[str]:
    """The texts of a request, which are neither too many to be explained nor too long."""
    texts = request.texts()
    if explain and len(texts) > MOST_EXPLAINED:
        raise Refusal(413, f"{len(texts)} instances are too many to explain at once; send at most {MOST_EXPLAINED}")
    for number, text in enumerate(texts):
        if len(text.encode(errors="replace")) >= MOST_TEXT_BYTES:
            where = "instances" if request.inputs is None else "inputs"
            raise Refusal(413, f"{where}[{number}] is too long: {MOST_TEXT_BYTES:,} bytes or more")
    return texts


def explain_texts(served: ServedRun, request: ExplainRequest) -> ExplainResponse:
    """Explains the texts of a request."""
    texts, names = checked_texts(request, True), served.predictor.class_names
    methods = methods_of(served.predictor)
    if request.method and request.method not in methods:
        raise Refusal(400, f"{request.method[:100]!r} is not a method of this run; choose from {', '.join(methods)}.")
    if request.target and request.target not in names:
        raise Refusal(400, f"{request.target[:100]!r} is not a class; the classes are: {', '.join(names)}.")
    question = Question(method=request.method or served.default_method, target=request.target)
    with_words = [served.predictor.read(text).words > 0 for text in texts]
    found = [
        answer(served, question._replace(text=text)).explanation.to_json() if has_words else None
        for text, has_words in zip(texts, with_words, strict=True)
    ]
    return ExplainResponse(explanations=found)


def predict(served: ServedRun, request: PredictRequest) -> PredictResponse:
    """Classifies the texts of a request."""
    texts = checked_texts(request, request.explain)
    readings = [served.predictor.read(text) for text in texts]
    verdicts = iter(scored(served, [reading.document for reading in readings if reading.words]))
    predictions = []
    for text, reading in zip(texts, readings, strict=True):
        values: dict[str, Any] = {"label": None, "probabilities": None}
        if reading.words:
            verdict = next(verdicts)
            target = int(verdict.probabilities.argmax())
            names = served.predictor.class_names
            by_class = dict(zip(names, verdict.probabilities.tolist(), strict=True))
            label: str | list[str] = names[target]
            if (thresholds := served.predictor.thresholds) is not None:
                label = chosen_names(verdict.probabilities >= thresholds, names)
            values = {"label": label, "probabilities": by_class}
            values |= parts_of_log_odds(served, text, reading, verdict, target)
            if request.explain:
                question = Question(text, served.default_method)
                values["explanation"] = answer(served, question).explanation.to_json()
        values |= {"words": reading.words, "unknown_words": reading.unknown_words, "cut_words": reading.cut_words}
        predictions.append(Prediction(**values))
    return PredictResponse(predictions=predictions) if request.inputs is None else as_columns(predictions)


def as_columns(predictions: Sequence[Prediction]) -> PredictResponse:
    """Predictions value by value; ``null`` where one has none."""
    rows = [prediction.model_dump(exclude_unset=True) for prediction in predictions]
    names = dict.fromkeys(name for row in rows for name in row)
    return PredictResponse(outputs={name: [row.get(name) for row in rows] for name in names})


def parts_of_log_odds(served: ServedRun, text: str, reading: Reading, verdict: Verdict, target: int) -> dict[str, Any]:
    """``parts`` and ``ngrams`` of a prediction; empty for a run without the n-gram lane."""
    if separated(served.predictor.model).lane is None:
        return {}
    words = words_of(served.predictor.spans(text))
    parts = log_odds_parts(served.predictor, text, words, reading.document, verdict, target)
    return parts.to_json() if parts else {}


def parse_request(body: bytes, form: type[Asked]) -> Asked:
    """Reads the JSON of a request; an error is a :class:`Refusal` that names the place."""
    try:
        request = form.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "body"
        raise Refusal(400, f"{place}: {first['msg']}; {EXAMPLE}") from error
    if (request.instances is None) == (request.inputs is None):
        both = "both instances and inputs" if request.inputs is not None else "neither instances nor inputs"
        raise Refusal(400, f"The request has {both}; {EXAMPLE}")
    if request.signature_name != SIGNATURE:
        raise Refusal(400, f"There is no signature {request.signature_name[:100]!r}, only {SIGNATURE!r}.")
    return request


def check_content_type(request: Request, allowed: Sequence[str]) -> None:
    """Raises :class:`Refusal` for a body of another type; a request may leave the type out."""
    given = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if given and given not in allowed:
        raise Refusal(415, f"The content type {given[:60]!r} is not supported; send {' or '.join(allowed)}.")


async def json_body(request: Request) -> bytes:
    """The body of a REST request. ``curl -d`` calls it a form by default; TensorFlow Serving accepts that, too."""
    check_content_type(request, (JSON, FORM, PLAIN))
    return await request.body()


Body = Annotated[bytes, Depends(json_body)]


def version_named(runs: Sequence[ServedRun], model: str, version: str) -> ServedRun:
    """The run of that name, if its weights are of that training step."""
    served = run_named(runs, model)
    if version != str(served.predictor.step):
        raise Refusal(404, f"{model[:100]} has no version {version[:50]!r} here, only {served.predictor.step}.")
    return served


def status_of(served: ServedRun) -> dict[str, Any]:
    """In the form of TensorFlow Serving's ModelStatus."""
    available = {"state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return {"model_version_status": [{"version": str(served.predictor.step), **available}]}


def metadata_of(model: str, served: ServedRun) -> dict[str, Any]:
    """In the form of TensorFlow Serving's ModelMetadata, with the names of the classes."""

    def tensor(name: str, dtype: str) -> dict[str, Any]:
        shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
        return {"name": name, "dtype": dtype, "tensor_shape": shape}

    numbers = ("words", "unknown_words", "cut_words")
    outputs = {"label": tensor("label", "DT_STRING"), **{name: tensor(name, "DT_INT64") for name in numbers}}
    # An object by class for each text, which TensorFlow has no type for.
    outputs["probabilities"] = tensor("probabilities", "DT_VARIANT")
    signature = {
        "inputs": {"text": tensor("text", "DT_STRING")},
        "outputs": outputs,
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": model, "signature_name": "", "version": str(served.predictor.step)},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        "classes": list(served.predictor.class_names),
    }


REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorResponse, "description": description}
    for code, description in (
        (400, "Not the JSON that is expected"),
        (404, "No such model"),
        (413, "A text, or all together, too long"),
        (415, "Another content type"),
        (503, "Too much is waiting"),
    )
}


def add_rest(app: FastAPI, runs: Sequence[ServedRun], workplace: Workplace) -> None:
    """The routes that programs call."""
    add_predict(app, runs, workplace)
    add_explain(app, runs, workplace)
    add_descriptions(app, runs)
    describe_parts(app)


def add_predict(app: FastAPI, runs: Sequence[ServedRun], workplace: Workplace) -> None:
    """The routes that classify."""
    described: dict[str, Any] = {
        "summary": "Classify texts",
        "responses": REFUSALS,
        "response_model_exclude_unset": True,
        "openapi_extra": {"requestBody": described_body(PredictRequest)},
    }

    @app.post("/v1/models/{model}:predict", **described)
    async def predict_texts(request: Request, model: str, body: Body) -> PredictResponse:
        served = run_named(runs, model)
        return await workplace.run(request, len(body), lambda: predict(served, parse_request(body, PredictRequest)))

    @app.post("/v1/models/{model}/versions/{version}:predict", **described)
    async def predict_with_version(request: Request, model: str, version: str, body: Body) -> PredictResponse:
        served = version_named(runs, model, version)
        return await workplace.run(request, len(body), lambda: predict(served, parse_request(body, PredictRequest)))


def add_explain(app: FastAPI, runs: Sequence[ServedRun], workplace: Workplace) -> None:
    """The routes that explain."""
    described: dict[str, Any] = {
        "summary": "Explain predictions",
        "responses": REFUSALS,
        "openapi_extra": {"requestBody": described_body(ExplainRequest)},
    }

    @app.post("/v1/models/{model}:explain", **described)
    async def explain_with(request: Request, model: str, body: Body) -> ExplainResponse:
        served = run_named(runs, model)
        return await workplace.run(
            request, len(body), lambda: explain_texts(served, parse_request(body, ExplainRequest))
        )

    @app.post("/v1/models/{model}/versions/{version}:explain", **described)
    async def explain_with_version(request: Request, model: str, version: str, body: Body) -> ExplainResponse:
        served = version_named(runs, model, version)
        return await workplace.run(
            request, len(body), lambda: explain_texts(served, parse_request(body, ExplainRequest))
        )


def add_descriptions(app: FastAPI, runs: Sequence[ServedRun]) -> None:
    """The routes that say what can be called."""
    missing: dict[str, Any] = {"responses": {404: REFUSALS[404]}}

    @app.get("/v1/models/{model}", summary="Whether the model can be called", **missing)
    def status(model: str) -> dict[str, Any]:
        return status_of(run_named(runs, model))

    @app.get("/v1/models/{model}/versions/{version}", summary="Whether this version can be called", **missing)
    def status_of_version(model: str, version: str) -> dict[str, Any]:
        return status_of(version_named(runs, model, version))

    @app.get("/v1/models/{model}/metadata", summary="What goes in and what comes out", **missing)
    def metadata(model: str) -> dict[str, Any]:
        return metadata_of(model, run_named(runs, model))

    @app.get("/v1/models/{model}/versions/{version}/metadata", summary="The same of this version", **missing)
    def metadata_of_version(model: str, version: str) -> dict[str, Any]:
        return metadata_of(model, version_named(runs, model, version))


def described_body(kind: type[BaseModel]) -> dict[str, Any]:
    """A request's body as OpenAPI describes it; FastAPI would read it as JSON before its size is known."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs")
    return {"required": True, "content": {JSON: {"schema": schema}}}


def describe_parts(app: FastAPI) -> None:
    """Adds what :func:`described_body` refers to."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        value = plain()
        for part in (Instance, Column):
            value["components"]["schemas"].setdefault(part.__name__, part.model_json_schema())
        return value

    app.openapi = described  # type: ignore[method-assign]
