"""What is computed of every clip of a folder, which columns of a table it goes into, and how batches become it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.precision import FLOAT32, choose_precision, computing


class Outputs:
    """Clips, [samples] each, to the numbers that stand in a table's rows, in float32.

    A clip may be shorter than `samples`, as `Encoder.prepare_clips` has it; the encoder has to be in eval mode, into which
    `embed_folder` puts it. A subclass says what is read of what the encoder has prepared (`read`) and what a table has to
    say of it (`describe`).

    widths     name of a column to the numbers of its list, in the order of the numbers; None is a number by itself
    samples    of a whole clip
    precision  of the encoder: float32 or bfloat16; asked for as auto, the one that `choose_precision` takes for its device
    compiled   whether `read` takes batches of one size only
    """

    compiled = False

    def __init__(self, encoder: Encoder, widths: dict[str, int | None], samples: int, precision: str = FLOAT32) -> None:
        self.encoder = encoder
        self.widths = widths
        self.samples = samples
        self.precision = choose_precision(precision, encoder.device)

    def read(self, prepared: Tensor) -> Tensor:
        """[clip, ...] of prepared clips, [clip, ...]: the numbers of each clip's rows, row by row."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What else makes a table beside the encoder, as it stands in its metadata."""
        raise NotImplementedError

    def times(self, start: float, end: float) -> list[tuple[float, float]]:
        """Start and end, in seconds, of the rows that a clip becomes: one row, unless a subclass has more."""
        return [(start, end)]

    @property
    def numbers(self) -> int:
        """Of a row."""
        return sum(width or 1 for width in self.widths.values())

    @torch.inference_mode()
    def __call__(self, clips: Sequence[Tensor]) -> Tensor:
        """On the encoder's device."""
        with computing(self.precision, self.encoder.device):
            return self.read(self.encoder.prepare_clips(clips, self.samples))

    def of_batches(self, clips: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
        """Clips [samples], as they come, to what is read of each, [row, numbers], in memory of the CPU, batch by batch.

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
            batch = batch + [torch.zeros(self.samples)] * (batch_size - clips)
        read = self(batch)[:clips].reshape(clips, -1, self.numbers)
        if read.device.type != "cuda":
            read = read.cpu()
            return lambda: read
        copied = torch.empty(read.shape, pin_memory=True)
        copied.copy_(read, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def end() -> Tensor:
            done.synchronize()
            return copied

        return end


def _batches(clips: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    batch: list[Tensor] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
