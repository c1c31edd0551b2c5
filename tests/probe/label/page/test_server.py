"""The server says what there is to label, takes answers, and gives nothing else away."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import soundfile
from PIL import Image
from starlette.testclient import TestClient

from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, read_journal
from oscine.probe.label.loop.clips import find_recordings, read_clips
from oscine.probe.label.loop.known import write_known
from oscine.probe.label.loop.loop import LabelLoop
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.page.guard import KEY
from oscine.probe.label.page.server import Site, make_app
from tests.probe.label.page.conftest import BIRDS, Wood

Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def loop(wood: Wood, tmp_path: Path) -> Iterator[LabelLoop]:
    table = read_clips(wood.table)
    places = find_recordings(table, wood.folder)
    with LabelLoop(table, tmp_path / "labels", [*BIRDS], LoopSettings(), recordings=[*places]) as loop:
        yield loop


@pytest.fixture
def client(loop: LabelLoop, wood: Wood) -> TestClient:
    site = Site(
        loop,
        find_recordings(loop.table, wood.folder),
        "anna",
        lambda: write_known(loop, wood.folder, "oscine label page").page,
    )
    return TestClient(make_app(site, "secret"), base_url="http://127.0.0.1", headers={KEY: "secret"})


@pytest.fixture
def ask(client: TestClient) -> Ask:
    def ask(question: str, code: int = 200, who: str = "anna", **content: Any) -> dict[str, Any]:
        left = client.post(f"/api/{question}", json={"who": who, **content})
        assert left.status_code == code, left.text
        return left.json()

    return ask


def answer(said: dict[str, Any], **states: str) -> dict[str, Any]:
    """What the page sends of the clip that it shows."""
    clip = said["ahead"][0]
    return {
        "clip": clip["id"], "position": clip["position"], "states": states, "skipped": False, "heard": 1, "taken": 2.5,
    }  # fmt: skip


def test_the_page_and_its_files_are_served_and_nothing_else(client: TestClient) -> None:
    for path in ("/", "/page.js", "/page.css", "/report.css"):
        assert client.get(path).status_code == 200, path
    assert '<script src="page.js"' in client.get("/").text
    for path in (
        "/page.html",
        "/..%2f..%2fetc/passwd",
        "/sound/..%2f..%2f..%2fetc%2fpasswd.wav",
        "/server.py",
        "/labels/anna.jsonl",
    ):
        assert client.get(path).status_code == 404, path


def test_what_there_is_to_label_is_said_with_clips_fetched_ahead(ask: Ask, client: TestClient) -> None:
    said = ask("begin", who="")
    assert said["who"] == "anna"
    assert len({clip["id"] for clip in said["ahead"]}) == 4
    clip = said["ahead"][0]
    assert clip["when"].startswith("2024-05-01 04:")
    assert clip["end"] - clip["start"] == 0.5
    assert clip["view"] == [*BIRDS]
    assert clip["first"] <= clip["start"] < clip["end"] <= clip["last"] <= 4.0
    sound, _ = soundfile.read(io.BytesIO(client.get(f"/sound/{clip['id']}.wav").content))
    assert len(sound) / 16_000 == pytest.approx(clip["last"] - clip["first"])
    assert Image.open(io.BytesIO(client.get(f"/picture/{clip['id']}.png?top=4000").content)).size[0] >= 1000


def test_an_answer_is_on_disk_before_the_next_clip_is_named(ask: Ask, loop: LabelLoop) -> None:
    said = ask("begin")
    shown = said["ahead"][0]["id"]
    said = ask("answer", **answer(said, wren=PRESENT, robin=UNSURE))
    kept = read_journal(loop.folder / "anna.jsonl").answers
    assert [(one.clip, one.states) for one in kept] == [
        (loop.table.clips[shown], {"dunnock": ABSENT, "robin": UNSURE, "wren": PRESENT})
    ]
    assert (kept[0].taken, kept[0].heard) == (2.5, 1)
    assert said["ahead"][0]["id"] != shown
    assert said["counts"] == [["dunnock", 0, 0], ["robin", 0, 1], ["wren", 1, 0]]
    assert said["progress"] == "1 answered · 2 s"


def test_an_answer_that_is_sent_twice_is_taken_once(ask: Ask, loop: LabelLoop) -> None:
    said = ask("begin")
    sent = answer(said, wren=PRESENT)
    assert ask("answer", **sent)["answered"] == 1
    assert ask("answer", **sent)["answered"] == 1
    assert len(read_journal(loop.folder / "anna.jsonl").answers) == 1
    next_one = ask("answer", **answer(ask("begin"), wren=PRESENT))
    assert next_one["answered"] == 2
    assert "in another window" in ask("answer", 409, **sent)["error"]


def test_undo_shows_the_clip_again_with_what_was_said(ask: Ask) -> None:
    first = ask("begin")
    ask("answer", **answer(first, wren=UNSURE))
    said = ask("undo")
    assert said["given"]["wren"] == UNSURE
    assert said["ahead"][0]["id"] == first["ahead"][0]["id"]
    assert ask("undo")["notice"] == "There is no answer to take back."


def test_a_class_is_added_by_name_and_its_name_is_text(ask: Ask, client: TestClient) -> None:
    name = '<img src=x onerror="alert(1)">'
    ask("begin")
    said = ask("class", name=f" {name} ")
    assert said["classes"][-1] == name
    ask("answer", **answer(said, **{name: PRESENT}))
    assert ask("finish") == {}
    page = client.get("/known.html").text
    assert name not in page
    assert "&lt;img src=x" in page
    assert "has the name '', expected 1 to 1000 letters" in ask("class", 409, name="  ")["error"]


def test_two_people_label_at_once_and_a_name_is_asked_for_where_none_is_known(
    wood: Wood, loop: LabelLoop, ask: Ask
) -> None:
    anna, ben = ask("begin"), ask("begin", who="ben")
    assert not {clip["id"] for clip in anna["ahead"]} & {clip["id"] for clip in ben["ahead"]}
    site = Site(loop, find_recordings(loop.table, wood.folder), "", str)
    client = TestClient(make_app(site, "secret"), base_url="http://127.0.0.1", headers={KEY: "secret"})
    assert client.post("/api/begin", json={"who": " "}).json() == {"ask_name": True}
    assert "is a path" in ask("begin", 409, who="../ben")["error"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"clip": 10_000}, "answered in another window"),
        ({"clip": -1}, "answered in another window"),
        ({"clip": "a"}, "clip is 'a', expected a whole number"),
        ({"states": {"wren": "maybe"}}, "a class is 'maybe'"),
        ({"states": {"eagle": PRESENT}}, "no class 'eagle'; add it first"),
        ({"states": ["wren"]}, "states is"),
        ({"heard": None}, "heard is 'None', expected a number"),
    ],
)
def test_an_answer_that_no_page_sends_is_refused_in_a_line(
    change: dict[str, Any], complaint: str, ask: Ask, loop: LabelLoop
) -> None:
    sent = answer(ask("begin"), wren=PRESENT) | change
    assert complaint in ask("answer", 409, **sent)["error"]
    assert read_journal(loop.folder / "anna.jsonl").answers == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"who": 3}', b"\xff", b"[" * 100_000])
def test_a_question_that_is_no_json_is_refused_in_a_line(body: bytes, client: TestClient) -> None:
    left = client.post("/api/begin", content=body)
    assert left.status_code == 409
    assert "the question" in left.json()["error"]


@pytest.mark.parametrize("path", ["/sound/96.wav", "/picture/99999.png", "/sound/-1.wav", "/sound/1.5.wav"])
def test_no_other_clip_can_be_asked_for(path: str, client: TestClient) -> None:
    assert client.get(path).status_code == 404


def test_a_full_disk_is_said_and_the_answer_can_be_sent_again(
    ask: Ask, loop: LabelLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = answer(ask("begin"), wren=PRESENT)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert "No space left on device; make room" in ask("answer", 409, **sent)["error"]
    assert ask("answer", **sent)["answered"] == 1
    assert len(read_journal(loop.folder / "anna.jsonl").answers) == 1


def test_a_recording_that_cannot_be_read_is_said_and_can_be_skipped(
    ask: Ask, client: TestClient, loop: LabelLoop, wood: Wood
) -> None:
    said = ask("begin")
    clip = said["ahead"][0]
    path = wood.folder / loop.table.clips[clip["id"]].recording
    whole = path.read_bytes()
    try:
        path.write_bytes(b"")
        left = client.get(f"/sound/{clip['id']}.wav")
        assert left.status_code == 422
        assert left.json()["error"].startswith("is empty")
        assert ask("begin")["ahead"][0]["error"].startswith("is empty")
    finally:
        path.write_bytes(whole)
    assert ask("answer", **answer(said) | {"skipped": True})["answered"] == 1
    assert read_journal(loop.folder / "anna.jsonl").answers[0].skipped


def test_another_answer_to_the_same_clip_is_refused_not_swallowed(ask: Ask, loop: LabelLoop) -> None:
    sent = answer(ask("begin"), wren=PRESENT)
    ask("answer", **sent)
    for change in ({"states": {"robin": PRESENT}}, {"states": {}}, {"states": {}, "skipped": True}):
        assert "in another window" in ask("answer", 409, **sent | change)["error"]
    assert ask("answer", **sent | {"states": {"wren": PRESENT, "robin": ABSENT}})["answered"] == 1
    assert [one.marked for one in read_journal(loop.folder / "anna.jsonl").answers] == [{"wren": PRESENT}]


def test_who_finishes_on_a_full_disk_is_told_and_finishes_later(
    ask: Ask, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("answer", **answer(ask("begin"), wren=PRESENT))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        patched.setattr("oscine.probe.label.loop.known.write_report", full)
        assert ask("finish") == {}
        page = client.get("/known.html").text
        assert "No labelled table was written: " in page
        assert "No space left on device" in page
    ask("finish")
    assert "No labelled table" not in client.get("/known.html").text


def test_four_who_finish_at_once_are_all_answered(ask: Ask, loop: LabelLoop) -> None:
    for bird in [*BIRDS] * 4:
        ask("answer", **answer(ask("begin"), **{bird: PRESENT}))
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(lambda _: ask("finish"), range(4))] == [{}] * 4
    assert (loop.folder / "probe").is_dir()


def test_half_a_letter_in_a_name_is_refused_in_a_line(client: TestClient) -> None:
    left = client.post("/api/begin", content=rb'{"who": "a\ud800"}')
    assert (left.status_code, "half a letter" in left.json()["error"]) == (409, True)


def test_a_class_that_is_added_late_leaves_the_table_as_it_is_and_undo_takes_it_back(
    ask: Ask, client: TestClient, loop: LabelLoop
) -> None:
    said = ask("begin")
    for number in range(9):
        said = ask("answer", **answer(said, **{[*BIRDS][number % 3]: PRESENT}))
    ask("answer", **answer(said, wren=UNSURE))
    assert ask("class", name="kinglet")["classes"] == [*BIRDS, "kinglet"]
    ask("finish")
    rows = (loop.folder / "labels.csv").read_text().splitlines()
    assert len(rows) == 1 + 9
    page = client.get("/known.html").text
    assert "labels.csv leaves out the class kinglet, which 0 of 10 clips were asked for." in page
    assert "labels.csv leaves out 1 clip, since nobody said whether wren sounds." in page
    said = ask("undo")
    assert said["notice"] == "The class kinglet is asked for no more."
    assert said["classes"] == [*BIRDS]
    assert ask("undo")["given"]["wren"] == UNSURE
