"""`oscine probe --finetune`: the encoder learns, too, and is published with its probe; a killed run goes on."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.cli.hub.publish import main as publish
from oscine.models import create_model, save_pretrained
from oscine.models.encoders.base.provenance import read_origin
from oscine.probe import load_probe
from oscine.probe.results.runs import read_runs
from tests.forked import Program, wait_for
from tests.hub_server import Hub, serving
from tests.task_layouts import write_dcase

RATE = 16_000
FIT = "--workers 0 --seconds 0.6 --fit.steps 6 --fit.warmup 1 --fit.batch_size 4 --tuning.save_every 1".split()
RUN = Path("runs/probe/bat_finetuned")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for row in range(12):
        tone = np.sin(2 * np.pi * (400, 4000)[row % 2] * rng.uniform(0.9, 1.1) * np.arange(RATE // 2) / RATE)
        soundfile.write(folder / f"{row}.flac", 0.2 * tone + rng.normal(0, 0.01, len(tone)), RATE)
        lines.append(f"{row}.flac,{('low', 'high')[row % 2]},{row // 2 % 2}")
    (folder / "one.csv").write_text("\n".join(lines))
    return folder / "one.csv"


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Works in an empty folder but for an encoder, and names it."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny", dim=24, depth=2, heads=2, seconds=0.6), "mine")
    return ["--encoder", "local-dir:mine"]


@pytest.fixture
def call(table: Path, mine: list[str]) -> list[str]:
    return ["probe", "finetune/bat", "--table", str(table), *mine, *FIT]


def strict(path: Path) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_it_leaves_all_that_a_frozen_one_does_and_the_encoder(
    call: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = create_model("local-dir:mine").state_dict()
    assert dispatch(call) == 0
    written = strict(RUN / "scores.json")
    assert list(written["parts"]) == ["fold 0", "fold 1"]
    assert written["settings"]["finetune"] is True
    assert written["settings"]["fit"]["lr"] == 5e-5
    assert (RUN / "predictions.parquet").exists()
    assert "fine-tuned" in (RUN / "report.html").read_text()
    assert not (RUN / "states").exists()
    [run] = read_runs("runs/probe/results.jsonl")
    assert run.probe == "fine-tuned-linear"
    assert run.settings["tuning"]["layer_decay"] == 0.75
    fitted = load_probe(RUN / "probe")
    assert fitted.fitted_on["finetuned"]["lr"] == 5e-5
    after = fitted.encoder.state_dict()
    assert not torch.equal(after["blocks.1.mlp.fc2.weight"], before["blocks.1.mlp.fc2.weight"])
    assert not Path("runs/features").exists(), "nothing that changes is stored"
    assert dispatch(call) == 1
    assert "scores.json exists; --overwrite replaces it" in capsys.readouterr().err
    assert dispatch([*call, "--overwrite"]) == 0
    assert strict(RUN / "scores.json")["parts"] == written["parts"]


def test_predictions_are_made_with_it(call: list[str], table: Path) -> None:
    assert dispatch(call) == 0
    assert dispatch(["predict", str(table.parent), "--probe", str(RUN / "probe"), "--out", "said.csv"]) == 0
    assert len(Path("said.csv").read_text().splitlines()) > 12


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--embeddings", "x.parquet"], "--embeddings does not go with it; leave one out"),
        (["--layer_scores"], "--layer_scores does not go with it"),
        (["--search.trials", "3"], "--search.trials does not go with it"),
        (["--resume", "--overwrite"], "give one of them"),
        (["--tuning.mix", "2"], "tuning.mix is 2.0, expected a chance from 0"),
        (["--fit.select_every", "2"], "has no rows to choose by"),
        (["--tuning.background", "nowhere"], "nowhere"),
    ],
)
def test_what_does_not_go_together_is_told_in_one_line(
    more: list[str], complaint: str, call: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch([*call, *more]) != 0
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert not Path("runs").exists()


def test_moments_are_not_fine_tuned_on_nor_frozen_encoders_resumed(
    tmp_path: Path, mine: list[str], table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = ["probe", "finetune/bat", "--data", str(write_dcase(tmp_path)), *mine, "--task.name", "dcase2016"]
    assert dispatch(scenes) == 2
    assert "dcase2016 does not go with it" in capsys.readouterr().err
    assert dispatch(["probe", "linear", "--table", str(table), *mine, *FIT, "--resume"]) == 2
    assert "leave it out" in capsys.readouterr().err


def test_a_few_clips_a_class_are_fine_tuned_on_from_the_same_weights_each_time(call: list[str]) -> None:
    assert dispatch([*call, "--task.shots", "[1,2]", "--task.draws", "2"]) == 0
    found = strict(RUN / "scores.json")["few_shot"]
    assert [point["shots"] for point in found] == [1, 2]
    assert [run.task for run in read_runs("runs/probe/results.jsonl")] == ["one_1_shot", "one_2_shot"]
    assert not (RUN / "states").exists()


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(call: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch([*call, "--name", "whole"]) == 0
    states = RUN / "states"
    run = Program(call)
    wait_for(lambda: run.has_ended() or (states / "0.pt").exists())  # the first fold is done
    assert run.kill_all() == -signal.SIGKILL, "it ended before it could be killed"
    assert dispatch(call) == 1
    assert "has not ended; --resume goes on, --overwrite begins anew" in capsys.readouterr().err
    assert dispatch([*call, "--resume", "--fit.lr", "1"]) == 1
    assert "begun with fit.lr 5e-05, not 1.0; give those it began with" in capsys.readouterr().err
    assert dispatch([*call, "--resume"]) == 0
    whole = Path("runs/probe/whole")
    assert strict(RUN / "scores.json")["parts"] == strict(whole / "scores.json")["parts"]
    for file in ("probe/probe.safetensors", "probe/encoder/model.safetensors", "predictions.parquet"):
        assert (RUN / file).read_bytes() == (whole / file).read_bytes(), file
    assert dispatch([*call, "--resume"]) == 1
    assert "nothing to resume" in capsys.readouterr().err


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens["hf_a_secret"] = "robin"
        monkeypatch.setenv("HF_TOKEN", "hf_a_secret")
        yield hub


def test_it_is_published_with_its_encoder_and_whose_weights_that_began_with(hub: Hub, table: Path) -> None:
    call = ["probe", "finetune/bat", "--table", str(table), "--encoder", "bird_mae_tiny.esc10", *FIT]
    assert dispatch([*call, "--fit.steps", "2"]) == 0
    origin = read_origin(RUN / "probe" / "encoder")
    assert origin is not None
    assert (origin.model, origin.licence, origin.trained) == ("bird_mae_tiny.esc10", "Apache-2.0", True)
    publish([str(RUN), "robin/tuned", "--licence", "apache-2.0", "--scores", str(RUN / "scores.json")])
    found = hub.repositories["robin/tuned"]
    card = found.commits[found.refs["v1"]]["README.md"].decode()
    assert "fine-tuned" in card
    assert "bird_mae_tiny.esc10" in card
    theirs, ours = load_probe("hf-hub:robin/tuned"), load_probe(RUN / "probe")
    waveform = 0.1 * torch.randn(2, ours.samples)
    assert torch.equal(theirs(waveform), ours(waveform))
