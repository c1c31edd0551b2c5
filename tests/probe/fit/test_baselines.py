"""The floor under every encoder: plain statistics of log mel bands, plain logistic regression."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torchaudio.compliance.kaldi import fbank

from oscine.models.audio.load import load_audio
from oscine.models.errors import OscineError
from oscine.probe.fit.baselines import SAMPLE_RATE, judge_vectors, log_mel_statistics
from oscine.probe.tasks.task import Part, Task, read_task


def task_of(labels: torch.Tensor, folds: torch.Tensor, classes: int) -> Task:
    parts = [
        Part(f"fold {fold}", (folds != fold).nonzero().flatten(), (folds == fold).nonzero().flatten())
        for fold in folds.unique().tolist()
    ]
    return Task(pd.DataFrame(index=range(len(labels))), [f"class {c}" for c in range(classes)], labels, parts)


def apart(labels: torch.Tensor, distance: float) -> torch.Tensor:
    """Vectors of 16 random numbers, of which one a class is shifted."""
    noise = torch.randn(len(labels), 16, generator=torch.Generator().manual_seed(0))
    return noise + distance * torch.eye(16)[labels]


def test_statistics_are_those_of_kaldis_filter_bank(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for row, (rate, seconds) in enumerate([(32_000, 1.0), (16_000, 0.5), (44_100, 2.0)]):
        soundfile.write(tmp_path / f"{row}.wav", rng.uniform(-0.5, 0.5, int(rate * seconds)), rate)
        lines.append(f"{row}.wav,{'ab'[row % 2]},{row}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    statistics = log_mel_statistics(read_task(tmp_path / "table.csv"), 1.0, batch_size=2)
    assert statistics.shape == (3, 256)
    for row in range(3):
        clip = torch.zeros(SAMPLE_RATE)
        waveform = load_audio(tmp_path / f"{row}.wav", SAMPLE_RATE, seconds=1.0)
        clip[: len(waveform)] = waveform
        bands = fbank(
            clip[None], sample_frequency=SAMPLE_RATE, num_mel_bins=128, window_type="hanning", dither=0.0,
            use_energy=False, htk_compat=True,
        )  # fmt: skip
        expected = torch.cat([bands.mean(0), bands.std(0)])
        torch.testing.assert_close(statistics[row], expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_classes_that_lie_apart_are_told_apart(classes: int) -> None:
    labels, folds = torch.arange(60) % classes, torch.arange(60) // 20
    judgement = judge_vectors(apart(labels, 12.0), task_of(labels, folds, classes))
    assert judgement.parts == ["fold 0", "fold 1", "fold 2"]
    assert judgement.summary("accuracy") == (1.0, 0.0)
    assert judgement.summary("cmap") == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize("classes", [2, 4])
def test_labels_that_say_nothing_of_the_vectors_are_not_learnt(classes: int) -> None:
    labels = torch.randint(classes, (400,), generator=torch.Generator().manual_seed(1))
    judgement = judge_vectors(apart(torch.arange(400) % 4, 12.0), task_of(labels, torch.arange(400) % 2, classes))
    # Chance has a standard deviation of 0.025 over 400 rows.
    assert abs(judgement.summary("accuracy")[0] - 1 / classes) < 0.075


def test_a_class_that_is_missing_where_is_learnt_from_is_never_answered() -> None:
    labels, folds = torch.arange(60) % 2, torch.arange(60) // 30
    labels[:6] = 2  # in the first fold alone
    first, second = judge_vectors(apart(labels, 12.0), task_of(labels, folds, 3)).metrics
    assert first.accuracy == pytest.approx(24 / 30)
    assert (first.classes_without_positives, second.classes_without_positives) == (0, 1)
    assert second.accuracy == 1.0


def test_scale_and_offset_of_a_number_do_not_matter() -> None:
    labels, folds = torch.arange(60) % 3, torch.arange(60) // 30
    vectors, task = apart(labels, 1.0), task_of(labels, folds, 3)
    stretched = vectors.double() * torch.logspace(-3, 3, 16) + torch.arange(16)
    assert judge_vectors(stretched, task).summary("accuracy") == judge_vectors(vectors, task).summary("accuracy")


def test_what_logistic_regression_cannot_take_is_refused() -> None:
    labels, folds = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1])
    with pytest.raises(OscineError, match="all rows to learn from for 'fold 0' have the same label"):
        judge_vectors(apart(labels, 1.0), task_of(labels, folds, 2))
