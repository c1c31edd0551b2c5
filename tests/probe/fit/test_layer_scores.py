"""A layer's score is what its own vectors tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from oscine.models.encoders.base.features import Features
from oscine.models.errors import OscineError
from oscine.probe.fit.baselines import ALL_LAYERS, layer_scores
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.task import Part, Task

ROWS, CLASSES = 300, 3
LABELS = torch.arange(ROWS) % CLASSES


def task(single: bool) -> Task:
    half = torch.arange(ROWS // 2)
    parts = [Part("first", half, half + ROWS // 2), Part("second", half + ROWS // 2, half)]
    targets = LABELS if single else one_hot(LABELS, CLASSES).float()
    return Task(pd.DataFrame(index=range(ROWS)), ["a", "b", "c"], targets, parts)


@pytest.fixture(scope="module")
def features() -> Features:
    """Noise of four layers; the classes lie in the CLS of layer 1 and in every patch of layer 2."""
    draw = torch.Generator().manual_seed(0)
    signal = 3 * torch.eye(8)[LABELS]
    cls, patches = torch.randn(4, ROWS, 8, generator=draw), torch.randn(4, ROWS, 2, 3, 8, generator=draw)
    cls[1] += 2 * signal
    patches[2] += signal[:, None, None]
    return Features(cls, patches, torch.zeros(ROWS, 8))


@pytest.mark.parametrize("single", [True, False])
def test_the_layer_that_knows_the_classes_scores_and_no_other(features: Features, single: bool) -> None:
    scores = layer_scores(features, task(single))
    assert scores["CLS"].shape == scores["mean patch"].shape == (2, 4)
    for name, knowing in {"CLS": 1, "mean patch": 2}.items():
        assert scores[name][:, knowing].min() > 0.95
        assert np.delete(scores[name], knowing, axis=1).max() < 0.6


def test_means_of_patches_give_the_same_scores_as_all_patches(features: Features) -> None:
    ours, theirs = layer_scores(features, task(True)), layer_scores(ALL_LAYERS.take(features), task(True))
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name])


def test_features_that_lack_a_part_are_refused(features: Features) -> None:
    for part in ("cls", "patches"):
        with pytest.raises(OscineError, match="ALL_LAYERS"):
            layer_scores(Needs(None, (part,)).take(features), task(True))
