"""A folder in, probabilities out: what the probe says of every clip or frame, through whatever happens on the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from oscine.models.audio.load import load_audio
from oscine.models.audio.shard import Shard
from oscine.models.embed import clips
from oscine.models.embed import job as parts
from oscine.models.embed.embed import embed_folder
from oscine.models.embed.merge import merge_tables
from oscine.models.embed.progress import Forecast, Progress, Watcher
from oscine.models.embed.table import read_embeddings, read_listed
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.wav2vec2 import Wav2Vec2
from oscine.models.errors import OscineError
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.predict import Probabilities, predict_file, predict_folder
from oscine.probe.heads.attentive import AttentiveProbe
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.tasks.kinds import TaskKind
from tests.tiny_encoders import noise

PATIENCE = 60  # seconds after which what should have happened will not
FORK = multiprocessing.get_context("fork")  # a process of its own at once: importing torch anew takes seconds
# Clips are scaled by what they hold: with a rest's silence counted, its probabilities are others.
SCALED = partial(Wav2Vec2, conv_dim=16, conv_width=16, conv_groups=4, normalise=True)
LENGTHS = {"a.wav": 1.0, "b/c.flac": 1.37, "d.ogg": 0.2, "e.wav": 2.05, "f.flac": 0.5}  # seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good recordings, one that is cut short and one that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for name, seconds in LENGTHS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        soundfile.write(folder / name, 0.1 * rng.standard_normal(round(seconds * 16_000)), 16_000)
    soundfile.write(folder / "short.wav", 0.1 * rng.standard_normal(48_000), 16_000)
    (folder / "short.wav").write_bytes((folder / "short.wav").read_bytes()[:64_000])  # the first 2 s
    (folder / "none.wav").write_text("<html>" * 50)
    return folder


def fitted(pool: str = "clip", architecture: Callable[..., Encoder] = BAT, **how: Any) -> FittedProbe:
    """With large weights, and biases that keep probabilities away from 0 and 1, so that they differ."""
    torch.manual_seed(0)
    encoder = architecture(dim=48, depth=2, heads=4, seconds=0.5).eval()
    probe = AttentiveProbe(encoder, 3, pool).eval().requires_grad_(False)
    probe.fc.weight.mul_(20)
    probe.fc.bias.sub_(probe(encoder(noise(8, encoder.samples))).flatten(0, -2).mean(0))
    scaling = Scaling(torch.tensor([0.5]), torch.tensor([-1.0]))
    answers = TaskKind.FRAMES if pool == "frames" else TaskKind.MULTI
    learnt = FittedProbe(probe, encoder, {"pool": pool}, ["owl", "tit", "wren"], 0.5, answers, scaling)
    return replace(learnt, **how)


def clip(fitted: FittedProbe, path: Path, start: float) -> torch.Tensor:
    """The probabilities of the clip that begins there."""
    rate = fitted.encoder.sample_rate
    waveform = load_audio(path, rate)[round(start * rate) :][: fitted.samples]
    return fitted(waveform[None])[0]


@pytest.mark.parametrize(
    ("architecture", "seconds", "kind"),
    [
        (BAT, 0.5, TaskKind.MULTI),
        (BAT, 0.7, TaskKind.SINGLE),
        (BirdMAE, 0.5, TaskKind.SINGLE),
        (SCALED, 0.5, TaskKind.MULTI),
    ],
)
def test_every_clip_of_every_recording_has_what_the_probe_says_of_it(
    folder: Path, tmp_path: Path, architecture: Callable[..., Encoder], seconds: float, kind: TaskKind
) -> None:
    learnt = fitted(architecture=architecture, seconds=seconds, kind=kind)
    summary = predict_folder(learnt, folder, tmp_path / "out.parquet", workers=0)
    rows = pd.read_parquet(tmp_path / "out.parquet")
    assert list(rows.columns) == ["file", "start_time", "end_time", "owl", "tit", "wren"]
    assert (rows["owl"].dtype, summary.files) == (np.float32, 6)
    assert rows["owl"].std() > 2e-3
    lengths = LENGTHS | {"short.wav": (64_000 - 44) / 32_000}
    for name, its in rows.groupby("file"):
        np.testing.assert_allclose(its["start_time"], seconds * np.arange(len(its)), atol=1e-9)
        assert its["end_time"].iat[-1] == pytest.approx(lengths[name], abs=1e-4)
        said = torch.stack([clip(learnt, folder / name, start) for start in its["start_time"]])
        np.testing.assert_allclose(its[learnt.classes], said, atol=1e-5)
    assert kind is TaskKind.MULTI or np.allclose(rows[learnt.classes].sum(axis=1), 1, atol=1e-5)
    assert {name: reason.split(":")[0] for name, reason in summary.listed.items()} == {
        "none.wav": summary.listed["none.wav"].split(":")[0], "short.wav": "truncated",
    }  # fmt: skip


@pytest.mark.parametrize("architecture", [BAT, BirdMAE])
def test_a_frame_wise_probe_has_a_row_for_every_frame_of_sound(
    folder: Path, tmp_path: Path, architecture: type[Encoder]
) -> None:
    learnt = fitted("frames", architecture)
    summary = predict_folder(learnt, folder, tmp_path / "out.parquet", workers=0, batch_size=3)
    rows = pd.read_parquet(tmp_path / "out.parquet")
    assert summary.rows == len(rows)
    frames = learnt.encoder.grid[0]
    for name, its in rows.groupby("file"):
        starts, ends = its["start_time"].to_numpy(), its["end_time"].to_numpy()
        np.testing.assert_array_equal(starts[1:], ends[:-1])
        assert (ends > starts).all()
        whole = [0.5 * (row // frames) + 0.16 * (row % frames) for row in range(len(its))]
        np.testing.assert_allclose(starts, whole, atol=1e-9)
        said = torch.cat([clip(learnt, folder / name, start) for start in np.arange(0, ends[-1] - 1e-6, 0.5)])
        np.testing.assert_allclose(its[learnt.classes], said[: len(its)], atol=1e-5)
    assert rows.groupby("file")["end_time"].max()["e.wav"] == pytest.approx(2.05)


def test_frames_that_come_to_less_than_the_clip_leave_no_sound_without_a_row() -> None:
    learnt = fitted("frames", BirdMAE)
    outputs = Probabilities(replace(learnt, seconds=1.14))
    assert outputs.frames == 7, "112 whole frames: 1.12 s"
    times = outputs.times(2.28, 3.42)
    assert len(times) == 7
    assert times[-1] == (pytest.approx(2.28 + 6 * 0.16), 3.42)
    assert outputs.times(2.28, 2.30) == [(2.28, 2.30)]


def test_a_file_by_itself_has_the_rows_that_it_has_in_the_folders_table(folder: Path, tmp_path: Path) -> None:
    for learnt in (fitted(), fitted("frames")):
        predict_folder(learnt, folder, tmp_path / "out.parquet", workers=0, overwrite=True)
        table = read_embeddings(tmp_path / "out.parquet").xs("e.wav")
        alone = predict_file(learnt, folder / "e.wav")
        assert alone.index.names == ["file", "start_time", "end_time"]
        pd.testing.assert_frame_equal(alone.droplevel("file"), table, atol=1e-5)
    assert len(predict_file(fitted(), folder / "e.wav", hop=0.25)) == 8


def test_a_table_says_which_probe_made_it_and_reads_as_csv(folder: Path, tmp_path: Path) -> None:
    learnt = fitted()
    for name in ("out.parquet", "out.csv", "out.npz"):
        predict_folder(learnt, folder, tmp_path / name, workers=0, overwrite=True)
    one, two = pd.read_parquet(tmp_path / "out.parquet"), pd.read_csv(tmp_path / "out.csv")
    pd.testing.assert_frame_equal(one, two.astype(dict.fromkeys(learnt.classes, "float32")))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["wren"], one["wren"])
    made = json.loads(pq.read_schema(tmp_path / "out.parquet").metadata[b"oscine"])
    assert {key: made[key] for key in learnt.describe()} == json.loads(json.dumps(learnt.describe()))
    assert (made["probe"], made["clip_seconds"], made["architecture"]) == ("AttentiveProbe", 0.5, "BAT")


def test_shards_are_joined_to_the_table_that_one_job_writes(folder: Path, tmp_path: Path) -> None:
    shards = [tmp_path / f"{number}.parquet" for number in (1, 2)]
    for number, path in enumerate(shards, 1):
        predict_folder(fitted(), folder, path, workers=0, shard=Shard(number, 2), clock="UTC")
    merge_tables(tmp_path / "all.parquet", shards)
    predict_folder(fitted(), folder, tmp_path / "one.parquet", workers=0, clock="UTC")
    one, joined = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in ("one", "all"))
    pd.testing.assert_frame_equal(one, joined, atol=1e-5)
    assert "recorded" in one


def test_what_it_will_cost_counts_classes_and_frames(folder: Path, tmp_path: Path) -> None:
    class Told(Watcher):
        said: Forecast

        def forecast(self, forecast: Forecast) -> None:
            self.said = forecast

    sizes = []
    for learnt in (fitted(), fitted("frames")):
        predict_folder(learnt, folder, tmp_path / "out.parquet", workers=0, overwrite=True, watcher=(told := Told()))
        sizes.append(told.said.size / told.said.clips)
    assert sizes == [3 * 4, 4 * 3 * 4]


def test_a_class_may_not_be_called_as_a_column_is(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="a class is called end_time, as a column of every table is"):
        predict_file(fitted(classes=["owl", "end_time", "wren"]), folder / "a.wav")


def test_frames_and_a_hop_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"hop is 0\.25 s, but this probe answers for every frame; leave hop out"):
        predict_folder(fitted("frames"), folder, tmp_path / "out.parquet", hop=0.25)
    assert not list(tmp_path.iterdir())


def test_bfloat16_is_the_encoders_and_close(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "oscine.models.encoders.base.precision.survives_bfloat16", lambda: True
    )  # without asking this processor
    learnt = fitted()
    seen: list[torch.dtype] = []
    learnt.probe.fc.register_forward_hook(lambda _, given, made: seen.append(made.dtype))
    clips = [load_audio(folder / "e.wav", 16_000)[:8000]]
    with torch.backends.mkldnn.flags(enabled=False):
        half = Probabilities(learnt, "bfloat16")(clips)
    exact = Probabilities(learnt)(clips)
    assert seen == [torch.float32, torch.float32]
    assert 0 < (half - exact).abs().max() < 0.1


class Slow(Watcher):
    """Takes its time, so that there is time to be killed in."""

    def progress(self, progress: Progress) -> None:
        time.sleep(0.02)


def run(learnt: FittedProbe, folder: Path, out: Path, workers: int = 0) -> None:
    predict_folder(learnt, folder, out, batch_size=2, workers=workers, watcher=Slow())


def result(out: Path) -> tuple[bytes, dict[str, str]]:
    return out.read_bytes(), read_listed(out)


@pytest.mark.parametrize(("pool", "seed"), [("clip", 0), ("frames", 1)])
def test_killed_at_random_moments_it_goes_on_and_ends_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str, seed: int
) -> None:
    monkeypatch.setattr(clips, "CHUNK_SECONDS", 1)
    monkeypatch.setattr(parts, "BATCHES", 1)
    learnt, moments = fitted(pool), np.random.default_rng(seed)
    run(learnt, folder, tmp_path / "undisturbed.parquet")
    out, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.journal"
    kills, gone_on = 0, 0
    while not out.exists():
        assert kills < 30
        process = FORK.Process(target=run, args=(learnt, folder, out))
        process.start()
        process.join(moments.uniform(0.05, 0.2) * 1.3**kills if kills < 15 else PATIENCE)  # early at first, then later
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            gone_on = max(gone_on, len(list(journal.glob("0*.parquet"))))
    assert kills >= 1
    assert gone_on >= 1
    assert result(out) == result(tmp_path / "undisturbed.parquet")


def test_another_probe_does_not_go_on_where_one_was_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Watcher):
        def progress(self, progress: Progress) -> None:
            if progress.clips > 4:
                raise KeyboardInterrupt

    monkeypatch.setattr(parts, "BATCHES", 1)
    out = tmp_path / "out.parquet"
    with pytest.raises(KeyboardInterrupt):
        predict_folder(fitted(), folder, out, batch_size=1, workers=0, watcher=Stop())
    other = fitted()
    other.probe.fc.bias.add_(1)
    with pytest.raises(
        OscineError, match=r"was begun with probe_fingerprint '.*', not '.*'; call it as then to continue"
    ):
        predict_folder(other, folder, out, batch_size=1, workers=0)
    with pytest.raises(OscineError, match="was begun with "):
        embed_folder(fitted().encoder, folder, out, batch_size=1, workers=0)
    predict_folder(fitted(), folder, out, batch_size=1, workers=0)
    assert out.exists()
