"""A pretraining step of ours against a plain one (plain_step.py): the same losses and gradients, the ratio of their times
and memory.

python benchmarks/pretrain_step.py --recipe bat --size small --clips 2 --threads 1
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from jsonargparse import auto_cli
from plain_step import plain_audiomosaic, plain_bat, plain_bird_mae, plain_teacher
from step_flop import flop
from step_memory import Step, kept_for_backward, peak_on_cpu, peak_on_gpu
from torch import Tensor

from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.pretrain import AudioMosaicPretraining, BATPretraining, BirdMAEPretraining, Recipe

SIZES = {
    "tiny": {"dim": 192, "depth": 6, "heads": 3},
    "small": {"dim": 384, "depth": 12, "heads": 6},
    "base": {"dim": 768, "depth": 12, "heads": 12},
}


def ours(recipe: Recipe, mixed: bool = False) -> Step:
    """The recipe's own step."""

    def losses(waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
        return recipe.compiled_losses(recipe.spectrogram(waveform), keep)

    move_teacher = recipe.update_teacher if isinstance(recipe, BATPretraining) else lambda decay: None
    return Step(recipe, losses, recipe.configure_optimizers()["optimizer"], move_teacher, mixed)


def plain(recipe: Recipe, mixed: bool = False) -> Step:
    """A textbook's step on the recipe's weights."""
    losses = PLAIN[type(recipe)]
    trained = [weight for weight in recipe.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, betas=(0.9, 0.95))
    return Step(recipe, partial(losses, recipe), optimizer, partial(plain_teacher, recipe), mixed)


def bat(size: str, views: int, compile: str | None) -> BATPretraining:
    encoder = BAT(**SIZES[size])
    return BATPretraining(encoder, views=views, decoder_heads=encoder.heads, compile=compile)


def bird_mae(size: str, views: int, compile: str | None) -> BirdMAEPretraining:
    """Of one view; its decoder is two thirds as wide as the encoder, as base's is, in heads of 32."""
    encoder = BirdMAE(**SIZES[size])
    dim = encoder.dim * 2 // 3
    return BirdMAEPretraining(encoder, mix=0.0, decoder_dim=dim, decoder_heads=dim // 32, compile=compile)


def audiomosaic(size: str, views: int, compile: str | None) -> AudioMosaicPretraining:
    """Of two views, which hear the same here: how clips are changed is no part of the step."""
    return AudioMosaicPretraining(AudioMosaic(**SIZES[size]), grad_checkpointing=False, compile=compile)


MAKE: dict[str, Callable[[str, int, str | None], Recipe]] = {
    "bat": bat,
    "bird_mae": bird_mae,
    "audiomosaic": audiomosaic,
}
PLAIN: dict[type[Recipe], Callable[..., dict[str, Tensor]]] = {
    BATPretraining: plain_bat,
    BirdMAEPretraining: plain_bird_mae,
    AudioMosaicPretraining: plain_audiomosaic,
}


def batch_of(recipe: Recipe, clips: int) -> tuple[Tensor, Tensor]:
    """Waveforms of noise and their masks."""
    keep = torch.cat([recipe.draw_keep(torch.Generator().manual_seed(clip)) for clip in range(clips)])
    return 0.1 * torch.randn(clips, recipe.encoder.samples), keep


def begin(
    way: Callable[[Recipe, bool], Step], make: Callable[[], Recipe], clips: int, threads: int, mixed: bool
) -> Callable[[], None]:
    """A step that can be run, in a new process."""
    torch.set_num_threads(threads)
    step = way(make(), mixed)
    return partial(step.run, *batch_of(step.recipe, clips))


def seconds(work: Callable[[], None], device: torch.device) -> float:
    before = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - before


def check_same(one: Step, other: Step, waveform: Tensor, keep: Tensor) -> None:
    """The same losses and gradients, in float32."""
    sides = []
    for step in (one, other):
        losses = step.losses(waveform, keep)
        torch.stack(list(losses.values())).sum().backward()
        sides.append((losses, {name: weight.grad for name, weight in step.recipe.named_parameters()}))
        step.optimizer.zero_grad()
    (losses, gradients), (expected, wanted) = sides
    for name, loss in expected.items():
        torch.testing.assert_close(losses[name], loss, rtol=1e-5, atol=1e-6)
    largest = max(gradient.norm() for gradient in wanted.values() if gradient is not None)
    for name, gradient in wanted.items():
        if gradient is None:
            assert gradients[name] is None, name
            continue
        # A bias of keys has no gradient but rounding, hence a share of the largest beside its own size.
        assert (gradients[name] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-6 * largest, name


def measure(
    recipe: Literal["bat", "bird_mae", "audiomosaic"],
    size: Literal["tiny", "small", "base"] = "tiny",
    clips: int = 2,
    views: int = 16,
    threads: int = 1,
    repeats: int = 5,
    device: Literal["cpu", "cuda"] = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    compile: str | None = None,
    flops: float = 989e12,
) -> None:
    """Assert that both steps are the same, then time them in turn.

    Args:
        recipe: whose step.
        size: of the encoder; the decoder goes with it.
        clips: of a batch.
        views: of a clip, in BAT; base with all 16 and its plain twin want more than 24 GB.
        threads: that torch may use.
        repeats: steps of each, whose median counts.
        device: where.
        precision: bfloat16 is mixed precision.
        compile: torch.compile's mode for our losses.
        flops: dense bfloat16 rate of the GPU, per second, for the utilisation.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    where, mixed = torch.device(device), precision == "bfloat16"
    make = partial(MAKE[recipe], size, views, compile)
    if device == "cpu":  # first, see there
        begins = [partial(begin, way, make, clips, threads, mixed) for way in (ours, plain)]
        peaks = [peak_on_cpu(one) for one in begins]
    made = make().to(where)
    steps = [ours(made, mixed), plain(copy.deepcopy(made), mixed)]
    waveform, keep = (tensor.to(where) for tensor in batch_of(made, clips))
    check_same(*steps, waveform, keep)
    times: list[list[float]] = [[], []]
    for _ in range(repeats + 1):  # the first warms up
        for step, taken in zip(steps, times):
            taken.append(seconds(partial(step.run, waveform, keep), where))
    mine, theirs = (statistics.median(taken[1:]) for taken in times)
    kept = [kept_for_backward(step, waveform, keep) for step in steps]
    say = f"{recipe} {size}, {clips} clips, {device}, {precision}, {threads} threads"
    print(f"{say}: ours {mine:.3f} s, plain {theirs:.3f} s, ratio {theirs / mine:.2f}")
    print(
        f"  kept for backward: {kept[0] / 2**20:.0f} MiB, plain {kept[1] / 2**20:.0f} MiB, ratio {kept[1] / kept[0]:.2f}"
    )
    work = flop(made, clips) / mine
    print(f"  {work * mine / 1e9:.1f} GFLOP a step, {work / 1e9:.1f} GFLOP/s")
    if device == "cuda":
        peaks = [peak_on_gpu(partial(step.run, waveform, keep)) for step in steps]
        print(f"  model-FLOP utilisation {work / flops:.1%} of {flops / 1e12:g} TFLOP/s")
    print(f"  peak: {peaks[0] / 2**20:.0f} MiB, plain {peaks[1] / 2**20:.0f} MiB, ratio {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
