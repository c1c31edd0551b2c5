"""AudioSet's two sets to learn from have the classes of its evaluation clips."""

from __future__ import annotations

from pathlib import Path

from oscine.probe.tasks.audioset import audioset
from oscine.probe.tasks.groups import check_groups
from tests.task_layouts import write_audioset


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
