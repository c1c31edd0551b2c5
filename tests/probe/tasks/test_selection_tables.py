"""What is written is read again; times count through a sequence of files in Raven, and from each file's beginning here."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import pandas as pd
import pytest
from pandas import DataFrame
from pandas.testing import assert_frame_equal

from oscine.models.audio.load import AudioInfo
from oscine.models.errors import OscineError
from oscine.probe.tasks.selection_tables import (
    COLUMNS,
    RecordingNames,
    read_audacity,
    read_raven,
    write_audacity,
    write_raven,
)

HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def annotations(*rows: tuple[str, float, float, float, float, str, float]) -> DataFrame:
    return DataFrame(rows, columns=COLUMNS)


def infos(*names: str) -> dict[str, AudioInfo]:
    """Recordings of 10, 20, 30 s at 8, 16, 24 kHz."""
    rates = {name: 8000 * (number + 1) for number, name in enumerate(names)}
    return {name: AudioInfo(rate * 10 * (number + 1), rate, 1, "") for number, (name, rate) in enumerate(rates.items())}


def raven(folder: Path, text: str, name: str = "a.Table.1.selections.txt") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_raven_times_count_through_the_sequence_and_offsets_within_the_file(tmp_path: Path) -> None:
    found = annotations(
        ("b.wav", 2.0, 3.5, 500.0, 9999.0, "wren", 0.75), ("a.wav", 1.0, 2.0, math.nan, math.nan, "tit", 0.5)
    )
    write_raven(tmp_path / "out.txt", found, infos("a.wav", "b.wav"))
    lines = [line.split("\t") for line in (tmp_path / "out.txt").read_text().splitlines()]
    assert "\t".join(lines[0]) == f"{HEADER}\tBegin Path\tFile Offset (s)\tSpecies\tScore"
    assert lines[1:] == [
        ["1", "Spectrogram 1", "1", "1.0", "2.0", "0.0", "4000.0", "a.wav", "1.0", "tit", "0.5"],
        ["2", "Spectrogram 1", "1", "12.0", "13.5", "500.0", "8000.0", "b.wav", "2.0", "wren", "0.75"],
    ]


def test_files_without_annotations_take_their_time_too(tmp_path: Path) -> None:
    found = annotations(("c.wav", 0.25, 0.5, 1.0, 2.0, "tit", math.nan))
    write_raven(tmp_path / "out.txt", found, infos("a.wav", "b.wav", "c.wav"))
    header, row = (line.split("\t") for line in (tmp_path / "out.txt").read_text().splitlines())
    assert row[header.index("Begin Time (s)")] == "30.25"
    assert "Score" not in header


def test_what_is_written_for_raven_is_read_again(tmp_path: Path) -> None:
    paths = [str(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")]
    found = annotations(
        (paths[0], 1.0, 2.123457, 100.0, 3000.0, "NA", 0.5),
        (paths[2], 0.0, 29.0, 0.0, 12000.0, "Troglodytes troglodytes", 0.25),
        (paths[2], 3.0, 4.0, 10.0, 20.5, "tit", 1.0),
    )
    write_raven(tmp_path / "out.txt", found, infos(*paths))
    assert_frame_equal(read_raven(tmp_path / "out.txt", [Path(path) for path in paths]), found)


def test_a_table_without_file_names_is_about_the_recording_beside_it(tmp_path: Path) -> None:
    recordings = [tmp_path / "a.wav", tmp_path / "a.b.wav", tmp_path / "other" / "a.wav"]
    path = raven(tmp_path, f"{HEADER}\tSpecies\n1\tSpectrogram 1\t1\t1.5\t2.5\t100\t200\twren\n")
    (row,) = read_raven(path, recordings).to_dict("records")
    assert (row["path"], row["start"], row["end"], row["label"]) == (str(tmp_path / "a.wav"), 1.5, 2.5, "wren")
    assert math.isnan(row["score"])
    names = RecordingNames(recordings)
    assert names.beside(tmp_path / "a.b.Table.1.selections.txt") == tmp_path / "a.b.wav"
    assert names.beside(tmp_path / "ab.txt") is None


def test_a_table_in_another_folder_is_about_the_one_recording_that_fits(tmp_path: Path) -> None:
    north, south = tmp_path / "audio" / "north", tmp_path / "audio" / "south"
    names = RecordingNames([north / "a.wav", south / "a.wav", south / "b.wav", south / "c.flac", south / "c.wav"])
    assert names.beside(tmp_path / "tables" / "b.Table.1.selections.txt") == south / "b.wav"
    assert names.beside(tmp_path / "tables" / "south" / "a.txt") == south / "a.wav"
    assert names.beside(south / "c.wav.txt") == south / "c.wav"
    for table in (tmp_path / "tables" / "a.txt", south / "c.txt"):
        with pytest.raises(
            OscineError, match=r"txt may be about .* or .*; put it into the folder of one, or export it"
        ):
            names.beside(table)
    with pytest.raises(OscineError, match="may be about"):
        names.find(tmp_path / "tables" / "all.txt", "a.wav")
    assert names.find(north / "all.txt", "a.wav") == north / "a.wav"
    assert names.find(tmp_path / "tables" / "all.txt", "E:\\south\\a.wav") == south / "a.wav"


def test_quotation_marks_are_letters_as_in_raven(tmp_path: Path) -> None:
    rows = ['A\t"faint', "B\t", 'A\t"loud"', '"A" call\t']
    lines = [f"{number}\tSpectrogram 1\t1\t{number}\t{number}.5\t1\t2\t{row}" for number, row in enumerate(rows)]
    path = raven(tmp_path, "\n".join([f"{HEADER}\tSpecies\tNotes", *lines]))
    assert read_raven(path, [tmp_path / "a.wav"])["label"].tolist() == ["A", "B", "A", '"A" call']
    write_raven(tmp_path / "out.txt", annotations(("a.wav", 1, 2, 0, 1, '"A" call', 1)), infos("a.wav"))
    assert '\t"A" call\t' in (tmp_path / "out.txt").read_text()


def test_quotation_marks_around_the_header_too_are_those_of_r(tmp_path: Path) -> None:
    header = "\t".join(f'"{name}"' for name in [*HEADER.split("\t"), "Species"])
    path = raven(tmp_path, f'{header}\n1\t"S"\t1\t0.5\t1.5\t1\t2\t"a ""wren"""\n')
    assert read_raven(path, [tmp_path / "a.wav"])["label"].tolist() == ['a "wren"']
    path.write_text(path.read_text() + '2\t"S\n')
    with pytest.raises(OscineError, match=r"is no selection table .*; expected quotation marks in pairs"):
        read_raven(path, [tmp_path / "a.wav"])


def test_a_blank_cell_of_a_number_that_may_be_missing_is_unknown(tmp_path: Path) -> None:
    rows = "1\tS\t1\t0\t1\t\t\twren\t0.5\n2\tS\t1\t1\t2\t1\t2\ttit\tNA\n"
    found = read_raven(raven(tmp_path, f"{HEADER}\tSpecies\tScore\n{rows}"), [tmp_path / "a.wav"])
    assert found[["low", "high", "score"]].isna().to_numpy().tolist() == [[True, True, False], [False, False, True]]


def test_a_table_without_selections_needs_no_column_of_labels(tmp_path: Path) -> None:
    assert read_raven(raven(tmp_path, HEADER + "\n"), [tmp_path / "a.wav"]).empty
    assert read_raven(raven(tmp_path, HEADER + "\n"), [tmp_path / "a.wav"], column="Bird").empty


def test_a_selection_without_a_label_has_an_empty_one(tmp_path: Path) -> None:
    path = raven(tmp_path, f"{HEADER}\tSpecies\n1\tS\t1\t0\t1\t0\t1\t \n")
    assert read_raven(path, [tmp_path / "a.wav"])["label"].tolist() == [""]
    (tmp_path / "a.txt").write_text("0.5\t1.5\n")
    assert read_audacity(tmp_path / "a.txt", [tmp_path / "a.wav"])["label"].tolist() == [""]


def test_missing_scores_and_strange_letters_are_written_and_read_again(tmp_path: Path) -> None:
    names = [str(tmp_path / name) for name in ("a\tb.wav", "c\nd.wav", "e\x9b.wav", "f\\x09.wav")]
    labels = ['"', '"A" call', "\x1b]0;title\x07", "=1+1", "", "\\x1b", "'a'", "\x00"]
    rows = [
        (names[number % len(names)], float(number), number + 0.5, 1.0, 2.0, label, math.nan if number % 2 else 0.5)
        for number, label in enumerate(labels)
    ]
    found = annotations(*rows).sort_values(["path", "start"], key=lambda key: key.map(str)).reset_index(drop=True)
    order = dict(zip(found["path"].unique(), infos(*names).values(), strict=True))
    write_raven(tmp_path / "out.txt", found, order)
    text = (tmp_path / "out.txt").read_text()
    assert not set(text) & {chr(code) for code in range(32) if chr(code) not in "\t\n"}
    assert {line.count("\t") for line in text.splitlines()} == {10}
    assert_frame_equal(read_raven(tmp_path / "out.txt", [Path(name) for name in names]), found)
    one = found[found["path"] == names[0]].reset_index(drop=True)
    write_audacity(tmp_path / "a\tb.txt", one)
    assert_frame_equal(read_audacity(tmp_path / "a\tb.txt", [Path(names[0])]), one.assign(score=math.nan))


def test_a_path_that_a_selection_table_cannot_hold_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_raven(tmp_path / "out.txt", annotations(("a\tb.wav", 0, 1, 0, 1, "tit", 1)), infos("a\tb.wav"))
    assert "the names of 1 recording, such as a\\x09b.wav, written so; rename them" in caplog.text


def test_a_selection_with_two_views_is_read_once(tmp_path: Path) -> None:
    lines = [f"1\t{view}\t1\t1.5\t2.5\t100\t200\twren" for view in ("Waveform 1", "Spectrogram 1")]
    path = raven(tmp_path, "\n".join([f"{HEADER}\tSpecies", *lines]))
    assert len(read_raven(path, [tmp_path / "a.wav"])) == 1


def test_a_recording_is_found_whatever_its_folder_was_called_where_it_was_annotated(tmp_path: Path) -> None:
    recordings = [tmp_path / "north" / "a.wav", tmp_path / "south" / "a.wav"]
    row = "1\tSpectrogram 1\t1\t101.5\t102.5\t100\t200\twren\tD:\\field\\south\\a.wav\t1.5\n"
    path = raven(tmp_path, f"{HEADER}\tSpecies\tBegin Path\tFile Offset (s)\n{row}")
    found = read_raven(path, recordings)
    assert found["path"].tolist() == [str(recordings[1])]
    assert found[["start", "end"]].to_numpy().tolist() == [[1.5, 2.5]]


def test_the_column_with_the_labels_may_have_any_name(tmp_path: Path) -> None:
    path = raven(tmp_path, f"{HEADER}\tBird\n1\tSpectrogram 1\t1\t1.5\t2.5\t100\t200\twren\n")
    assert read_raven(path, [tmp_path / "a.wav"], column="Bird")["label"].tolist() == ["wren"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("a,b\n1,2\n", r"has no column Begin Time \(s\); expected a selection table as Raven writes it, with tabs"),
        (f"{HEADER}\n1\tS\t1\t0\t1\t0\t1\n", "has no column with labels, such as Species; it has Selection, View"),
        (f"{HEADER}\tSpecies\n\n1\tS\t1\t0\t\t0\t1\tx\n", r"row 3 \(0\) has End Time \(s\) that is no number"),
        (f"{HEADER}\tSpecies\n1\tS\t1\t0\tinf\t0\t1\tx\n", r"row 2 \(0\) has End Time \(s\) that is no number"),
        (f"{HEADER}\tSpecies\n1\tS\t1\t0\t1\tlow\t1\tx\n", r"row 2 \(0\) has Low Freq \(Hz\) that is no number"),
        (f"{HEADER}\tSpecies\n1\tS\t1\t0\t1\t0\t1\tx\ty\n", "row 2 has 9 columns, the header 8; take the tabs out"),
        (f"{HEADER}\tSpecies\tSpecies\n", "has several columns called Species; rename all but one"),
        (f"{HEADER}\tSpecies\n1\tS\t1\tx\t1\t0\t1\twren\n", r"row 2 \(x\) has Begin Time \(s\) that is no number"),
        (f"{HEADER}\tSpecies\n1\tS\t1\t2\t1\t0\t1\twren\n", r"row 2 \(2\) has an End Time \(s\) before its Begin"),
        (
            f"{HEADER}\tSpecies\tBegin File\n1\tS\t1\t0\t1\t0\t1\twren\ta.wav\n2\tS\t1\t9\t10\t0\t1\twren\tb.wav\n",
            r"is about 2 recordings and has no File Offset \(s\)",
        ),
        (f"{HEADER}\tSpecies\tBegin File\n1\tS\t1\t0\t1\t0\t1\twren\tz.wav\n", "is about z.wav, which is not among 1"),
    ],
)
def test_a_table_that_cannot_be_used_gets_a_clear_line(tmp_path: Path, table: str, message: str) -> None:
    path = raven(tmp_path, table)
    with pytest.raises(OscineError, match=message) as caught:
        read_raven(path, [tmp_path / "a.wav"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_written_for_audacity_is_read_again(tmp_path: Path) -> None:
    name = str(tmp_path / "a.wav")
    found = annotations(
        (name, 0.5, 1.25, 100.0, 3000.0, "wren", math.nan), (name, 2.0, 2.0, math.nan, math.nan, "a tit", math.nan)
    )
    write_audacity(tmp_path / "a.txt", found)
    expected = "0.500000\t1.250000\twren\n\\\t100.000000\t3000.000000\n2.000000\t2.000000\ta tit\n"
    assert (tmp_path / "a.txt").read_text() == expected
    assert_frame_equal(read_audacity(tmp_path / "a.txt", [tmp_path / "a.wav"]), found)


def test_an_empty_label_track_has_no_annotations(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert read_audacity(tmp_path / "a.txt", [tmp_path / "a.wav"]).empty


def test_a_label_track_that_cannot_be_used_gets_a_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0.5\t1.5\twren\n2.0 3.0 tit\n")
    with pytest.raises(
        OscineError,
        match=r"a.txt: line 2 is '2.0 3.0 tit', expected start and end, such as 1.5, and a label, with tabs between",
    ):
        read_audacity(tmp_path / "a.txt", [tmp_path / "a.wav"])
    for times in ("nan\t1", "0\tinf", "1_0\t20", "1e400\t1e400", "\\\t1\t2"):
        (tmp_path / "a.txt").write_text(f"{times}\twren\n")
        with pytest.raises(OscineError, match=r"line 1 is .* expected start and end"):
            read_audacity(tmp_path / "a.txt", [tmp_path / "a.wav"])
    (tmp_path / "a.txt").write_text("0.5\t1.5\twren\n5.0\t4.0\ttit\n")
    with pytest.raises(OscineError, match=r"a.txt: line 2 ends at 4 s, before its start at 5 s; correct it"):
        read_audacity(tmp_path / "a.txt", [tmp_path / "a.wav"])
    (tmp_path / "b.txt").write_text("0.5\t1.5\twren\n")
    with pytest.raises(
        OscineError,
        match=r"no recording beside .*b.txt, nor one of its name in another folder; expected one whose name",
    ):
        read_audacity(tmp_path / "b.txt", [tmp_path / "a.wav"])
    with pytest.raises(OscineError, match=r"no table .*c.txt; check the path"):
        read_audacity(tmp_path / "c.txt", [])


def test_decimal_commas_are_read_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recordings = [tmp_path / "a.wav"]
    track = "0.500000\t1.250000\ta, b\n\\\t100.000000\t3000.000000\n2.000000\t2.500000\ta tit\n"
    selections = "Selection\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tSpecies\n1\t1.5\t2.25\t500.125\ta, b\n"
    for text, read in ((track, read_audacity), (selections, read_raven)):
        (tmp_path / "a.txt").write_text(text)
        expected = read(tmp_path / "a.txt", recordings)
        with caplog.at_level(logging.INFO):
            (tmp_path / "a.txt").write_text(text.replace(".", ","), encoding="utf-16")
            assert_frame_equal(read(tmp_path / "a.txt", recordings), expected)
        assert caplog.messages[-2:] == [
            f"{tmp_path / 'a.txt'}: read as UTF-16",
            f"{tmp_path / 'a.txt'}: numbers have decimal commas",
        ]


def test_what_cannot_be_written_gets_a_clear_line(tmp_path: Path) -> None:
    found = annotations(("a.wav", 0, 1, 0, 1, "tit", 1), ("b.wav", 0, 1, 0, 1, "tit", 1))
    with pytest.raises(OscineError, match="annotations of 2 recordings; an Audacity label track has one"):
        write_audacity(tmp_path / "out.txt", found)
    with pytest.raises(OscineError, match=r"annotations of b.wav, which is none of the 1 recordings"):
        write_raven(tmp_path / "out.txt", found, infos("a.wav"))
    assert not list(tmp_path.iterdir())


def test_labels_with_tabs_and_line_ends_stay_in_their_cell(tmp_path: Path) -> None:
    found = annotations(("a.wav", 0.0, 1.0, 0.0, 1.0, "a\ttit\nperhaps", 1.0))
    write_raven(tmp_path / "out.txt", found, infos("a.wav"))
    assert pd.read_csv(tmp_path / "out.txt", sep="\t")["Species"].tolist() == ["a tit perhaps"]
