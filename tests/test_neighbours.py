"""The map of document vectors."""

from __future__ import annotations

import numpy as np
import pytest
from fastapi.testclient import TestClient

from page.answers import ServedRun
from runtime.documents import join
from tests.served_runs import (
    DOCUMENTS,
    TEXT,
    ask,
)


def test_the_map_is_that_of_the_document_vectors_and_a_text_lies_where_its_vector_does(served: ServedRun) -> None:
    served.draw_map()
    assert served.map is not None
    documents = served.map.documents
    encoded = [join([served.predictor.read(document.text).document]) for document in documents]
    outputs = [served.predictor.model.document_vectors(one).numpy() for one in encoded]
    vectors = np.concatenate(outputs).astype(np.float64)
    centred = vectors - vectors.mean(axis=0)
    by_svd = centred @ np.linalg.svd(centred)[2][:2].T
    places = served.map.places(vectors)
    for axis in (0, 1):  # the sign of an axis is free
        assert abs(np.corrcoef(places[:, axis], by_svd[:, axis])[0, 1]) == pytest.approx(1, abs=1e-4)
    scales = np.ptp(places, axis=0) / np.ptp(by_svd, axis=0)
    assert scales[0] == pytest.approx(scales[1], rel=1e-3)
    assert places.min() >= 0 and places[:, 0].max() <= 1 and places[:, 1].max() <= served.map.height
    order = np.argsort(np.linalg.norm(vectors - vectors[3], axis=1))
    near = [document.id for document in served.map.nearest(vectors[3], excluded=documents[3].id)]
    assert near == [documents[place].id for place in order if place != 3][:3]


def test_the_page_shows_the_place_of_a_text_and_where_it_was(client: TestClient, served: ServedRun) -> None:
    served.draw_map()
    plain, changed = ask(client, text=TEXT), ask(client, text=TEXT, without="0-14")
    assert len(plain.of_class("here")) == 1 and not plain.of_class("way")
    assert len(plain.of_class("dot")) == DOCUMENTS
    [way], [here] = changed.of_class("way"), changed.of_class("here")
    assert (way["x2"], way["y2"]) == (here["cx"], here["cy"])
    before = plain.of_class("here")[0]
    assert (way["x1"], way["y1"]) == (before["cx"], before["cy"])
