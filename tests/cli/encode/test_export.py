"""`oscine export`: one file that runs without PyTorch, or one line that says why not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from oscine.cli.console.command import call
from oscine.cli.encode.export import export
from oscine.models import checkpoints
from oscine.models.checkpoints import Architecture
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.onnx_file import session_of
from oscine.models.encoders.bat import BAT
from oscine.models.errors import Misuse, OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.tasks.kinds import TaskKind
from tests.hub_server import serving

main = partial(call, export)

TINY: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "seconds": 0.5}


@pytest.fixture(autouse=True)
def wren(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "wren_tiny", Architecture("BAT", TINY, "none", 1, 16_000, 1.0))


class Exported(NamedTuple):
    """A saved encoder, the file that was made of it, and what was said."""

    saved: Path
    encoder: Encoder
    file: Path
    said: str
    complaints: str


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("exported")
    saved, out = save_pretrained(BAT(**TINY), folder / "saved"), folder / "wren.onnx"
    said, complaints = StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(complaints):
        main([f"local-dir:{saved}", str(out)])
    return Exported(saved, create_model(f"local-dir:{saved}"), out, said.getvalue(), complaints.getvalue())


def test_a_saved_encoder_becomes_a_file_that_gives_its_features(exported: Exported) -> None:
    assert exported.complaints == ""
    size = f"{exported.file.stat().st_size / 1e6:.1f} MB"
    assert exported.said == (
        f"{exported.file}: waveform [batch, 8000] at 16000 Hz (0.5 s) to embedding [batch, 16], {size}, equal to PyTorch\n"
    )
    session = session_of(str(exported.file), threads=1)
    waveform = 0.1 * torch.randn(3, 8000)
    with torch.no_grad():
        expected = exported.encoder(waveform).pooled
    assert_close(torch.from_numpy(session.run(None, {"waveform": waveform.numpy()})[0]), expected, atol=1e-4, rtol=0)
    assert session.get_modelmeta().custom_metadata_map["model"] == "local-dir:saved"


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="wren_tiny has no weights to fetch"):
        main(["wren_tiny", str(tmp_path / "wren.onnx")])
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="no model 'wren'"):
        main(["wren", str(tmp_path / "wren.onnx"), "--random-weights"])


def test_a_saved_encoder_has_no_random_weights(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="leave random weights out"):
        main([f"local-dir:{exported.saved}", str(tmp_path / "wren.onnx"), "--random-weights"])


def test_a_file_that_is_there_is_replaced_only_on_demand_and_says_that_weights_are_random(
    exported: Exported, tmp_path: Path
) -> None:
    out = tmp_path / "wren.onnx"
    out.write_bytes(b"somebody's own")
    for more in ([], ["--overwrite"]):
        with pytest.raises(OscineError, match="overwrite" if not more else "was not written by oscine"):
            main(["wren_tiny", str(out), "--random-weights", *more])
        assert out.read_bytes() == b"somebody's own"
    shutil.copy(exported.file, out)
    main(["wren_tiny", str(out), "--random-weights", "--overwrite"])
    session = session_of(str(out), threads=1)
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["model"], facts["weights_sha256"]) == ("wren_tiny", "random")
    assert session.get_inputs()[0].shape == ["batch", 8000]


@pytest.mark.parametrize(("name", "reason"), [("wren.pt", "ends in .onnx"), ("absent/wren.onnx", "there is no folder")])
def test_a_name_that_cannot_be_written_is_refused_before_weights_are_fetched(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(OscineError, match=reason):
        main(["bird_mae_base.xcl", str(tmp_path / name)])


def test_the_file_needs_no_pytorch(exported: Exported) -> None:
    script = f"""
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession({str(exported.file)!r}, providers=["CPUExecutionProvider"])
clips = numpy.zeros((2, 8000), numpy.float32)
assert session.run(["embedding"], {{"waveform": clips}})[0].shape == (2, 16)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_probe_goes_along(exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, out = exported.encoder, tmp_path / "wren.onnx"
    fitted = FittedProbe(LinearProbe(encoder, 2).eval(), encoder, {}, ["robin", "wren"], 0.5, TaskKind.MULTI)
    folder = save_probe(fitted, tmp_path / "probe")
    main([f"local-dir:{exported.saved}", str(out), "--probe", str(folder)])
    assert "to embedding [batch, 16] and logits [batch, 2], " in capsys.readouterr().out
    waveform = 0.1 * torch.randn(3, 8000)
    logits = session_of(str(out), threads=1).run(["logits"], {"waveform": waveform.numpy()})[0]
    assert_close(torch.from_numpy(logits).sigmoid(), fitted(waveform), atol=1e-4, rtol=0)
    with pytest.raises(OscineError, match="this encoder has another fingerprint; load the probe with that one"):
        main(["wren_tiny", str(out), "--probe", str(folder), "--random-weights", "--overwrite"])


def read_as_opensoundscape(file: Path, recording: np.ndarray) -> tuple[list[str], dict[str, Tensor]]:
    """What its ONNXModel does, with add_channel_dim = False: all but the file's name comes from the file.

    Rate and duration must be there to cut clips, classes to name columns; the other two keys say which output is which, and
    may be absent. The model's first input, whatever its name, gets clips [batch, samples].
    """
    session = onnxruntime.InferenceSession(str(file), providers=("CPUExecutionProvider",))
    told = session.get_modelmeta().custom_metadata_map
    classes, samples = json.loads(told["classes"]), int(int(told["sample_rate"]) * float(told["sample_duration"]))
    clips = recording[: len(recording) // samples * samples].reshape(-1, samples)
    found = session.run(None, {session.get_inputs()[0].name: clips})
    by_name = {
        output.name: torch.from_numpy(values) for output, values in zip(session.get_outputs(), found, strict=True)
    }
    keys = {"logits": "class_outputs_key", "embedding": "embedding_outputs_key"}
    return classes, {part: by_name[told[key]] for part, key in keys.items() if key in told}


def read_as_hoplite(
    file: Path,
    recording: np.ndarray,
    sample_rate: int,
    window_size_s: float,
    input_name: str,
    output_map: dict[str, str],
) -> dict[str, Tensor]:
    """What its TaxonomyModelOnnx does with target_peak=None: it is told all, and takes what is there of its map.

    It runs the graph fully optimised, on windows [frames, samples], and folds what comes to embeddings
    [frames, channels, dim] and logits [frames, classes].
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(str(file), sess_options=options, providers=["CPUExecutionProvider"])
    there = {output.name for output in session.get_outputs()}
    names = [name for name in output_map.values() if name in there]
    samples = int(window_size_s * sample_rate)
    windows = recording[: len(recording) // samples * samples].reshape(-1, samples)
    found = dict(zip(names, session.run(names, {input_name: windows}), strict=True))
    embeddings = found[output_map["embedding"]].reshape(len(windows), 1, -1)
    logits = (
        {"logits": found[output_map["logits"]].reshape(len(windows), -1)} if output_map.get("logits") in there else {}
    )
    return {part: torch.from_numpy(values) for part, values in ({"embedding": embeddings} | logits).items()}


def test_other_programs_read_encoder_and_probe_from_the_hub(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, out = exported.encoder, tmp_path / "wren.onnx"
    probe, scaling = LinearProbe(encoder, 3).eval(), Scaling(torch.tensor([1.5]), torch.tensor([-0.25]))
    classes = ["robin", "wren", 'tawny owl, "hoot"']
    folder = save_probe(FittedProbe(probe, encoder, {}, classes, 0.4, TaskKind.MULTI, scaling), tmp_path / "probe")
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.add("robin/birds", {path.name: path.read_bytes() for path in folder.iterdir()})
        main([f"local-dir:{exported.saved}", str(out), "--probe", "hf-hub:robin/birds"])
    recording = 0.1 * torch.randn(21_000)
    clips = recording[: 3 * 6400].reshape(3, 6400)
    fitted = load_probe(folder)
    told, theirs = read_as_opensoundscape(out, recording.numpy())
    assert told == classes
    names = {"embedding": "embedding", "logits": "logits", "frontend": "spectrogram"}
    hoplite = read_as_hoplite(out, recording.numpy(), 16_000, 0.4, "waveform", names)
    with torch.no_grad():
        embedding = encoder.features(encoder.spectrogram(list(clips), 6400)).pooled
    assert theirs["embedding"].shape == (3, 16)
    assert hoplite["embedding"].shape == (3, 1, 16)
    for logits in (theirs["logits"], hoplite["logits"]):
        assert_close(logits.sigmoid(), fitted(clips), atol=1e-4, rtol=0)
    for found in (theirs["embedding"], hoplite["embedding"][:, 0]):
        assert_close(found, embedding, atol=1e-4, rtol=0)


def test_other_programs_read_an_encoder_alone(exported: Exported) -> None:
    clips = 0.1 * torch.randn(2, 8000)
    with torch.no_grad():
        embedding = exported.encoder(clips).pooled
    classes, theirs = read_as_opensoundscape(exported.file, clips.flatten().numpy())
    assert (classes, list(theirs)) == ([], ["embedding"])
    names = {"embedding": "embedding", "logits": "logits"}
    hoplite = read_as_hoplite(exported.file, clips.flatten().numpy(), 16_000, 0.5, "waveform", names)
    assert list(hoplite) == ["embedding"]
    for found in (theirs["embedding"], hoplite["embedding"][:, 0]):
        assert_close(found, embedding, atol=1e-4, rtol=0)
