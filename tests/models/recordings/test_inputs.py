"""Recordings may be named by a folder, a file, a list in a file, or a list in Python; what cannot be meant is refused."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from oscine.models.audio.load import AudioError
from oscine.models.errors import OscineError
from oscine.models.recordings.inputs import Stretch, find_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.wav, "b c.flac" in a folder below, and 007.ogg."""
    for name in ("field/a.wav", "field/below/b c.flac", "field/007.ogg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(8000), 8000)
    return tmp_path / "field"


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_folder_names_its_recordings_below_it(folder: Path) -> None:
    assert list(find_inputs(folder).places) == ["007.ogg", "a.wav", "below/b c.flac"]
    assert find_inputs(str(folder)) == find_inputs(folder)


def test_one_file_is_named_by_its_own_name_wherever_it_lies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_inputs(folder / "below/b c.flac").places == {"b c.flac": folder / "below/b c.flac"}
    monkeypatch.chdir(folder / "below")
    assert find_inputs("b c.flac").describe() == find_inputs(folder / "below/b c.flac").describe()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", 'species,path\nowl,a.wav\nwren,"below/b c.flac"\nowl,007.ogg\n'),
        ("l.tsv", "path\tspecies\na.wav\towl\nbelow/b c.flac\twren\n007.ogg\towl\n"),
        ("l.txt", 'a.wav\n\n"below/b c.flac"\n007.ogg'),
        ("L.TXT", "\ufeffa.wav\r\nbelow/b c.flac\r\n007.ogg\r\n"),
        ("table.txt", "path\tspecies\na.wav\towl\nbelow/b c.flac\twren\n007.ogg\towl\n"),
    ],
)
def test_a_list_names_its_recordings_as_it_writes_them_relative_to_itself(folder: Path, name: str, text: str) -> None:
    found = find_inputs(written(folder, name, text))
    assert found.places == {name: folder / name for name in ("a.wav", "below/b c.flac", "007.ogg")}
    assert (found.stretches, found.refused) == ({}, {})


def test_a_recording_that_is_called_otherwise_on_the_disk_is_named_as_there(folder: Path) -> None:
    found = find_inputs(written(folder, "l.csv", "path\nbelow\\b c.flac\nA.WAV\n"))
    assert found.places == {name: folder / name for name in ("below/b c.flac", "a.wav")}


def test_parquet_is_a_list_as_csv_is(folder: Path) -> None:
    pd.DataFrame({"path": ["a.wav", str(folder / "007.ogg")]}).to_parquet(folder / "l.parquet")
    assert find_inputs(folder / "l.parquet").places == {
        "a.wav": folder / "a.wav",
        str(folder / "007.ogg"): folder / "007.ogg",
    }


def test_a_list_in_python_names_its_recordings_as_they_are_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert find_inputs([Path("a.wav"), "./007.ogg"]).places == {"a.wav": Path("a.wav"), "007.ogg": Path("007.ogg")}


def test_folders_in_a_list_of_paths_stand_for_what_lies_in_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    written(folder / "below", "old.wma", "")
    found = find_inputs(["field/a.wav", Path("field/below"), "field/below/b c.flac"])
    assert found.places == {name: Path(name) for name in ("field/a.wav", "field/below/b c.flac")}
    assert list(found.refused) == ["field/below/old.wma"]


def test_a_list_in_a_file_stands_alone(folder: Path) -> None:
    with pytest.raises(OscineError, match=r"l.csv is a list of recordings among other recordings; name it alone"):
        find_inputs([folder / "a.wav", written(folder, "l.csv", "path\na.wav\n")])


def test_one_file_that_cannot_be_read_is_an_error_at_once(folder: Path) -> None:
    with pytest.raises(AudioError, match=r"page\.wav: is no audio that can be read here"):
        find_inputs(written(folder, "page.wav", "<html>" * 50))


def test_rows_with_times_are_stretches_in_the_order_of_their_start(folder: Path) -> None:
    text = "path,start,end\na.wav,0.5,\na.wav,0.1,0.3\n007.ogg,,\na.wav,0.1,0.2\n"
    found = find_inputs(written(folder, "l.csv", text))
    assert found.stretches == {"a.wav": [Stretch(0.1, 0.2), Stretch(0.1, 0.3), Stretch(0.5, None)]}
    assert list(found.places) == ["a.wav", "007.ogg"]


def test_what_a_list_names_twice_is_read_once_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(
        folder, "l.csv", "path,start,end\na.wav,0.1,0.2\n007.ogg,,\n./a.wav,0.1,0.2\n007.ogg,,\na.wav,0.2,0.3\n"
    )
    with caplog.at_level(logging.WARNING):
        found = find_inputs(path)
    assert found.places.keys() == {"a.wav", "007.ogg"}
    assert found.stretches == {"a.wav": [Stretch(0.1, 0.2), Stretch(0.2, 0.3)]}
    assert f"{path} names 2 recordings or stretches again, such as a.wav; each is read once" in caplog.text


def test_a_whole_recording_beside_a_stretch_of_it_are_two(folder: Path) -> None:
    found = find_inputs(written(folder, "l.csv", "path,start,end\na.wav,,\na.wav,0.1,0.2\n"))
    assert found.stretches == {"a.wav": [Stretch(), Stretch(0.1, 0.2)]}


def test_other_stretches_of_the_same_files_are_another_input(folder: Path) -> None:
    texts = ("path\na.wav\n", "path,start,end\na.wav,0.1,0.2\n", "path,start,end\na.wav,0.1,0.3\n", "path\n007.ogg\n")
    found = [find_inputs(written(folder, "l.csv", text)).describe() for text in texts]
    assert len({str(one) for one in found}) == 4
    assert {one["recordings"] for one in found} == {1}


def test_some_missing_files_are_for_the_error_table_but_none_at_all_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(find_inputs(written(folder, "l.txt", "a.wav\nnone.wav\n")).places) == ["a.wav", "none.wav"]
    lost = written(folder, "l.txt", "field/a.wav\nfield/007.ogg\n")
    with pytest.raises(
        OscineError,
        match=r"2 of its 2 recordings do not exist, such as field/a\.wav.*relative to .*field; a\.wav is in the",
    ):
        find_inputs(lost)
    monkeypatch.chdir(folder.parent)
    assert find_inputs(lost).places["field/007.ogg"] == folder / "007.ogg", "where the command is called, all are there"


def test_formats_that_are_not_read_are_refused_one_by_one(folder: Path) -> None:
    (folder / "x.m4a").touch()
    found = find_inputs(written(folder, "l.txt", "a.wav\nx.m4a\n"))
    assert found.refused == {"x.m4a": "M4A files are not read; convert it to WAV or FLAC"}
    assert list(found.places) == ["a.wav"]
    with pytest.raises(OscineError, match=r"x\.m4a: M4A files are not read"):
        find_inputs(folder / "x.m4a")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("l.csv", "what\na\n", "has no column path; it has what"),
        ("l.csv", "path\n", "the table .* has no rows"),
        ("l.txt", "\n\n", "the table .* has no rows"),
        ("l.txt", "", "the table .* has no rows"),
        ("l.txt", "a.wav\nhttps://example.org/a.wav\n", r"row 2 \(https://.*\) is an address, not a file; download"),
        ("l.csv", "path,start\na.wav,x\n", r"row 2 \(a\.wav\) has the start 'x', expected a number of seconds"),
        (
            "notes.docx",
            "",
            r"notes\.docx is no recording by its name; expected a folder, a recording \(.*\), or a list",
        ),
    ],
)
def test_a_bad_list_is_refused_in_one_line(folder: Path, name: str, text: str, complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint) as raised:
        find_inputs(written(folder, name, text))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("recordings", "complaint"),
    [
        ([], "the list of recordings is empty; name one at least"),
        (["a.wav", None], "the list of recordings holds None, expected paths of files on this machine"),
        (["none.wav", "no.wav"], "none of the 2 recordings of the list exists, such as none.wav; check the paths"),
        (["https://example.org/a.wav"], "holds 'https://example.org/a.wav', expected paths of files on this machine"),
        ("https://example.org/a.wav", "is an address, not a file; download the recordings first"),
        (Path("s3://bucket/a.wav"), "is an address, not a file; download the recordings first"),
        ("none.wav", r"no recording none\.wav; check the path"),
        ("none.csv", r"no table none\.csv; check the path"),
        ("none", "no folder none; check the path"),
    ],
)
def test_what_names_no_recordings_is_refused(recordings: list[str], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        find_inputs(recordings)


def test_recordings_are_found_without_torch(folder: Path) -> None:
    found = "from oscine.models.recordings.inputs import find_inputs"
    code = f"import sys; {found}; find_inputs(sys.argv[1]); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, str(folder)], check=True, capture_output=True, text=True)
    assert ran.stdout == "False\n"
