"""The classifier in an ONNX file is a fitted probe, with the names that lie beside the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
import soundfile
import torch
from huggingface_hub import constants
from torch.testing import assert_close

from oscine.cli.console.command import call
from oscine.cli.encode.predict import predict
from oscine.models import checkpoints
from oscine.models.encoders.base.fingerprint import fingerprint
from oscine.models.errors import OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.named_probe import check_probe
from oscine.probe.deploy.saved_probe import load_probe, origin_of_probe, save_probe
from oscine.probe.heads.identity import IdentityProbe
from oscine.probe.heads.registry import PROBES
from tests.hub_server import Hub, serving
from tests.onnx_models import CLASS_LISTS, MAPPED, NAMES, RATE, SAMPLES, layout, pin, published, small, write_small
from tests.tiny_encoders import noise, small_encoder

PERCH = "justinchuby/Perch-onnx"
CLASSIFIER: dict[str, Any] = MAPPED | {"class_file": "birds.txt"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of an encoder that is a classifier."""
    (tmp_path / "birds.txt").write_text("\n".join(NAMES))
    encoder = create_model(f"onnx-file:{write_small(tmp_path)}", **CLASSIFIER)
    return save_pretrained(encoder, tmp_path / "saved")


def test_perchs_classifier_goes_by_its_name(hub: Hub) -> None:
    hub.add(PERCH, {"perch_v2.onnx": published("perch_v2"), "labels.csv": CLASS_LISTS["perch_v2"].encode()})
    fitted = load_probe("perch_v2")
    clips = noise(2, 160_000)
    with torch.no_grad():
        label = layout("perch_v2")(fitted.encoder.prepare(clips))[3]
    assert_close(fitted(clips), (0.97 * label - 10).sigmoid(), atol=1e-6, rtol=0)
    assert (len(fitted.classes), fitted.classes[7], fitted.seconds) == (14_795, "Turdus species7", 5.0)
    assert fitted.origin is not None
    assert (fitted.origin.model, fitted.origin.licence) == ("perch_v2.inat2024_fsd50k", "Apache-2.0")
    assert fitted.origin.fingerprint == fingerprint(fitted.encoder)  # it has no tensors of its own
    assert origin_of_probe(fitted) == fitted.origin


def test_without_its_class_list_a_classifier_says_what_would_do(hub: Hub, tmp_path: Path) -> None:
    hub.add(PERCH, {"perch_v2.onnx": published("perch_v2")})
    words = r"perch_v2\.inat2024_fsd50k is a classifier without names: labels\.csv, column inat2024_fsd50k, did not lie"
    with pytest.raises(OscineError, match=words):
        load_probe("perch_v2")
    (tmp_path / "perch_v2.onnx").write_bytes(published("perch_v2"))
    (tmp_path / "labels.csv").write_text(CLASS_LISTS["perch_v2"])
    fitted = load_probe("perch_v2", create_model("perch_v2", checkpoint_path=tmp_path / "perch_v2.onnx"))
    assert len(fitted.classes) == 14_795
    with pytest.raises(
        OscineError, match=r"needs the encoder of that name.*; this one has the class BAT, expected ONNXEncoder"
    ):
        load_probe("perch_v2", small_encoder())


def test_another_file_is_not_the_classifier_of_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "birds.txt").write_text("\n".join(NAMES))
    other = create_model(f"onnx-file:{write_small(tmp_path)}", **CLASSIFIER)
    row = checkpoints.find_published("birdnet_v3")
    assert row is not None
    words = rf"the classifier of {row.name} needs .*the weights of small\.onnx with sha256 {{}}, expected {row.sha256};"
    with pytest.raises(OscineError, match=words.format(other.config["sha256"])):
        load_probe("birdnet_v3", other)
    pin(monkeypatch, row.name, published("birdnet_v3"))
    (tmp_path / "birdnet.onnx").write_bytes(published("birdnet_v3"))
    hushed = create_model("birdnet_v3", checkpoint_path=tmp_path / "birdnet.onnx", scale=0.5)
    with pytest.raises(OscineError, match=r"this one has scale=0\.5, expected 1\.0; leave it out"):
        load_probe("birdnet_v3", hushed)


def test_birdnets_scores_are_probabilities_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin(monkeypatch, "birdnet_v3.global_11k", published("birdnet_v3"))
    (tmp_path / "birdnet.onnx").write_bytes(published("birdnet_v3"))
    names = str(checkpoints.ARCHITECTURES["birdnet_v3"].config["class_file"])
    (tmp_path / names).write_text(CLASS_LISTS["birdnet_v3"])
    fitted = load_probe("birdnet_v3", create_model("birdnet_v3", checkpoint_path=tmp_path / "birdnet.onnx"))
    clips = noise(2, 96_000)
    with torch.no_grad():
        assert_close(fitted(clips), layout("birdnet_v3")(clips)[0], atol=1e-6, rtol=0)
    with pytest.raises(
        OscineError, match=r"birdnet_v3.* is a file to get from its authors: put BirdNET.*oscine convert birdnet_v3"
    ):
        load_probe("birdnet_v3")
    with pytest.raises(OscineError, match=r"run oscine convert birdnet_v3\.global_11k FOLDER --checkpoint BirdNET"):
        check_probe("birdnet_v3")


def test_an_encoders_folder_and_a_file_are_classifiers_too(folder: Path, tmp_path: Path) -> None:
    fitted = load_probe(f"local-dir:{folder}")
    clips = noise(3, SAMPLES)
    with torch.no_grad():
        assert_close(fitted(clips), small()(clips)[2].sigmoid())
    assert torch.equal(load_probe(folder)(clips), fitted(clips))
    assert fitted.classes == NAMES
    assert load_probe(folder, create_model(f"local-dir:{folder}")).classes == NAMES
    with pytest.raises(
        OscineError,
        match=r"the classifier of local-dir:.*saved needs .*; this one has the class BAT, expected ONNXEncoder; leave",
    ):
        load_probe(folder, small_encoder())
    with pytest.raises(OscineError, match=r"no probe in .*plain"):
        load_probe(save_pretrained(small_encoder(), tmp_path / "plain"))


def test_an_open_encoder_has_to_be_of_the_file_that_is_named(folder: Path, hub: Hub, tmp_path: Path) -> None:
    name, encoder = f"onnx-file:{tmp_path}/small.onnx", create_model(f"local-dir:{folder}")
    assert load_probe(name, encoder).classes == NAMES
    (tmp_path / "other").mkdir()
    model = onnx.load(write_small(tmp_path / "other"))
    model.producer_name = "another"
    onnx.save(model, tmp_path / "other/small.onnx")
    with pytest.raises(
        OscineError, match=r"onnx-file:.*other/small\.onnx needs .* this one has joined_sha256='.*leave it"
    ):
        load_probe(f"onnx-file:{tmp_path}/other/small.onnx", encoder)
    with pytest.raises(OscineError, match=r"^no weights at /nowhere\.onnx"):
        load_probe("onnx-file:/nowhere.onnx", encoder)
    with pytest.raises(OscineError, match=r"this one has the class BAT, expected ONNXEncoder; leave it out"):
        load_probe(name, small_encoder())
    hub.add("robin/birds", {path.name: path.read_bytes() for path in folder.iterdir()})
    assert load_probe("hf-hub:robin/birds", encoder).classes == NAMES
    asked = [path for _, path in hub.requests]
    assert [path for path in asked if path.endswith("config.json")]
    assert not [path for path in asked if path.endswith("model.safetensors")], "no second encoder is fetched"
    louder = create_model(f"onnx-file:{tmp_path}/small.onnx", **CLASSIFIER, peak=0.5)
    for same in (folder, "hf-hub:robin/birds"):
        with pytest.raises(OscineError, match=r"this one has peak=0\.5, expected "):
            load_probe(same, louder)


@pytest.mark.parametrize(("activation", "single"), [("softmax", True), ("sigmoid", False), ("none", False)])
def test_the_config_says_what_makes_probabilities(activation: str, single: bool, tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text("\n".join(NAMES))
    encoder = create_model(f"onnx-file:{write_small(tmp_path)}", **CLASSIFIER, activation=activation)
    fitted = load_probe(save_pretrained(encoder, tmp_path / "saved"))
    assert fitted.single_label == single
    made, scores = fitted(noise(2, SAMPLES)), small()(noise(2, SAMPLES))[2].detach()
    expected = {"softmax": scores.softmax(1), "sigmoid": scores.sigmoid(), "none": scores.clamp(1e-7, 1 - 1e-7)}
    assert_close(made, expected[activation], atol=1e-6, rtol=0)


def test_what_is_said_of_a_classifier_tells_it_from_another(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "birds.txt").write_text("\n".join(reversed(NAMES)))
    other = load_probe(
        save_pretrained(create_model(f"onnx-file:{tmp_path}/small.onnx", **CLASSIFIER), tmp_path / "other")
    )
    said, of_other = load_probe(folder).describe(), other.describe()
    assert said["probe_fingerprint"] != of_other["probe_fingerprint"]


def test_a_published_encoder_is_the_classifier_in_its_file(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("robin/birds", {path.name: path.read_bytes() for path in folder.iterdir()})
    fitted = load_probe("hf-hub:robin/birds@main")
    assert fitted.classes == NAMES
    assert torch.equal(fitted(noise(2, SAMPLES)), load_probe(folder)(noise(2, SAMPLES)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_probe("hf-hub:robin/birds").classes == NAMES
    with pytest.raises(OscineError, match=r"^probe\.json of robin/none at main is not in the cache"):
        load_probe("hf-hub:robin/none")


def test_a_published_encoder_without_classes_is_no_classifier(hub: Hub, tmp_path: Path) -> None:
    plain = save_pretrained(small_encoder(), tmp_path / "plain")
    hub.add("robin/plain", {path.name: path.read_bytes() for path in plain.iterdir()})
    with pytest.raises(OscineError, match=r"^robin/plain has no file probe\.json at main"):
        load_probe("hf-hub:robin/plain")


def test_it_is_saved_and_loaded_as_any_probe(folder: Path, tmp_path: Path) -> None:
    fitted = load_probe(folder)
    save_probe(fitted, tmp_path / "probe", with_encoder=True)
    loaded = load_probe(tmp_path / "probe")
    assert isinstance(loaded.probe, IdentityProbe)
    assert torch.equal(loaded(noise(2, SAMPLES)), fitted(noise(2, SAMPLES)))
    assert loaded.describe()["probe_fingerprint"] == fingerprint(fitted.encoder)
    assert "IdentityProbe" not in PROBES
    with pytest.raises(OscineError, match="IdentityProbe has 3 classes, the encoder gives 5 scores"):
        IdentityProbe(fitted.encoder, 3)


def test_a_folder_of_recordings_is_predicted_without_a_label(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    soundfile.write(tmp_path / "night/owl.wav", noise(3 * SAMPLES).numpy(), RATE)
    table, some = tmp_path / "said.csv", tmp_path / "some.csv"
    arguments = [str(tmp_path / "night"), "--probe", str(folder)]
    assert call(predict, [*arguments, "--out", str(table), "--detections", str(tmp_path / "said.txt")]) == 0
    said = pd.read_csv(table)
    assert list(said[NAMES].shape) == [3, len(NAMES)]
    assert np.isfinite(said[NAMES]).all().all()
    (tmp_path / "two.txt").write_text("owl\nwren\n")
    assert call(predict, [*arguments, "--out", str(some), "--classes", str(tmp_path / "two.txt")]) == 0
    assert_close(torch.tensor(pd.read_csv(some)[["owl", "wren"]].values), torch.tensor(said[["owl", "wren"]].values))
