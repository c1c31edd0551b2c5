"""Classifiers that come with published weights are fitted probes: their answers, their classes, their faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save
from torch.testing import assert_close

from oscine.models.checkpoints import AUDIOPROTOPNET_MEL, PUBLISHED
from oscine.models.errors import OscineError
from oscine.models.export.onnx import export_onnx, session_of
from oscine.models.zoo import create_model
from oscine.probe.deploy.fitted_probe import FittedProbe
from oscine.probe.deploy.named_probe import check_probe
from oscine.probe.deploy.onnx_head import make_onnx_head
from oscine.probe.deploy.published_classifiers import CLASS_NAMES, CLASSIFIERS, HEADS, find_published_classifier
from oscine.probe.deploy.saved_probe import load_probe, save_probe
from tests.conftest import Golden
from tests.hub_server import Hub, serving
from tests.published_stand_ins import BIRDS, LINEAR, OWN_MEL, PROTOTYPES, REPOSITORIES, add_stand_ins, labels
from tests.tiny_encoders import noise, small_encoder, tiny_convnext


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden_convnext: Golden) -> Iterator[Hub]:
    with serving(tmp_path / "home", monkeypatch) as hub:
        add_stand_ins(hub, golden_convnext, monkeypatch)
        yield hub


def test_every_row_that_a_classifier_comes_with_is_a_row_of_the_zoo() -> None:
    assert {*CLASSIFIERS} <= {row.name for row in PUBLISHED}
    assert all(map(find_published_classifier, CLASSIFIERS))
    assert {name.partition(".")[0] for name in CLASSIFIERS} == {*CLASS_NAMES}
    assert [HEADS[f"convnext_base.ppnet{own}"].head["prototypes_per_class"] for own in (1, 5, 10, 20)] == [
        1, 5, 10, 20,
    ]  # fmt: skip


@pytest.mark.parametrize("name", [LINEAR, "convnext_base", f"hf-hub:{REPOSITORIES[LINEAR]}", f"{LINEAR}@main"])
def test_the_linear_classifier_answers_as_transformers(hub, golden_convnext, name):
    fitted = load_probe(name)
    assert fitted.classes == BIRDS
    assert_close(fitted(golden_convnext["waveform"]), golden_convnext["logits"].sigmoid(), atol=1e-5, rtol=0)
    origin = fitted.origin
    assert (origin.model, origin.licence, origin.repository) == (LINEAR, "not stated", REPOSITORIES[LINEAR])


def test_the_prototypes_answer_as_the_authors_head(hub, golden_convnext):
    fitted = load_probe(PROTOTYPES)
    features = fitted.encoder(golden_convnext["waveform"])
    activations = fitted.probe.activations(fitted.probe.prepare(features))
    assert_close(activations, golden_convnext["appn.scores"], atol=1e-5, rtol=0)  # measured 9e-8
    assert_close(fitted.probe(features), golden_convnext["appn.logits"], atol=1.4e-5, rtol=0)  # measured 1.2e-7
    assert_close(fitted(golden_convnext["waveform"]), golden_convnext["appn.logits"].sigmoid(), atol=1e-5, rtol=0)
    assert fitted.classes == BIRDS[:4]


@pytest.mark.parametrize("name", [LINEAR, PROTOTYPES])
def test_it_is_saved_loaded_and_exported_as_any_fitted_probe(hub, name, tmp_path):
    fitted, clips = load_probe(name), noise(2, 32_000)
    again = load_probe(save_probe(fitted, tmp_path / "probe"))
    assert torch.equal(again(clips), fitted(clips))
    assert again.origin.model == name
    path = export_onnx(fitted.encoder, tmp_path / "birds.onnx", head=make_onnx_head(fitted))
    _, logits = session_of(str(path)).run(None, {"waveform": clips.numpy()})
    assert_close(torch.from_numpy(logits).sigmoid(), fitted(clips), atol=1e-4, rtol=0)


def test_an_encoder_that_is_open_is_taken_if_it_has_the_weights(hub):
    encoder = create_model(LINEAR, pretrained=True)
    assert load_probe(LINEAR, encoder).encoder is encoder
    trained = create_model(LINEAR, pretrained=True)
    trained.head.norm.bias.data.add_(0.1)
    others = {
        "the class BAT, expected ConvNeXt": small_encoder(),
        "weights that were changed since they were loaded": trained,
        r"mean=0\.0, expected -": create_model(LINEAR, pretrained=True, mean=0.0),
        r"the weights of convnext_base\.ppnet1 with sha256 \w{64}, expected": create_model(PROTOTYPES, pretrained=True),
        "weights that are nobody's": create_model(LINEAR),
    }
    for words, other in others.items():
        with pytest.raises(
            OscineError, match=rf"convnext_base\.xcl needs the encoder of that name.*this one has {words}"
        ):
            load_probe(LINEAR, other)


def test_what_was_fetched_is_loaded_without_a_network(hub, monkeypatch):
    known = find_published_classifier(LINEAR)
    assert known
    assert list(known.fetch()) == [LINEAR, f"{LINEAR}, its classes"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert load_probe(LINEAR).classes == BIRDS
    assert hub.requests == []


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a class more": (
        {"config.json": labels([*BIRDS, "crane"])},
        r"LinearProbe of 7 classes.*classifier\.weight \(6, 40\) for",
    ),
    "no names": (
        {"config.json": b"{}"},
        r"config\.json has id2label None, expected the name of each class by its number",
    ),
    "a gap": ({"config.json": b'{"id2label": {"0": "wren", "2": "rook"}}'}, r"expected the name of each class"),
    "numbers": ({"config.json": b'{"id2label": {"0": 1}}'}, r"expected the name of each class"),
    "a name twice": ({"config.json": labels([*BIRDS[:5], "wren"])}, r"id2label of .* has the name 'wren' 2 times"),
    "no JSON": ({"config.json": b"{"}, r"config\.json"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_repository_that_does_not_fit_is_refused_in_a_line(hub, fault):
    files, words = FAULTS[fault]
    hub.repositories[REPOSITORIES[LINEAR]].commit(files)
    with pytest.raises(OscineError, match=words) as error:
        load_probe(LINEAR)
    assert "\n" not in str(error.value)


def test_a_file_without_its_classifier_is_refused_in_a_line(hub, golden_convnext):
    hub.repositories[REPOSITORIES[LINEAR]].commit({"model.safetensors": save(golden_convnext.under("hf.convnext."))})
    words = r"no classifier\.bias, classifier\.weight of .*; its names begin with encoder\. \(57\), embeddings\."
    with pytest.raises(OscineError, match=words) as error:
        load_probe(LINEAR)
    assert "\n" not in str(error.value)


def test_the_classifier_may_lie_under_the_prefix_of_the_whole_model(hub, golden_convnext):
    expected = load_probe(LINEAR)(golden_convnext["waveform"])
    wrapped = {f"module.{name}": tensor for name, tensor in golden_convnext.under("hf.").items()}
    hub.repositories[REPOSITORIES[LINEAR]].commit({"model.safetensors": save(wrapped)})
    assert torch.equal(load_probe(LINEAR)(golden_convnext["waveform"]), expected)


def test_a_row_with_a_spectrogram_of_its_own_has_it_under_its_classifier(hub):
    fitted, clips = load_probe(OWN_MEL), noise(2, 32_000)
    assert fitted.encoder.config == tiny_convnext(**AUDIOPROTOPNET_MEL).config
    encoder = create_model(OWN_MEL, pretrained=True)
    assert torch.equal(load_probe(OWN_MEL, encoder)(clips), fitted(clips))
    with torch.inference_mode():
        assert torch.equal(fitted.probe(encoder(clips)).sigmoid(), fitted(clips))
    other = create_model(OWN_MEL, pretrained=True, bands=128, n_fft=1024)
    with pytest.raises(OscineError, match=r"this one has bands=128, expected 256; n_fft=1024, expected 2048; leave it"):
        load_probe(OWN_MEL, other)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convnext_base.xlc", r"the classifiers of convnext_base are convnext_base\.xcl, convnext_base\.ppnet1, "),
        ("convnext_base.ppnet3@main", r"the classifiers of convnext_base are .*ppnet20$"),
        ("perch_v2.x", r"the classifiers of perch_v2 are perch_v2\.inat2024_fsd50k$"),
        ("bird_mae_base.dawn", r"bird_mae_base has bird_mae_base\.xcl, and comes without a classifier$"),
        ("bat_tiny.dawn", r"bat_tiny has no weights, and comes without a classifier$"),
        ("bird_mae_base.xcl", r"bird_mae_base\.xcl is an encoder that comes without a classifier, which oscine probe"),
        ("bat_tiny", r"bat_tiny is an encoder that comes without a classifier, which oscine probe"),
        ("perch", r"did you mean perch_v2\?$"),
        ("birdnet", r"did you mean birdnet_v3\?$"),
        ("wren", r"check the path$"),
    ],
)
def test_a_name_that_is_no_classifiers_is_told_which_is(name, words):
    with pytest.raises(OscineError, match=rf"no probe in {re.escape(name)}: there is no such folder; {words}"):
        check_probe(name)


def test_a_classifier_that_cannot_be_fetched_names_nothing_that_takes_no_classifier(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OscineError, match=r"is not in the cache .*`oscine download` it") as error:
        load_probe(LINEAR)
    assert not re.search(r"checkpoint|convert", str(error.value))
    with pytest.raises(OscineError, match=r"checkpoint_path=FILE .*oscine convert makes .* takes as an encoder$"):
        create_model(LINEAR, pretrained=True)


def test_a_name_is_checked_without_a_network_and_a_folder_of_that_name_is_a_folder(tmp_path, monkeypatch):
    assert check_probe(LINEAR) is None
    with pytest.raises(OscineError, match=r"no probe in convnext_bas\.xcl: .*did you mean convnext_base\.xcl\?"):
        check_probe("convnext_bas.xcl")
    assert find_published_classifier("bird_mae_base.xcl") is None
    assert find_published_classifier("hf-hub:somebody/else") is None
    monkeypatch.chdir(tmp_path)
    Path(LINEAR).mkdir()
    with pytest.raises(OscineError, match=r"expected a folder with probe\.json"):
        check_probe(LINEAR)


# Some of the classes


def test_some_classes_have_the_probabilities_that_they_had(hub):
    fitted, clips = load_probe(LINEAR), noise(2, 32_000)
    fitted = replace(
        fitted, thresholds=torch.arange(6) / 10, fitted_on={"task": "birds", "negatives": {}, "sounds_like_noise": []}
    )
    some = fitted.only(["rook", "wren", "dunnock"])
    assert torch.equal(some(clips), fitted(clips)[:, [5, 0, 4]])
    assert_close(some.thresholds, torch.tensor([0.5, 0.0, 0.4]))
    assert some.fitted_on == {"task": "birds"}
    fewer = some.only(["dunnock"])
    assert torch.equal(fewer(clips), fitted(clips)[:, 4:5])
    assert fewer.classes == ["dunnock"]
    assert fitted.only(["Tawny  Owl", "WREN"]).classes == ["tawny owl", "wren"]


def test_a_probe_of_some_classes_is_neither_saved_nor_exported(hub, tmp_path):
    some = load_probe(LINEAR).only(["wren"])
    with pytest.raises(OscineError, match=r"answers for 1 of its classes and cannot be saved so; take the one"):
        save_probe(some, tmp_path / "probe")
    with pytest.raises(OscineError, match="cannot be exported so"):
        make_onnx_head(some)
    assert not (tmp_path / "probe").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["wrem"], r"the probe has no class wrem \(did you mean wren\?\); it has 6, such as wren, robin, tawny owl"),
        (["a", "b", "c", "d"], r"no class a, b, c and 1 more"),
        (["wren", "wren"], "class wren is named twice"),
        ([], "no class is named"),
    ],
)
def test_names_that_a_probe_lacks_are_refused_with_those_that_are_meant(hub, names, words):
    fitted: FittedProbe = load_probe(LINEAR)
    with pytest.raises(OscineError, match=words):
        fitted.only(names)
