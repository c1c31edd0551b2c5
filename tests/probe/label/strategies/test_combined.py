"""Half and half is what it says; ADU's scores and picks are those of the reference."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.probe.label import State, choose
from oscine.probe.label.strategies.combined import adu_scores


def test_adus_scores_and_picks_are_those_of_the_reference(multilabel, several_labels, generator):
    np.testing.assert_allclose(adu_scores(several_labels), multilabel["adu.score"], rtol=0, atol=1e-9)
    chosen = choose("adu_mmr", several_labels, 6, generator, share=0.3)
    assert chosen.tolist() == multilabel["adu.picks_at_share_0.3"].tolist()


def test_adu_weighs_entropy_once_the_probe_is_sure():
    """Of a clip far away and one in doubt, the sure probe's score knows both."""
    p = np.full((12, 2), 1e-6)
    p[1] = 0.5
    far = np.zeros((12, 2))
    far[2] = 3
    state = State(far, p, [0], [[1, 0]], range(1, 12), several=True)
    scores = adu_scores(state)
    mean = np.log(2) / 11  # of binary entropies, the others being nearly 0
    assert mean > 0.05
    assert scores[:2] == pytest.approx([0, 1])
    sure = State(far[:, :1].repeat(2, 1), np.where(p == 0.5, 0.001, p), [0], [[1, 0]], range(1, 12), several=True)
    assert adu_scores(sure)[:2] == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("k", [1, 5, 6])
def test_half_is_coresets_choice_and_half_entropys_of_what_is_left(k, several_labels, generator):
    chosen = choose("half_coreset_half_entropy", several_labels, k, generator)
    far = choose("coreset", several_labels, k - k // 2, generator)
    assert chosen[: len(far)].tolist() == far.tolist()
    unsure = [clip for clip in choose("entropy", several_labels, 45, generator) if clip not in far]
    assert chosen[len(far) :].tolist() == unsure[: k // 2]
