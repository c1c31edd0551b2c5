"""Read the rows of files in which clips are labelled: queues filled in, and what other programs keep."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from oscine.models.errors import OscineError
from oscine.models.recordings.spreadsheet import Sheet, read_sheet
from oscine.models.text.words import counted
from oscine.probe.label.cell import NAMELESS, is_nameless, parse_cell
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Clip
from oscine.probe.label.loop.clips import ClipTable, find_recordings
from oscine.probe.label.queue.birdnet_reviews import is_reviewed, read_reviews
from oscine.probe.tasks.selection_tables import read_audacity, read_raven

NEAR = 0.01  # seconds by which times in a file may differ from those of the table, for rounding
HOPLITE = {"recording": "path", "start_offset_s": "start", "end_offset_s": "end", "label": "labels"}
HOPLITE_STATES = {"positive": PRESENT, "negative": ABSENT, "uncertain": UNSURE}

logger = logging.getLogger(__name__)


class Filled(NamedTuple):
    """A clip as it was filled in.

    place           file and row, for errors
    text            as it stands there; "" where it was not filled in
    states          of the classes that are named; none of a clip that cannot be judged
    whole           whether the classes that are not named are absent, else nobody was asked for them, or could tell
    strategy, batch that chose it
    """

    clip: Clip
    place: str
    text: str
    states: dict[str, str]
    whole: bool = True
    strategy: str = ""
    batch: int = 0


def read_files(path: Path, table: ClipTable, recordings: Path | None = None) -> list[Filled]:
    """Read a file, or a folder of them, about the clips of a table. recordings: the folder that was embedded."""
    if path.is_dir() and is_reviewed(path):
        return _read_reviews(path, table)
    if path.is_dir() or path.suffix.lower() == ".txt":
        return _read_selections(path, table, recordings)
    sheet = read_sheet(path)
    if {*HOPLITE, "label_type"} <= {*sheet.table.columns}:
        return _read_hoplite(sheet, table)
    missing = [name for name in ("path", "start", "end", "labels") if name not in sheet.table]
    if missing:
        raise OscineError(sheet.describe_missing(missing))
    if "table" in sheet.table:
        other = next((text for text in sheet.texts("table") if text != table.fingerprint), None)
        if other is not None:
            raise OscineError(f"{path} is a queue of another table than {table.path}; give the one that it was made of")
    labels, places = sheet.texts("labels"), _places(table)
    sheet.add_fault(labels.map(is_nameless), NAMELESS)
    sheet.raise_faults()
    names = ("strategy", "batch")
    more = [sheet.texts(name) if name in sheet.table else [""] * len(labels) for name in names]
    found = []
    for row, place, start, end, text, strategy, batch in zip(labels.index, *_keys(sheet), labels, *more):
        clip = _find(places, path, place, start=start, end=end)
        number = int(batch) if batch.isdecimal() else 0
        found.append(Filled(clip, f"{path}: row {row}", text, *parse_cell(text), strategy, number))
    return found


def _keys(sheet: Sheet) -> tuple[Sequence[str], Sequence[float], Sequence[float]]:
    return sheet.texts("path").tolist(), sheet.seconds("start").tolist(), sheet.seconds("end").tolist()


def _read_hoplite(sheet: Sheet, table: ClipTable) -> list[Filled]:
    """Read Hoplite's annotations, a row a label: classes that a clip has no row of were not asked for."""
    kinds = sheet.texts("label_type").str.lower()
    if wrong := next((kind for kind in kinds if kind not in HOPLITE_STATES), None):
        raise OscineError(f"{sheet.path} has the label_type {wrong!r}, expected {', '.join(HOPLITE_STATES)}")
    sheet.table = sheet.table.rename(columns=HOPLITE)
    places, said = _places(table), dict[Clip, dict[str, str]]()
    for place, start, end, name, kind in zip(*_keys(sheet), sheet.texts("labels"), kinds):
        clip = _find(places, sheet.path, place, start=start, end=end)
        said.setdefault(clip, {})[name] = HOPLITE_STATES[kind]
    return [Filled(clip, str(sheet.path), ";".join(states), states, whole=False) for clip, states in said.items()]


def _read_reviews(path: Path, table: ClipTable) -> list[Filled]:
    """Read snippets that BirdNET-Analyzer's review has sorted: of each clip, what it was reviewed for."""
    said, strange = read_reviews(path, table)
    if not said and not strange:
        raise OscineError(f"{path} has no snippets; expected some in SPECIES/Positive or SPECIES/Negative")
    if strange:
        logger.warning(
            "%s: %s no clip of %s, such as %s; left out",
            path, counted(len(strange), "snippet tells of", "snippets tell of"), table.path, strange[0],
        )  # fmt: skip
    return [Filled(clip, str(path), ";".join(states), states, whole=False) for clip, states in said.items()]


def _read_selections(path: Path, table: ClipTable, recordings: Path | None) -> list[Filled]:
    """Read a Raven selection table, or a folder of Audacity's label tracks; selections of no clip are left out."""
    if recordings is None:
        raise OscineError(
            f"{path} names recordings by their files; give the folder that was embedded with --recordings"
        )
    names = {str(place.absolute()): name for name, place in find_recordings(table, recordings).items()}
    there = [Path(place) for place in names]
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    raven = [file for file in files if "Begin Time" in file.open(encoding="utf-8", errors="replace").readline()]
    places, said, strange = _places(table), dict[Clip, list[str]](), list[str]()
    for file in files:
        read = read_raven(file, there) if file in raven else read_audacity(file, there)
        for place, start, end, label in zip(*(read[name].tolist() for name in ("path", "start", "end", "label"))):
            clip = _nearest(places, names[str(Path(place).absolute())], start, end)
            if clip is None:
                strange.append(f"{label or 'a selection'} from {start:g} s")
            else:
                said.setdefault(clip, []).append(label.strip())
    if strange:
        logger.warning(
            "%s: %s no clip of %s, such as %s; left out",
            path, counted(len(strange), "selection is", "selections are"), table.path, strange[0],
        )  # fmt: skip
    texts = {clip: ";".join(filter(None, names)) for clip, names in said.items()}
    if nameless := next((clip for clip, text in texts.items() if is_nameless(text)), None):
        raise OscineError(f"{path}: {nameless} {NAMELESS}")
    return [Filled(clip, str(path), text, *parse_cell(text)) for clip, text in texts.items()]


def _places(table: ClipTable) -> Mapping[str, list[Clip]]:
    places: dict[str, list[Clip]] = {}
    for clip in table.clips:
        places.setdefault(clip.recording, []).append(clip)
    return places


def _nearest(places: Mapping[str, list[Clip]], name: str, start: float, end: float) -> Clip | None:
    near = [clip for clip in places.get(name, ()) if abs(clip.start - start) < NEAR and abs(clip.end - end) < NEAR]
    return near[0] if near else None


def _find(places: Mapping[str, list[Clip]], path: Path, name: str, *, start: float, end: float) -> Clip:
    clip = _nearest(places, name, start, end)
    if clip is None:
        raise OscineError(
            f"{path} is about {name} from {start:g} to {end:g} s, which is no clip of the table any more; take that row out"
        )
    return clip
