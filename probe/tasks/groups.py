"""Keep clips together that belong together, of one recordist, site or recording: learnt from or judged on, never both.

Row numbers and targets may be arrays or tensors; what comes back are arrays, so that a table can be refused without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from oscine.models.errors import OscineError

GROUPS = ("path", "recording", "recordist", "site", "group")  # the columns of a labelled table that name them
NAMED, LETTERS = 3, 20  # so many groups, with names so short, are named where they are counted
SHARES = {2: "0.5", 3: "0.34", 4: "0.25", 5: "0.2", 10: "0.1", 20: "0.05"}  # what so many groups can set aside

AT_ONCE = 1000  # groups whose classes are summed at once

Rows = Any  # row numbers or targets: an array, or a tensor


def check_groups(
    rows: pd.DataFrame, parts: Iterable[tuple[str, Rows, Rows, Rows]], table: object = "the table"
) -> None:
    """Raise where a part learns from, or chooses by, a group that it is judged on: its scores would be too good.

    rows: of a labelled table; parts: names, rows that are learnt from, judged on, chosen by. An empty cell belongs to no
    group.
    """
    for part, learnt, judged, chosen in parts:
        train, test = np.concatenate([np.asarray(learnt), np.asarray(chosen)]), np.asarray(judged)
        for column in rows.columns.intersection(GROUPS):
            names = _names(rows[column]).reset_index(drop=True)
            known, asked = names[train].dropna(), names[test].dropna()
            leaks = asked[asked.isin(known)]
            if len(leaks):
                name, row = leaks.iloc[0], leaks.index[0]
                twin = known.index[known == name][0]
                others = leaks.nunique() - 1
                raise OscineError(
                    f"{table}: {part} is judged on what it learns from: the {column} {name}"
                    f"{f' and {others} more' if others else ''} (rows {twin + 2} and {row + 2}); "
                    f"keep all rows of a {column} on one side"
                )


def _names(column: pd.Series) -> pd.Series:
    """Turn names into texts, missing where a cell is empty: 1 and "1" are one name, None and "None" are not."""
    return column.astype(str).astype(object).where(column.notna())


def join_groups(rows: pd.DataFrame) -> np.ndarray:  # [rows]
    """Number the rows; those that share any group, be it by way of other rows, share their number."""
    columns = [_names(rows[column]) for column in rows.columns.intersection(GROUPS)]
    numbers = pd.Series(range(len(rows)), index=rows.index)
    while True:
        joined = numbers
        for column in columns:
            joined = joined.groupby(column).transform("min").fillna(joined).astype(int)
        if joined.equals(numbers):
            return pd.factorize(joined)[0]
        numbers = joined


def describe_groups(rows: pd.DataFrame) -> str:
    """Count the groups of rows, in the words of the column that makes them: "2 sites (A, B)"; else "40 clips"."""
    groups = join_groups(rows)
    total = int(groups.max()) + 1 if len(groups) else 0
    many = "s" * (total != 1)
    if total == len(rows):
        return f"{total} clip{many}"
    for column in [name for name in reversed(GROUPS) if name in rows]:
        names = rows[column]
        if names.notna().all() and names.nunique() == total:
            if column == "path":
                return f"{total} recording{many}"
            if column == "group":  # what was meant by --group, by its own name
                column = next((one for one in rows.columns.drop("group") if rows[one].equals(names)), column)
                if column == "group":
                    break
            shown = [str(name) for name in names.unique()]
            short = total <= NAMED and all(len(name) <= LETTERS for name in shown)
            return f"{total} {column}{many}" + (f" ({', '.join(shown)})" if short else "")
    joined = " and ".join(name for name in GROUPS[1:-1] if name in rows)
    return f"{total} group{many}" + (f", joined by {joined}" if joined else "")


def assign_folds(rows: pd.DataFrame, targets: Rows, folds: int = 5, seed: int = 0) -> np.ndarray:  # [rows]
    """Deal rows into folds, 0 to folds - 1: groups stay whole, and each fold gets its share of every class.

    targets [rows] class numbers or [rows, classes] of 0 and 1. The largest groups choose first, and each goes where what it
    brings is rarest; the seed decides between equals and which fold is which. Error where there are fewer groups than folds.
    """
    groups, labels = join_groups(rows), as_sparse(targets)
    total = int(groups.max()) + 1
    if total < folds:
        most = f"--folds {total} at most" if total > 1 else "others are needed, too"
        raise OscineError(f"{describe_groups(rows)} make no {folds} folds, each of which needs one at least: {most}")
    every = np.ones((len(rows), 1))  # rows themselves are spread as a class is
    labels = sparse.csr_array(sparse.hstack([labels, every], format="csr"))
    columns = len(labels.sum(0))
    members = sparse.csr_array((np.ones(len(rows)), (groups, np.arange(len(rows)))))
    shares = sparse.csr_array(members @ (labels @ sparse.diags_array(1 / labels.sum(0).clip(min=1))))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(total)
    sums = np.concatenate([shares[at : at + AT_ONCE].toarray().sum(1) for at in range(0, total, AT_ONCE)])
    fold_of_group, filled = np.zeros(total, dtype=int), np.zeros((folds, columns))
    share = np.zeros(columns)  # of one group, written and wiped
    for group in shuffled[np.argsort(-sums[shuffled], kind="stable")]:
        own = slice(shares.indptr[group], shares.indptr[group + 1])
        share[shares.indices[own]] = shares.data[own]
        fold = (filled @ share).argmin()  # where the sum of squares, which is least if all is even, grows least
        filled[fold] += share
        fold_of_group[group] = fold
        share[shares.indices[own]] = 0.0
    return rng.permutation(folds)[fold_of_group[groups]]


def as_sparse(targets: Rows, classes: int | None = None) -> sparse.csr_array:
    """Turn targets into a matrix of 1 where a row has a class, [rows, classes]; a dense one might fill gigabytes."""
    labels = np.asarray(targets)
    if labels.ndim == 2:
        return sparse.csr_array(labels, dtype=np.float64)
    shape = len(labels), int(labels.max()) + 1 if classes is None else classes
    return sparse.csr_array((np.ones(len(labels)), labels, np.arange(len(labels) + 1)), shape=shape)


def hold_out(
    rows: pd.DataFrame, targets: Rows, train: Rows, *, share: float = 0.2, seed: int = 0, name: str = "the task"
) -> tuple[np.ndarray, np.ndarray]:
    """Split the rows to learn from, into those to fit on and those to choose by: no choice is ever made on test rows.

    train: row numbers, as are both results. Groups stay whole: rows are dealt into folds, of which a share, as a fraction
    with a denominator of 20 at most, is held out. Error where there are too few groups for that; name: of the part, for it.
    """
    numbers, held = np.asarray(train), Fraction(share).limit_denominator(20)
    own = rows.iloc[numbers]
    total = int(join_groups(own).max()) + 1
    if total < held.denominator:
        enough = [shown for needed, shown in SHARES.items() if needed <= total]
        remedy = f"--task.valid {enough[-1]}, or leave it out" if enough else "leave --task.valid out"
        raise OscineError(
            f"{name} learns from {describe_groups(own)}, too few to set aside {share:g} of them; {remedy}"
        )
    folds = assign_folds(own, np.asarray(targets)[numbers], held.denominator, seed)
    return numbers[folds >= held.numerator], numbers[folds < held.numerator]
