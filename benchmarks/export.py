"""Speed of exported encoders in onnxruntime against PyTorch, on the CPU, from waveform to pooled embedding.

python benchmarks/export.py --models "[bird_mae_tiny, bird_mae_base, bat_base]" --threads 1
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from jsonargparse import auto_cli

from oscine.models import create_model
from oscine.models.encoders.base.onnx_file import session_of
from oscine.models.export.onnx import INPUT, OUTPUT, onnx_bytes


def race(works: list[Callable[[], object]], rounds: int) -> list[float]:
    """Seconds of the quickest run of each, taken in turns after one that warms up: both meet the same machine."""
    seconds: list[list[float]] = [[] for _ in works]
    for round_ in range(1 + rounds):
        for work, taken in zip(works, seconds):
            begin = time.perf_counter()
            work()
            if round_:
                taken.append(time.perf_counter() - begin)
    return [min(taken) for taken in seconds]


def export(
    models: tuple[str, ...] = ("bird_mae_tiny", "bird_mae_base", "bat_base"),
    batches: tuple[int, ...] = (1, 8),
    threads: int = 1,
    rounds: int = 10,
) -> None:
    """Print the time of both and their ratio for every model and batch, and how far their embeddings lie apart.

    Args:
        models: architectures, with random weights.
        batches: clips at a time.
        threads: of both.
        rounds: runs of each, in turns, of which the quickest counts.
    """
    torch.set_num_threads(threads)
    for model in models:
        encoder = create_model(model)
        session = session_of(onnx_bytes(encoder), threads)
        for clips in batches:
            waveform = torch.randn(clips, encoder.samples) * 0.1
            with torch.inference_mode():
                expected = encoder(waveform, layers=[-1]).pooled.numpy()
                ours, theirs = race(
                    [
                        lambda session=session, waveform=waveform: session.run([OUTPUT], {INPUT: waveform.numpy()}),
                        lambda encoder=encoder, waveform=waveform: encoder(waveform, layers=[-1]).pooled,
                    ],
                    rounds,
                )
            apart = abs(session.run([OUTPUT], {INPUT: waveform.numpy()})[0] - expected).max()
            print(
                f"{model}, {clips} clips, {threads} threads: onnxruntime {ours:.4f} s, PyTorch {theirs:.4f} s, "
                f"ratio {theirs / ours:.2f}, apart {apart:.1e}"
            )


if __name__ == "__main__":
    auto_cli(export, as_positional=False)
