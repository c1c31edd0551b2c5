"""What encoders cost: parameters, computation a clip, and clips per second, each round beside one of bird_mae_base.

python benchmarks/encoders.py --threads 2 --clips 4 --rounds 3
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jsonargparse import auto_cli
from torch.utils.flop_counter import FlopCounterMode

from oscine.models import create_model, list_models
from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.base.encoder import Encoder

BESIDE = "bird_mae_base"


class Cost(NamedTuple):
    """What one clip costs.

    flop    of matrix products, convolutions and attention, two for a multiplication with its addition
    clips   per second
    ratio   of clips per second to bird_mae_base's in the same rounds
    sound   seconds of sound per second
    """

    parameters: int
    seconds: float
    flop: int
    clips: float
    ratio: float
    sound: float


def seconds_of(encoder: Encoder, clips: int) -> float:
    """Time the way from waveforms to features of a batch."""
    waveform = 0.1 * torch.randn(clips, encoder.samples)
    begin = time.perf_counter()
    with torch.inference_mode():
        encoder(waveform, layers=[-1])
    return time.perf_counter() - begin


def flop_of(encoder: Encoder) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        encoder(0.1 * torch.randn(1, encoder.samples), layers=[-1])
    return counter.get_total_flops()


def cost_of(name: str, beside: Encoder, clips: int, rounds: int) -> Cost:
    """Measure an encoder with random weights, in turns with the one beside; the first turn of each warms up."""
    encoder = create_model(name)
    turns = [(seconds_of(beside, clips), seconds_of(encoder, clips)) for _ in range(rounds + 1)][1:]
    ratio = statistics.median(other / own for other, own in turns)
    per_second = clips / statistics.median(own for _, own in turns)
    parameters = sum(one.numel() for one in encoder.parameters())
    return Cost(parameters, encoder.seconds, flop_of(encoder), per_second, ratio, per_second * encoder.seconds)


def computed_here() -> list[str]:
    """Name the architectures whose modules are oscine's: of those in an ONNX file nothing is known without it."""
    return [name for name in list_models() if not ARCHITECTURES[name].of_a_file]


def encoders(names: Sequence[str] = (), threads: int = 2, clips: int = 4, rounds: int = 3) -> None:
    """Print a table. names: of architectures; by default all that are computed here."""
    torch.set_num_threads(threads)
    beside = create_model(BESIDE)
    print(
        "| encoder | parameters | clip | GFLOP a clip | clips per second | to bird_mae_base | seconds of sound per second |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names or computed_here():
        cost = cost_of(name, beside, clips, rounds)
        print(
            f"| {name} | {cost.parameters / 1e6:.1f} M | {cost.seconds:g} s | {cost.flop / 1e9:.1f} | {cost.clips:.2f} | "
            f"{cost.ratio:.2f} | {cost.sound:.1f} s |",
            flush=True,
        )


if __name__ == "__main__":
    auto_cli(encoders, as_positional=False)
