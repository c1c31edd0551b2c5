"""A folder in, a table out: every clip once, whatever the batch and the workers; bad files listed, nothing half written."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine import __version__
from oscine.cli import dispatch
from oscine.models import windows
from oscine.models.audio import AudioError, load_audio, split_clips
from oscine.models.bat import BAT
from oscine.models.bird_mae import BirdMAE
from oscine.models.embed import Progress, embed_file, embed_folder
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import save_pretrained


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


def values(rows: pd.DataFrame) -> np.ndarray:
    return np.stack(rows["embedding"].to_list())


def listed(out: Path) -> dict[str, str]:
    with out.with_suffix(".errors.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["file", "reason"]
    return dict(rows)


def by_hand(encoder: Encoder, path: Path, hop: int | None = None) -> np.ndarray:
    clips = split_clips(load_audio(path, encoder.sample_rate), encoder.samples, hop)
    with torch.inference_mode():
        return np.stack([encoder(clip[None]).pooled[0].numpy() for clip in clips])


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
    monkeypatch.setattr(windows, "PIECE_SECONDS", 1)
    monkeypatch.setattr("oscine.models.table.ROW_GROUP", 4)
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

    decode = windows.decode
    monkeypatch.setattr(windows, "decode", watched)
    monkeypatch.setattr(windows, "PIECE_SECONDS", 3)
    assert len(embed_file(encoder, path)) == 60
    assert max(lengths) <= 3 * 16000
    assert sum(lengths) == 30 * 16000


def test_bird_mae_fills_up_short_recordings_too(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = BirdMAE(dim=48, depth=1, heads=4).eval()
    path = record(tmp_path / "a.flac", 6.0, 44100)
    np.testing.assert_allclose(embed_file(encoder, path).to_numpy(), by_hand(encoder, path), atol=1e-5)


def test_the_table_says_what_made_it(encoder: Encoder, tmp_path: Path) -> None:
    record(tmp_path / "a.wav", 1.0)
    embed_folder(encoder, tmp_path, tmp_path / "out.parquet", hop=0.25, model="mine", weights="random")
    schema = pq.read_schema(tmp_path / "out.parquet")
    said = json.loads(schema.metadata[b"oscine"])
    expected = {
        "version": __version__, "model": "mine", "weights": "random", "architecture": "BAT", "dim": 48,
        "sample_rate": 16000, "clip_seconds": 0.5, "hop_seconds": 0.25, "config": encoder.config,
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


def test_progress_rises_to_all_files_and_all_seconds(encoder: Encoder, tmp_path: Path) -> None:
    seen: list[Progress] = []
    (folder_of(tmp_path / "in") / "f.wav").write_bytes(b"no sound")
    embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", batch_size=2, progress=seen.append)
    assert (seen[0].files, seen[0].seconds) == (0, 0.0)
    assert (seen[-1].files, seen[-1].of_files) == (7, 7)
    assert seen[-1].seconds == pytest.approx(7.3)
    assert seen[-1].of_seconds == pytest.approx(7.3)
    assert all(now.seconds <= after.seconds and now.files <= after.files for now, after in pairwise(seen))
    assert len(seen) > 5


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
    monkeypatch.setattr(windows, "PIECE_SECONDS", 1)
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
    monkeypatch.setattr(windows, "PIECE_SECONDS", 1)
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


def test_a_folder_of_bad_files_alone_gives_an_empty_table(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    assert embed_folder(encoder, tmp_path, tmp_path / "out.parquet").rows == 0
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 0
    assert list(listed(tmp_path / "out.parquet")) == ["a.wav"]


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

    def vanish(_: Progress) -> None:
        (folder / "d.wav").unlink(missing_ok=True)

    embed_folder(encoder, folder, tmp_path / "out.parquet", workers=0, progress=vanish)
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


def test_nothing_is_left_half_written(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "in")
    (tmp_path / "place").mkdir()
    out = tmp_path / "place/out.parquet"

    def stop(now: Progress) -> None:
        if now.files:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_folder(encoder, folder, out, batch_size=1, progress=stop)
    assert list(out.parent.iterdir()) == []

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OscineError, match=r"out\.parquet could not be written \(No space left on device\)"):
        embed_folder(encoder, folder, out)
    assert list(out.parent.iterdir()) == []


def test_a_failed_run_leaves_the_table_it_should_overwrite(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    out = tmp_path / "out.parquet"
    embed_folder(encoder, folder, out)
    before = out.read_bytes()

    def stop(now: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_folder(encoder, folder, out, overwrite=True, progress=stop)
    assert out.read_bytes() == before
    embed_folder(encoder, folder, out, hop=0.25, overwrite=True)
    assert pq.read_metadata(out).num_rows > 17


def test_what_cannot_work_is_refused_before_any_work(encoder: Encoder, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "in")
    out = tmp_path / "out.parquet"
    out.touch()
    for path, complaint in [
        (out, "exists already"),
        (tmp_path / "out.csv", r"call it .*out\.parquet"),
        (tmp_path / "no/out.parquet", "no folder .*no to write out.parquet to"),
    ]:
        with pytest.raises(OscineError, match=complaint):
            embed_folder(encoder, folder, path)
    for hop in (0.0, -1.0):
        with pytest.raises(OscineError, match=r"hop is .* expected more than 0"):
            embed_folder(encoder, folder, out, hop=hop, overwrite=True)
    with pytest.raises(OscineError, match="batch_size is 0"):
        embed_folder(encoder, folder, out, batch_size=0, overwrite=True)
    with pytest.raises(OscineError, match="workers is -1"):
        embed_folder(encoder, folder, out, workers=-1, overwrite=True)
    (tmp_path / "none").mkdir()
    with pytest.raises(OscineError, match="no recordings in"):
        embed_folder(encoder, tmp_path / "none", out, overwrite=True)
    assert out.read_bytes() == b""


def test_the_command_writes_the_table_and_its_exit_code_says_how_it_went(
    tmp_path: Path, encoder: Encoder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = folder_of(tmp_path / "in"), tmp_path / "out.parquet"
    saved = save_pretrained(encoder, tmp_path / "encoder")
    call = ["embed", str(folder), "--model", f"local-dir:{saved}", "--out", str(out), "--workers", "0"]
    assert dispatch(call) == 0
    assert f"{out}: 17 clips of 7 recordings" in capsys.readouterr().out
    said = json.loads(pq.read_schema(out).metadata[b"oscine"])
    assert said["weights"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    rows = pd.read_parquet(out)
    np.testing.assert_allclose(values(rows[rows["file"] == "b.ogg"]), by_hand(encoder, folder / "b.ogg"), atol=1e-5)

    assert dispatch(call) == 1, "the table exists"
    assert "exists already" in capsys.readouterr().err
    (folder / "empty.wav").touch()
    assert dispatch([*call, "--overwrite", "--hop", "0.25"]) == 3
    assert f"{out.with_suffix('.errors.csv')}: 1 files" in capsys.readouterr().out


def test_the_command_refuses_random_weights_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "in/a.wav", 1.0)
    out = tmp_path / "out.parquet"
    call = ["embed", str(tmp_path / "in"), "--model", "bat_tiny", "--out", str(out), "--workers", "0"]
    assert dispatch(call) == 1
    assert "bat_tiny has no weights" in capsys.readouterr().err
    assert not out.exists()
    assert dispatch([*call, "--random-weights"]) == 0
    assert json.loads(pq.read_schema(out).metadata[b"oscine"])["weights"] == "random"
    once = values(pd.read_parquet(out))
    assert dispatch([*call, "--random-weights", "--overwrite"]) == 0
    np.testing.assert_array_equal(once, values(pd.read_parquet(out)))
    assert dispatch([*call, "--random-weights", "--overwrite", "--device", "abacus"]) == 1
    assert "no device 'abacus' here" in capsys.readouterr().err


def test_a_folder_of_every_odd_and_every_broken_file_is_finished(
    encoder: Encoder, recordings: Path, tmp_path: Path
) -> None:
    for pack in ("formats", "broken"):
        shutil.copytree(recordings / pack, tmp_path / "in" / pack, copy_function=shutil.copyfile)
    (tmp_path / "in").chmod(0o755)
    summary = embed_folder(encoder, tmp_path / "in", tmp_path / "out.parquet", hop=5.0)
    reasons = {
        "broken/corrupt_middle.mp3": "truncated: can be decoded up to 4.935 s of 10.000 s",
        "broken/empty.wav": "is empty (0 bytes)",
        "broken/html.mp3": "is no audio",
        "broken/nan_inf.wav": "has samples that are infinite or not a number",
        "broken/truncated.flac": "truncated: can be decoded up to 4.896 s of 10.000 s",
        "broken/truncated.mp3": "truncated: can be decoded up to 4.899 s of 10.000 s",
        "broken/truncated.ogg": "truncated: its last Ogg page is missing",
        "broken/truncated.wav": "truncated: has 216,190 bytes of 648,570",
        "formats/empty_2c.wav": "holds no samples",
    }
    assert list(summary.listed) == list(reasons)
    assert all(summary.listed[name].startswith(reason) for name, reason in reasons.items())
    files = set(pd.read_parquet(tmp_path / "out.parquet")["file"])
    assert len(files) == 25
    assert {name for name, reason in reasons.items() if reason.startswith("truncated")} <= files
