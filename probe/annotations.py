"""Annotations of recordings: Raven selection tables and Audacity labels, read and written."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd
from pandas import DataFrame

from oscine.models.audio import AudioInfo
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.spreadsheet import COMMAS, as_numbers, decimal_commas, read_text, refuse

# An annotation: seconds within its recording, hertz where a box says so, and how sure whoever made it is.
COLUMNS = ["path", "start", "end", "low", "high", "label", "score"]
BEGIN, END, LOW, HIGH, OFFSET = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "File Offset (s)"
LABELS = ("Species", "Annotation", "Label", "Common Name", "Species Code", "Call Type")  # as people call the column
SCORES = ("Score", "Confidence")

logger = logging.getLogger(__name__)


def read_raven(path: str | Path, recordings: Sequence[Path], column: str | None = None) -> DataFrame:
    """The annotations of a Raven selection table, with `COLUMNS`; times count from the beginning of each recording.

    recordings: those that it may be about. The table names them in Begin Path or Begin File, by whatever folder they were in
    then; without such a column it is about the one beside it of the same name. column: that holds the labels, if it has an
    unusual name. Raven repeats a selection for every view it has; it is read once.
    """
    path = Path(path)
    table = _read_rows(path)
    column = column or next((name for name in LABELS if name in table), None)
    if column not in table:
        raise OscineError(
            f"{path} has no column {column or 'with labels, such as Species'}; it has {', '.join(table.columns)}"
        )
    begin, end = _numbers(path, table, BEGIN), _numbers(path, table, END)
    refuse(path, table[BEGIN], end < begin, f"has an {END} before its {BEGIN}")
    refuse(path, table[BEGIN], table[column] == "", f"has no {column}; fill it in or remove the selection")
    named = next((name for name in ("Begin Path", "Begin File") if name in table), None)
    files = table[named] if named else pd.Series("", index=table.index)
    if OFFSET in table:
        start = _numbers(path, table, OFFSET)
    elif files.nunique() > 1:
        raise OscineError(
            f"{path} is about {files.nunique()} recordings and has no {OFFSET}: its times count through all of them; "
            "export it with that column"
        )
    else:
        start = begin
    read = DataFrame(
        {
            "path": [str(_find(path, name, recordings)) for name in files],
            "start": start,
            "end": start + (end - begin),
            "low": _numbers(path, table, LOW) if LOW in table else np.nan,
            "high": _numbers(path, table, HIGH) if HIGH in table else np.nan,
            "label": table[column],
            "score": next((_numbers(path, table, name) for name in SCORES if name in table), np.nan),
        }
    )
    return read[~_repeated(table, files)].reset_index(drop=True)


def write_raven(path: str | Path, annotations: DataFrame, recordings: Mapping[str, AudioInfo]) -> None:
    """Write annotations as a Raven selection table, to be opened with all recordings, in their order, as one sequence.

    annotations: with `COLUMNS`; low, high and score may be NaN or left out; `channel`, a number from 1, may be added.
    recordings: path to header, in the sequence's order. Begin and end times count through all of them, the file offset from
    the beginning of each. A box without frequencies reaches from 0 to half the recording's sample rate.
    """
    begins = dict(zip(recordings, np.cumsum([0.0, *(info.seconds for info in recordings.values())])))
    strangers = sorted(set(annotations["path"]) - begins.keys())
    if strangers:
        raise OscineError(
            f"annotations of {strangers[0]}, which is none of the {len(begins)} recordings; add it to them"
        )
    rank = {name: number for number, name in enumerate(recordings)}
    rows = annotations.reindex(columns=[*COLUMNS, "channel"])
    rows = rows.sort_values(["path", "start"], key=lambda key: key.map(rank) if key.name == "path" else key)
    first = rows["path"].map(begins)
    nyquist = rows["path"].map({name: info.sample_rate / 2 for name, info in recordings.items()})
    table = DataFrame(
        {
            "Selection": range(1, len(rows) + 1),
            "View": "Spectrogram 1",
            "Channel": rows["channel"].fillna(1).astype(int),
            BEGIN: first + rows["start"],
            END: first + rows["end"],
            LOW: rows["low"].fillna(0.0),
            HIGH: rows["high"].fillna(nyquist).clip(upper=nyquist),
            "Begin Path": rows["path"],
            OFFSET: rows["start"],
            "Species": rows["label"].map(_one_line),
        }
    )
    if rows["score"].notna().any():
        table["Score"] = rows["score"]
    write_whole(Path(path), table.round(6).to_csv(sep="\t", index=False, lineterminator="\n").encode())


def read_audacity(path: str | Path, recordings: Sequence[Path]) -> DataFrame:
    """The annotations of an Audacity label track, with `COLUMNS`, of the recording beside it of the same name.

    A label that marks a point has its end where it starts.
    """
    path = Path(path)
    rows: list[dict[str, object]] = []
    lines = [line.split("\t") for line in _text(path).splitlines()]
    commas = _commas(path, (cell for cells in lines for cell in _pair(cells)))
    for number, cells in enumerate(lines, start=1):
        try:
            if any(cells):
                first, second = (float(cell.replace(",", ".") if commas else cell) for cell in _pair(cells))
                if cells[0] == "\\":  # the frequencies of the label before
                    rows[-1] |= {name: hertz for name, hertz in (("low", first), ("high", second)) if hertz >= 0}
                else:
                    rows.append({"start": first, "end": second, "label": "\t".join(cells[2:]).strip()})
        except (ValueError, IndexError):
            line = "\t".join(cells)[:60]
            raise OscineError(
                f"{path}: line {number} is {line!r}, expected start and end, such as 1.5, and a label, with tabs between"
            ) from None
    table = DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("start", "end", "low", "high", "score"), float))
    return table.assign(path=str(_find(path, "", recordings)) if rows else "")


def _pair(cells: list[str]) -> list[str]:
    """Of a line of a label track, the two numbers: start and end, or the frequencies after a backslash."""
    return cells[1:3] if cells[0] == "\\" else cells[:2]


def write_audacity(path: str | Path, annotations: DataFrame) -> None:
    """Write the annotations of one recording as an Audacity label track."""
    files = annotations["path"].nunique()
    if files > 1:
        raise OscineError(f"annotations of {files} recordings; an Audacity label track has one, write one for each")
    lines = []
    for row in annotations.reindex(columns=COLUMNS).sort_values("start").itertuples():
        lines.append(f"{row.start:.6f}\t{row.end:.6f}\t{_one_line(row.label)}\n")
        if not pd.isna(row.low) and not pd.isna(row.high):
            lines.append(f"\\\t{row.low:.6f}\t{row.high:.6f}\n")
    write_whole(Path(path), "".join(lines).encode())


def beside(path: Path, recordings: Sequence[Path]) -> Path | None:
    """The recording in a table's folder whose name the table's begins with: a.wav for a.Table.1.selections.txt."""
    near = [
        recording
        for recording in recordings
        if recording.parent == path.parent and path.name.startswith((f"{recording.stem}.", f"{recording.name}."))
    ]
    return max(near, key=lambda recording: len(recording.stem), default=None)


def _find(path: Path, name: str, recordings: Sequence[Path]) -> Path:
    """The recording of that name, of whatever machine its folder was on; the nearest to the table if there are several."""
    if not name:
        found = beside(path, recordings)
        if not found:
            raise OscineError(f"no recording beside {path}; expected one whose name the table's begins with")
        return found
    last = PureWindowsPath(name).name
    near = [recording for recording in recordings if recording.name == last]
    parts = PureWindowsPath(name).parts[::-1]

    def agreement(recording: Path) -> tuple[int, bool]:
        same = [a == b for a, b in zip(recording.parts[::-1], parts)]
        return [*same, False].index(False), recording.parent == path.parent

    if not near:
        raise OscineError(f"{path} is about {last}, which is not among {len(recordings)} recordings; put it beside it")
    return max(near, key=agreement)


def _repeated(table: DataFrame, files: pd.Series) -> pd.Series:
    """Which rows show an earlier selection again, in another view."""
    if "Selection" not in table:
        return pd.Series(False, index=table.index)
    return table[["Selection", BEGIN, END]].assign(file=files).duplicated()


def _read_rows(path: Path) -> DataFrame:
    try:
        table = pd.read_csv(io.StringIO(_text(path)), sep="\t", dtype=str, keep_default_na=False, index_col=False)
    except ValueError as error:
        raise OscineError(
            f"{path} is no selection table ({str(error).splitlines()[0]}); expected columns and tabs"
        ) from None
    for column in (BEGIN, END):
        if column not in table:
            raise OscineError(
                f"{path} has no column {column}; expected a selection table as Raven writes it, with tabs"
            )
    table = table.apply(lambda cells: cells.str.strip()).set_axis(pd.RangeIndex(2, len(table) + 2))
    numbers = table.columns.intersection([BEGIN, END, LOW, HIGH, OFFSET, *SCORES])
    if _commas(path, table[numbers].to_numpy().ravel()):
        table[numbers] = table[numbers].apply(lambda cells: cells.str.replace(",", ".", regex=False))
    return table


def _numbers(path: Path, table: DataFrame, column: str) -> pd.Series:
    numbers = as_numbers(table[column])
    refuse(path, table[BEGIN], numbers.isna(), f"has {column} that is no number")
    return numbers


def _commas(path: Path, numbers: Iterable[str]) -> bool:
    """Whether numbers have decimal commas, which is said: tabs divide columns, so that a comma is free to be one."""
    if found := decimal_commas(path, numbers):
        logger.info("%s: %s", path, COMMAS)
    return found


def _text(path: Path) -> str:
    text, encoding = read_text(path)
    if encoding:
        logger.info("%s: read as %s", path, encoding)
    return text


def _one_line(label: object) -> str:
    return " ".join(str(label).split())
