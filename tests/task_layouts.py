"""Tiny stand-ins for published tasks, each in the layout of the real one. All recordings last a tenth of a second or so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from tests.birdset_layout import ogg, train_rows, write_split

RATE = 8_000
BEANS = {
    "watkins": ("data/watkins", "annotations.{}.csv"),
    "bats": ("data/egyptian_fruit_bats", "annotations.{}.csv"),
    "cbi": ("data/cbi", "annotations.{}.csv"),
    "dogs": ("data/dogs", "annotations.{}.csv"),
    "humbugdb": ("data/HumBugDB/data/metadata", "{}.csv"),
}


def write(path: Path, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = np.random.default_rng(len(path.name)).uniform(-0.1, 0.1, round(seconds * RATE))
    soundfile.write(path, waveform, RATE)


def write_esc50(folder: Path) -> Path:
    """Three folds of three classes, of which two are ESC-10's."""
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in (1, 2, 3):
        for target, category, ten in ((0, "dog", "True"), (1, "rooster", "True"), (36, "vacuum_cleaner", "False")):
            name = f"{fold}-{100 * fold + target}-A-{target}.wav"
            lines.append(f"{name},{fold},{target},{category},{ten},{100 * fold + target},A")
            write(folder / "audio" / name)
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "esc50.csv").write_text("\n".join(lines))
    return folder


def write_speech_commands(folder: Path) -> Path:
    """Four words by three speakers, and ten and a half seconds of noise."""
    for word in ("yes", "go", "marvin", "zero"):
        for speaker in ("aa", "bb", "cc"):
            write(folder / word / f"{speaker}_nohash_0.wav")
    write(folder / "_background_noise_" / "tap.wav", seconds=10.5)
    (folder / "_background_noise_" / "README.md").touch()
    (folder / "validation_list.txt").write_text("yes/bb_nohash_0.wav\nmarvin/bb_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text(
        "".join(f"{word}/cc_nohash_0.wav\n" for word in ("yes", "go", "marvin", "zero"))
    )
    return folder


def write_beans(folder: Path, name: str) -> Path:
    where, pattern = BEANS[name]
    for split, labels in {"train": ["111", "Beluga,_White_Whale"], "valid": ["111"], "test": ["210"]}.items():
        lines = [",path,label"]
        for row, label in enumerate(labels):
            write(folder / where / f"{split}{row}.wav")
            lines.append(f'{row},{where}/{split}{row}.wav,"{label}"')
        (folder / where / pattern.format(split)).write_text("\n".join(lines))
    return folder


def write_audioset(folder: Path) -> Path:
    """Two balanced clips, one unbalanced and two to evaluate; a third name that no evaluation clip has."""
    segments = {
        "balanced_train_segments": '--PJHxphWEs, 30.000, 40.000, "/m/a,/m/c"\nYsTNz1tNqfk, 0.000, 10.000, "/m/b,/m/d"\n',
        "unbalanced_train_segments": 'aaaaaaaaaaa, 0.000, 10.000, "/m/a"\ngonegonegon, 0.000, 9.500, "/m/b"\n',
        "eval_segments": 'eeeeeeeeeee, 0.000, 10.000, "/m/c,/m/b"\nfffffffffff, 0.000, 10.000, "/m/a"\n',
    }
    clips = {
        "balanced_train_segments": ["Y--PJHxphWEs.wav", "YYsTNz1tNqfk.wav"],
        "unbalanced_train_segments": ["Yaaaaaaaaaaa.wav"],
        "eval_segments": ["Yeeeeeeeeeee.wav", "Yfffffffffff.wav"],
    }
    for split, rows in segments.items():
        (folder / f"{split}.csv").write_text(
            f"# made\n# num_ytids=2\n# YTID, start_seconds, end_seconds, labels\n{rows}"
        )
        for name in clips[split]:
            write(folder / split / name)
    ontology = [{"id": f"/m/{name[0].lower()}", "name": name} for name in ("Bark", "Cough", "Applause", "Drum")]
    (folder / "ontology.json").write_text(json.dumps(ontology))
    return folder


def write_birdset(folder: Path, name: str = "HSN") -> Path:
    """A set of BirdSet's: four recordings by three people to learn from, six windows of two soundscapes to be judged on."""
    lengths = {"XC0.ogg": 6.0, "XC1.ogg": 7.0, "XC2.ogg": 30.0, "XC3.ogg": 3.0}
    rows = train_rows(
        {
            "XC0.ogg": ("amerob", [[1, 2], [0.5, 3], [4, 5]], [0, 0, 0]),
            "XC1.ogg": ("foxspa", [], []),
            "XC2.ogg": ("foxspa", [[9, 11]], [0]),
            "XC3.ogg": ("amerob", [[1, 9]], [2]),
        }
    ).assign(recordist=["ann", "bo", "cy", "bo"])
    rows["ebird_code_secondary"] = [[], None, [], ["yerwar"]]
    rows["ebird_code_multilabel"] = [["amerob"], ["foxspa"], ["yerwar", "foxspa"], ["amerob"]]
    recordings = {file: ogg(seconds, number) for number, (file, seconds) in enumerate(lengths.items())}
    write_split(folder, f"{name}_train", f"{name}_metadata_train.parquet", rows, recordings)
    names = [f"{name}_00{scape}_20150708_061805_{at:03}_{at + 5:03}.ogg" for scape in (1, 2) for at in (0, 5, 10)]
    windows = pd.DataFrame(
        {
            "filepath": names,
            "ebird_code_multilabel": [["foxspa", "amerob"], [], ["yerwar"], ["amerob"], None, ["foxspa"]],
            "start_time": 0.0,
            "end_time": 5.0,
        }
    )
    files = {window: ogg(5, number) for number, window in enumerate(names)}
    return write_split(folder, f"{name}_test5s", f"{name}_metadata_test_5s.parquet", windows, files)


def write_dcase(folder: Path) -> Path:
    """Four scenes, of which one that is learnt from, the one to choose by and the one that is judged have events."""
    (folder / "labelvocabulary.csv").write_text("idx,label\n1,cough\n0,speech\n2,drawer\n")
    events: dict[str, dict[str, list[dict[str, object]]]] = {
        "train": {"a.wav": [{"label": "cough", "start": 160.0, "end": 480}], "quiet.wav": []},
        "valid": {"b.wav": [{"label": "speech", "start": 0, "end": 100}]},
        "test": {
            "a.wav": [
                {"label": "drawer", "start": 170.5, "end": 310},  # between the edges of two frames
                {"label": "drawer", "start": 480, "end": 640},
            ]
        },
    }
    for split, files in events.items():
        (folder / f"{split}.json").write_text(json.dumps(files))
        for name in files:
            write(folder / "48000" / split / name, seconds=0.8)
    return folder
