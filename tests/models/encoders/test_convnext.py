"""ConvNeXt equals transformers' on the same weights, whatever its file calls them, and is an encoder as the others are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor
from torch.testing import assert_close

from oscine.models.encoders.convnext import ConvNeXt
from oscine.models.encoders.frontends.decibels import ConvNeXtFrontend
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import convnext_names
from oscine.models.hub.weights import load_strictly, load_weights
from oscine.models.zoo import create_model
from tests.conftest import Golden
from tests.tiny_encoders import check_one_graph, gradients, noise, tiny_convnext

SHAPES = Path(__file__).resolve().parents[2] / "golden" / "convnext_base_shapes.json"
AUDIOPROTOPNET = {"n_fft": 2048, "hop": 256, "bands": 256, "mean": -13.369, "std": 13.162}
State = dict[str, Tensor]


@pytest.fixture
def theirs(golden_convnext: Golden) -> State:
    return golden_convnext.under("hf.")


@pytest.fixture
def encoder(theirs: State) -> ConvNeXt:
    made = tiny_convnext()
    load_strictly(made, convnext_names(theirs), "golden")
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("name", "settings"), [("convnext_bs_spectrogram", {}), ("audioprotopnet_spectrogram", AUDIOPROTOPNET)]
)
def test_spectrograms_equal_the_authors_clip_by_clip(golden_convnext, name, settings):
    frontend = tiny_convnext(**settings).frontend
    made = frontend(golden_convnext["waveform"])
    assert_close(
        made, golden_convnext[name].transpose(1, 2), atol=2e-4, rtol=0
    )  # measured 0; another CPU rounds otherwise
    assert torch.equal(frontend(golden_convnext["waveform"] * torch.tensor([[1.0], [99.0]]))[:1], made[:1])


def test_the_last_map_its_pool_and_its_classifier_equal_transformers(golden_convnext, encoder):
    features = encoder(golden_convnext["waveform"])
    image = features.patches[-1].permute(0, 3, 2, 1)  # theirs is [clip, dim, freq, time]
    assert_close(image, golden_convnext["last_hidden_state"], atol=1e-5, rtol=0)  # measured 1.6e-6
    assert_close(features.pooled, golden_convnext["pooled"], atol=1e-5, rtol=0)  # measured 1.4e-6
    logits = features.pooled @ golden_convnext["hf.classifier.weight"].T + golden_convnext["hf.classifier.bias"]
    assert_close(logits, golden_convnext["logits"], atol=1e-5, rtol=0)


def test_layers_are_the_blocks_of_the_last_stage():
    encoder = tiny_convnext(depths=[1, 1, 1, 3]).eval().requires_grad_(False)
    for block in encoder.stages[-1].blocks:
        block.gamma.fill_(1.0)  # at its first value of 1e-6 a block changes next to nothing
    features = encoder(noise(2, encoder.samples))
    assert features.patches.shape == (3, 2, 3, 4, 40)
    seen = encoder.stages[:3](encoder.stem(encoder.prepare(noise(2, encoder.samples)).mT[:, None]))
    seen = encoder.stages[3].downsample(seen)
    for layer, block in enumerate(encoder.stages[3].blocks):
        seen = block(seen)
        assert_close(features.patches[layer], seen.permute(0, 3, 2, 1))
    assert torch.equal(encoder(noise(2, encoder.samples), layers=[1]).patches[0], features.patches[1])


@pytest.mark.parametrize(("time", "freq"), [(0, 3), (2, 0), (2, 3)])
def test_patches_lie_where_frames_and_bands_do(time, freq):
    encoder = (
        tiny_convnext().eval().requires_grad_(False)
    )  # its blocks, at their first scale of 1e-6, mix next to nothing
    seen = torch.rand(1, 101, 128, generator=torch.Generator().manual_seed(0))
    changed = seen.clone()
    changed[:, 32 * time : 32 * time + 32, 32 * freq : 32 * freq + 32] = torch.rand(32, 32)
    difference = encoder.features(changed).patches[-1, 0] - encoder.features(seen).patches[-1, 0]
    assert (difference.norm(dim=-1) > 1e-4).nonzero().tolist() == [[time, freq]]


def test_a_short_clip_is_filled_up_with_silence_and_so_is_its_picture(encoder):
    short = noise(1, 20_000)
    filled = torch.cat([short, torch.zeros(1, 12_000)], dim=1)
    assert torch.equal(encoder.prepare(short), encoder.prepare(filled))
    assert torch.equal(encoder.picture(short[0], encoder.samples).spectrogram, encoder.prepare(filled)[0])
    assert torch.equal(encoder.frontend(short, frames=101), encoder.prepare(filled))
    assert len(encoder.frontend(short, frames=40)[0]) == 40


def test_every_frame_counts_also_those_that_fill_no_patch():
    frontend = ConvNeXtFrontend(32_000, 1024, 320, bands=128, mean=0.0, std=1.0)
    assert [frontend.frames(samples) for samples in (1, 32_000, 160_000)] == [4, 101, 501]
    assert frontend(noise(1, 32_000)).shape == (1, 101, 128)
    assert frontend.mel_scale.bands == 128


# What its files call the tensors


def under(prefix: str, state: State) -> State:
    return {prefix + name.removeprefix("convnext."): tensor for name, tensor in state.items()}


def backbone(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name.startswith("convnext.")}


HEAD = {"head.prototype_vectors": torch.ones(12, 40, 1, 1), "head.last_layer.weight": torch.ones(4, 3)}
LAYOUTS: dict[str, Callable[[State], State]] = {
    "ConvNeXt_BS": lambda state: state,
    "AudioProtoPNet": lambda state: under("model.backbone.", backbone(state)) | HEAD,
    "bare": lambda state: under("", backbone(state)),
    "wrapped with its classifier": lambda state: under("module.", state),
    "timm": lambda state: convnext_names(state) | {"head.fc.weight": torch.ones(6, 40), "head.fc.bias": torch.ones(6)},
    "ours": convnext_names,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_encoder(theirs, layout):
    read, expected = convnext_names(LAYOUTS[layout](theirs)), convnext_names(theirs)
    assert read.keys() == tiny_convnext().state_dict().keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state | {"model.pooler.weight": torch.ones(1)}, r"1 unexpected \(model\.pooler\.weight\)"),
        (lambda state: state | {"convnext.encoder.norm.bias": torch.ones(1)}, r"1 unexpected \(encoder\.norm\.bias\)"),
        (
            lambda state: {
                name: tensor for name, tensor in state.items() if "stages.2.layers.1.dwconv.bias" not in name
            },
            r"1 missing \(stages\.2\.blocks\.1\.conv_dw\.bias\)",
        ),
        (
            lambda state: under("module.", state) | {"classifier.weight": torch.ones(1)},
            r"1 unexpected \(classifier\.weight\)",
        ),
        (
            lambda state: {name.replace("embeddings", "embedding"): tensor for name, tensor in state.items()},
            r"63 missing \(head\.norm\.bias.*unexpected \(classifier\.bias, classifier\.weight, convnext\.embed",
        ),
    ],
)
def test_a_tensor_too_many_or_too_few_is_named(theirs, change, words):
    encoder = tiny_convnext()
    with pytest.raises(OscineError, match=words) as error:
        load_strictly(encoder, convnext_names(change(theirs)), "strange.safetensors")
    assert "\n" not in str(error.value)


def test_the_base_has_the_published_names_and_shapes():
    with torch.device("meta"):
        encoder, other = create_model("convnext_base"), create_model("convnext_base.ppnet1")
        state = {name: torch.empty(shape) for name, shape in json.loads(SHAPES.read_text()).items()}
    shapes = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
    assert {name: tensor.shape for name, tensor in convnext_names(state).items()} == shapes
    assert (encoder.grid, encoder.depth, encoder.dim, encoder.step_seconds) == ((15, 4), 3, 1024, 0.32)
    assert (other.grid, other.step_seconds) == ((19, 8), 0.256)


def test_half_precision_weights_are_read_with_a_word(theirs, tmp_path, caplog):
    path = tmp_path / "half.pt"
    torch.save({name: tensor.half() for name, tensor in theirs.items()}, path)
    load_weights(tiny_convnext(), path)
    assert "float16" in caplog.text


# What may be done with it


def test_learning_rates_fall_over_all_stages_by_threes_of_blocks_as_the_authors_have_it():
    with torch.device("meta"):
        encoder = create_model("convnext_base")
    layers = {name: encoder.layer_of(name) for name, _ in encoder.named_parameters()}
    assert encoder.decay_layers == 12
    expected = {
        "stem.0.weight": 0, "stem.1.bias": 0,
        "stages.0.blocks.0.gamma": 1, "stages.0.blocks.2.gamma": 1,
        "stages.1.downsample.1.weight": 2, "stages.1.blocks.2.gamma": 2,
        "stages.2.downsample.0.weight": 3, "stages.2.blocks.2.gamma": 3, "stages.2.blocks.3.gamma": 4,
        "stages.2.blocks.26.norm.weight": 11,
        "stages.3.downsample.0.bias": 12, "stages.3.blocks.2.mlp.fc2.weight": 12,
        "head.norm.weight": 13,
    }  # fmt: skip
    assert {name: layers[name] for name in expected} == expected
    assert set(layers.values()) == set(range(14))


def test_half_precision_and_channels_last_change_little_or_nothing(encoder, bfloat16):
    waveform = noise(2, encoder.samples)
    half = encoder(waveform).pooled.float()
    with torch.autocast("cpu", enabled=False):
        exact = encoder(waveform)
        last = encoder.to(memory_format=torch.channels_last)(waveform)
    assert (half - exact.pooled).abs().max() < 0.05 * exact.pooled.abs().max()
    for one, other in zip(last, exact, strict=True):
        assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"depths": [1, 1]}, r"depths=\[1, 1\].*expected 4 stages"),
        ({"widths": [1, 2, 0, 4]}, r"expected 4 stages, all above 0"),
        ({"seconds": 0.1}, r"grid=\(0, 4\).*expected all above 0"),
    ],
)
def test_sizes_that_cannot_be_are_refused(settings, words):
    with pytest.raises(OscineError, match=words):
        tiny_convnext(**settings)


@pytest.mark.parametrize("widths", ["wide", [16, 24, 32, 1e9], [16, 24, 32, 10**9], {"a": 1}])
def test_a_strangers_widths_are_refused_before_anything_is_built(widths):
    with pytest.raises(OscineError, match="ConvNeXt cannot have widths="):
        create_model("convnext_base", widths=widths)


def test_a_spectrogram_of_other_bands_is_refused(encoder):
    with pytest.raises(OscineError, match=r"shape \(1, 101, 256\), expected \[batch, frames, 128\] with 32 frames"):
        encoder.features(torch.zeros(1, 101, 256))


def test_timms_optimizers_lower_the_rate_over_all_stages():
    with torch.device("meta"):
        encoder = create_model("convnext_base")
    groups = param_groups_layer_decay(encoder, 0.05, encoder.no_weight_decay(), layer_decay=0.8)
    scales = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    for name, one in encoder.named_parameters():
        assert scales[id(one)] == pytest.approx(0.8 ** (13 - encoder.layer_of(name))), name


def test_blocks_that_are_computed_again_give_the_same_gradients(encoder):
    found = gradients(encoder, noise(2, encoder.samples))
    assert len(found[0]) == len(list(encoder.parameters()))
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())


@pytest.mark.slow
def test_it_is_exported_and_compiled_in_one_graph_for_batches_of_any_size(encoder):
    check_one_graph(encoder, encoder.samples)


def test_of_no_clips_there_are_no_features(encoder):
    assert [tuple(part.shape) for part in encoder(noise(0, encoder.samples))] == [(1, 0, 40), (1, 0, 3, 4, 40), (0, 40)]
