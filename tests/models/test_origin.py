"""Where weights came from, and what their owners state, is found out while it can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save

from oscine.models import zoo
from oscine.models.encoder import Encoder
from oscine.models.errors import OscineError
from oscine.models.hub import save_pretrained
from oscine.models.origin import NOT_KNOWN, NOT_STATED, SOURCE, Source, licence_on_the_hub, read_source, source_of
from oscine.models.zoo import ARCHITECTURES, create_model
from tests.hub_server import Hub, serving

TINY = {"dim": 24, "depth": 1, "heads": 2, "seconds": 1.0}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        yield hub


def tiny() -> Encoder:
    torch.manual_seed(0)
    return create_model("bat_tiny", **TINY)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: cc-by-nc-4.0\n---\n# a", "cc-by-nc-4.0"),
        (b"---\nlicense: other\nlicense_name: a\nlicense_link: https://a.example\n---\n", "a=https://a.example"),
        (b"---\ntags: [bird]\n---\n", NOT_STATED),
        (b"# a card without metadata", NOT_STATED),
        (None, NOT_STATED),
        (b"---\nlicense: [mit, gpl]\n---\n", NOT_KNOWN),
        (b"---\n{license: \n---\n", NOT_KNOWN),
        (b"---\nlicense: \xff\n---\n", NOT_KNOWN),
    ],
)
def test_a_card_says_the_licence(hub, card, licence):
    commit = hub.add("robin/old", {"README.md": card} if card else {"other.md": b""})
    assert licence_on_the_hub("robin/old", commit) == licence


def test_without_a_network_it_is_not_known(hub, monkeypatch):
    commit = hub.add("robin/old", {"README.md": b"---\nlicense: mit\n---\n"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert licence_on_the_hub("robin/old", commit) == NOT_KNOWN


def test_an_official_checkpoint_is_known_by_its_row(hub, monkeypatch):
    monkeypatch.setitem(zoo.ARCHITECTURES, "bat_base", ARCHITECTURES["bat_base"]._replace(config=TINY))
    repository = "lrauch/BAT-vit-b16-pretrainedAS2M"
    commit = hub.add(repository, {"model.safetensors": save(dict(tiny().state_dict()))})
    source = source_of(create_model("bat_base", pretrained=True))
    assert source is not None
    assert (source.model, source.licence) == ("bat_base.as2m", "MIT")
    assert (source.repository, source.revision, source.trained) == (repository, commit, True)


def test_a_folder_hands_on_what_it_was_made_from(tmp_path):
    folder = save_pretrained(tiny(), tmp_path / "saved")
    assert source_of(create_model(f"local-dir:{folder}")) is None
    converted = Source("eat_base.as2m", "eat.pt", 64 * "a", "MIT")
    (folder / SOURCE).write_bytes(converted.as_json())
    assert read_source(folder) == converted
    assert source_of(create_model(f"local-dir:{folder}")) == converted._replace(trained=True)


def test_random_weights_are_nobodys():
    encoder = tiny()
    assert source_of(encoder) is None
    encoder.provenance = {"model": "bat_base.as2m", "sha256": "random"}
    assert source_of(encoder) is None


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / SOURCE).write_text("{}")
    with pytest.raises(OscineError, match=r"source.json is not what oscine writes \(.*\); convert or train again"):
        read_source(tmp_path)
    (tmp_path / SOURCE).unlink()
    (tmp_path / SOURCE).mkdir()
    with pytest.raises(OscineError, match=r"source.json cannot be read \(Is a directory\)"):
        read_source(tmp_path)
