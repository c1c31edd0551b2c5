"""Processes that read for others: how many, on one thread each, and gone with whoever they read for."""

from __future__ import annotations

import os
import signal
import sys
import time
from multiprocessing import parent_process
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def cores() -> int:
    """That this process may use, which a cluster's job may have fewer of than its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: torch.device) -> int:
    """Processes that read: a CPU is busy with the encoder, any other device waits for what is read."""
    return max(1, min(2 if device.type == "cpu" else 16, cores() - 1))


def begin_worker(worker: int) -> None:
    one_thread(worker)
    Thread(target=_leave_with, args=(os.getppid(), parent_process()), daemon=True).start()


def _leave_with(number: int, parent: Any) -> None:
    """End a worker whose parent was killed: it would wait for ever to hand over what nobody takes any more."""
    # A fork's brothers hold what tells it that the parent is alive; on Windows the parent's number stays what it was.
    while os.getppid() == number and parent.is_alive():
        time.sleep(1)
    os._exit(1)


def one_thread(worker: int) -> None:
    """For the processes that read for a DataLoader: several threads in each of several slow one another down."""
    import torch

    torch.set_num_threads(1)
    # A closed terminal tells every process; one that reads for another ends with it.
    if sys.platform != "win32" and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
