"""A table without folds gets them, groups whole; what is guessed or cannot be judged is said, all without torch."""

from __future__ import annotations

import csv
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.tasks.splits import LabelledTable, read_labelled, write_folds


def write(folder: Path, text: str) -> Path:
    """A table, and an empty file for every recording that it names."""
    folder.mkdir(exist_ok=True)
    header, *lines = text.strip().splitlines()
    for line in lines:
        (folder / line.split(",")[header.split(",").index("path")]).touch()
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


def rows(header: str, *columns: object, count: int = 40) -> str:
    """Clips of two classes in turn; columns: what each further column has, by the number of the row."""
    lines = [
        ",".join([f"{row}.wav", "ab"[row % 2], *(str(column(row)) for column in columns)])  # type: ignore[operator]
        for row in range(count)
    ]
    return "\n".join([f"path,label{header}", *lines])


def clips_of(table: LabelledTable, column: str) -> None:
    """Every value of a column lies in one fold, and every row is judged once, by what has not learnt from it."""
    assert (table.rows.groupby(column)["fold"].nunique() == 1).all()
    judged = np.concatenate([split.test for split in table.splits])
    assert sorted(judged) == list(range(len(table.rows)))
    for split in table.splits:
        assert sorted([*split.train, *split.test]) == list(range(len(table.rows)))


def test_without_folds_five_are_made_with_every_class_in_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        made = read_labelled(write(tmp_path, rows("")))
    assert [split.name for split in made.splits] == [f"fold {number}" for number in (1, 2, 3, 4, 5)]
    clips_of(made, "path")
    for split in made.splits:
        assert np.bincount(made.targets[split.test]).tolist() == [4, 4]
    (said,) = caplog.messages
    assert "no column fold or split: 5 folds are made, every class spread over them; where clips of one site" in said
    again, other = read_labelled(tmp_path / "labels.csv"), read_labelled(tmp_path / "labels.csv", seed=1)
    assert again.rows["fold"].tolist() == made.rows["fold"].tolist() != other.rows["fold"].tolist()
    assert len(read_labelled(tmp_path / "labels.csv", folds=3).splits) == 3


@pytest.mark.parametrize("column", ["site", "Site", "recordist", "Location", "recorder", "individual", "src_file"])
def test_a_column_that_says_what_belongs_together_is_kept_whole_and_said(
    column: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        made = read_labelled(write(tmp_path, rows(f",{column}", lambda row: f"place {row // 4}")))
    clips_of(made, next(name for name in made.rows if name.lower() == column.lower()))
    assert f"5 folds are made, of 10 {column}s, each whole".lower() in caplog.text.lower()


def test_columns_of_which_nothing_was_made_are_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values = {"site": "north", "Länge": 3, "Bemerkung": "wet"}
    others = [lambda row, value=value: value for value in values.values()]
    table = write(tmp_path, rows(f",{','.join(values)},Standort", *others, lambda row: row // 4))
    with caplog.at_level(logging.INFO):
        read_labelled(table)
    assert [said for said in caplog.messages if "not used" in said] == [
        f"{table}: columns not used: site, Länge, Bemerkung"
    ]


def test_fewer_sites_than_folds_make_a_fold_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write(tmp_path, rows(",site", lambda row: "north" if row < 25 else "south"))
    with caplog.at_level(logging.INFO):
        assert len(read_labelled(table).splits) == 2
    assert "2 folds are made, of 2 sites (north, south), each whole" in caplog.text
    with pytest.raises(OscineError, match=r"2 sites \(north, south\) make no 4 folds, .*: --folds 2 at most"):
        read_labelled(table, folds=4)


def test_stretches_of_one_recording_stay_together(tmp_path: Path) -> None:
    lines = [f"{row // 4}.wav,{'ab'[row % 2]},{row % 4},{row % 4 + 1}" for row in range(40)]
    made = read_labelled(write(tmp_path, "\n".join(["path,label,start,end", *lines])))
    clips_of(made, "path")
    assert len(made.splits) == 5
    one = write(tmp_path / "one", "path,label,start,end\na.wav,x,0,1\na.wav,y,1,2\n")
    with pytest.raises(
        OscineError, match=r"has no folds, and all its clips are of one group \(1 recording\): none is left"
    ):
        read_labelled(one)


def test_a_column_that_divides_nothing_is_passed_over(tmp_path: Path) -> None:
    same = read_labelled(write(tmp_path, rows(",site", lambda row: "here")))
    assert len(same.splits) == 5
    # A device a class: no class could be judged by what is learnt from the other device.
    classes = read_labelled(write(tmp_path, rows(",device", lambda row: row % 2)))
    assert "group" not in classes.rows
    assert len(classes.splits) == 5


def test_the_named_column_and_no_other_says_what_belongs_together(tmp_path: Path) -> None:
    table = write(
        tmp_path, rows(",site,recordist,nest", lambda row: row // 10, lambda row: "ann", lambda row: row // 4)
    )
    with pytest.raises(OscineError, match=r"all clips belong together by recordist and site, .* --group site keeps"):
        read_labelled(table)
    clips_of(read_labelled(table, group="Site"), "site")
    made = read_labelled(table, group="nest")
    clips_of(made, "nest")
    assert (made.rows["fold"].groupby(made.rows.index // 10).nunique() > 1).any(), "sites are no groups then"
    with pytest.raises(
        OscineError, match="has no column 'place' to group clips by; it has path, site, recordist, nest"
    ):
        read_labelled(table, group="place")


def test_a_named_group_may_not_straddle_the_folds_that_a_table_has(tmp_path: Path) -> None:
    table = write(tmp_path, rows(",fold,nest", lambda row: row % 2, lambda row: row // 4))
    assert len(read_labelled(table).splits) == 2
    with pytest.raises(OscineError, match=r"fold 0 is judged on what it learns from: the group 0 and 9 more"):
        read_labelled(table, group="nest")
    with pytest.raises(OscineError, match="has folds or splits of its own; leave --folds out"):
        read_labelled(table, folds=3)


def test_splits_may_be_called_as_people_call_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = ["Train", "train", "training", "validation", "Test", "TEST ", "dev", "Val", "spare", "train"]
    table = write(tmp_path, rows(",split", lambda row: names[row % 10], count=20))
    with caplog.at_level(logging.INFO):
        (split,) = read_labelled(table).splits
    assert [len(part) for part in split[1:]] == [8, 4, 6]
    assert "the split Train is read as train; the split training is read as train" in caplog.text
    assert "2 rows have other splits (spare) and are left aside" in caplog.text


def test_classes_that_cannot_be_judged_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = rows(",site", lambda row: row // 4)
    table += "\nc.wav,owl,1" + "".join(f"\nd{row}.wav,eagle,2" for row in range(3))
    read_labelled(write(tmp_path, table))
    assert (
        "2 of 4 classes are never both learnt from and judged: eagle (3 clips, all in one group), owl (1 clip); add clips"
    ) in caplog.text
    caplog.clear()
    read_labelled(write(tmp_path, rows("")))
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_no_folds_are_made_of_which_no_class_can_be_judged(tmp_path: Path) -> None:
    apart = write(tmp_path, rows(",site", lambda row: row % 2))
    with pytest.raises(
        OscineError, match=r"none can be made: every class is in one group alone, of 2 sites \(0, 1\), so"
    ):
        read_labelled(apart)


@pytest.mark.parametrize("folds", [0, 1])
def test_fewer_than_two_folds_are_refused(tmp_path: Path, folds: int) -> None:
    with pytest.raises(OscineError, match=f"--folds {folds} leaves nothing to learn from or to be judged; at least 2"):
        read_labelled(write(tmp_path, rows("")), folds)


def test_names_of_classes_that_may_be_one_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = [f"{row}.wav,{('Rooster', 'rooster', 'roostre', 'owl')[row % 4]}" for row in range(40)]
    read_labelled(write(tmp_path, "\n".join(["path,species", *lines])))
    assert "differ in case, accents or spaces alone: Rooster (10 clips) and rooster (10 clips)" in caplog.text
    assert "spelt nearly alike: Rooster (10 clips) and roostre (10 clips)" in caplog.text


@pytest.mark.parametrize(
    ("sites", "share", "complaint"),
    [
        (
            3,
            0.2,
            r"fold 0 learns from 2 sites \(1, 2\), too few to set aside 0.2 of them; --task.valid 0.5, or leave it out",
        ),
        (
            4,
            0.2,
            r"fold 0 learns from 3 sites \(1, 2, 3\), too few to set aside 0.2 of them; --task.valid 0.34, or leave",
        ),
        (2, 0.5, r"fold 0 learns from 1 site \(1\), too few to set aside 0.5 of them; leave --task.valid out"),
        (3, 0.6, r"0.6 of the rows to choose by, expected more than 0 and at most a half"),
    ],
)
def test_too_few_sites_to_set_some_aside_are_named_with_what_to_type(
    sites: int, share: float, complaint: str, tmp_path: Path
) -> None:
    table = write(tmp_path, rows(",site,fold", lambda row: row % sites, lambda row: row % sites))
    with pytest.raises(OscineError, match=complaint):
        read_labelled(table, valid=share)


@pytest.mark.parametrize(("groups", "share"), [(2, 0.5), (3, 0.34), (4, 0.25), (5, 0.2), (10, 0.1), (20, 0.05)])
def test_the_share_that_is_named_can_be_set_aside(groups: int, share: float, tmp_path: Path) -> None:
    def site(row: int) -> int:
        return row % (groups + 1)

    table = write(tmp_path, rows(",site,split", site, lambda row: "train" if site(row) else "test"))
    (split,) = read_labelled(table, valid=share).splits
    assert len({*read_labelled(table).rows["site"][split.valid]}) == 1


def test_folds_that_were_made_are_written_as_a_table_that_gives_them_again(tmp_path: Path) -> None:
    made = read_labelled(
        write(tmp_path, rows(",site,start,end", lambda row: row // 4, lambda row: 0.5, lambda row: 1.5))
    )
    (tmp_path / "elsewhere").mkdir()
    write_folds(tmp_path / "elsewhere" / "folds.csv", made.rows)
    again = read_labelled(tmp_path / "elsewhere" / "folds.csv")
    assert again.rows.equals(made.rows[again.rows.columns])
    for one, other in zip(made.splits, again.splits, strict=True):
        assert one.name == other.name
        assert one.test.tolist() == other.test.tolist()
    several = read_labelled(write(tmp_path, "path,labels,fold\nx.wav,a;b,1\ny.wav,,2\nz.wav,a,2\nw.wav,b,1\n"))
    write_folds(tmp_path / "folds.csv", several.rows)
    assert read_labelled(tmp_path / "folds.csv").targets.tolist() == several.targets.tolist()
    stereo = read_labelled(
        write(
            tmp_path,
            "path,label,channel\n"
            + "".join(f"{row}.wav,{label}\n" for row in range(9) for label in ("a,left", "b,2", "a,")),
        )
    )
    write_folds(tmp_path / "folds.csv", stereo.rows)
    again = read_labelled(tmp_path / "folds.csv")
    assert again.rows[["path", "channel", "fold"]].equals(stereo.rows[["path", "channel", "fold"]])


def test_folds_name_recordings_as_their_table_does_and_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "rec", rows(""))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_folds("folds.csv", read_labelled("../rec/labels.csv").rows)
    (first, *_) = csv.DictReader(Path("folds.csv").read_text().splitlines())
    assert (first["file"], first["path"]) == ("0.wav", str(tmp_path / "rec/0.wav"))


def test_names_that_a_spreadsheet_would_run_are_guarded_and_read_again(tmp_path: Path) -> None:
    names = ["=1+1.wav", "a\tb.wav", "@x.wav", "-y.wav", "'=z.wav", "\x1b]0;t\x07.wav", "c;=d.wav", "e\nf.wav"]
    for name in names:
        (tmp_path / name).touch()
    labels = ["=cmd|' /C calc'!A0", "-noise", "+1", "\x1b[31m", "wren"]
    made = read_labelled(write(tmp_path / "plain", rows(",site", lambda row: row // 4)))
    clips = made.rows.iloc[: len(names)].assign(
        path=[str(tmp_path / name) for name in names],
        labels=[[labels[row % 5], labels[(row + 1) % 5]] for row in range(len(names))],
        site=["=A1", "=A1", "b", "b", "c", "c", "d", "d"],
        fold=[1, 1, 2, 2, 1, 1, 2, 2],
    )
    write_folds(tmp_path / "folds.csv", clips)
    text = (tmp_path / "folds.csv").read_text()
    assert text.replace("\n", "").isprintable()
    cells = [cell for line in csv.reader(text.splitlines()) for part in line for cell in part.split(";")]
    assert not [cell for cell in cells if cell.startswith(("=", "@"))]
    again = read_labelled(tmp_path / "folds.csv").rows
    assert again["path"].tolist() == clips["path"].tolist()
    assert again["labels"].tolist() == clips["labels"].tolist()
    assert again["site"].tolist() == clips["site"].tolist()


def test_a_table_is_read_and_refused_without_torch(tmp_path: Path) -> None:
    table = write(tmp_path, rows(",site", lambda row: row // 4))
    code = (
        "import sys; from oscine.probe.tasks.splits import read_labelled; "
        f"read_labelled({str(table)!r}, valid=0.2); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
