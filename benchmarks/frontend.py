"""Speed of the Kaldi filter bank: ours for a batch against torchaudio's, which takes one clip at a time.

python benchmarks/frontend.py --clips 32 --threads 2
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torchaudio.compliance.kaldi as kaldi
from jsonargparse import auto_cli

from oscine.models.encoders.frontends.mel import KaldiFbank

RATE = 32_000
SETTINGS = {
    "htk_compat": True, "sample_frequency": RATE, "use_energy": False, "window_type": "hanning", "num_mel_bins": 128,
    "dither": 0.0, "frame_shift": 10,
}  # fmt: skip


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the quickest of several runs, after one that warms up."""
    work()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def frontend(clips: int = 32, seconds: float = 5.0, threads: int = 2, repeats: int = 10) -> None:
    """Print the time of both and their ratio.

    Args:
        clips: clips in the batch.
        seconds: length of a clip.
        threads: that torch may use.
        repeats: runs, of which the quickest counts.
    """
    torch.set_num_threads(threads)
    waveform = torch.randn(clips, round(seconds * RATE)) * 0.1
    fbank = KaldiFbank(RATE)
    ours = fastest(lambda: fbank(waveform), repeats)
    theirs = fastest(lambda: [kaldi.fbank(clip[None], **SETTINGS) for clip in waveform], repeats)
    print(
        f"{clips} clips of {seconds:g} s, {threads} threads: ours {ours:.4f} s, torchaudio per clip {theirs:.4f} s, "
        f"ratio {theirs / ours:.2f}"
    )


if __name__ == "__main__":
    auto_cli(frontend, as_positional=False)
