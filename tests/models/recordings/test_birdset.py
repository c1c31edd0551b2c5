"""BirdSet's files are read as they lie on the Hub; what is missing or wrong there is said in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from oscine.models.audio.load import load_audio
from oscine.models.errors import OscineError
from oscine.models.recordings.birdset import BirdSet, classes_of, is_birdset
from tests.birdset_layout import RATE, link, ogg, train_rows, write_split

OGGS = {f"XC{number}.ogg": ogg(6 + number, number, (1, 2)) for number in range(4)}
WINDOWS = {f"HSN_001_20150708_061805_{at:03}_{at + 5:03}.ogg": ogg(5, at) for at in (0, 5, 10)}


@pytest.fixture
def hsn(tmp_path: Path) -> Path:
    """HSN: four recordings of two species, three windows of a soundscape, and its calls."""
    rows = train_rows(
        {
            "XC0.ogg": ("amerob", [[1, 2], [3, 4]], [0, 0]),
            "XC1.ogg": ("foxspa", [], []),
            "XC2.ogg": ("foxspa", [[1, 2], [3, 4], [5, 6]], [-1, 0, -1]),
            "XC3.ogg": ("amerob", [[1, 9]], [2]),
        }
    )
    rows["ebird_code_multilabel"] = [["amerob"], ["yerwar", "foxspa"], ["foxspa"], ["amerob"]]
    write_split(tmp_path, "HSN_train", "HSN_metadata_train.parquet", rows, OGGS)
    calls = pd.DataFrame(
        {
            "filepath": ["S.ogg"] * 2,
            "ebird_code": ["amerob", "foxspa"],
            "start_time": [1.0, 2.5],
            "end_time": [1.5, 4.0],
        }
    )
    write_split(tmp_path, "HSN_test", "HSN_metadata_test.parquet", calls, {"S.ogg": OGGS["XC0.ogg"]})
    windows = pd.DataFrame(
        {
            "filepath": list(WINDOWS),
            "ebird_code_multilabel": [["foxspa", "amerob"], [], None],
            "start_time": [0.0, 0.0, np.nan],
            "end_time": [5.0, 5.0, np.nan],
        }
    ).set_index("filepath")  # as the published one has it
    return write_split(tmp_path, "HSN_test5s", "HSN_metadata_test_5s.parquet", windows, WINDOWS)


def test_training_rows_are_events_with_all_labels_of_their_recording(hsn: Path) -> None:
    rows = BirdSet(hsn).labelled()
    assert rows[["start", "end"]].to_numpy().tolist() == [[1, 2], [3, 4], [0, 5], [3, 4], [1, 9]]
    assert [Path(path).name for path in rows["path"]] == ["XC0.ogg", "XC0.ogg", "XC1.ogg", "XC2.ogg", "XC3.ogg"]
    assert rows["labels"].tolist() == [["amerob"], ["amerob"], ["foxspa", "yerwar"], ["foxspa"], ["amerob"]]


def test_windows_of_the_test_have_5_seconds_and_any_number_of_labels(hsn: Path) -> None:
    rows = BirdSet(hsn, "test_5s").labelled()
    assert rows[["start", "end"]].to_numpy().tolist() == [[0, 5]] * 3
    assert rows["labels"].tolist() == [["amerob", "foxspa"], [], []]
    assert classes_of(rows, BirdSet(hsn).labelled()) == ["amerob", "foxspa", "yerwar"]


def test_strong_labels_are_calls_with_their_times(hsn: Path) -> None:
    rows = BirdSet(hsn, "test").labelled()
    assert rows[["start", "end"]].to_numpy().tolist() == [[1, 1.5], [2.5, 4]]
    assert rows["labels"].tolist() == [["amerob"], ["foxspa"]]
    assert rows["recording"].tolist() == [0, 0]


@pytest.mark.parametrize(("split", "files"), [("train", OGGS), ("test_5s", WINDOWS)])
def test_a_rows_recording_is_the_one_of_its_name(
    hsn: Path, tmp_path: Path, split: str, files: dict[str, bytes]
) -> None:
    birdset = BirdSet(hsn, split)
    for row in birdset.labelled().itertuples():
        name = Path(str(row.path)).name
        (tmp_path / name).write_bytes(files[name])
        heard = birdset.recordings.load(int(str(row.recording)), RATE, 0.5, 2.0)
        assert torch.equal(heard, load_audio(tmp_path / name, RATE, 0.5, 2.0))


def test_labels_may_be_numbers_and_events_of_no_type(tmp_path: Path) -> None:
    rows = train_rows({"XC0.ogg": ("7", [], []), "XC1.ogg": ("3", [], [])}).assign(
        ebird_code=[7, 3], ebird_code_multilabel=pd.Series([[7], [3]]), detected_events=None, event_cluster=None
    )
    folder = write_split(tmp_path, "HSN_train", "HSN_metadata_train.parquet", rows, OGGS)
    assert BirdSet(folder).labelled()["labels"].tolist() == [["7"], ["3"]]
    assert BirdSet(folder).species(pd.Series([1, 0, 1])).tolist() == ["3", "7", "3"]


def test_rows_whose_recording_is_nowhere_are_left_out_and_said(hsn: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = train_rows({"XC0.ogg": ("a", [], []), "gone.ogg": ("b", [], [])})
    folder = write_split(hsn.parents[2], "HSN_train", "HSN_metadata_train.parquet", rows, OGGS)
    with caplog.at_level(logging.WARNING):
        assert len(BirdSet(folder).labelled()) == 1
    assert "1 of 2 rows left out, whose recordings no tar file holds, such as gone.ogg" in caplog.text


def test_a_missing_tar_is_named(hsn: Path) -> None:
    (hsn / "HSN_train_shard_0005.tar.gz").unlink()
    with pytest.raises(OscineError, match=r"1 of 7 tar files of HSN's train are missing, such as HSN_train_shard_0005"):
        BirdSet(hsn)
    assert len(BirdSet(hsn, "test").labelled()) == 2


def test_a_link_to_a_blob_that_is_gone_is_a_missing_tar(hsn: Path) -> None:
    (hsn / "HSN_test5s_shard_0001.tar.gz").resolve().unlink()
    with pytest.raises(OscineError, match="1 of 1 tar files of HSN's test_5s are missing"):
        BirdSet(hsn, "test_5s")


def test_a_column_that_is_not_there_is_named(hsn: Path) -> None:
    rows = train_rows({"XC0.ogg": ("a", [], [])}).drop(columns="event_cluster")
    write_split(hsn.parents[2], "HSN_train", "HSN_metadata_train.parquet", rows, OGGS)
    with pytest.raises(
        OscineError, match=r"HSN_metadata_train\.parquet has no column event_cluster; it has filepath, "
    ):
        BirdSet(hsn)


def test_metadata_that_is_no_table_is_refused(hsn: Path) -> None:
    link(hsn.parents[2], hsn / "HSN_metadata_train.parquet", b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(OscineError, match=r"HSN_metadata_train\.parquet is no Parquet .*; download it again"):
        BirdSet(hsn)


def test_an_unknown_configuration_or_split_is_refused(hsn: Path, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="has no split valid; choose from train, test, test_5s"):
        BirdSet(hsn, "valid")
    for path in sorted(hsn.iterdir()):
        if not path.is_dir():
            path.rename(path.with_name(path.name.replace("HSN", "HSX")))
    with pytest.raises(OscineError, match=r"holds BirdSet's HSX, which is unknown; choose from HSN, NBP"):
        is_birdset(hsn)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OscineError, match="holds no configuration of BirdSet"):
        BirdSet(tmp_path / "empty")


def test_a_folder_of_several_configurations_is_not_one_of_them(hsn: Path) -> None:
    with pytest.raises(OscineError, match=r"holds 1 configurations of BirdSet; name one of them, such as .*HSN"):
        is_birdset(hsn.parent)


def test_a_folder_with_somebodys_metadata_is_not_birdset(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "mine_metadata.parquet")
    assert not is_birdset(tmp_path)
