"""Read AudioSet as it lies on a disk: a folder of clips a split, and the published lists of segments.

    balanced_train_segments/ · unbalanced_train_segments/ · eval_segments/      recordings at any depth: [Y]ID[times].suffix
    balanced_train_segments.csv · ...                                           with labels; without one all files count
    ontology.json                                                               names of the labels

A clip that no list names is passed over, and so are videos that are gone: most copies lack a tenth. Gemmeke et al., "Audio
Set: an ontology and human-labeled dataset for audio events", 2017.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
from pandas import DataFrame

from oscine.models.audio.scan import check_permitted, find_recordings
from oscine.models.errors import OscineError
from oscine.models.json_text import read_json

TRAIN = ("balanced_train_segments", "unbalanced_train_segments")
EVAL = "eval_segments"
CORRUPT = ("mW3S0u8bj58", "wM5Qf5xXT8w")  # in eval and unbalanced: BAT (arXiv 2602.16305) leaves them out
SEGMENT = ["id", "start", "end", "labels"]
ID = 11  # characters of a video's name

logger = logging.getLogger(__name__)


def is_audioset(folder: Path) -> bool:
    """Return whether a folder holds AudioSet's training clips."""
    check_permitted(folder)
    return any((folder / split).is_dir() for split in TRAIN)


def find_audioset(folder: Path) -> list[Path]:
    """Find all training clips, balanced and unbalanced, and none of those that are tested on."""
    found = [_clips(folder, split) for split in TRAIN if (folder / split).is_dir()]
    return [path for clips in found for path in clips.values()]


def read_audioset(folder: Path, split: str) -> DataFrame:
    """Read a split as a labelled table: path, labels (names by the ontology, as listed), a row a clip that is there."""
    if split not in (*TRAIN, EVAL):
        raise OscineError(f"AudioSet has no split {split}; choose from {', '.join((*TRAIN, EVAL))}")
    clips, names = _clips(folder, split), read_ontology(folder / "ontology.json")
    segments = read_segments(folder / f"{split}.csv")
    segments = segments[segments["id"].isin(clips.keys())].reset_index(drop=True)
    return DataFrame(
        {
            "path": [str(clips[name]) for name in segments["id"]],
            "labels": [_named(labels, names) for labels in segments["labels"]],
        }
    )


def audioset_classes(folder: Path) -> list[str]:
    """Read the labels of the list of evaluation segments, sorted: their places are the classes' numbers."""
    names = read_ontology(folder / "ontology.json")
    lists = read_segments(folder / f"{EVAL}.csv")["labels"]
    return sorted({name for labels in lists for name in _named(labels, names)})


def read_segments(path: Path) -> DataFrame:
    """Read a published list: id of the video, start and end in it in seconds, labels (ids, with commas)."""
    try:
        # Without a header: its three first lines are comments.
        table = pd.read_csv(path, comment="#", names=SEGMENT, skipinitialspace=True, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise OscineError(f"no list of segments {path}; it is published with AudioSet") from None
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or "unknown").splitlines()[0]
        raise OscineError(
            f"{path} is no list of segments ({reason}); expected rows of ID, start, end, labels"
        ) from None
    wrong = (table["id"].str.len() != ID) | (table["labels"] == "")
    if wrong.any():
        row = ", ".join(map(str, table[wrong].iloc[0]))[:80]
        raise OscineError(
            f"{path} has {wrong.sum()} rows that are no segments, such as {row!r}; expected ID, start, end, labels"
        )
    return table


def read_ontology(path: Path) -> dict[str, str]:
    """Read the names of the labels by their ids."""
    try:
        content = read_json(path, "fetch it again")
    except FileNotFoundError:
        raise OscineError(f"no ontology {path}, which names the labels; it is published with AudioSet") from None
    try:
        names: dict[str, str] = {entry["id"]: entry["name"] for entry in content}
    except (TypeError, KeyError) as error:
        raise OscineError(f"{path} is no ontology ({error!r}); expected a list of objects with id and name") from None
    if not all(isinstance(text, str) for pair in names.items() for text in pair):
        raise OscineError(f"{path} is no ontology (an id or a name is no text); expected a list of objects with both")
    return names


def _clips(folder: Path, split: str) -> dict[str, Path]:
    """Find the files of a split by their videos' ids: those that its list names, or all where there is none."""
    files, segments = find_recordings(folder / split), folder / f"{split}.csv"
    listed = set(read_segments(segments)["id"]) if segments.exists() else None
    clips: dict[str, Path] = {}
    others = []
    for path in files:
        names = _ids(path.stem) or [path.stem]
        names = [name for name in names if listed is None or name in listed]
        if names and names[0] not in clips:
            clips[names[0]] = path
        else:
            others.append(path.name)
    for name in CORRUPT:
        clips.pop(name, None)
    if listed is not None:
        such = f", such as {others[0]}" if others else ""
        logger.info(
            "%s: %d of %d listed clips are there, %d other files%s", split, len(clips), len(listed), len(others), such
        )
        if not clips:
            raise OscineError(
                f"{segments} names none of the clips in {folder / split}, such as {files[0].name}; expected files whose "
                "names begin with the video's ID, such as Y-0mQ8y_5WBs.wav or -0mQ8y_5WBs_30.000.wav"
            )
    return clips


def _ids(stem: str) -> list[str]:
    """Find the ids that a file's name may begin with, the likeliest first.

    Mostly a Y stands before, as an ID may begin with a dash; after it come times, as the downloader wrote them, or nothing.
    A Y may be the ID's own, and so may the sign after it: which it is, the list knows.
    """
    found = []
    for begin in (1, 0) if stem.startswith("Y") else (0,):
        name, rest = stem[begin : begin + ID], stem[begin + ID :]
        if len(name) == ID and not rest[:1].isalnum():
            found.append((len(rest), name))
    return [name for _, name in sorted(found)]


def _named(labels: str, names: dict[str, str]) -> list[str]:
    unknown = [label for label in labels.split(",") if label not in names]
    if unknown:
        raise OscineError(f"the ontology has no label {unknown[0]}; take the one that was published with the segments")
    return [names[label] for label in labels.split(",")]
