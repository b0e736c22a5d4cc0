"""Several processes that fit one network or extract its features, on one machine or many.

Start with `torchrun --nproc-per-node N -m training COMMAND ...`; without torchrun there is one process and nothing
happens. On a busy machine N processes of one thread lose less to waiting than one process of N threads.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import distributed

T = TypeVar("T")


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, and leave them at the end."""
    if "RANK" not in os.environ:
        yield
        return
    if device().type == "cuda":
        torch.cuda.set_device(device())
        distributed.init_process_group("nccl", device_id=device())
    else:
        distributed.init_process_group("gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """This process's number over all machines; 0 writes files and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes there are over all machines."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def device() -> torch.device:
    """This process's GPU where there is one, else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank())


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread of a CPU: products as small as a head's lose more to waiting than they gain.

    On a machine that is busy with other work several threads can take a hundred times as long.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def wait_for_all() -> None:
    """Return once every process has come here."""
    if distributed.is_initialized():
        distributed.barrier()


def gather(part: T) -> list[T]:
    """What every process has, in order of rank."""
    if not distributed.is_initialized():
        return [part]
    parts: list[T | None] = [None] * world_size()
    distributed.all_gather_object(parts, part)
    return [part for part in parts if part is not None]
