"""HuBERT's, wav2vec 2.0's and AVES's encoder equals transformers' and torchaudio's, and reads both layouts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from timm.optim import param_groups_layer_decay
from torch import Tensor
from torch.testing import assert_close
from torchaudio.models import wav2vec2_model

from oscine.models.embed.extractor import EmbeddingExtractor
from oscine.models.encoders.wav2vec2 import Wav2Vec2, say_filled_up
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import wav2vec2_names
from oscine.models.hub.weights import load_strictly
from oscine.models.zoo import create_model
from tests.tiny_encoders import check_one_graph, gradients, noise

GOLDEN = Path(__file__).resolve().parents[2] / "golden/waveform.safetensors"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def golden() -> State:
    return load_file(GOLDEN)


@pytest.fixture(autouse=True)
def _unsaid() -> None:
    say_filled_up.cache_clear()


def of_transformers(golden: State) -> State:
    return {name.removeprefix("hf."): tensor for name, tensor in golden.items() if name.startswith("hf.")}


def golden_encoder(golden: State, **settings: bool) -> Wav2Vec2:
    encoder = Wav2Vec2(
        32, 3, heads=4, mlp_ratio=1.5, conv_dim=16, conv_width=16, conv_groups=4, seconds=0.5, **settings
    )
    load_strictly(encoder, wav2vec2_names(of_transformers(golden)), "golden")
    return encoder.eval().requires_grad_(False)


def test_every_layer_equals_transformers(golden):
    encoder, waveform = golden_encoder(golden), golden["waveform"]
    convolved = encoder.feature_extractor(waveform)
    assert_close(convolved.transpose(1, 2), golden["conv_features"], atol=1e-5, rtol=0)  # measured 1.7e-6
    tokens = encoder.feature_projection(convolved)
    with_positions = tokens + torch.nn.functional.gelu(encoder.encoder.pos_conv_embed["conv"](tokens))
    assert_close(encoder.encoder.layer_norm(with_positions), golden["hidden_0"], atol=1e-5, rtol=0)
    features = encoder(waveform)
    hidden = torch.stack([golden[f"hidden_{layer}"] for layer in (1, 2, 3)])
    assert_close(features.patches[:, :, :, 0], hidden, atol=1e-5, rtol=0)
    assert_close(features.pooled, golden["last"].mean(1), atol=1e-5, rtol=0)


def reference(pre_norm: bool, conv_bias: bool = True) -> torch.nn.Module:
    """torchaudio's model of a variant, every weight of which counts."""
    torch.manual_seed(0)
    made = wav2vec2_model(
        extractor_mode="layer_norm" if pre_norm else "group_norm",
        extractor_conv_layer_config=[(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2],
        extractor_conv_bias=pre_norm and conv_bias,
        encoder_embed_dim=32,
        encoder_projection_dropout=0.1,
        encoder_pos_conv_kernel=16,
        encoder_pos_conv_groups=4,
        encoder_num_layers=3,
        encoder_num_heads=4,
        encoder_attention_dropout=0.1,
        encoder_ff_interm_features=64,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.1,
        encoder_layer_norm_first=pre_norm,
        encoder_layer_drop=0.05,
        aux_num_out=None,
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def like(reference: torch.nn.Module, pre_norm: bool) -> Wav2Vec2:
    encoder = Wav2Vec2(
        32, 3, heads=4, mlp_ratio=2.0, conv_dim=16, conv_width=16, conv_groups=4, pre_norm=pre_norm, seconds=0.5
    )
    load_strictly(encoder, wav2vec2_names(dict(reference.state_dict())), "torchaudio")
    return encoder.eval().requires_grad_(False)


VARIANTS = {"base, AVES": (False, False), "lv60": (True, True), "torchaudio's HuBERT large": (True, False)}


@pytest.mark.parametrize(("pre_norm", "conv_bias"), VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("samples", [400, 8000, 23_456])
def test_every_layer_equals_torchaudios_in_both_variants(pre_norm, conv_bias, samples):
    theirs = reference(pre_norm, conv_bias)
    encoder, waveform = like(theirs, pre_norm), noise(2, samples)
    with torch.no_grad():
        layers, _ = theirs.extract_features(waveform)
        last, _ = theirs(waveform)
    features = encoder(waveform)
    assert features.patches.shape == (3, 2, encoder.steps(samples), 1, 32)
    assert_close(features.patches[:-1, :, :, 0], torch.stack(layers[:-1]), atol=1e-5, rtol=0)
    assert_close(features.patches[-1, :, :, 0], last, atol=1e-5, rtol=0)  # which has passed the final norm
    assert_close(features.pooled, last.mean(1), atol=1e-5, rtol=0)
    for one, whole in zip(encoder(waveform, layers=[1, 1]).cls, [features.cls[1]] * 2, strict=True):
        assert_close(one, whole, atol=1e-6, rtol=0)


HEADS: dict[str, dict[str, list[int]]] = {
    "lm_head": {"lm_head.weight": [5, 32], "lm_head.bias": [5]},
    "pretraining": {"quantizer.codevectors": [1, 8, 4], "project_q.weight": [4, 4], "project_hid.weight": [4, 32]},
    "classifier": {"projector.weight": [8, 32], "classifier.weight": [5, 8]},
}


def beside(heads: str, prefix: str) -> Callable[[State], State]:
    def layout(state: State) -> State:
        named = {f"{prefix}{name}": tensor for name, tensor in state.items()}
        return named | {name: torch.ones(shape) for name, shape in HEADS[heads].items()}

    return layout


def older(state: State) -> State:
    """As PyTorch named the two tensors of a weight norm before 2.1."""
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for current, old in names.items():
        state = {name.replace(current, old): tensor for name, tensor in state.items()}
    assert sum("weight_" in name for name in state) == 2
    return state


def of_torchaudio(state: State) -> State:
    def name(theirs: str) -> str:
        if theirs.startswith("feature_projection."):
            return f"encoder.{theirs}"
        return theirs.replace("encoder.", "encoder.transformer.", 1) if theirs.startswith("encoder.") else theirs

    return {name(key): tensor for key, tensor in state.items() if key != "masked_spec_embed"}


LAYOUTS: dict[str, Callable[[State], State]] = {
    "transformers": lambda state: state,
    "older": older,
    "torchaudio": of_torchaudio,
    "older torchaudio": lambda state: older(of_torchaudio(state)),
    "HubertForCTC": beside("lm_head", "hubert."),
    "Wav2Vec2ForPreTraining": beside("pretraining", "wav2vec2."),
    "Wav2Vec2ForSequenceClassification": beside("classifier", "model.wav2vec2."),
    "beside a head": beside("classifier", ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_encoder(golden, layout):
    read = wav2vec2_names(LAYOUTS[layout](of_transformers(golden)))
    expected = golden_encoder(golden).state_dict()
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


def test_a_strange_tensor_is_named(golden):
    state = of_transformers(golden) | {"encoder.layers.0.adapter.weight": torch.ones(1)}
    with pytest.raises(OscineError, match=r"1 unexpected \(encoder\.layers\.0\.adapter\.weight\)"):
        load_strictly(golden_encoder(golden), wav2vec2_names(state), "strange.bin")


def test_a_bias_that_one_convolution_lacks_is_missed():
    encoder = like(reference(pre_norm=True), pre_norm=True)
    state = dict(reference(pre_norm=True).state_dict())
    del state["feature_extractor.conv_layers.3.conv.bias"]
    with pytest.raises(OscineError, match=r"1 missing \(feature_extractor\.conv_layers\.3\.conv\.bias\)"):
        load_strictly(encoder, wav2vec2_names(state), "torn.pt")


def test_the_other_variant_is_refused(golden):
    encoder = Wav2Vec2(32, 3, heads=4, mlp_ratio=1.5, conv_dim=16, conv_width=16, conv_groups=4, pre_norm=True)
    with pytest.raises(OscineError, match=r"missing \(feature_extractor\.conv_layers\.0\.conv\.bias"):
        load_strictly(encoder, wav2vec2_names(of_transformers(golden)), "base.bin")


@pytest.mark.parametrize(
    ("name", "tensors", "numbers"),  # transformers' own, without `masked_spec_embed`
    [("aves_base", 210, 94_370_944), ("hubert_base", 210, 94_370_944), ("hubert_large", 421, 315_437_696)],
)
def test_the_published_sizes_have_transformers_numbers_of_tensors(name, tensors, numbers):
    with torch.device("meta"):
        state = create_model(name).state_dict()
    assert (len(state), sum(tensor.numel() for tensor in state.values())) == (tensors, numbers)


def test_clips_are_scaled_each_by_itself_as_the_hubs_feature_extractor_does(golden):
    encoder = golden_encoder(golden, normalise=True)
    waveform = torch.stack([noise(8000) + 0.3, 9 * noise(8000, seed=1)])
    scaled = encoder.prepare(waveform)
    expected = (waveform - waveform.mean(1, keepdim=True)) / torch.sqrt(
        waveform.var(1, correction=0, keepdim=True) + 1e-7
    )
    assert_close(scaled, expected, atol=1e-5, rtol=0)
    assert torch.equal(encoder.prepare(waveform[1:]), scaled[1:])
    assert_close(encoder(5 * waveform - 1).pooled, encoder(waveform).pooled, atol=1e-4, rtol=0)
    plain = golden_encoder(golden)
    assert torch.equal(plain.prepare(waveform), waveform)
    assert_close(encoder(waveform).pooled, plain(scaled).pooled)


def test_without_a_class_token_cls_is_the_mean_of_frames_and_that_is_said(golden, caplog):
    caplog.set_level(logging.INFO, logger="oscine")
    encoder = golden_encoder(golden)
    features = encoder(noise(2, 8000))
    assert torch.equal(features.cls, features.patches.mean((2, 3)))
    EmbeddingExtractor(encoder, pools=["mean", "pooled"])
    assert not caplog.records
    EmbeddingExtractor(encoder, pools=["cls", "mean"])
    assert caplog.messages == ["Wav2Vec2 has no class token: cls is the mean of its patches"]


def test_shorter_clips_are_scaled_by_what_they_hold_then_filled_up_and_that_is_said(golden, caplog):
    encoder = golden_encoder(golden, normalise=True)
    encoder.provenance = {"model": "hubert_base"}
    short, whole = noise(5000) + 1, noise(8000)
    made = encoder.prepare_clips([short, whole])
    assert torch.equal(made[0, :5000], encoder.prepare(short[None])[0])
    assert made[0, 5000:].count_nonzero() == 0
    assert_close(made[1], encoder.prepare(whole[None])[0])
    encoder([short])
    assert [record.levelno for record in caplog.records] == [logging.WARNING], "once, not every time"
    assert (
        "clips shorter than 0.5 s are filled up with silence, which changes all of their frames in hubert_base; "
        in caplog.text
    )
    assert "oscine probe --seconds N, oscine embed --shortest 0.99" in caplog.text
    caplog.clear()
    encoder.prepare_clips([whole])
    encoder(short[None])
    assert not caplog.records


def test_filling_up_moves_every_frame(golden):
    encoder, waveform = golden_encoder(golden), golden["waveform"]
    alone = encoder(waveform, layers=[-1]).patches
    filled = encoder(torch.nn.functional.pad(waveform, (0, 8000)), layers=[-1]).patches[:, :, : alone.shape[2]]
    assert ((alone - filled).abs().amax(-1) > 0.1).all()


@pytest.mark.parametrize("samples", [1, 399, 400, 719, 720, 721, 8000, 80_000])
def test_frames_are_counted_as_the_convolutions_give_them(golden, samples):
    encoder = golden_encoder(golden, normalise=True)
    features = encoder(noise(1, samples))
    assert features.patches.shape[2] == encoder.steps(samples) == 1 + max(0, samples - 400) // 320
    assert all(part.isfinite().all() for part in (*features, *encoder(torch.zeros(1, samples))))


def test_a_clip_does_not_depend_on_its_batch(golden):
    encoder = golden_encoder(golden, normalise=True)
    first, second = noise(2, 8000).split(1)
    together, alone = encoder(torch.cat([first, 1e3 * second])).take(slice(1)), encoder(first)
    for one, other in zip(together, alone, strict=True):
        assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_the_norm_lies_below_the_blocks_or_above_them(pre_norm):
    with torch.device("meta"):
        encoder = create_model("hubert_base", pre_norm=pre_norm)
    assert encoder.layer_of("encoder.layer_norm.weight") == (13 if pre_norm else 0)
    assert encoder.layer_of("encoder.layers.11.layer_norm.weight") == 12
    assert (
        encoder.layer_of("encoder.pos_conv_embed.conv.bias")
        == encoder.layer_of("feature_projection.layer_norm.bias")
        == 0
    )


@pytest.mark.parametrize("pre_norm", [False, True])
def test_every_parameter_is_trained(pre_norm):
    encoder = Wav2Vec2(
        32, 2, heads=2, drop_path=0.1, conv_dim=16, conv_width=8, conv_groups=4, pre_norm=pre_norm, seconds=0.5
    )
    features = encoder.train()(noise(2, 8000))
    sum((part * torch.randn_like(part)).sum() for part in features).backward()
    idle = [name for name, weight in encoder.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias that every key has alike changes no attention.
    assert [name for name in idle if "k_proj.bias" not in name] == []


def test_half_precision_weights_are_taken(golden):
    features = golden_encoder(golden).bfloat16()(golden["waveform"])
    assert features.pooled.dtype == torch.bfloat16
    assert_close(features.pooled.float(), golden["last"].mean(1), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("sizes", [{"heads": 5}, {"conv_groups": 7}, {"heads": 0}])
def test_sizes_that_cannot_be_are_refused(sizes):
    with pytest.raises(OscineError, match="dim must be a multiple of heads and of conv_groups"):
        Wav2Vec2(48, 1, **sizes)


def test_timms_optimizers_lower_the_rate_from_block_to_block():
    with torch.device("meta"):
        encoder = create_model("hubert_base")
    groups = param_groups_layer_decay(encoder, 0.05, encoder.no_weight_decay(), layer_decay=0.8)
    scales = {id(one): group["lr_scale"] for group in groups for one in group["params"]}
    for name, one in encoder.named_parameters():
        assert scales[id(one)] == pytest.approx(0.8 ** (max(scales_of(encoder)) - encoder.layer_of(name))), name


def scales_of(encoder: Wav2Vec2) -> set[int]:
    return {encoder.layer_of(name) for name, _ in encoder.named_parameters()}


@pytest.mark.parametrize("pre_norm", [False, True])
def test_blocks_that_are_computed_again_give_the_same_gradients(pre_norm):
    encoder = like(reference(pre_norm), pre_norm)
    found = gradients(encoder, noise(2, 8000))
    assert len(found[0]) == len(list(encoder.parameters()))
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("pre_norm", [False, True])
def test_it_is_exported_and_compiled_in_one_graph_for_batches_of_any_size(pre_norm):
    encoder = like(reference(pre_norm), pre_norm)
    check_one_graph(encoder, 8000)


def test_of_no_clips_there_are_no_features(golden):
    shapes = [tuple(part.shape) for part in golden_encoder(golden, normalise=True)(noise(0, 8000))]
    assert shapes == [(3, 0, 32), (3, 0, 24, 1, 32), (0, 32)]
