"""Read the folders into which BirdNET-Analyzer's review sorts snippets: SPECIES/Positive and SPECIES/Negative.

A snippet is called after what was detected: CONFIDENCE_NUMBER_RECORDING_STARTs_ENDs.wav. Detections need not be as long as
clips: what sounds in one sounds in every clip that holds all of it; what does not is absent of every clip inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from oscine.models.audio.scan import SUFFIXES
from oscine.models.errors import OscineError
from oscine.probe.label.journal import ABSENT, PRESENT, Clip
from oscine.probe.label.loop.clips import ClipTable

SORTED_AS = {"Positive": PRESENT, "Negative": ABSENT}
SNIPPET = re.compile(r"\d\.\d+_\d+_(?P<recording>.+)_(?P<start>\d+(?:\.\d+)?)s_(?P<end>\d+(?:\.\d+)?)s")
ROUNDED = 0.06  # seconds: names have one digit behind the point


class Reviews(NamedTuple):
    """What was reviewed.

    said     clip to the states of the classes that it was reviewed for
    strange  snippets that are of no clip
    """

    said: dict[Clip, dict[str, str]]
    strange: list[str]


def is_reviewed(folder: Path) -> bool:
    """Return whether a folder, or one of its folders, holds snippets that were reviewed."""
    return any(_sorted_folders(folder))


def read_reviews(folder: Path, table: ClipTable) -> Reviews:
    """Read which class was heard, or not heard, in the clips of a table; a class is called after its folder."""
    recordings = _by_stem(table)
    said, strange = dict[Clip, dict[str, str]](), list[str]()
    for place in _sorted_folders(folder):
        name, state = place.resolve().parent.name, SORTED_AS[place.name]
        for path in sorted(one for one in place.iterdir() if one.suffix.lower() in SUFFIXES):
            clips = _clips_of(path, recordings, state, table)
            strange += [] if clips else [path.name]
            for clip in clips:
                if said.setdefault(clip, {}).setdefault(name, state) != state:
                    raise OscineError(
                        f"{path}: {name} in {clip} is Positive and Negative; take one of the snippets out"
                    )
    return Reviews(said, strange)


def _sorted_folders(folder: Path) -> Iterator[Path]:
    """Yield the folders of snippets that were reviewed: of one species, or of several."""
    places = [folder, *sorted(one for one in folder.iterdir() if one.is_dir())]
    return (place / name for place in places for name in SORTED_AS if (place / name).is_dir())


def _by_stem(table: ClipTable) -> dict[str, dict[str, list[Clip]]]:
    """Sort the clips of a table by the name of their recording without its ending, then by recording."""
    found: dict[str, dict[str, list[Clip]]] = {}
    for clip in table.clips:
        found.setdefault(Path(clip.recording).stem, {}).setdefault(clip.recording, []).append(clip)
    return found


def _clips_of(path: Path, recordings: dict[str, dict[str, list[Clip]]], state: str, table: ClipTable) -> list[Clip]:
    """Return the clips of which a snippet says something."""
    parts = SNIPPET.fullmatch(path.stem)
    if parts is None:
        raise OscineError(
            f"{path} does not name its recording and times; expected CONFIDENCE_NUMBER_RECORDING_STARTs_ENDs.wav, as "
            "BirdNET-Analyzer writes segments"
        )
    own = recordings.get(parts["recording"], {})
    if len(own) > 1:
        raise OscineError(
            f"{path} may be of {' or '.join([*own][:2])} in {table.path}; give recordings names of their own"
        )
    start, end = float(parts["start"]), float(parts["end"])
    clips = [clip for found in own.values() for clip in found]
    if state == PRESENT:
        return [clip for clip in clips if clip.start - ROUNDED < start and end < clip.end + ROUNDED]
    return [clip for clip in clips if start - ROUNDED < clip.start and clip.end < end + ROUNDED]
