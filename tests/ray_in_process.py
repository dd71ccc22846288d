"""What the engine of a cluster asks of Ray, in this process: tasks are done when they are waited for."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import pytest
from ray import exceptions

from fastreid_privacy.cluster import nodes, tasks
from fastreid_privacy.cluster.engine import RayEngine
from fastreid_privacy.cluster.galleries import RayFeatures
from fastreid_privacy.commands import engines, indexing

FEW = 4  # images of a shard at most


class Lost(exceptions.WorkerCrashedError):
    """The end of a process."""


class RayInProcess:
    """Stands for the module ``ray``.

    Args:
        before: called with the number of each task before it is done; what it raises is the task's end.
        nodes: resources of each node.
    """

    exceptions = exceptions
    ObjectRef = object

    def __init__(self, before: Callable[[int], None] = lambda number: None, nodes=({"CPU": 2.0},)):
        self.before, self.alive = before, list(nodes)
        self.stored, self.arguments, self.results = [], [], []
        self.asked: list[dict] = []
        self.most = self.waiting = 0

    def put(self, content):
        self.stored.append(content)
        return content

    def nodes(self):
        return [{"Alive": True, "Resources": resources} for resources in self.alive]

    def remote(self, function):
        ray = self

        class Task:
            def options(self, **asked):
                ray.asked.append(asked)
                return self

            def remote(self, *arguments):
                ray.arguments.append(arguments)
                ray.waiting += 1
                ray.most = max(ray.most, ray.waiting)
                return (len(ray.arguments) - 1, function, arguments)

        return Task()

    def wait(self, references, num_returns, timeout):
        assert num_returns == 1 and timeout
        return references[-1:], references[:-1]  # the latest first: the order must not matter

    def get(self, reference):
        number, function, arguments = reference
        self.waiting -= 1
        self.before(number)
        self.results.append(function(*arguments))
        return self.results[-1]


def stand_in(monkeypatch: pytest.MonkeyPatch, **options) -> RayInProcess:
    """Put a cluster of this process in Ray's place, whose shards have few images.

    Args:
        monkeypatch: takes it away again.
        **options: of :class:`RayInProcess`.
    """
    ray = RayInProcess(**options)
    for module in (tasks, nodes):
        monkeypatch.setattr(module, "ray", ray)

    @contextmanager
    def started(address, cores):
        yield

    monkeypatch.setattr(tasks, "started", started)
    monkeypatch.setattr(engines, "RayEngine", lambda *words: RayEngine(*words, shard=FEW))
    monkeypatch.setattr(indexing, "RayFeatures", lambda *words: RayFeatures(*words, shard=FEW))
    return ray
