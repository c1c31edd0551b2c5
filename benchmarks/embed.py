"""Speed of `embed_folder` from compressed files, against the plain way: clip by clip, Kaldi's filter bank of one clip,
explicit attention.

python benchmarks/embed.py --files 8 --seconds 60 --threads 2
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio.compliance.kaldi as kaldi
from jsonargparse import auto_cli
from timm.layers import Attention
from torch import Tensor
from torch.nn.functional import pad

from oscine.models import BirdMAE, Encoder, create_model, embed_folder, load_audio
from oscine.models.audio.workers import default_workers
from oscine.models.embed.clips import ChunkReader, cut_clips, make_layout, split_recording
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.progress import Progress, Watcher
from oscine.models.embed.table import read_embeddings
from oscine.models.encoders.base.precision import BFLOAT16, FLOAT32, survives_bfloat16
from oscine.models.recordings.headers import scan_headers

RATE = 48_000  # of the recordings, which have to be resampled
FBANK = {
    "htk_compat": True, "use_energy": False, "window_type": "hanning", "num_mel_bins": 128, "dither": 0.0,
    "frame_shift": 10,
}  # fmt: skip


def embed(
    files: int = 8,
    seconds: float = 60.0,
    model: str = "bird_mae_base",
    batch_size: int = 16,
    workers: int | None = None,
    threads: int = 2,
    device: str = "cpu",
    plain_clips: int = 16,
) -> None:
    """Print clips per second from files, where the time goes, and the ratio to the plain way, in one run.

    The encoder's device is busy from a batch's frontend to its vectors; reading, writing and waiting are the rest.

    Args:
        files: recordings, half FLAC and half Ogg Vorbis, of noise with whistles.
        seconds: length of each.
        model: an encoder that takes Kaldi's filter bank; its weights are random.
        batch_size: clips that the encoder takes at a time.
        workers: processes that read; by default as `embed_folder` has it.
        threads: that torch may use.
        device: of the encoder.
        plain_clips: that are embedded in the plain way.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    encoder = create_model(model).to(device)
    if not isinstance(encoder, BirdMAE):
        raise SystemExit(f"{model} is no Bird-MAE, whose plain way is known here")
    workers = default_workers(encoder.device) if workers is None else workers
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "recordings")
        folder.mkdir()
        for number in range(files):
            record(folder / f"{number:03d}.{'flac' if number % 2 else 'ogg'}", seconds, number)
        print(f"{model} on {device}, {threads} threads, {files} files of {seconds:g} s, batches of {batch_size}")
        shares(encoder, folder, batch_size)
        plain = plain_speed(encoder, folder, plain_clips)
        print(f"plain way, float32: {plain:.2f} clips/s")
        bfloat16 = device != "cpu" or survives_bfloat16()
        if not bfloat16:
            print("bfloat16: this processor does not survive it")
        tables = {}
        for precision in (FLOAT32, BFLOAT16) if bfloat16 else (FLOAT32,):
            out = Path(name, f"{precision}.parquet")
            vectors = BusyVectors(encoder, precision)
            watch = Watch(vectors)
            rows = embed_folder(vectors, folder, out, batch_size=batch_size, workers=workers, watcher=watch).rows
            took = time.perf_counter() - watch.begin
            print(
                f"embed_folder, {precision}, {workers} workers: {rows / took:.2f} clips/s, "
                f"{rows / took / plain:.2f} x the plain way, {device} busy {vectors.seconds() / took:.0%} of the time"
            )
            tables[precision] = torch.tensor(read_embeddings(out).to_numpy())
        if bfloat16:
            cosine = torch.cosine_similarity(tables[FLOAT32], tables[BFLOAT16])
            print(f"bfloat16 to float32: cosine at least {cosine.min():.5f}, {cosine.mean():.5f} on average")


class BusyVectors(EmbeddingExtractor):
    """Notes when the encoder's device begins and ends with every batch, on a GPU by the GPU's own clock."""

    def __init__(self, encoder: Encoder, precision: str) -> None:
        super().__init__(encoder, precision=precision)
        self.spans: list[tuple[Any, Any]] = []

    def __call__(self, clips: Sequence[Tensor]) -> Tensor:
        begin = self.mark()
        vectors = super().__call__(clips)
        self.spans.append((begin, self.mark()))
        return vectors

    def mark(self) -> Any:
        if self.encoder.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        if self.encoder.device.type != "cuda":
            return sum(end - begin for begin, end in self.spans)
        torch.cuda.synchronize()
        return sum(begin.elapsed_time(end) for begin, end in self.spans) / 1e3


class Watch(Watcher):
    """Starts when the first recording is about to be read, after the trial that `embed_folder` times."""

    def __init__(self, vectors: BusyVectors) -> None:
        self.vectors, self.begin = vectors, 0.0

    def progress(self, progress: Progress) -> None:
        if not self.begin:
            self.vectors.spans, self.begin = [], time.perf_counter()


def record(path: Path, seconds: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * RATE)) / RATE
    sound = 0.02 * rng.standard_normal(len(at)) + 0.2 * np.sin(6e3 * at + 400 * np.sin(5 * at)) * (at % 2 < 0.7)
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for block in np.array_split(sound, max(1, len(sound) // RATE)):  # libsndfile's Vorbis fails on long blocks
            file.write(block)


def shares(encoder: Encoder, folder: Path, batch_size: int) -> None:
    """How much of the work is reading, frontend and encoder, each by itself and one after the other."""
    layout = make_layout(encoder)
    reader = ChunkReader(layout)
    chunks = [chunk for one in scan_headers(folder).recordings for chunk in split_recording(one, layout)]
    begin = time.perf_counter()
    clips = [clip for chunk in chunks for clip in cut_clips(chunk, reader[chunk], layout)[0]]
    reading = (time.perf_counter() - begin) / len(clips)
    whole = [clip for clip in clips if len(clip) == layout.samples]
    batch = torch.stack(whole[:batch_size]).to(encoder.device)
    with torch.inference_mode():
        frontend = fastest(lambda: encoder.frontend(batch), encoder.device) / len(batch)
        both = fastest(lambda: EmbeddingExtractor(encoder)(list(batch)), encoder.device) / len(batch)
    work = {"reading": reading, "frontend": frontend, "encoder": both - frontend}
    said = ", ".join(f"{name} {1e3 * took:.1f} ms ({took / sum(work.values()):.0%})" for name, took in work.items())
    print(f"a clip, in one process: {said}")


def fastest(work: Callable[[], object], device: torch.device, repeats: int = 3) -> float:
    """Seconds of the quickest of several runs, after one that warms up."""
    seconds = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:])


@torch.inference_mode()
def plain_speed(encoder: BirdMAE, folder: Path, count: int) -> float:
    """Clips per second of the plain way, from the same files; checked against the encoder's own answer."""
    attentions = [module for module in encoder.modules() if isinstance(module, Attention)]
    paths = sorted(folder.iterdir())
    clips = [(path, start) for path in paths for start in range(0, round(soundfile.info(path).duration), 5)][:count]
    ours = encoder(load_audio(paths[0], encoder.sample_rate, 0.0, encoder.seconds)[None].to(encoder.device)).pooled
    for attention in attentions:
        attention.fused_attn = False
    try:
        error = (plain(encoder, paths[0], 0.0) - ours).abs().max().item()
        if error > 1e-3:
            raise SystemExit(f"the plain way gives something else: it differs by {error}")
        begin = time.perf_counter()
        for path, start in clips:
            plain(encoder, path, float(start)).cpu()
        return len(clips) / (time.perf_counter() - begin)
    finally:
        for attention in attentions:
            attention.fused_attn = True


def plain(encoder: BirdMAE, path: Path, start: float) -> Tensor:  # [1, dim]
    waveform = load_audio(path, encoder.sample_rate, start, encoder.seconds)
    waveform = pad(waveform, (0, encoder.samples - len(waveform)))[None]
    fbank = kaldi.fbank(waveform - waveform.mean(), sample_frequency=encoder.sample_rate, **FBANK)
    missing = encoder.grid[0] * 16 - len(fbank)
    spectrogram = pad(fbank, (0, 0, 0, missing), value=fbank.min().item())
    spectrogram = (spectrogram - encoder.frontend.mean) / (2 * encoder.frontend.std)
    [last] = encoder.encode(spectrogram[None].to(encoder.device), layers=[-1])
    return encoder.pool(last)


if __name__ == "__main__":
    auto_cli(embed, as_positional=False)
