"""The workers that train together: the cluster that ``TF_CONFIG`` describes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from utils import UserError

EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The workers of a job, as ``TF_CONFIG`` names them.

    Attributes:
        addresses: ``host:port`` of every worker; the first is the chief, who alone writes the run folder.
        index: Which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int

    def name(self, index: int) -> str:
        """``worker 1 (10.0.0.2:2222)``."""
        return f"{'the chief, ' if index == 0 else ''}worker {index} ({self.addresses[index]})"

    def endpoint(self, index: int) -> tuple[str, int]:
        """Host and port of a worker."""
        host, _, port = self.addresses[index].rpartition(":")
        return host.strip("[]"), int(port)


def cluster_of(tf_config: str) -> Cluster | None:
    """Reads the value of ``TF_CONFIG``; ``None`` where it names no other worker.

    Raises:
        UserError: It is not JSON, lacks something, or asks for something that this trainer does not support.
    """
    value = parse_tf_config(tf_config)
    if not value:
        return None
    jobs, task = value.get("cluster"), value.get("task")
    if not isinstance(jobs, dict) or not isinstance(task, dict):
        raise UserError(f"TF_CONFIG needs a cluster and a task; an example: TF_CONFIG='{EXAMPLE}'")
    kind, index = task.get("type"), task.get("index")
    refuse_other_kinds({*jobs, kind})
    addresses = {job: addresses_of(job, jobs.get(job, [])) for job in ("chief", "worker")}
    if len(addresses["chief"]) > 1:
        raise UserError(f"TF_CONFIG names {len(addresses['chief'])} chiefs; name one, and the others as workers")
    names = (*addresses["chief"], *addresses["worker"])
    if len(set(names)) < len(names):
        raise UserError("TF_CONFIG gives two workers the same address; on one machine give each its own port")
    there = len(addresses[str(kind)])
    if type(index) is not int or not 0 <= index < there:
        raise UserError(
            f"TF_CONFIG: task index {json.dumps(index)} is not one of the {there} tasks of type {kind}; "
            f"give a whole number from 0 to {there - 1}"
        )
    place = index + (len(addresses["chief"]) if kind == "worker" else 0)
    return Cluster(names, place) if len(names) > 1 else None


def parse_tf_config(text: str) -> dict[str, Any]:
    """``TF_CONFIG`` as a dictionary, empty where the variable is."""
    try:
        value = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise UserError(f"TF_CONFIG is not JSON ({error}); an example: TF_CONFIG='{EXAMPLE}'") from error
    if not isinstance(value, dict):
        raise UserError(f"TF_CONFIG is not a JSON object; an example: TF_CONFIG='{EXAMPLE}'")
    return value


def refuse_other_kinds(kinds: set[Any]) -> None:
    """Refuses every type of task but ``chief`` and ``worker``, and names what to use instead."""
    if "evaluator" in kinds:
        raise UserError(
            "TF_CONFIG: evaluator tasks are not supported; leave it out, and run python han_tester.py --run_type val "
            "on the chief's machine"
        )
    if "ps" in kinds:
        raise UserError("TF_CONFIG: parameter servers (ps) are not supported; leave them out and name workers only")
    if unknown := sorted(json.dumps(kind) for kind in kinds - {"chief", "worker"}):
        raise UserError(f"TF_CONFIG: task type {unknown[0]} is unknown; choose from chief, worker")


def addresses_of(job: str, values: Any) -> tuple[str, ...]:
    """The addresses of one type of task, each checked to be ``host:port``."""
    if not isinstance(values, list):
        raise UserError(f'TF_CONFIG: {job} is not a list of addresses; write for example "{job}": ["10.0.0.1:2222"]')
    for value in values:
        host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise UserError(
                f"TF_CONFIG: {json.dumps(value)} is not an address; write host:port, for example 10.0.0.1:2222"
            )
    return tuple(values)
