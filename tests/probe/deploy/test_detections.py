"""From probabilities to detections, and on to Raven and Audacity and back."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from pandas import DataFrame
from pandas.testing import assert_frame_equal

from oscine.models.embed.settings import EmbedSettings
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.locks import lock_output
from oscine.probe.deploy.detections import find_detections, recordings_of, thresholds_of, write_detections
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.predict import predict_folder
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.tasks.kinds import TaskKind
from oscine.probe.tasks.selection_tables import BEGIN, COLUMNS, END, HEADER, HIGH, LOW, read_audacity, read_raven

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)


def rows_of(*rows: tuple[str, float, float, float, float]) -> DataFrame:
    """file, start_time, end_time, then the probabilities of owl and wren."""
    table = DataFrame(rows, columns=["file", "start_time", "end_time", "owl", "wren"])
    return table.astype({"owl": "float32", "wren": "float32"}).set_index(["file", "start_time", "end_time"])


def heard(*args: Any) -> list[tuple[str, float, float, str, float]]:
    found = find_detections(*args)
    assert list(found.columns) == COLUMNS
    assert found[["low", "high"]].isna().all(axis=None)
    return [(row.path, row.start, row.end, row.label, pytest.approx(row.score, abs=1e-6)) for row in found.itertuples()]


def test_rows_that_follow_one_another_are_one_detection_of_a_class() -> None:
    rows = rows_of(
        ("a.wav", 0, 5, 0.7, 0.1), ("a.wav", 5, 10, 0.9, 0.6), ("a.wav", 10, 15, 0.5, 0.4), ("a.wav", 15, 20, 0.1, 0.8),
        ("b.wav", 0, 5, 0.2, 0.7), ("b.wav", 5, 7.5, 0.6, 0.2),
    )  # fmt: skip
    assert heard(rows, HALF) == [
        ("a.wav", 0, 15, "owl", 0.9), ("a.wav", 5, 10, "wren", 0.6), ("a.wav", 15, 20, "wren", 0.8),
        ("b.wav", 0, 5, "wren", 0.7), ("b.wav", 5, 7.5, "owl", 0.6),
    ]  # fmt: skip


def test_windows_that_overlap_are_one_detection_and_those_with_a_gap_are_not() -> None:
    overlapping = rows_of(*(("a.wav", start, start + 5, 0.6, 0.0) for start in (0, 2.5, 5)))
    assert heard(overlapping, HALF) == [("a.wav", 0, 10, "owl", 0.6)]
    apart = rows_of(*(("a.wav", start, start + 5, 0.6, 0.0) for start in (0, 7.5, 12.5)))
    assert heard(apart, HALF) == [("a.wav", 0, 5, "owl", 0.6), ("a.wav", 7.5, 17.5, "owl", 0.6)]


def test_every_class_has_its_own_threshold_which_is_reached_by_what_equals_it() -> None:
    rows = rows_of(("a.wav", 0, 5, 0.25, 0.89), ("a.wav", 5, 10, 0.24, 0.91))
    thresholds = torch.tensor([0.25, 0.9], dtype=torch.float64)
    assert heard(rows, thresholds) == [("a.wav", 0, 5, "owl", 0.25), ("a.wav", 5, 10, "wren", 0.91)]
    assert heard(rows, HALF + 0.45) == []


def test_a_median_drops_a_lonely_frame_and_fills_a_lonely_gap() -> None:
    owl = [0.1, 0.9, 0.1, 0.1, 0.9, 0.8, 0.1, 0.7, 0.9]
    rows = rows_of(*(("a.wav", n * 0.16, (n + 1) * 0.16, value, 0.0) for n, value in enumerate(owl)))
    [(_, start, end, label, score)] = heard(rows, HALF, 3)
    assert (label, score) == ("owl", 0.9)
    assert (start, end) == (pytest.approx(0.64), pytest.approx(1.44))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of several rates and lengths, with a second of noise at another place in each; one that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number, (name, seconds, rate) in enumerate(
        [("a.wav", 4.0, 16_000), ("b/a.wav", 3.3, 44_100), ("c.flac", 2.5, 8_000), ("d.ogg", 6.1, 22_050)]
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        sound = 1e-3 * rng.standard_normal(round(seconds * rate))
        sound[number * rate // 2 : (number + 2) * rate // 2] += 0.3 * rng.standard_normal(rate)
        soundfile.write(folder / name, sound, rate)
    (folder / "none.wav").touch()
    return folder


def fitted(pool: str = "mean", **how: Any) -> FittedProbe:
    """A probe whose answers differ from clip to clip."""
    torch.manual_seed(0)
    encoder = BAT(dim=48, depth=2, heads=4, seconds=0.5).eval()
    probe = LinearProbe(encoder, 2, pool, norm="none").eval().requires_grad_(False)
    probe.fc.weight.mul_(10)
    answers = TaskKind.FRAMES if pool == "frames" else TaskKind.MULTI
    return FittedProbe(probe, encoder, {"pool": pool}, ["owl", "wren"], 0.5, answers, **how)


def middling(table: Path) -> torch.Tensor:
    """Thresholds that about half of the rows reach."""
    return torch.tensor(pd.read_parquet(table)[["owl", "wren"]].median().to_numpy(), dtype=torch.float64)


def made(learnt: FittedProbe, folder: Path, tmp_path: Path) -> tuple[FittedProbe, Path, DataFrame]:
    """The probe with thresholds, a table, and what must be found in it."""
    table = tmp_path / "out.parquet"
    predict_folder(learnt, folder, table, workers=0)
    learnt = replace(learnt, thresholds=middling(table))
    assert learnt.thresholds is not None
    found = [
        find_detections(rows, learnt.thresholds, 3 if learnt.frame_seconds else 1) for _, rows in recordings_of(table)
    ]
    return learnt, table, pd.concat(found, ignore_index=True)


def in_order(annotations: DataFrame) -> DataFrame:
    found = annotations.sort_values(["path", "start", "label"], ignore_index=True)[
        ["path", "start", "end", "label", "score"]
    ]
    return found.astype({"label": object, "start": float, "end": float, "score": float}).round(6)


@pytest.mark.parametrize("pool", ["mean", "frames"])
def test_what_is_written_for_raven_is_read_again_with_cumulative_times(folder: Path, tmp_path: Path, pool: str) -> None:
    learnt, table, expected = made(fitted(pool), folder, tmp_path)
    assert write_detections(learnt, table, folder, tmp_path / "birds.txt") == len(expected) > 5
    recordings = [folder / name for name in ("a.wav", "b/a.wav", "c.flac", "d.ogg")]
    back = read_raven(tmp_path / "birds.txt", recordings)
    expected["path"] = [str(folder / name) for name in expected["path"]]
    assert_frame_equal(in_order(back), in_order(expected), atol=2e-6)
    raven = pd.read_csv(tmp_path / "birds.txt", sep="\t")
    before = dict(zip(map(str, recordings), np.cumsum([0, 4.0, 3.3, 2.5])))
    np.testing.assert_allclose(
        raven["Begin Time (s)"], raven["Begin Path"].map(before) + raven["File Offset (s)"], atol=1e-3
    )
    assert raven["Begin Time (s)"].is_monotonic_increasing
    nyquist = dict(zip(map(str, recordings), [8000.0, 22050.0, 4000.0, 11025.0]))
    assert raven["Begin Path"].map(nyquist).tolist() == raven["High Freq (Hz)"].tolist()
    assert raven["Begin Path"].nunique() > 1
    assert raven["Begin Path"].map(lambda path: Path(path).is_absolute()).all()


def test_what_is_written_for_audacity_is_read_again_track_by_track(folder: Path, tmp_path: Path) -> None:
    learnt, table, expected = made(fitted(), folder, tmp_path)
    assert write_detections(learnt, table, folder, tmp_path / "labels") == len(expected)
    tracks = sorted(path.relative_to(tmp_path / "labels").as_posix() for path in (tmp_path / "labels").rglob("*.txt"))
    assert tracks == ["a.wav.txt", "b/a.wav.txt", "c.flac.txt", "d.ogg.txt"]
    beside = shutil.copytree(folder, tmp_path / "beside")
    for track in tracks:
        shutil.copy(tmp_path / "labels" / track, beside / track)
        back = read_audacity(beside / track, [beside / name for name in ("a.wav", "b/a.wav", "c.flac", "d.ogg")])
        own = expected[expected["path"] == track.removesuffix(".txt")].assign(
            path=str(beside / track.removesuffix(".txt"))
        )
        assert_frame_equal(in_order(back).drop(columns="score"), in_order(own).drop(columns="score"), atol=2e-6)


@pytest.mark.parametrize("pool", ["mean", "frames"])
def test_a_table_in_csv_gives_the_very_detections_of_one_in_parquet(folder: Path, tmp_path: Path, pool: str) -> None:
    folder = shutil.copytree(folder, tmp_path / "in")
    (folder / "c.flac").rename(folder / "007.flac")
    learnt, table, _ = made(fitted(pool), folder, tmp_path)
    text = tmp_path / "text.csv"
    predict_folder(learnt, folder, text, workers=0, clock="UTC")
    for rows, others in zip(recordings_of(table), recordings_of(text), strict=True):
        assert rows[0] == others[0]
        assert_frame_equal(rows[1], others[1][learnt.classes])
    counts = [write_detections(learnt, path, folder, tmp_path / f"{path.stem}.txt") for path in (table, text)]
    assert counts[0] == counts[1] > 5
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "text.txt").read_bytes()
    (tmp_path / "text.metadata.json").unlink()
    with pytest.raises(OscineError, match=r"no .*text\.metadata\.json, which says what made text\.csv; keep it beside"):
        write_detections(learnt, text, folder, tmp_path / "again.txt")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_names_that_a_spreadsheet_would_run_or_raven_cannot_hold_lose_no_detection(
    folder: Path, tmp_path: Path
) -> None:
    strange = tmp_path / "in"
    strange.mkdir()
    names = ["=1+1.wav", "\x1b]0;t\x07.wav", "a\tb.wav", "c\nd.wav", "e\\x1b.wav", os.fsdecode(b"f\xe4.wav")]
    for name in names:
        shutil.copy(folder / "a.wav", strange / name)
    learnt = replace(fitted(), classes=["=cmd|' /C calc'!A0", "-noise"], thresholds=torch.full((2,), 0.5).double())
    text, table = tmp_path / "text.csv", tmp_path / "out.parquet"
    for out in (text, table):
        predict_folder(learnt, strange, out, workers=0)
    written = text.read_text()
    assert written.replace("\n", "").isprintable()
    header, *lines = csv.reader(written.splitlines())
    assert header == ["file", "start_time", "end_time", "'=cmd|' /C calc'!A0", "'-noise"]
    assert not [line for line in lines if line[0].startswith("=")]
    for rows, others in zip(recordings_of(table), recordings_of(text), strict=True):
        assert rows[0] == others[0]
        assert_frame_equal(rows[1], others[1])
    counts = [write_detections(learnt, path, strange, tmp_path / f"{path.stem}.txt") for path in (table, text)]
    with pytest.raises(OscineError, match=r"is about .*f.xe4\.wav, whose name is no UTF-8; rename the recording"):
        read_raven(tmp_path / "out.txt", [strange / name for name in names])
    plain = tmp_path / "plain.txt"
    plain.write_text("".join(line for line in (tmp_path / "out.txt").open() if "\\xe4" not in line))
    back = read_raven(plain, [strange / name for name in names])
    assert counts == [6, 6]
    assert len(back) == 5
    assert back["path"].nunique() == 5
    assert (tmp_path / "out.txt").read_bytes() == (tmp_path / "text.txt").read_bytes()
    assert set(back["label"]) <= set(learnt.classes)


def test_detections_of_each_channel_stand_apart_and_raven_gets_the_channel(folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(3)
    folder = tmp_path
    soundfile.write(folder / "stereo.wav", 0.1 * noise.standard_normal((32000, 2)), 16000)
    learnt, table, out = (
        fitted(thresholds=torch.zeros(2).double() + 1e-9),
        tmp_path / "out.parquet",
        tmp_path / "birds.txt",
    )
    each = EmbedSettings(channel="each")
    predict_folder(learnt, folder / "stereo.wav", table, workers=0, channel="each")
    with pytest.raises(OscineError, match="was made with channel 'each', not 'mix'"):
        write_detections(learnt, table, folder / "stereo.wav", out)
    assert write_detections(learnt, table, folder / "stereo.wav", out, settings=each) == 4
    raven = pd.read_csv(out, sep="\t")
    assert sorted(zip(raven["Channel"], raven["Species"], raven["File Offset (s)"])) == [
        (1, "owl", 0.0), (1, "wren", 0.0), (2, "owl", 0.0), (2, "wren", 0.0),
    ]  # fmt: skip
    assert (raven["End Time (s)"] - raven["Begin Time (s)"] == 2.0).all()
    assert (
        write_detections(
            learnt, table, folder / "stereo.wav", tmp_path / "labels", settings=EmbedSettings(channel="each")
        )
        == 4
    )
    tracks = sorted(path.name for path in (tmp_path / "labels").iterdir())
    assert tracks == ["stereo.wav.channel_1.txt", "stereo.wav.channel_2.txt"]

    predict_folder(learnt, folder / "stereo.wav", tmp_path / "right.parquet", workers=0, channel="right")
    write_detections(
        learnt, tmp_path / "right.parquet", folder / "stereo.wav", tmp_path / "r.txt", settings=EmbedSettings(channel=2)
    )
    assert set(pd.read_csv(tmp_path / "r.txt", sep="\t")["Channel"]) == {2}


def test_a_list_may_lie_beside_its_recordings_or_name_them_from_the_root(folder: Path, tmp_path: Path) -> None:
    learnt = fitted(thresholds=torch.zeros(2).double() + 1e-9)
    listed = tmp_path / "lists" / "list.txt"
    listed.parent.mkdir()
    listed.write_text(f"{folder / 'a.wav'}\n{os.path.relpath(folder / 'd.ogg', listed.parent)}\n")
    predict_folder(learnt, listed, tmp_path / "out.parquet", workers=0)
    write_detections(learnt, tmp_path / "out.parquet", listed, tmp_path / "birds.txt")
    paths = pd.read_csv(tmp_path / "birds.txt", sep="\t")["Begin Path"]
    assert {os.path.realpath(path) for path in paths} == {str(folder / "a.wav"), str(folder / "d.ogg")}
    write_detections(learnt, tmp_path / "out.parquet", listed, tmp_path / "labels")
    tracks = list((tmp_path / "labels").rglob("*.txt"))
    assert {track.name for track in tracks} == {"a.wav.txt", "d.ogg.txt"}
    assert {path.suffix for path in folder.rglob("*.*")} == {".wav", ".flac", ".ogg"}, "nothing is written elsewhere"


def test_stretches_of_one_recording_are_not_joined(folder: Path, tmp_path: Path) -> None:
    learnt = fitted(thresholds=torch.zeros(2).double() + 1e-9)
    folder = shutil.copytree(folder, tmp_path / "in")
    (folder / "list.csv").write_text("path,start,end\na.wav,0.5,1\na.wav,1,2\na.wav,2.5,3.5\n")
    predict_folder(learnt, folder / "list.csv", tmp_path / "out.parquet", workers=0)
    write_detections(learnt, tmp_path / "out.parquet", folder / "list.csv", tmp_path / "birds.txt")
    raven = pd.read_csv(tmp_path / "birds.txt", sep="\t")
    owls = raven[raven["Species"] == "owl"]
    assert owls["File Offset (s)"].tolist() == [0.5, 2.5]
    assert owls["End Time (s)"].tolist() == [2.0, 3.5]


def test_where_nothing_is_heard_tables_and_tracks_are_empty(folder: Path, tmp_path: Path) -> None:
    learnt, table, _ = made(fitted(), folder, tmp_path)
    assert write_detections(learnt, table, folder, tmp_path / "birds.txt", threshold=1.0) == 0
    assert (tmp_path / "birds.txt").read_text().count("\n") == 1
    assert read_raven(tmp_path / "birds.txt", [folder / "a.wav"]).empty
    assert write_detections(learnt, table, folder, tmp_path / "labels", threshold=1.0) == 0
    assert {path.read_text() for path in (tmp_path / "labels").rglob("*.txt")} == {""}


def test_recordings_come_whole_though_they_reach_over_what_is_read_at_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, table, _ = made(fitted(), folder, tmp_path)
    whole = dict(recordings_of(table))
    monkeypatch.setattr("oscine.models.embed.table.ROW_GROUP", 3)
    pieces = dict(recordings_of(table))
    assert whole.keys() == pieces.keys()
    for name, rows in whole.items():
        assert_frame_equal(rows, pieces[name])
    assert_frame_equal(pd.concat(whole.values()).reset_index(), pd.read_parquet(table))


def test_thresholds_are_the_callers_else_the_probes_else_a_half() -> None:
    own = torch.tensor([0.1, 0.2], dtype=torch.float64)
    assert thresholds_of(fitted(thresholds=own), 0.7).tolist() == [0.7, 0.7]
    assert thresholds_of(fitted(thresholds=own), None).tolist() == [0.1, 0.2]
    assert thresholds_of(fitted(), None).tolist() == [0.5, 0.5]
    with pytest.raises(OscineError, match="threshold is 70, expected a probability above 0 and up to 1"):
        thresholds_of(fitted(), 70)


def test_a_table_of_another_probe_hop_or_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    learnt, table, _ = made(fitted(), folder, tmp_path)
    other = fitted()
    other.probe.fc.bias.add_(1)
    out = tmp_path / "birds.txt"
    for complaint, (*how, hop) in {
        "probe_fingerprint": (other, table, folder, out, None),
        r"hop_seconds 0\.5, not 0\.25": (learnt, table, folder, out, 0.25),
        "folder": (learnt, table, folder / "b", out, None),
    }.items():
        with pytest.raises(
            OscineError, match=rf"out\.parquet was made with {complaint}.*; choose another name"
        ) as caught:
            write_detections(*how, settings=EmbedSettings(hop=hop))
        assert "\n" not in str(caught.value)
    assert not out.exists()


def test_nothing_that_is_there_is_replaced_but_a_selection_table_where_it_may_be(folder: Path, tmp_path: Path) -> None:
    learnt, table, _ = made(fitted(), folder, tmp_path)
    raven, labels, again = tmp_path / "birds.txt", tmp_path / "labels", EmbedSettings(overwrite=True)
    raven.write_text("mine")
    labels.mkdir()
    (labels / "mine.txt").touch()
    for out, overwrite in ((raven, False), (labels, False), (labels, True), (folder, True)):
        with pytest.raises(OscineError, match=r"exists already; choose another name, or (move|replace) it"):
            write_detections(learnt, table, folder, out, settings=EmbedSettings(overwrite=overwrite))
    with pytest.raises(OscineError, match=r"birds\.txt was not written by oscine, and is not replaced"):
        write_detections(learnt, table, folder, raven, settings=again)
    assert raven.read_text() == "mine"
    by_hand = "\t".join(("Selection", "View", "Channel", BEGIN, END, LOW, HIGH, "Species"))
    raven.write_text(by_hand + "\n1\tSpectrogram 1\t1\t0.5\t1.5\t200\t4000\twren\n")
    with pytest.raises(OscineError, match=r"birds\.txt was not written by oscine, and is not replaced"):
        write_detections(learnt, table, folder, raven, settings=again)
    assert raven.read_text().startswith(by_hand)
    raven.write_text("\t".join(HEADER) + "\n")
    with lock_output(raven, "wait"), pytest.raises(OscineError, match=r"is writing .*birds\.txt; wait for it"):
        write_detections(learnt, table, folder, raven, settings=again)
    assert write_detections(learnt, table, folder, raven, settings=again) == len(raven.read_text().splitlines()) - 1
    with pytest.raises(OscineError, match=r"expected FILE\.txt for Raven, or a new folder for Audacity's labels"):
        write_detections(learnt, table, folder, tmp_path / "birds.csv")
    with pytest.raises(OscineError, match=r"no folder .*nowhere to write birds\.txt to"):
        write_detections(learnt, table, folder, tmp_path / "nowhere/birds.txt")


def test_labels_are_there_all_or_none(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt, table, _ = made(fitted(), folder, tmp_path)
    left = [2]

    def write(path: Path, content: bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr("oscine.probe.tasks.selection_tables.write_whole", write)
    with pytest.raises(KeyboardInterrupt):
        write_detections(learnt, table, folder, tmp_path / "labels")
    assert not (tmp_path / "labels").exists()
    monkeypatch.undo()
    (tmp_path / "labels").mkdir()
    write_detections(learnt, table, folder, tmp_path / "labels")
    assert len(list((tmp_path / "labels").rglob("*.txt"))) == 4
    assert not list(tmp_path.glob(".labels*"))
