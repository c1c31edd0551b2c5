"""The loop asks everybody for the right clips, forgets nothing, and judges by clips that no strategy chose."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, Answer, Clip, Journal, JournalContent, read_journal
from oscine.probe.label.loop.audit import audit_order, audited
from oscine.probe.label.loop.clips import ClipTable
from oscine.probe.label.loop.handing_out import APART, AWAY
from oscine.probe.label.loop.judged import judge_audit
from oscine.probe.label.loop.loop import Given, LabelLoop
from oscine.probe.label.loop.outcome import late_classes
from oscine.probe.label.state import State
from oscine.probe.label.strategies.registry import register_strategy
from tests.probe.label.conftest import CLASSES, label, make_table, truth

Begin = Callable[..., LabelLoop]


def test_every_clip_is_asked_for_once_and_then_nothing(begin: Begin) -> None:
    with begin(table=make_table(24), again=0.0, batch=5) as loop:
        assert sorted(label(loop, count=24)) == list(range(24))
        assert loop.ahead("anna") == []


def test_whoever_begins_again_goes_on_where_the_last_call_ended(begin: Begin) -> None:
    with begin(one_label=True, again=0.0) as loop:
        first = label(loop, count=13)
    with begin(one_label=True, again=0.0) as loop:
        assert len(loop.votes()) == 13
        assert loop.learnt is not None
        assert not {*label(loop, count=13)} & {*first}


def test_a_probe_learns_and_its_strategy_chooses_once_there_is_something_to_tell_apart(begin: Begin) -> None:
    with begin(one_label=True) as loop:
        label(loop, count=30)
        strategies = [answer.strategy for answer in loop.journals["anna"].content.answers]
        assert strategies[0] == "typiclust"
        assert strategies[-1] == "uherding"
        left = [number for number in range(90) if number not in loop.votes()]
        right = [
            max(loop.thinks(number), key=lambda name: loop.thinks(number)[name]) == truth(number) for number in left
        ]
        assert np.mean(right) > 0.9


def test_an_answer_is_learnt_at_once_not_at_the_next_fit(begin: Begin) -> None:
    with begin(one_label=True) as loop:
        label(loop, count=20)
        fitted = loop.learnt
        number = loop.ahead("anna")[0].number
        before = loop.thinks(number)
        wrong = next(name for name in CLASSES if name != truth(number))
        loop.since = 0  # no fit is due
        loop.handing_out.waiting = loop.handing_out.waiting or [*loop.handing_out.held["anna"][-1:]]
        loop.answer("anna", number, Given({wrong: PRESENT}))
        assert loop.thinks(number)[wrong] > before[wrong]
        assert fitted is not None
        assert loop.journals["anna"].content.answers[-1].predicted[wrong] == pytest.approx(before[wrong], abs=1e-4)


def test_audit_clips_are_the_beginning_of_one_random_order_whatever_strategies_choose(begin: Begin) -> None:
    chosen = {}
    for strategy in ("coreset", "margin"):
        with begin(people=(strategy,), strategy=strategy, audit=0.2, again=0.0) as loop:
            label(loop, strategy, count=30)
            chosen[strategy] = loop.audit()
            order = audit_order(loop.table, 0)
            assert chosen[strategy] == order[: len(chosen[strategy])].tolist()
            assert 5 <= len(chosen[strategy]) <= 14
            marked = {one.clip for one in read_journal(loop.journals[strategy].path).answers if one.audit}
            assert {loop.table.clips[number] for number in chosen[strategy][:5]} <= marked
        for path in loop.folder.iterdir():
            path.unlink()
    short = min(map(len, chosen.values()))
    assert chosen["coreset"][:short] == chosen["margin"][:short]


def test_the_random_order_stays_when_the_table_grows() -> None:
    small, large = make_table(60), make_table(90)
    order = audit_order(large, 0)
    assert [number for number in order if number < 60] == audit_order(small, 0).tolist()
    assert sorted(order) == list(range(90))
    assert audit_order(large, 1).tolist() != order.tolist()


def test_audit_clips_end_at_the_first_one_that_is_missing() -> None:
    order = np.array([4, 2, 0, 3, 1])
    assert audited(order, {4, 0, 3}) == [4]
    assert audited(order, {4, 0, 3}, {2}) == [4, 0, 3]


def test_some_clips_come_again_and_are_not_learnt_twice(begin: Begin) -> None:
    with begin(one_label=True) as loop:
        label(loop, count=70)
        answers = loop.journals["anna"].content.answers
        again = [answer for answer in answers if answer.again]
        assert len(again) == 3
        assert len({answer.clip for answer in again}) == 3
        assert all(not answer.predicted for answer in again)
        for answer in again:
            first, second = (place for place, one in enumerate(answers) if one.clip == answer.clip)
            assert second - first >= APART
        assert len(loop.votes()) == 67


def test_two_people_get_different_clips_unless_some_are_to_overlap(begin: Begin) -> None:
    with begin(people=("anna", "ben"), again=0.0) as loop:
        got = [label(loop, who, count=1)[0] for _ in range(15) for who in ("anna", "ben")]
        assert len({*got}) == 30


def test_who_only_has_a_look_keeps_no_clips_and_no_gap_among_those_that_are_judged_by(begin: Begin) -> None:
    now = 0.0
    with begin(people=("anna", "ben"), table=make_table(60), again=0.0, audit=0.2) as loop:
        loop.handing_out.clock = lambda: now
        held = {one.number for one in loop.ahead("ben")}
        first = label(loop, count=20)
        assert not {*first} & held
        now = AWAY + 1.0
        left = label(loop, count=40)
        assert sorted([*first, *left]) == list(range(60)), "all of them, those that ben had, too"
        assert loop.ahead("anna") == []
        assert len(loop.audit()) == 60
        number = loop.handing_out.held["ben"][0].number
        loop.answer("ben", number, Given({truth(number): PRESENT}))
        assert {*loop.votes()[number]} == {"anna", "ben"}, "what is on a screen can be answered, however late"
        assert loop.ahead("ben") == [], "the others have an answer"


def test_the_share_that_overlaps_is_heard_by_two_and_by_nobody_twice(begin: Begin) -> None:
    with begin(people=("anna", "ben"), again=0.0, overlap=0.5) as loop:
        got = {who: list[int]() for who in ("anna", "ben")}
        for _ in range(40):
            for who, numbers in got.items():
                numbers += label(loop, who)
        assert all(len({*numbers}) == len(numbers) for numbers in got.values())
        both = len({*got["anna"]} & {*got["ben"]})
        assert 15 <= both <= 32
        assert Counter(len(said) for said in loop.votes().values())[2] == both


def test_an_answer_that_is_taken_back_is_asked_for_again_and_not_known_any_more(begin: Begin) -> None:
    with begin(one_label=True) as loop:
        label(loop, count=20)
        number = loop.ahead("anna")[0].number
        predicted = loop.answer("anna", number, Given({CLASSES[0]: PRESENT})).predicted
        undone = loop.undo("anna")
        assert undone is not None
        assert undone.answer.states[CLASSES[0]] == PRESENT
        assert loop.ahead("anna")[0].number == number
        loop.wait()
        assert number not in loop.votes()
        again = loop.answer("anna", number, Given({truth(number): PRESENT}))
        assert again.predicted == predicted, "what was thought before anybody had answered"


def test_undo_goes_back_over_restarts_until_nothing_is_left(begin: Begin) -> None:
    with begin() as loop:
        numbers = label(loop, count=3)
    with begin() as loop:
        backwards = [loop.undo("anna") for _ in range(4)]
        assert [undone and undone.chosen.number for undone in backwards] == [*reversed(numbers), None]
        assert loop.votes() == {}


def test_unsure_and_not_asked_are_not_absent(begin: Begin) -> None:
    from oscine.probe.label.loop.learner import gather_labels

    with begin() as loop:
        number = loop.ahead("anna")[0].number
        loop.answer("anna", number, Given({"robin": UNSURE, "wren": PRESENT}))
        loop.add_class("kinglet", "anna")
        later = loop.ahead("anna")[0].number
        loop.answer("anna", later, Given({"kinglet": PRESENT}))
        assert loop.journals["anna"].content.answers[0].states.get("kinglet") is None
        assert loop.journals["anna"].content.answers[1].states["robin"] == ABSENT
        labels = gather_labels(loop.votes(), loop.classes, one_label=False)
    rows = dict(zip(labels.clips.tolist(), labels.targets.tolist()))
    assert rows[number] == pytest.approx([0, np.nan, 1, np.nan], nan_ok=True)
    assert rows[later] == [0, 0, 0, 1]


def test_what_two_people_say_counts_in_shares(begin: Begin) -> None:
    from oscine.probe.label.loop.learner import gather_labels

    with begin(people=("anna", "ben"), overlap=1.0) as loop:
        number = loop.ahead("anna")[0].number
        loop.answer("anna", number, Given({"wren": PRESENT, "robin": UNSURE}))
        while loop.ahead("ben")[0].number != number:
            label(loop, "ben")
        loop.answer("ben", number, Given({"robin": PRESENT}))
        labels = gather_labels({number: loop.votes()[number]}, loop.classes, one_label=False)
    assert labels.targets.tolist() == [[0, 1, 0.5]]


def test_a_skipped_clip_teaches_nothing_and_is_not_asked_for_again(begin: Begin) -> None:
    with begin() as loop:
        number = loop.ahead("anna")[0].number
        loop.answer("anna", number, Given({"wren": PRESENT}, skipped=True))
        assert loop.votes()[number]["anna"].skipped
        assert number not in label(loop, count=40)


def test_one_class_a_clip_takes_no_second_one(begin: Begin) -> None:
    with begin(one_label=True) as loop:
        number = loop.ahead("anna")[0].number
        with pytest.raises(OscineError, match="a clip has one class here"):
            loop.answer("anna", number, Given({"wren": PRESENT, "robin": PRESENT}))
        assert loop.journals["anna"].content.answers == []
        assert loop.ahead("anna")[0].number == number


def test_an_answer_from_another_window_is_refused(begin: Begin) -> None:
    with begin() as loop:
        number = label(loop)[0]
        with pytest.raises(OscineError, match="was answered in another window"):
            loop.answer("anna", number, Given({}))


def test_answers_to_clips_that_are_gone_are_kept_and_said(
    begin: Begin, table: ClipTable, caplog: pytest.LogCaptureFixture
) -> None:
    with begin() as loop:
        first = label(loop, count=12)
    gone = replace(table, clips=[Clip("new/" + clip.recording, *clip[1:]) for clip in table.clips])
    with caplog.at_level(logging.WARNING), begin(table=gone) as loop:
        assert loop.votes() == {}
        assert len(loop.journals["anna"].content.answers) == len(first)
        with pytest.raises(OscineError, match=r"the answer to wood/.* was taken back; that clip is not in"):
            loop.undo("anna")
    assert "12 answers are about clips that are not in birds.parquet any more; they are kept" in caplog.text


def test_an_answer_to_a_recording_that_is_gone_can_be_taken_back(begin: Begin, table: ClipTable) -> None:
    with begin() as loop:
        number = label(loop)[0]
        loop.may_ask[number] = False
        with pytest.raises(OscineError, match="was taken back"):
            loop.undo("anna")
        assert loop.journals["anna"].content.answers == []
        assert number not in [one.number for one in loop.ahead("anna")]


def test_a_strategy_that_fails_is_said_and_clips_come_at_random(
    begin: Begin, door: None, caplog: pytest.LogCaptureFixture
) -> None:
    def unlucky(state: State, k: int, generator: np.random.Generator) -> np.ndarray:
        raise ZeroDivisionError("out of luck")

    register_strategy(unlucky)
    with begin(one_label=True, strategy="unlucky") as loop:
        label(loop, count=15)
        assert "unlucky could not choose (out of luck)" in loop.notice
        assert {answer.strategy for answer in loop.journals["anna"].content.answers[-3:]} == {"random"}
        assert len({*loop.votes()}) == 15


def test_a_journal_that_another_process_writes_counts_and_a_damaged_one_stops_nobody(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    with begin(people=("ben",)) as loop:
        other = label(loop, "ben", count=5)
    path = loop.folder / "ben.jsonl"
    with begin(people=("anna",)) as loop:
        assert {*other} <= {*loop.votes()}
        path.write_text(path.read_text() + '{"kind": "nonsense"}\n')
        got = label(loop, count=25)
        assert not {*got} & {*other}
    assert "ben.jsonl:7 is of kind 'nonsense'" in caplog.text


def test_the_score_is_of_probes_that_had_not_learnt_the_clip(begin: Begin) -> None:
    with begin(one_label=True, audit=0.5, again=0.0) as loop:
        label(loop, count=60)
        answers = loop.audit_answers()
        scored = judge_audit(answers, loop.classes, one_label=True).scored
    predicted = [answer for answer in answers if answer.predicted]
    hits = [max(one.predicted, key=lambda name: one.predicted[name]) == one.named(PRESENT)[0] for one in predicted]
    assert scored.clips == len(predicted) >= 20
    assert scored.score.value == pytest.approx(np.mean(hits))
    assert 0.5 < scored.score.low < scored.score.value <= scored.score.high <= 1


def test_goal_needs_what_the_page_does_not_take(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="goal needs the classes that are sought"):
        begin(strategy="goal")
    assert not (tmp_path / "labels").exists()


def test_a_disk_that_is_full_while_clips_are_chosen_stops_nobody(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(journal: Journal, clip: Clip) -> None:
        raise OscineError("anna.jsonl cannot be written: No space left on device; make room, then answer again")

    with begin(one_label=True, audit=0.5, again=0.0) as loop:
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "mark_audit", full)
            label(loop, count=25)  # waits after every answer
        assert loop.worker.is_alive()
        assert "The next clips were not chosen (anna.jsonl cannot be written" in loop.notice
        label(loop, count=10)
        assert loop.notice == ""
        assert len(loop.votes()) == 35


def test_a_journal_of_the_other_kind_of_labels_is_refused_before_anybody_answers(begin: Begin) -> None:
    with begin(people=("ben",), one_label=True):
        pass
    with pytest.raises(OscineError, match=r"ben.jsonl was begun with one class a clip, this call asks for any number"):
        begin(people=("anna",))


def test_a_class_is_taken_back_by_who_added_it_unless_an_answer_came_since(begin: Begin) -> None:
    with begin(people=("anna", "ben"), again=0.0) as loop:
        label(loop, count=2)
        loop.add_class("kinglet", "anna")
        label(loop, "ben")
        assert loop.take_back_class("ben") == ""
        assert loop.take_back_class("anna") == "kinglet"
        loop.add_class("kinglet", "anna")
        label(loop)
        assert loop.take_back_class("anna") == "", "an answer came since"
        loop.undo("anna")
        number = loop.ahead("ben")[0].number
        loop.answer("ben", number, Given({"kinglet": PRESENT}))
        assert loop.take_back_class("anna") == "", "it was heard"
        loop.undo("ben")
    with begin(people=("anna", "ben"), again=0.0) as loop:
        assert loop.classes == [*CLASSES, "kinglet"]
        assert loop.take_back_class("anna") == "kinglet"
        assert loop.classes == CLASSES
        loop.wait()
    for who, answers in (("anna", 2), ("ben", 1)):
        kept = read_journal(loop.folder / f"{who}.jsonl")
        assert kept.classes == CLASSES
        assert [[*one.states] for one in kept.answers] == [CLASSES] * answers


@pytest.mark.parametrize(("before", "late"), [(20, {"kinglet": 0}), (19, {"kinglet": 1}), (1, {})])
def test_a_class_that_was_added_late_does_not_cost_the_table_its_clips(before: int, late: dict[str, int]) -> None:
    answers = [
        Answer(Clip("a.wav", 5.0 * number, 5.0 * number + 5), "anna", dict.fromkeys(classes, ABSENT))
        for number, classes in enumerate([CLASSES] * before + [[*CLASSES, "kinglet"]] * (20 - before))
    ]
    assert late_classes([JournalContent("anna", False, [*CLASSES, "kinglet"], answers)]) == late


def test_without_answers_or_with_one_class_a_clip_no_class_is_late() -> None:
    assert late_classes([]) == {}
    assert late_classes([JournalContent("anna", False, CLASSES, [])]) == {}
    said = Answer(Clip("a.wav", 0.0, 5.0), "anna", {"wren": PRESENT})
    assert late_classes([JournalContent("anna", True, CLASSES, [said])]) == {}


def test_what_is_kept_of_the_answers_is_what_the_journals_say_whatever_happened(begin: Begin) -> None:
    with begin(people=("anna", "ben"), audit=0.3, overlap=0.5) as loop:
        for who, count in (("anna", 12), ("ben", 9), ("anna", 7)):
            label(loop, who, count=count)
            kept = loop.votes()
            loop.answers._votes = None
            assert loop.votes() == kept
            loop.undo(who)
            loop.wait()
            kept = loop.votes()
            loop.answers._votes = None
            assert loop.votes() == kept
        assert any(answer.audit for said in kept.values() for answer in said.values())
