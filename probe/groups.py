"""Clips that belong together - of one recordist, site or recording - are never learnt from and judged on both."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from oscine.models.errors import OscineError

GROUPS = ("path", "recording", "recordist", "site", "group")  # the columns of a labelled table that name them


def check_groups(
    rows: pd.DataFrame, parts: Iterable[tuple[str, Tensor, Tensor, Tensor]], table: object = "the table"
) -> None:
    """An error where a part learns from, or chooses by, a group that it is judged on: its scores would be too good.

    rows: of a labelled table; parts: names, rows that are learnt from, judged on, chosen by. An empty cell belongs to no
    group.
    """
    for part, learnt, judged, chosen in parts:
        train, test = torch.cat([learnt, chosen]).numpy(), judged.numpy()
        for column in rows.columns.intersection(GROUPS):
            names = rows[column].to_numpy(dtype=object)
            leaks = test[np.isin(names[test].astype(str), names[train].astype(str)) & ~pd.isna(names[test])]
            if len(leaks):
                name = names[leaks[0]]
                twin = train[names[train] == name][0]
                others = len(set(names[leaks])) - 1
                raise OscineError(
                    f"{table}: {part} is judged on what it learns from: the {column} {name}"
                    f"{f' and {others} more' if others else ''} (rows {twin + 2} and {leaks[0] + 2}); "
                    f"keep all rows of a {column} on one side"
                )


def join_groups(rows: pd.DataFrame) -> np.ndarray:  # [rows]
    """A number for every row; rows that share any group, be it by way of other rows, share their number."""
    columns = [rows[column] for column in rows.columns.intersection(GROUPS)]
    numbers = pd.Series(range(len(rows)), index=rows.index)
    while True:
        joined = numbers
        for column in columns:
            joined = joined.groupby(column).transform("min").fillna(joined).astype(int)
        if joined.equals(numbers):
            return pd.factorize(joined)[0]
        numbers = joined


def assign_folds(rows: pd.DataFrame, targets: Tensor, folds: int = 5, seed: int = 0) -> Tensor:  # [rows]
    """A fold, 0 to folds - 1, for every row: groups stay whole, and each fold gets its share of every class.

    targets [rows] class numbers or [rows, classes] of 0 and 1. The largest groups choose first, and each goes where what it
    brings is rarest; the seed decides between equals and which fold is which. Error where there are fewer groups than folds.
    """
    groups = join_groups(rows)
    total = groups.max() + 1
    if total < folds:
        raise OscineError(f"{total} groups make no {folds} folds; each needs one at least: ask for fewer folds")
    labels = (one_hot(targets) if targets.ndim == 1 else targets).numpy()
    labels = np.column_stack([labels, np.ones(len(labels))])  # the rows themselves are spread as a class is
    shares = np.zeros((total, labels.shape[1]))
    np.add.at(shares, groups, labels / labels.sum(0).clip(min=1))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(total)
    fold_of_group, filled = np.zeros(total, dtype=int), np.zeros((folds, labels.shape[1]))
    for group in shuffled[np.argsort(-shares[shuffled].sum(1), kind="stable")]:
        fold = (filled @ shares[group]).argmin()  # where the sum of squares, which is least if all is even, grows least
        filled[fold] += shares[group]
        fold_of_group[group] = fold
    return torch.from_numpy(rng.permutation(folds)[fold_of_group[groups]])


def hold_out(
    rows: pd.DataFrame, targets: Tensor, train: Tensor, share: float = 0.2, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Of the rows to learn from, those to fit on and those to choose by: no choice is ever made on test rows.

    train: row numbers, as are both results. Groups stay whole: rows are dealt into folds, of which a share, as a fraction
    with a denominator of 20 at most, is held out.
    """
    held = Fraction(share).limit_denominator(20)
    folds = assign_folds(rows.iloc[train.numpy()], targets[train], held.denominator, seed)
    return train[folds >= held.numerator], train[folds < held.numerator]
