"""Standardised features have one length, however many numbers they have."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.probe.label.standardise import MEAN_NORM, standardise


def test_features_are_standardised_over_all_clips_to_a_length_that_does_not_depend_on_their_number() -> None:
    generator = np.random.default_rng(0)
    for dim in (3, 300):
        rows = standardise((generator.normal(size=(200, dim)) * [*range(1, dim + 1)] + 5).astype(np.float32))
        assert np.linalg.norm(rows, axis=1).mean() == pytest.approx(MEAN_NORM, rel=1e-4)
        assert np.abs(rows.mean(0)).max() < 1e-3
        assert np.ptp(rows.std(0)) < 1e-3
    assert not standardise(np.ones((5, 3), np.float32)).any(), "what all clips have in common says nothing"
