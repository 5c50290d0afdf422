"""/metrics of both servers, read by a parser that knows Prometheus' text format and not this code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from page.answers import ServedRun
from page.viewer import make_app
from shipping import classify
from shipping.classify import BUCKETS, Metrics
from tests.exposition import parse, value

PREDICT = "/v1/models/{model}:predict"


def test_requests_and_seconds_are_counted_in_their_buckets() -> None:
    metrics = Metrics(lambda: {"a": 3}, lambda: {"a": 2})
    for seconds in (0.005, 0.0051, 0.7, 100.0):
        metrics.answered("a", "/predict", 200, seconds)
    metrics.answered("a", "/predict", 503, 0.0)
    metrics.answered("b", "/", 200, 1.0)
    found = parse(metrics.text())
    assert value(found, "han_requests_total", model="a", route="/predict", status="200") == 4
    assert value(found, "han_refused_total", model="a") == 1 and value(found, "han_refused_total", model="b") == 0
    assert value(found, "han_documents_total", model="a") == 3
    assert value(found, "han_waiting_documents", model="a") == 2
    within = {
        limit: value(found, "han_request_seconds_bucket", model="a", route="/predict", le=limit)
        for limit in (*map(str, BUCKETS), "+Inf")
    }
    assert within == {str(limit): 2 + (limit >= 0.01) + (limit >= 1.0) for limit in BUCKETS} | {"+Inf": 5}
    assert value(found, "han_request_seconds_sum", model="a", route="/predict") == pytest.approx(100.7101)


def test_a_name_with_signs_of_the_format_comes_back() -> None:
    name = 'a "run" of\\n\nmine {x="1"} , # ä'
    metrics = Metrics(lambda: {name: 1}, dict)
    metrics.answered(name, "/predict", 200, 0.1)
    found = parse(metrics.text())
    assert value(found, "han_documents_total", model=name) == 1
    assert value(found, "han_requests_total", model=name, route="/predict", status="200") == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_the_memory_is_that_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    kilobytes = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert kilobytes
    found = value(parse(Metrics(dict, dict).text()), "process_resident_memory_bytes")
    assert found == pytest.approx(int(kilobytes[1]) * 1024, rel=0.05)

    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(classify.Path, "read_text", missing)
    assert "memory" not in Metrics(dict, dict).text()


def test_the_page_counts_what_it_answers_and_refuses(served: ServedRun, other: ServedRun) -> None:
    before = served.batcher.documents
    with TestClient(make_app([served, other], ["testserver"])) as client:
        for _ in range(2):
            client.post("/v1/models/han:predict", json={"instances": ["good", "bad", ""]})
        client.post("/v1/models/tiny-other/versions/7:predict", json={"instances": ["good"]})
        client.post("/v1/models/bert:predict", json={"instances": ["good"]})
        client.post("/v1/models/han:predict", content=b"[]")
        client.get("/nothing/here?text=secret")
        client.get("/static/viewer.css")
        client.get("/", headers={"host": "evil.example"})
        answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "secret" not in answer.text and "nothing" not in answer.text
    found = parse(answer.text)
    both = "tiny-han,tiny-other"
    version = "/v1/models/{model}/versions/{version}:predict"
    for model, route, status, number in (
        ("tiny-han", PREDICT, "200", 2),
        ("tiny-han", PREDICT, "400", 1),
        ("tiny-other", version, "200", 1),
        (both, PREDICT, "404", 1),
        (both, "other", "404", 1),
        (both, "/static", "200", 1),
        (both, "other", "400", 1),  # another host, refused before there is a route
    ):
        assert value(found, "han_requests_total", model=model, route=route, status=status) == number, (route, status)
    assert value(found, "han_request_seconds_count", model="tiny-han", route=PREDICT) == 3
    # The map of test documents may be drawn meanwhile.
    assert value(found, "han_documents_total", model="tiny-han") >= before + 4
    assert value(found, "han_refused_total", model="tiny-han") == 0


def test_refusals_under_load_are_counted(served: ServedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    from page.batcher import Busy

    def busy(_: object) -> None:
        raise Busy(7)

    monkeypatch.setattr(served.batcher, "score", busy)
    with TestClient(make_app([served], ["testserver"])) as client:
        assert client.post("/v1/models/han:predict", json={"instances": ["good"]}).status_code == 503
        found = parse(client.get("/metrics").text)
    assert value(found, "han_refused_total", model="tiny-han") == 1


def test_tables_and_batches_count_as_documents(served: ServedRun) -> None:
    from page.metrics import metrics_of

    before = value(parse(metrics_of([served]).text()), "han_documents_total", model="tiny-han")
    served.batcher.score([served.predictor.read("good word01").document] * 3)
    served.rows_scored += 5
    after = value(parse(metrics_of([served]).text()), "han_documents_total", model="tiny-han")
    assert after == before + 8
