"""What votes come to equals the references; the probe's answer helps where it has not learnt the clip."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from oscine.models.errors import OscineError
from oscine.probe.fit.last_map import fit_softmax
from oscine.probe.label.votes.consensus import combine_with_probe, dawid_skene, one_coin
from oscine.probe.label.votes.out_of_fold import OutOfFold
from oscine.probe.label.votes.presence import combine_presence
from oscine.probe.label.votes.shares import find_tied, likelihood_shares, vote_shares

EXACT = {"rtol": 0, "atol": 1e-9}


def test_shares_ties_and_points_are_the_references(golden):
    shares = vote_shares(golden["votes"], 4)
    np.testing.assert_allclose(shares, golden["majority.share"], **EXACT)
    np.testing.assert_array_equal(find_tied(shares), golden["majority.tied"].astype(bool))
    np.testing.assert_array_equal(shares.argmax(1), golden["majority.lowest_index"])
    np.testing.assert_allclose(likelihood_shares(golden["likelihood.raw"]), golden["likelihood.soft"], **EXACT)


def test_clips_without_a_vote_have_equal_shares():
    np.testing.assert_allclose(vote_shares(np.array([[-1, -1], [1, -1]]), 4), [[0.25] * 4, [0, 1, 0, 0]])
    points = np.full((2, 2, 4), -1.0)
    points[1, 0] = 25, 75, 0, 0
    np.testing.assert_allclose(likelihood_shares(points), [[0.25] * 4, [0.25, 0.75, 0, 0]])
    points[1, 1] = 0
    with pytest.raises(OscineError, match="annotator 1 spread no points over the classes of clip 1"):
        likelihood_shares(points)


def test_dawid_skene_is_the_reference_after_a_round_and_where_its_bound_falls(golden):
    for rounds, stored in ((1, "1"), (100, "100")):
        found = dawid_skene(golden["votes"], 4, rounds=rounds, tolerance=0.0)
        for name in ("posterior", "prior", "confusion"):
            np.testing.assert_allclose(getattr(found, name), golden[f"dawid_skene.{name}.iterations{stored}"], **EXACT)
        np.testing.assert_allclose(found.gains, golden[f"dawid_skene.elbo.iterations{stored}"], **EXACT)
    assert len(found.gains) == 47
    assert len(dawid_skene(golden["votes"], 4).gains) < 47  # by default it does not wait for the last bit


def test_dawid_skene_with_smoothed_counts_is_the_reference(golden):
    def smoothed(rounds: int):
        return dawid_skene(golden["votes"], 4, smoothing=0.1, rounds=rounds, tolerance=-np.inf)

    np.testing.assert_allclose(smoothed(10).posterior, golden["dawid_skene_smoothed.posterior"], **EXACT)
    # the file has the confusion that made this posterior, of the posterior one round before
    np.testing.assert_allclose(smoothed(9).confusion, golden["dawid_skene_smoothed.confusion"], **EXACT)


def test_one_coin_is_the_reference(golden):
    found = one_coin(golden["votes"], 4, tolerance=0.0)
    np.testing.assert_allclose(found.posterior, golden["one_coin.posterior"], **EXACT)
    np.testing.assert_allclose(
        np.einsum("mcc->mc", found.confusion), golden["one_coin.skill"][:, None].repeat(4, 1), **EXACT
    )
    np.testing.assert_allclose(found.confusion.sum(2), 1, **EXACT)


def test_dawid_skene_is_refused_where_votes_are_too_few(golden):
    votes = golden["votes"].copy()
    votes[:, 2:] = -1
    with pytest.raises(
        OscineError, match=r"1\.\d* votes a clip on average, Dawid-Skene needs 2: 4 x 4 numbers an annotator"
    ):
        dawid_skene(votes, 4)
    one_coin(votes, 4)


def test_the_probe_as_a_prior_is_the_reference_where_it_answers_for_what_it_learnt(golden):
    rows = np.hstack([np.ones((40, 1)), golden["features"]])
    penalty = np.array([0.0, *[1.0] * 6])  # its reference has none on the intercept

    def refit(targets: np.ndarray) -> np.ndarray:
        return softmax(rows @ fit_softmax(rows, targets, penalty).T, axis=1)

    found = combine_with_probe(golden["votes"], 4, refit, rounds=300)
    for name, stored in (("posterior", "posterior"), ("confusion", "confusion"), ("prior", "probs")):
        np.testing.assert_allclose(getattr(found, name), golden[f"raykar.{stored}"], rtol=0, atol=1e-5)
    weight = fit_softmax(rows, found.posterior, penalty)
    np.testing.assert_allclose(weight, golden["raykar.weight"].T, rtol=0, atol=1e-3)
    assert (found.posterior.argmax(1) == golden["truth"]).mean() == pytest.approx(0.825)


def test_out_of_fold_no_clip_is_answered_for_by_a_probe_that_has_learnt_it():
    generator = np.random.default_rng(0)
    features, folds = generator.normal(size=(40, 6)), np.arange(40) % 4
    targets = generator.dirichlet([1.0] * 3, 40)
    told: list[tuple[int, int]] = []
    answer = OutOfFold(features, folds, progress=lambda done, total: told.append((done, total)))
    before = answer(targets)
    np.testing.assert_allclose(before.sum(1), 1)
    changed = targets.copy()
    changed[folds == 2] = changed[folds == 2][:, ::-1]
    after = answer(changed)
    np.testing.assert_array_equal(after[folds == 2], before[folds == 2])
    assert (np.abs(after - before).max(1)[folds != 2] > 1e-6).all()
    assert told == [(done, 24) for done in range(1, 9)]  # a fit a fold, for the first answer and five more
    with pytest.raises(OscineError, match="all clips are in one fold"):
        OutOfFold(features, np.zeros(40))


def planted(clips: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make features of four classes, their truth, and two votes a clip by people of whom the last two mostly guess."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 4, clips)
    features = generator.normal(size=(clips, 8)) + 2.5 * np.eye(8)[truth]
    votes = np.full((clips, 4), -1)
    for clip, name in enumerate(truth):
        for person in generator.permutation(4)[:2]:
            right = generator.random() < (0.9, 0.9, 0.35, 0.35)[person]
            votes[clip, person] = name if right else generator.integers(0, 4)
    return features, truth, votes


def test_with_two_votes_a_clip_the_probe_out_of_fold_beats_counting_and_dawid_skene():
    features, truth, votes = planted(300, seed=0)
    found = combine_with_probe(votes, 4, OutOfFold(features, np.arange(300) % 5))

    def right(posterior: np.ndarray) -> float:
        return float((posterior.argmax(1) == truth).mean())

    assert right(found.posterior) > right(dawid_skene(votes, 4).posterior) + 0.03
    assert right(found.posterior) > right(vote_shares(votes, 4)) + 0.1
    skill = np.einsum("mcc->m", found.confusion) / 4
    assert skill[:2].min() > 0.8 > 0.6 > skill[2:].max()


def test_presence_is_the_reference(golden):
    found = combine_presence(golden["presence.votes"])
    np.testing.assert_allclose(found.posterior, golden["presence.posterior"], **EXACT)
    rates = np.stack([found.sensitivity, found.specificity], axis=1)
    np.testing.assert_allclose(rates, golden["presence.sensitivity_specificity"], **EXACT)


def test_presence_takes_a_probe_for_a_prior_and_stands_what_nobody_was_asked(golden):
    votes = golden["presence.votes"].copy()
    votes[:10] = -1
    truth = golden["presence.truth"]
    likely = np.where(truth == 1, 0.9, 0.1)
    found = combine_presence(votes, lambda posterior: likely)
    np.testing.assert_allclose(found.posterior[:10], likely[:10])
    alone = combine_presence(votes)
    assert np.isfinite(alone.posterior).all()
    assert ((found.posterior > 0.5) == truth).mean() > ((alone.posterior > 0.5) == truth).mean()
