"""A cluster that runs already, or one of this machine alone that lasts as long as the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.errors import UserError, brief
from ..core.extras import ray


@contextmanager
def started(address: str | None, cores: int | None = None) -> Iterator[None]:
    """Be connected with a cluster.

    Args:
        address: of one that runs: "HOST:PORT", or "auto" on one of its machines; None: one is started on this
            machine, and ended again.
        cores: that one which is started gives to tasks; None: all.

    Raises:
        UserError: when this process has a cluster already, or none is at the address.
    """
    # nothing is told to the makers of Ray, unless somebody wants that
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        if address is None:
            ray.init(
                "local",
                num_cpus=cores,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        what = f"no cluster answers at --address {address}" if address else "Ray does not start here"
        raise UserError(f"{what} ({brief(error)}); `ray status` tells of one that runs") from None
    try:
        yield
    finally:
        ray.shutdown()


def has_gpus() -> bool:
    """Whether a node of the cluster has a GPU."""
    return any(node["Alive"] and node["Resources"].get("GPU", 0) >= 1 for node in ray.nodes())


def places(threads: int, gpus: int) -> int:
    """How many tasks the nodes that are there can do at a time.

    Args:
        threads: of each.
        gpus: of each, 0 or 1.
    """
    room = 0
    for node in ray.nodes():
        if node["Alive"]:
            free = node["Resources"]
            cores = int(free.get("CPU", 0) // threads)
            room += min(cores, int(free.get("GPU", 0) // gpus)) if gpus else cores
    return room
