"""What a pretraining step needs of memory."""

from __future__ import annotations

import resource
from collections.abc import Callable
from multiprocessing import get_context
from typing import NamedTuple

import torch
from torch import Tensor

from oscine.pretrain import Recipe


class Step(NamedTuple):
    """One way to do a step; what it trains is its recipe's own copy of the weights."""

    recipe: Recipe
    losses: Callable[[Tensor, Tensor], dict[str, Tensor]]  # of waveform [clips, samples] and keep [views, kept]
    optimizer: torch.optim.Optimizer
    move_teacher: Callable[[float], None]
    mixed: bool  # precision: bfloat16 where autocast has it

    def loss(self, waveform: Tensor, keep: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, torch.bfloat16, enabled=self.mixed):
            return torch.stack(list(self.losses(waveform, keep).values())).sum()

    def run(self, waveform: Tensor, keep: Tensor) -> None:
        self.optimizer.zero_grad()
        self.loss(waveform, keep).backward()
        self.optimizer.step()
        self.move_teacher(0.999)


def kept_for_backward(step: Step, waveform: Tensor, keep: Tensor) -> int:
    """Bytes that the forward pass leaves for the backward pass, weights apart."""
    weights = {weight.untyped_storage().data_ptr() for weight in step.recipe.parameters()}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = step.loss(waveform, keep)
    del loss
    return sum(size for place, size in storages.items() if place not in weights)


def peak_on_cpu(begin: Callable[[], Callable[[], None]]) -> int:
    """Bytes that a process of its own holds at the most in two steps beyond what it held before them.

    begin: makes the step, there. To be asked before this process grows: a new one's peak begins with its parent's.
    """
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_grown, (begin,))


def _grown(begin: Callable[[], Callable[[], None]]) -> int:
    work = begin()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kibibytes
    for _ in range(2):  # in the second the optimiser has its moments
        work()
    return 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def peak_on_gpu(work: Callable[[], None]) -> int:
    """Bytes at the most beyond what was there before: activations, gradients and what is needed in passing."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before
