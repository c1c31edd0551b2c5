"""Read votes from journals, tables and selection tables of several people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pandas import DataFrame, Series

from oscine.models.errors import OscineError
from oscine.models.recordings.column_names import column_key
from oscine.models.recordings.named_files import find_files
from oscine.models.recordings.spreadsheet import Sheet, read_sheet
from oscine.models.recordings.tables import read_stretches
from oscine.models.text.safe_text import restore_controls
from oscine.probe.label.cell import NAMELESS, is_nameless, parse_cell
from oscine.probe.label.journal import ABSENT, PRESENT, SUFFIX, UNSURE, find_journals, read_journal
from oscine.probe.label.votes.gather import Vote, VoteSource, gather
from oscine.probe.label.votes.votes import Votes
from oscine.probe.tasks.class_names import means_no_class

# How columns of votes are called here, and elsewhere, as `column_key` has it; beside those of every labelled table.
COLUMNS = {
    "annotator": ("annotators", "annotated by", "labelled by", "labeled by", "labeller", "labeler", "rater", "observer",
                  "reviewer", "user"),
    "state": ("states", "label type", "answer"),
    "points": ("likelihood", "likelihoods"),
    "seconds": ("taken", "seconds taken"),
    "audit": (),
}  # fmt: skip
STATES = {
    **dict.fromkeys((PRESENT, "positive", "yes", "true", "1"), PRESENT),
    **dict.fromkeys((ABSENT, "negative", "no", "false", "0"), ABSENT),
    **dict.fromkeys((UNSURE, "uncertain", "unknown", "maybe", "?"), UNSURE),
}
YES = {"true", "yes", "1", "1.0", "x"}


@dataclass(frozen=True)
class VoteSettings:
    """How votes are read.

    recordings  folder that names of recordings are relative to; by default a table's own
    classes     all that there may be; by default what is named
    without     of these, what is left out
    unsure      labels that mean that somebody could not tell
    seconds     of the stretches that recordings with selection tables are cut into
    column      of selection tables that holds the labels, if it has an unusual name
    """

    recordings: Path | None = None
    classes: Sequence[str] | None = None
    without: Sequence[str] = ()
    unsure: Sequence[str] = ("?",)
    seconds: float | None = None
    column: str | None = None


def read_votes(files: Sequence[str | Path], settings: VoteSettings | None = None) -> Votes:
    """Read votes of several people.

    files: journals (.jsonl), or a folder of them; tables (.csv, .tsv, .parquet); a folder of Raven or Audacity tables, or
    one such table (.txt), of the person that it is called after. A table has the columns path, start and end where clips
    are stretches, annotator (else the file is called after them), and either `label`, one a row; or `labels`, as
    `parse_cell` reads them, the others being absent; or a row a class with `label` and `state` (present, absent, unsure) or
    `points`. It may have `seconds` that an answer took, and `audit`.
    """
    if not files:
        raise OscineError("no votes are named; name journals, tables, or folders of selection tables")
    settings = settings or VoteSettings()
    return gather(
        [source for file in files for source in _read(Path(file), settings)], settings.classes, settings.without
    )


def _read(path: Path, settings: VoteSettings) -> list[VoteSource]:
    if not path.exists():
        raise OscineError(f"no votes {path}; check the path")
    if path.is_dir() and (journals := find_journals(path)):
        return [_of_journal(journal, settings) for journal in journals]
    if path.is_dir() or path.suffix.lower() == ".txt":
        return [_of_selections(path, settings)]
    return [_of_journal(path, settings) if path.suffix.lower() == SUFFIX else _of_table(path, settings)]


def _find(path: Path, names: Sequence[str], settings: VoteSettings) -> tuple[list[str], list[str]]:
    """Find the recordings of a file of votes, and what was guessed.

    Raise where one is not there any more.
    """
    folder = settings.recordings
    if folder is not None and not folder.is_dir():
        raise OscineError(f"no folder {folder}; check the path of --recordings")
    return find_files(path, names, folder)


def _of_journal(path: Path, settings: VoteSettings) -> VoteSource:
    """Read a journal; clips that somebody skipped have no vote."""
    content = read_journal(path)
    if settings.recordings is None:
        raise OscineError(
            f"{path} names recordings as below the folder that was embedded; give that folder with --recordings"
        )
    answers = [answer for answer in content.answers if not answer.skipped]
    paths, _ = _find(path, [answer.clip.recording for answer in answers], settings)
    votes = [
        Vote(
            place, answer.clip.start, answer.clip.end, answer.annotator, answer.states, seconds=answer.taken,
            audit=answer.audit, source=f"{path}: {answer.clip}",
        )
        for place, answer in zip(paths, answers, strict=True)
    ]  # fmt: skip
    return VoteSource(str(path), votes, content.one_label, content.classes)


def _of_selections(path: Path, settings: VoteSettings) -> VoteSource:
    """Read the selection tables of one person.

    What they have not marked in a recording with a table is absent.
    """
    if settings.seconds is None:
        raise OscineError(
            f"{path} holds selection tables, whose recordings are cut into clips; say of how many --seconds"
        )
    from oscine.probe.tasks.annotated import cut_clips, read_annotated  # and torch, which other votes do without

    folder = settings.recordings and settings.recordings.absolute()
    annotated = read_annotated(path.absolute(), settings.column, recordings=folder)
    rows, _ = cut_clips(annotated, settings.seconds, settings.unsure)
    person = path.resolve().name if path.is_dir() else path.name.partition(".")[0]
    votes = [
        Vote(row["path"], row["start"], row["end"], person, _named(row["labels"]), closed=True, source=str(path))
        for row in rows.to_dict("records")
    ]
    return VoteSource(str(path), votes, False, [])


def _of_table(path: Path, settings: VoteSettings) -> VoteSource:
    sheet = read_sheet(path)
    _name_columns(sheet)
    _check_columns(sheet)
    table = read_stretches(sheet)
    person = sheet.texts("annotator") if "annotator" in sheet.table else Series(path.stem, index=sheet.table.index)
    sheet.add_fault(person == "", "has no annotator; fill it in or leave the row out")
    column = "labels" if "labels" in sheet.table else "label"
    texts = sheet.texts(column).map(restore_controls)
    if column == "label":
        sheet.add_fault(texts == "", "has no label; fill it in or leave the row out")
    else:
        sheet.add_fault(texts.map(is_nameless), NAMELESS)
    given = _given(sheet)
    sheet.raise_faults()
    paths, notes = _find(path, sheet.texts("path").tolist(), settings)
    sheet.notes += notes
    sheet.log_notes()
    rows = DataFrame({"path": paths, "annotator": person, "text": texts}, index=table.index).join([table, given])
    by_class = {"state", "points"} & {*sheet.table.columns}
    votes = [_vote(row, path, column=column, unsure=settings.unsure) for row in rows.reindex(columns=ROW).itertuples()]
    return VoteSource(str(path), _join(votes) if by_class else votes, column == "label" and "state" not in by_class, [])


ROW = ["path", "start", "end", "annotator", "text", "state", "points", "seconds", "audit"]


def _name_columns(sheet: Sheet) -> None:
    """Give the columns of votes their names, then those of every labelled table."""
    meant = {
        column: name
        for name, others in COLUMNS.items()
        for column in sheet.table.columns
        if name not in sheet.table and column_key(column) in (name, *others)
    }
    if twice := next((name for name in meant.values() if [*meant.values()].count(name) > 1), None):
        columns = " or ".join(column for column, name in meant.items() if name == twice)
        raise OscineError(f"{sheet.path}: {twice} may be the column {columns}; call one of them {twice}")
    sheet.table = sheet.table.rename(columns=meant)
    sheet.notes += [f"{column} is read as {name}" for column, name in meant.items()]
    sheet.name_columns(("path", "start", "end", "label"))


def _check_columns(sheet: Sheet) -> None:
    table = sheet.table
    lacking = [] if "path" in table else ["path"]
    lacking += [] if {"label", "labels"} & {*table.columns} else ["label (or labels, for several a row)"]
    lacking += ["end" if "start" in table else "start"] if ("start" in table) != ("end" in table) else []
    if lacking:
        raise OscineError(sheet.describe_missing(lacking))
    if "labels" in table and {"label", "state", "points"} & {*table.columns}:
        raise OscineError(
            f"{sheet.path} has labels, several a row, beside a column of one class a row; keep one of them"
        )


def _given(sheet: Sheet) -> DataFrame:
    """Read what a row may have beside its label: state, points, seconds, audit."""
    found = DataFrame(index=sheet.table.index)
    if "state" in sheet.table:
        states = sheet.texts("state").str.casefold().map(STATES)
        sheet.add_fault(states.isna(), f"has a state that is none; expected {PRESENT}, {ABSENT} or {UNSURE}")
        found["state"] = states
    for name in ("points", "seconds"):
        if name in sheet.table:
            numbers = sheet.typed(name)
            wrong = Series([not isinstance(cell, (int, float)) or cell < 0 for cell in numbers], index=numbers.index)
            sheet.add_fault(wrong, f"has {name} that are no number from 0 on")
            found[name] = numbers.where(~wrong)
    if "audit" in sheet.table:
        found["audit"] = sheet.texts("audit").str.casefold().isin(YES)
    return found


def _vote(row: Any, path: Path, *, column: str, unsure: Sequence[str]) -> Vote:
    """Make the vote of one row of a table, with the columns of `ROW`.

    Of several labels one that is unsure may be any of the others: these are then not absent, but unknown.
    """
    if column == "labels":
        states, closed = parse_cell(row.text, unsure)
    else:
        said = {row.text: row.state if isinstance(row.state, str) else PRESENT}
        states, closed = {} if row.text in unsure else said, False
    return Vote(
        row.path, row.start, row.end, row.annotator, states, closed=closed,
        points={row.text: float(row.points)} if not np.isnan(row.points) else {},
        seconds=row.seconds, audit=row.audit is True, source=f"{path}: row {row.Index}",
    )  # fmt: skip


def _named(labels: Sequence[str]) -> dict[str, str]:
    """Return the states of labels that are present.

    Names that mean that no class sounds are none.
    """
    return {name: PRESENT for name in labels if not means_no_class(name)}


def _join(votes: Sequence[Vote]) -> list[Vote]:
    """Join the rows of one person and clip, a class each, into one vote."""
    joined: dict[tuple[object, str], Vote] = {}
    for vote in votes:
        key = vote.clip, vote.annotator
        if first := joined.get(key):
            if twice := {*first.states} & {*vote.states}:
                raise OscineError(
                    f"{vote.source}: {vote.annotator} answers for {min(twice)} twice; keep one of the rows"
                )
            vote = replace(first, states={**first.states, **vote.states}, points={**first.points, **vote.points})
        joined[key] = vote
    return list(joined.values())
