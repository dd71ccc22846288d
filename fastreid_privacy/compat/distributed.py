"""Several processes: GPUs over NCCL as fastreid does it, the CPU over gloo."""

from __future__ import annotations

import inspect
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.multiprocessing.spawn import ProcessException
from torch.nn.parallel import DistributedDataParallel

from ..core.errors import UserError
from .data import load_batches_onto, start_method
from .patching import replace


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    device: str = "auto",
) -> None:
    """Run ``main_func(*args)`` in this process, or in several new ones joined in a process group.

    Args:
        main_func: what to run; with more than one process a function that a new process can import by its
            name.
        num_gpus_per_machine: processes on this machine; without a GPU, or with ``device="cpu"``, processes on
            the CPU.
        num_machines: machines; each calls ``launch``.
        machine_rank: which of them this one is, from 0.
        dist_url: where the processes meet, for instance ``tcp://127.0.0.1:8686``; None or ``"auto"`` takes a
            free port of this machine.
        args: for ``main_func``.
        device: ``"cuda"`` (or ``"cuda:1"``, for one process), ``"cpu"``, or ``"auto"``: GPUs where there are
            any; the CPU uses gloo.

    Raises:
        UserError: the GPUs that were asked for are not there; or the first UserError that a process raised.
        torch.multiprocessing.ProcessRaisedException: a process raised anything else.
    """
    use_cuda = _choose_cuda(device)
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        main_func(*args)
        return
    if use_cuda and num_gpus_per_machine > torch.cuda.device_count():
        raise UserError(
            f"{num_gpus_per_machine} processes were asked for and {torch.cuda.device_count()} GPUs are "
            "visible: lower --num-gpus, or set MODEL.DEVICE cpu to run the processes on the CPU"
        )
    if dist_url in (None, "auto"):
        if num_machines > 1:
            raise UserError(
                "several machines must be told where to meet: --dist-url tcp://<address of machine 0>:<port>"
            )
        from fastreid.engine.launch import _find_free_port

        dist_url = f"tcp://127.0.0.1:{_find_free_port()}"
    context = mp.get_context("spawn")
    user_errors = context.SimpleQueue()
    setup = (world_size, num_gpus_per_machine, machine_rank, dist_url, use_cuda)
    inherited = (start_method(), user_errors)
    try:
        mp.start_processes(
            _worker,
            args=(main_func, args, setup, inherited),
            nprocs=num_gpus_per_machine,
            start_method="spawn",
        )
    except ProcessException:
        if not user_errors.empty():
            raise UserError(user_errors.get()) from None
        raise


def _choose_cuda(device: str) -> bool:
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {device!r}: choose auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "a GPU was asked for (cuda) and there is none that torch can use: set MODEL.DEVICE to cpu or auto"
        )
    return kind != "cpu" and torch.cuda.is_available()


def _worker(local_rank: int, main_func: Callable, args: tuple, setup: tuple, inherited: tuple) -> None:
    """One process of ``launch``."""
    from fastreid.utils import comm

    world_size, processes, machine_rank, dist_url, use_cuda = setup
    parents_start_method, user_errors = inherited
    # Python makes "spawn" the start method of a spawned process. Its loaders' workers would each import torch
    # again, at every evaluation.
    multiprocessing.set_start_method(parents_start_method, force=True)
    if use_cuda:
        torch.cuda.set_device(local_rank)
    else:
        load_batches_onto("cpu")
        share_cores(processes)
    rank = machine_rank * processes + local_rank
    dist.init_process_group(
        "nccl" if use_cuda else "gloo", init_method=dist_url, world_size=world_size, rank=rank
    )
    for machine in range(world_size // processes):
        group = dist.new_group(list(range(machine * processes, (machine + 1) * processes)))
        if machine == machine_rank:
            comm._LOCAL_PROCESS_GROUP = group
    try:
        main_func(*args)
    except UserError as error:
        user_errors.put(str(error))
        raise
    # A process that leaves while another still talks to it makes that one abort at exit.
    dist.barrier()
    dist.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None


def share_cores(processes: int) -> None:
    """Give each process of this machine its share of the cores, unless OMP_NUM_THREADS says otherwise.

    Two processes with all cores each wait for one another at every operation: 4 s for an iteration of 0.13 s
    was measured.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, available_cores() // processes))


def available_cores() -> int:
    """Cores that this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch_without_a_gpu() -> None:
    """fastreid/engine/launch.py:74–77 and 92: needs CUDA and NCCL, and leaves its process group standing."""
    import fastreid.engine

    # fastreid.engine.launch is the function: `from .launch import *` (engine/__init__.py:17) has covered the
    # module of that name.
    replace(sys.modules["fastreid.engine.launch"], "launch", launch)
    replace(fastreid.engine, "launch", launch)


class DeviceAwareDDP(DistributedDataParallel):
    """DistributedDataParallel that knows ``device_ids`` on a GPU only, and the old name of an option."""

    def __init__(self, module: torch.nn.Module, device_ids: list | None = None, **kwargs: Any) -> None:
        on_gpu = next(module.parameters()).device.type == "cuda"
        # torch's new name differs in one thing: all ranks begin with rank 0's buffers, as they do with its
        # parameters.
        if (
            "broadcast_buffers" in kwargs
            and "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
        ):
            kwargs["forward_sync_buffers"] = kwargs.pop("broadcast_buffers")
        super().__init__(module, device_ids=device_ids if on_gpu else None, **kwargs)


def wrap_cpu_models_for_ddp() -> None:
    """fastreid/engine/defaults.py:209–211: torch refuses ``device_ids`` for a model on the CPU."""
    import fastreid.engine.defaults as defaults

    replace(defaults, "DistributedDataParallel", DeviceAwareDDP)
