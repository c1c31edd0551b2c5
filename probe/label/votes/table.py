"""Write what votes come to: a labelled table that `oscine probe --table` takes, and lists beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pandas import DataFrame, Series

from oscine.models.errors import Misuse, OscineError
from oscine.models.files import write_whole
from oscine.models.progress import ShowProgress, show_nothing
from oscine.models.text.safe_text import as_cell
from oscine.probe.label.votes.annotators import AnnotatorReport, report_annotators, second_opinions
from oscine.probe.label.votes.combine import Combined, CombineSettings, combine_votes
from oscine.probe.label.votes.votes import Votes


@dataclass(frozen=True)
class TableSettings:
    """What is written where.

    out        the labelled table
    min_share  below which a clip is left out of it
    targets    table of how likely each class is of every clip, to learn from softly
    opinions   list of the clips that should have a second opinion, the most unsure first
    overwrite  replace what is there
    """

    out: Path
    min_share: float = 0.0
    targets: Path | None = None
    opinions: Path | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_share <= 1:
            raise Misuse(f"--min-share is {self.min_share:g}, expected 0 to 1; 0.7 is usual, 0 keeps all")
        for path in filter(None, (self.out, self.targets, self.opinions)):
            if path.suffix != ".csv":
                raise Misuse(f"{path} must end in .csv; call it {path.with_suffix('.csv').name}")
            if path.exists() and not self.overwrite:
                raise OscineError(
                    f"{path} exists already; choose another name, or replace it (--overwrite, overwrite=True)"
                )


class WrittenTable(NamedTuple):
    """What was written, what was left out, and how annotators did.

    clips: how many the table has; left_out: why how many are not in it.
    """

    clips: int
    left_out: dict[str, int]
    combined: Combined
    reports: list[AnnotatorReport]


def write_combined(
    votes: Votes, how: CombineSettings, table: TableSettings, *, progress: ShowProgress = show_nothing
) -> WrittenTable:
    """Combine votes and write the labelled table.

    Its columns are path, start, end, label or labels, annotator, share, audit. Left out are clips that nobody could
    judge, those of which some class was never asked for, which a table without it would call absent, those that the
    votes leave undecided, and those below `min_share`.
    """
    combined = combine_votes(votes, how, progress)
    reasons = _reasons(votes, combined, table.min_share)
    left_out = {str(reason): int(count) for reason, count in reasons[reasons != ""].value_counts().items()}
    if len(reasons[reasons == ""]) == 0:
        why = "; ".join(f"{count}: {reason}" for reason, count in left_out.items())
        raise OscineError(f"no clip is left for {table.out} ({why}); ask more people, or combine them otherwise")
    _write(table.out, _labelled(votes, combined)[reasons.to_numpy() == ""])
    if table.targets:
        _write(table.targets, _targets(votes, combined))
    if table.opinions:
        _write(table.opinions, _opinions(votes, combined))
    reports = report_annotators(votes, combined.decided(votes.several))
    return WrittenTable(int((reasons == "").sum()), left_out, combined, reports)


def _reasons(votes: Votes, combined: Combined, min_share: float) -> Series:
    """Say of every clip why it is left out; "" of those that stay."""
    reasons = Series("", index=votes.clips.index, dtype=object)

    def leave_out(clips: ArrayLike, reason: str) -> None:
        reasons[np.asarray(clips) & (reasons == "").to_numpy()] = reason

    leave_out(~votes.heard.any(1), "nobody could judge them")
    if votes.several:
        for number, name in enumerate(votes.classes):
            leave_out((votes.said[:, :, number] < 0).all(1), f"nobody said whether {name} sounds")
    leave_out(combined.tied, "the votes are tied")
    leave_out(combined.shares(votes.several) < min_share, f"their share is below {min_share:g}")
    return reasons


def _labelled(votes: Votes, combined: Combined) -> DataFrame:
    chosen = combined.labels(votes.several)
    names = [";".join(as_cell(name) for name in _where(votes.classes, row)) for row in chosen]
    people = [";".join(map(as_cell, _where(votes.annotators, row))) for row in votes.heard]
    shares = combined.shares(votes.several).round(4)
    rows = votes.clips.assign(label=names, annotator=people, share=shares, audit=votes.audit)
    return rows.rename(columns={"label": "labels"} if votes.several else {})


def _targets(votes: Votes, combined: Combined) -> DataFrame:
    columns = {as_cell(name): column.round(6) for name, column in zip(votes.classes, combined.posterior.T, strict=True)}
    return votes.clips.assign(**columns)


def _opinions(votes: Votes, combined: Combined) -> DataFrame:
    """List clips to ask others about, and whom, the most unsure first."""
    asked = second_opinions(combined.posterior, votes.heard, several=votes.several)
    numbers = [clip for clip, _ in asked]
    people = [";".join(as_cell(votes.annotators[person]) for person in others) for _, others in asked]
    shares = combined.shares(votes.several)[numbers].round(4)
    return votes.clips.iloc[numbers].assign(share=shares, ask=people)


def _where(names: Sequence[str], chosen: np.ndarray) -> list[str]:
    return [name for name, one in zip(names, chosen, strict=True) if one]


def _write(path: Path, rows: DataFrame) -> None:
    """Write rows as CSV.

    Recordings below the table's folder are named as from there, others from the root.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OscineError(f"no folder {folder} to write {path.name} to; make it first")

    def named(place: str) -> str:
        inside = Path(place).is_relative_to(folder)
        return as_cell(Path(os.path.relpath(place, folder)).as_posix() if inside else place)

    written = rows.assign(path=Series([named(place) for place in rows["path"]], index=rows.index, dtype=object))
    if written["start"].isna().all():
        written = written.drop(columns=["start", "end"])
    write_whole(path, written.to_csv(index=False, lineterminator="\n").encode())
