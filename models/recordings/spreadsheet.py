"""Read tables as Excel, R and shells write them: their letters, separators, column names and numbers.

What is certain is taken, and said in one line by `Sheet.log_notes`; anything else is an error that names the guess. The
selection tables of Raven are read by `oscine.probe.tasks.selection_tables`.
"""

from __future__ import annotations

import codecs
import csv
import io
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas import DataFrame, Series

from oscine.models.audio.scan import is_recording
from oscine.models.errors import OscineError
from oscine.models.files import did_you_mean
from oscine.models.recordings.column_names import KNOWN, column_key, name_columns
from oscine.models.text.safe_text import unguarded

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # how the files begin that are called .xlsx, .ods and .xls
SAVE = 'save it as "CSV UTF-8" (in Excel: File, Save As)'
EMPTY = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "#N/A")  # of columns that are no labels: no value
COMMAS = "numbers have decimal commas"
LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûü"
# Bytes that are letters in Windows-1252 are others in the code pages of Eastern Europe, Cyrillic and the Mac. Taken are
# Western letters, two in a row at most (Finnish "pääsky"; Cyrillic words have more) and none with a grave accent at the
# beginning of a word (Czech "č"); quotation marks; nothing that is a letter elsewhere ("³" is Polish "ł").
UNSURE = re.compile(
    rf"[^\x00-\x7f{LETTERS}\x80\x85\x91-\x97€…‘’“”–—\xa0°´µ«»§]|[{LETTERS}]{{3}}|(?<!\w)[ÈÌÒÙèìòù](?=\w)"
)

logger = logging.getLogger(__name__)


@dataclass
class Sheet:
    """A table as it was read. Its index is the number of each row in a spreadsheet, where the header is row 1.

    table      of a text file, every cell is a text without blanks around it, nor the apostrophe of `cells.as_cell`; of
               Parquet, what it holds
    separator  between the columns; None of Parquet
    notes      what was guessed, each a few words
    faults     what is wrong with rows, which `raise_faults` raises all at once
    """

    path: Path
    table: DataFrame
    separator: str | None = None
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    header: list[str] = field(init=False)  # as the file has it

    def __post_init__(self) -> None:
        self.header = [str(column) for column in self.table.columns]

    def texts(self, column: str) -> Series:
        """Return a column's cells as text."""
        cells = [as_text(cell).strip() for cell in self.table[column]]
        return Series(cells, index=self.table.index, dtype=object)

    def typed(self, column: str) -> Series:
        """Return a column's cells as numbers if all that are filled in are some; NaN where empty."""
        cells = self.table[column]
        if self.separator is None:
            return cells
        known = cells.where(~cells.isin(EMPTY))
        numbers = pd.to_numeric(known, errors="coerce")
        return numbers if numbers.notna().sum() == known.notna().sum() else known

    def seconds(self, column: str) -> Series:
        """Return the column start or end; NaN where empty. Decimal commas are read where they can be nothing else."""
        columns = {name: self.texts(name) for name in ("start", "end") if name in self.table}
        # Where columns are separated by semicolons, it is because the comma was taken.
        commas = decimal_commas(
            self.path, (cell for cells in columns.values() for cell in cells), self.separator == ";"
        )
        if commas and COMMAS not in self.notes:
            self.notes.append(COMMAS)
        texts = columns[column].where(~columns[column].isin(EMPTY), "")
        numbers = as_numbers(texts, commas)
        wrong = (numbers.isna() & (texts != "")) | np.isinf(numbers)
        if wrong.any():
            first, called = texts[wrong].iloc[0], self.header[[*self.table.columns].index(column)]
            self.add_fault(
                wrong,
                f"has the {column} {first[:40]!r}, expected a number of seconds with a decimal point, such as 12.5"
                + ("" if column in self.header else f"; rename {called} if it is no time in its file"),
            )  # fmt: skip
        return numbers

    def name_columns(self, wanted: Iterable[str]) -> None:
        """Give the columns that are meant by the wanted names those names."""
        self.table, guessed = name_columns(self.path, self.table, wanted)
        self.notes += guessed

    def add_fault(self, wrong: Series, complaint: str) -> None:
        """Note a fault of the rows for which it is true."""
        if fault := _fault(self.table["path"], wrong, complaint):
            self.faults.append(fault)

    def raise_faults(self) -> None:
        """Raise an error with all faults of rows."""
        if self.faults:
            raise OscineError(f"{self.path}: {'; '.join(self.faults)}")

    def describe_missing(self, columns: list[str]) -> str:
        """Return what to say where these columns are not there."""
        many = "s" if len(columns) > 1 else ""
        has = ", ".join(self.header)[:200]
        said = f"{self.path} has no column{many} {' and '.join(columns)}; it has {has}"
        if len(self.header) == 1 and self.separator:
            return f"{said}, in one column: put commas, semicolons or tabs between columns"
        return f"{said}; rename what is meant"

    def log_notes(self) -> None:
        """Log what was guessed, in one line."""
        if self.notes:
            logger.info("%s: %s", self.path, "; ".join(self.notes))


def read_sheet(path: str | Path) -> Sheet:
    """Read a table from CSV, TSV, or text with semicolons; or from Parquet. Rows that are empty are left out.

    A text file without a header, of one column that holds names of recordings, is a column `path`.
    """
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        try:
            table = pd.read_parquet(path)
        except FileNotFoundError:
            raise OscineError(f"no table {path}; {did_you_mean(path)}") from None
        except (OSError, ValueError) as error:
            raise _no_table(path, error) from None
        sheet = Sheet(path, table.set_axis(pd.RangeIndex(2, len(table) + 2)))
    else:
        sheet = _read_text(path)
    if sheet.table.empty:
        raise OscineError(f"the table {path} has no rows; expected one for each recording")
    return sheet


def _read_text(path: Path) -> Sheet:
    text, encoding = read_text(path)
    notes = [f"read as {encoding}"] if encoding else []
    named = re.match(r"(?i)\"?sep=([,;\t])\"?\r?\n", text)  # Excel's own line, which it does not show
    lines = text[named.end() :] if named else text
    header = next((line for line in lines.splitlines() if line.strip()), "")
    separator = named[1] if named else _separator(path, header)
    if separator != ",":
        notes.append(f"columns are separated by {SEPARATORS[separator]}")
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        rows = {
            number: cells
            for number, row in enumerate(reader, 1)
            if any(cells := [unguarded(cell.strip()) for cell in row])
        }
    except csv.Error as error:
        raise _no_table(path, f"line {reader.line_num}: {error}") from None
    if is_recording(header.strip().strip('"')) and not {column_key(cell) for cell in next(iter(rows.values()))} & KNOWN:
        # A path a line; Windows puts what is copied as a path between quotation marks.
        rows = {number: [line.strip().strip('"')] for number, line in enumerate(lines.splitlines(), 1) if line.strip()}
        notes, names = [*notes[: bool(encoding)], "it has no header and is read as a path a line"], ["path"]
    elif not rows:
        names = ["path"]
    else:
        names = _names(rows.pop(next(iter(rows))), rows, notes)
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise OscineError(f"{path} has several columns called {twice}; rename all but one")
    return Sheet(
        path, DataFrame(_even(path, rows, len(names)), columns=names, index=list(rows), dtype=object), separator, notes
    )


def _names(header: list[str], rows: dict[int, list[str]], notes: list[str]) -> list[str]:
    """Name the columns: R writes the names of rows, a column more than the header has, before the others."""
    if rows and all(len(cells) == len(header) + 1 and cells[-1] for cells in rows.values()):
        firsts = [cells[0] for cells in rows.values()]
        if len({*firsts}) == len(firsts) and not any(map(is_recording, firsts)):
            notes.append("the first column is taken for the names of rows, which R writes without a header")
            return ["", *header]
    return header


def _even(path: Path, rows: dict[int, list[str]], width: int) -> list[list[str]]:
    for number, cells in rows.items():
        if any(cells[width:]):
            raise _no_table(
                path, f"row {number} has {len(cells)} columns, the header {width}; a text with a separator needs quotes"
            )
    return [[*cells[:width], *[""] * (width - len(cells))] for cells in rows.values()]


def _separator(path: Path, header: str) -> str:
    """Find what splits the header; if several do, the one that gives most of the names that are known."""
    try:
        split = {one: next(csv.reader([header], delimiter=one, skipinitialspace=True), []) for one in SEPARATORS}
    except csv.Error as error:
        raise _no_table(path, f"its first line: {error}") from None
    found = [one for one, cells in split.items() if len(cells) > 1]
    if len(found) < 2:
        return found[0] if found else ","
    known = {one: len({column_key(cell) for cell in split[one]} & KNOWN) for one in found}
    best = max(found, key=lambda one: known[one])
    if [*known.values()].count(known[best]) > 1:
        raise OscineError(
            f"{path}: its first line has {' and '.join(SEPARATORS[one] for one in found)}, and either may be between its "
            f"columns; put names of columns into quotes, such as path{best}label"
        )
    return best


def read_text(path: Path) -> tuple[str, str]:
    """Read the text of a file; and how it is encoded, if not as UTF-8."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise OscineError(f"no table {path}; {did_you_mean(path)}") from None
    except OSError as error:
        raise OscineError(f"the table {path} could not be opened ({error.strerror or error}); check it") from None
    if data.startswith(WORKBOOKS):
        raise OscineError(f"{path} is a workbook of Excel or its like; {SAVE} and give that file")
    try:
        if order := _utf16(data):
            return data.decode(order), "UTF-16"
        if b"\0" not in data:
            return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        if not order:
            text = _western(path, data)
            word = re.search(r"\w*[^\x00-\x7f]\w*", text)
            return text, "Windows-1252" + (f" ({word[0]})" if word else "")
    raise _no_table(path, f"its bytes are no text; {SAVE}")


def _utf16(data: bytes) -> str:
    """Return the name of the encoding if it is UTF-16: of Western letters, every other byte is 0."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = {"utf-16-le": data[1::2], "utf-16-be": data[::2]}
    return next((order for order, half in zeros.items() if half.count(0) > 0.9 * len(half)), "")


def _western(path: Path, data: bytes) -> str:
    text = data.decode("cp1252", errors="replace")
    if doubtful := UNSURE.search(text):
        line = text[: doubtful.start()].count("\n") + 1
        raise OscineError(
            f"{path}: letters such as é or ø on line {line} may be read in several ways, so that names would be spelt "
            f"wrongly; {SAVE}"
        )
    return text


def as_text(cell: Any) -> str:
    """Write a cell as CSV would hold it; in Parquet, labels may be a list."""
    if isinstance(cell, (list, tuple, np.ndarray)):
        return ";".join(map(str, cell))
    return "" if pd.isna(cell) else str(cell)


def decimal_commas(path: Path, numbers: Iterable[str], certain: bool = False) -> bool:
    """Return whether numbers have decimal commas; raise where the commas may divide thousands instead.

    1,500 may be fifteen hundred; 0,500 and 1,5 may not. certain: that commas divide nothing, whatever numbers there are.
    """
    cells = list(numbers)
    commas = [cell for cell in cells if re.fullmatch(r"[+-]?\d*,\d+", cell)]
    if not commas or any("." in cell for cell in cells):
        return False
    if not certain and all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", cell) for cell in commas):
        raise OscineError(
            f"{path} has numbers such as {commas[0]}, in which the comma may be a decimal one or divide thousands; write a "
            "decimal point"
        )
    return True


def as_numbers(texts: Series, commas: bool = False) -> Series:
    """Read texts as numbers, with decimal commas or points; NaN where they are none."""
    plain = texts.str.replace(",", ".", regex=False) if commas else texts
    return pd.to_numeric(plain, errors="coerce").astype(float)


def refuse(path: Path, names: Series, wrong: Series, complaint: str) -> None:
    """Raise an error that names the first wrong row of a table, by its recording, and how many there are."""
    if fault := _fault(names, wrong, complaint):
        raise OscineError(f"{path}: {fault}")


def _fault(names: Series, wrong: Series, complaint: str) -> str:
    """Describe the first wrong row and what is wrong with it, or "" where none is."""
    if not wrong.any():
        return ""
    first = int(wrong.to_numpy().argmax())
    more = f" ({int(wrong.sum())} such rows)" if wrong.sum() > 1 else ""
    return f"row {names.index[first]} ({str(names.iloc[first])[:200]}) {complaint}{more}"


def _no_table(path: Path, reason: object) -> OscineError:
    text = (str(reason).strip() or "unknown").splitlines()[0]
    return OscineError(f"{path} is no table ({text}); expected a CSV with columns such as path and label")
