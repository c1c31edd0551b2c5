"""Read published data sets from the disk, each as a `Task`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pandas import DataFrame

from oscine.models.audio.load import audio_info
from oscine.models.audio.scan import find_recordings
from oscine.models.errors import OscineError
from oscine.models.json_text import read_json, shown
from oscine.models.recordings.audioset import EVAL, TRAIN, audioset_classes, read_audioset
from oscine.probe.tasks.birdset import birdset
from oscine.probe.tasks.frame_task import Event, FrameTask
from oscine.probe.tasks.settings import BIRDSET
from oscine.probe.tasks.task import Part, Task, multi_hot, split_rows

COMMANDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
UNKNOWN, SILENCE, NOISE = "unknown", "silence", "_background_noise_"
AS_PUBLISHED = "the folder that holds it as it was published"
HEAR_RELEASE = "the folder of HEAR's release of DCASE 2016 task 2"
BEANS = {
    "watkins": "data/watkins/annotations.{}.csv",
    "bats": "data/egyptian_fruit_bats/annotations.{}.csv",
    "cbi": "data/cbi/annotations.{}.csv",
    "dogs": "data/dogs/annotations.{}.csv",
    "humbugdb": "data/HumBugDB/data/metadata/{}.csv",
}


def esc50(folder: str | Path, ten: bool = False) -> Task:
    """Read ESC-50 with its five folds, or ESC-10, a fifth of it: meta/esc50.csv and audio/ (doi 10.1145/2733373.2806390).

    Accuracy and mean average precision (`map`) are published of it, as mean and spread over the folds.
    """
    folder = Path(folder)
    table = _read_csv(folder / "meta" / "esc50.csv", ["filename", "fold", "category", "esc10", "src_file"])
    if ten:
        table = table[table["esc10"].str.lower() == "true"].reset_index(drop=True)
    rows = table[["category", "fold", "src_file"]].set_axis(["label", "fold", "recording"], axis=1)
    rows.insert(0, "path", _existing([folder / "audio" / name for name in table["filename"]]))
    return _single_label(rows, split_rows(rows, folder))


def speech_commands(folder: str | Path) -> Task:
    """Read Speech Commands v2 with 12 classes: ten words, unknown for all others, silence (arXiv 1804.03209).

    As in BAT's tables: unknown is not thinned out; silence is the whole seconds of the noise files, the first 80 % of each
    to learn from, the next 10 % for validation, the rest to test. So it is not the official test set of 12 classes.
    Validation rows have the split "valid". A speaker's clips are on one side.
    """
    folder = Path(folder)
    lists = {"valid": "validation_list.txt", "test": "testing_list.txt"}
    split_of = {name: split for split, file in lists.items() for name in _read_lines(folder / file)}
    rows: list[dict[str, object]] = []
    for path in find_recordings(folder):
        word = path.parent.name
        if word == NOISE:
            rows += _silence(path)
        else:
            rows.append(
                {
                    "path": str(path),
                    "label": word if word in COMMANDS else UNKNOWN,
                    "split": split_of.get(f"{word}/{path.name}", "train"),
                    "recordist": path.name.partition("_nohash_")[0],
                }
            )
    table = DataFrame(rows, columns=["path", "start", "end", "label", "split", "recordist"])
    table[["start", "end"]] = table[["start", "end"]].astype(float)
    return _single_label(table, split_rows(table, folder), [*COMMANDS, UNKNOWN, SILENCE])


def beans(folder: str | Path, name: str) -> Task:
    """Read one of BEANS' classification sets, below the folder in which its scripts were run (arXiv 2210.12300).

    name: watkins, bats, cbi, dogs or humbugdb. Accuracy is published. Validation rows have the split "valid".
    """
    if name not in BEANS:
        raise OscineError(f"no set {name!r} in BEANS' classification; choose from {', '.join(BEANS)}")
    folder = Path(folder)
    tables = [
        _read_csv(folder / BEANS[name].format(split), ["path", "label"]).assign(split=split)
        for split in ("train", "valid", "test")
    ]
    table = pd.concat(tables, ignore_index=True)
    rows = table[["label", "split"]].assign(path=_existing([folder / path for path in table["path"]]))
    return _single_label(rows, split_rows(rows, folder))


def audioset(folder: str | Path, unbalanced: bool = False) -> Task:
    """Read AudioSet-20k, the balanced training clips, or AudioSet-2M with the unbalanced ones; map and f1 are published.

    BAT's two sets to learn from, the evaluation clips to be judged on (arXiv 2602.16305). Classes are the names of the
    evaluation clips' labels, sorted. What a copy lacks is neither learnt from nor judged.
    """
    folder = Path(folder)
    splits = dict.fromkeys(TRAIN if unbalanced else TRAIN[:1], "train") | {EVAL: "test"}
    rows = pd.concat(
        [read_audioset(folder, name).assign(split=split) for name, split in splits.items()], ignore_index=True
    )
    classes = audioset_classes(folder)
    return Task(rows, classes, multi_hot(rows["labels"], classes), split_rows(rows, folder))


def dcase2016(folder: str | Path) -> FrameTask:
    """Read DCASE 2016 task 2 as HEAR released it: scenes of two minutes, with events to be found in their frames.

    train.json, valid.json, test.json (in milliseconds), labelvocabulary.csv and 48000/SPLIT/ (arXiv 2203.03022). A
    recording without events is kept: nothing is to be found in it.
    """
    folder = Path(folder)
    vocabulary = _read_csv(folder / "labelvocabulary.csv", ["label", "idx"], HEAR_RELEASE)
    places = pd.to_numeric(vocabulary["idx"], errors="coerce")
    if places.isna().any():
        wrong = vocabulary["idx"][places.isna()].iloc[0]
        raise OscineError(
            f"{folder / 'labelvocabulary.csv'}: idx {shown(wrong)} is no number; expected the release as published"
        )
    classes = vocabulary["label"][places.sort_values().index].tolist()
    number = {name: index for index, name in enumerate(classes)}
    rows, events = [], []
    for split in ("train", "valid", "test"):
        for name, found in _read_events(folder / f"{split}.json").items():
            path = folder / "48000" / split / name
            strangers = [label for _, _, label in found if label not in number]
            if strangers or not path.is_file():
                wrong = f"{strangers[0]!r} in {name} is no class" if strangers else f"{path} does not exist"
                raise OscineError(f"{folder / f'{split}.json'}: {wrong}; expected the release as it was published")
            rows.append({"path": str(path), "split": split})
            events.append([Event(start / 1000, end / 1000, number[label]) for start, end, label in found])
    return FrameTask(DataFrame(rows), classes, events, split_rows(DataFrame(rows), folder))


def _silence(path: Path) -> list[dict[str, object]]:
    """Cut a noise file into whole seconds: the first 80 % to learn from, the next 10 % for validation, the rest to test."""
    pieces = int(audio_info(path).seconds)
    row: dict[str, object] = {"path": str(path), "label": SILENCE}
    splits = np.searchsorted([int(0.8 * pieces), int(0.9 * pieces)], range(pieces), side="right")
    names = [("train", "valid", "test")[split] for split in splits]
    return [row | {"start": second, "end": second + 1, "split": name} for second, name in enumerate(names)]


def _single_label(rows: DataFrame, parts: list[Part], classes: Sequence[str] | None = None) -> Task:
    classes = list(classes or sorted(rows["label"].unique()))
    number = {name: index for index, name in enumerate(classes)}
    targets = torch.tensor([number[label] for label in rows["label"]])
    labels = pd.Series([[label] for label in rows["label"]], index=rows.index)
    return Task(rows.assign(labels=labels).drop(columns="label"), classes, targets, parts)


def _read_events(path: Path) -> dict[str, list[tuple[float, float, str]]]:
    """Start and end in milliseconds and the label of every event, by the recording's name."""
    try:
        content = read_json(path, "fetch it again")
    except FileNotFoundError:
        raise OscineError(f"no {path}; name {HEAR_RELEASE}") from None
    try:
        return {
            name: [(float(event["start"]), float(event["end"]), str(event["label"])) for event in found]
            for name, found in content.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        raise OscineError(
            f"{path} does not list events with start, end and label by recording; fetch it again"
        ) from None


def _read_csv(path: Path, columns: Sequence[str], place: str = AS_PUBLISHED) -> DataFrame:
    """Read a table as text; raise where it, or one of the columns, is not there. place: what to name instead."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise OscineError(f"no {path}; name {place}") from None
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or "unknown").splitlines()[0]
        raise OscineError(f"{path} is no table ({reason}); take it as it was published") from None
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise OscineError(f"{path} has no column {', '.join(lacking)}; expected {', '.join(columns)}")
    return table


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise OscineError(f"no {path}; name {AS_PUBLISHED}") from None
    except (OSError, ValueError):
        raise OscineError(f"{path} is no list of names; take it as it was published") from None


def _existing(paths: Iterable[Path]) -> list[str]:
    names = [str(path) for path in paths]
    missing = [name for name in names if not os.path.isfile(name)]
    if missing:
        raise OscineError(f"{len(missing)} of {len(names)} recordings do not exist, such as {missing[0]}")
    return names


# By the names in `settings.PUBLISHED`; few shots are drawn from what BirdSet's protocol chooses from.
READERS: dict[str, Callable[[Path], Task]] = {
    "esc50": esc50,
    "esc10": partial(esc50, ten=True),
    "speech_commands": speech_commands,
    "audioset_20k": audioset,
    "audioset_2m": partial(audioset, unbalanced=True),
    **{name: partial(birdset, name=name.upper()) for name in BIRDSET},
    **{name: partial(beans, name=name) for name in BEANS},
}
FEW_SHOT = READERS | {name: partial(birdset, name=name.upper(), few_shot=True) for name in BIRDSET}
FRAME_READERS: dict[str, Callable[[Path], FrameTask]] = {"dcase2016": dcase2016}
