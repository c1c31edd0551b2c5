"""Which vectors of a clip are wanted, and how a batch of clips becomes them."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.backends import cudnn

from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.features import Features
from oscine.models.precision import BFLOAT16, FLOAT32, check_precision, check_survives

POOLED = "pooled"  # the model's own, of its last layer: the column `embedding`
POOLS: dict[str, Callable[[Features, int], Tensor]] = {
    "cls": lambda features, layer: features.cls[layer],
    "mean": lambda features, layer: features.patches[layer].mean((1, 2)),
}


class Vectors:
    """Clips, [samples] each, to the vectors asked for, [clip, column, dim] in float32.

    A clip may be shorter than the encoder's, as `Encoder.spectrogram` has it; the encoder is in eval mode meanwhile.

    pools: "pooled" is the column `embedding`; "cls" and "mean" (of the patches) are taken of every one of the `layers`, by
    default the last: columns `cls_11`, `mean_11`, with layers counted from 0. precision: of the encoder, float32, bfloat16
    or auto, which is float32 until a job takes bfloat16, because it is long and faster so. compiled: from the spectrogram
    on through torch.compile, for batches of one size.
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
        self.precision = check_precision(precision)
        self.compiled = compiled
        check_survives(precision, encoder.device)
        self.read = _compiled(self._read) if compiled else self._read

    def at(self, precision: str) -> Vectors:
        """The same vectors in another precision."""
        if precision == self.precision:
            return self
        layers = None if set(self.pools) == {POOLED} else self.layers
        return Vectors(self.encoder, layers, self.pools, precision, self.compiled)

    @torch.inference_mode()
    def __call__(self, clips: Sequence[Tensor]) -> Tensor:
        """On the encoder's device."""
        half = self.precision == BFLOAT16
        with (
            torch.autocast(self.encoder.device.type, torch.bfloat16, enabled=half),
            cudnn.flags(enabled=True, allow_tf32=half),  # else its float32 convolutions keep 10 bits of the 23
        ):
            return self.read(self.encoder.spectrogram(clips))

    def _read(self, spectrogram: Tensor) -> Tensor:  # [clip, column, dim]
        features = self.encoder.features(spectrogram, self.layers)
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

    def _begin(self, batch: list[Tensor], batch_size: int) -> Callable[[], Tensor]:
        """Start on a batch; what is handed back waits for its end."""
        clips = len(batch)
        if self.compiled:  # what was compiled for one size must not be compiled, and rounded, anew for another
            batch = batch + [torch.zeros(self.encoder.samples)] * (batch_size - clips)
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


def _compiled(read: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    from torch._dynamo.exc import BackendCompilerFailed  # here, because it brings the compiler along

    compiled = torch.compile(read, dynamic=False)

    def run(spectrogram: Tensor) -> Tensor:
        try:
            return compiled(spectrogram)
        except BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().partition("\n")[0]
            raise OscineError(
                f"torch.compile failed ({reason}); install a C++ compiler such as g++, or do not compile"
            ) from None

    return run


def _layer_numbers(encoder: Encoder, layers: Sequence[int] | None, pools: Sequence[str]) -> list[int]:
    unknown = [pool for pool in pools if pool != POOLED and pool not in POOLS]
    if unknown or not pools:
        raise OscineError(f"pools {', '.join(unknown) or 'are none'}; choose from {', '.join([POOLED, *POOLS])}")
    if layers is not None and set(pools) == {POOLED}:
        raise OscineError(f"{POOLED} is of the last layer alone; layers go with the pools {', '.join(POOLS)}")
    return list(dict.fromkeys(encoder.layer_numbers([-1] if layers is None else layers)))


def _columns(layers: list[int], pools: Sequence[str], depth: int) -> dict[str, tuple[str, int]]:
    """Name of a column to its pool and layer; the model's own vector first."""
    columns = {"embedding": (POOLED, depth - 1)} if POOLED in pools else {}
    return columns | {f"{pool}_{layer}": (pool, layer) for layer in layers for pool in POOLS if pool in pools}


def _batches(clips: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
