"""BAIT takes what the reference takes in all its forms and weightings; its shortcuts equal matrices written out."""

from __future__ import annotations

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label import State, choose
from oscine.probe.label.fisher import Factors, binary, exact
from oscine.probe.label.strategies import bait
from oscine.probe.label.strategies.bait import Batch, batches

EXACT = {"rtol": 0, "atol": 1e-9}
ONE = {
    "full": {"form": "exact"},
    "top1": {"form": "top", "top": 1},
    "top2": {"form": "top", "top": 2},
    "top3": {"form": "top", "top": 3},
    "binary": {},
}
SEVERAL = {"blocks": {"form": "blocks"}, "pooled": {}}


@pytest.mark.parametrize("weighting", ["mean", "sum"])
@pytest.mark.parametrize(
    ("kind", "form"), [*(("one_label", f) for f in ONE), *(("several_labels", f) for f in SEVERAL)]
)
def test_picks_and_first_gains_are_those_of_the_reference(kind, form, weighting, query, multilabel, request, generator):
    state, golden = request.getfixturevalue(kind), query if kind == "one_label" else multilabel
    options = (ONE | SEVERAL)[form]
    chosen = choose("bait", state, 6, generator, weighting=weighting, **options)
    assert chosen.tolist() == golden[f"bait.{form}.{weighting}.picks"].tolist()
    assert chosen.tolist() != query["bait.binary.toolbox_default.picks"].tolist()
    form_name = options.get("form", "binary" if kind == "one_label" else "pooled")
    gains = sum(
        batch.gains(1)
        for batch in batches(state, 6, form_name, weighting=weighting, top=options.get("top", 2), ridge=1.0)
    )
    np.testing.assert_allclose(gains, golden[f"bait.{form}.{weighting}.first_gains"], **EXACT)


def test_fisher_matrices_and_factors_are_those_of_the_reference(query, one_label):
    labelled, candidates = one_label.labelled, one_label.candidates
    p, rows = one_label.need("probabilities"), one_label.features
    every = Factors(binary(p), rows)
    known, all_clips = every.of(labelled).information(), every.information()
    for weighting in ("mean", "sum"):
        counts = (len(labelled), len(rows)) if weighting == "mean" else (1, 1)
        np.testing.assert_allclose(known / counts[0], query[f"bait.binary.{weighting}.fisher_labelled"], **EXACT)
        np.testing.assert_allclose(all_clips / counts[1], query[f"bait.binary.{weighting}.fisher_all"], **EXACT)
    first = candidates[0]
    written_out = (exact(p[[first]])[0][:, :, None] * rows[first]).reshape(4, 32)
    np.testing.assert_allclose(written_out, query["bait.full.representation_of_first_pool_clip"], **EXACT)


def test_the_objective_before_anything_is_chosen_is_that_of_the_reference(query, one_label):
    (batch,) = batches(one_label, 6, "exact", weighting="mean", top=2, ridge=1.0)
    assert np.trace(batch.inverse @ batch.fisher) == pytest.approx(
        query["bait.full.mean.objective_before"].item(), abs=1e-9
    )


@pytest.mark.parametrize("form", ["binary", "top", "exact"])
def test_after_taking_and_dropping_all_numbers_are_those_computed_anew(form, one_label):
    """Taking 3, 5, 8 and dropping 5 leaves M with 3 and 8 alone."""
    (batch,) = batches(one_label, 6, form, weighting="sum", top=2, ridge=1.0)
    (again,) = batches(one_label, 6, form, weighting="sum", top=2, ridge=1.0)
    for clip, sign in ((3, 1), (5, 1), (8, 1), (5, -1)):
        batch.change(clip, sign)
    more = again.factors.of(np.array([3, 8])).information()
    inverse = np.linalg.inv(np.linalg.inv(again.inverse) + more)
    np.testing.assert_allclose(batch.inverse, inverse, **EXACT)
    np.testing.assert_allclose(batch.inner, again.factors.inside(inverse), **EXACT)
    np.testing.assert_allclose(batch.outer, again.factors.inside(inverse @ again.fisher @ inverse), **EXACT)


@pytest.mark.parametrize("form", ["binary", "top", "exact"])
def test_a_gain_is_what_the_objective_loses(form, one_label):
    (batch,) = batches(one_label, 6, form, weighting="mean", top=2, ridge=1.0)
    for sign in (1, -1):  # taken, then dropped again
        before, expected = np.trace(batch.inverse @ batch.fisher), batch.gains(sign)[7]
        batch.change(7, sign)
        assert before - np.trace(batch.inverse @ batch.fisher) == pytest.approx(sign * expected, abs=1e-9)


def test_what_does_not_fit_names_what_does(generator):
    wide = State(np.ones((3, 2001)), np.full((3, 2), 0.5), [0], [0], [1, 2])
    with pytest.raises(
        OscineError, match=r"^bait's form exact needs 2 classes x 2001 features, 4000 at most; form='binary'"
    ):
        choose("bait", wide, 1, generator, form="exact")
    full = State(np.ones((1700, 2)), np.full((1700, 100), 0.01), [0], [0], np.arange(1, 1700))
    with pytest.raises(
        OscineError,
        match=r"^bait's form top needs 100 x 100 numbers of each of 1700 clips, .*; form='binary' needs one",
    ):
        choose("bait", full, 1, generator, form="top")
    assert len(choose("bait", full, 2, generator)) == 2
    many = State(np.ones((3, 2000)), np.full((3, 9), 0.5), [0], [[0] * 9], [1, 2], several=True)
    with pytest.raises(
        OscineError, match=r"^bait's form blocks needs 9 matrices of 2000 x 2000, .* form='pooled' needs one"
    ):
        choose("bait", many, 1, generator, form="blocks")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "pooled"}, "form of bait is 'pooled', expected one of binary, top, exact"),
        ({"weighting": "max"}, "weighting of bait is 'max', expected one of mean, sum, plain"),
        ({"form": "top", "top": 0}, "top of bait is 0 and ridge 1, expected 1 or more and above 0"),
        ({"ridge": 0}, "top of bait is 2 and ridge 0, expected"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, said, one_label, generator):
    with pytest.raises(OscineError, match=f"^{said}"):
        choose("bait", one_label, 3, generator, **options)


def test_the_plain_weighting_is_the_papers_objective(one_label, generator):
    """Of one clip: the one that makes tr(M^-1 F) least, with nothing but lambda, labelled clips and itself in M."""
    p, rows = one_label.need("probabilities"), one_label.features
    clips = np.concatenate([one_label.labelled, one_label.candidates])
    information = [Factors(binary(p[[clip]]), rows[[clip]]).information() for clip in range(60)]
    fisher = sum(information[clip] for clip in clips)
    known = np.eye(8) + sum(information[clip] for clip in one_label.labelled)
    objective = [np.trace(np.linalg.inv(known + information[clip]) @ fisher) for clip in one_label.candidates]
    batch = bait.batches(one_label, 1, "binary", weighting="plain", top=2, ridge=1.0)[0]
    assert isinstance(batch, Batch)
    best = one_label.candidates[np.argmin(objective)]
    assert one_label.candidates[np.argmax(batch.gains(1))] == best
