"""AudioSet's folders are read with the published lists beside them."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.models.errors import OscineError
from oscine.models.recordings.audioset import audioset_classes, find_audioset, is_audioset, read_audioset, read_segments

HEAD = "# Segments csv created Sun Mar  5 2017\n# num_ytids=3\n# YTID, start_seconds, end_seconds, positive_labels\n"
SEGMENTS = {
    "balanced_train_segments": '--PJHxphWEs, 30.000, 40.000, "/m/a,/m/c"\nYsTNz1tNqfk, 0.000, 10.000, "/m/b"\n',
    "unbalanced_train_segments": 'aaaaaaaaaaa, 0.000, 10.000, "/m/a"\nwM5Qf5xXT8w, 0.000, 10.000, "/m/a"\n'
    'gonegonegon, 0.000, 9.500, "/m/b"\n',
    "eval_segments": 'eeeeeeeeeee, 0.000, 10.000, "/m/c,/m/b"\nmW3S0u8bj58, 0.000, 10.000, "/m/a"\n',
}
FILES = {
    "balanced_train_segments": ["Y--PJHxphWEs.wav", "YYsTNz1tNqfk.wav", "Ynotlisted00.wav"],
    "unbalanced_train_segments/part00": ["Yaaaaaaaaaaa.flac", "YwM5Qf5xXT8w.wav"],
    "eval_segments": ["Yeeeeeeeeeee.wav", "YmW3S0u8bj58.wav"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, rows in SEGMENTS.items():
        (tmp_path / f"{split}.csv").write_text(HEAD + rows)
    for below, names in FILES.items():
        (tmp_path / below).mkdir(parents=True)
        for name in names:
            soundfile.write(tmp_path / below / name, np.zeros(1600), 16_000)
    ontology = [{"id": f"/m/{name[0].lower()}", "name": name} for name in ("Bark", "Cough", "Applause")]
    (tmp_path / "ontology.json").write_text(json.dumps(ontology))
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_it_is_pretrained_on_listed_training_clips_alone(folder: Path) -> None:
    assert is_audioset(folder)
    assert names(find_audioset(folder)) == ["Y--PJHxphWEs.wav", "YYsTNz1tNqfk.wav", "Yaaaaaaaaaaa.flac"]


def test_without_lists_all_training_clips_count_but_the_corrupt(folder: Path) -> None:
    for split in SEGMENTS:
        (folder / f"{split}.csv").unlink()
    assert names(find_audioset(folder)) == [*FILES["balanced_train_segments"], "Yaaaaaaaaaaa.flac"]


@pytest.mark.parametrize(
    "written", ["{}", "Y{}", "{}_30.000", "Y{}_30.000_40.000", "{}-30-40", "Y{} (30.0 s)", "{}_30000_40000", "Y{}.30"]
)
@pytest.mark.parametrize(
    "identifier", ["AAAAAAAAAAA", "-BBBBBBBBBB", "CC_CCCCCCC-", "YsTNz1tNqfk", "YYYYYYYYYY_", "Y---------Y"]
)
def test_a_clip_is_found_by_the_id_that_its_name_begins_with(tmp_path: Path, written: str, identifier: str) -> None:
    (tmp_path / "balanced_train_segments").mkdir()
    path = tmp_path / "balanced_train_segments" / f"{written.format(identifier)}.wav"
    path.touch()
    (tmp_path / "balanced_train_segments" / "nothing.wav").touch()
    (tmp_path / "balanced_train_segments.csv").write_text(f'{HEAD}{identifier}, 30.000, 40.000, "/m/a"\n')
    assert find_audioset(tmp_path) == [path]


def test_what_was_found_and_what_else_is_there_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "balanced_train_segments" / "--PJHxphWEs_30.000.wav").touch()  # a second copy
    with caplog.at_level(logging.INFO):
        read_audioset(folder, "balanced_train_segments")
    assert (
        "balanced_train_segments: 2 of 2 listed clips are there, 2 other files, such as Y--PJHxphWEs.wav" in caplog.text
    )


def test_a_table_has_the_ontologys_names(folder: Path) -> None:
    table = read_audioset(folder, "balanced_train_segments")
    assert names([Path(path) for path in table["path"]]) == FILES["balanced_train_segments"][:2]
    assert table["labels"].tolist() == [["Applause", "Cough"], ["Bark"]]
    assert read_audioset(folder, "eval_segments")["labels"].tolist() == [["Cough", "Bark"]]


def test_classes_are_the_sorted_names_of_the_evaluation_segments(folder: Path) -> None:
    assert audioset_classes(folder) == ["Applause", "Bark", "Cough"]


def test_a_list_is_read_with_its_times(folder: Path) -> None:
    first = read_segments(folder / "balanced_train_segments.csv").iloc[0]
    assert first.tolist() == ["--PJHxphWEs", "30.000", "40.000", "/m/a,/m/c"]


def test_what_is_wrong_is_said_in_one_line(folder: Path) -> None:
    with pytest.raises(OscineError, match="AudioSet has no split eval; choose from balanced_train_segments"):
        read_audioset(folder, "eval")
    (folder / "balanced_train_segments.csv").write_text("path,label\na.wav,x\n")
    with pytest.raises(OscineError, match=r"has 2 rows that are no segments, such as 'path, label, "):
        find_audioset(folder)
    (folder / "balanced_train_segments.csv").write_text(HEAD + 'bbbbbbbbbbb, 0.000, 10.000, "/m/a"\n')
    with pytest.raises(OscineError, match="names none of the clips in"):
        find_audioset(folder)
    (folder / "ontology.json").write_text("{}]")
    with pytest.raises(OscineError, match=r"ontology\.json is no JSON"):
        read_audioset(folder, "eval_segments")
    (folder / "ontology.json").write_text("[]")
    with pytest.raises(OscineError, match="the ontology has no label /m/c"):
        read_audioset(folder, "eval_segments")
