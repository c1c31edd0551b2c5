"""BirdSet's sets as tasks, from files as they lie on the Hub: what is learnt from, what is judged, which seconds."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from oscine.models.audio.load import load_audio
from oscine.models.errors import OscineError
from oscine.probe.fit.few_shot import few_shot
from oscine.probe.results.predictions import KEYS
from oscine.probe.tasks.birdset import SETS, birdset
from oscine.probe.tasks.groups import check_groups, join_groups
from oscine.probe.tasks.task import LabelledClips, read_batches, with_validation
from tests.birdset_layout import RATE, ogg, train_rows, write_split
from tests.task_layouts import write_birdset


@pytest.fixture
def hsn(tmp_path: Path) -> Path:
    return write_birdset(tmp_path)


def learnt(rows: pd.DataFrame) -> list[tuple[str, float, float]]:
    train = rows[rows["split"] == "train"]
    return [(Path(path).name, start, end) for path, start, end in zip(train["path"], train["start"], train["end"])]


def test_the_eight_sets_are_those_with_windows_to_be_judged_on() -> None:
    assert SETS == ["HSN", "NBP", "NES", "PER", "POW", "SNE", "SSW", "UHH"]


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_read_from_as_many_tars_as_the_real_one_has(name: str, tmp_path: Path) -> None:
    task = birdset(write_birdset(tmp_path, name), name)
    (part,) = task.parts
    assert task.classes == ["amerob", "foxspa", "yerwar"]
    assert (len(part.train), len(part.test)) == (6, 6)
    for clip in LabelledClips(task.rows, RATE, 5.0):
        assert len(clip) in (5 * RATE, 3 * RATE)
        assert clip.abs().max() > 0


def test_clips_to_learn_from_are_5_seconds_around_events_within_their_recordings(hsn: Path) -> None:
    rows = birdset(hsn, "HSN").rows
    assert learnt(rows) == [
        ("XC0.ogg", 0.5, 5.5),  # 6 s around it are the whole recording, of which the middle 5
        ("XC0.ogg", 0.5, 5.5),
        ("XC0.ogg", 0.5, 5.5),
        ("XC1.ogg", 0.5, 5.5),  # without an event: the first 5 s, with 1 s around them
        ("XC2.ogg", 7.5, 12.5),
        ("XC3.ogg", 0.0, 3.0),  # shorter than a clip
    ]


def test_all_windows_are_judged_and_those_of_a_soundscape_belong_together(hsn: Path) -> None:
    task = birdset(hsn, "HSN")
    (part,) = task.parts
    judged = task.rows.iloc[part.test.numpy()]
    assert judged[["start", "end"]].to_numpy().tolist() == [[0, 5]] * 6
    assert join_groups(judged).tolist() == [0, 0, 0, 1, 1, 1]
    assert task.classes == ["amerob", "foxspa", "yerwar"]
    assert task.targets[part.test].tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert task.targets[part.train].tolist() == [[1, 0, 0]] * 3 + [[0, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert not task.rows[["path", "start", "end", "split"]].isna().any().any()
    check_groups(task.rows, task.parts)
    assert not task.rows.iloc[part.test.numpy()].duplicated([key for key in KEYS if key != "part"]).any()


def test_recordists_stay_whole_where_rows_are_held_out(hsn: Path) -> None:
    task = with_validation(birdset(hsn, "HSN"), share=0.5)
    (part,) = task.parts
    people = task.rows["recordist"]
    assert len(part.valid)
    assert not set(people.iloc[part.train.numpy()]) & set(people.iloc[part.valid.numpy()])
    check_groups(task.rows, task.parts)


def test_clips_are_read_where_they_lie_in_their_tars(hsn: Path, tmp_path: Path) -> None:
    task = birdset(hsn, "HSN")
    clips = LabelledClips(task.rows, RATE, 5.0)
    (tmp_path / "XC2.ogg").write_bytes(ogg(30.0, 2))
    assert torch.equal(clips[4], load_audio(tmp_path / "XC2.ogg", RATE, 7.5, 5.0))
    read = [waveform for batch in read_batches(clips, batch_size=4, workers=1) for waveform in batch]
    assert [len(waveform) / RATE for waveform in read] == [5, 5, 5, 5, 5, 3] + [5] * 6
    assert all(torch.equal(waveform, clips[row]) for row, waveform in enumerate(read))


def test_few_shot_draws_choose_from_short_recordings_of_one_species_without_nested_events(hsn: Path) -> None:
    task = birdset(hsn, "HSN", few_shot=True)
    rows = task.rows[task.rows["split"] == "train"]
    # The first event of XC0 lies within the second; XC2 is long and of two species; XC3 has another in the background.
    assert [Path(path).name for path in rows["path"]] == ["XC0.ogg", "XC0.ogg", "XC1.ogg"]
    (part,) = few_shot(task, 1).parts
    assert task.targets[part.train].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert len(part.test) == 6


def test_species_with_many_events_give_a_few_of_each_recording(hsn: Path, tmp_path: Path) -> None:
    many = [[at / 10, at / 10 + 0.05] for at in range(40)]
    rows = train_rows({f"XC{number}.ogg": ("amerob", many, [0] * 40) for number in range(120)})
    short = ogg(5.0, 0)
    write_split(
        tmp_path, "HSN_train", "HSN_metadata_train.parquet", rows, {f"XC{number}.ogg": short for number in range(120)}
    )
    assert len(learnt(birdset(hsn, "HSN").rows)) == 600
    assert len(learnt(birdset(hsn, "HSN", events=None).rows)) == 4800
    assert birdset(hsn, "HSN", seed=1).rows.equals(birdset(hsn, "HSN", seed=1).rows)


def test_the_folder_above_will_do_and_another_set_will_not(hsn: Path) -> None:
    assert birdset(hsn.parent, "HSN").rows.equals(birdset(hsn, "HSN").rows)
    with pytest.raises(OscineError, match="holds HSN of BirdSet, not POW; name the folder of POW"):
        birdset(hsn, "POW")
    with pytest.raises(OscineError, match="no set 'XCL' in BirdSet to be judged on; choose from HSN, NBP"):
        birdset(hsn, "XCL")


def test_few_shots_need_to_know_of_other_species(hsn: Path, tmp_path: Path) -> None:
    write_split(
        tmp_path, "HSN_train", "HSN_metadata_train.parquet", train_rows({"XC0.ogg": ("a", [], [])}),
        {"XC0.ogg": ogg(5.0, 0)},
    )  # fmt: skip
    assert len(birdset(hsn, "HSN").parts[0].train) == 1
    with pytest.raises(OscineError, match="has no column ebird_code_secondary; few-shot draws need it"):
        birdset(hsn, "HSN", few_shot=True)
