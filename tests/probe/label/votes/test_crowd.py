"""Losses of annotators' votes equal the references, and what is fitted with them learns who is to be trusted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from oscine.models.errors import OscineError
from oscine.probe.label.votes.crowd_maps import (
    CROWD_MAPS,
    AnnotMix,
    CoNAL,
    ConfusionMap,
    CrowdLayer,
    GeoRegF,
    GeoRegW,
    TraceReg,
    UnionNet,
    VoteList,
    soft_loss,
)
from oscine.probe.label.votes.fit_crowd import fit_crowd

CLOSE = {"rtol": 0, "atol": 1e-9}


@pytest.fixture(scope="module")
def given(golden) -> dict[str, torch.Tensor]:
    return {name.removeprefix("loss."): torch.as_tensor(array) for name, array in golden.items()}


@pytest.fixture(scope="module")
def votes(given) -> VoteList:
    return VoteList.of(given["votes"])


def with_rows(kind: type, rows: torch.Tensor):
    made = kind(5, 4, 6).double()
    made.rows.data = rows.clone()
    return made


def test_the_crowd_layer_is_the_reference(given, votes):
    made = CrowdLayer(5, 4, 6).double()
    made.weight.data = given["confusion_logits"].clone()
    loss = made(given["logits"], votes, given["features"])
    torch.testing.assert_close(loss, given["crowd_layer"][0], **CLOSE)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(ConfusionMap, "confusion_only"), (TraceReg, "trace-reg"), (GeoRegW, "geo-reg-w"), (GeoRegF, "geo-reg-f")],
)
def test_confusions_with_what_stands_beside_the_loss_are_the_references(given, votes, kind, name):
    loss = with_rows(kind, given["confusion_logits"])(given["logits"], votes, given["features"])
    torch.testing.assert_close(loss, given[name][0], **CLOSE)


def test_union_net_is_the_reference(given, votes):
    made = UnionNet(5, 4, 6).double()
    made.columns.data = given["confusion_logits"].transpose(1, 2).reshape(20, 4).clone()
    loss = made(given["logits"], votes, given["features"])
    torch.testing.assert_close(loss, given["union_net"][0], **CLOSE)
    start = UnionNet(5, 4, 6).confusion()
    torch.testing.assert_close(start.diagonal(dim1=1, dim2=2), torch.full((5, 4), 1 - 1e-5))


def test_conal_is_the_reference(given, votes):
    made = CoNAL(5, 4, 6).double()
    made.common.data, made.own.data = given["common_logits"].clone(), given["confusion_logits"].clone()
    loss = made.loss(given["logits"], votes, given["conal.rate"][votes.clip, votes.annotator])
    torch.testing.assert_close(loss, given["conal"][0], **CLOSE)
    rate = made.rate(votes, given["features"])
    assert rate.shape == votes.clip.shape
    assert ((rate > 0) & (rate < 1)).all()


def test_annot_mix_is_the_reference_unmixed_and_with_mixed_targets(given, votes):
    made = with_rows(AnnotMix, given["confusion_logits"])
    share, partner = given["annot_mix.lambda"][:, None], given["annot_mix.permutation"]
    torch.testing.assert_close(torch.stack([votes.clip, votes.annotator], 1), given["annot_mix.pairs"])
    own = made.mixed(given["logits"], votes, share=torch.ones_like(share), partner=partner)
    torch.testing.assert_close(own, given["annot_mix.unmixed"][0], **CLOSE)
    targets = torch.nn.functional.one_hot(votes.said, 4).double()
    said = torch.einsum("vc,vck->vk", given["logits"].softmax(1)[votes.clip], made.confusion()[votes.annotator])
    loss = soft_loss(said, torch.lerp(targets[partner], targets, share))
    torch.testing.assert_close(loss, given["annot_mix.mixed_targets_same_outputs"][0], **CLOSE)


def test_a_mixed_pair_is_the_same_from_both_sides(given, votes):
    made = with_rows(AnnotMix, given["confusion_logits"])
    two, swap = VoteList(*(part[[0, 40]] for part in votes)), torch.tensor([1, 0])

    def loss(*share: float) -> torch.Tensor:
        return made.mixed(given["logits"], two, share=torch.tensor(share).double()[:, None], partner=swap)

    # 0.3 of one with 0.7 of the other is one clip, whoever is the partner
    torch.testing.assert_close(loss(0.3, 0.3), (loss(0.3, 0.7) + loss(0.7, 0.3)) / 2)
    assert not torch.isclose(loss(0.3, 0.7), loss(0.7, 0.3))


def test_a_penalty_that_is_not_finite_is_left_out(given, votes):
    same = torch.zeros(5, 4, 4, dtype=torch.float64)  # all rows alike: a determinant of 0
    plain, made = (with_rows(kind, same) for kind in (ConfusionMap, GeoRegW))
    losses = [one(given["logits"], votes, given["features"]) for one in (plain, made)]
    torch.testing.assert_close(losses[1], losses[0])
    losses[1].backward()
    assert made.rows.grad.isfinite().all()


def test_what_maps_start_from_is_as_published():
    trace = TraceReg(2, 3, 4).rows
    assert trace[0, 0].tolist() == [1.0, -5.0, -5.0]
    torch.testing.assert_close(AnnotMix(2, 4, 4).confusion().diagonal(dim1=1, dim2=2), torch.full((2, 4), 0.9))
    assert CrowdLayer(2, 3, 4).weight[1].tolist() == torch.eye(3).tolist()
    assert CoNAL(2, 3, 4).own[1].tolist() == (2 * torch.eye(3)).tolist()


@pytest.mark.parametrize("method", CROWD_MAPS)
def test_a_fit_learns_classes_and_who_is_right(method):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 200)
    features = generator.normal(size=(200, 6)) + 5 * np.eye(6)[truth]
    votes = np.stack([truth, np.where(generator.random(200) < 0.5, truth, generator.integers(0, 3, 200))], axis=1)
    state = torch.random.get_rng_state()
    found = fit_crowd(features, votes, 3, method=method)
    assert torch.equal(state, torch.random.get_rng_state())
    assert (found.posterior.argmax(1) == truth).mean() > 0.95
    np.testing.assert_allclose(found.posterior.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(found.confusion.sum(2), 1, atol=1e-5)
    right = np.einsum("mcc->m", found.confusion)
    if method != "union_net":  # which starts so sure of everybody that these steps hardly move it
        assert right[0] > right[1]
    np.testing.assert_array_equal(found.posterior, fit_crowd(features, votes, 3, method=method).posterior)


def test_what_cannot_be_fitted_is_one_line():
    features, votes = np.zeros((3, 2)), np.array([[0], [1], [2]])
    with pytest.raises(OscineError, match="no crowd method 'madl'; choose from crowd_layer"):
        fit_crowd(features, votes, 3, method="madl")
    with pytest.raises(OscineError, match="geo_reg_f needs more clips than classes, there are 3 and 3"):
        fit_crowd(features, votes, 3, method="geo_reg_f")
    with pytest.raises(OscineError, match="nobody has said anything"):
        fit_crowd(features, votes * 0 - 1, 3, method="crowd_layer")
