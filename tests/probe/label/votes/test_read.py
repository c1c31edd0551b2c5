"""Votes are read from journals, tables and selection tables alike, and what cannot be is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from oscine.models.errors import OscineError
from oscine.probe.label.journal import Answer, Clip, Journal
from oscine.probe.label.votes.read import VoteSettings, read_votes

RATE = 8_000
RAVEN = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings of three seconds, of which votes are."""
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(3 * RATE), RATE)
    return tmp_path


def table(folder: Path, *rows: str, name: str = "votes.csv") -> Path:
    (folder / name).write_text("\n".join(rows) + "\n")
    return folder / name


def names(votes) -> list[str]:
    return [Path(path).name for path in votes.clips["path"]]


def test_a_table_with_a_label_a_row_has_one_class_a_clip(folder):
    path = table(
        folder, "file,annotator,label,seconds,audit", "a.wav,ann,tit,2.5,yes", "b.wav,ann,wren,3,", "a.wav,bob,wren,4,",
        "c.wav,bob,?,1,",
    )  # fmt: skip
    votes = read_votes([path])
    assert not votes.several
    assert (votes.annotators, votes.classes, names(votes)) == (
        ["ann", "bob"],
        ["tit", "wren"],
        ["a.wav", "b.wav", "c.wav"],
    )
    assert votes.said.tolist() == [[0, 1], [1, -1], [-1, -1]]
    assert votes.heard.tolist() == [[True, True], [True, False], [False, False]]
    assert votes.audit.tolist() == [True, False, False]
    assert votes.seconds[0].tolist() == [2.5, 4.0]
    assert votes.clips["start"].isna().all()


def test_labels_say_of_the_others_that_they_are_absent(folder):
    path = table(folder, "path;start;end;observer;labels", "a.wav;0;1;ann;tit", "a.wav;0;1;bob;", "a.wav;1;2;ann;noise")
    table(folder, "path,start,end,labels", 'a.wav,0,1.0001,"tit;wren"', name="cem.csv")
    votes = read_votes([path, folder / "cem.csv"])
    assert votes.several
    assert votes.annotators == ["ann", "bob", "cem"]
    assert votes.classes == ["tit", "wren"]  # noise is none
    assert votes.said.tolist() == [[[1, 0], [0, 0], [1, 1]], [[0, 0], [-1, -1], [-1, -1]]]
    assert votes.clips[["start", "end"]].to_numpy().tolist() == [[0, 1], [1, 2]]


def test_somebody_who_could_not_tell_has_not_said_that_the_others_are_absent(folder):
    path = table(folder, "path,annotator,labels", "a.wav,ann,tit;wren", "b.wav,ann,tit;?", "c.wav,ann,?", "c.wav,bob,")
    votes = read_votes([path])
    assert votes.said[:, 0].tolist() == [[1, 1], [1, -1], [-1, -1]]
    assert votes.said[2, 1].tolist() == [0, 0]
    assert votes.heard.tolist() == [[True, False], [True, False], [False, True]]


def test_states_a_row_a_class_leave_the_others_unasked(folder):
    """As Hoplite writes them."""
    path = table(
        folder, "recording,start_offset_s,end_offset_s,label,label_type,annotator",
        "a.wav,0,1,tit,positive,ann", "a.wav,0,1,wren,negative,ann", "a.wav,0,1,rook,uncertain,ann",
        "b.wav,0,1,rook,positive,ann",
    )  # fmt: skip
    votes = read_votes([path])
    assert votes.clips["end"].tolist() == [1.0, 1.0]
    milliseconds = path.read_text().replace("offset_s", "offset_ms")
    with pytest.raises(OscineError, match="start_offset_ms is in ms, and start is read in seconds; convert it"):
        read_votes([table(folder, milliseconds, name="ms.csv")])
    assert votes.classes == ["rook", "tit", "wren"]
    assert votes.said[:, 0].tolist() == [[-1, 1, 0], [1, -1, -1]]


def test_points_are_spread_over_classes_and_the_most_are_the_vote(folder):
    path = table(folder, "path,annotator,label,points", "a.wav,ann,tit,30", "a.wav,ann,wren,70", "a.wav,bob,tit,100")
    votes = read_votes([path])
    assert votes.said.tolist() == [[1, 0]]
    assert votes.points is not None
    assert votes.points.tolist() == [[[30.0, 70.0], [100.0, 0.0]]]


def answer(name: str, start: float, states: dict[str, str], **more: object) -> Answer:
    return Answer(Clip(name, start, start + 1), "", states, **more)


def test_journals_are_read_as_they_stand(folder):
    with Journal(folder / "labels" / "ann.jsonl", ["tit", "wren"]) as journal:
        journal.add(answer("a.wav", 0.0, {"tit": "present", "wren": "absent"}, taken=2.0, audit=True))
        journal.add(answer("b.wav", 0.0, {}))  # skipped
        journal.add(answer("b.wav", 1.0, {"tit": "unsure", "wren": "absent"}, taken=4.0))
        journal.add(answer("c.wav", 0.0, {"tit": "present", "wren": "present"}))
        journal.undo()
        journal.add_class("rook")
        journal.add(answer("a.wav", 0.0, {"tit": "absent", "wren": "absent", "rook": "absent"}, again=True))
    with Journal(folder / "labels" / "bob.jsonl", ["tit", "wren"]) as journal:
        journal.add(answer("a.wav", 0.0, {"tit": "absent", "wren": "present"}))
    settings = VoteSettings(recordings=folder)
    votes = read_votes([folder / "labels"], settings)
    assert votes.annotators == ["ann", "bob"]
    assert votes.classes == ["rook", "tit", "wren"]  # rook was asked for once, and by no first answer
    assert votes.said.tolist() == [[[-1, 1, 0], [-1, 0, 1]], [[-1, -1, 0], [-1, -1, -1]]]
    assert votes.audit.tolist() == [True, False]
    assert votes.seconds[:, 0].tolist() == [2.0, 4.0]
    assert votes.repeats == {"ann": (1, 0)}
    left = read_votes([folder / "labels" / "ann.jsonl"], VoteSettings(recordings=folder, without=["rook"]))
    assert left.classes == ["tit", "wren"]
    (folder / "c.wav").unlink()
    with Journal(folder / "labels" / "cem.jsonl", ["tit", "wren"]) as journal:
        journal.add(answer("c.wav", 0.0, {"tit": "present", "wren": "absent"}))
    with pytest.raises(
        OscineError, match=r"labels/cem\.jsonl: 1 of its 1 recordings do not exist, such as c\.wav; paths are"
    ):
        read_votes([folder / "labels"], settings)
    with pytest.raises(OscineError, match=r"ann\.jsonl names recordings as below the folder that was embedded"):
        read_votes([folder / "labels"])


def test_a_journal_of_one_class_a_clip_is_one(folder):
    with Journal(folder / "ann.jsonl", ["tit", "wren"], one_label=True) as journal:
        journal.add(answer("a.wav", 0.0, {"tit": "absent", "wren": "present"}))
        journal.add(answer("b.wav", 0.0, {"tit": "unsure", "wren": "unsure"}))
    votes = read_votes([folder / "ann.jsonl"], VoteSettings(recordings=folder))
    assert votes.said.tolist() == [[1], [-1]]


def test_selection_tables_are_those_of_the_person_whose_folder_they_are_in(folder):
    for person, rows in (
        ("ann", "1\tSpectrogram 1\t1\t0.2\t0.8\t0\t9\ttit\n"),
        ("bob", "1\tSpectrogram 1\t1\t1.2\t1.9\t0\t9\twren\n"),
    ):
        (folder / "people" / person).mkdir(parents=True)
        (folder / "people" / person / "a.Table.1.selections.txt").write_text(RAVEN + rows)
    (folder / "people" / "bob" / "b.txt").touch()  # heard, and nothing marked
    settings = VoteSettings(recordings=folder, seconds=1.0)
    votes = read_votes([folder / "people" / "ann", folder / "people" / "bob"], settings)
    assert votes.annotators == ["ann", "bob"]
    assert votes.classes == ["tit", "wren"]
    assert names(votes) == ["a.wav"] * 3 + ["b.wav"] * 3
    assert votes.said[:, 0].tolist() == [[1, 0], [0, 0], [0, 0], *[[-1, -1]] * 3]
    assert votes.said[:, 1].tolist() == [[0, 0], [0, 1], [0, 0], *[[0, 0]] * 3]
    with pytest.raises(OscineError, match="say of how many --seconds"):
        read_votes([folder / "people" / "ann"], VoteSettings(recordings=folder))


def test_one_selection_table_is_of_the_person_it_is_called_after(folder):
    rows = "1\t1\t1\t0.2\t0.8\t0\t9\ttit\ta.wav\t0.2\n"
    header = RAVEN.strip() + "\tBegin File\tFile Offset (s)\n"
    (folder / "people").mkdir()
    (folder / "people" / "ann.txt").write_text(header + rows)
    votes = read_votes([folder / "people" / "ann.txt"], VoteSettings(recordings=folder, seconds=3.0))
    assert (votes.annotators, names(votes), votes.said.tolist()) == (["ann"], ["a.wav"], [[[1]]])


def test_who_answers_again_is_counted_once_and_asked_how_consistent_they_are(folder):
    path = table(folder, "path,annotator,label", "a.wav,ann,tit", "b.wav,ann,wren", "a.wav,ann,wren", "b.wav,ann,wren")
    votes = read_votes([path])
    assert votes.said.tolist() == [[0], [1]]
    assert votes.repeats == {"ann": (2, 1)}


REFUSED = {
    "path,annotator,label\na.wav,ann,tit\nb.wav,bob,wrenn": (
        r"votes\.csv: row 3: bob named wrenn \(did you mean wren\?\), which is none"
    ),
    "path,annotator,label\na.wav,,tit": r"row 2 \(a\.wav\) has no annotator",
    "path,annotator,label\na.wav,ann,": r"row 2 \(a\.wav\) has no label",
    "path,annotator,label\nz.wav,ann,tit": r"1 of its 1 recordings do not exist, such as z\.wav",
    "path,annotator,label,state\na.wav,ann,tit,loud": r"has a state that is none; expected present, absent or unsure",
    "path,annotator,label,state\na.wav,ann,tit,present\na.wav,ann,tit,absent": r"row 3: ann answers for tit twice",
    "path,annotator,label,points\na.wav,ann,tit,-3": r"has points that are no number from 0 on",
    "path,annotator,labels,state\na.wav,ann,tit,present": "has labels, several a row, beside a column of one class a row",
    "path,annotator,start,label\na.wav,ann,0,tit": "has no column end",
    "annotator,label\nann,tit": "has no column",
    "path,annotator,rater,label\na.wav,ann,bob,tit": None,
    "path,observer,rater,label\na.wav,ann,bob,tit": "annotator may be the column observer or rater",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_does_not_fit_is_one_line(folder, text):
    path = table(folder, text)
    settings = VoteSettings(classes=["tit", "wren"])
    if REFUSED[text] is None:
        assert read_votes([path], settings).annotators == ["ann"]  # what is called so comes first
        return
    with pytest.raises(OscineError, match=REFUSED[text]) as refused:
        read_votes([path], settings)
    assert "\n" not in str(refused.value)


def test_files_that_do_not_go_together_are_refused(folder):
    one = table(folder, "path,annotator,label", "a.wav,ann,tit")
    several = table(folder, "path,annotator,labels", "a.wav,ann,tit", name="several.csv")
    with pytest.raises(
        OscineError, match=r"votes\.csv has one class a clip, .*several\.csv any number; combine files of one"
    ):
        read_votes([one, several])
    with pytest.raises(OscineError, match=r"no votes .*gone\.csv; check the path"):
        read_votes([folder / "gone.csv"])
    with pytest.raises(OscineError, match="no votes are named"):
        read_votes([])
    with pytest.raises(OscineError, match="--without names rook, which is no class of the votes; they have tit"):
        read_votes([one], VoteSettings(without=["rook"]))
    with pytest.raises(OscineError, match=r"no folder .*nowhere; check the path of --recordings"):
        read_votes([one], VoteSettings(recordings=folder / "nowhere"))
