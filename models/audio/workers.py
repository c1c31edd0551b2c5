"""Read in several processes: how many, on one thread each, and gone with the process that they read for."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    import torch
    from torch.utils.data import Dataset


def cores() -> int:
    """Count the cores that this process may use: a cluster's job may have fewer of them than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: torch.device) -> int:
    """Choose how many processes read: a CPU is busy with the encoder, any other device waits for what is read."""
    return max(1, min(2 if device.type == "cpu" else 16, cores() - 1))


def read_in_processes(
    items: Dataset[Any], order: Iterable[Any] | None = None, *, workers: int, in_order: bool = True
) -> Iterator[Any]:
    """Read items in order, in other processes; with 0 workers in this one. The global random state stays as it is.

    order: what the items are asked for, one by one as they come; all of their numbers by default. in_order: False yields
    each as soon as it is there. An item that is an error of ours is raised here: a worker would raise it as the text of its
    traceback.
    """
    import torch
    from torch.utils.data import DataLoader

    loader = DataLoader(
        items,
        batch_size=None,
        sampler=order,
        num_workers=workers,
        collate_fn=_unchanged,
        worker_init_fn=_begin_worker,
        generator=torch.Generator(),
        in_order=in_order,
    )
    try:
        for item in loader:
            if isinstance(item, OscineError):
                raise item
            yield item
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OscineError("a process that reads was killed, perhaps for want of memory; take fewer workers") from None


def _unchanged(item: Any) -> Any:
    return item


def _begin_worker(worker: int) -> None:
    one_thread()
    Thread(target=_leave_with, args=(os.getppid(), parent_process()), daemon=True).start()


def _leave_with(number: int, parent: Any) -> None:
    """End a worker whose parent was killed: it would wait for ever to hand over what it has read."""
    # A fork's brothers hold what tells it that the parent is alive; on Windows the parent's number stays what it was.
    while os.getppid() == number and parent.is_alive():
        time.sleep(1)
    os._exit(1)


def one_thread() -> None:
    """Let a process that reads for others have one thread: several in each of several slow one another down."""
    import torch

    torch.set_num_threads(1)
    # A closed terminal tells every process; one that reads for another ends with it.
    if sys.platform != "win32" and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
