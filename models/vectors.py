"""Which vectors of a clip are wanted, and how a batch of clips becomes them."""

from __future__ import annotations

import hashlib
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.functional import pad

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.precision import BFLOAT16, FLOAT32, check_survives

POOLED = "pooled"  # the model's own, of its last layer: the column `embedding`
POOLS: dict[str, Callable[[Features, int], Tensor]] = {
    "cls": lambda features, layer: features.cls[layer],
    "mean": lambda features, layer: features.patches[layer].mean((1, 2)),
}


class Vectors:
    """Clips [batch, samples] to the vectors asked for, [batch, column, dim] in float32.

    pools: "pooled" is the column `embedding`; "cls" and "mean" (of the patches) are taken of every one of the `layers`, by
    default the last: columns `cls_11`, `mean_11`, with layers counted from 0. The encoder is in eval mode meanwhile.
    compiled: through torch.compile, for batches of `batch_size`.
    """

    def __init__(
        self,
        encoder: Encoder,
        layers: Sequence[int] | None = None,
        pools: Sequence[str] = (POOLED,),
        precision: str = FLOAT32,
        compiled: bool = False,
    ) -> None:
        self.encoder = encoder
        self.layers = _layer_numbers(encoder, layers, pools)
        self.columns = _columns(self.layers, pools, encoder.depth)
        self.pools = pools
        self.precision = precision
        self.compiled = compiled
        check_survives(precision, encoder.device)
        self.forward = torch.compile(encoder, dynamic=False) if compiled else encoder

    def at(self, precision: str) -> Vectors:
        """The same vectors in another precision."""
        if precision == self.precision:
            return self
        layers = None if set(self.pools) == {POOLED} else self.layers
        return Vectors(self.encoder, layers, self.pools, precision, self.compiled)

    @torch.inference_mode()
    def __call__(self, clips: Tensor) -> Tensor:
        """On the encoder's device."""
        if clips.device.type == "cpu" and self.encoder.device.type == "cuda":
            clips = clips.pin_memory().to(self.encoder.device, non_blocking=True)
        with torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=self.precision == BFLOAT16):
            features = self.forward(clips.to(self.encoder.device), layers=self.layers)
        vectors = [
            features.pooled if pool == POOLED else POOLS[pool](features, self.layers.index(layer))
            for pool, layer in self.columns.values()
        ]
        return torch.stack([vector.float() for vector in vectors], dim=1)

    def of_batches(self, clips: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
        """Clips [samples], as they come, to their vectors [column, dim] in memory of the CPU, batch by batch.

        On a GPU a batch is gathered while the one before is computed.
        """
        under_way: deque[Callable[[], Tensor]] = deque()
        for batch in _batches(clips, batch_size):
            under_way.append(self._begin(batch, batch_size))
            if len(under_way) > 1 or self.encoder.device.type == "cpu":
                yield from under_way.popleft()()
        for end in under_way:
            yield from end()

    def _begin(self, batch: Tensor, batch_size: int) -> Callable[[], Tensor]:
        """Start on a batch; what is handed back waits for its end."""
        clips = len(batch)
        if self.compiled:  # what was compiled for one size must not be compiled, and rounded, anew for another
            batch = pad(batch, (0, 0, 0, batch_size - clips))
        vectors = self(batch)[:clips]
        if vectors.device.type != "cuda":
            vectors = vectors.cpu()
            return lambda: vectors
        copy = torch.empty(vectors.shape, pin_memory=True)
        copy.copy_(vectors, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def end() -> Tensor:
            done.synchronize()
            return copy

        return end


@contextmanager
def evaluating(encoder: Encoder) -> Iterator[None]:
    """Eval mode; the encoder is handed back in the mode it was in."""
    training = encoder.training
    encoder.eval()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not support code generation for complex")  # torch.compile
            yield
    finally:
        encoder.train(training)


def fingerprint(encoder: Encoder) -> str:
    """A hash of an encoder's weights, wherever they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _layer_numbers(encoder: Encoder, layers: Sequence[int] | None, pools: Sequence[str]) -> list[int]:
    unknown = [pool for pool in pools if pool != POOLED and pool not in POOLS]
    if unknown or not pools:
        raise OscineError(f"pools {', '.join(unknown) or 'are none'}; choose from {', '.join([POOLED, *POOLS])}")
    if layers is not None and set(pools) == {POOLED}:
        raise OscineError(f"{POOLED} is of the last layer alone; layers go with the pools {', '.join(POOLS)}")
    layers = [-1] if layers is None else layers
    beyond = [layer for layer in layers if not -encoder.depth <= layer < encoder.depth]
    if beyond or not layers:
        what = f"layer {beyond[0]}" if beyond else "no layers"
        raise OscineError(f"{what} of an encoder with {encoder.depth}: choose from 0 to {encoder.depth - 1}")
    return list(dict.fromkeys(layer % encoder.depth for layer in layers))


def _columns(layers: list[int], pools: Sequence[str], depth: int) -> dict[str, tuple[str, int]]:
    """Name of a column to its pool and layer; the model's own vector first."""
    columns = {"embedding": (POOLED, depth - 1)} if POOLED in pools else {}
    return columns | {f"{pool}_{layer}": (pool, layer) for layer in layers for pool in POOLS if pool in pools}


def _batches(clips: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    batch: list[Tensor] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield torch.stack(batch)
            batch = []
    if batch:
        yield torch.stack(batch)
