"""A probe to the Hub and back: what goes along, under which licence, and what its card says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import constants

from oscine.models.errors import OscineError
from oscine.models.hub.folder import save_pretrained
from oscine.models.publish.terms import Data
from oscine.models.publish.upload import push_to_hub
from oscine.models.zoo import create_model
from oscine.probe import push_probe_to_hub
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from oscine.probe.heads.linear import LinearProbe
from oscine.probe.metrics.calibration import Scaling
from oscine.probe.tasks.kinds import TaskKind
from tests.hub_server import Fault, Hub, serving

TINY = {"dim": 24, "depth": 1, "heads": 2, "seconds": 0.5}
TOKEN, LICENCE = "hf_a_secret_of_robin", "cc-by-4.0"
CLASSES = ["robin", "wren", "/m/015p6"]
BIRDS = "hf-hub:robin/birds"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with serving(tmp_path / "home", monkeypatch) as hub:
        hub.tokens[TOKEN] = "robin"
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def fitted_on(name: str, task: str = "garden") -> FittedProbe:
    """A probe on an encoder that is opened by its name."""
    encoder = create_model(name, pretrained="." in name)
    torch.manual_seed(1)
    probe = LinearProbe(encoder, 3, pool="mean").eval()
    return FittedProbe(
        probe, encoder, {"pool": "mean"}, CLASSES, 0.5, TaskKind.MULTI, Scaling(torch.tensor([2.0]), torch.tensor([0.5])),
        torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), {"task": task, "rows": 8, "judged": ["0", "1"]}, {"map": 0.75},
    )  # fmt: skip


@pytest.fixture
def local(tmp_path: Path) -> FittedProbe:
    """A probe whose encoder lies in a folder."""
    torch.manual_seed(0)
    save_pretrained(create_model("bat_tiny", **TINY), tmp_path / "encoder")
    return fitted_on(f"local-dir:{tmp_path / 'encoder'}", str(tmp_path / "garden"))


@pytest.fixture
def named(hub: Hub) -> FittedProbe:
    """A probe whose encoder is on the Hub, under a licence that asks for more than most."""
    torch.manual_seed(0)
    push_to_hub(create_model("bat_tiny", **TINY), "robin/encoder", "cc-by-nc-4.0")
    return fitted_on("hf-hub:robin/encoder")


def files_of(hub: Hub, repository: str = "robin/birds", tag: str = "v1") -> dict[str, bytes]:
    found = hub.repositories[repository]
    return found.commits[found.refs[tag]]


def metadata(files: dict[str, bytes]) -> dict[str, object]:
    return yaml.safe_load(files["README.md"].decode().split("---\n")[1])


def same(one: FittedProbe, other: FittedProbe) -> bool:
    waveform = 0.1 * torch.randn(2, one.samples, generator=torch.Generator().manual_seed(1))
    return torch.equal(one(waveform), other(waveform)) and one.classes == other.classes


def test_a_probe_is_published_from_python_and_stays_as_it_was(hub, local, tmp_path):
    before = dict(local.encoder.provenance)
    commit = push_probe_to_hub(local, "robin/birds", LICENCE)
    own = {"README.md", "probe.json", "probe.safetensors", "encoder/config.json", "encoder/model.safetensors"}
    files = files_of(hub)
    assert set(files) == {".gitattributes", *own}
    assert hub.repositories["robin/birds"].refs == {"main": commit, "v1": commit}
    assert not [path for path, content in files.items() if str(tmp_path).encode() in content]
    assert local.encoder.provenance == before
    assert local.fitted_on["task"] == str(tmp_path / "garden")
    assert same(load_probe(BIRDS), local)
    assert push_probe_to_hub(local, "robin/birds", LICENCE) == commit, "twice is once"


def test_a_probe_in_training_is_published_as_it_will_be_used(hub, local):
    local.encoder.train()
    push_probe_to_hub(local, "robin/birds", LICENCE)
    assert local.encoder.training
    local.encoder.eval()
    assert same(load_probe(BIRDS), local)


def test_a_probe_names_an_encoder_that_is_on_the_hub_by_its_commit(hub, named):
    commit = hub.repositories["robin/encoder"].refs["v1"]
    hub.repositories["robin/encoder"].commit({"config.json": b"{}"})  # what is there later is another one
    push_probe_to_hub(named, "robin/birds")
    files = files_of(hub)
    assert set(files) == {".gitattributes", "README.md", "probe.json", "probe.safetensors"}
    known = json.loads(files["probe.json"])["encoder"]
    assert (known["model"], known["revision"], known["beside"]) == ("hf-hub:robin/encoder", commit, False)
    assert metadata(files)["base_model"] == "robin/encoder"
    assert same(load_probe(f"{BIRDS}@v1"), named)


def test_a_probe_is_not_open_while_the_encoder_that_it_needs_is_private(hub, named):
    with pytest.raises(OscineError) as caught:
        push_probe_to_hub(named, "robin/birds", public=True)
    assert str(caught.value) == (
        "robin/birds would be open to everybody, but the encoder that it needs, robin/encoder, is private; open that one "
        "first"
    )
    assert "robin/birds" not in hub.repositories
    hub.repositories["robin/encoder"].private = False
    push_probe_to_hub(named, "robin/birds", public=True)
    assert not hub.repositories["robin/birds"].private


def test_a_probe_is_not_published_when_its_encoder_is_gone_though_the_cache_has_it(hub, named):
    gone = hub.repositories.pop("robin/encoder")
    known = named.encoder.provenance
    assert create_model(known["model"], revision=known["revision"]).dim == named.encoder.dim
    with pytest.raises(
        OscineError, match=r"robin/birds needs the encoder in robin/encoder: the Hub shows no repository"
    ):
        push_probe_to_hub(named, "robin/birds", "cc-by-nc-4.0")
    assert "robin/birds" not in hub.repositories
    hub.repositories["robin/encoder"] = gone
    push_probe_to_hub(named, "robin/birds")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_an_encoder_that_has_become_another_one_on_the_hub_is_noticed_before_a_tag(hub, named, file):
    found = hub.repositories["robin/encoder"]
    files = found.commits[found.refs["v1"]]
    files[file] = files[file][:-1] + bytes([files[file][-1] ^ 1])
    with pytest.raises(OscineError, match=rf"{file} came back from robin/encoder with sha256 .*; nothing is tagged"):
        push_probe_to_hub(named, "robin/birds")
    assert "v1" not in hub.repositories["robin/birds"].refs


def test_the_encoders_licence_goes_along_over_two_hops(hub, named, tmp_path, monkeypatch):
    torch.nn.init.ones_(named.encoder.cls_token)  # from here on it is on no Hub
    named.encoder.provenance = None
    for other in ("mit", LICENCE):
        with pytest.raises(OscineError, match=rf"licence '{other}', but hf-hub:robin/encoder is under cc-by-nc-4.0"):
            push_probe_to_hub(named, "robin/birds", other)
    push_probe_to_hub(named, "robin/birds")
    assert "encoder/source.json" in files_of(hub)
    again = load_probe(BIRDS)
    assert (again.encoder.origin.model, again.encoder.origin.licence) == (BIRDS, "cc-by-nc-4.0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = load_probe(f"{BIRDS}@{hub.repositories['robin/birds'].refs['v1']}")
    assert (offline.origin, offline.encoder.origin) == (again.origin, again.encoder.origin)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    saved = load_probe(save_probe(again, tmp_path / "saved"))
    for hop, push in (("probe", push_probe_to_hub), ("encoder", lambda it, *how: push_to_hub(it.encoder, *how))):
        with pytest.raises(OscineError, match=r"hf-hub:robin/birds is under cc-by-nc-4.0"):
            push(saved, f"robin/again-{hop}", "mit")
        push(saved, f"robin/again-{hop}")
        told = metadata(files_of(hub, f"robin/again-{hop}"))
        assert (told["license"], told["base_model"]) == ("cc-by-nc-4.0", "robin/birds")


def test_whose_probe_it_is_goes_along_over_two_hops(hub, local, tmp_path):
    push_probe_to_hub(local, "robin/birds", "cc-by-nc-4.0")
    fetched = load_probe(BIRDS)
    saved = load_probe(save_probe(fetched, tmp_path / "saved"))
    assert saved.origin == fetched.origin
    for probe in (fetched, saved):
        for other in ("mit", "cc-by-nc-sa-4.0"):
            with pytest.raises(OscineError, match=rf"licence '{other}', but hf-hub:robin/birds is under cc-by-nc-4.0"):
                push_probe_to_hub(probe, "robin/mine", other)
        with pytest.raises(OscineError, match=r"hf-hub:robin/birds is under cc-by-nc-4.0"):
            push_to_hub(probe.encoder, "robin/encoder", "mit")
    push_probe_to_hub(saved, "robin/mine")
    files = files_of(hub, "robin/mine")
    assert (metadata(files)["license"], metadata(files)["base_model"]) == ("cc-by-nc-4.0", "robin/birds")
    stated = "`hf-hub:robin/birds`, whose source states: cc-by-nc-4.0."
    assert f"The probe: cc-by-nc-4.0. It is {stated} Its encoder is {stated}" in files["README.md"].decode()
    torch.nn.init.ones_(saved.probe.fc.bias)
    push_probe_to_hub(saved, "robin/fitted", "cc-by-nc-sa-4.0")
    card = files_of(hub, "robin/fitted")["README.md"].decode()
    assert f"The probe: cc-by-nc-sa-4.0. It began with {stated} Its encoder is {stated}" in card
    assert not (save_probe(local, tmp_path / "saved") / "source.json").exists()


def test_a_probe_may_ask_for_more_than_the_encoder_beside_it_which_stays_its_authors(hub):
    push_probe_to_hub(fitted_on("bird_mae_tiny.esc10"), "robin/birds", "cc-by-nc-4.0")
    fetched = load_probe(BIRDS)
    assert (fetched.origin.licence, fetched.encoder.origin.licence) == ("cc-by-nc-4.0", "Apache-2.0")
    push_to_hub(fetched.encoder, "robin/encoder")
    push_probe_to_hub(fetched, "robin/again")
    for repository, licence in (("robin/encoder", "apache-2.0"), ("robin/again", "cc-by-nc-4.0")):
        assert metadata(files_of(hub, repository))["license"] == licence


def test_a_published_probe_without_a_word_about_its_encoders_weights_still_loads(hub, local, tmp_path):
    push_probe_to_hub(local, "robin/birds", LICENCE)
    assert "encoder/source.json" not in files_of(hub)
    for _ in range(2):
        assert load_probe(BIRDS).encoder.origin.model == BIRDS
    asked = [method for method, path in hub.requests if path.endswith("encoder/source.json")]
    assert asked == ["HEAD"], "the cache remembers that there is none"


def test_the_encoder_that_comes_with_oscine_goes_along_with_its_name_and_licence(hub):
    fitted = fitted_on("bird_mae_tiny.esc10")
    push_probe_to_hub(fitted, "robin/birds")
    files = files_of(hub)
    assert metadata(files)["license"] == "apache-2.0"
    assert (
        "| encoder taken from | `bird_mae_tiny.esc10`: `model.safetensors`, sha256 `5575" in files["README.md"].decode()
    )
    loaded = load_probe(BIRDS)
    assert loaded.encoder.provenance == fitted.encoder.provenance
    assert loaded.encoder.origin == fitted.encoder.origin


def test_the_card_says_what_the_probe_is(hub, local):
    push_probe_to_hub(local, "robin/birds", LICENCE, data=[Data("robin/garden", "CC0")])
    files = files_of(hub)
    told = metadata(files)
    assert (told["pipeline_tag"], told["library_name"], told["license"]) == ("audio-classification", "oscine", LICENCE)
    assert {"linearprobe", "bat", "audio"} <= set(told["tags"])
    assert told["datasets"] == ["robin/garden"]
    card = files["README.md"].decode()
    assert "hears any of 3 classes in clips of 0.5 s: LinearProbe on a frozen BAT" in card
    assert "`robin`, `wren`, `/m/015p6`" in card
    assert "| map | 75.0 |" in card
    assert "| fitted on | 8 rows of garden |" in card
    assert "| probabilities | sigmoid, calibrated |" in card
    assert "| encoder | BAT, frozen, in `encoder/` |" in card
    assert "None" not in card


def test_the_card_says_that_the_encoder_was_trained_as_well_and_what_it_began_with(hub, named):
    torch.nn.init.ones_(named.encoder.cls_token)
    named.encoder.provenance = None
    settings = {"steps": 30, "layer_decay": 0.75, "began_with": None}
    push_probe_to_hub(replace(named, fitted_on=named.fitted_on | {"finetuned": settings}), "robin/birds")
    files = files_of(hub)
    assert (metadata(files)["base_model"], metadata(files)["license"]) == ("robin/encoder", "cc-by-nc-4.0")
    card = files["README.md"].decode()
    assert "LinearProbe on a fine-tuned BAT." in card
    assert "| encoder | BAT, fine-tuned, in `encoder/` |" in card
    assert "| fine-tuned with | steps 30, layer_decay 0.75 |" in card
    assert "| encoder begun with | `hf-hub:robin/encoder`, `robin/encoder` at `" in card
    assert "frozen" not in card


@pytest.mark.parametrize("tuned", [False, True])
def test_scores_of_frozen_weights_are_not_those_of_fine_tuned_ones(hub, local, tmp_path, tuned):
    began_with, parts = dict(local.encoder.provenance), {"0": {"map": 0.7}, "1": {"map": 0.8}}
    settings = {"name": "garden", "probe": "LinearProbe", "finetune": tuned}
    content = {"task": "labels", "settings": settings, "weights": began_with, "parts": parts, "mean": {"map": 0.75}}
    (tmp_path / "scores.json").write_text(json.dumps(content))
    given = [str(tmp_path / "scores.json")]
    of_tuned = replace(local, fitted_on=local.fitted_on | {"finetuned": {"steps": 30, "began_with": began_with}})
    of_tuned.encoder.origin, said = None, "fine-tuned" if tuned else "frozen"
    right, wrong = (of_tuned, local) if tuned else (local, of_tuned)
    with pytest.raises(
        OscineError, match=rf"scores.json judges {said} weights, expected scores of .* ones; leave it out"
    ):
        push_probe_to_hub(wrong, "robin/wrong", LICENCE, scores=given)
    push_probe_to_hub(right, "robin/birds", LICENCE, scores=given)
    files = files_of(hub)
    [model] = metadata(files)["model-index"]
    assert model["results"][0]["metrics"][0]["name"] == f"map, {said} encoder, LinearProbe, mean of 2"
    assert f"In percent, the encoder {said}." in files["README.md"].decode()
    assert not [path for path, text in files.items() if str(tmp_path).encode() in text]


@pytest.mark.parametrize("part", ["probe", "encoder"])
def test_a_probe_that_gives_no_numbers_is_not_published(hub, local, part):
    tensor = local.probe.fc.bias if part == "probe" else local.encoder.cls_token
    torch.nn.init.constant_(tensor, torch.nan)
    with pytest.raises(OscineError, match="1 with NaN or infinity"):
        push_probe_to_hub(local, "robin/birds", LICENCE)
    assert not hub.requests


def test_an_encoder_that_is_not_needed_any_more_goes(hub, local, tmp_path):
    push_probe_to_hub(local, "robin/birds", LICENCE)
    push_to_hub(create_model(f"local-dir:{tmp_path / 'encoder'}"), "robin/encoder", "mit")
    push_probe_to_hub(fitted_on("hf-hub:robin/encoder"), "robin/birds", tag="v2")
    assert not [path for path in files_of(hub, tag="v2") if path.startswith("encoder/")]
    assert same(load_probe(f"{BIRDS}@v1"), load_probe(f"{BIRDS}@v2"))


def test_a_flipped_byte_is_noticed_before_a_tag_and_when_it_is_loaded(hub, local):
    hub.faults.append(Fault("GET /store/", flip=60))
    with pytest.raises(OscineError, match=r"came back from robin/birds with sha256 .*; nothing is tagged"):
        push_probe_to_hub(local, "robin/birds", LICENCE)
    push_probe_to_hub(local, "robin/birds", LICENCE)
    hub.faults.append(Fault("GET /store/", flip=60))
    with pytest.raises(OscineError, match=r"has sha256 .*, expected .*: it was damaged or changed"):
        load_probe(BIRDS)


def test_what_a_stranger_published_is_read_and_never_run(hub, local):
    push_probe_to_hub(local, "robin/birds", LICENCE)
    facts = json.loads(files_of(hub)["probe.json"])
    for wrong, words in (
        ({"probe": "os.system"}, "unknown probe 'os.system'"),
        ({"head": {"pool": ["mean"]}}, "LinearProbe cannot have pool"),
        ({"oscine_version": "99.0"}, "update oscine"),
        ({"classes": CLASSES[:2], "thresholds": None}, "of another shape"),
    ):
        hub.repositories["robin/birds"].commit({"probe.json": json.dumps(facts | wrong).encode()})
        with pytest.raises(OscineError, match=re.escape(words)):
            load_probe(BIRDS)


def test_frame_wise_probes_are_published_as_well(hub, local):
    probe = LinearProbe(local.encoder, 3, pool="frames").eval()
    frames = replace(local, probe=probe, head={"pool": "frames"}, scaling=None, thresholds=None)
    push_probe_to_hub(frames, "robin/frames", LICENCE)
    assert same(load_probe("hf-hub:robin/frames"), frames)
    assert "| thresholds | none were chosen |" in files_of(hub, "robin/frames")["README.md"].decode()
