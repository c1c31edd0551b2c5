"""Folders of recordings and tables of labels, and the one line that is said of each that does not fit."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pandas as pd
import pytest

from oscine.models.errors import OscineError
from oscine.models.recordings import read_table
from oscine.models.scan import find_recordings, scan_folder


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(folder: Path, text: str) -> Path:
    """A CSV in a folder that holds a.wav, b.wav and c.wav."""
    touch(*(folder / f"{name}.wav" for name in "abc"))
    (path := folder / "labels.csv").write_text(text, encoding="utf-8")
    return path


def test_recordings_are_found_in_the_order_of_their_names_nested_and_upper_case(tmp_path: Path) -> None:
    names = ["a-b.wav", "a/20240501_043000.WAV", "a/b/c.Flac", "b.mp3", "c.opus", "d.W64", "ä b.ogg"]
    touch(*(tmp_path / name for name in names), tmp_path / "notes.txt", tmp_path / "._b.wav", tmp_path / ".trash/e.wav")
    assert [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)] == names


def test_a_loop_of_links_ends_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    touch(tmp_path / "z/real.wav", tmp_path / "z/deep/er.wav")
    (tmp_path / "z/deep/up").symlink_to(tmp_path)
    (tmp_path / "a_link").symlink_to(tmp_path / "z")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    names = [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)]
    assert names == ["z/deep/er.wav", "z/real.wav"]


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/a.wav")
    (tmp_path / "here").mkdir()
    (tmp_path / "here/disk").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "here/gone.wav").symlink_to(tmp_path / "nothing.wav")
    names = [path.name for path in find_recordings(tmp_path / "here")]
    assert names == ["a.wav", "gone.wav"], "a link to nothing is kept, so that reading it can say so"


def test_a_pipe_is_no_recording(tmp_path: Path) -> None:
    touch(tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    assert find_recordings(tmp_path) == [tmp_path / "a.wav"]


def test_what_cannot_be_used_is_handed_back_and_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b.M4A", tmp_path / "locked/c.wav")
    listing = Path.iterdir

    def guarded(path: Path) -> object:  # a mode of 000 does not stop root
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", guarded)
    found = scan_folder(tmp_path)
    assert found.recordings == [tmp_path / "a.wav"]
    assert "M4A files are not read; convert it to WAV or FLAC" in found.refused[tmp_path / "b.M4A"]
    assert "Permission denied" in found.refused[tmp_path / "locked"]
    with caplog.at_level(logging.WARNING):
        assert find_recordings(tmp_path) == found.recordings
    assert len(caplog.records) == 2


def test_a_folder_that_is_missing_a_file_or_empty_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"no folder .*nowhere"):
        find_recordings(tmp_path / "nowhere")
    touch(tmp_path / "a.txt")
    with pytest.raises(OscineError, match=r"a\.txt is a file, expected a folder"):
        find_recordings(tmp_path / "a.txt")
    with pytest.raises(OscineError, match=r"no recordings in .* looked for .*\.flac.*\.wav"):
        find_recordings(tmp_path)
    touch(tmp_path / "a.m4a")
    with pytest.raises(OscineError, match=r"1 of its entries cannot be used, such as .*a\.m4a"):
        find_recordings(tmp_path)


def test_a_table_gives_absolute_paths_lists_of_labels_and_the_other_columns(tmp_path: Path) -> None:
    path = table(
        tmp_path, "path,label,fold,site\na.wav,01,1,north\n./b.wav,NA,2,\n" + f"{tmp_path}/c.wav, wren ,1,south\n"
    )
    rows = read_table(path)
    assert list(rows["path"]) == [str(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")]
    assert list(rows["labels"]) == [["01"], ["NA"], ["wren"]]
    assert list(rows["fold"]) == [1, 2, 1]
    assert rows["site"].isna().tolist() == [False, True, False]
    assert "label" not in rows


def test_labels_separate_several_and_keep_each_once(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path, "path,labels,split\na.wav,wren; robin,train\nb.wav,wren;wren;,test\n"))
    assert list(rows["labels"]) == [["wren", "robin"], ["wren"]]


def test_a_file_may_have_several_labelled_stretches(tmp_path: Path) -> None:
    rows = read_table(table(tmp_path, "path,label,start,end\na.wav,wren,0,2.5\na.wav,robin,2.5,4\nb.wav,wren,,\n"))
    assert rows["start"].tolist()[:2] == [0.0, 2.5]
    assert rows["end"].isna().tolist() == [False, False, True]


def test_a_table_as_a_spreadsheet_saves_it_is_read(tmp_path: Path) -> None:
    path = table(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbfpath,label\r\na.wav,wren\r\n\r\n")
    assert list(read_table(path)["labels"]) == [["wren"]]


@pytest.mark.parametrize("labels", [["wren;robin", "wren"], [["wren", "robin"], ["wren"]]])
def test_a_table_may_be_parquet(tmp_path: Path, labels: list[object]) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    pd.DataFrame({"path": ["a.wav", "b.wav"], "labels": labels}).to_parquet(tmp_path / "t.parquet")
    rows = read_table(tmp_path / "t.parquet")
    assert list(rows["labels"]) == [["wren", "robin"], ["wren"]]
    assert rows["path"].tolist() == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("file,label\na.wav,x\n", r"no column path; it has file, label"),
        ("path;label\na.wav;x\n", r"no column path; it has path;label \(columns are separated by commas\)"),
        ("path,species\na.wav,x\n", r"no column label or labels; it has path, species"),
        ("path,label,labels\na.wav,x,x\n", r"both label and labels"),
        ("path,label\na.wav,x\nb.wav,\n", r"row 3 \(b\.wav\) has no label"),
        ("path,labels\na.wav,;\nb.wav,x\nc.wav, \n", r"row 2 \(a\.wav\) has no labels; .* \(2 such rows\)"),
        ("path,label\na.wav,x;y\n", r"row 2 \(a\.wav\) has several labels; call the column labels"),
        ("path,label\n,x\n", r"row 2 \(\) has no path"),
        ("path,label\na.wav,x\nd.wav,x\ne.wav,x\n", r"2 of its recordings do not exist, such as .*d\.wav, .*e\.wav"),
        ("path,label\na.wav,x\nb.wav,x\na.wav,y\n", r"row 4 \(a\.wav\) repeats an earlier row"),
        ("path,label,start,end\na.wav,x,0,1\na.wav,x,0,1\n", r"row 3 \(a\.wav\) repeats an earlier row"),
        ("path,label,fold\na.wav,x,1\nb.wav,x,\n", r"row 3 \(b\.wav\) has no fold"),
        ("path,label,start\na.wav,x,0\n", r"only one of the columns start and end"),
        ("path,label,start,end\na.wav,x,0,1\nb.wav,x,early,2\n", r"row 3 \(b\.wav\) has a start that is no number"),
        ("path,label,start,end\na.wav,x,2,1\n", r"row 2 \(a\.wav\) has an end that is not after its start"),
        ("path,label,start,end\na.wav,x,-1,1\n", r"row 2 \(a\.wav\) has a start before 0 s"),
        ("path,label,start,end\na.wav,x,1,\n", r"row 2 \(a\.wav\) has only one of start and end"),
        ("path,label\n", r"has no rows"),
        ("", r"is no table"),
        ('path,label\n"a.wav,x\n', r"is no table"),
        ("path,label\na.wav,x\nb.wav,x,y,z\n", r"is no table \(.*line 3"),
    ],
)
def test_a_table_that_does_not_fit_is_told_so_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint) as caught:
        read_table(table(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert "labels.csv" in str(caught.value)


def test_a_table_that_is_missing_a_folder_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"no table .*t\.csv"):
        read_table(tmp_path / "t.csv")
    with pytest.raises(OscineError, match="could not be opened"):
        read_table(tmp_path)
    (tmp_path / "b.csv").write_bytes(bytes(range(256)))
    with pytest.raises(OscineError, match=r"b\.csv is no table"):
        read_table(tmp_path / "b.csv")
    (tmp_path / "c.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(OscineError, match=r"c\.parquet is no table"):
        read_table(tmp_path / "c.parquet")


def test_the_real_table_names_its_rows_without_label(recordings: Path, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"metadata\.csv: row \d+ \(.*\) has no label"):
        read_table(recordings / "metadata.csv")
    rows = pd.read_csv(recordings / "metadata.csv")
    rows = rows[rows["pack"] == "esc10"]
    rows["path"] = [str(recordings / path) for path in rows["path"]]
    rows.to_csv(tmp_path / "esc10.csv", index=False)
    read = read_table(tmp_path / "esc10.csv")
    assert len(read) == 400
    assert sorted(read["fold"].unique()) == [1, 2, 3, 4, 5]
    assert len({label for labels in read["labels"] for label in labels}) == 10
    assert len(find_recordings(recordings / "esc10")) == 400
