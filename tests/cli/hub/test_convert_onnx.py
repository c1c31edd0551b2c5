"""`oscine convert onnx-file:FILE` makes a folder that embed and predict take, and says what it took of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.models.zoo import create_model
from tests.onnx_models import CLASSES, DIM, MAPPED, NAMES, RATE, SAMPLES, SETTINGS, write_small

SAID = ("--rate", str(RATE), "--seconds", str(SAMPLES / RATE))
CLASSIFIER = (*SAID, "--embedding", "embedding", "--patch-map", "1", "--scores", "label")


@pytest.fixture
def onnx(tmp_path: Path) -> Path:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return write_small(tmp_path)


def convert(onnx: Path, *options: str) -> int:
    return dispatch(["convert", f"onnx-file:{onnx}", str(onnx.parent / "out"), *options])


def test_the_folder_is_the_encoder_of_the_file(onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(onnx, *SAID) == 0
    said = capsys.readouterr().out
    assert f"outputs taken: embedding 'embedding' ({DIM} numbers); not taken: spatial_embedding, label" in said
    assert "licence not known" in said
    assert "oscine predict" not in said, "it is no classifier"
    clips = torch.randn(2, SAMPLES)
    made, read = (create_model(f"local-dir:{onnx.parent / 'out'}"), create_model(f"onnx-file:{onnx}", **SETTINGS))
    assert torch.equal(made(clips).pooled, read(clips).pooled)


def test_its_scores_with_their_classes_are_a_classifier(onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(onnx, *CLASSIFIER, "--classes", str(onnx.parent / "names.txt")) == 0
    said = capsys.readouterr().out
    assert f"scores 'label' ({CLASSES} classes); not taken: none" in said
    assert "patch_map 'spatial_embedding' (8 steps of time, 2 of frequency)" in said
    made = create_model(f"local-dir:{onnx.parent / 'out'}")
    read = create_model(f"onnx-file:{onnx}", **MAPPED)
    clips = torch.randn(2, SAMPLES)
    assert torch.equal(made(clips).patches, read(clips).patches)
    (onnx.parent / "in").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLES)
    soundfile.write(onnx.parent / "in/noise.wav", noise, RATE)
    for command, model in (
        ("embed", f"--model=local-dir:{onnx.parent / 'out'}"),
        ("predict", f"--probe={onnx.parent / 'out'}"),
    ):
        out = onnx.parent / f"{command}.parquet"
        assert dispatch([command, str(onnx.parent / "in"), model, "--out", str(out), "--workers", "0"]) == 0
        assert len(pd.read_parquet(out)) == 3
    assert {*NAMES} <= {*pd.read_parquet(out).columns}


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ((), 1, "give sample_rate and seconds: oscine convert onnx-file:"),
        ((*SAID, "--scores", "lable"), 1, "has no output 'lable'; it has 0: embedding, 1: spatial_embedding, 2: label"),
        ((*SAID, "--scores", "7"), 1, "has no output '7'; it has 0: embedding"),
        ((*SAID, "--prefix", "a."), 2, "is a file, taken whole; leave --checkpoint and --prefix out"),
        ((*CLASSIFIER, "--classes", "elsewhere.txt"), 1, "elsewhere.txt does not lie beside"),
        ((*CLASSIFIER, "--activation", "relu"), 1, "no activation 'relu'; choose from"),
    ],
)
def test_what_does_not_fit_the_file_is_said_in_a_line(
    options: tuple[str, ...], code: int, words: str, onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert convert(onnx, *options) == code
    complaint = [line for line in capsys.readouterr().err.splitlines() if "loading PyTorch" not in line]
    assert len(complaint) == 1
    assert words in complaint[0]
    assert not (onnx.parent / "out").exists()


def test_a_list_of_classes_that_is_not_there_is_said(onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert convert(onnx, *CLASSIFIER, "--classes", str(onnx.parent / "gone.txt")) == 1
    assert "no class_file 'gone.txt' beside" in capsys.readouterr().err


def test_options_of_onnx_files_are_refused_for_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["convert", "bird_mae_tiny", str(tmp_path / "out"), "--rate", "32000"]) == 2
    assert "--rate and what follows it go with onnx-file:FILE.onnx" in capsys.readouterr().err
