"""Published layouts, tiny: who is learnt from, who is judged, and which class each row is of."""

from __future__ import annotations

from pathlib import Path

import pytest

from oscine.models.errors import OscineError
from oscine.probe.tasks.frame_task import Event
from oscine.probe.tasks.groups import check_groups
from oscine.probe.tasks.published import audioset, beans, dcase2016, esc50, speech_commands
from oscine.probe.tasks.splits import read_class_folders
from oscine.probe.tasks.task import Task, as_task, split_rows
from tests.task_layouts import (
    BEANS,
    write,
    write_audioset,
    write_beans,
    write_dcase,
    write_esc50,
    write_speech_commands,
)


def names(task: Task, rows: list[int]) -> set[str]:
    return {Path(path).name for path in task.rows["path"].iloc[rows]}


@pytest.fixture
def esc(tmp_path: Path) -> Path:
    return write_esc50(tmp_path)


def test_esc50_has_its_published_folds_and_all_its_classes(esc: Path) -> None:
    task = esc50(esc)
    assert task.classes == ["dog", "rooster", "vacuum_cleaner"]
    assert task.targets.tolist() == [0, 1, 2] * 3
    assert [part.test.tolist() for part in task.parts] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    check_groups(task.rows, task.parts)


def test_esc10_is_the_part_of_esc50_that_its_column_names(esc: Path) -> None:
    task = esc50(esc, ten=True)
    assert task.classes == ["dog", "rooster"]
    assert task.targets.tolist() == [0, 1] * 3
    assert names(task, task.parts[0].test.tolist()) == {"1-100-A-0.wav", "1-101-A-1.wav"}


def test_a_clip_that_is_gone_gets_a_clear_line(esc: Path) -> None:
    (esc / "audio" / "2-200-A-0.wav").unlink()
    with pytest.raises(OscineError, match=r"1 of 9 recordings do not exist, such as .*2-200-A-0.wav"):
        esc50(esc)
    with pytest.raises(OscineError, match=r"no .*esc50.csv; name the folder that holds it as it was published"):
        esc50(esc / "audio")


def test_every_folder_is_a_class(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path / "wren" / f"{number}.wav")
        write(tmp_path / "tit" / "garden" / f"{number}.wav")
    task = as_task(read_class_folders(tmp_path, folds=3))
    assert task.classes == ["tit", "wren"]
    assert task.targets.tolist() == [0] * 6 + [1] * 6
    for part in task.parts:  # both classes in every fold
        assert task.targets[part.test].bincount().tolist() == [2, 2]
    write(tmp_path / "stray.wav")
    with pytest.raises(OscineError, match=r"stray.wav lies in no class's folder; .* should hold one folder a class"):
        read_class_folders(tmp_path)


def test_speech_commands_has_ten_words_unknown_and_silence(tmp_path: Path) -> None:
    task = speech_commands(write_speech_commands(tmp_path))
    assert task.classes == "yes no up down left right on off stop go unknown silence".split()
    rows = task.rows.assign(target=task.targets.tolist())
    words = rows[rows["target"] != 11]
    assert dict(words.groupby("target").size()) == {0: 3, 9: 3, 10: 6}
    silence = rows[rows["target"] == 11]
    assert silence["start"].tolist() == list(range(10))
    assert (silence["end"] - silence["start"] == 1).all()
    assert silence["split"].tolist() == ["train"] * 8 + ["valid"] + ["test"]
    (part,) = task.parts
    assert names(task, part.test.tolist()) == {"cc_nohash_0.wav", "tap.wav"}
    assert (rows["split"] == "valid").sum() == 3
    assert len(part.train) + len(part.test) + 3 == len(rows) == 22
    check_groups(words.reset_index(), split_rows(words, "words"))
    assert words["recordist"].unique().tolist() == ["aa", "bb", "cc"]
    assert words["start"].isna().all()


@pytest.mark.parametrize("name", BEANS)
def test_beans_has_its_published_splits(tmp_path: Path, name: str) -> None:
    task = beans(write_beans(tmp_path, name), name)
    assert task.classes == ["111", "210", "Beluga,_White_Whale"]
    assert task.targets.tolist() == [0, 2, 0, 1]
    (part,) = task.parts
    assert (names(task, part.train.tolist()), names(task, part.test.tolist())) == (
        {"train0.wav", "train1.wav"}, {"test0.wav"},
    )  # fmt: skip
    with pytest.raises(OscineError, match="no set 'dcase' in BEANS' classification; choose from watkins, bats"):
        beans(tmp_path, "dcase")


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    return write_dcase(tmp_path)


def test_dcase_has_events_in_every_frame_that_begins_in_one(scenes: Path) -> None:
    task = dcase2016(scenes)
    assert task.classes == ["speech", "cough", "drawer"]
    assert task.events == [
        [Event(0.16, 0.48, 1)],
        [],
        [Event(0.0, 0.1, 0)],
        [Event(0.1705, 0.31, 2), Event(0.48, 0.64, 2)],
    ]
    targets = task.targets(frames=6)
    assert targets.shape == (4, 6, 3)
    assert targets[0, :, 1].tolist() == [0, 1, 1, 1, 0, 0]
    assert targets[3, :, 2].tolist() == [0, 0, 0, 1, 1, 0]
    assert targets.sum() == 6
    (part,) = task.parts
    assert (part.train.tolist(), part.test.tolist()) == ([0, 1], [3])  # a quiet scene is kept


def test_a_label_that_is_no_class_gets_a_clear_line(scenes: Path) -> None:
    (scenes / "test.json").write_text('{"a.wav": [{"label": "bark", "start": 0, "end": 1}]}')
    with pytest.raises(OscineError, match=r"test.json: 'bark' in a.wav is no class; expected the release"):
        dcase2016(scenes)
    (scenes / "test.json").unlink()
    with pytest.raises(OscineError, match=r"no .*test.json; name the folder of HEAR's release"):
        dcase2016(scenes)


def test_balanced_clips_are_the_small_set_and_all_the_large_one(tmp_path: Path) -> None:
    folder = write_audioset(tmp_path)
    small, large = audioset(folder), audioset(folder, unbalanced=True)
    for task, train in ((small, 2), (large, 3)):
        (part,) = task.parts
        assert (len(part.train), len(part.test)) == (train, 2)
        check_groups(task.rows, task.parts)


def test_classes_are_those_of_the_evaluation_clips_and_other_labels_are_passed_over(tmp_path: Path) -> None:
    task = audioset(write_audioset(tmp_path))
    assert task.classes == ["Applause", "Bark", "Cough"]
    assert task.targets.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert [Path(path).name for path in task.rows["path"]] == [
        "Y--PJHxphWEs.wav", "YYsTNz1tNqfk.wav", "Yeeeeeeeeeee.wav", "Yfffffffffff.wav",
    ]  # fmt: skip
