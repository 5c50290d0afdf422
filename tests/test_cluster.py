"""The cluster that TF_CONFIG describes, and mistakes in it."""

from __future__ import annotations

import pytest

from runtime.cluster import Cluster, cluster_of
from tests.helpers import tf_config as config
from utils import UserError


def test_the_first_worker_is_the_chief_unless_one_is_named() -> None:
    assert cluster_of(config(1)) == Cluster(("a:1", "b:2"), 1)
    jobs = {"chief": ["c:3"], "worker": ["a:1", "b:2"]}
    assert cluster_of(config(0, "chief", **jobs)) == Cluster(("c:3", "a:1", "b:2"), 0)
    assert cluster_of(config(1, "worker", **jobs)) == Cluster(("c:3", "a:1", "b:2"), 2)


def test_the_ranks_are_those_of_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorflow.python.distribute import multi_worker_util as theirs

    for jobs in ({"worker": ["a:1", "b:2"]}, {"chief": ["c:3"], "worker": ["a:1", "b:2"]}):
        for kind, names in jobs.items():
            for index in range(len(names)):
                ours = cluster_of(config(index, kind, **jobs))
                assert ours is not None
                assert ours.index == theirs.id_in_cluster(jobs, kind, index)
                assert (ours.index == 0) == theirs.is_chief(jobs, kind, index)


@pytest.mark.parametrize("text", ["", "{}", config(worker=["a:1"]), config(0, "chief", chief=["a:1"])])
def test_without_another_worker_there_is_one_process(text: str) -> None:
    assert cluster_of(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{'cluster'", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"cluster": {}}', "needs a cluster and a task"),
        ('{"task": {"type": "worker", "index": 0}}', "needs a cluster and a task"),
        (config(0, "boss"), 'task type "boss" is unknown; choose from chief, worker'),
        (config(0, "worker", worker=["a:1"], boss=["b:1"]), 'task type "boss" is unknown'),
        (config(0, "evaluator"), "han_tester.py --run_type val"),
        (config(0, worker=["a:1"], ps=["b:1"]), "parameter servers"),
        (config(None), "task index null is not one of the 2 tasks of type worker; give a whole number from 0 to 1"),
        (config(2), "task index 2 is not one of the 2"),
        (config("1"), 'task index "1" is not one'),
        (config(True), "task index true is not one"),
        (config(0, worker="a:1"), "not a list of addresses"),
        (config(0, worker=["a:1", "b"]), '"b" is not an address; write host:port'),
        (config(0, worker=["a:1", "b:99999"]), "not an address"),
        (config(0, worker=["a:1", 7]), "7 is not an address"),
        (config(0, worker=["a:1", "a:1"]), "two workers the same address"),
        (config(0, chief=["a:1", "b:1"], worker=["c:1"]), "2 chiefs"),
    ],
)
def test_a_bad_cluster_gets_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        cluster_of(text)
    assert said in str(refused.value) and "TF_CONFIG" in str(refused.value) and "\n" not in str(refused.value)
