"""`oscine embed` and `oscine merge` as they are called: what they say, what they write, how they leave."""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from rich.console import Console

from oscine.cli import dispatch
from oscine.cli.console.output import progress_bar
from oscine.cli.encode.messages import Reporter, describe
from oscine.models.embed import clips
from oscine.models.embed import job as parts
from oscine.models.embed.progress import Forecast, Progress
from oscine.models.embed.table_metadata import errors_path
from oscine.models.encoders.bat import BAT
from oscine.models.hub.folder import save_pretrained
from oscine.models.recordings.headers import HeaderScan
from oscine.models.zoo import create_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings of 1.0, 1.3 and 0.4 s, nested and upper-case."""
    noise = np.random.default_rng(0)
    for name, seconds in (("SMM0_20240501_043000.wav", 1.0), ("b/C.FLAC", 1.3), ("d.ogg", 0.4)):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * noise.standard_normal(round(16000 * seconds)), 16000)
    return tmp_path / "in"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_pretrained(BAT(dim=48, depth=2, heads=4, seconds=0.5), tmp_path / "encoder")


def call(folder: Path, saved: Path, out: Path, *more: str) -> list[str]:
    return ["embed", str(folder), "--model", f"local-dir:{saved}", "--out", str(out), "--workers", "0", *more]


def made_by(out: Path) -> dict[str, object]:
    return json.loads(pq.read_schema(out).metadata[b"oscine"])


def test_the_table_is_written_and_the_exit_code_says_how_it_went(
    folder: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    assert dispatch(call(folder, saved, out)) == 0
    said = capsys.readouterr()
    assert f"{out}: 6 clips of 3 recordings, 2.7 s" in said.out
    assert "found 3 recordings, 2.7 s, 6 clips; cut short or unusable by their headers: none\n" in said.err
    assert "about 1 s in all, in float32; the table takes about 1.2 kB" in said.err
    assert made_by(out)["weights"] == hashlib.sha256((saved / "model.safetensors").read_bytes()).hexdigest()
    assert made_by(out)["model"] == f"local-dir:{saved}"
    assert pd.read_parquet(out)["end_time"].tolist() == [0.5, 1.0, 0.5, 1.0, 1.3, 0.4]

    assert dispatch(call(folder, saved, out)) == 1
    assert "exists already" in capsys.readouterr().err
    (folder / "empty.wav").touch()
    assert dispatch(call(folder, saved, out, "--overwrite", "--hop", "0.25")) == 3
    said = capsys.readouterr()
    assert said.out.endswith(f"{errors_path(out)}: 1 file that could not be used\n")
    assert "cut short or unusable by their headers: 1\n  empty.wav: is empty (0 bytes)" in said.err


def test_several_folders_and_recordings_are_named_as_they_are_given(
    folder: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    out = tmp_path / "out.parquet"
    assert dispatch(["embed", "d.ogg", *call(Path("b"), saved, out)[1:]]) == 0
    assert pd.read_parquet(out)["file"].unique().tolist() == ["b/C.FLAC", "d.ogg"]


def test_layers_pools_numbers_and_clock_are_the_callers(folder: Path, saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    how = ["--layers=0,-1", "--pools", "pooled,mean", "--dtype", "float16", "--clock", "UTC", "--precision", "float32"]
    assert dispatch(call(folder, saved, out, *how)) == 0
    rows = pd.read_parquet(out)
    assert list(rows.columns) == ["file", "start_time", "end_time", "recorded", "embedding", "mean_0", "mean_1"]
    assert rows["mean_0"][0].dtype == np.float16
    assert rows["recorded"][1] == pd.Timestamp("2024-05-01 04:30:00.5", tz="UTC")
    assert rows["recorded"][2] is pd.NaT
    assert {made_by(out)[key] for key in ("dtype", "clock", "precision")} == {"float16", "UTC", "float32"}


def test_csv_and_npz_are_written_by_their_suffix(folder: Path, saved: Path, tmp_path: Path) -> None:
    for name in ("one.csv", "two.npz"):
        assert dispatch(call(folder, saved, tmp_path / name)) == 0
    assert pd.read_csv(tmp_path / "one.csv").shape == (6, 3 + 48)
    assert np.load(tmp_path / "two.npz")["embedding"].shape == (6, 48)


def test_what_was_interrupted_goes_on_with_the_same_call(
    folder: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    monkeypatch.setattr(parts, "BATCHES", 1)
    out = tmp_path / "out.parquet"
    one_by_one = ["--batch-size", "1"]

    def stop(_: object, progress: Progress) -> None:
        if progress.clips > 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("oscine.cli.encode.messages.Reporter.progress", stop)
        assert dispatch(call(folder, saved, out, *one_by_one)) == 130
    said = capsys.readouterr().err
    assert "oscine embed: stopped; the same call goes on\n" in said
    assert not out.exists()
    assert dispatch(call(folder, saved, out, *one_by_one, "--hop", "0.4")) == 1
    assert f"{out} was begun with hop_seconds 0.5, not 0.4; call it as then to continue" in capsys.readouterr().err
    assert dispatch(call(folder, saved, out, *one_by_one)) == 0
    assert "going on: 2 clips are done" in capsys.readouterr().err
    assert dispatch(call(folder, saved, tmp_path / "again.parquet", *one_by_one)) == 0
    assert out.read_bytes() == (tmp_path / "again.parquet").read_bytes()


def test_what_was_stopped_before_anything_is_kept_says_so(
    folder: Path, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(_: object, progress: Progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("oscine.cli.encode.messages.Reporter.progress", stop)
    out = tmp_path / "out.parquet"
    assert dispatch(call(folder, saved, out)) == 130
    assert "oscine embed: stopped; nothing is kept yet, the next call begins anew\n" in capsys.readouterr().err
    assert dispatch(call(folder, saved, out, "--hop", "0.4")) == 130, "which may be another one"


def test_shards_are_merged(folder: Path, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty.wav").touch()
    shards = [str(tmp_path / f"{number}.parquet") for number in (1, 2)]
    codes = [
        dispatch(call(folder, saved, Path(path), "--shard", f"{number}/2")) for number, path in enumerate(shards, 1)
    ]
    assert sorted(codes) == [0, 3]
    capsys.readouterr()
    out = tmp_path / "all.parquet"
    assert dispatch(["merge", str(out), *shards]) == 3
    assert f"{out}: 6 clips of 3 recordings" in capsys.readouterr().out
    assert dispatch(call(folder, saved, tmp_path / "one.parquet")) == 3
    one, joined = pd.read_parquet(tmp_path / "one.parquet"), pd.read_parquet(out)
    pd.testing.assert_frame_equal(one.drop(columns="embedding"), joined.drop(columns="embedding"))
    assert errors_path(tmp_path / "one.parquet").read_text() == errors_path(out).read_text()


@pytest.mark.parametrize(
    ("more", "code", "complaint"),
    [
        (["--layers", "x"], 2, "layers 'x': expected numbers with commas, such as --layers=5,-1"),
        (["--shard", "3/2"], 1, "shard '3/2': expected NUMBER/OF"),
        (["--pools", "max"], 1, "pools max; choose from pooled, cls, mean"),
        (["--precision", "int8"], 1, "no precision 'int8'; choose from auto, float32, bfloat16"),
        (["--dtype", "int8"], 1, "no dtype 'int8'; choose from float32, float16"),
        (["--device", "abacus"], 1, "no device 'abacus' here"),
        (["--random-weights"], 2, "brings its own weights; leave random weights out"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    folder: Path,
    saved: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    complaint: str,
) -> None:
    assert dispatch(call(folder, saved, tmp_path / "out.parquet", *more)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert not list(tmp_path.glob("out*"))


def test_random_weights_are_refused_unless_asked_for(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.parquet"
    call = ["embed", str(folder), "--model", "bat_tiny", "--out", str(out), "--workers", "0"]
    assert dispatch(call) == 1
    assert "bat_tiny has no" in capsys.readouterr().err
    assert not out.exists()
    assert dispatch([*call, "--random-weights"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "the embeddings are of bat_tiny with random weights, for tests: it has learnt nothing"
    assert (made_by(out)["weights"], made_by(out)["model"]) == ("random", "bat_tiny")
    once = out.read_bytes()
    assert dispatch([*call, "--random-weights", "--overwrite"]) == 0
    assert out.read_bytes() == once


def test_weights_may_come_from_a_file(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    weights = save_pretrained(create_model("bat_tiny"), tmp_path / "tiny") / "model.safetensors"
    out = tmp_path / "out.parquet"
    call = ["embed", str(folder), "--model", "bat_tiny", "--out", str(out), "--workers", "0"]
    assert dispatch([*call, "--checkpoint", str(weights)]) == 0
    assert made_by(out)["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_without_a_terminal_a_plain_line_comes_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("oscine.cli.encode.messages.time.monotonic", lambda: now)
    with progress_bar() as bar:
        reporter = Reporter(bar, time.monotonic())
        for clips in range(0, 101):
            reporter.progress(Progress(clips // 10, 10, clips, 100, clips * 36.0, 3600.0))
            now += 1.0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0] == "clips: 30/100, 30 s, 1 min left, 0.30/1.00 h, 36 x real time"


def test_on_a_terminal_a_bar_shows_the_same_and_names_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    found = HeaderScan([], {f"[b]{number}.wav": "is empty" for number in range(7)}, {})
    with progress_bar(Console(file=screen, force_terminal=True, width=150)) as bar:
        reporter = Reporter(bar, time.monotonic())
        reporter.scanned(1, 2)
        reporter.forecast(Forecast(found, 100, 50, "float32", 8000.0, 5 * 10**9, 10**11))
        reporter.progress(Progress(5, 10, 50, 100, 1800.0, 3600.0))
        reporter.progress(Progress(10, 10, 100, 100, 3600.0, 3600.0))
    text = screen.getvalue()
    assert "[b]0.wav: is empty" in text
    assert "and 2 more, all of them in the error table" in text
    assert "going on: 50 clips are done" in text
    assert "about 2 h 13 min in all, of which 1 s have passed, in float32; the table takes about 5.0 GB" in text
    assert "1.00/1.00 h" in text
    assert capsys.readouterr() == ("", "")


def test_the_speed_counts_only_what_this_call_has_done() -> None:
    first = Progress(50, 100, 500, 1000, 5000.0, 10000.0)
    assert describe(first, first, 0.0) == "1.39/2.78 h"
    later = first.plus(10, 100, 1000.0)
    assert describe(first, later, 10.0) == "1.67/2.78 h, 100 x real time"
