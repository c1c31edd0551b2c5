"""Read and write annotations of recordings: Raven selection tables and Audacity labels."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd
from pandas import DataFrame

from oscine.models.audio.load import AudioInfo
from oscine.models.audio.scan import is_utf8
from oscine.models.errors import OscineError
from oscine.models.files import write_whole
from oscine.models.recordings.column_names import SCORES, column_key
from oscine.models.recordings.spreadsheet import COMMAS, EMPTY, as_numbers, decimal_commas, read_text, refuse
from oscine.models.text.safe_text import escape_controls, restore_controls

# An annotation: seconds within its recording, hertz where a box says so, and how sure whoever made it is. A label may be
# empty, where somebody marked something and did not say what it is.
COLUMNS = ["path", "start", "end", "low", "high", "label", "score"]
BEGIN, END, LOW, HIGH, OFFSET = "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "File Offset (s)"
# and Score, if there are any
HEADER = ("Selection", "View", "Channel", BEGIN, END, LOW, HIGH, "Begin Path", OFFSET, "Species")
LABELS = ("Species", "Annotation", "Label", "Common Name", "Species Code", "Call Type")  # as people call the column
FILES = ("Begin Path", "Begin File")

logger = logging.getLogger(__name__)


def read_raven(path: str | Path, recordings: Sequence[Path], column: str | None = None) -> DataFrame:
    """Read the annotations of a Raven selection table, with `COLUMNS`; times count from the beginning of each recording.

    recordings: those that it may be about. The table names them in Begin Path or Begin File, by whatever folder they were in
    then; without such a column it is about the one beside it of the same name. column: that holds the labels, if it has an
    unusual name. Raven repeats a selection for every view it has; it is read once.
    """
    return raven_rows(Path(path), RecordingNames(recordings), column).reset_index(drop=True)


def raven_rows(path: Path, recordings: RecordingNames, column: str | None = None) -> DataFrame:
    """Read as `read_raven` does, with the number of each row in the table, whose header is row 1, as its index."""
    table = _read_rows(path)
    column = column or _filled(table, LABELS)
    if column not in table:
        if len(table):
            raise OscineError(
                f"{path} has no column {column or 'with labels, such as Species'}; it has {', '.join(table.columns)[:200]}"
            )
        return DataFrame(columns=COLUMNS)  # Raven writes its own columns alone where nothing was selected
    begin, end = (_numbers(path, table, name, needed=True) for name in (BEGIN, END))
    refuse(path, table[BEGIN], end < begin, f"has an {END} before its {BEGIN}")
    named = _filled(table, FILES)
    files = table[named] if named else pd.Series("", index=table.index)
    if OFFSET in table:
        start = _numbers(path, table, OFFSET, needed=True)
    elif files.nunique() > 1:
        raise OscineError(
            f"{path} is about {files.nunique()} recordings and has no {OFFSET}: its times count through all of them; "
            "export it with that column"
        )
    else:
        start = begin
    found = {name: str(recordings.find(path, name)) for name in files.unique()}
    read = DataFrame(
        {
            "path": files.map(found),
            "start": start,
            "end": start + (end - begin),
            "low": _numbers(path, table, LOW),
            "high": _numbers(path, table, HIGH),
            "label": table[column].map(restore_controls),
            "score": _numbers(path, table, _filled(table, _scores_of(table))),
        }
    )
    return read[~_repeated(table, files)]


def write_raven(path: str | Path, annotations: DataFrame, recordings: Mapping[str, AudioInfo]) -> None:
    """Write annotations as a Raven selection table, to be opened with all recordings, in their order, as one sequence.

    annotations: with `COLUMNS`; low, high and score may be NaN or left out; `channel`, a number from 1, may be added.
    recordings: path to header, in the sequence's order. Begin and end times count through all of them, the file offset from
    the beginning of each. A box without frequencies reaches from 0 to half the recording's sample rate. Raven has no
    quotation marks: a tab or a line end in a path is written as `escape_controls` does, which `read_raven` understands and
    Raven does not; that is logged.
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
            "Begin Path": _written(rows["path"].unique(), rows["path"]),
            OFFSET: rows["start"],
            "Species": rows["label"].map(_one_line),
        }
    )
    if rows["score"].notna().any():
        table["Score"] = rows["score"]
    text = table.round(6).to_csv(sep="\t", index=False, lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
    write_whole(Path(path), text.encode())


def is_raven_of_ours(path: Path) -> bool:
    """Return whether a file has the columns of `write_raven`, in its order; Raven's own tables have others."""
    with path.open("rb") as file:
        header = file.readline(1000).decode(errors="replace").rstrip("\n").split("\t")
    return header in ([*HEADER], [*HEADER, "Score"])


def _written(paths: Iterable[str], column: pd.Series) -> pd.Series:
    """Write a column of paths as a row can hold them; which ones Raven will not find is logged."""
    written = {path: escape_controls(path) for path in paths}
    if changed := [path for path in written if written[path] != path]:
        logger.warning(
            "a selection table cannot hold the tabs or line ends in the names of %d recording%s, such as %s, written so; "
            "rename them for Raven to find them",
            len(changed), "s" * (len(changed) > 1), written[changed[0]],
        )  # fmt: skip
    return column.map(written)


def read_audacity(path: str | Path, recordings: Sequence[Path]) -> DataFrame:
    """Read the annotations of an Audacity label track, with `COLUMNS`, of the recording beside it of the same name.

    A label that marks a point has its end where it starts.
    """
    return audacity_rows(Path(path), RecordingNames(recordings)).reset_index(drop=True)


def audacity_rows(path: Path, recordings: RecordingNames) -> DataFrame:
    """Read as `read_audacity` does, with the number of each line as its index."""
    rows: dict[int, dict[str, object]] = {}
    lines = [line.split("\t") for line in _lines(path)]
    commas = _commas(path, (cell for cells in lines for cell in _pair(cells)))
    number = 0  # of the label that frequencies belong to
    for line, cells in enumerate(lines, start=1):
        if not any(cells):
            continue
        try:
            first, second = (_number(cell.replace(",", ".") if commas else cell) for cell in _pair(cells))
            if cells[0] == "\\":  # the frequencies of the label before
                rows[number] |= {name: hertz for name, hertz in (("low", first), ("high", second)) if hertz >= 0}
                continue
        except (ValueError, KeyError):
            raise OscineError(
                f"{path}: line {line} is {' '.join(cells)[:60]!r}, expected start and end, such as 1.5, and a label, with "
                "tabs between"
            ) from None
        if second < first:
            raise OscineError(f"{path}: line {line} ends at {second:g} s, before its start at {first:g} s; correct it")
        number, label = line, restore_controls("\t".join(cells[2:]).strip())
        rows[number] = {"start": first, "end": second, "label": label}
    table = DataFrame(list(rows.values()), columns=COLUMNS, index=list(rows))
    table = table.astype(dict.fromkeys(("start", "end", "low", "high", "score"), float))
    return table.assign(path=str(recordings.find(path, "")) if rows else "")


def _pair(cells: list[str]) -> list[str]:
    """Return the two numbers of a line of a label track: start and end, or the frequencies after a backslash."""
    return cells[1:3] if cells[0] == "\\" else cells[:2]


def _number(text: str) -> float:
    """Read a finite number; `float` would take nan, inf and 1_000, too."""
    if not re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text, re.ASCII) or not np.isfinite(float(text)):
        raise ValueError
    return float(text)


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


class RecordingNames:
    """Recordings by what tables call them, so that thousands of tables find theirs in thousands of recordings."""

    def __init__(self, recordings: Iterable[Path]) -> None:
        self.by_name: dict[str, list[Path]] = {}  # with and without the suffix
        self.by_end: dict[str, list[Path]] = {}  # the last part of how `write_raven` writes it
        self.total = 0
        for recording in recordings:
            self.total += 1
            for name in (recording.name, recording.stem):
                self.by_name.setdefault(name, []).append(recording)
            self.by_end.setdefault(_as_written(recording).rpartition("/")[2], []).append(recording)

    def beside(self, table: Path) -> Path | None:
        """Find the recording whose name the table's begins with: a.wav for a.Table.1.selections.txt; None without one.

        In the table's folder, else anywhere: as a published set lies, with recordings and tables in folders of their own.
        An error where several may be meant.
        """
        parts = table.name.split(".")
        names = [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]  # the longest first
        found = [self.by_name[name] for name in names if name in self.by_name]
        near = [mine for those in found if (mine := [one for one in those if one.parent == table.parent])]
        return _nearest(table, (near or found)[0]) if found else None

    def find(self, table: Path, name: str) -> Path:
        """Find the recording that a table names, in a folder of whatever machine; without a name, the one beside it."""
        if not name:
            if found := self.beside(table):
                return found
            raise OscineError(
                f"no recording beside {table}, nor one of its name in another folder; expected one whose name the table's "
                "begins with"
            )
        place = "/" + name.replace("\\", "/")
        last = place.rpartition("/")[2]
        near = [one for one in self.by_end.get(last, []) if place.endswith(f"/{_as_written(one)}")]
        if not near:
            raise OscineError(
                f"{table} is about {last[:80]}, which is not among {self.total} recordings; put it beside it"
            )
        return _nearest(table, near, PureWindowsPath(name).parts[-2::-1])


def _as_written(recording: Path) -> str:
    """Write a recording's name as a selection table does, with slashes of one kind."""
    return escape_controls(recording.name).replace("\\", "/")


def _nearest(path: Path, recordings: Sequence[Path], folders: Sequence[str] = ()) -> Path:
    """Choose, of recordings of one name, the one in the folders that a table names, in its own, or in those of like names.

    folders: the innermost first. An error where several are as near.
    """

    def nearness(recording: Path) -> tuple[int, bool, int]:
        own = recording.parts[-2::-1]
        return _agreement(own, folders), recording.parent == path.parent, _agreement(own, path.parts[-2::-1])

    best = max(map(nearness, recordings))
    near = [recording for recording in recordings if nearness(recording) == best]
    if len(near) > 1:
        raise OscineError(
            f"{path} may be about {near[0]} or {near[1]}; put it into the folder of one, or export it with Begin Path"
        )
    if not is_utf8(near[0]):
        raise OscineError(
            f"{path} is about {escape_controls(str(near[0]))}, whose name is no UTF-8; rename the recording"
        )
    return near[0]


def _agreement(one: Sequence[str], other: Sequence[str]) -> int:
    """Count the parts that are the same from the first on."""
    return [*(a == b for a, b in zip(one, other)), False].index(False)


def _repeated(table: DataFrame, files: pd.Series) -> pd.Series:
    """Find the rows that show an earlier selection again, in another view."""
    if "Selection" not in table:
        return pd.Series(False, index=table.index)
    return table[["Selection", BEGIN, END]].assign(file=files).duplicated()


def _read_rows(path: Path) -> DataFrame:
    """Read the cells of a selection table; its index is the number of each row, the header being row 1.

    Raven does not quote, so a quotation mark is a letter, unless those around the header's names show that R, say, wrote
    them.
    """
    lines = _lines(path)
    if '"' + BEGIN + '"' in lines[0]:
        try:
            rows = [*csv.reader(lines, delimiter="\t", strict=True)]
        except csv.Error as error:
            raise OscineError(f"{path} is no selection table ({error}); expected quotation marks in pairs") from None
    else:
        rows = [line.split("\t") for line in lines]
    header = [cell.strip() for cell in rows[0]]
    for column in (BEGIN, END):
        if column not in header:
            raise OscineError(
                f"{path} has no column {column}; expected a selection table as Raven writes it, with tabs"
            )
    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise OscineError(f"{path} has several columns called {twice}; rename all but one")
    cells = {number: _even(path, number, row, len(header)) for number, row in enumerate(rows[1:], 2)}
    cells = {number: row for number, row in cells.items() if any(row)}
    table = DataFrame(list(cells.values()), columns=header, index=list(cells), dtype=object)
    numbers = table.columns.intersection([BEGIN, END, LOW, HIGH, OFFSET, *_scores_of(table)])
    if _commas(path, table[numbers].to_numpy().ravel()):
        table[numbers] = table[numbers].apply(lambda cells: cells.str.replace(",", ".", regex=False))
    return table


def _scores_of(table: DataFrame) -> list[str]:
    return [name for name in table.columns.tolist() if column_key(name) in SCORES]


def _filled(table: DataFrame, names: Iterable[str]) -> str | None:
    """Find the first of these columns that is filled in somewhere, else the first that is there: Raven keeps blank ones."""
    there = [name for name in names if name in table]
    return next((name for name in there if (table[name] != "").any()), there[0] if there else None)


def _even(path: Path, number: int, row: list[str], width: int) -> list[str]:
    """Return a row's cells, as many as the header has."""
    if any(row[width:]):
        raise OscineError(
            f"{path}: row {number} has {len(row)} columns, the header {width}; take the tabs out of its texts"
        )
    return [cell.strip() for cell in [*row[:width], *[""] * (width - len(row))]]


def _numbers(path: Path, table: DataFrame, column: str | None, needed: bool = False) -> pd.Series:
    """Read a column of numbers; NaN where it is blank, or not there at all, unless it is needed."""
    if column is None or column not in table:
        return pd.Series(np.nan, index=table.index)
    texts = table[column]
    numbers = as_numbers(texts)
    wrong = numbers.isna() | np.isinf(numbers)
    refuse(path, table[BEGIN], wrong if needed else wrong & ~texts.isin(EMPTY), f"has {column} that is no number")
    return numbers


def _commas(path: Path, numbers: Iterable[str]) -> bool:
    """Tell whether numbers have decimal commas, and log it: tabs divide columns, so that a comma is free to be one."""
    if found := decimal_commas(path, numbers):
        logger.info("%s: %s", path, COMMAS)
    return found


def _lines(path: Path) -> list[str]:
    """Split a file into lines; Raven and Audacity end them in one of three ways, and Python knows more."""
    text, encoding = read_text(path)
    if encoding:
        logger.info("%s: read as %s", path, encoding)
    return re.split("\r\n|\r|\n", text)


def _one_line(label: object) -> str:
    return escape_controls(" ".join(str(label).split()))
