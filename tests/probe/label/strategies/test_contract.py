"""What every strategy must pass, whatever it chooses by."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from oscine.probe.label import State, choose, list_strategies
from oscine.probe.label.strategies.registry import OURS

OPTIONS: dict[str, dict[str, Any]] = {"goal": {"classes": [0]}, "probcover": {"classes": 3}}
NAMES = sorted(OURS)
FIXED = [name for name in NAMES if not OURS[name].draws]
KINDS = pytest.mark.parametrize("several", [False, True], ids=["one label", "several labels"])
EVERY = pytest.mark.parametrize("name", NAMES)


def made(
    several: bool = False, *, clips: int = 40, dim: int = 6, classes: int = 3, labelled: int = 8, seed: int = 0
) -> State:
    """A state of noise with all fields; a third of the clips is neither labelled nor a candidate."""
    rng = np.random.default_rng(seed)
    features, weight, bias = rng.normal(size=(clips, dim)), rng.normal(size=(classes, dim)), rng.normal(size=classes)
    logits = features @ weight.T + bias
    order = rng.permutation(clips)
    return State(
        features=features,
        probabilities=p_of(logits, several),
        labelled=order[:labelled],
        labels=rng.integers(2, size=(labelled, classes)) if several else rng.integers(classes, size=labelled),
        candidates=order[labelled:] if clips < 9 else order[labelled : 2 * clips // 3],
        several=several,
        weight=weight,
        bias=bias,
        samples=logits[:, None] + rng.normal(size=(clips, 7, classes)),
    )


def p_of(logits: np.ndarray, several: bool) -> np.ndarray:
    if several:
        return 1 / (1 + np.exp(-logits))
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def chosen_by(name: str, state: State, k: int, seed: int = 0) -> list[int]:
    chosen = choose(name, state, k, np.random.default_rng(seed), **OPTIONS.get(name, {}))
    assert chosen.dtype == np.int64
    assert len({*chosen.tolist()}) == len(chosen) == min(k, len(state.candidates))
    assert {*chosen.tolist()} <= {*state.candidates.tolist()}
    return [int(clip) for clip in chosen]


def test_all_of_them_are_listed_and_no_others() -> None:
    assert {*list_strategies()} == {*OURS} - {"lci"}


@KINDS
@EVERY
@pytest.mark.parametrize("k", [1, 2, 7, 18, 1000])
def test_k_different_candidates_are_chosen_and_all_where_there_are_fewer(name: str, several: bool, k: int) -> None:
    state = made(several)
    before = {field: np.copy(value) for field, value in vars(state).items()}
    chosen_by(name, state, k)
    for field, value in before.items():
        np.testing.assert_array_equal(getattr(state, field), value)


@KINDS
@EVERY
def test_the_same_seed_chooses_the_same(name: str, several: bool) -> None:
    state = made(several)
    assert chosen_by(name, state, 7, seed=3) == chosen_by(name, state, 7, seed=3)


@KINDS
@pytest.mark.parametrize("name", FIXED)
def test_without_draws_the_generator_changes_nothing(name: str, several: bool) -> None:
    assert chosen_by(name, made(several), 7, seed=3) == chosen_by(name, made(several), 7, seed=4)


@KINDS
@pytest.mark.parametrize("name", [name for name in FIXED if name != "lci"])  # which counts labels, so that clips tie
def test_clips_that_are_numbered_otherwise_are_chosen_all_the_same(name: str, several: bool) -> None:
    state = made(several)
    new = np.random.default_rng(1).permutation(len(state.features))  # of each clip
    old = np.argsort(new)
    moved = State(
        features=state.features[old],
        probabilities=state.need("probabilities")[old],
        labelled=new[state.labelled],
        labels=state.labels,
        candidates=new[state.candidates],
        several=several,
        weight=state.weight,
        bias=state.bias,
        samples=state.need("samples")[old],
    )
    assert chosen_by(name, moved, 7) == new[chosen_by(name, state, 7)].tolist()


@KINDS
@EVERY
def test_a_single_candidate_is_chosen(name: str, several: bool) -> None:
    state = made(several)
    assert chosen_by(name, state.among(state.candidates[4:5]), 3) == [state.candidates[4]]
    assert chosen_by(name, made(several, clips=1, labelled=0), 1) == [0]
    assert chosen_by(name, made(several, clips=2, labelled=1), 1)


@KINDS
@EVERY
def test_of_no_candidates_none_is_chosen(name: str, several: bool) -> None:
    assert chosen_by(name, made(several, clips=8, labelled=8), 3) == []


@KINDS
@EVERY
def test_two_classes_are_enough(name: str, several: bool) -> None:
    chosen_by(name, made(several, classes=2), 7)


@EVERY
def test_with_several_labels_one_class_is_enough(name: str) -> None:
    chosen_by(name, made(True, classes=1), 7)


@KINDS
@EVERY
@pytest.mark.parametrize("probe", [False, True])
def test_nothing_need_be_labelled(name: str, several: bool, probe: bool) -> None:
    state = made(several, labelled=0)
    if not probe:
        state = replace(state, probabilities=None, weight=None, bias=None, samples=None)
    chosen = chosen_by(name, state, 7)
    if OURS[name].judges or (OURS[name].reads and not probe):
        assert chosen == chosen_by("typiclust", state, 7)


@KINDS
@EVERY
def test_one_class_may_be_all_that_was_seen(name: str, several: bool) -> None:
    state = made(several)
    labels = np.tile([0, 1, 0], (8, 1)) if several else np.ones(8)
    chosen_by(name, replace(state, labels=labels), 7)
    chosen_by(name, replace(state, labels=np.zeros_like(labels)), 7)


@EVERY
def test_labels_may_be_unknown(name: str) -> None:
    state = made(True)
    labels = state.labels.copy()
    labels[2] = np.nan
    labels[:, 1] = np.nan
    chosen_by(name, replace(state, labels=labels), 7)


@KINDS
@EVERY
def test_equal_clips_are_chosen_once_each(name: str, several: bool) -> None:
    state = made(several)
    same = replace(
        state,
        features=np.tile(state.features[:1], (40, 1)),
        probabilities=np.tile(state.need("probabilities")[:1], (40, 1)),
        samples=np.tile(state.need("samples")[:1], (40, 1, 1)),
    )
    chosen = chosen_by(name, same, 7)
    if not OURS[name].draws:
        assert chosen == state.candidates[:7].tolist()  # they tie, and the lowest numbers come first
    zero = replace(same, features=np.zeros((40, 6)))
    chosen_by(name, zero, 18)


@KINDS
@EVERY
def test_copies_are_chosen_once_each(name: str, several: bool) -> None:
    state = made(several)
    pairs = np.repeat(np.arange(20), 2)
    copies = replace(
        state,
        features=state.features[pairs],
        probabilities=state.need("probabilities")[pairs],
        samples=state.need("samples")[pairs],
    )
    chosen_by(name, copies, 7)
    chosen_by(name, copies, 18)


@KINDS
@EVERY
def test_a_probe_may_be_quite_sure(name: str, several: bool) -> None:
    state = made(several)
    p = state.need("probabilities")
    chosen_by(name, replace(state, probabilities=p.round() if several else np.eye(3)[p.argmax(1)]), 7)
    certain = np.zeros((40, 3))
    certain[:, 1] = 1
    chosen_by(name, replace(state, probabilities=certain), 7)


@KINDS
@pytest.mark.parametrize("name", FIXED)
def test_float32_chooses_the_same(name: str, several: bool) -> None:
    state = made(several)
    halves = {
        field: getattr(state, field).astype(np.float32)
        for field in ("features", "probabilities", "weight", "bias", "samples")
    }
    assert chosen_by(name, replace(state, **halves), 7) == chosen_by(name, state, 7)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_that_is_no_number_of_clips_is_refused(k: Any) -> None:
    with pytest.raises(ValueError, match=f"^k is {k}, expected the number of clips to choose, 1 or more$"):
        choose("random", made(), k, np.random.default_rng(0))


@EVERY
def test_a_field_that_a_strategy_needs_is_named(name: str) -> None:
    for field in OURS[name].reads:
        with pytest.raises(ValueError, match=rf"^the state has no {field}, which this strategy needs"):
            chosen_by(name, replace(made(), **{field: None}), 3)


@EVERY
def test_a_setting_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} has no setting wieght; "):
        choose(name, made(), 3, np.random.default_rng(0), wieght=1)
