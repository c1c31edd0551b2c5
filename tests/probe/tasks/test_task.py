"""A labelled table becomes a task: its classes, its targets, which rows are learnt from and which are judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models.audio.load import load_audio
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.probe.features.encoding import Encoding
from oscine.probe.heads.probe import Needs
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.task import LabelledClips, Task, multi_hot, read_task, warn_of_longer, with_validation

RATE = 8_000


def write_table(folder: Path, table: str) -> Path:
    """A table, and a second of noise for each of its recordings."""
    rng = np.random.default_rng(0)
    for path in {line.split(",")[0] for line in table.split()[1:]}:
        soundfile.write(folder / path, rng.uniform(-0.5, 0.5, RATE), RATE)
    (folder / "table.csv").write_text(table)
    return folder / "table.csv"


def task_of(folder: Path, table: str) -> Task:
    return read_task(write_table(folder, table))


def test_classes_are_sorted_and_targets_are_their_numbers(tmp_path: Path) -> None:
    task = task_of(tmp_path, "path,label,fold\na.wav,wren,1\nb.wav,tit,2\nc.wav,owl,1\n")
    assert task.classes == ["owl", "tit", "wren"]
    assert task.targets.tolist() == [2, 1, 0]
    assert task.kind is TaskKind.SINGLE


def test_several_labels_of_a_row_are_several_ones(tmp_path: Path) -> None:
    task = task_of(tmp_path, "path,labels,fold\na.wav,wren;tit,1\nb.wav,tit,2\nc.wav,owl;tit;wren,1\n")
    assert task.targets.tolist() == [[0, 1, 1], [0, 1, 0], [1, 1, 1]]
    assert task.kind is TaskKind.MULTI


def test_a_labels_column_with_one_label_everywhere_is_single_label(tmp_path: Path) -> None:
    task = task_of(tmp_path, "path,labels,fold\na.wav,wren,1\nb.wav,tit,2\n")
    assert task.targets.tolist() == [1, 0]


def test_every_row_is_judged_once_and_never_by_what_learnt_from_it(tmp_path: Path) -> None:
    folds = [3, 1, 2, 1, 3, 2, 2]
    lines = [f"{row}.wav,{'ab'[row % 2]},{fold}" for row, fold in enumerate(folds)]
    task = task_of(tmp_path, "\n".join(["path,label,fold", *lines]))
    assert [part.name for part in task.parts] == ["fold 1", "fold 2", "fold 3"]
    assert sorted(torch.cat([part.test for part in task.parts]).tolist()) == list(range(7))
    for part, fold in zip(task.parts, (1, 2, 3), strict=True):
        assert {folds[row] for row in part.test.tolist()} == {fold}
        assert sorted([*part.train.tolist(), *part.test.tolist()]) == list(range(7))


def test_folds_may_have_names(tmp_path: Path) -> None:
    task = task_of(tmp_path, "path,label,fold\na.wav,wren,north\nb.wav,tit,south\n")
    assert [part.name for part in task.parts] == ["fold north", "fold south"]


def test_a_split_is_one_part_and_unknown_splits_are_left_aside(tmp_path: Path) -> None:
    table = "path,label,split\na.wav,wren,train\nb.wav,tit,test\nc.wav,tit,valid\nd.wav,tit,train\ne.wav,tit,spare\n"
    (part,) = task_of(tmp_path, table).parts
    assert (part.name, part.train.tolist(), part.test.tolist()) == ("test", [0, 3], [1])
    assert part.valid.tolist() == [2]


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("path,label,fold\na.wav,wren,1\nb.wav,wren,2\n", "knows one label only, 'wren'; a probe needs at least two"),
        ("path,label,fold\na.wav,wren,1\nb.wav,tit,1\n", "has one fold only, 1; at least two are needed"),
        (
            "path,label,split\na.wav,wren,train\nb.wav,tit,train\n",
            "has the splits 'train'; expected 'train' and 'test'",
        ),
        ("path,label,split\na.wav,wren,test\nb.wav,tit,valid\n", "has the splits 'test', 'valid'; expected 'train'"),
    ],
)
def test_a_table_that_makes_no_task_is_told_so_in_one_line(tmp_path: Path, table: str, complaint: str) -> None:
    path = write_table(tmp_path, table)
    with pytest.raises(OscineError) as error:
        read_task(path)
    assert complaint in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_recording_is_not_learnt_from_and_judged_on(tmp_path: Path) -> None:
    path = write_table(tmp_path, "path,label,fold,recordist\na.wav,wren,1,ann\nb.wav,tit,2,bo\nc.wav,tit,1,bo\n")
    with pytest.raises(
        OscineError, match=r"fold 1 is judged on what it learns from: the recordist bo \(rows 3 and 4\)"
    ):
        read_task(path)


def test_a_clip_is_the_beginning_of_its_file_and_as_short_as_that(tmp_path: Path) -> None:
    task = task_of(tmp_path, "path,label,fold\na.wav,wren,1\nb.wav,tit,2\n")
    recording = load_audio(tmp_path / "b.wav", RATE)
    short, long = LabelledClips(task.rows, RATE, 0.25)[1], LabelledClips(task.rows, RATE, 1.5)[1]
    assert torch.equal(short, recording[:2000])
    assert torch.equal(long, recording)


def test_a_row_with_start_and_end_is_that_stretch_alone(tmp_path: Path) -> None:
    table = "path,label,fold,start,end\na.wav,wren,1,0.25,0.5\na.wav,tit,1,0.5,0.9\nb.wav,tit,2,,\n"
    task = task_of(tmp_path, table)
    a, b = (load_audio(tmp_path / name, RATE) for name in ("a.wav", "b.wav"))
    clips = LabelledClips(task.rows, RATE, 0.375)
    assert len(clips) == 3
    # 0.25 s, though the file goes on; 0.375 s of 0.4 s; the beginning of the whole file.
    assert torch.equal(clips[0], a[2000:4000])
    assert torch.equal(clips[1], a[4000:7000])
    assert torch.equal(clips[2], b[:3000])


def test_a_clip_is_read_at_the_rate_that_is_asked_for(tmp_path: Path) -> None:
    time = np.arange(RATE) / RATE
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 500 * time), RATE)
    rows = pd.DataFrame({"path": [str(tmp_path / "tone.wav")]})
    clip = LabelledClips(rows, 16_000, 1.0)[0]
    assert clip.shape == (16_000,)
    assert torch.fft.rfft(clip).abs().argmax() == 500


def test_rows_to_choose_by_are_held_out_of_those_to_learn_from_with_their_groups(tmp_path: Path) -> None:
    lines = [f"{row}.wav,{'ab'[row % 2]},{row % 3},{row % 9}" for row in range(36)]
    task = task_of(tmp_path, "\n".join(["path,label,fold,recordist", *lines]))
    held = with_validation(task, share=1 / 3)
    for before, after in zip(task.parts, held.parts, strict=True):
        assert sorted([*after.train.tolist(), *after.valid.tolist()]) == before.train.tolist()
        assert torch.equal(after.test, before.test)
        assert len(after.valid) == 8
        people = task.rows["recordist"]
        assert not set(people[after.train.tolist()]) & set(people[after.valid.tolist()])
    assert torch.equal(with_validation(task, 1 / 3).parts[0].valid, held.parts[0].valid)
    assert not torch.equal(with_validation(task, 1 / 3, seed=1).parts[0].valid, held.parts[0].valid)


def test_rows_that_a_table_gives_to_choose_by_stay_what_they_are(tmp_path: Path) -> None:
    table = "path,label,split\na.wav,wren,train\nb.wav,tit,test\nc.wav,tit,valid\nd.wav,tit,train\n"
    (part,) = with_validation(task_of(tmp_path, table), share=0.5).parts
    assert (part.train.tolist(), part.valid.tolist()) == ([0, 3], [2])


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0])
def test_a_share_that_leaves_too_little_is_refused(share: float, tmp_path: Path) -> None:
    task = task_of(tmp_path, "path,label,fold\na.wav,wren,1\nb.wav,tit,2\nc.wav,tit,1\nd.wav,wren,2\n")
    with pytest.raises(OscineError, match="of the rows to choose by, expected more than 0 and at most a half"):
        with_validation(task, share)


def test_labels_that_are_no_class_are_passed_over() -> None:
    assert multi_hot([["b"], [], ["c", "a", "x"]], ["a", "b", "c"]).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


def stereo(folder: Path, cells: str) -> Path:
    """A table of stretches of a.wav and their channels, and of b.wav without one; 0.5 on the left, -0.25 on the right."""
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, np.tile([0.5, -0.25], (RATE, 1)), RATE, subtype="FLOAT")
    rows = [f"a.wav,{start},{start + 0.5},owl,1,{cell}" for start, cell in zip((0, 0.1, 0.2, 0.3), cells.split("|"))]
    text = "\n".join(["path,start,end,label,fold,channel", *rows, "b.wav,0.5,1,wren,2,\n"])
    (folder / "table.csv").write_text(text)
    return folder / "table.csv"


def test_a_label_may_be_of_a_channel(tmp_path: Path) -> None:
    task = read_task(stereo(tmp_path, "right|1|mix|2"))
    clips = LabelledClips(task.rows, RATE, 0.5)
    assert [clips[row].unique().tolist() for row in range(5)] == [[-0.25], [0.5], [0.125], [-0.25], [0.125]]


def test_channels_in_parquet_may_be_numbers_beside_empty_cells(tmp_path: Path) -> None:
    pd.read_csv(stereo(tmp_path, "2|1||2")).to_parquet(tmp_path / "table.parquet")
    clips = LabelledClips(read_task(tmp_path / "table.parquet").rows, RATE, 0.5)
    assert [clips[row].unique().tolist() for row in range(5)] == [[-0.25], [0.5], [0.125], [-0.25], [0.125]]


def test_stretches_that_are_longer_than_a_clip_are_said_once_with_one_of_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = task_of(tmp_path, "path,label,start,end,fold\na.wav,wren,0,0.2,1\nb.wav,tit,0.5,1,2\n")
    for rows in (task.rows, task.rows, task.rows.drop(columns=["start", "end"])):
        warn_of_longer(rows, 0.3)
    (said,) = [message for message in caplog.messages if "than a clip" in message]
    assert said.startswith("1 of 2 labelled stretches last longer than a clip, such as 0.5 to 1 s of ")
    assert said.endswith("b.wav: their first 0.3 s count")


@pytest.mark.parametrize(
    ("times", "said"),
    [("0,99", "is of 0 to 99 s, but its recording lasts 1 s; correct it"), ("1,1.5", "is of 1 to 1.5 s, but its")],
)
def test_a_stretch_outside_its_recording_is_refused_before_anything_is_encoded(
    times: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(OscineError, match=rf"table\.csv: row 3 \(b\.wav\) {said}"):
        task_of(tmp_path, f"path,label,start,end,fold\na.wav,wren,,,1\nb.wav,tit,{times},2\n")


def test_a_last_window_may_reach_beyond_the_end_and_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task_of(tmp_path, "path,label,start,end,fold\na.wav,wren,0,1.009,1\nb.wav,tit,0.5,2,2\n")
    (said,) = [message for message in caplog.messages if "beyond" in message]
    assert "1 row reaches beyond" in said
    assert "row 3 (b.wav) is of 0.5 to 2 s, but its recording lasts 1 s" in said


def test_one_stretch_may_have_a_label_for_every_channel_but_not_two_for_one(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label,fold,channel\na.wav,owl,1,left\na.wav,wren,1,right\nb.wav,owl,2,\n")
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros((80, 2)), RATE)
    assert read_task(tmp_path / "t.csv").rows["channel"].tolist() == [1, 2, 0]
    (tmp_path / "t.csv").write_text("path,label,fold,channel\na.wav,owl,1,left\na.wav,wren,1,1\nb.wav,owl,2,\n")
    with pytest.raises(OscineError, match=r"row 3 \(a\.wav\) repeats an earlier row"):
        read_task(tmp_path / "t.csv")


@pytest.mark.parametrize("wrong", ["BBC", "each", "0"])
def test_a_channel_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(OscineError, match=r"row 3 \(a\.wav\) has a channel that is none; expected mix, left"):
        read_task(stereo(tmp_path, f"left|{wrong}|mix|right"))


def test_features_of_other_channels_are_others(tmp_path: Path) -> None:
    task = read_task(stereo(tmp_path, "right|1|mix|2"))
    torch.manual_seed(0)
    encoder = BAT(dim=48, depth=1, heads=4, seconds=0.5).eval()

    def origin(rows: pd.DataFrame) -> str:
        return Encoding(encoder, replace(task, rows=rows), Needs(None, ("pooled",)), 0.5).origin()["rows_sha256"]

    whole = [origin(task.rows), origin(task.rows.assign(channel=1)), origin(task.rows.drop(columns="channel"))]
    assert len({*whole}) == 3
