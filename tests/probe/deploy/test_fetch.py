"""A published probe is fetched whole, with the encoder that it needs, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from oscine.models.errors import OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import fetch_with_encoder, holds_probe, load_probe, save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.tasks.kinds import TaskKind
from tests.hub_server import Fault, Hub, serving, sha256
from tests.tiny_encoders import noise, shaken

BIRDS = "hf-hub:robin/birds"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        yield hub


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(hub: Hub, tmp_path: Path, beside: bool) -> FittedProbe:
    """A probe on the Hub, whose encoder lies beside it or is published itself, in a commit before the newest one."""
    saved = save_pretrained(shaken("BAT"), tmp_path / "encoder")
    hub.add("robin/encoder", files(saved))
    encoder = create_model("hf-hub:robin/encoder")
    hub.repositories["robin/encoder"].commit({"config.json": b"{}"})
    torch.manual_seed(1)
    fitted = FittedProbe(LinearProbe(encoder, 2).eval(), encoder, {}, ["owl", "wren"], 0.5, TaskKind.MULTI)
    hub.add("robin/birds", files(save_probe(fitted, tmp_path / "probe", with_encoder=beside)))
    return fitted


@pytest.mark.parametrize("beside", [False, True])
def test_what_was_fetched_with_its_encoder_is_loaded_without_a_network(hub, tmp_path, monkeypatch, beside):
    fitted = published(hub, tmp_path, beside)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "new"))
    fetched = fetch_with_encoder(f"{BIRDS}@main")
    names = [f"{BIRDS}@main", f"{BIRDS}@main, its encoder" if beside else "hf-hub:robin/encoder"]
    assert list(fetched) == names
    for weights in fetched.values():
        assert weights.sha256 == sha256(weights.path.read_bytes())
    commits = [hub.repositories["robin/birds"].refs["main"], fitted.encoder.provenance["revision"]]
    assert [weights.revision for weights in fetched.values()] == [commits[0], commits[0] if beside else commits[1]]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert torch.equal(load_probe(BIRDS)(noise(2, 800)), fitted(noise(2, 800)))
    assert hub.requests == []


def test_a_repository_is_a_probes_by_its_file(hub, tmp_path):
    published(hub, tmp_path, beside=False)
    assert holds_probe(BIRDS)
    assert not holds_probe("hf-hub:robin/encoder")
    assert not holds_probe("hf-hub:robin/nothing")


def test_an_encoder_that_is_gone_is_named(hub, tmp_path, monkeypatch):
    published(hub, tmp_path, beside=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "new"))
    del hub.repositories["robin/encoder"]
    with pytest.raises(
        OscineError, match=r"the probe hf-hub:robin/birds needs its encoder: .* no repository robin/enc"
    ):
        fetch_with_encoder(BIRDS)


def test_a_strangers_probe_opens_no_encoder_of_this_disk(hub, tmp_path):
    published(hub, tmp_path, beside=False)
    saved = files(tmp_path / "probe")
    facts = json.loads(saved["probe.json"])
    facts["encoder"] |= {"model": f"local-dir:{tmp_path / 'encoder'}", "repository": None, "revision": None}
    hub.add("robin/birds", saved | {"probe.json": json.dumps(facts).encode()})
    with pytest.raises(OscineError, match=r"names an encoder on its author's disk, local-dir:"):
        load_probe(BIRDS)


@pytest.mark.parametrize("flip", [3, 60, 500])
def test_a_probe_json_with_another_hash_than_the_hub_says_is_refused_until_it_is_fetched_again(hub, tmp_path, flip):
    fitted = published(hub, tmp_path, beside=False)
    hub.faults.append(Fault("GET /robin/birds/resolve/.*probe.json", flip=flip))
    for _ in range(2):
        with pytest.raises(
            OscineError, match=r"^robin/birds/probe.json has git hash .*, expected .* fetch it again$"
        ) as it:
            load_probe(BIRDS)
    Path(str(it.value).partition("delete ")[2].removesuffix(" and fetch it again")).unlink()
    assert torch.equal(load_probe(BIRDS)(noise(2, 800)), fitted(noise(2, 800)))
