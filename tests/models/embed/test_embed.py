"""A folder in, a table out: every clip once, whatever the batch and the workers; bad files listed, nothing half written."""

from __future__ import annotations

import csv
import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine import __version__
from oscine.models.audio.load import AudioError, count_clips, load_audio, split_clips
from oscine.models.audio.shard import Shard, parse_shard
from oscine.models.embed import clips
from oscine.models.embed.embed import embed_file, embed_folder
from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.embed.merge import merge_tables
from oscine.models.embed.progress import Forecast, Progress, Watcher
from oscine.models.embed.table import read_embeddings, read_table
from oscine.models.embed.table_metadata import Keys, errors_path, made_by
from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base import precision
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.eat import EAT
from oscine.models.encoders.wav2vec2 import Wav2Vec2
from oscine.models.errors import OscineError
from oscine.models.recordings.headers import scan_headers
from oscine.models.recordings.timestamps import Clock


@pytest.fixture
def encoder() -> Encoder:
    """A small encoder of clips of 0.5 s."""
    torch.manual_seed(0)
    return BAT(dim=48, depth=2, heads=4, seconds=0.5).eval()


def record(path: Path, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = np.random.default_rng(sum(path.name.encode()))
    soundfile.write(path, 0.1 * seed.standard_normal((round(seconds * rate), channels)), rate)
    return path


def folder_of(path: Path) -> Path:
    """Seven recordings of different lengths, rates and formats: 2 + 1 + 3 + 5 + 1 + 4 + 1 clips of 0.5 s."""
    record(path / "a.wav", 1.0)
    record(path / "b/A.WAV", 0.2, 8000)
    record(path / "b/c.flac", 1.3, 44100, 2)
    record(path / "b.ogg", 2.1, 22050)
    record(path / "c.mp3", 0.5)
    record(path / "d.wav", 1.9, 48000, 3)
    record(path / "e.aiff", 0.3, 32000)
    return path


def values(rows: pd.DataFrame, column: str = "embedding") -> np.ndarray:
    return np.stack(rows[column].to_list())


class Seen(Watcher):
    """Keeps what it is told; calls `then` at each progress."""

    def __init__(self, then: Callable[[Progress], None] = lambda _: None) -> None:
        self.headers: list[tuple[int, int]] = []
        self.forecasts: list[Forecast] = []
        self.reports: list[Progress] = []
        self.then = then

    def scanned(self, files: int, of_files: int) -> None:
        self.headers.append((files, of_files))

    def forecast(self, forecast: Forecast) -> None:
        self.forecasts.append(forecast)

    def progress(self, progress: Progress) -> None:
        self.reports.append(progress)
        self.then(progress)


def listed(out: Path) -> dict[str, str]:
    if not errors_path(out).exists():
        return {}
    with errors_path(out).open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "reason"]
    return dict(rows)


def by_hand(encoder: Encoder, path: Path, hop: int | None = None) -> np.ndarray:
    waveform, samples = load_audio(path, encoder.sample_rate), encoder.samples
    step = hop or samples
    starts = range(0, count_clips(len(waveform), samples, step) * step, step)
    with torch.inference_mode():
        return np.stack([pooled(encoder, waveform[start : start + samples]) for start in starts])


def pooled(encoder: Encoder, clip: torch.Tensor) -> np.ndarray:
    """Of a clip that the frontend fills up if it is too short."""
    spectrogram = encoder.frontend(clip[None], frames=encoder.frontend.frames(encoder.samples))
    return encoder.pool(encoder.encode(spectrogram)[-1])[0].numpy()


def test_every_clip_of_every_recording_is_a_row_in_the_order_of_file_and_time(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    summary = embed_folder(encoder, folder, tmp_path / "out.parquet")
    rows = pd.read_parquet(tmp_path / "out.parquet")
    assert list(rows.columns) == ["file", "start_time", "end_time", "embedding"]
    counts = rows.groupby("file", sort=False).size()
    assert dict(counts) == {"a.wav": 2, "b.ogg": 5, "b/A.WAV": 1, "b/c.flac": 3, "c.mp3": 1, "d.wav": 4, "e.aiff": 1}
    assert list(counts.index) == sorted(counts.index)
    flac = rows[rows["file"] == "b/c.flac"]
    assert flac["start_time"].tolist() == [0.0, 0.5, 1.0]
    assert flac["end_time"].tolist() == [0.5, 1.0, 1.3], "silence that fills the last clip does not count"
    for name in counts.index:
        np.testing.assert_allclose(values(rows[rows["file"] == name]), by_hand(encoder, folder / name), atol=1e-5)
    assert summary[:2] == (17, 7)
    assert summary.seconds == pytest.approx(7.3)
    assert summary.listed == listed(tmp_path / "out.parquet") == {}


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (3, 1), (64, 2)])
def test_rows_depend_on_neither_batch_size_nor_workers_nor_pieces(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, workers: int
) -> None:
    folder = folder_of(tmp_path / "in")
    embed_folder(encoder, folder, tmp_path / "one.parquet", hop=0.2, workers=0)
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    monkeypatch.setattr("oscine.models.embed.table.ROW_GROUP", 4)
    embed_folder(encoder, folder, tmp_path / "two.parquet", hop=0.2, batch_size=batch_size, workers=workers)
    one, two = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one.drop(columns="embedding"), two.drop(columns="embedding"))
    np.testing.assert_allclose(values(one), values(two), atol=1e-5)
    assert pq.ParquetFile(tmp_path / "two.parquet").num_row_groups > 3


@pytest.mark.parametrize("hop", [0.1, 0.5, 0.7])
def test_a_hop_says_where_clips_begin(encoder: Encoder, tmp_path: Path, hop: float) -> None:
    path = record(tmp_path / "a.wav", 2.0)
    rows = embed_file(encoder, path, hop)
    starts = rows.index.get_level_values("start_time").to_numpy()
    assert rows.index.names == ["file", "start_time", "end_time"]
    np.testing.assert_allclose(starts, hop * np.arange(len(starts)))
    assert rows.index.get_level_values("end_time").max() <= 2.0
    np.testing.assert_allclose(rows.to_numpy(), by_hand(encoder, path, round(hop * 16000)), atol=1e-5)


def test_a_long_recording_is_never_read_whole(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(tmp_path / "a.wav", 30.0)
    lengths = []

    def watched(*asked: object) -> object:
        decoded = decode(*asked)  # type: ignore[arg-type]
        lengths.append(len(decoded.waveform))
        return decoded

    decode = clips.decode
    monkeypatch.setattr(clips, "decode", watched)
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 3)
    assert len(embed_file(encoder, path)) == 60
    assert max(lengths) <= 3 * 16000
    assert sum(lengths) == 30 * 16000


BUILDS: dict[str, Callable[[], Encoder]] = {
    "BAT": lambda: BAT(dim=48, depth=1, heads=4, seconds=0.5),
    "EAT": lambda: EAT(dim=48, depth=1, heads=4, seconds=0.5),
    "BEATs": lambda: BEATs(dim=48, depth=1, heads=4, seconds=0.5, patch_dim=24),
    "AudioMAE": lambda: AudioMAE(dim=48, depth=1, heads=4, seconds=0.5, frames=64),
    "AudioMosaic": lambda: AudioMosaic(dim=48, depth=1, heads=4, seconds=0.5, frames=64),
    "BirdMAE": lambda: BirdMAE(dim=48, depth=1, heads=4, seconds=0.5),
}


@pytest.mark.parametrize("name", BUILDS)
@pytest.mark.parametrize("seconds", [0.71, 0.502, 0.3])  # the last clip has 0.21 s, 2 ms (less than a window), 0.3 s
def test_what_is_shorter_than_a_clip_is_filled_up_as_the_recipe_says(tmp_path: Path, name: str, seconds: float) -> None:
    torch.manual_seed(0)
    encoder = BUILDS[name]().eval()
    path = record(tmp_path / "a.wav", seconds, 32000)
    np.testing.assert_allclose(embed_file(encoder, path, shortest=0).to_numpy(), by_hand(encoder, path), atol=1e-5)


@pytest.mark.parametrize("name", BUILDS)
def test_only_bird_mae_fills_up_with_silence(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    encoder = BUILDS[name]().eval()
    path = record(tmp_path / "a.wav", 0.3, 32000)
    [clip] = split_clips(load_audio(path, encoder.sample_rate), encoder.samples)
    with torch.inference_mode():
        filled = encoder(clip[None]).pooled
    assert np.allclose(embed_file(encoder, path), filled, atol=1e-4) == (name == "BirdMAE")


def test_the_rest_of_a_recording_is_scaled_by_what_it_holds_as_in_a_list(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Wav2Vec2(32, 1, 2, conv_dim=16, conv_width=16, conv_groups=2, normalise=True, seconds=0.5).eval()
    waveform = load_audio(record(tmp_path / "a.wav", 0.7), encoder.sample_rate)
    samples = encoder.samples
    with torch.inference_mode():
        bare = encoder([waveform[:samples], waveform[samples:]]).pooled
        filled = encoder(split_clips(waveform, samples)).pooled
    made = embed_file(encoder, tmp_path / "a.wav").to_numpy()
    np.testing.assert_allclose(made, bare, atol=1e-5)
    assert np.abs(made - filled.numpy()).max(1)[1] > 0.01, "which split_clips says"


def test_the_table_says_what_made_it(encoder: Encoder, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1.0)
    encoder.provenance = {"model": "mine", "repository": "me/mine", "revision": "abc", "sha256": "123"}
    embed_folder(encoder, tmp_path, tmp_path / "out.parquet", hop=0.25)
    schema = pq.read_schema(tmp_path / "out.parquet")
    said = json.loads(schema.metadata[b"oscine"])
    folder, content = said.pop("folder"), said.pop("content")
    assert folder["recordings"] == 1
    assert (content["rows"], content["recordings"], content["listed"]) == (3, 1, 0)
    expected = {
        "version": __version__, "torch": torch.__version__, "model": "mine", "repository": "me/mine",
        "revision": "abc", "weights": "123",
        "fingerprint": fingerprint(encoder), "architecture": "BAT", "frontend": "BATFrontend", "config": encoder.config,
        "dim": 48, "sample_rate": 16000, "clip_seconds": 0.5, "hop_seconds": 0.25, "dtype": "float32",
        "columns": {"embedding": {"pool": "pooled", "layer": 1}}, "precision": "float32", "compiled": False, "clock": None,
        "shard": "1/1", "channel": "mix", "shortest": 0.05,
    }  # fmt: skip
    assert said == expected
    assert str(schema.field("embedding").type) == "fixed_size_list<element: float>[48]"


def test_the_encoder_and_the_random_numbers_are_left_as_they_were(encoder: Encoder, tmp_path: Path) -> None:
    path = record(tmp_path / "a.wav", 1.0)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    encoder.train()
    state = torch.get_rng_state()
    rows = embed_file(encoder, path)
    assert encoder.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    np.testing.assert_array_equal(rows, embed_file(encoder.eval(), path))


def test_progress_rises_to_all_files_clips_and_seconds(encoder: Encoder, tmp_path: Path) -> None:
    (folder_of(tmp_path / "in") / "f.wav").write_bytes(b"no sound")
    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", batch_size=2, watcher=(seen := Seen()))
    first, last = seen.reports[0], seen.reports[-1]
    assert (first.files, first.clips, first.seconds) == (0, 0, 0.0)
    assert (last.files, last.clips) == (last.of_files, last.of_clips) == (7, 17)
    assert last.seconds == pytest.approx(last.of_seconds) == pytest.approx(7.3)
    assert all(now.seconds <= after.seconds and now.files <= after.files for now, after in pairwise(seen.reports))
    assert len(seen.reports) > 15
    assert seen.headers == [(number, 8) for number in range(1, 9)]


def test_what_was_found_and_what_it_costs_is_said_before_the_first_clip(encoder: Encoder, tmp_path: Path) -> None:
    (folder_of(tmp_path / "in") / "f.wav").write_bytes(b"no sound")
    seen = Seen(lambda progress: told.append((progress.clips, len(seen.forecasts))))
    told: list[tuple[int, int]] = []
    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", watcher=seen)
    [said] = seen.forecasts
    assert told[0] == (0, 1)
    assert (len(said.found.recordings), said.clips, said.clips_done) == (7, 17, 0)
    assert list(said.found.listed) == ["f.wav"]
    assert said.size == 17 * 48 * 4
    assert said.free > said.size


def test_a_disk_without_room_is_said_before_any_work(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path / "in")
    monkeypatch.setattr(
        "oscine.models.embed.estimate.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(9000, 4000, 5000)
    )
    with pytest.raises(OscineError, match=r"its journal need 6\.5 kB, the disk has 5\.0 kB; make room"):
        embed_folder(encoder, folder, tmp_path / "out.parquet", watcher=(seen := Seen()))
    assert seen.reports == []
    embed_folder(encoder, folder, tmp_path / "out.parquet", dtype="float16")


def test_bad_recordings_are_listed_and_the_good_ones_embedded(encoder: Encoder, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = record(folder / "good.wav", 1.0)
    (folder / "empty.wav").touch()
    (folder / "page.mp3").write_text("<!DOCTYPE html>" * 40)
    (folder / "phone.m4a").write_bytes(b"ftyp")
    (folder / "gone.wav").symlink_to(folder / "nowhere")
    record(folder / "silent.wav", 0.0)
    sound = np.zeros(16000, dtype=np.float32)
    sound[9000] = np.nan
    soundfile.write(folder / "nan.wav", sound, 16000, subtype="FLOAT")
    out = tmp_path / "out.parquet"
    summary = embed_folder(encoder, folder, out)
    rows = pd.read_parquet(out)
    assert set(rows["file"]) == {"good.wav"}
    np.testing.assert_allclose(values(rows), by_hand(encoder, good), atol=1e-5)
    reasons = {
        "empty.wav": "is empty", "gone.wav": "no such file", "nan.wav": "not a number", "page.mp3": "no audio",
        "phone.m4a": "M4A files are not read", "silent.wav": "holds no samples",
    }  # fmt: skip
    assert list(listed(out)) == sorted(reasons)
    assert all(reason in listed(out)[name] for name, reason in reasons.items())
    assert summary.listed == listed(out)


def test_numbers_gone_wrong_late_in_a_recording_refuse_all_of_it(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    sound = np.full(16000 * 4, 0.1, dtype=np.float32)
    sound[16000 * 2] = np.inf
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in/a.wav", sound, 16000, subtype="FLOAT")
    record(tmp_path / "in/b.wav", 1.0)
    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", batch_size=1)
    assert pd.read_parquet(tmp_path / "out.parquet")["file"].tolist() == ["b.wav", "b.wav"]
    assert list(listed(tmp_path / "out.parquet")) == ["a.wav"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize("hop", [0.5, 0.2])
def test_of_a_recording_cut_short_the_readable_part_is_embedded_and_the_file_listed(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, hop: float
) -> None:
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    path = record(tmp_path / f"in/a.{suffix}", 8.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    record(tmp_path / "in/b.wav", 1.0)
    out = tmp_path / "out.parquet"
    embed_folder(encoder, tmp_path / "in", out, hop=hop, batch_size=4)
    rows = pd.read_parquet(out)
    first = rows[rows["file"] == f"a.{suffix}"]
    waveform = load_audio(path, 16000)
    assert 2.0 < len(waveform) / 16000 < 5.5
    assert first["end_time"].max() == pytest.approx(len(waveform) / 16000, abs=0.01)
    np.testing.assert_allclose(
        values(first)[:-1], by_hand(encoder, path, round(hop * 16000))[: len(first) - 1], atol=1e-5
    )
    assert len(rows[rows["file"] == "b.wav"]) > 0
    assert [(name, reason.split(":")[0]) for name, reason in listed(out).items()] == [(path.name, "truncated")]


@pytest.mark.parametrize("suffix", ["parquet", "npz", "csv"])
def test_a_folder_of_bad_files_alone_gives_an_empty_table(encoder: Encoder, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a.wav").touch()
    out = tmp_path / f"out.{suffix}"
    assert embed_folder(encoder, tmp_path, out).rows == 0
    read = {"parquet": pd.read_parquet, "npz": lambda path: np.load(path)["embedding"], "csv": pd.read_csv}[suffix]
    assert len(read(out)) == 0
    assert list(listed(out)) == ["a.wav"]


def test_a_name_that_is_no_text_is_spelled_out(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    good = record(tmp_path / "good.wav", 0.5)
    good.rename(os.fsdecode(os.fsencode(tmp_path / "in") + b"/B\xe4r.wav"))
    Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/l\xe4rm.wav")).touch()
    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet")
    assert pd.read_parquet(tmp_path / "out.parquet")["file"].tolist() == [r"B\xe4r.wav"]
    assert list(listed(tmp_path / "out.parquet")) == [r"l\xe4rm.wav"]


def test_a_file_that_vanishes_is_listed(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")

    vanish = Seen(lambda _: (folder / "d.wav").unlink(missing_ok=True))
    embed_folder(encoder, folder, tmp_path / "out.parquet", workers=0, watcher=vanish)
    assert "no such file" in listed(tmp_path / "out.parquet")["d.wav"]
    assert pd.read_parquet(tmp_path / "out.parquet")["file"].nunique() == 6


def test_embed_file_raises_for_a_bad_file_and_warns_of_one_cut_short(
    encoder: Encoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioError, match=r"a\.wav: is empty"):
        embed_file(encoder, tmp_path / "a.wav")
    soundfile.write(tmp_path / "n.wav", np.full(9000, np.nan, dtype=np.float32), 16000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"n\.wav: .* not a number"):
        embed_file(encoder, tmp_path / "n.wav")
    path = record(tmp_path / "b.wav", 2.0)
    path.write_bytes(path.read_bytes()[:40000])
    with caplog.at_level(logging.WARNING):
        assert len(embed_file(encoder, path)) == 3
    assert "truncated" in caplog.text
    assert "b.wav" in caplog.text


def test_what_cannot_work_is_refused_before_any_work(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    out = tmp_path / "out.parquet"
    out.touch()
    for path, complaint in [
        (out, "exists already"),
        (
            tmp_path / "out.h5",
            r"must end in \.parquet, \.npz, \.csv; call it out\.csv for Excel or R, out\.parquet for Python",
        ),
        (tmp_path / "no/out.parquet", "no folder .*no to write out.parquet to"),
    ]:
        with pytest.raises(OscineError, match=complaint):
            embed_folder(encoder, folder, path)
    for hop in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OscineError, match=r"hop is .* expected more than 0"):
            embed_folder(encoder, folder, out, hop=hop, overwrite=True)
    with pytest.raises(OscineError, match="batch_size is 0"):
        embed_folder(encoder, folder, out, batch_size=0, overwrite=True)
    with pytest.raises(OscineError, match="workers is -1"):
        embed_folder(encoder, folder, out, workers=-1, overwrite=True)
    (tmp_path / "none").mkdir()
    with pytest.raises(OscineError, match="no recordings in"):
        embed_folder(encoder, tmp_path / "none", out, overwrite=True)
    settings: list[tuple[dict[str, Any], str]] = [
        ({"dtype": "float64"}, "no dtype 'float64'; choose from float32, float16"),
        (
            {"clock": "Mars/Olympus"},
            "no time zone 'Mars/Olympus'; expected UTC, a name such as Europe/Berlin, or local",
        ),
    ]
    for wrong, complaint in settings:
        with pytest.raises(OscineError, match=complaint):
            embed_folder(encoder, folder, out, overwrite=True, **wrong)
    assert out.read_bytes() == b""
    assert not (tmp_path / "out.parquet.journal").exists()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"precision": "int8"}, "no precision 'int8'; choose from auto, float32, bfloat16"),
        ({"pools": ["max"]}, "pools max; choose from pooled, cls, mean"),
        ({"pools": []}, "pools are none; choose from"),
        ({"pools": ["cls"], "layers": [2]}, "layer 2 of an encoder with 2: choose from 0 to 1"),
        (
            {"layers": [0]},
            r"pooled is of the last layer alone; layers go with the pools cls, mean: give one as well \(--pools mean, ",
        ),
    ],
)
def test_vectors_that_cannot_be_are_refused(encoder: Encoder, wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        EmbeddingExtractor(encoder, **wrong)


def test_a_folder_of_every_odd_and_every_broken_file_is_finished(
    encoder: Encoder, recordings: Path, tmp_path: Path
) -> None:
    for pack in ("formats", "broken"):
        shutil.copytree(recordings / pack, tmp_path / "in" / pack, copy_function=shutil.copyfile)
    (tmp_path / "in").chmod(0o755)
    summary = embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", hop=5.0)
    reasons = {
        "broken/corrupt_middle.mp3": "damaged: can be decoded up to 4.935 s of 10.000 s",
        "broken/empty.wav": "is empty (0 bytes)",
        "broken/html.mp3": "is no audio",
        "broken/nan_inf.wav": "has samples that are infinite or not a number",
        "broken/truncated.flac": "truncated: holds 4.896 s of the 10.000 s",
        "broken/truncated.mp3": "truncated: holds 4.899 s of the 10.000 s",
        "broken/truncated.ogg": "truncated: its last Ogg page is missing",
        "broken/truncated.wav": "truncated: holds 3.377 s of the 10.133 s",
        "formats/empty_2c.wav": "holds no samples",
    }
    assert list(summary.listed) == list(reasons)
    assert all(summary.listed[name].startswith(reason) for name, reason in reasons.items())
    files = set(pd.read_parquet(tmp_path / "out.parquet")["file"])
    assert len(files) == 25
    assert {name for name, reason in reasons.items() if reason.startswith("truncated")} <= files


def test_layers_and_pools_are_columns_that_say_what_they_are(encoder: Encoder, tmp_path: Path) -> None:
    path = record(tmp_path / "in/a.wav", 1.0)
    out = tmp_path / "out.parquet"
    embed_folder(EmbeddingExtractor(encoder, [-1, 0, 1], ["mean", "cls", "pooled"]), tmp_path / "in", out)
    rows = pd.read_parquet(out)
    assert list(rows.columns)[3:] == ["embedding", "cls_1", "mean_1", "cls_0", "mean_0"]
    with torch.inference_mode():
        features = encoder(load_audio(path, 16000).view(2, -1))
    np.testing.assert_allclose(values(rows), features.pooled, atol=1e-5)
    for layer in (0, 1):
        np.testing.assert_allclose(values(rows, f"cls_{layer}"), features.cls[layer], atol=1e-5)
        np.testing.assert_allclose(values(rows, f"mean_{layer}"), features.patches[layer].mean((1, 2)), atol=1e-5)
    said = json.loads(pq.read_schema(out).metadata[b"oscine"])["columns"]
    assert said["mean_0"] == {"pool": "mean", "layer": 0}
    alone = embed_file(EmbeddingExtractor(encoder, [0], ["mean"]), path)
    np.testing.assert_allclose(alone[[f"mean_0_{n}" for n in range(48)]], values(rows, "mean_0"), atol=1e-5)


def test_a_table_reads_back_as_a_frame_by_file_and_time(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    embed_folder(encoder, folder, tmp_path / "out.parquet")
    rows = read_embeddings(tmp_path / "out.parquet")
    assert rows.index.names == ["file", "start_time", "end_time"]
    assert list(rows.columns) == [f"embedding_{number}" for number in range(48)]
    alone = embed_file(encoder, folder / "b.ogg")
    np.testing.assert_allclose(rows.loc["b.ogg"], alone, atol=1e-5)
    assert list(alone.columns) == list(rows.columns)


def test_what_is_no_table_of_embeddings_is_not_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no table")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    for path, complaint in [
        (tmp_path / "none.parquet", r"no table .*none\.parquet; check the path"),
        (tmp_path / "text.parquet", r"text\.parquet is no Parquet file; expected .*--out text\.parquet"),
        (tmp_path, "is no Parquet file; expected"),
        (tmp_path / "other.parquet", r"other\.parquet was not written by oscine embed"),
    ]:
        with pytest.raises(OscineError, match=complaint):
            read_embeddings(path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_format_holds_the_same_numbers(encoder: Encoder, tmp_path: Path, dtype: str) -> None:
    folder = tmp_path / "in"
    record(folder / 'odd, "name".wav', 1.3)
    record(folder / "SMM0_20240501_043000.wav", 0.7)
    outs = [tmp_path / f"{suffix}.{suffix}" for suffix in ("parquet", "npz", "csv")]
    for out in outs:
        embed_folder(EmbeddingExtractor(encoder, pools=["pooled", "cls"]), folder, out, dtype=dtype, clock="UTC")
    rows = pd.read_parquet(outs[0])
    archive = np.load(outs[1])
    table = pd.read_csv(outs[2])
    assert values(rows).dtype == archive["embedding"].dtype == dtype
    assert table["file"].tolist() == archive["file"].tolist() == rows["file"].tolist()
    for key in ("start_time", "end_time"):
        np.testing.assert_array_equal(archive[key], rows[key])
        np.testing.assert_array_equal(table[key], rows[key])
    for column in ("embedding", "cls_1"):
        np.testing.assert_array_equal(archive[column], values(rows, column))
        spread = table[[f"{column}_{number}" for number in range(48)]].to_numpy()
        np.testing.assert_array_equal(spread.astype(np.float32).astype(dtype), values(rows, column))
    assert archive["recorded"].tolist()[0] == datetime(2024, 5, 1, 4, 30)
    assert np.isnat(archive["recorded"][-1])
    assert table["recorded"].iloc[1].startswith("2024-05-01 04:30:00.5")
    said = [
        pq.read_schema(outs[0]).metadata[b"oscine"],
        str(archive["oscine"]),
        (tmp_path / "csv.metadata.json").read_text(),
    ]
    assert json.loads(said[0]) == json.loads(said[1]) == json.loads(said[2])


def test_numbers_beyond_float16_are_refused_rather_than_made_infinite(encoder: Encoder, tmp_path: Path) -> None:
    record(tmp_path / "in/a.wav", 0.5)
    with torch.no_grad():
        encoder.blocks[-1].norm2.weight.fill_(1e5)  # type: ignore[union-attr, operator]
    with pytest.raises(OscineError, match="beyond float16; take dtype float32"):
        embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", dtype="float16")
    assert embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", overwrite=True).rows == 1


@pytest.mark.parametrize(
    ("name", "local", "utc"),
    [
        ("20240501_043000.WAV", datetime(2024, 5, 1, 4, 30), datetime(2024, 5, 1, 2, 30)),  # AudioMoth
        ("north/5F16A04E.WAV", datetime(2020, 7, 21, 7, 59, 10), datetime(2020, 7, 21, 7, 59, 10)),  # of old, in UTC
        ("SMM03873_20240101_000000.wav", datetime(2024, 1, 1), datetime(2023, 12, 31, 23)),  # Song Meter
        ("SwiftOne_20220719_000000_-0400.wav", datetime(2022, 7, 19), datetime(2022, 7, 19, 4)),
        ("OWL_123_2022-07-19_T00-00-00.WAV", datetime(2022, 7, 19), datetime(2022, 7, 18, 22)),
        ("20240501.wav", None, None),  # a date is no moment, and no hexadecimal number
        ("56789012.wav", None, None),  # a number, though it would do for 2015
        ("deadbeef.wav", None, None),  # in 2088
        ("XC123456.mp3", None, None),
        ("1-100032-A-0.wav", None, None),
    ],
)
def test_a_recorders_name_tells_when_it_began(name: str, local: datetime | None, utc: datetime | None) -> None:
    assert Clock("local").start_time(name) == local
    assert Clock("Europe/Berlin").start_time(name) == (utc and utc.replace(tzinfo=timezone.utc))


def test_a_clip_is_recorded_when_it_began(encoder: Encoder, tmp_path: Path) -> None:
    record(tmp_path / "in/SMM0_20240501_043000.wav", 1.2)
    record(tmp_path / "in/nobody.wav", 0.5)
    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", clock="local")
    recorded = pd.read_parquet(tmp_path / "out.parquet")["recorded"]
    assert recorded.dt.tz is None
    begin = pd.Timestamp("2024-05-01 04:30:00")
    assert recorded.tolist()[:3] == [begin + pd.Timedelta(seconds=second) for second in (0, 0.5, 1)]
    assert recorded.isna().tolist() == [False] * 3 + [True]


def test_shards_share_a_folder_by_name_and_merge_as_one_job_would_have_written(
    encoder: Encoder, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "in")
    (folder / "x.wav").touch()
    (folder / "y.m4a").touch()
    encoder.provenance = {"model": "local-dir:here"}
    embed_folder(encoder, folder, tmp_path / "one.parquet", hop=0.3)
    shards = [tmp_path / f"{number}.parquet" for number in (1, 2, 3, 4)]
    for number, path in enumerate(shards, 1):
        encoder.provenance = {"model": "local-dir:here" if number == 4 else f"local-dir:./{number}/../here"}
        embed_folder(encoder, folder, path, hop=0.3, shard=Shard(number, 4))
    assert sum(pq.read_metadata(path).num_rows > 0 for path in shards) > 1
    summary = merge_tables(tmp_path / "all.parquet", reversed(shards))  # type: ignore[arg-type]
    one, joined = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("one", "all"))
    pd.testing.assert_frame_equal(one.drop(columns="embedding"), joined.drop(columns="embedding"))
    np.testing.assert_allclose(values(one), values(joined), atol=1e-5)
    assert listed(tmp_path / "one.parquet") == listed(tmp_path / "all.parquet") == summary.listed
    assert pq.read_schema(tmp_path / "one.parquet").metadata == pq.read_schema(tmp_path / "all.parquet").metadata
    merge_tables(tmp_path / "other.npz", shards)
    np.testing.assert_array_equal(np.load(tmp_path / "other.npz")["embedding"], values(joined))
    with pytest.raises(OscineError, match=r"all\.parquet exists already"):
        merge_tables(tmp_path / "all.parquet", shards)
    merge_tables(tmp_path / "all.npz", shards)
    with pytest.raises(OscineError, match="no tables to join; name those of all shards"):
        merge_tables(tmp_path / "none.parquet", [])


def test_merging_leaves_no_other_files_than_its_own(encoder: Encoder, tmp_path: Path) -> None:
    record(tmp_path / "in/a.wav", 0.5)
    embed_folder(encoder, tmp_path / "in", tmp_path / "1.parquet")
    theirs = tmp_path / ".all.parquet.part/diary.txt"
    theirs.parent.mkdir()
    theirs.write_text("mine")
    before = set(tmp_path.rglob("*"))
    merge_tables(tmp_path / "all.parquet", [tmp_path / "1.parquet"])
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "all.parquet"}
    assert theirs.read_text() == "mine"


@pytest.mark.parametrize(
    ("out", "theirs"), [("x.npz", "x.npz.errors.csv"), ("x.csv", "x.csv.errors.csv"), ("x.csv", "x.metadata.json")]
)
def test_somebodys_files_beside_the_table_are_never_replaced(
    encoder: Encoder, tmp_path: Path, out: str, theirs: str
) -> None:
    record(tmp_path / "in/a.wav", 0.5)
    (tmp_path / theirs).write_text("mine")
    with pytest.raises(OscineError, match=f"{theirs} exists already; choose another name"):
        embed_folder(encoder, tmp_path / "in", tmp_path / out)
    assert (tmp_path / theirs).read_text() == "mine"
    assert not (tmp_path / out).exists()
    with pytest.raises(OscineError, match=f"{theirs} was not written by oscine, and is not replaced"):
        embed_folder(encoder, tmp_path / "in", tmp_path / out, overwrite=True)
    assert (tmp_path / theirs).read_text() == "mine"


def test_a_new_recording_changes_no_other_ones_shard(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    before = [{recording.name for recording in scan_headers(folder, Shard(n, 3)).recordings} for n in (1, 2, 3)]
    record(folder / "aa.wav", 0.5)
    after = [{recording.name for recording in scan_headers(folder, Shard(n, 3)).recordings} for n in (1, 2, 3)]
    assert [names - {"aa.wav"} for names in after] == before
    everyone = sorted(name for names in before for name in names)
    assert everyone == ["a.wav", "b.ogg", "b/A.WAV", "b/c.flac", "c.mp3", "d.wav", "e.aiff"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/2/3", "-1/3"])
def test_a_shard_is_a_number_of_a_number(text: str) -> None:
    with pytest.raises(OscineError, match="expected NUMBER/OF with numbers from 1"):
        parse_shard(text)
    assert parse_shard("2/8") == (2, 8)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_many_shards_are_joined_with_few_files_open(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    record(tmp_path / "in/a.wav", 0.5)
    one, of = tmp_path / "one.parquet", 300
    embed_folder(encoder, tmp_path / "in", one)
    table = read_table(one)
    made = made_by(table.schema, one)
    shards = []
    for number in range(1, of + 1):
        rows = table.set_column(0, table.schema.field(0), pa.array([f"{number:03}.wav"]))
        keys = Keys()
        keys.add(rows)
        about = made | {"shard": f"{number}/{of}", "content": keys.describe(0)}
        pq.write_table(
            rows.replace_schema_metadata({"oscine": json.dumps(about)}), path := tmp_path / f"{number}.parquet"
        )
        shards.append(path)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, limits[1]))
    try:
        assert merge_tables(tmp_path / "all.parquet", shards[::-1]).rows == of
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert read_table(tmp_path / "all.parquet")["file"].to_pylist() == [
        f"{number:03}.wav" for number in range(1, of + 1)
    ]


def test_shards_that_do_not_belong_together_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    one, two, three = (tmp_path / f"{number}.parquet" for number in (1, 2, 3))

    def make(path: Path, number: int, of: int = 2, **how: object) -> None:
        embed_folder(encoder, folder, path, shard=Shard(number, of), overwrite=True, **how)  # type: ignore[arg-type]

    def refused(complaint: str, *paths: Path) -> None:
        with pytest.raises(OscineError, match=complaint) as caught:
            merge_tables(tmp_path / "all.parquet", paths)
        assert "\n" not in str(caught.value)

    make(one, 1)
    make(two, 2)
    refused("shard 2/2 is missing", one)
    refused("shard 1/2 is given twice", one, one, two)
    refused(r"no table .*9\.parquet", one, tmp_path / "9.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    refused(r"text\.parquet is no Parquet file", one, tmp_path / "text.parquet")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    refused(r"other\.parquet was not written by oscine embed", one, tmp_path / "other.parquet")
    make(three, 2, 3)
    refused(r"3\.parquet does not belong to .*1\.parquet: it was made with shard '2/3', not '1/2'", one, three)
    make(three, 2, hop=0.25)
    refused(r"3\.parquet does not belong to .*1\.parquet: it was made with hop_seconds 0\.25, not 0\.5", one, three)
    make(three, 2, dtype="float16")
    refused("dtype 'float16', not 'float32'", one, three)
    record(folder / "new.wav", 0.5)
    make(three, 2)
    refused("was made when the folder held 7 recordings, .* when it held 8", one, three)
    (folder / "empty.wav").touch()
    make(one, 1)
    make(two, 2)
    [errors] = tmp_path.glob("*.errors.csv")
    errors.unlink()
    refused(r"no error list .*\.parquet\.errors\.csv", one, two)
    assert not list(tmp_path.glob("*all*"))


def test_bfloat16_is_close_and_said_in_the_table(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "survives_bfloat16", lambda: True)  # without asking this processor
    folder = folder_of(tmp_path / "in")
    embed_folder(encoder, folder, tmp_path / "exact.parquet")
    with torch.backends.mkldnn.flags(enabled=False):  # see the fixture `bfloat16`
        embed_folder(EmbeddingExtractor(encoder, precision="bfloat16"), folder, tmp_path / "half.parquet")
    exact, half = (values(pd.read_parquet(tmp_path / f"{name}.parquet")) for name in ("exact", "half"))
    assert half.dtype == np.float32
    assert np.abs(exact - half).max() > 1e-5
    cosine = (exact * half).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999
    assert json.loads(pq.read_schema(tmp_path / "half.parquet").metadata[b"oscine"])["precision"] == "bfloat16"


@pytest.mark.parametrize(
    ("device", "able", "expected"),
    [("cuda", True, "bfloat16"), ("cuda", False, "float32"), ("cpu", True, "float32"), ("mps", True, "float32")],
)
def test_auto_is_chosen_by_the_device_alone(
    monkeypatch: pytest.MonkeyPatch, device: str, able: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able and not including_emulation)
    monkeypatch.setattr(precision, "survives_bfloat16", lambda: True)  # a CPU that would be faster so
    assert precision.choose_precision("auto", torch.device(device)) == expected


def test_tables_of_one_machine_agree_whether_the_job_is_short_long_or_a_shard(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "oscine.models.embed.extractor.choose_precision", lambda asked, device: f"{asked} of a {device.type}"
    )
    monkeypatch.setattr("oscine.models.embed.extractor.computing", lambda *_: nullcontext())
    folder, vectors = folder_of(tmp_path / "in"), EmbeddingExtractor(encoder, precision="auto")
    whole, parts = tmp_path / "whole.parquet", [tmp_path / f"{number}.parquet" for number in (1, 2)]
    embed_folder(vectors, folder, whole)
    for number, part in enumerate(parts, 1):
        embed_folder(vectors, folder, part, shard=Shard(number, 2))
    assert {json.loads(pq.read_schema(path).metadata[b"oscine"])["precision"] for path in (whole, *parts)} == {
        "auto of a cpu"
    }
    merge_tables(tmp_path / "merged.parquet", parts)
    np.testing.assert_array_equal(*(values(pd.read_parquet(path)) for path in (whole, tmp_path / "merged.parquet")))


def test_shards_in_two_precisions_are_refused_with_what_would_do(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "survives_bfloat16", lambda: True)
    folder, parts = folder_of(tmp_path / "in"), [tmp_path / f"{number}.parquet" for number in (1, 2)]
    with torch.backends.mkldnn.flags(enabled=False):  # see the fixture `bfloat16`
        for number, (part, asked) in enumerate(zip(parts, ("float32", "bfloat16")), 1):
            embed_folder(EmbeddingExtractor(encoder, precision=asked), folder, part, shard=Shard(number, 2))
    with pytest.raises(
        OscineError, match=r"precision 'bfloat16', not 'float32'; make one of them again with the other's"
    ):
        merge_tables(tmp_path / "merged.parquet", parts)


@pytest.mark.parametrize(("precision", "coarse"), [("float32", False), ("bfloat16", True)])
def test_float32_means_no_coarser_convolutions_on_a_gpu(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, precision: str, coarse: bool
) -> None:
    monkeypatch.setattr("oscine.models.encoders.base.precision.survives_bfloat16", lambda: True)
    seen: list[bool] = []
    vectors = EmbeddingExtractor(encoder, precision=precision)
    encoder.patch_embed.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    with torch.backends.mkldnn.flags(enabled=False):
        vectors([torch.zeros(encoder.samples)])
    assert seen == [coarse]
    assert torch.backends.cudnn.allow_tf32 == before


def test_bfloat16_that_would_kill_the_process_is_refused(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "TRIAL", "import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    precision.survives_bfloat16.cache_clear()
    with pytest.raises(OscineError, match=r"dies of them .*; use float32"):
        EmbeddingExtractor(encoder, precision="bfloat16")
    monkeypatch.setattr(precision, "TRIAL", "")
    precision.survives_bfloat16.cache_clear()
    assert precision.survives_bfloat16()
    precision.survives_bfloat16.cache_clear()


def test_without_a_compiler_compiled_is_refused_in_one_line(encoder: Encoder, tmp_path: Path) -> None:
    from torch._inductor import config

    record(tmp_path / "in/a.wav", 0.5)
    # torch's own patch: pytest's leaves an option that is another one's alias unreadable behind it.
    without = config.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    refused = pytest.raises(
        OscineError, match=r"torch\.compile failed \(.*\); install a C\+\+ compiler.* do not compile"
    )
    with without, refused as caught:
        embed_folder(EmbeddingExtractor(encoder, compiled=True), tmp_path / "in", tmp_path / "out.parquet")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="no C++ compiler here")
def test_compiled_vectors_are_the_same_whatever_is_left_for_the_last_batch(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    embed_folder(encoder, folder, tmp_path / "plain.parquet", batch_size=4)
    embed_folder(EmbeddingExtractor(encoder, compiled=True), folder, tmp_path / "compiled.parquet", batch_size=4)
    plain, compiled = (values(pd.read_parquet(tmp_path / f"{name}.parquet")) for name in ("plain", "compiled"))
    np.testing.assert_allclose(plain, compiled, atol=1e-4)


@pytest.mark.slow
def test_memory_stays_flat_over_thousands_of_files(encoder: Encoder, tmp_path: Path) -> None:
    one = record(tmp_path / "one.wav", 0.4)
    (tmp_path / "in").mkdir()
    for number in range(5000):
        shutil.copyfile(one, tmp_path / f"in/{number:04d}.wav")
    resident: dict[int, float] = {}

    def look(progress: Progress) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        resident[progress.clips] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", watcher=Seen(look))
    early = max(megabytes for clips, megabytes in resident.items() if clips <= 1500)
    late = max(megabytes for clips, megabytes in resident.items() if clips > 1500)
    assert late - early < 10, f"{early:.0f} MB after 1,500 files, {late:.0f} MB at the end"
