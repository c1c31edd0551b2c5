"""Groups stay on one side of every fold, and a table in which one does not is found out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from oscine.models.errors import OscineError
from oscine.probe.tasks.groups import assign_folds, check_groups, describe_groups, hold_out, join_groups
from oscine.probe.tasks.task import Part, split_rows


def drawn(rows: int = 300) -> tuple[pd.DataFrame, torch.Tensor]:
    """Clips of 60 recordings of 20 recordists, each of whom knows two of four classes."""
    rng = np.random.default_rng(0)
    recording = rng.integers(60, size=rows)
    table = pd.DataFrame(
        {"path": [f"{row}.wav" for row in range(rows)], "recording": recording, "recordist": recording % 20}
    )
    return table, torch.from_numpy((recording % 20 + rng.integers(2, size=rows)) % 4)


def leaky(recordists: list[object], **more: list[object]) -> pd.DataFrame:
    return pd.DataFrame({"path": list("abcdef"), "recordist": recordists, **more})


HALVES = [Part("fold 1", torch.arange(3), torch.arange(3, 6)), Part("fold 2", torch.arange(3, 6), torch.arange(3))]


def test_a_planted_leak_is_caught_in_one_clear_line() -> None:
    rows = leaky(["ann", "bo", "cy", "dee", "eve", "bo"])
    with pytest.raises(OscineError) as caught:
        check_groups(rows, HALVES, "table.csv")
    assert str(caught.value) == (
        "table.csv: fold 1 is judged on what it learns from: the recordist bo (rows 3 and 7); "
        "keep all rows of a recordist on one side"
    )
    check_groups(rows.assign(recordist=["ann", "bo", "cy", "dee", "eve", "fay"]), HALVES)


def test_stretches_of_one_recording_may_not_straddle_either() -> None:
    with pytest.raises(OscineError, match=r"the path a \(rows 2 and 6\)"):
        check_groups(leaky([1, 2, 3, 4, 5, 6]).assign(path=list("abcdaf")), HALVES)


def test_what_is_chosen_by_may_not_be_judged_on_either() -> None:
    part = Part("test", torch.arange(2), torch.arange(4, 6), valid=torch.arange(2, 4))
    with pytest.raises(OscineError, match=r"test is judged on what it learns from: the recordist cy \(rows 4 and 6\)"):
        check_groups(leaky(["ann", "bo", "cy", "dee", "cy", "eve"]), [part])


def test_leaks_are_counted_by_group() -> None:
    with pytest.raises(OscineError, match=r"the site 1 and 2 more \(rows 2 and 5\)"):
        check_groups(leaky([1, 2, 3, 4, 5, 6], site=[1, 2, 3, 1, 2, 3]), HALVES)


def test_unknown_recordists_are_nobody() -> None:
    check_groups(leaky(["ann", None, np.nan, None, np.nan, "bo"]), HALVES)
    check_groups(leaky(["ann", None, np.nan, "None", "nan", "bo"]), HALVES)


@pytest.mark.parametrize("index", [range(6), list("uvwxyz"), [0] * 6])
def test_a_number_and_its_text_are_one_group(index: list[object]) -> None:
    rows = leaky([1, "bo", None, "1", None, "cy"]).set_axis(index)
    with pytest.raises(OscineError, match=r"the recordist 1 \(rows 2 and 5\)"):
        check_groups(rows, HALVES)
    assert join_groups(rows.reset_index(drop=True)).tolist() == [0, 1, 2, 0, 3, 4]


def test_rows_that_share_any_group_are_joined_through_others() -> None:
    rows = pd.DataFrame(
        {
            "path": list("abcdefa"),
            "recordist": ["ann", "ann", "bo", "cy", None, None, "dee"],
            "site": ["north", "south", "south", "west", None, None, "east"],
        }
    )
    assert join_groups(rows).tolist() == [0, 0, 0, 1, 2, 3, 0]


@pytest.mark.parametrize("multi_label", [False, True])
def test_folds_keep_groups_whole_and_classes_even(multi_label: bool) -> None:
    rows, targets = drawn()
    folds = assign_folds(rows, one_hot(targets) if multi_label else targets)
    parts = split_rows(rows.assign(fold=folds), "table")
    assert len(parts) == 5
    check_groups(rows, parts)
    assert rows.groupby("recordist")["path"].count().max() > 1
    for part in parts:
        assert len(part.test) == pytest.approx(60, abs=12)
        counts, expected = targets[part.test].bincount(minlength=4), targets.bincount() / 5
        assert ((counts - expected).abs() < 0.5 * expected).all()


def test_the_seed_decides_the_folds() -> None:
    rows, targets = drawn()
    assert np.array_equal(assign_folds(rows, targets, seed=1), assign_folds(rows, targets, seed=1))
    assert not np.array_equal(assign_folds(rows, targets, seed=1), assign_folds(rows, targets, seed=2))


def test_every_fold_has_a_group_even_if_one_is_huge() -> None:
    rows = pd.DataFrame({"path": list("abcdefgh"), "recordist": ["ann"] * 5 + ["bo", "cy", "dee"]})
    assert set(assign_folds(rows, torch.arange(8) % 2, folds=4).tolist()) == {0, 1, 2, 3}


def test_what_is_held_out_is_a_part_of_the_train_rows_and_shares_no_group() -> None:
    rows, targets = drawn()
    train = torch.arange(200)
    fit, validation = hold_out(rows, targets, train)
    assert sorted([*fit.tolist(), *validation.tolist()]) == train.tolist()
    assert len(validation) == pytest.approx(40, abs=15)
    check_groups(rows, [Part("validation", torch.from_numpy(fit), torch.from_numpy(validation))])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4, 0.5])
def test_as_much_is_held_out_as_was_asked_for(share: float) -> None:
    rows, targets = drawn()
    rows["recordist"] = rows["recording"] = range(len(rows))
    _, validation = hold_out(rows, targets, torch.arange(200), share=share)
    assert len(validation) == pytest.approx(200 * share, abs=4)


def test_fewer_groups_than_folds_get_a_clear_line() -> None:
    rows = pd.DataFrame({"path": list("abcd"), "recordist": ["ann", "ann", "bo", "bo"]})
    with pytest.raises(
        OscineError,
        match=r"2 recordists \(ann, bo\) make no 3 folds, each of which needs one at least: --folds 2 at most",
    ):
        assign_folds(rows, torch.arange(4) % 2, folds=3)


def test_groups_are_counted_in_the_words_of_their_column() -> None:
    rows = pd.DataFrame({"path": list("abcdee")})
    assert describe_groups(rows.iloc[:4]) == "4 clips"
    assert describe_groups(rows.iloc[:1]) == "1 clip"
    assert describe_groups(rows) == "5 recordings"
    assert describe_groups(rows.assign(site=list("nnsswW"))[:4]) == "2 sites (n, s)"
    assert describe_groups(rows.assign(site=1, recordist=2)) == "1 site (1)"
    assert describe_groups(rows.assign(group=list("wxyzuu"), nest=list("wxyzuu"))) == "5 nests"
    assert describe_groups(rows.assign(group=[1, 1, 2, 3, 4, 4])) == "4 groups"
    both = rows.assign(site=[1, 1, 2, 3, 4, 4], recordist=[1, 2, 2, 3, 4, 4])
    assert describe_groups(both) == "3 groups, joined by recordist and site"


def dense_folds(rows: pd.DataFrame, targets: torch.Tensor, folds: int, seed: int) -> np.ndarray:
    """`assign_folds` with a dense matrix of all groups and classes."""
    groups, labels = join_groups(rows), one_hot(targets).numpy() if targets.ndim == 1 else targets.numpy()
    labels = np.column_stack([labels, np.ones(len(labels))])
    total = int(groups.max()) + 1
    shares = np.zeros((total, labels.shape[1]))
    np.add.at(shares, groups, labels / labels.sum(0).clip(min=1))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(total)
    fold_of_group, filled = np.zeros(total, dtype=int), np.zeros((folds, labels.shape[1]))
    for group in shuffled[np.argsort(-shares[shuffled].sum(1), kind="stable")]:
        fold = (filled @ shares[group]).argmin()
        filled[fold] += shares[group]
        fold_of_group[group] = fold
    return rng.permutation(folds)[fold_of_group[groups]]


@pytest.mark.parametrize("seed", range(8))
def test_folds_are_those_of_a_dense_matrix_to_the_last_clip(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, classes = int(rng.integers(50, 3000)), int(rng.integers(2, 90))
    sites = rng.integers(rng.integers(8, rows), size=rows)
    table = pd.DataFrame({"path": [f"{row}.wav" for row in range(rows)], "site": sites})
    labels = torch.from_numpy(rng.zipf(1.5, rows) % classes)
    assert assign_folds(table, labels, 5, seed).tolist() == dense_folds(table, labels, 5, seed).tolist()
    several = torch.from_numpy((rng.random((rows, classes)) < 0.1).astype(np.uint8))
    assert assign_folds(table, several, 5, seed).tolist() == dense_folds(table, several, 5, seed).tolist()
