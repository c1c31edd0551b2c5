"""A pretraining step of ours against a plain one: the same losses and gradients, the ratio of their times and memory.

The plain step is written from the papers' formulas, as a textbook would: every view goes through frontend and patch
embedding, attention is spelled out, the decoder and the loss work on all patches, targets are copied for every view.

python benchmarks/pretrain_step.py --recipe bat --size small --clips 2 --threads 1
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Literal, NamedTuple

import torch
from einops import rearrange, repeat
from jsonargparse import auto_cli
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from oscine.models.bat import BAT
from oscine.models.bird_mae import BirdMAE
from oscine.models.layers import PATCH
from oscine.pretrain import BATPretraining, BirdMAEPretraining, Recipe

SIZES = {
    "tiny": {"dim": 192, "depth": 6, "heads": 3},
    "small": {"dim": 384, "depth": 12, "heads": 6},
    "base": {"dim": 768, "depth": 12, "heads": 12},
}


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


def ours(recipe: Recipe, mixed: bool = False) -> Step:
    """The recipe's own step."""

    def losses(waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
        return recipe.compiled_losses(recipe.spectrogram(waveform), keep)

    move_teacher = recipe.update_teacher if isinstance(recipe, BATPretraining) else lambda decay: None
    return Step(recipe, losses, recipe.configure_optimizers()["optimizer"], move_teacher, mixed)


def plain(recipe: Recipe, mixed: bool = False) -> Step:
    """A textbook's step on the recipe's weights."""
    losses = plain_bat if isinstance(recipe, BATPretraining) else plain_bird_mae
    trained = [weight for weight in recipe.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, betas=(0.9, 0.95))
    return Step(recipe, partial(losses, recipe), optimizer, partial(plain_teacher, recipe), mixed)


# The plain step


def attention(module: nn.Module, tokens: Tensor) -> Tensor:
    queries, keys, values = rearrange(
        module.qkv(tokens), "batch token (part head dim) -> part batch head token dim", part=3, head=module.num_heads
    )
    weights = ((queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)).softmax(-1)
    heads = rearrange(weights @ values, "batch head token dim -> batch token (head dim)")
    gate = 1.0 if module.gate is None else module.gate(tokens).sigmoid()
    return module.proj(heads * gate)


def post_norm(block: nn.Module, tokens: Tensor) -> Tensor:
    tokens = block.norm1(tokens + attention(block.attn, tokens))
    return block.norm2(tokens + block.mlp(tokens))


def pre_norm(block: nn.Module, tokens: Tensor) -> Tensor:
    tokens = tokens + attention(block.attn, block.norm1(tokens))
    return tokens + block.mlp(block.norm2(tokens))


def layers(encoder: nn.Module, spectrogram: Tensor, keep: Tensor | None, block: Callable[..., Tensor]) -> list[Tensor]:
    """Every block's output. spectrogram and keep have as many rows."""
    patches = encoder.patch_embed(spectrogram[:, None])
    patches = patches + encoder.patch_positions()[:, : patches.shape[1]]
    if keep is not None:
        patches = patches.gather(1, keep[..., None].expand(-1, -1, patches.shape[2]))
    tokens = encoder.begin(patches)
    return list(accumulate(encoder.blocks, lambda tokens, module: block(module, tokens), initial=tokens))[1:]


def placed(kept: Tensor, keep: Tensor, mask_token: Tensor, patches: int) -> Tensor:
    return repeat(mask_token.to(kept.dtype), "1 1 dim -> view patch dim", view=len(kept), patch=patches).scatter(
        1, keep[..., None].expand_as(kept), kept
    )


def over_dropped(errors: Tensor, keep: Tensor) -> Tensor:
    """Mean over the patches that are not kept. errors [views, patches]."""
    dropped = torch.ones_like(errors).scatter(1, keep, 0.0)
    return (errors * dropped).sum() / dropped.sum()


def plain_bat(recipe: BATPretraining, waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
    views = len(keep) // len(waveform)
    seen = recipe.spectrogram(waveform.repeat_interleave(views, dim=0))
    with torch.no_grad():
        outputs = torch.stack(
            [x[:, 1:].float() for x in layers(recipe.teacher, recipe.spectrogram(waveform), None, post_norm)]
        )
        variance, mean = torch.var_mean(outputs, dim=2, correction=0, keepdim=True)
        normed = ((outputs - mean) / (variance + 1e-6).sqrt()).mean(0)
        targets = layer_norm(normed, normed.shape[-1:], eps=1e-6).repeat_interleave(views, dim=0)
    tokens = layers(recipe.encoder, seen, keep, post_norm)[-1]
    decoder = recipe.decoder
    drawn = placed(decoder.in_proj(tokens[:, 1:]), keep, decoder.mask_token, targets.shape[1])
    drawn = drawn + decoder.pos_embed[:, : drawn.shape[1]]
    for block in decoder.blocks:
        drawn = post_norm(block, drawn)
    errors = (decoder.out_proj(drawn).float() - targets).square().mean(2)
    return {
        "local": over_dropped(errors, keep),
        "global": (tokens[:, 0].float() - targets.mean(1)).square().mean(),
    }


def plain_bird_mae(recipe: BirdMAEPretraining, waveform: Tensor, keep: Tensor) -> dict[str, Tensor]:
    seen = recipe.spectrogram(waveform.repeat_interleave(len(keep) // len(waveform), dim=0))
    pixels = rearrange(
        seen, "view (time height) (freq width) -> view (time freq) (height width)", height=PATCH, width=PATCH
    )
    variance, mean = torch.var_mean(pixels, dim=2, keepdim=True)
    decoder = recipe.decoder
    tokens = decoder.decoder_embed(recipe.encoder.norm(layers(recipe.encoder, seen, keep, pre_norm)[-1]))
    patches = placed(tokens[:, 1:], keep, decoder.mask_token, pixels.shape[1])
    drawn = torch.cat([tokens[:, :1], patches], dim=1) + decoder.decoder_pos_embed
    for block in decoder.blocks:
        drawn = pre_norm(block, drawn)
    predictions = decoder.decoder_pred(decoder.decoder_norm(drawn))[:, 1:].float()
    errors = (predictions - (pixels - mean) / (variance + 1e-6).sqrt()).square().mean(2)
    return {"reconstruction": over_dropped(errors, keep)}


def plain_teacher(recipe: Recipe, decay: float) -> None:
    if isinstance(recipe, BATPretraining):
        for slow, fast in zip(recipe.teacher.parameters(), recipe.encoder.parameters()):
            slow.data = decay * slow.data + (1 - decay) * fast.data


# Both


def bat(size: str, compile: str | None) -> BATPretraining:
    encoder = BAT(**SIZES[size])
    return BATPretraining(encoder, decoder_heads=encoder.heads, compile=compile)


def bird_mae(size: str, compile: str | None) -> BirdMAEPretraining:
    """Its decoder is two thirds as wide as the encoder, as base's is, in heads of 32."""
    encoder = BirdMAE(**SIZES[size])
    dim = encoder.dim * 2 // 3
    return BirdMAEPretraining(encoder, mix=0.0, decoder_dim=dim, decoder_heads=dim // 32, compile=compile)


MAKE: dict[str, Callable[[str, str | None], Recipe]] = {"bat": bat, "bird_mae": bird_mae}


def flop(recipe: Recipe, clips: int) -> float:
    """What a step has to compute, two for a multiplication with its addition, matrix products alone.

    A block costs (24 + 2 gated) dim^2 + 4 tokens dim for each of its tokens; the backward pass costs twice the forward.
    The last block of a decoder turns all patches into keys and values and works on the dropped ones beyond that.
    """
    encoder, decoder = recipe.encoder, recipe.decoder
    keep = recipe.draw_keep(torch.Generator())
    views, kept = keep.shape
    patches = encoder.grid[0] * encoder.grid[1]
    dropped = patches - kept
    gated = isinstance(recipe, BATPretraining)

    def block(dim: int, tokens: int, rows: int | None = None) -> int:
        rows = tokens if rows is None else rows
        return 4 * tokens * dim**2 + rows * ((20 + 2 * gated) * dim**2 + 4 * tokens * dim)

    dim, depth = encoder.dim, encoder.depth
    wide, blocks = decoder.mask_token.shape[2], len(decoder.blocks)
    student = depth * block(dim, 1 + kept)
    length, outputs = (patches, dim) if gated else (1 + patches, PATCH * PATCH)
    enter = 2 * dim * wide * (1 + kept) * (not gated or wide != dim)
    drawn = (blocks - 1) * block(wide, length) + block(wide, length, dropped) + enter + 2 * wide * outputs * dropped
    embedded = 2 * PATCH**2 * dim * (patches if gated else kept * views)
    teacher = 2 * PATCH**2 * dim * patches + depth * block(dim, 1 + patches) if gated else 0
    return clips * (3 * (views * (student + drawn) + embedded) + teacher)


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


def peak_on_gpu(work: Callable[[], None]) -> int:
    """Bytes at the most beyond what was there before: activations, gradients and what is needed in passing."""
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def seconds(work: Callable[[], None], device: torch.device) -> float:
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


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
    recipe: Literal["bat", "bird_mae"],
    size: Literal["tiny", "small", "base"] = "tiny",
    clips: int = 2,
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
        threads: that torch may use.
        repeats: steps of each, whose median counts.
        device: where.
        precision: bfloat16 is mixed precision.
        compile: torch.compile's mode for our losses.
        flops: dense bfloat16 rate of the GPU, per second, for the utilisation.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    where = torch.device(device)
    made = MAKE[recipe](size, compile).to(where)
    mixed = precision == "bfloat16"
    steps = [ours(made, mixed), plain(copy.deepcopy(made), mixed)]
    waveform = 0.1 * torch.randn(clips, made.encoder.samples, device=where)
    keep = torch.cat([made.draw_keep(torch.Generator().manual_seed(clip)) for clip in range(clips)]).to(where)
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
        print(f"  peak: {peaks[0] / 2**20:.0f} MiB, plain {peaks[1] / 2**20:.0f} MiB, ratio {peaks[1] / peaks[0]:.2f}")
        print(f"  model-FLOP utilisation {work / flops:.1%} of {flops / 1e12:g} TFLOP/s")


if __name__ == "__main__":
    auto_cli(measure, as_positional=False)
