"""Recognise the columns that oscine reads by the names that people and programs give them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pandas import DataFrame

from oscine.models.audio.scan import is_recording
from oscine.models.errors import OscineError

# What a column is called here, and elsewhere (Raven, BirdNET, OpenSoundscape), as `column_key` has it; the likeliest first.
SYNONYMS = {
    "path": (
        "file", "filename", "file name", "filepath", "file path", "begin path", "begin file", "recording", "recording path",
        "recording file", "wav", "wav file", "wavfile", "audio", "audio file", "audio path", "audiofile", "sound file",
        "soundfile", "clip", "clip path", "full path", "fullpath",
    ),
    "label": (
        "species", "common name", "scientific name", "species code", "ebird code", "primary label", "annotation", "category",
        "class", "class name", "target", "taxon", "sound type", "call type",
        "art", "artname", "vogelart", "tierart", "klasse", "espèce", "espece", "classe", "especie", "espécie", "clase",
        "soort", "specie",
    ),
    "labels": ("tags", "all labels", "species list"),
    # Without their unit, see `_TIMES`. Words for a time of day ("heure de début", "Uhrzeit") are none of them.
    "start": (
        "begin", "start time", "begin time", "onset", "starttime", "begintime", "start offset",
        "beginn", "anfang", "startzeit", "anfangszeit", "début", "debut", "temps début", "temps de début", "inicio",
        "início", "comienzo", "começo", "tiempo inicial", "tiempo de inicio", "tempo inicial", "begintijd", "starttijd",
        "början", "borjan", "starttid",
    ),
    "end": (
        "stop", "finish", "end time", "stop time", "endtime", "stoptime", "end offset",
        "ende", "endzeit", "fin", "temps fin", "temps de fin", "fim", "tiempo final", "tiempo de fin", "tempo final", "eind",
        "einde", "eindtijd", "slut", "sluttid",
    ),
    "fold": ("folds", "cv fold", "k fold", "kfold"),
    "split": ("splits", "subset", "partition", "data split", "set"),
    "recordist": (),
    "site": (),
    "group": (),
}  # fmt: skip
SECONDS = {"s", "sec", "secs", "second", "seconds", "sek", "sekunden", "secondes", "segundos", "seconden", "sekunder"}
OTHER_UNITS = {
    "ms", "msec", "milliseconds", "millisekunden", "min", "minutes", "minuten", "h", "hours", "samples", "frames",
}  # fmt: skip
SCORES = {"score", "confidence", "probability"}  # of a classifier, as it writes beside a label how sure it is
SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "development"), "valid"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}


def column_key(name: object) -> str:
    """Reduce a column's name to its words, without case and unit: "Begin Time (s)" is "begin time"."""
    # The first letters do for names that are known; of a first line that is no header, brackets would be sought for minutes.
    bare = re.sub(r"[(\[][^)\]]*[)\]]", " ", str(name)[:200]).casefold()
    return re.sub(r"[\W_]+", " ", bare).strip()


KNOWN = {*SYNONYMS, *(synonym for synonyms in SYNONYMS.values() for synonym in synonyms)}


def time_key(name: object) -> tuple[str, str]:
    """Split the name of a column of times into `column_key` and unit: "Beginn in s" is "beginn" and "s"."""
    *words, last = re.sub(r"[\W_]+", " ", str(name)[:200]).casefold().split() or [""]
    if not words or last not in SECONDS | OTHER_UNITS:
        return column_key(name), ""
    return " ".join(words[:-1] if words[-1] in ("in", "en", "em") else words), last


def name_columns(path: object, table: DataFrame, wanted: Iterable[str]) -> tuple[DataFrame, list[str]]:
    """Rename the columns that are meant by the wanted ones; return the table and what was guessed.

    Several that may be meant by one are an error, unless all but one are ruled out by what they hold. Columns that are not
    there are left to the caller.
    """
    taken: dict[str, str] = {}
    unsure: list[str] = []
    for name in wanted:
        if name in table:
            continue
        found = _candidates(table, name)
        if name == "end" and not found:  # where an onset is the start, an offset is the end; alone it may be either
            keys = {column_key(column): column for column in table.columns}
            found = [keys["offset"]] if {"onset", "offset"} <= keys.keys() else []
        if len(found) > 1:
            first, *others = found
            unsure.append(
                f"{name} may be the column {first} or {' or '.join(others)}; it is likely {first}: call that {name}"
            )
        elif found:
            if name in ("start", "end") and (unit := time_key(found[0])[1]) in OTHER_UNITS:
                raise OscineError(
                    f"{path}: its column {found[0]} is in {unit}, and {name} is read in seconds; convert it"
                )
            taken[found[0]] = name
    if unsure:
        raise OscineError(f"{path}: {'; '.join(unsure)}")
    if not taken:
        return table, []
    are = "is" if len(taken) == 1 else "are"
    return table.rename(columns=taken), [f"{', '.join(taken)} {are} read as {', '.join(taken.values())}"]


def _candidates(table: DataFrame, name: str) -> list[str]:
    """Find columns that may be meant, the likeliest first."""
    known = [name, *SYNONYMS[name]]
    called = {
        column: time_key(column)[0] if name in ("start", "end") else column_key(column) for column in table.columns
    }
    found = [column for one in known for column in called if called[column] == one]
    if name == "path":
        # A column of names of recordings is that by whatever language it is called in; "recording" may hold numbers.
        texts = {column: [cell for cell in table[column] if cell] for column in table.columns}
        named = [
            column
            for column, cells in texts.items()
            if cells and all(isinstance(cell, str) and is_recording(cell) for cell in cells)
        ]
        return [column for column in found if column in named] or (named if len(named) == 1 else found)
    if name == "split":
        return [column for column in found if {column_key(cell) for cell in table[column].unique()} <= {*SPLITS, ""}]
    if name == "label" and "labels" in table:
        return []
    if name == "label" and len(found) > 1:
        # Of common and scientific name either will do: they tell the same rows apart.
        first, *others = found
        same = all(
            len(table[[first, one]].drop_duplicates()) == table[first].nunique() == table[one].nunique()
            for one in others
        )
        return [first] if same else found
    return found
