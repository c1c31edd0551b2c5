"""Read a queue back that somebody has filled in, into that person's journal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from oscine.models.errors import OscineError
from oscine.models.recordings.spreadsheet import Sheet, read_sheet
from oscine.models.text.words import counted
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Answer, Clip, Journal, journal_path
from oscine.probe.label.loop.audit import audit_order, audited
from oscine.probe.label.loop.clips import ClipTable, find_recordings
from oscine.probe.label.queue.queue import read_labels, votes_of
from oscine.probe.tasks.class_names import check_known, means_no_class
from oscine.probe.tasks.selection_tables import read_audacity, read_raven

CANNOT_TELL = "?"  # alone: the clip cannot be judged; behind a name: unsure
NEAR = 0.01  # seconds by which times in a file may differ from those of the table, for rounding
HOPLITE = {"recording": "path", "start_offset_s": "start", "end_offset_s": "end", "label": "labels"}
HOPLITE_STATES = {"positive": PRESENT, "negative": ABSENT, "uncertain": UNSURE}

logger = logging.getLogger(__name__)


class Filled(NamedTuple):
    """A clip as it was filled in.

    text            as it stands there; "" where it was not filled in
    states          of the classes that are named
    whole           whether the classes that are not named are absent, else nobody was asked for them
    strategy, batch that chose it
    """

    clip: Clip
    text: str
    states: dict[str, str]
    whole: bool = True
    strategy: str = ""
    batch: int = 0


class ReadQueue(NamedTuple):
    """What came of a file: answers that were taken, rows that are not filled in, and clips that had an answer before."""

    taken: int
    empty: int
    before: int


@dataclass(frozen=True)
class FilledSettings:
    """What filled-in queues are about.

    table       of embeddings, as `read_clips` reads it
    recordings  the folder that was embedded, which Raven and Audacity files need
    labels      folder of the journals; who: whose journal the answers join
    classes     all that there are; by default those that are named
    """

    table: ClipTable
    labels: Path
    who: str
    recordings: Path | None = None
    classes: Sequence[str] = ()
    one_label: bool = False
    seed: int = 0


def read_filled(paths: Sequence[Path], settings: FilledSettings) -> ReadQueue:
    """Read filled-in queues into a journal; what is already in it stays as it is."""
    rows = [row for path in paths for row in _read(path, settings)]
    answered = [row for row in rows if row.text]
    known = [name for one in read_labels(settings.labels) for name in one.classes]
    named = sorted({name for row in answered for name in row.states})
    if settings.classes:
        check_known(named or list(settings.classes), [*settings.classes, *known])
    classes = list(dict.fromkeys([*settings.classes, *known, *named]))
    if not classes:
        raise OscineError(f"no clip of {paths[0]} has a label; fill in the column labels, names with ; between them")
    taken = before = 0
    with Journal(journal_path(settings.labels, settings.who), classes, one_label=settings.one_label) as journal:
        done = {answer.clip for answer in journal.content.answers}
        for row in answered:
            if row.clip in done:
                before += 1
                continue
            journal.add(_answer(row, journal.content.classes, settings))
            done.add(row.clip)
            taken += 1
        _mark_audit(journal, settings)
    return ReadQueue(taken, len(rows) - len(answered), before)


def parse_labels(text: str) -> dict[str, str]:
    """Return the states of the classes that a cell names: names with ";" between, "?" behind those that are unsure.

    What means that nothing sounds ("-", none, noise) names no class; "?" alone means that the clip cannot be judged.
    """
    names = [name.strip() for name in text.split(";") if name.strip()]
    said = {name.removesuffix(CANNOT_TELL).strip(): UNSURE if name.endswith(CANNOT_TELL) else PRESENT for name in names}
    return {name: state for name, state in said.items() if name and not means_no_class(name)}


def _answer(row: Filled, classes: Sequence[str], settings: FilledSettings) -> Answer:
    if settings.one_label and sum(state != ABSENT for state in row.states.values()) > 1:
        raise OscineError(f"{row.clip} has several classes, {row.text!r}, expected one")
    skipped = row.text.strip() == CANNOT_TELL
    states = {} if skipped else dict.fromkeys(classes if row.whole else (), ABSENT) | row.states
    return Answer(
        row.clip, settings.who, states, strategy=row.strategy, batch=row.batch, seed=settings.seed,
        table=settings.table.fingerprint,
    )  # fmt: skip


def _mark_audit(journal: Journal, settings: FilledSettings) -> None:
    """Mark the answers that stand without a gap at the beginning of the random order of all clips."""
    votes = votes_of(settings.table, read_labels(settings.labels))
    for number in audited(audit_order(settings.table, settings.seed), votes):
        journal.mark_audit(settings.table.clips[number])


def _read(path: Path, settings: FilledSettings) -> list[Filled]:
    if path.is_dir() or path.suffix.lower() == ".txt":
        return _read_selections(path, settings)
    sheet = read_sheet(path)
    if {*HOPLITE, "label_type"} <= {*sheet.table.columns}:
        return _read_hoplite(sheet, settings.table)
    missing = [name for name in ("path", "start", "end", "labels") if name not in sheet.table]
    if missing:
        raise OscineError(sheet.describe_missing(missing))
    if "table" in sheet.table:
        other = next((text for text in sheet.texts("table") if text != settings.table.fingerprint), None)
        if other is not None:
            raise OscineError(
                f"{path} is a queue of another table than {settings.table.path}; give the one that it was made of"
            )
    labels, places = sheet.texts("labels"), _places(settings.table)
    names = ("strategy", "batch")
    more = [sheet.texts(name) if name in sheet.table else [""] * len(labels) for name in names]
    found = []
    for place, start, end, text, strategy, batch in zip(*_keys(sheet), labels, *more):
        clip = _find(places, path, place, start=start, end=end)
        number = int(batch) if batch.isdecimal() else 0
        found.append(Filled(clip, text, parse_labels(text), strategy=strategy, batch=number))
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
    return [Filled(clip, ";".join(states), states, whole=False) for clip, states in said.items()]


def _read_selections(path: Path, settings: FilledSettings) -> list[Filled]:
    """Read a Raven selection table, or a folder of Audacity's label tracks; selections of no clip are left out."""
    if settings.recordings is None:
        raise OscineError(
            f"{path} names recordings by their files; give the folder that was embedded with --recordings"
        )
    names = {
        str(place.absolute()): name for name, place in find_recordings(settings.table, settings.recordings).items()
    }
    recordings = [Path(place) for place in names]
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    raven = [file for file in files if "Begin Time" in file.open(encoding="utf-8", errors="replace").readline()]
    places, said, strange = _places(settings.table), dict[Clip, list[str]](), list[str]()
    for file in files:
        read = read_raven(file, recordings) if file in raven else read_audacity(file, recordings)
        for place, start, end, label in zip(*(read[name].tolist() for name in ("path", "start", "end", "label"))):
            clip = _nearest(places, names[str(Path(place).absolute())], start, end)
            if clip is None:
                strange.append(f"{label or 'a selection'} from {start:g} s")
            else:
                said.setdefault(clip, []).append(label.strip())
    if strange:
        logger.warning(
            "%s: %s no clip of %s, such as %s; left out",
            path, counted(len(strange), "selection is", "selections are"), settings.table.path, strange[0],
        )  # fmt: skip
    texts = {clip: ";".join(filter(None, names)) for clip, names in said.items()}
    return [Filled(clip, text, parse_labels(text)) for clip, text in texts.items()]


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
