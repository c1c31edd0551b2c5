"""Compute the rows of a table from clips: the encoder's layers and pools that are wanted, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oscine.models.compat import compiler_failure
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import LAYER_VECTORS, Selection, check_pools
from oscine.models.encoders.base.precision import FLOAT32, choose_precision, computing
from oscine.models.errors import OscineError

Key = tuple[str, float, float, int, Any]  # of a row, in the order of `table.KEY_COLUMNS`


class Clip(NamedTuple):
    """A clip that is to be computed: its samples, the keys of its rows, and how much of its recording it stands for."""

    waveform: Tensor  # [samples]
    keys: Sequence[Key] = ()
    seconds: float = 0.0


class Extractor:
    """Computes what stands in a table's rows from clips, in float32.

    A clip may be shorter than `samples`, as `Encoder.prepare_clips` has it; the encoder has to be in eval mode, into which
    `embed_recordings` puts it. A subclass says what is computed of what the encoder has prepared (`compute`) and what a
    table has to say of it (`describe`).

    widths     name of a column to the numbers of its list, in the order of the numbers; None is a number by itself
    samples    of a whole clip
    precision  of the encoder: float32 or bfloat16; asked for as auto, the one that `choose_precision` takes for its device
    compiled   whether `compute` takes batches of one size only
    """

    compiled = False

    def __init__(self, encoder: Encoder, widths: dict[str, int | None], samples: int, precision: str = FLOAT32) -> None:
        self.encoder = encoder
        self.widths = widths
        self.samples = samples
        self.precision = choose_precision(precision, encoder.device)

    def compute(self, prepared: Tensor) -> Tensor:
        """Compute the numbers of each clip's rows, row by row, [clip, ...], from prepared clips [clip, ...]."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Describe what makes a table beside the encoder, as it stands in its metadata."""
        raise NotImplementedError

    def times(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return start and end, in seconds, of the rows that a clip becomes: one, unless a subclass has more."""
        return [(start, end)]

    @property
    def row_width(self) -> int:
        """Numbers of a row."""
        return sum(width or 1 for width in self.widths.values())

    @torch.inference_mode()
    def __call__(self, clips: Sequence[Tensor]) -> Tensor:
        """`compute` clips, [samples] each, on the encoder's device."""
        with computing(self.precision, self.encoder.device):
            return self.compute(self.encoder.prepare_clips(clips, self.samples))

    def run(self, clips: Iterable[Clip], batch_size: int) -> Iterator[tuple[Clip, Tensor]]:
        """Yield clips, as they come, each with its rows, [row, number], in memory of the CPU.

        On a GPU a batch is gathered while the one before is computed.
        """
        clips, waiting = iter(clips), None
        while batch := list(islice(clips, batch_size)):
            waveforms = [clip.waveform for clip in batch]
            if self.compiled:  # what was compiled for one size must not be compiled, and rounded, anew for another
                waveforms += [torch.zeros(self.samples)] * (batch_size - len(batch))
            rows = self(waveforms)[: len(batch)].reshape(len(batch), -1, self.row_width)
            if rows.device.type != "cuda":
                yield from zip(batch, rows.cpu())
                continue
            copy, done = torch.empty(rows.shape, pin_memory=True), torch.cuda.Event()
            copy.copy_(rows, non_blocking=True)
            done.record()
            if waiting:
                yield from _copied(*waiting)
            waiting = batch, copy, done
        if waiting:
            yield from _copied(*waiting)


def _copied(batch: list[Clip], copy: Tensor, done: torch.cuda.Event) -> Iterator[tuple[Clip, Tensor]]:
    done.synchronize()
    return zip(batch, copy)


class EmbeddingExtractor(Extractor):
    """Computes the vectors asked for from clips, [clip, column, dim] in float32.

    pools: "pooled" is the column `embedding`; "cls" and "mean" (of the patches) are taken of every one of the `layers`, by
    default the last: columns `cls_11`, `mean_11`, with layers counted from 0. precision: as in `Extractor`. compiled: from
    what is prepared on through torch.compile, for batches of one size.
    """

    def __init__(
        self,
        encoder: Encoder,
        layers: Sequence[int] | None = None,
        pools: Sequence[str] = (Selection.POOLED,),
        precision: str = FLOAT32,
        compiled: bool = False,
    ) -> None:
        self.layers = _layer_numbers(encoder, layers, pools)
        if Selection.CLS in pools:
            encoder.say_what_cls_is()
        # Name of a column to its pool and layer; the model's own vector first.
        self.columns: dict[str, tuple[str, int]] = {}
        if Selection.POOLED in pools:
            self.columns["embedding"] = (Selection.POOLED, encoder.depth - 1)
        for layer in self.layers:
            self.columns |= {f"{pool}_{layer}": (pool, layer) for pool in LAYER_VECTORS if pool in pools}
        super().__init__(encoder, dict.fromkeys(self.columns, encoder.dim), encoder.samples, precision)
        self.compiled = compiled
        self._compute = _compiled(self._vectors) if compiled else self._vectors

    def compute(self, prepared: Tensor) -> Tensor:  # [clip, column, dim]
        return self._compute(prepared)

    def describe(self) -> dict[str, Any]:
        """Describe the columns: the pool and the layer, counted from 0, of each."""
        return {"columns": {name: {"pool": pool, "layer": layer} for name, (pool, layer) in self.columns.items()}}

    def _vectors(self, prepared: Tensor) -> Tensor:
        features = self.encoder.features(prepared, self.layers)
        vectors = []
        for pool, layer in self.columns.values():
            if pool == Selection.POOLED:
                vectors.append(features.pooled)
            else:  # without the work of pooling the other layers
                vectors.append(features.select(pool, self.layers.index(layer))[0])
        return torch.stack([vector.float() for vector in vectors], dim=1)


def _compiled(compute: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    compiled, failure = torch.compile(compute, dynamic=False), compiler_failure()

    def run(prepared: Tensor) -> Tensor:
        try:
            return compiled(prepared)
        except failure as error:
            reason = str(error.inner_exception).strip().partition("\n")[0]
            raise OscineError(
                f"torch.compile failed ({reason}); install a C++ compiler such as g++, or do not compile"
            ) from None

    return run


def _layer_numbers(encoder: Encoder, layers: Sequence[int] | None, pools: Sequence[str]) -> list[int]:
    check_pools(pools, layers)
    last = encoder.depth - 1
    if layers is not None and not encoder.stacked and {layer % encoder.depth for layer in layers} != {last}:
        raise OscineError(
            f"layers {', '.join(map(str, layers))}: those of {type(encoder).__name__} differ in width, and a table has its "
            f"last one alone, {last}; leave layers out"
        )
    return list(dict.fromkeys(encoder.layer_numbers([-1] if layers is None else layers)))
