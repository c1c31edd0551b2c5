"""Read a labelled table: its classes, and which of its rows are learnt from and judged. Needs no torch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pandas import DataFrame, Series

from oscine.models.audio.channels import MIX
from oscine.models.audio.scan import find_tabled
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.recordings.column_names import SPLITS, column_key
from oscine.models.recordings.tables import read_table
from oscine.models.text.safe_text import as_cell
from oscine.probe.tasks.class_names import check_names, listed, name_classes
from oscine.probe.tasks.groups import (
    GROUPS,
    as_sparse,
    assign_folds,
    check_groups,
    describe_groups,
    hold_out,
    join_groups,
)
from oscine.probe.tasks.kinds import TaskKind

NO_ROWS = np.empty(0, dtype=np.int64)
FOLDS = 5  # as many as there are usually; fewer where there are fewer groups
USED = ("file", "labels", "start", "end", "channel", "fold", "split")  # beside `GROUPS`
# Columns that name what makes clips alike, beside `GROUPS`, the likeliest first; as `column_key` has them.
ALIKE = (
    "location", "locality", "standort", "ort", "lieu", "sitio", "lugar", "locatie", "station", "recorder", "sensor",
    "device", "deployment", "plot", "transect", "individual", "animal", "subject", "speaker", "observer", "session",
    "recording id", "source file", "src file",
)  # fmt: skip

logger = logging.getLogger(__name__)


class Split(NamedTuple):
    """Row numbers to learn from, to be judged on, and to choose by: of one fold, or of a split. As `task.Part`."""

    name: str
    train: np.ndarray
    test: np.ndarray
    valid: np.ndarray = NO_ROWS


@dataclass(frozen=True)
class LabelledTable:
    """Labelled clips, as `task.Task` has them, in arrays. Where folds were made, rows has them in `fold`."""

    rows: DataFrame
    classes: list[str]
    targets: np.ndarray
    splits: list[Split]


def read_labelled(
    table: str | Path,
    folds: int | None = None,
    *,
    group: str | None = None,
    valid: float | None = None,
    seed: int = 0,
    negatives: bool = True,
) -> LabelledTable:
    """Read a labelled table (see `read_table`); without a `fold` or `split` column, make folds.

    folds: how many are made, else `FOLDS`, or as many as there are groups. group: the column whose rows belong together,
    and no other but a recording's; by default `GROUPS`, or where folds are made a column that looks like one. valid: the
    share to set aside where the table gives no rows to choose by. negatives: labels such as background are no classes, see
    `means_no_class`; clips that have no others are of none. Everything that can be refused of a table is refused here.
    """
    rows = read = read_table(table)
    classes, targets = find_classes(rows["labels"], table, negatives)
    given = "fold" in rows or "split" in rows
    if given and folds is not None:
        raise OscineError(
            f"{table} has folds or splits of its own; leave --folds out, or the column to have others made"
        )
    rows = keep_groups(rows, group, table) if group else rows if given else find_groups(rows, targets, table)
    rows = name_splits(rows, table) if given else make_folds(rows, targets, folds, seed, table)
    _note_unused(read, rows, table)
    splits = split_rows(rows, table)
    check_groups(rows, splits, table)
    warn_of_unjudged(rows, targets, classes, splits, table)
    if valid is not None:
        splits = set_aside(rows, targets, splits, share=valid, seed=seed)
    return LabelledTable(rows, classes, targets, splits)


def read_class_folders(
    folder: str | Path, folds: int = FOLDS, *, valid: float | None = None, negatives: bool = True
) -> LabelledTable:
    """Read a folder that holds one folder a class; each recording, at any depth, falls into one of so many folds.

    valid, negatives: as for `read_labelled`. Recordings that lie in no class's folder are an error.
    """
    folder = Path(folder)
    paths = find_tabled(folder)
    if lost := [path for path in paths if path.parent == folder]:
        raise OscineError(f"{lost[0]} lies in no class's folder; {folder} should hold one folder a class, no files")
    labels = [[path.relative_to(folder).parts[0]] for path in paths]
    rows = DataFrame({"path": map(str, paths), "labels": labels})
    classes, targets = find_classes(labels, folder, negatives)
    rows = rows.assign(fold=assign_folds(rows, targets, folds) + 1)
    splits = split_rows(rows, folder)
    if valid is not None:
        splits = set_aside(rows, targets, splits, share=valid)
    return LabelledTable(rows, classes, targets, splits)


def find_classes(
    labels: Iterable[Sequence[str]], source: str | Path, negatives: bool = True
) -> tuple[list[str], np.ndarray]:
    """Find the classes among the labels of rows, and every row's targets, as `as_targets` has them."""
    labels = list(labels)
    clips = Counter(chain.from_iterable(labels))
    if len(clips) < 2:
        raise OscineError(
            f"{source} knows one label only, {next(iter(clips))!r}; a probe needs at least two classes to tell apart"
        )
    if not (classes := name_classes(clips, source, negatives)):
        raise OscineError(f"all labels of {source} mean that no class sounds; name classes, or give --negatives none")
    targets = as_targets(labels, classes)
    if len(classes) == 1 and TaskKind.of(targets) is TaskKind.SINGLE:
        raise OscineError(
            f"every clip of {source} has the one class, {classes[0]}; add clips in which it does not sound"
        )
    check_names({name: clips[name] for name in classes}, source)
    return classes, targets


def split_rows(rows: DataFrame, table: str | Path) -> list[Split]:
    """Make the parts that the table's `fold` or `split` column names."""
    if rows.empty:
        raise OscineError(f"{table} has no clips that can be used; check what it lists")
    if "fold" in rows:
        folds = sorted(rows["fold"].unique())
        if len(folds) < 2:
            raise OscineError(
                f"{table} has one fold only, {folds[0]}; at least two are needed to test on unseen rows: leave the column "
                "fold out, and folds are made"
            )
        return [Split(f"fold {fold}", where(rows["fold"] != fold), where(rows["fold"] == fold)) for fold in folds]
    train, test = where(rows["split"] == "train"), where(rows["split"] == "test")
    if not len(train) or not len(test):
        found = ", ".join(map(repr, sorted(rows["split"].astype(str).unique())))
        raise OscineError(
            f"{table} has the splits {found}; expected 'train' and 'test', and 'valid' if you have it (others are left "
            "aside); or leave the column split out, and folds are made"
        )
    return [Split("test", train, test, where(rows["split"] == "valid"))]


def name_splits(rows: DataFrame, table: str | Path) -> DataFrame:
    """Rename splits to their names here, such as valid for Validation; rows of others are left aside, which is logged."""
    if "split" not in rows:
        return rows
    texts = rows["split"].astype(str).str.strip()
    named = texts.map(lambda text: SPLITS.get(column_key(text), text))
    if changed := list(dict.fromkeys(zip(texts[texts != named], named[texts != named], strict=True))):
        logger.info("%s: %s", table, "; ".join(f"the split {given} is read as {name}" for given, name in changed))
    others = named[~named.isin(SPLITS.values())]
    if len(others):
        names = listed(sorted(others.unique()))
        logger.warning("%s: %d rows have other splits (%s) and are left aside", table, len(others), names)
    return rows.assign(split=named)


def keep_groups(rows: DataFrame, group: str, table: str | Path) -> DataFrame:
    """Let the named column say which clips belong together, and no other but the recording."""
    column = next((name for name in rows.columns if name == group or column_key(name) == column_key(group)), None)
    if column is None or column in ("labels", "fold", "split"):
        has = ", ".join(map(str, rows.columns.drop(["file", "labels", "fold", "split"], errors="ignore")))
        raise OscineError(f"{table} has no column {group!r} to group clips by; it has {has[:200]}")
    rows = rows.drop(columns=[name for name in GROUPS if name not in ("path", column)], errors="ignore")
    return rows if column in GROUPS else rows.assign(group=rows[column])


def find_groups(rows: DataFrame, targets: np.ndarray, table: str | Path) -> DataFrame:
    """Keep a column of `GROUPS`, if there is one that can be; else one that looks like it becomes `group`."""
    own = [name for name in GROUPS[1:] if name in rows]
    if own and join_groups(rows).max() > 0:
        return rows
    if own and len(own) > 1:
        raise OscineError(
            f"{table}: all clips belong together by {' and '.join(own)}, which leaves none to be judged; "
            f"--group {own[-1]} keeps those of one {own[-1]} together and no others"
        )
    rows = rows.drop(columns=own)  # one value only: it divides nothing
    alike = [name for name in rows.columns if column_key(name) in ALIKE]
    for column in sorted(alike, key=lambda name: ALIKE.index(column_key(name))):
        names = rows[column]
        if 1 < names.nunique() < len(rows) and _crosses(names, targets):
            return rows.assign(group=names)
    return rows


def _note_unused(read: DataFrame, rows: DataFrame, table: str | Path) -> None:
    """Log the columns of which nothing was made: a start by a name that is not known would be among them.

    read: the table; rows: with the columns of `GROUPS` that count, where `group` may repeat another.
    """
    grouped = [name for name in read.columns if "group" in rows and read[name].equals(rows["group"])]
    used = {*USED, *rows.columns.intersection(GROUPS), *grouped}
    if unused := [str(name) for name in read.columns if name not in used]:
        logger.info("%s: columns not used: %s", table, listed(unused, 20))


def _crosses(names: Series, targets: np.ndarray) -> bool:
    """Tell whether any class occurs in several groups, so that it can be learnt from in one and judged in another."""
    found, numbers = as_sparse(targets).nonzero()
    pairs = DataFrame({"group": names.to_numpy()[found], "class": numbers})
    return bool((pairs.groupby("class")["group"].nunique() > 1).any())


def make_folds(rows: DataFrame, targets: np.ndarray, folds: int | None, seed: int, table: str | Path) -> DataFrame:
    """Make a column `fold` from 1 on: groups stay whole, every class is spread; how is logged."""
    total = int(join_groups(rows).max()) + 1
    if total < 2:
        raise OscineError(
            f"{table} has no folds, and all its clips are of one group ({describe_groups(rows)}): none is left to be "
            "judged; add others, or name the column whose rows belong together with --group"
        )
    if folds is not None and folds < 2:
        raise OscineError(
            f"--folds {folds} leaves nothing to learn from or to be judged; at least 2 are needed, 5 are usual"
        )
    made = folds or min(FOLDS, total)
    fold = assign_folds(rows, targets, made, seed) + 1
    if not _crosses(Series(fold), targets):
        raise OscineError(
            f"{table} has no folds, and none can be made: every class is in one group alone, of {describe_groups(rows)}, so "
            "that none is both learnt from and judged; add clips of it from others, or name another column with --group"
        )
    how = f"of {describe_groups(rows)}, each whole in one of them; --group COLUMN keeps others together"
    if total == len(rows):
        how = (
            "every class spread over them; where clips of one site or day are alike, --group COLUMN keeps them together"
        )
    logger.info("%s: no column fold or split: %d folds are made, %s", table, made, how)
    return rows.assign(fold=fold)


def warn_of_unjudged(
    rows: DataFrame, targets: np.ndarray, classes: Sequence[str], splits: Sequence[Split], table: str | Path
) -> None:
    """Warn of the classes that are never learnt from and judged by the same probe."""
    known = as_sparse(targets, len(classes))
    both = np.zeros(len(classes), dtype=bool)
    for split in splits:
        both |= (known[split.train].sum(0) > 0) & (known[split.test].sum(0) > 0)
    counts, groups = known.sum(0).astype(int), join_groups(rows)
    columns = known.tocsc()
    never = []
    for number in np.flatnonzero(~both).tolist():
        if counts[number] == 1:
            never.append(f"{classes[number]} (1 clip)")
        elif "fold" in rows:  # a split may leave a class out on purpose
            alone = len({*groups[columns[:, [number]].indices]}) == 1
            never.append(f"{classes[number]} ({counts[number]} clips, all in one {'group' if alone else 'fold'})")
    if never:
        logger.warning(
            "%s: %d of %d classes are never both learnt from and judged: %s; add clips of them, or leave them out",
            table, len(never), len(classes), listed(never),
        )  # fmt: skip


def set_aside(rows: DataFrame, targets: object, splits: Iterable[Split], *, share: float, seed: int = 0) -> list[Split]:
    """Give parts rows to choose by: where there are none, a share of those to learn from, groups whole."""
    if not 0 < share <= 0.5:
        raise OscineError(f"{share:g} of the rows to choose by, expected more than 0 and at most a half; 0.2 is usual")
    found = []
    for split in splits:
        if not len(split.valid):
            train, valid = hold_out(rows, targets, split.train, share=share, seed=seed, name=split.name)
            split = split._replace(train=train, valid=valid)
        found.append(split)
    return found


def write_folds(path: str | Path, rows: DataFrame) -> None:
    """Write which clip is in which fold, as a labelled table: read again, it gives the same task.

    file is the path as the table had it, by which the two can be joined; path is from the root. Names are written by
    `cells.as_cell`.
    """
    single = (rows["labels"].str.len() == 1).all()
    columns = ["file", "path", "start", "end", "channel", "labels", "fold", *GROUPS[1:]]
    table = rows[[name for name in columns if name in rows]].assign(
        path=rows["path"].map(as_cell), labels=[";".join(map(as_cell, labels)) for labels in rows["labels"]]
    )
    for name in table.columns.intersection(["file", *GROUPS[1:]]):
        table[name] = table[name].map(lambda cell: as_cell(cell) if isinstance(cell, str) else cell)
    if "channel" in table:
        table["channel"] = table["channel"].replace(0, MIX)
    text = table.rename(columns={"labels": "label"} if single else {}).to_csv(index=False, lineterminator="\n")
    write_whole(Path(path), text.encode())


def as_targets(rows: Iterable[Sequence[str]], classes: Sequence[str]) -> np.ndarray:
    """Return class numbers [rows] where every row has one class, else what `multi_hot` does."""
    labels, number = list(rows), {name: index for index, name in enumerate(classes)}
    numbers = [[number[label] for label in found if label in number] for found in labels]
    if all(len(found) == 1 for found in numbers):
        return np.array([one for (one,) in numbers])
    return multi_hot(labels, classes)


def multi_hot(rows: Iterable[Sequence[str]], classes: Sequence[str]) -> np.ndarray:  # [rows, classes]
    """Put 1 where a row has the label of that class; labels that are no class are passed over."""
    number = {name: index for index, name in enumerate(classes)}
    numbers = [[number[label] for label in labels if label in number] for labels in rows]
    targets = np.zeros((len(numbers), len(classes)), dtype=np.uint8)  # a byte each: there may be 10^9
    for row, found in enumerate(numbers):
        targets[row, found] = 1
    return targets


def where(condition: Series) -> np.ndarray:
    return np.flatnonzero(condition.to_numpy())
