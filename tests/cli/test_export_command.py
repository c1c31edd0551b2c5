"""`oscine export`: one file that runs without PyTorch, or one line that says why not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from oscine.cli.command import Misuse
from oscine.cli.export import main
from oscine.models import zoo
from oscine.models.bat import BAT
from oscine.models.errors import OscineError
from oscine.models.export import session_of
from oscine.models.hub import save_pretrained
from oscine.models.zoo import Architecture, create_model
from oscine.probe.fitted import FittedProbe
from oscine.probe.linear import LinearProbe
from oscine.probe.saved import save_probe

TINY = {"dim": 16, "depth": 1, "heads": 2, "seconds": 0.5}


@pytest.fixture(autouse=True)
def wren(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(zoo.ARCHITECTURES, "wren_tiny", Architecture(BAT, TINY, "none"))


def test_a_saved_encoder_becomes_a_file_that_gives_its_features(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    saved, out = save_pretrained(create_model("wren_tiny"), tmp_path / "saved"), tmp_path / "wren.onnx"
    main([f"local-dir:{saved}", str(out)])
    said, complaints = capfd.readouterr()
    assert complaints == ""
    size = f"{out.stat().st_size / 1e6:.1f} MB"
    assert (
        said
        == f"{out}: waveform [batch, 8000] at 16000 Hz (0.5 s) to embedding [batch, 16], {size}, equal to PyTorch\n"
    )
    session = session_of(str(out), threads=1)
    waveform = 0.1 * torch.randn(3, 8000)
    with torch.no_grad():
        expected = create_model(f"local-dir:{saved}")(waveform).pooled
    assert_close(torch.from_numpy(session.run(None, {"waveform": waveform.numpy()})[0]), expected, atol=1e-4, rtol=0)
    assert session.get_modelmeta().custom_metadata_map["model"] == "local-dir:saved"


def test_random_weights_are_asked_for_by_name_and_said_in_the_file(tmp_path: Path) -> None:
    out = tmp_path / "wren.onnx"
    main(["wren_tiny", str(out), "--random-weights"])
    facts = session_of(str(out), threads=1).get_modelmeta().custom_metadata_map
    assert (facts["model"], facts["weights_sha256"]) == ("wren_tiny", "random")


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="wren_tiny has no weights to fetch"):
        main(["wren_tiny", str(tmp_path / "wren.onnx")])
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match="no model 'wren'"):
        main(["wren", str(tmp_path / "wren.onnx"), "--random-weights"])


def test_a_saved_encoder_has_no_random_weights(tmp_path: Path) -> None:
    saved = save_pretrained(create_model("wren_tiny"), tmp_path / "saved")
    with pytest.raises(Misuse, match="leave out --random-weights"):
        main([f"local-dir:{saved}", str(tmp_path / "wren.onnx"), "--random-weights"])


def test_a_file_that_is_there_is_replaced_only_on_demand(tmp_path: Path) -> None:
    out = tmp_path / "wren.onnx"
    out.write_bytes(b"before")
    with pytest.raises(OscineError, match="overwrite"):
        main(["wren_tiny", str(out), "--random-weights"])
    assert out.read_bytes() == b"before"
    main(["wren_tiny", str(out), "--random-weights", "--overwrite"])
    assert session_of(str(out), threads=1).get_inputs()[0].shape == ["batch", 8000]


@pytest.mark.parametrize(("name", "reason"), [("wren.pt", "ends in .onnx"), ("absent/wren.onnx", "there is no folder")])
def test_a_name_that_cannot_be_written_is_refused_before_weights_are_fetched(
    tmp_path: Path, name: str, reason: str
) -> None:
    with pytest.raises(OscineError, match=reason):
        main(["bird_mae_base.xcl", str(tmp_path / name)])


def test_the_file_needs_no_pytorch(tmp_path: Path) -> None:
    out = tmp_path / "wren.onnx"
    main(["wren_tiny", str(out), "--random-weights"])
    script = f"""
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession({str(out)!r}, providers=["CPUExecutionProvider"])
clips = numpy.zeros((2, 8000), numpy.float32)
assert session.run(["embedding"], {{"waveform": clips}})[0].shape == (2, 16)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_probe_goes_along(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(1)
    saved, out = save_pretrained(create_model("wren_tiny"), tmp_path / "saved"), tmp_path / "wren.onnx"
    encoder = create_model(f"local-dir:{saved}")
    fitted = FittedProbe(LinearProbe(encoder, 2).eval(), encoder, {}, ["robin", "wren"], 0.5, False)
    folder = save_probe(fitted, tmp_path / "probe")
    main([f"local-dir:{saved}", str(out), "--probe", str(folder)])
    assert "to embedding [batch, 16] and logits [batch, 2], " in capsys.readouterr().out
    waveform = 0.1 * torch.randn(3, 8000)
    logits = session_of(str(out), threads=1).run(["logits"], {"waveform": waveform.numpy()})[0]
    assert_close(torch.from_numpy(logits).sigmoid(), fitted(waveform), atol=1e-4, rtol=0)
    with pytest.raises(OscineError, match="this encoder has another fingerprint; load the probe with that one"):
        main(["wren_tiny", str(out), "--probe", str(folder), "--random-weights", "--overwrite"])
