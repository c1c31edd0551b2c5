"""Tables come from Excel, R and Raven: what is certain is read and said, the rest is refused in one line with a guess."""

from __future__ import annotations

import logging
import math
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from oscine.models.audio.scan import find_recordings
from oscine.models.errors import OscineError
from oscine.models.recordings.tables import read_list, read_table


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(folder: Path, text: str | bytes) -> Path:
    """A table in a folder that holds a.wav, b.wav and c.wav."""
    touch(*(folder / f"{name}.wav" for name in "abc"))
    path = folder / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, caplog: pytest.LogCaptureFixture) -> tuple[pd.DataFrame, str]:
    """A table's rows, and what is said of it."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        rows = read_table(table(folder, text))
    assert len(caplog.messages) <= 1
    return rows, "".join(caplog.messages)


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


@pytest.mark.parametrize("labels", [["wren;robin", "wren"], [["wren", "robin"], ["wren"]]])
def test_a_table_may_be_parquet(tmp_path: Path, labels: list[object]) -> None:
    touch(tmp_path / "a.wav", tmp_path / "b.wav")
    pd.DataFrame({"path": ["a.wav", "b.wav"], "labels": labels}).to_parquet(tmp_path / "t.parquet")
    rows = read_table(tmp_path / "t.parquet")
    assert list(rows["labels"]) == [["wren", "robin"], ["wren"]]
    assert rows["path"].tolist() == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]


PLAIN = "path,label,fold\na.wav,Bécasse,1\nb.wav,Möwe,2\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (PLAIN.encode(), ""),
        (PLAIN.encode("utf-8-sig").replace(b"\n", b"\r\n"), ""),
        (PLAIN.replace(",", ";").encode(), "columns are separated by semicolons"),
        (PLAIN.replace(",", "\t").encode(), "columns are separated by tabs"),
        (b'sep=;\r\n' + PLAIN.replace(",", ";").encode(), "columns are separated by semicolons"),
        (PLAIN.encode("utf-16"), "read as UTF-16"),
        (PLAIN.encode("utf-16-le"), "read as UTF-16"),
        (PLAIN.encode("utf-16-be"), "read as UTF-16"),
        (PLAIN.encode("cp1252"), "read as Windows-1252 (Bécasse)"),
        (PLAIN.replace("path,label,fold", "Path, LABEL ,Fold").encode(), "Path, LABEL, Fold are read as path, label, fold"),
        (PLAIN.replace("path,label", "File Name,species").encode(), "File Name, species are read as path, label"),
        (PLAIN.replace("path", "fichier").encode(), "fichier is read as path"),
        (PLAIN.replace("a.wav", "A.WAV").encode(), "A.WAV is a.wav on the disk, which is taken"),
        (PLAIN.replace("a.wav", "a").encode(), "a is a.wav on the disk, which is taken"),
        (PLAIN.replace("a.wav", ".\\\\a.wav").encode(), "backslashes divide folders, as in .\\\\a.wav"),
        ((PLAIN + ",,\n\n,,\n").encode(), ""),
        (PLAIN.replace("\n", ",\n").encode(), ""),
        (('"path","label","fold"\n' + '"1","a.wav","Bécasse",1\n"2","b.wav","Möwe",2\n').encode(), "the first column is"),
        (('"","path","label","fold"\n' + '"1","a.wav","Bécasse",1\n"2","b.wav","Möwe",2\n').encode(), ""),
    ],
)  # fmt: skip
def test_a_table_is_read_as_spreadsheets_and_r_write_it_and_what_was_guessed_is_said(
    text: bytes, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, message = read(tmp_path, text, caplog)
    assert list(rows["path"]) == [str(tmp_path / "a.wav"), str(tmp_path / "b.wav")]
    assert list(rows["labels"]) == [["Bécasse"], ["Möwe"]]
    assert rows["fold"].tolist() == [1, 2]
    assert said in message
    assert bool(message) == bool(said), "nothing is said where nothing was guessed"


def test_many_rows_of_texts_keep_letters_that_windows_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for words in ("Pääsky", "Fauvette à tête noire", "Blåmes", "Ñandú", "Grünfink “Ruf” – 2°"):
        rows, _ = read(tmp_path, f"path,label\na.wav,{words}\n".encode("cp1252"), caplog)
        assert list(rows["labels"]) == [[words]]


@pytest.mark.parametrize(
    ("label", "encoding"),
    [
        ("Чёрный дрозд", "cp1251"),
        ("łabędź", "cp1250"),
        ("červenka", "cp1250"),
        ("Möwe", "mac_roman"),
        ("ツバメ", "shift-jis"),
    ],
)
def test_letters_that_may_be_several_are_refused_in_words_of_a_spreadsheet(
    label: str, encoding: str, tmp_path: Path
) -> None:
    with pytest.raises(OscineError, match=r'line 3 may be read in several ways.*save it as "CSV UTF-8" \(in Excel'):
        read_table(table(tmp_path, f"path,label\na.wav,x\nb.wav,{label}\n".encode(encoding)))


def test_accents_may_be_composed_or_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for there, named in (("NFC", "NFD"), ("NFD", "NFC")):
        folder = tmp_path / there
        touch(folder / unicodedata.normalize(there, "é") / unicodedata.normalize(there, "Grünfink.wav"))
        rows, said = read(folder, unicodedata.normalize(named, "path,label\né/Grünfink.wav,x\n"), caplog)
        assert Path(rows["path"][0]).is_file()
        assert "accents are composed otherwise on the disk" in said


def test_names_that_several_files_could_be_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "Song.wav", tmp_path / "SONG.wav")
    if len([*tmp_path.iterdir()]) < 2:
        pytest.skip("this disk knows no case")
    with pytest.raises(OscineError, match=r"such as song\.wav; .*SONG\.wav and Song\.wav are both there: name one"):
        read_table(table(tmp_path, "path,label\nsong.wav,x\n"))
    assert read_table(table(tmp_path, "path,label\nSong.wav,x\n"))["path"][0] == str(tmp_path / "Song.wav")


def test_paths_may_be_relative_to_where_the_command_is_called_if_all_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path / "clips/1.wav", tmp_path / "clips/2.wav")
    monkeypatch.chdir(tmp_path)
    rows, said = read(tmp_path / "tables", "path,label\nclips/1.wav,x\nclips/2.wav,y\n", caplog)
    assert list(rows["path"]) == [str(tmp_path / "clips/1.wav"), str(tmp_path / "clips/2.wav")]
    assert f"paths are relative to {tmp_path}, where the command is called" in said
    with pytest.raises(
        OscineError, match=r"clips/1\.wav is in the folder in which the command is called: .* write \.\./clips"
    ):
        read_table(table(tmp_path / "tables", "path,label\nclips/1.wav,x\na.wav,y\n"))


def test_what_another_machine_called_a_file_is_guessed_and_refused(tmp_path: Path) -> None:
    for name in ("C:\\Users\\me\\a.wav", "/home/me/a.wav"):
        with pytest.raises(OscineError, match=r"a\.wav is in the table's folder: if that is meant, write a\.wav"):
            read_table(table(tmp_path, f"path,label\n{name},x\n"))
    with pytest.raises(OscineError, match=r"such as a\.flac; .*; a\.wav is there: if that is meant, name it"):
        read_table(table(tmp_path, "path,label\na.flac,x\n"))


def test_of_many_recordings_that_do_not_exist_the_number_is_said_and_the_first_that_may_be_meant(
    tmp_path: Path,
) -> None:
    names = [*(f"{number}.wav" for number in range(5)), "a.ogg"]
    with pytest.raises(
        OscineError, match=r"6 of its 7 .* 1\.wav, 2\.wav and 3 more; .*; a\.wav is there: if that is meant"
    ):
        read_table(table(tmp_path, "path,label\nb.wav,x\n" + "".join(f"{name},x\n" for name in names)))


@pytest.mark.parametrize(
    ("place", "prefix"), [("t/audio", "audio"), ("t/x/audio", "x/audio"), ("audio", r"\.\./audio")]
)
def test_recordings_that_all_lie_in_one_other_folder_are_found_and_what_to_do_is_said(
    place: str, prefix: str, tmp_path: Path
) -> None:
    touch(tmp_path / place / "1.wav", tmp_path / place / "2.wav", tmp_path / "t/only_one/1.wav")
    text = "path,label\n1.wav,x\n2.wav,y\n"
    with pytest.raises(
        OscineError, match=rf"audio: the column path needs {prefix}/ before each name, or move the table"
    ):
        read_table(table(tmp_path / "t", text))
    touch(tmp_path / "t/copy/1.wav", tmp_path / "t/copy/2.wav")
    with pytest.raises(OscineError, match="2 of its 2 recordings do not exist") as caught:
        read_table(table(tmp_path / "t", text))
    assert "needs" not in str(caught.value), "either may be meant"


def test_all_that_is_wrong_with_rows_is_said_at_once(tmp_path: Path) -> None:
    text = "path,label,start,end,fold\na.wav,,0,1,1\n,x,0,1,1\nb.wav,,early,2,\nc.wav,x,2,1,1\n"
    with pytest.raises(
        OscineError, match=r"row 3 \(\) has no path.*; row 4 .*'early'.*; row 5 .* not after its start"
    ) as caught:
        read_table(table(tmp_path, text))
    assert (
        "row 2 (a.wav) has no label; fill it in or leave the row out (2 such rows); row 4 (b.wav) has no fold"
        in str(caught.value)
    )
    assert "only one of" not in str(caught.value)


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ("0,5;1,5", [0.5, 1.5]),
        ("0;1,500", [0.0, 1.5]),
        ("0.5;1.5", [0.5, 1.5]),
        ("1;12", [1.0, 12.0]),
    ],
)
def test_decimal_commas_are_numbers(
    times: str, seconds: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, said = read(tmp_path, f"path;label;start;end\na.wav;x;{times}\nb.wav;y;;\n", caplog)
    assert rows.loc[0, ["start", "end"]].tolist() == seconds
    assert rows.loc[1, ["start", "end"]].isna().all()
    assert ("numbers have decimal commas" in said) == ("," in times)


def test_a_comma_that_may_divide_thousands_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(OscineError, match=r"has numbers such as 1,500, in which the comma may be a decimal one"):
        read_table(table(tmp_path, 'path,label,start,end\na.wav,x,"1,500","2,500"\n'))
    rows, _ = read(tmp_path, 'path,label,start,end\na.wav,x,"0,500","2,500"\nb.wav,x,"1,500","2,25"\n', caplog)
    assert rows["start"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("header", "row", "labels"),
    [
        (
            "Start (s),End (s),Scientific name,Common name,Confidence,File",
            "0,3,Parus major,Great Tit,0.9,a.wav",
            "Great Tit",
        ),
        ("file,start_time,end_time,annotation", "a.wav,0,3,wren", "wren"),
        ("filename,begin,stop,category,target", "a.wav,0,3,dog,0", "dog"),
        ("wav,onset,offset,class", "a.wav,0,3,dog", "dog"),
        ("Dateiname,Vogelart,Beginn,Ende", "a.wav,Hund,0,3", "Hund"),
        ("fichier,espèce,Début (s),Fin (s)", "a.wav,chien,0,3", "chien"),
        ("archivo,especie,inicio_s,fin_s", "a.wav,perro,0,3", "perro"),
        ("ficheiro,espécie,início,fim", "a.wav,cão,0,3", "cão"),
        ("bestand,soort,begintijd in sec,eindtijd in sec", "a.wav,hond,0,3", "hond"),
        ("fil,art,start [s],slut [s]", "a.wav,hund,0,3", "hund"),
    ],
)
def test_columns_are_known_by_the_names_of_other_programs(
    header: str, row: str, labels: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, _ = read(tmp_path, f"{header}\n{row}\n", caplog)
    assert (rows["path"][0], rows["start"][0], rows["end"][0]) == (str(tmp_path / "a.wav"), 0, 3)
    assert rows["labels"][0] == [labels]


def test_a_column_that_is_named_exactly_is_it_whatever_others_are_called(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, said = read(tmp_path, "file,path,species,label,recording\nz.wav,a.wav,owl,wren,7\n", caplog)
    assert rows["labels"][0] == ["wren"]
    assert rows["recording"].tolist() == [7]
    assert not said


def test_of_two_columns_that_name_the_same_classes_either_will_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = "path,species code,common name\na.wav,gretit,Great Tit\nb.wav,eurwre,Wren\nc.wav,gretit,Great Tit\n"
    assert [*read(tmp_path, same, caplog)[0]["labels"]] == [["Great Tit"], ["Wren"], ["Great Tit"]]
    with pytest.raises(OscineError, match="label may be the column species or class; it is likely species: call that"):
        read_table(table(tmp_path, "path,species,class\na.wav,Great Tit,bird\nb.wav,Wren,bird\n"))


def test_clips_without_a_label_are_none_of_the_classes_where_labels_may_be_several(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, said = read(tmp_path, "path,labels\na.wav,wren;tit\nb.wav,\nc.wav,;\n", caplog)
    assert [*rows["labels"]] == [["wren", "tit"], [], []]
    assert "2 rows have no label: taken as clips in which no class sounds" in said


def test_rows_are_counted_as_a_spreadsheet_does_blank_ones_too(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"row 6 \(c\.wav\) has no label"):
        read_table(table(tmp_path, "path,label\na.wav,x\n\n,\nb.wav,x\nc.wav,\n"))
    with pytest.raises(OscineError, match=r"row 3 \(c\.wav\) has no label"):
        read_table(table(tmp_path, 'path,label,note\na.wav,x,"two\nlines"\nc.wav,,\n'))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("what,bird\nx,y\n", r"no columns path and label \(or labels, for several a row\); it has what, bird; rename"),
        ("path,start\na.wav,1\n", r"no columns label \(or labels, for several a row\) and end; it has path, start"),
        ("path label\na.wav x\n", r"it has path label, in one column: put commas, semicolons or tabs between"),
        ("path,x;label\na.wav,x\n", r"its first line has commas and semicolons, and either may be between its columns"),
        (
            "filename,filepath,label\na.wav,c/a.wav,x\n",
            r"path may be the column filename or filepath; it is likely filename",
        ),
        ("Selection\tView\tBegin File\tSpecies\n1\t1\ta.wav\tx\n", r"is a selection table of Raven; put it beside"),
        ("path,label,fold,split\na.wav,x,1,test\n", r"has both a 'fold' and a 'split' column"),
        ("path,label,labels\na.wav,x,x\n", r"both label and labels"),
        ("path,label\na.wav,x\nb.wav,\n", r"row 3 \(b\.wav\) has no label"),
        ("path,labels\na.wav,;\nb.wav,\nc.wav, \n", r"row 2 \(a\.wav\) has no labels; .* \(3 such rows\)"),
        ("path,label\na.wav,x;y\n", r"row 2 \(a\.wav\) has several labels; call the column labels"),
        ("path,label\n,x\n", r"row 2 \(\) has no path"),
        ("path,label\na.wav,x\nd.wav,x\ne.wav,x\n", r"2 of its 3 recordings do not exist, such as .*d\.wav, .*e\.wav"),
        ("path,label\na.wav,x\nb.wav,x\na.wav,y\n", r"row 4 \(a\.wav\) repeats an earlier row"),
        ("path,label,start,end\na.wav,x,0,1\na.wav,x,0,1\n", r"row 3 \(a\.wav\) repeats an earlier row"),
        ("path,label,fold\na.wav,x,1\nb.wav,x,\n", r"row 3 \(b\.wav\) has no fold"),
        ("path,label,start\na.wav,x,0\n", r"has no column end; it has path, label, start"),
        (
            "path,label,start,end\na.wav,x,0,1\nb.wav,x,early,2\n",
            r"row 3 \(b\.wav\) has the start 'early', expected a number of seconds",
        ),
        ("path,label,start,end\na.wav,x,2,1\n", r"row 2 \(a\.wav\) has an end that is not after its start"),
        ("path,label,start,end\na.wav,x,-1,1\n", r"row 2 \(a\.wav\) has a start before 0 s"),
        ("path,label,start,end\na.wav,x,1,\n", r"row 2 \(a\.wav\) has only one of start and end"),
        (
            "path,label,start,end\na.wav,x,0:05,0:10\n",
            r"has the start '0:05', expected a number of seconds with a decimal p",
        ),
        (
            "path,label,Beginn,Ende\na.wav,x,06:30,07:30\n",
            r"has the start '06:30', expected .*; rename Beginn if it is no time in its file",
        ),
        (
            "path,label,Start (ms),End (ms)\na.wav,x,0,500\n",
            r"its column Start \(ms\) is in ms, .* in seconds; convert",
        ),
        ("path,label,start,end\na.wav,x,0,inf\n", r"has the end 'inf', expected a number of seconds"),
        (
            "path,Begin Time\na.wav,6:30\n",
            r"and end \(start is guessed: rename that column if it is no time in its file\)",
        ),
        ("path,label,label\na.wav,x,y\n", r"has several columns called label; rename all but one"),
        ("path,label,note,note\na.wav,x,1,2\n", r"has several columns called note; rename all but one"),
        ("path,label\n", r"has no rows"),
        ("", r"has no rows"),
        ('path,label\n"a.wav,x\n', r"is no table"),
        ("path,label\na.wav,x\nb.wav,x,y,z\n", r"is no table \(row 3 has 4 columns, the header 2"),
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
    (tmp_path / "d.csv").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(OscineError, match=r'd\.csv is a workbook of Excel or its like; save it as "CSV UTF-8"'):
        read_table(tmp_path / "d.csv")
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


def test_a_list_of_recordings_needs_no_header_and_has_times_where_they_are_given(tmp_path: Path) -> None:
    touch(tmp_path / "001.wav")
    (tmp_path / "list.txt").write_text("a.wav\n\n001.wav\n")
    table(tmp_path, "Filename;Begin\na.wav;0,5\n")
    found = read_list(tmp_path / "list.txt")
    assert [found.place(name) for name in found.names] == [tmp_path / "a.wav", tmp_path / "001.wav"]
    assert (found.starts, found.ends) == ([0, 0], [math.inf, math.inf])
    assert read_list(tmp_path / "labels.csv").starts == [0.5]


@pytest.mark.parametrize("column", ["Confidence", "score", "Probability"])
def test_scores_of_a_classifier_are_said_and_their_rows_taken_as_labels(
    column: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows, said = read(tmp_path, f"path,label,{column}\na.wav,x,0.7\nb.wav,y,0.2\nc.wav,y,\n", caplog)
    assert len(rows) == 3
    assert said.endswith(
        f": 2 rows have a {column}, as a classifier writes it: they are taken as labels that somebody has checked"
    )
    _, said = read(tmp_path, f"path,label,{column}\na.wav,x,\nb.wav,y,sure\n", caplog)
    assert not said


def test_a_misspelt_recording_is_told_which_one_is_near_unless_it_has_another_number(tmp_path: Path) -> None:
    touch(tmp_path / "night/kitchen_1.wav")
    with pytest.raises(OscineError, match=r"1 of its 2 recordings .*; did you mean night/kitchen_1\.wav\?$"):
        read_table(table(tmp_path, "path,label\nnight/kitchen_1.wav,x\nnigth/kichen_1.wav,y\n"))
    with pytest.raises(OscineError, match="1 of its 2 recordings") as caught:
        read_table(table(tmp_path, "path,label\nnight/kitchen_1.wav,x\nnight/kitchen_2.wav,y\n"))
    assert "mean" not in str(caught.value)


def test_a_misspelt_table_is_told_which_one_is_near(tmp_path: Path) -> None:
    touch(tmp_path / "labels.csv", tmp_path / "labels.parquet")
    for suffix in ("csv", "parquet"):
        with pytest.raises(OscineError, match=rf"no table .*/lables\.{suffix}; did you mean .*/labels\.{suffix}\?"):
            read_table(tmp_path / f"lables.{suffix}")
