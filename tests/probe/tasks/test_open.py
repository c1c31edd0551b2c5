"""What settings name is the task that one gets: a table, a folder of one's own, a published task as it lies on a disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from oscine.cli.console import config
from oscine.cli.console.command import Parser, add_fields
from oscine.models.audio import scan
from oscine.models.errors import Misuse, OscineError
from oscine.probe.results.runs import published_figures
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.open import hash_rows, open_frames, open_task, read_clips, task_name
from oscine.probe.tasks.published import FRAME_READERS, READERS
from oscine.probe.tasks.settings import FRAME_TASKS, PUBLISHED, ClipSettings, TaskSettings
from oscine.probe.tasks.task import Task
from tests.task_layouts import (
    BEANS,
    write,
    write_audioset,
    write_beans,
    write_birdset,
    write_dcase,
    write_esc50,
    write_speech_commands,
)

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "esc50": write_esc50,
    "esc10": write_esc50,
    "speech_commands": write_speech_commands,
    "audioset_20k": write_audioset,
    "audioset_2m": write_audioset,
    "hsn": write_birdset,
    "dcase2016": write_dcase,
    **{name: partial(write_beans, name=name) for name in BEANS},
}
NAMED = {name: config.read(config.find("probe", name)).get("task", {}).get("name") for name in config.shipped("probe")}
ASKING = [name for name, task in NAMED.items() if task]


def settings(*arguments: str) -> ClipSettings:
    made = Parser("oscine probe")
    add_fields(made, ClipSettings)
    made.add_class_arguments(TaskSettings, "task")
    parsed = made.parse_args(list(arguments)).as_dict()
    return ClipSettings(**parsed | {"task": TaskSettings(**parsed["task"])})


def opened(*arguments: str) -> Task:
    return open_task(settings(*arguments), seconds=2.0)


@pytest.mark.parametrize("name", [name for name in LAYOUTS if name in PUBLISHED])
def test_a_published_task_is_read_from_its_folder(name: str, tmp_path: Path) -> None:
    call = ["--data", str(LAYOUTS[name](tmp_path)), "--task.name", name]
    task = opened(*call)
    assert len(task.rows) == len(task.targets) > 0
    assert all(len(part.train) and len(part.test) for part in task.parts)
    assert task_name(settings(*call)) == name


def test_every_published_task_has_its_reader_and_every_published_figure_its_task() -> None:
    assert READERS.keys() == {*PUBLISHED}
    assert FRAME_READERS.keys() == {*FRAME_TASKS}
    assert set(LAYOUTS) <= {*PUBLISHED, *FRAME_TASKS}
    assert {figure.task for figure in published_figures()} <= {*PUBLISHED, *FRAME_TASKS}


def test_events_are_asked_for_by_the_moment(tmp_path: Path) -> None:
    call = ["--data", str(write_dcase(tmp_path)), "--task.name", "dcase2016"]
    task = open_frames(settings(*call))
    assert task is not None
    assert task.classes == ["speech", "cough", "drawer"]
    assert task.seconds == pytest.approx(0.8)
    assert task.whole.targets.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert open_frames(settings("--data", "x", "--task.name", "esc50")) is None
    with pytest.raises(Misuse, match="deal out clips; dcase2016 asks for events: leave them out"):
        open_frames(settings(*call, "--task.valid", "0.2"))


@pytest.fixture
def wrens(tmp_path: Path) -> Path:
    """Recordings in a folder a class, with annotations beside them."""
    for number in range(3):
        write(tmp_path / "birds" / "wren" / f"{number}.wav", seconds=4)
        write(tmp_path / "birds" / "tit" / f"{number}.wav", seconds=4)
        (tmp_path / "birds" / "wren" / f"{number}.txt").write_text("0.5\t1.5\tsong\n2.5\t3.5\t?\n")
        (tmp_path / "birds" / "tit" / f"{number}.txt").write_text("2.5\t3.5\tcall\n")
    return tmp_path / "birds"


def test_a_folder_a_class_is_dealt_into_folds(wrens: Path) -> None:
    call = ["--data", str(wrens), "--task.name", "folder", "--folds", "3"]
    task = opened(*call)
    assert task.classes == ["tit", "wren"]
    assert len(task.parts) == 3
    assert task_name(settings(*call)) == "birds"


def test_annotated_recordings_are_cut_into_clips_of_the_encoders_length(wrens: Path) -> None:
    call = ["--data", str(wrens), "--task.name", "annotated", "--folds", "2"]
    task = opened(*call)
    assert (task.rows["end"] - task.rows["start"] == 2).all()
    assert task.classes == ["?", "call", "song"]
    assert len(task.rows) == 12
    sure = opened(*call, "--unsure", "?; unknown")
    assert sure.classes == ["call", "song"]
    assert len(sure.rows) == 9
    assert task_name(settings(*call)) == "birds"


def test_a_table_is_called_as_its_file(wrens: Path) -> None:
    table = wrens / "mine.csv"
    table.write_text("path,label,fold\nwren/0.wav,wren,1\nwren/1.wav,wren,2\ntit/0.wav,tit,1\ntit/1.wav,tit,2\n")
    assert opened("--table", str(table)).classes == ["tit", "wren"]
    assert task_name(settings("--table", str(table), "--task.name", "hsn")) == "mine"


def test_what_was_read_and_left_aside_is_counted_for_every_task(
    wrens: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = wrens / "mine.csv"
    rows = "wren/0.wav,a;b,Train\nwren/1.wav,,training\ntit/0.wav,a,TEST\ntit/1.wav,b,dev\ntit/2.wav,b,spare\n"
    table.write_text(f"path,labels,split\n{rows}")
    with caplog.at_level(logging.INFO):
        opened("--table", str(table))
        opened("--data", str(wrens), "--task.name", "folder", "--folds", "3")
        opened("--data", str(wrens), "--task.name", "annotated", "--folds", "2")
        opened("--data", str(write_esc50(tmp_path)), "--task.name", "esc50")
    for said in (
        "5 clips of 2 classes, 1 of them of none: 2 to learn from, 1 to choose by, 1 to be judged; 1 are in no split that",
        f"{wrens}: 6 clips of 2 classes, in 3 folds; none is left aside",
        f"{wrens}: 12 clips of 3 classes, 3 of them of none, in 2 folds; none is left aside",
        f"{tmp_path}: 9 clips of 3 classes, in 3 folds; none is left aside",
    ):
        assert said in caplog.text


def test_bad_tables_of_annotations_are_left_out_where_that_is_asked_for(wrens: Path) -> None:
    call = ["--data", str(wrens), "--task.name", "annotated", "--folds", "2"]
    (wrens / "wren" / "0.txt").write_text("9\t10\tsong\n")
    with pytest.raises(OscineError, match=r"row 1 is of 9 to 10 s, .* --skip-bad-tables"):
        opened(*call)
    assert len(opened(*call, "--skip-bad-tables").rows) == 10


def test_a_share_of_what_is_learnt_from_may_be_held_out(tmp_path: Path) -> None:
    call = ["--data", str(write_esc50(tmp_path)), "--task.name", "esc50"]
    assert not any(len(part.valid) for part in opened(*call).parts)
    for part in opened(*call, "--task.valid", "0.5").parts:
        assert (len(part.train), len(part.valid), len(part.test)) == (3, 3, 3)


def test_few_shots_are_drawn_from_what_was_published_of_them(tmp_path: Path) -> None:
    call = ["--data", str(write_birdset(tmp_path)), "--task.name", "hsn"]
    assert len(opened(*call).parts[0].train) == 6
    assert len(opened(*call, "--task.shots", "[1, 5]").parts[0].train) == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --table FILE.csv, your labelled table, or --data FOLDER, where the task of --task.name lies"),
        (["--table", "a.csv", "--data", "b"], "or --data FOLDER, where the task of --task.name lies; one of them"),
        (
            ["--data", "b"],
            "--data needs --task.name; it is folder (a class for each folder in --data), annotated (Raven",
        ),
        (["--data", "b", "--task.name", "esc5"], "no task 'esc5'; it is folder (a class for each folder in --data)"),
        (["--data", "b", "--task.called", "esc50"], "unrecognized arguments: --task.called"),
        (["--data", "b", "--task.valid", "much"], '"task.valid": '),
        (["--data", "b", "--folds", "0"], "folds is 0, expected at least 1"),
    ],
)
def test_what_is_no_task_gets_a_clear_line(arguments: list[str], complaint: str) -> None:
    with pytest.raises(Misuse) as caught:
        opened(*arguments)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("share", "complaint"), [("0", "task.valid is 0, expected"), ("0.9", "task.valid is 0.9, exp")]
)
def test_a_share_that_leaves_too_little_is_refused(share: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=complaint):
        opened("--data", str(write_esc50(tmp_path)), "--task.name", "esc50", "--task.valid", share)


@pytest.mark.parametrize("name", ASKING)
def test_the_task_of_a_yaml_is_complete_and_opens(name: str, tmp_path: Path) -> None:
    given = config.read(config.find("probe", name))
    asked = TaskSettings(**given["task"])
    assert set(given["task"]) == set(vars(asked))
    assert name.startswith((str(asked.name), "finetune/"))
    pairs = [f"--task.{key}={'null' if value is None else value}" for key, value in given["task"].items()]
    call = settings("--data", str(LAYOUTS[str(asked.name)](tmp_path)), *pairs)
    assert vars(call.task) == given["task"]
    task = open_frames(call) or open_task(call, seconds=5.0)
    assert task.rows["path"].map(len).all()


@pytest.mark.parametrize("labels", ["label", "labels"])
def test_a_tasks_hash_is_that_of_its_targets_as_one_json(wrens: Path, labels: str) -> None:
    table = wrens / "mine.csv"
    several = "b;a" if labels == "labels" else "b"
    table.write_text(f"path,{labels},split\nwren/0.wav,a,train\nwren/1.wav,{several},train\ntit/0.wav,a,test\n")
    task = opened("--table", str(table))
    rows = task.rows.reindex(columns=["path", "start", "end"]).assign(path=task.rows["path"].map(os.path.basename))
    parts = [(part.name, part.train.tolist(), part.test.tolist(), part.valid.tolist()) for part in task.parts]
    targets = task.targets if task.kind is TaskKind.SINGLE else task.targets.float()
    content = json.dumps([rows.to_csv(index=False), task.classes, targets.tolist(), parts])
    assert hash_rows(task) == hashlib.sha256(content.encode()).hexdigest()[:16]


def test_a_folder_and_its_background_are_listed_once_for_a_whole_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("birds/owl/0", "birds/owl/1", "birds/wren/0", "birds/wren/1", "night/0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.wav").touch()
    listed: list[Path] = []
    walk = scan._walk
    monkeypatch.setattr(scan, "_walk", lambda folder: [listed.append(folder), walk(folder)][1])
    birds, night = tmp_path / "birds", tmp_path / "night"
    call = settings("--data", str(birds), "--task.name", "folder", "--folds", "2", "--background", str(night))
    clips = read_clips(call)
    assert clips.background == [night / "0.wav"]
    task = open_task(call, 2.0, clips)
    assert (task.classes, task.targets.tolist(), len(task.parts)) == (["owl", "wren"], [0, 0, 1, 1], 2)
    assert sorted(listed) == [birds, night]


def test_a_folder_of_one_class_is_refused_as_such_a_table_is(tmp_path: Path) -> None:
    (tmp_path / "owl").mkdir()
    for number in range(5):
        (tmp_path / f"owl/{number}.wav").touch()
    with pytest.raises(OscineError, match=r"knows one label only, 'owl'; a probe needs at least two classes"):
        read_clips(settings("--data", str(tmp_path), "--task.name", "folder"))
