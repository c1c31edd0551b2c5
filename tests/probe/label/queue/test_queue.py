"""A queue goes out to other programs and comes back filled in; what is not filled in was not asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.models.embed.embed import embed_recordings
from oscine.models.errors import Misuse, OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.saved_probe import load_probe
from oscine.probe.label.journal import ABSENT, PRESENT, UNSURE, read_journal
from oscine.probe.label.loop.clips import ClipTable, find_recordings, read_clips
from oscine.probe.label.loop.judged import judge_audit
from oscine.probe.label.loop.learner import gather_labels, learn
from oscine.probe.label.loop.outcome import write_labels, write_probe
from oscine.probe.label.loop.settings import LoopSettings
from oscine.probe.label.queue.files import (
    write_queue,
    write_queue_for_audacity,
    write_queue_for_label_studio,
    write_queue_for_raven,
    write_snippets,
)
from oscine.probe.label.queue.filled import FilledSettings, ReadQueue, read_filled
from oscine.probe.label.queue.queue import Queue, QueueSettings, make_queue, read_labels, shares_of, votes_of
from oscine.probe.label.votes.read import VoteSettings, read_votes
from oscine.probe.tasks.task import read_task
from tests.tiny_encoders import small_encoder

BIRDS = ["dunnock", "robin", "wren"]


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips of half a second in ten recordings, each of one bird."""
    place, generator = tmp_path_factory.mktemp("wood"), np.random.default_rng(0)
    (place / "recordings").mkdir()
    times = np.arange(32_000) / 16_000
    for number in range(10):
        song = np.sin(2 * np.pi * [800, 2500, 5500][number % 3] * times) + 0.1 * generator.normal(size=len(times))
        soundfile.write(place / f"recordings/{BIRDS[number % 3]}_{number}.wav", 0.3 * song, 16_000)
    encoder = create_model(f"local-dir:{save_pretrained(small_encoder(), place / 'encoder')}", pretrained=True)
    embed_recordings(encoder, place / "recordings", place / "birds.parquet", workers=0)
    return place


@pytest.fixture
def table(wood: Path) -> ClipTable:
    return read_clips(wood / "birds.parquet")


def queue_of(wood: Path, tmp_path: Path, count: int = 12, **settings: object) -> Queue:
    return make_queue(QueueSettings(wood / "birds.parquet", count, tmp_path / "labels", **settings))  # type: ignore[arg-type]


def fill(path: Path, change: dict[int, str] | None = None) -> None:
    """Fill in the bird that every recording is called after, but for the rows of `change`."""
    rows = pd.read_csv(path)
    rows["labels"] = [name.partition("_")[0] for name in rows["path"]]
    for row, text in (change or {}).items():
        rows.loc[row, "labels"] = text
    rows.to_csv(path, index=False)


def settings_of(wood: Path, table: ClipTable, tmp_path: Path, **more: object) -> FilledSettings:
    return FilledSettings(table, tmp_path / "labels", "anna", wood / "recordings", **more)  # type: ignore[arg-type]


def test_a_queue_of_different_clips_comes_back_as_answers_and_the_next_one_has_others(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    queue = queue_of(wood, tmp_path)
    assert queue.reason.startswith("typiclust until there is something to tell apart, then half_coreset_half_entropy (")
    write_queue(queue, tmp_path / "queue.csv")
    fill(tmp_path / "queue.csv", {0: "", 1: "robin?;wren", 2: "-", 3: "?"})
    settings = settings_of(wood, table, tmp_path)
    assert read_filled([tmp_path / "queue.csv"], settings) == ReadQueue(11, 1, 0)
    answers = {one.clip: one for one in read_journal(tmp_path / "labels/anna.jsonl").answers}
    clips = [table.clips[chosen.number] for chosen in queue.chosen]
    assert clips[0] not in answers
    assert answers[clips[1]].states == {"dunnock": ABSENT, "robin": UNSURE, "wren": PRESENT}
    assert answers[clips[2]].states == dict.fromkeys(BIRDS, ABSENT)
    assert answers[clips[3]].skipped
    assert {one.strategy for one in answers.values()} == {"typiclust"}
    assert any(one.audit for one in answers.values())
    assert read_filled([tmp_path / "queue.csv"], settings) == ReadQueue(0, 1, 11), "reading it again changes nothing"
    later = queue_of(wood, tmp_path)
    assert not {chosen.number for chosen in later.chosen} & {table.numbers[clip] for clip in answers}
    assert later.reason.startswith("half_coreset_half_entropy (several labels a clip: ")


@pytest.mark.parametrize("program", ["raven", "audacity"])
def test_what_raven_and_audacity_save_comes_back(program: str, wood: Path, table: ClipTable, tmp_path: Path) -> None:
    queue, places = queue_of(wood, tmp_path), find_recordings(table, wood / "recordings")
    if program == "raven":
        path = tmp_path / "queue.txt"
        write_queue_for_raven(queue, path, places)
        rows = pd.read_csv(path, sep="\t", dtype=str)
        rows["Species"] = [Path(name).name.partition("_")[0] for name in rows["Begin Path"]]
        rows.loc[0, "Species"] = ""
        rows.to_csv(path, sep="\t", index=False)
    else:
        path = tmp_path / "tracks"
        write_queue_for_audacity(queue, path, places)
        tracks = sorted(path.rglob("*.txt"))
        for place, track in enumerate(tracks):
            bird = track.name.partition("_")[0]
            lines = [f"{line.rstrip()}\t{bird}" for line in track.read_text().splitlines()]
            lines[0] = lines[0].removesuffix(bird) if not place else lines[0]
            track.write_text("\n".join(lines) + "\n")
    assert read_filled([path], settings_of(wood, table, tmp_path)) == ReadQueue(11, 1, 0)
    for answer in read_journal(tmp_path / "labels/anna.jsonl").answers:
        assert answer.named(PRESENT) == [answer.clip.recording.partition("_")[0]]


def test_label_studio_gets_a_task_a_clip(wood: Path, table: ClipTable, tmp_path: Path) -> None:
    queue = queue_of(wood, tmp_path, 5)
    write_queue_for_label_studio(queue, tmp_path / "tasks.json", find_recordings(table, wood / "recordings"))
    tasks = [task["data"] for task in json.loads((tmp_path / "tasks.json").read_text())]
    clips = [table.clips[chosen.number] for chosen in queue.chosen]
    assert [(task["recording"], task["start"], task["end"]) for task in tasks] == clips
    assert all(Path(task["audio"]).is_file() for task in tasks)


def test_clips_of_recordings_that_are_gone_are_not_asked_for(wood: Path, tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    for name in ("wren_2.wav", "wren_5.wav"):
        (tmp_path / "left" / name).symlink_to(wood / "recordings" / name)
    queue = queue_of(wood, tmp_path, 40, recordings=tmp_path / "left")
    names = [queue.table.clips[chosen.number].recording for chosen in queue.chosen]
    assert sorted(names) == ["wren_2.wav"] * 4 + ["wren_5.wav"] * 4
    write_queue_for_raven(queue, tmp_path / "queue.txt", queue.places)
    write_queue(queue, tmp_path / "queue.csv")
    fill(tmp_path / "queue.csv")
    read_filled([tmp_path / "queue.csv"], settings_of(wood, queue.table, tmp_path))
    with pytest.raises(OscineError, match=r"the recordings of all 32 clips of .* without an answer are not in .*left"):
        queue_of(wood, tmp_path, recordings=tmp_path / "left")


@pytest.mark.parametrize("count", [1, 8, 10, 25])
def test_the_smallest_queue_has_a_clip_to_judge_by(count: int, wood: Path, tmp_path: Path) -> None:
    queue = queue_of(wood, tmp_path, count)
    assert sum(chosen.audit for chosen in queue.chosen) == -(-count // 10)


def test_snippets_are_the_clips_in_the_order_of_the_queue(wood: Path, table: ClipTable, tmp_path: Path) -> None:
    queue = queue_of(wood, tmp_path, 5)
    paths = write_snippets(queue, tmp_path / "snippets", find_recordings(table, wood / "recordings"))
    assert sorted(paths) == paths
    clip = table.clips[queue.chosen[0].number]
    whole, rate = soundfile.read(wood / "recordings" / clip.recording)
    snippet, _ = soundfile.read(paths[0])
    assert np.allclose(snippet, whole[round(clip.start * rate) : round(clip.end * rate)], atol=1e-4)


def test_hoplites_annotations_say_nothing_of_classes_without_a_row(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    rows = [("robin_1.wav", 0.5, 1.0, "robin", "positive"), ("robin_1.wav", 0.5, 1.0, "wren", "negative"),
            ("wren_2.wav", 0.0, 0.5, "wren", "uncertain")]  # fmt: skip
    columns = ["recording", "start_offset_s", "end_offset_s", "label", "label_type"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "hoplite.csv", index=False)
    assert read_filled([tmp_path / "hoplite.csv"], settings_of(wood, table, tmp_path)) == ReadQueue(2, 0, 0)
    states = [one.states for one in read_journal(tmp_path / "labels/anna.jsonl").answers]
    assert states == [{"robin": PRESENT, "wren": ABSENT}, {"wren": UNSURE}]


def test_queues_of_other_tables_gone_clips_and_misspelt_classes_are_refused_in_a_line(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    write_queue(queue_of(wood, tmp_path), path)
    whole = path.read_text()
    fill(path)
    said = r"queue.csv: row \d+: anna named dunnock \(did you mean dunock\?\), which is none of the 3 classes"
    with pytest.raises(OscineError, match=said):
        read_filled([path], settings_of(wood, table, tmp_path, classes=["robin", "wren", "dunock"]))
    path.write_text(whole.replace(table.fingerprint, "0" * 16))
    with pytest.raises(OscineError, match="is a queue of another table"):
        read_filled([path], settings_of(wood, table, tmp_path))
    path.write_text(whole.replace("dunnock_0.wav", "gone.wav").replace("dunnock_3.wav", "gone.wav"))
    with pytest.raises(OscineError, match=r"is about gone.wav from .* which is no clip of the table any more"):
        read_filled([path], settings_of(wood, table, tmp_path))
    path.write_text(whole)
    with pytest.raises(OscineError, match=r"no clip of .* has a label; fill in the column labels"):
        read_filled([path], settings_of(wood, table, tmp_path))
    pd.read_csv(path).drop(columns="labels").to_csv(path, index=False)
    with pytest.raises(OscineError, match="has no column labels"):
        read_filled([path], settings_of(wood, table, tmp_path))
    assert not (tmp_path / "labels").exists() or not read_labels(tmp_path / "labels")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({4: "robin;wren"}, r"row 6: .* has several classes, 'robin;wren', expected one"),
        ({4: ";", 5: " ; "}, r"row 6 \(.*\) has labels that name nothing; write names .* \(2 such rows\)"),
    ],
)
def test_a_refused_file_leaves_no_journal_behind(
    changes: dict[int, str], said: str, wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    write_queue(queue_of(wood, tmp_path), path)
    fill(path, changes)
    with pytest.raises(OscineError, match=said):
        read_filled([path], settings_of(wood, table, tmp_path, one_label=True))
    assert not (tmp_path / "labels").exists()


def test_what_cannot_be_asked_for_and_labels_of_another_kind_are_refused(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    write_queue(queue_of(wood, tmp_path), path)
    fill(path, {3: "robin", 4: "Robin"})
    with pytest.raises(OscineError, match=r"row \d+ has the name 'Robin', which is nearly 'robin'; write it otherwise"):
        read_filled([path], settings_of(wood, table, tmp_path))
    assert not (tmp_path / "labels").exists()
    fill(path)
    read_filled([path], settings_of(wood, table, tmp_path))
    ben = replace(settings_of(wood, table, tmp_path, one_label=True), who="ben")
    with pytest.raises(
        OscineError, match=r"anna.jsonl was begun with any number of classes a clip, this call asks for"
    ):
        read_filled([path], ben)
    assert not (tmp_path / "labels/ben.jsonl").exists()


def test_who_cannot_tell_of_the_others_says_nothing_of_them_and_combine_reads_the_same(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    path = tmp_path / "queue.csv"
    write_queue(queue_of(wood, tmp_path), path)
    fill(path, {0: "robin;?", 1: "wren?; robin", 2: "?"})
    read_filled([path], settings_of(wood, table, tmp_path))
    votes = read_votes([tmp_path / "labels"], VoteSettings(wood / "recordings"))
    same = read_votes([path], VoteSettings(wood / "recordings"))
    rows = pd.read_csv(path)
    assert votes.classes == same.classes == BIRDS
    for row, expected in ((0, [-1, 1, -1]), (1, [0, 1, -1])):
        for read in (votes, same):
            places = (read.clips["path"].str.endswith(rows["path"][row])) & (read.clips["start"] == rows["start"][row])
            assert read.said[places.to_numpy()].tolist() == [[expected]]
    assert len(votes.clips) == 11, "what cannot be judged has no vote"


def test_answers_are_kept_beside_what_a_probe_said_that_had_not_learnt_them(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    settings = settings_of(wood, table, tmp_path, one_label=True)
    for number in range(2):
        write_queue(queue_of(wood, tmp_path, loop=LoopSettings(one_label=True)), tmp_path / f"{number}.csv")
        fill(tmp_path / f"{number}.csv")
        read_filled([tmp_path / f"{number}.csv"], settings)
    answers = read_journal(tmp_path / "labels/anna.jsonl").answers
    first, second = answers[:12], answers[12:]
    labels = gather_labels({table.numbers[one.clip]: {"anna": one} for one in first}, BIRDS, one_label=True)
    learnt = learn(table.rows[labels.clips], labels, BIRDS)
    assert learnt is not None
    assert not any(one.predicted or one.probe for one in first)
    for one in second:
        shares = learnt.probabilities(table.rows[[table.numbers[one.clip]]])[0]
        assert [one.predicted[name] for name in BIRDS] == pytest.approx(shares, abs=1e-4)
    judged = judge_audit([one for one in answers if one.audit], BIRDS, one_label=True)
    assert judged.scored.clips == sum(one.audit for one in second) >= 1


def test_the_probe_that_was_learnt_says_of_sound_what_it_says_of_the_table_and_chooses_by_it(
    wood: Path, table: ClipTable, tmp_path: Path
) -> None:
    write_queue(queue_of(wood, tmp_path, 20, loop=LoopSettings(one_label=True)), tmp_path / "queue.csv")
    fill(tmp_path / "queue.csv")
    read_filled([tmp_path / "queue.csv"], settings_of(wood, table, tmp_path, one_label=True))
    contents = read_labels(tmp_path / "labels")
    labels = gather_labels(votes_of(table, contents), contents[0].classes, one_label=True)
    learnt = learn(table.rows[labels.clips], labels, contents[0].classes)
    assert learnt is not None
    fitted = load_probe(write_probe(table, learnt, tmp_path / "labels"))
    assert fitted.scores == {}, "no clip was left to judge this very probe by"
    by_table = learnt.probabilities(table.rows.astype(np.float64))
    assert shares_of(fitted, table) == pytest.approx(by_table, abs=1e-4)
    sound, rate = soundfile.read(wood / "recordings/wren_2.wav", dtype="float32")
    heard = fitted(torch.from_numpy(sound[: rate // 2])[None])[0]
    number = table.numbers[next(clip for clip in table.clips if clip.recording == "wren_2.wav")]
    assert heard.numpy() == pytest.approx(by_table[number], abs=1e-3)
    assert fitted.single_label

    settings = QueueSettings(
        wood / "birds.parquet", 5, None, tmp_path / "labels/probe", loop=LoopSettings(strategy="margin", audit=0.0)
    )
    chosen = [one.number for one in make_queue(settings).chosen]
    ordered = np.sort(by_table, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    assert margins[chosen] == pytest.approx(np.sort(margins)[:5], abs=1e-4)

    written = write_labels(tmp_path / "labels", wood / "recordings")
    task = read_task(tmp_path / "labels/labels.csv")
    assert written.table.clips == len(task.rows) == 20
    assert set(task.classes) <= {*BIRDS}
    assert [Path(path).name.partition("_")[0] for path in task.rows["path"]] == [row[0] for row in task.rows["labels"]]


def test_what_cannot_be_chosen_is_said(wood: Path, table: ClipTable, tmp_path: Path) -> None:
    write_queue(queue_of(wood, tmp_path, 100), tmp_path / "queue.csv")
    fill(tmp_path / "queue.csv")
    assert read_filled([tmp_path / "queue.csv"], settings_of(wood, table, tmp_path)).taken == 40
    with pytest.raises(OscineError, match=r"every clip of .* has an answer"):
        queue_of(wood, tmp_path)
    with pytest.raises(Misuse, match="a batch of 0 clips"):
        QueueSettings(wood / "birds.parquet", loop=LoopSettings(batch=0))
