"""Rows of the zoo that are ONNX files, in the layouts in which they are published, from a Hub on loopback and from disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from torch.testing import assert_close

from oscine.cli.console.command import call
from oscine.cli.hub.convert import convert
from oscine.models import checkpoints
from oscine.models.encoders.onnx_encoder import ONNXEncoder
from oscine.models.errors import OscineError
from oscine.models.files import file_hash
from oscine.models.hub.onnx_data import source_hash
from oscine.models.publish.convert import convert_checkpoint
from oscine.models.text.class_names import read_class_list
from oscine.models.zoo import create_model, fetch_weights
from tests.hub_server import Hub, serving, sha256
from tests.onnx_models import (
    CLASS_LISTS,
    CLASSES,
    LAYOUTS,
    MAPPED,
    NAMES,
    layout,
    pin,
    published,
    with_data,
    write_small,
)
from tests.tiny_encoders import noise

PERCH = "justinchuby/Perch-onnx"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        yield hub


@pytest.mark.parametrize("listed", [True, False])
def test_perch_is_fetched_by_name_and_has_its_map(hub: Hub, listed: bool) -> None:
    labels = {"labels.csv": CLASS_LISTS["perch_v2"].encode()} if listed else {}
    hub.add(PERCH, {"perch_v2.onnx": published("perch_v2"), **labels})
    encoder = create_model("perch_v2", pretrained=True)
    assert isinstance(encoder, ONNXEncoder)
    clips = noise(2, 160_000)
    with torch.no_grad():
        embedding, spatial, _, label = layout("perch_v2")(encoder.prepare(clips))
    features = encoder(clips)
    assert encoder.step_seconds == 0.32  # not 5 s / 16
    assert features.patches.shape == (1, 2, 16, 4, 1536)
    assert_close(features.patches[0], spatial)
    assert_close(features.pooled, embedding)
    if listed:
        assert_close(encoder.scoring()(clips).pooled, label)
    else:
        with pytest.raises(
            OscineError, match=r"is a classifier without names: labels\.csv, column inat2024_fsd50k, did"
        ):
            encoder.scoring()
    assert len(encoder.classes) == (14_795 if listed else 0)
    assert encoder.provenance is not None
    assert encoder.provenance["sha256"] == encoder.config["sha256"] == sha256(published("perch_v2"))
    assert encoder.origin is not None
    assert (encoder.origin.model, encoder.origin.licence) == ("perch_v2.inat2024_fsd50k", "Apache-2.0")
    assert encoder.config == create_model(f"hf-hub:{PERCH}").config


def test_data_beside_the_file_is_fetched_with_it_of_the_same_commit(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_data(published("perch_v2"), tmp_path, "perch_v2.onnx")
    files = {name: (tmp_path / name).read_bytes() for name in (path.name, f"{path.name}.data")}
    hub.add(PERCH, files)
    assert fetch_weights("perch_v2").path.with_name(f"{path.name}.data").is_file()
    hub.repositories[PERCH].commit({f"{path.name}.data": b"another commit's"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    encoder, clips = create_model("perch_v2", pretrained=True), noise(1, 160_000)
    with torch.no_grad():
        assert_close(encoder(clips).pooled, layout("perch_v2")(encoder.prepare(clips))[0])
    assert encoder.origin is not None
    assert encoder.origin.sha256 == source_hash(path, file_hash(path))


def test_a_name_with_a_known_hash_opens_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"never opened")
    words = (
        r"other\.onnx has sha256 \w{64}, birdnet_v3\.global_11k has 999bb6\w+; take the official file, or name the arch"
    )
    with pytest.raises(OscineError, match=words):
        create_model("birdnet_v3.global_11k", checkpoint_path=tmp_path / "other.onnx")


def test_birdnet_is_a_file_whose_outputs_go_by_their_places(tmp_path: Path) -> None:
    row = checkpoints.ARCHITECTURES["birdnet_v3"]
    (tmp_path / "birdnet.onnx").write_bytes(published("birdnet_v3"))
    (tmp_path / str(row.config["class_file"])).write_text(CLASS_LISTS["birdnet_v3"])
    encoder = create_model("birdnet_v3", checkpoint_path=tmp_path / "birdnet.onnx")
    assert isinstance(encoder, ONNXEncoder)
    clips = noise(3, 96_000)
    with torch.no_grad():
        scores, vectors = layout("birdnet_v3")(clips)
    assert_close(encoder(clips).pooled, vectors)
    assert_close(encoder.scoring()(clips).pooled, scores)
    assert (encoder.dim, encoder.spatial, encoder.classes[1]) == (1280, False, "Turdus species1")


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_file_becomes_a_folder_that_loads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "official.onnx").write_bytes(published(name))
    row = next(row for row in checkpoints.PUBLISHED if row.architecture == name)
    arguments = [row.name, str(tmp_path / "out"), "--checkpoint", str(tmp_path / "official.onnx")]
    if row.sha256:  # which a stand-in has not
        with pytest.raises(OscineError, match=r"official\.onnx has sha256 \w{64}, birdnet_v3\.global_11k has 999bb6"):
            convert_checkpoint(row.name, tmp_path / "out", tmp_path / "official.onnx")
    pin(monkeypatch, row.name, published(name))
    assert not call(convert, arguments)
    made = create_model(f"local-dir:{tmp_path / 'out'}")
    assert made.config["sha256"] == sha256(published(name))
    assert made.origin is not None
    assert made.origin.licence == row.licence


def test_another_size_than_the_rows_is_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = checkpoints.ARCHITECTURES["birdnet_v3"]
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "birdnet_v3", row._replace(config=row.config | {"dim": 1024}))
    (tmp_path / "birdnet.onnx").write_bytes(published("birdnet_v3"))
    assert create_model("birdnet_v3", checkpoint_path=tmp_path / "birdnet.onnx").dim == 1280


# Lists of classes


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("\n".join(NAMES), ""),
        ("\n".join(["birds", *NAMES, ""]), "birds"),
        ("\ufeffid;birds\n" + "\n".join(f"{number};{name}" for number, name in enumerate(NAMES)), "birds"),
        ("id\tbirds\n" + "\n".join(f"{number}\t{name}" for number, name in enumerate(NAMES)), "birds"),
        ('birds,"also, called"\n' + "\n".join(f'{name},"a, b"' for name in NAMES), "birds"),
    ],
)
def test_names_of_classes_lie_beside_the_file(text: str, column: str, tmp_path: Path) -> None:
    (tmp_path / "birds.csv").write_text(text, encoding="utf-8")
    assert read_class_list(tmp_path / "birds.csv", column) == NAMES
    encoder = create_model(f"onnx-file:{write_small(tmp_path)}", **MAPPED, class_file="birds.csv", class_column=column)
    assert isinstance(encoder, ONNXEncoder)
    assert encoder.classes == NAMES
    assert (encoder.scoring().dim, encoder.scoring().spatial) == (CLASSES, False)


@pytest.mark.parametrize(
    ("text", "settings", "words"),
    [
        (
            "\n".join(["birds", *NAMES]),
            {},
            r"birds\.csv has 6 names, the file has 5 scores a clip; give class_column where",
        ),
        ("\n".join(["wren", *NAMES[:4]]), {}, r"birds\.csv has the name 'wren' 2 times, expected each class once"),
        (
            "birds\n" + "\n".join([*NAMES[:4], '""']),
            {"class_column": "birds"},
            r"birds\.csv has the name '', expected 1 to",
        ),
        (
            f"birds\n{'w' * 200_000}",
            {"class_column": "birds"},
            r"birds\.csv is no table \(field larger than field limit",
        ),
        ("\n".join(NAMES), {"class_column": "birds"}, r"birds\.csv has no column 'birds'; it begins with 'wren'"),
        (
            "\n".join(NAMES),
            {"class_file": "../birds.csv"},
            r"small\.onnx was given class_file '\.\./birds\.csv', which is not beside it; .*: put the list beside it and",
        ),
        (
            "\n".join(NAMES),
            {"class_file": "brids.csv"},
            r"no class_file 'brids\.csv' beside .*small\.onnx; put the list there, or leave class_file out",
        ),
        ("\n".join(NAMES), {"scores": None}, r"birds\.csv names classes, and no output has their scores; give scores="),
    ],
)
def test_names_that_do_not_fit_are_said(text: str, settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    (tmp_path / "birds.csv").write_text(text)
    with pytest.raises(OscineError, match=words):
        create_model(f"onnx-file:{write_small(tmp_path)}", **{**MAPPED, "class_file": "birds.csv", **settings})
