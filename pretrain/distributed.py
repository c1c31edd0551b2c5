"""Let the processes of a run agree, so that none waits for one that has failed, and share what they compute."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from oscine.models.errors import OscineError

if TYPE_CHECKING:
    from lightning import Trainer
    from torch import Tensor

Made = TypeVar("Made")
# Where launchers say which process of a run this is, in Lightning's order: what it starts itself, Slurm, LSF.
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


def is_first() -> bool:
    """Return whether this is the first of a run's processes, or the only one."""
    return int(next((os.environ[name] for name in RANKS if name in os.environ), "0")) == 0


def rank_zero_then_broadcast(trainer: Trainer, make: Callable[[], Made]) -> Made:
    """Return in every process what the first one makes; what keeps it from that is an error in every one.

    The others wait for it, no longer than their strategy's timeout allows.
    """
    made: list[Made] = []
    failure: Exception | None = None
    if trainer.is_global_zero:
        try:
            made = [make()]
        except Exception as error:  # whatever it is: raised again below, when the others know
            failure = error
    made, said = trainer.strategy.broadcast((made, "" if failure is None else str(failure) or repr(failure)))
    if failure is not None:
        raise failure
    if said:
        raise OscineError(said)
    return made[0]


def gather_rows(rows: Tensor) -> Tensor:  # [processes * rows, dim]
    """Join the rows [rows, dim] of all processes, in their order; every process has as many.

    What every process computes of them all alike reaches the weights as if one had computed it: gradients come back to a
    process's own rows times the number of processes, by which DDP divides when it averages.
    """
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    processes = distributed.get_world_size()
    joined = [torch.empty_like(rows) for _ in range(processes)]
    distributed.all_gather(joined, rows.detach().contiguous())
    joined[distributed.get_rank()] = rows.detach() + processes * (rows - rows.detach())
    return torch.cat(joined)


def equal_on_all_ranks(trainer: Trainer, mine: str) -> bool:
    """Return whether every process of a run has the same as the first."""
    return trainer.strategy.reduce_boolean_decision(mine == trainer.strategy.broadcast(mine))
