"""Mixed windows hold what their labels say, in the shares that are meant, and no clip is on both sides."""

from __future__ import annotations

from pathlib import Path

import mixtures as benchmark
import numpy as np
import pandas as pd
import pytest
import soundfile


def test_so_many_windows_are_empty_as_is_meant():
    shares = benchmark.class_shares(8)
    assert np.prod(1 - shares) == pytest.approx(0.53)
    np.testing.assert_allclose(shares[0] / shares, np.arange(1, 9) ** 1.2)


def test_a_stretch_may_begin_before_a_clip_and_end_after_it():
    clip = np.array([1.0, 2, 3])
    np.testing.assert_array_equal(benchmark.padded(clip, -2, 4), [0, 0, 1, 2])
    np.testing.assert_array_equal(benchmark.padded(clip, 1, 4), [2, 3, 0, 0])


def test_windows_hold_what_their_labels_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benchmark, "SPLITS", {"train": (60, (1, 2, 3)), "test": (30, (4, 5))})
    rng, lines = np.random.default_rng(0), ["path,label,fold"]
    for fold in range(1, 6):
        for name, pitch in (("owl", 400), ("rain", 0), ("sea_waves", 0), ("wren", 5000)):
            sound = np.sin(2 * np.pi * pitch * np.arange(96_000) / 32_000) if pitch else rng.normal(size=96_000) / 9
            soundfile.write(tmp_path / f"{name}{fold}.wav", 0.5 * sound, 32_000)
            lines.append(f"{name}{fold}.wav,{name},{fold}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    benchmark.mixtures(tmp_path / "labels.csv", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/labels.csv")
    assert table["split"].value_counts().to_dict() == {"train": 60, "test": 30}
    assert {label for labels in table["labels"] for label in labels.split(";")} == {"owl", "wren", "nocall"}
    tones = []
    for name, labels in zip(table["path"], table["labels"], strict=True):
        sound, rate = soundfile.read(tmp_path / "out" / name)
        assert (len(sound), rate) == (96_000, 32_000)
        power = np.abs(np.fft.rfft(sound)) ** 2  # a third of a Hz a bin
        for label, pitch in (("owl", 400), ("wren", 5000)):
            around = power[3 * pitch - 60 : 3 * pitch + 61]
            tones.append((label in labels.split(";"), around.max() / np.median(around)))
    there, not_there = ([ratio for present, ratio in tones if present is wanted] for wanted in (True, False))
    assert np.median(there) > 100 * np.median(not_there)
