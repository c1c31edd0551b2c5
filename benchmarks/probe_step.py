"""A training step of convex gated probing with 10,000 prototypes: ours against one that holds all similarities.

python benchmarks/probe_step.py --clips 8 --threads 1
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import torch
from jsonargparse import auto_cli
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.similarity import tiled_min_max

CLASSES, DIM, DEPTH, GRID = 50, 768, 12, (64, 8)  # ESC-50 with the features of a 10-s clip
MIB = 2**20
Extremes = Callable[[Tensor, Tensor], Tensor]


def plain(patches: Tensor, prototypes: Tensor) -> Tensor:  # [end, set, prototype]
    """All similarities at once; automatic gradients."""
    similarity = linear(patches, prototypes)
    return torch.stack([similarity.amin(1), similarity.amax(1)])


WAYS: dict[str, Extremes] = {"ours": tiled_min_max, "plain": plain}


def probe_and_batch(
    clips: int, prototypes: int, device: str, dtype: torch.dtype = torch.float32
) -> tuple[ConvexGatedProbe, Features, Tensor]:
    """The same for every way; features of two layers, since what is measured begins where the layers are mixed."""
    torch.manual_seed(0)
    encoder = cast(Encoder, SimpleNamespace(dim=DIM, depth=2, heads=12, grid=GRID, stacked=True, spatial=True))
    probe = ConvexGatedProbe(encoder, CLASSES, prototypes=prototypes, dropout=0.0).to(device, dtype)
    cls, patches = torch.randn(2, clips, DIM), torch.randn(2, clips, *GRID, DIM)
    prepared = probe.prepare(Features(cls, patches, cls[-1]).to(device, dtype))
    return probe, prepared, torch.randint(CLASSES, (clips,)).to(device)


def measure(way: str, clips: int, prototypes: int, threads: int, device: str, rounds: int) -> tuple[float, float]:
    """Seconds of the quickest step, and the peak of memory over what the process held before the first, in MiB."""
    torch.set_num_threads(threads)
    probe, prepared, labels = probe_and_batch(clips, prototypes, device)
    optimizer = torch.optim.AdamW(probe.parameter_groups(1e-3, 0.05))

    def step() -> None:
        optimizer.zero_grad()
        cross_entropy(probe.logits(prepared), labels).backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    before, seconds = peak(device), []
    with patch("oscine.probe.heads.convex_gated.tiled_min_max", WAYS[way]):
        for _ in range(1 + rounds):
            begin = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begin)
    return min(seconds[1:]), peak(device) - before


def peak(device: str) -> float:
    """Most memory that this process has held so far, in MiB."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gradients_apart(prototypes: int, device: str) -> float:
    """The greatest difference between the gradients of both ways in float64, relative to the greatest of each tensor."""
    found: list[list[Tensor]] = []
    for way in WAYS.values():
        probe, prepared, labels = probe_and_batch(2, prototypes, device, torch.float64)
        with patch("oscine.probe.heads.convex_gated.tiled_min_max", way):
            cross_entropy(probe.logits(prepared), labels).backward()
        found.append([cast(Tensor, parameter.grad) for parameter in probe.parameters()])
    return max(((ours - theirs).abs().max() / theirs.abs().max()).item() for ours, theirs in zip(*found, strict=True))


def probe_step(
    clips: int = 48, prototypes: int = 10_000, threads: int = 1, device: str = "cpu", rounds: int = 3
) -> None:
    """Print time and peak memory of a step both ways and their ratios, and how far their gradients lie apart.

    Args:
        clips: clips in the batch.
        prototypes: of the probe.
        threads: that torch may use.
        device: cpu or cuda.
        rounds: steps, of which the quickest counts.
    """
    spawn = get_context("spawn")  # a process each: a process's peak of memory never falls again
    results: dict[str, Any] = {}
    for way in WAYS:
        with spawn.Pool(1) as pool:
            results[way] = pool.apply(measure, (way, clips, prototypes, threads, device, rounds))
    (seconds, memory), (plain_seconds, plain_memory) = results["ours"], results["plain"]
    print(
        f"{clips} clips, {prototypes} prototypes, {threads} threads, {device}: a step {seconds:.3f} s against "
        f"{plain_seconds:.3f} s, ratio {plain_seconds / seconds:.2f}; peak memory {memory:.0f} MiB against "
        f"{plain_memory:.0f} MiB, ratio {plain_memory / memory:.1f}"
    )
    print(f"gradients in float64 differ by {gradients_apart(prototypes, device):.1e} of the greatest")


if __name__ == "__main__":
    auto_cli(probe_step, as_positional=False)
