"""The name of an encoder, taken apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from oscine.models.errors import OscineError
from oscine.models.files import strip_local_paths
from oscine.models.hub.model_name import HUB, LOCAL, ONNX_FILE, ModelName


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("bat_base.as2m", ("", "bat_base.as2m", None)),
        ("bat_base.as2m@v1.0/beta", ("", "bat_base.as2m", "v1.0/beta")),
        ("mine.encoders:Mine", ("", "mine.encoders:Mine", None)),
        ("./runs/at@home", ("", "./runs/at@home", None)),
        ("hf-hub:robin/tiny", (HUB, "robin/tiny", None)),
        ("hf-hub:robin/tiny@v1", (HUB, "robin/tiny", "v1")),
        ("local-dir:runs/at@home", (LOCAL, "runs/at@home", None)),
        ("onnx-file:birds.onnx", (ONNX_FILE, "birds.onnx", None)),
    ],
)
def test_a_name_is_taken_apart_and_put_together_again(name, parts):
    found = ModelName.parse(name)
    assert (found.prefix, found.rest, found.revision) == parts
    assert str(found) == name
    assert found.is_class == (name == "mine.encoders:Mine")
    assert [found.without_prefix, found.on_hub, found.is_folder, found.is_onnx_file].count(True) == 1


def test_a_path_may_stand_with_its_prefix_or_without():
    assert ModelName.parse("local-dir:runs/mine").path == ModelName.parse(Path("runs/mine")).path == Path("runs/mine")
    for name in ("runs/at@home", "mine@home", "mine@", "a:B"):
        assert ModelName.parse(name).path == Path(name)
    assert not ModelName.parse("hf-hub:robin/tiny").path.is_relative_to("robin")


def test_a_revision_is_asked_for_once():
    named = ModelName.parse("hf-hub:robin/tiny@v1")
    assert named.at(None) == named.at("v1") == named
    assert str(ModelName.parse("hf-hub:robin/tiny").at("v2")) == "hf-hub:robin/tiny@v2"
    assert str(ModelName.parse("bat_base.as2m").at("v2")) == "bat_base.as2m@v2"
    with pytest.raises(OscineError, match=r"^hf-hub:robin/tiny@v1 and revision='v2' differ; give one of them"):
        named.at("v2")


def test_no_name_that_holds_a_path_is_published_with_it():
    for prefix in (LOCAL, ONNX_FILE):
        assert ModelName.parse(f"{prefix}/home/robin/birds").on_disk
        assert strip_local_paths(f"{prefix}/home/robin/birds") == f"{prefix}birds"
