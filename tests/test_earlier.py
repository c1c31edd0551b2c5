"""Encoders, tables, probes, results, shards and killed runs that earlier versions wrote still work."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.models.zoo import create_model
from oscine.pretrain.run.checkpoint import read_state
from oscine.probe.deploy.saved_probe import load_probe

# By 0.1 (`first_release`) and by the version before files moved into rooms (`before_rooms`), of the sounds that the fixture
# makes: `oscine embed sounds --model local-dir:encoder`, `probe linear --table labels.csv --fit.steps 20`, `predict sounds`,
# `shards one packed --rate 16000`, and `pretrain bat_tiny --recipe.steps 60 --save_every 20 ...`, killed at step 20.
EARLIER = Path(__file__).parent / "earlier"
VERSIONS = sorted(folder.name for folder in EARLIER.iterdir())


@pytest.fixture(params=VERSIONS)
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of an earlier version, and the recordings that they were made of."""
    shutil.copytree(EARLIER / request.param, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    facts = Path("probe/probe.json")
    facts.write_text(facts.read_text().replace("/home/anna", str(tmp_path)))  # where the encoder was then
    Path("sounds").mkdir()
    rng = np.random.default_rng(0)
    time = np.arange(9600) / 16_000
    rows = ["file,label,fold"]
    for number in range(8):
        sound = 0.1 * np.sin(2 * np.pi * [800, 2400][number % 2] * time) + 0.01 * rng.standard_normal(len(time))
        soundfile.write(f"sounds/r{number}.wav", sound.astype("float32"), 16_000)
        rows.append(f"sounds/r{number}.wav,{['low', 'high'][number % 2]},{number // 4}")
    Path("labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_an_encoder_gives_the_same_embeddings(files: Path) -> None:
    assert not dispatch(["embed", "sounds", "--model", "local-dir:encoder", "--out", "new.parquet"])
    old, new = pd.read_parquet("birds.parquet"), pd.read_parquet("new.parquet")
    assert list(new.columns) == list(old.columns)
    assert new.drop(columns="embedding").equals(old.drop(columns="embedding"))
    np.testing.assert_allclose(np.stack([*new["embedding"]]), np.stack([*old["embedding"]]), atol=1e-4)


def test_a_table_serves_a_probe_and_the_same_call_finds_it_finished(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = "probe linear_mean --table labels.csv --encoder local-dir:encoder --embeddings birds.parquet --runs new"
    assert not dispatch([*probe.split(), "--head.pool", "pooled", "--fit.steps", "2"])
    capsys.readouterr()
    before = Path("birds.parquet").read_bytes()
    assert dispatch(["embed", "sounds", "--model", "local-dir:encoder", "--out", "birds.parquet"])
    assert "birds.parquet" in capsys.readouterr().err
    assert Path("birds.parquet").read_bytes() == before


def test_a_probe_says_the_same(files: Path) -> None:
    fitted = load_probe("probe")
    assert fitted.classes == ["high", "low"]
    assert not dispatch(["predict", "sounds", "--probe", "probe", "--out", "new.csv"])
    old, new = pd.read_csv("predicted.csv"), pd.read_csv("new.csv")
    assert list(new.columns) == list(old.columns)
    np.testing.assert_allclose(new[["high", "low"]], old[["high", "low"]], atol=1e-3)


def test_results_are_compared(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not dispatch(["compare", "results.jsonl"])
    shown = capsys.readouterr().out
    assert "linear" in shown
    assert "encoder" in shown


def test_shards_are_whole_and_read(files: Path) -> None:
    assert not dispatch(["shards", "--check", "packed"])


@pytest.mark.parametrize("called", ["by name", "by its settings"])
def test_a_killed_run_goes_on(files: Path, called: str) -> None:
    assert read_state(Path("pretrained/bat_tiny/states/last.ckpt"))["global_step"] == 20
    config = "bat_tiny" if called == "by name" else "pretrained/bat_tiny/settings.yaml"
    assert not dispatch(["pretrain", config, "--resume", "--runs", "pretrained", "--name", "bat_tiny", *GIVEN])
    assert read_state(Path("pretrained/bat_tiny/states/last.ckpt"))["global_step"] == 60
    encoder = create_model("local-dir:pretrained/bat_tiny/encoder")
    assert encoder(torch.zeros(1, 8000)).pooled.isfinite().all()


def test_a_run_is_begun_anew_from_its_settings(files: Path) -> None:
    assert not dispatch(["pretrain", "pretrained/bat_tiny/settings.yaml", "--name", "anew", "--recipe.steps", "2"])
    assert Path("pretrained/anew/encoder/model.safetensors").is_file()


GIVEN = """--data.recordings sounds --encoder.dim 8 --encoder.depth 2 --encoder.heads 1 --encoder.seconds 0.5
--recipe.decoder_dim 8 --recipe.decoder_depth 1 --recipe.decoder_heads 1 --recipe.steps 60 --save_every 20 --recipe.warmup 1
--data.batch_size 2 --data.workers 0 --data.seconds 0.5 --health_every 0 --pictures_every 0 --probe_every 0""".split()
