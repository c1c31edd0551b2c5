"""What embedding a folder will cost is told beforehand, by a trial of the very work that is to be done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from oscine.models.embed import clips, extractor
from oscine.models.embed import estimate as forecast
from oscine.models.embed.embed import embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.progress import Forecast, Watcher
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT

READ = 0.5  # seconds that a recording takes to be read here


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return BAT(dim=24, depth=1, heads=2, seconds=0.5).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four recordings of two clips."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / f"in/{number}.wav", np.full(16_000, 0.1), 16_000)
    return tmp_path / "in"


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still but for what is spent, and readers who spend."""
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds

    decode = clips.decode
    monkeypatch.setattr(clips, "decode", lambda *asked: [spend(READ), decode(*asked)][1])
    monkeypatch.setattr(forecast, "perf_counter", lambda: now[0])
    return spend


class Told(Watcher):
    said: Forecast

    def forecast(self, forecast: Forecast) -> None:
        self.said = forecast


def seconds(what: Encoder | EmbeddingExtractor, folder: Path, **how: Any) -> float:
    embed_folder(what, folder, folder.parent / "out.parquet", overwrite=True, watcher=(told := Told()), **how)
    return told.said.seconds


@pytest.mark.parametrize(
    ("encoding", "workers", "expected"),
    [
        (0.1, 0, 8 * (READ / 2 + 0.1)),
        (0.1, 1, 8 * READ / 2),  # one process reads and is the slower one
        (0.1, 2, 8 * READ / 4),
        (0.4, 2, 8 * 0.4),
    ],
)
def test_seconds_are_of_reading_and_encoding_whatever_is_the_slower(
    encoder: Encoder,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    spend: Callable[[float], None],
    encoding: float,
    workers: int,
    expected: float,
) -> None:
    features = encoder.features
    monkeypatch.setattr(
        encoder, "features", lambda seen, layers: [spend(encoding * len(seen)), features(seen, layers)][1]
    )
    assert seconds(encoder, folder, workers=workers) == pytest.approx(expected)


def test_what_compiling_takes_is_not_still_to_come_and_a_compiled_batch_is_a_whole_one(
    encoder: Encoder, folder: Path, monkeypatch: pytest.MonkeyPatch, spend: Callable[[float], None]
) -> None:
    compiling = iter([100.0])

    def compiled(seen: Tensor) -> Tensor:
        spend(next(compiling, 0.0) + 0.8)
        return encoder.features(seen, [-1]).pooled[:, None]

    monkeypatch.setattr(extractor, "_compiled", lambda _: compiled)
    assert seconds(EmbeddingExtractor(encoder, compiled=True), folder, batch_size=8, workers=0) == pytest.approx(
        4 * READ + 0.8
    )


def test_recordings_of_which_nothing_can_be_read_cost_nothing(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/nan.wav", np.full(8_000, np.nan, dtype=np.float32), 16_000, subtype="FLOAT")
    assert seconds(encoder, tmp_path / "in", workers=0) < 5
