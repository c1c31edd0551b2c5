"""A journal loses at most the answer on the screen, whatever happens to the process, the disk or the file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from oscine.models.errors import OscineError
from oscine.probe.label.journal import (
    ABSENT,
    PRESENT,
    UNSURE,
    Answer,
    Clip,
    Journal,
    find_journals,
    journal_path,
    read_journal,
)

CLASSES = ["wren", 'größe; "=a" <b>']


def answer(number: int, state: str = PRESENT) -> Answer:
    states = dict.fromkeys(CLASSES, ABSENT) | {"wren": state}
    return Answer(Clip("wood/a.wav", number * 5.0, number * 5.0 + 5), "", states, predicted={"wren": 0.25})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return journal_path(tmp_path / "labels", "anna")


def test_what_was_answered_is_read_back_with_who_said_it_and_when(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        given = [journal.add(answer(number)) for number in range(3)]
    read = read_journal(path)
    assert read.answers == given
    assert (read.annotator, read.classes, read.one_label) == ("anna", CLASSES, False)
    assert {one.annotator for one in given} == {"anna"}
    assert [one.time for one in given] == sorted(one.time for one in given)
    assert given[0].named(PRESENT) == ["wren"]
    assert find_journals(path.parent) == [path]


def test_undo_takes_back_any_number_of_answers_also_of_earlier_calls(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        kept = [journal.add(answer(number)) for number in range(3)]
    with Journal(path, CLASSES) as journal:
        assert journal.undo() == kept[2]
        assert journal.undo() == kept[1]
        again = journal.add(answer(1, UNSURE))
    assert read_journal(path).answers == [kept[0], again]
    with Journal(path, CLASSES) as journal:
        assert [journal.undo(), journal.undo(), journal.undo()] == [again, kept[0], None]
    assert read_journal(path).answers == []
    assert path.read_bytes().count(b"\n") == 1 + 3 + 2 + 1 + 2, "nothing is ever taken out of the file"


def test_a_class_that_is_added_was_not_asked_for_before(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        journal.add(answer(0))
        journal.add_class("dunnock")
        journal.add_class("dunnock")
        journal.add(replace(answer(1), states=dict.fromkeys([*CLASSES, "dunnock"], ABSENT)))
    with Journal(path, ["robin", "wren"]) as journal:
        assert journal.content.classes == [*CLASSES, "dunnock", "robin"]
    read = read_journal(path)
    assert read.classes == [*CLASSES, "dunnock", "robin"]
    assert ["dunnock" in one.states for one in read.answers] == [False, True]


def test_half_a_line_is_nobodys_answer_wherever_it_breaks_off(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        kept = journal.add(answer(0))
        whole = path.read_bytes()
        journal.add(answer(1))
    line = path.read_bytes()[len(whole) :]
    for length in range(len(line)):
        path.write_bytes(whole + line[:length])
        assert read_journal(path).answers == [kept]
    with Journal(path, CLASSES) as journal:
        later = journal.add(answer(2))
    assert read_journal(path).answers == [kept, later]


def test_a_journal_whose_first_line_was_not_finished_is_begun_anew(path: Path) -> None:
    with Journal(path, CLASSES):
        pass
    begun = path.read_bytes()
    path.write_bytes(begun[:-10])
    with pytest.raises(OscineError, match="is empty; oscine label page begins it anew"):
        read_journal(path)
    with Journal(path, CLASSES) as journal:
        kept = journal.add(answer(0))
    assert read_journal(path).answers == [kept]


def test_whoever_is_killed_loses_nothing_that_was_answered(path: Path) -> None:
    code = f"""
import itertools
from oscine.probe.label.journal import Answer, Clip, Journal
journal = Journal({str(path)!r}, ["wren"])
for number in itertools.count():
    journal.add(Answer(Clip("a.wav", float(number), number + 5.0), "", {{"wren": "present"}}))
    print(number, flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += [int(line) for line in process.stdout if line.endswith("\n")]
    starts = [one.clip.start for one in read_journal(path).answers]
    assert starts == list(range(len(starts)))
    assert len(starts) >= len(said)
    with Journal(path, ["wren"]) as journal:  # its lock died with it
        assert journal.undo() is not None


def test_two_processes_on_one_journal_are_refused(path: Path) -> None:
    code = f"""
from oscine.models.errors import OscineError
from oscine.probe.label.journal import Journal
try:
    Journal({str(path)!r}, ["wren"])
except OscineError as error:
    print(error)
"""
    with Journal(path, ["wren"]):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"is writing {path}; wait for it, or take another name" in done.stdout
    assert f"process {os.getpid()}" in done.stdout


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="no limit of a file's size on this system")
def test_a_full_disk_keeps_what_was_answered_and_lets_the_person_try_again(path: Path) -> None:
    code = f"""
import resource, signal
from oscine.models.errors import OscineError
from oscine.probe.label.journal import Answer, Clip, Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def add(journal, number):
    journal.add(Answer(Clip("a.wav", float(number), number + 5.0), "", {{"wren": "present"}}))
with Journal({str(path)!r}, ["wren"]) as journal:
    add(journal, 0)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.size + 50, resource.RLIM_INFINITY))
    for number in (1, 1):
        try:
            add(journal, number)
        except OscineError as error:
            print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [one.clip.start for one in journal.content.answers] == [0]
    add(journal, 1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written: File too large; make room, then answer again") == 2
    assert [one.clip.start for one in read_journal(path).answers] == [0, 1]


def test_one_class_a_clip_is_not_taken_for_any_number(path: Path) -> None:
    with Journal(path, CLASSES, one_label=True):
        pass
    with pytest.raises(OscineError, match="begun with one class a clip, this call asks for any number of classes a"):
        Journal(path, CLASSES)
    Journal(path, CLASSES, one_label=True).close()  # the refused call holds no lock


@pytest.mark.parametrize("name", ["../anna", "", "a/b", "con"])
def test_a_name_leads_to_no_other_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="the name"):
        journal_path(tmp_path, name)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"states": {"wren": "maybe"}}, r"anna.jsonl:2: a class is 'maybe', expected present, absent, unsure"),
        ({"states": {"eagle": PRESENT}}, "answers for a class 'eagle', which no line before has"),
        ({"clip": ["a.wav", 1.0]}, "clip is .* expected recording, start and end"),
        ({"clip": ["a.wav", 1.0, float("nan")]}, "expected recording, start and end"),
        ({"heard": "long"}, "heard is 'long', expected a number"),
        ({"mood": "good"}, "has a field 'mood'"),
        ({"kind": "guess"}, "is of kind 'guess'"),
        ({"kind": 3}, "kind is '3', expected a text"),
        ({"kind": "class", "name": "wren"}, "has the name 'wren' 2 times"),
    ],
)
def test_a_line_that_was_changed_by_hand_is_named(path: Path, change: dict[str, object], complaint: str) -> None:
    with Journal(path, CLASSES) as journal:
        journal.add(answer(0))
    begin, line = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{begin}\n{json.dumps(json.loads(line) | change)}\n", encoding="utf-8")
    with pytest.raises(OscineError, match=complaint):
        read_journal(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"kind": "undo", "time": ""}\n', "is no beginning of a journal"),
        (b"\xff\n", "is no JSON"),
        (
            b'{"kind": "begin", "oscine": "99.0", "annotator": "a", "one_label": true, "classes": ["a"]}\n',
            "update oscine",
        ),
        (b'{"kind": "begin", "oscine": "0.1", "annotator": "a", "one_label": true, "classes": []}\n', "has no names"),
        (b"[]\n", "expected an object of JSON"),
    ],
)
def test_what_is_no_journal_is_refused_in_a_line(path: Path, content: bytes, complaint: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for read in (lambda: read_journal(path), lambda: Journal(path, CLASSES)):
        with pytest.raises(OscineError, match=complaint) as error:
            read()
        assert "\n" not in str(error.value)
    assert path.read_bytes() == content


def test_an_undo_of_nothing_is_refused(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        journal.add(answer(0))
        journal.undo()
    path.write_bytes(path.read_bytes() + b'{"kind": "undo", "time": ""}\n')
    with pytest.raises(OscineError, match=r"anna\.jsonl:4 is an undo of nothing"):
        read_journal(path)


def test_no_journal_is_said_in_a_line(path: Path) -> None:
    with pytest.raises(OscineError, match=r"no journal .*anna.jsonl; oscine label page writes one"):
        read_journal(path)


def test_a_journal_that_is_moved_or_cut_meanwhile_is_said_and_never_filled_with_nothing(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        kept = [journal.add(answer(number)) for number in range(2)]
        whole, away = path.read_bytes(), path.with_name("away")
        path.rename(away)
        with pytest.raises(OscineError, match=r"anna\.jsonl is not there any more; put it back and answer again"):
            journal.add(answer(2))
        assert not path.exists()
        path.write_bytes(whole[:-20])
        with pytest.raises(OscineError, match=r"anna\.jsonl was changed by another program; put it back"):
            journal.add(answer(2))
        assert path.read_bytes() == whole[:-20]
        away.replace(path)
        kept.append(journal.add(answer(2)))
    assert read_journal(path).answers == kept


def test_a_class_that_is_removed_was_never_asked_for(path: Path) -> None:
    with Journal(path, CLASSES) as journal:
        journal.add_class("late", own=True)
        assert journal.content.last_added == "late"
        journal.add(replace(answer(0), states=dict.fromkeys([*CLASSES, "late"], ABSENT)))
        assert journal.content.last_added == ""
        journal.add_class("by others")
        journal.remove_class("late")
        journal.remove_class("nowhere")
        content = journal.content
    assert read_journal(path) == content
    assert content.classes == [*CLASSES, "by others"]
    assert content.last_added == ""
    assert [*content.answers[0].states] == CLASSES
