"""AudioMosaic is equal to its authors' code, and reads every layout of their files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save
from timm.layers import LayerNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.testing import assert_close

from oscine.models import checkpoints
from oscine.models.checkpoints import ESC_50, LAYOUT, Published
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import AUDIOMOSAIC_DISCARDED, audiomosaic_names
from oscine.models.hub.weights import load_strictly, load_weights
from oscine.models.zoo import create_model
from oscine.probe.heads.linear import LinearProbe
from tests.conftest import Golden
from tests.hub_server import serving
from tests.tiny_encoders import DEPTH, DIM, TINY, noise, shaken

SHAPES = Path(__file__).resolve().parents[2] / "golden/audiomosaic_base_shapes.json"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def authors(golden_audiomosaic: Golden) -> AudioMosaic:
    """The network of the golden file, on clips of 2.5 s."""
    encoder = AudioMosaic(48, 2, heads=3, seconds=2.5, frames=256)
    load_strictly(encoder, audiomosaic_names(golden_audiomosaic.under("net.")), "golden")
    return encoder.eval().requires_grad_(False)


def test_the_spectrogram_is_the_one_that_training_saw_which_their_release_doubles(
    authors: AudioMosaic, golden_audiomosaic: Golden
) -> None:
    waveform = golden_audiomosaic["waveform_int16"] / 32768
    made = authors.prepare(waveform)
    assert_close(made, golden_audiomosaic["spectrogram"], atol=1e-6, rtol=0)  # measured 1.2e-7
    for clip, alone in zip(made, waveform.split(1), strict=True):
        assert torch.equal(authors.prepare(alone)[0], clip)


def test_tokens_equal_the_authors_from_patches_to_pooled(authors: AudioMosaic, golden_audiomosaic: Golden) -> None:
    golden, seen = golden_audiomosaic.under("tokens."), golden_audiomosaic["spectrogram"][:2]
    positions = authors.patch_positions()
    embedded = authors.embed(seen)
    assert_close(embedded - positions, golden["patch_embed"], atol=1e-5, rtol=0)  # measured 3.1e-6
    assert_close(embedded, golden["positions"][:, 1:], atol=1e-5, rtol=0)
    assert_close(authors.begin(embedded), golden["norm_pre"], atol=1e-5, rtol=0)
    outputs = authors.encode(seen)
    for number, tokens in enumerate(outputs):
        assert_close(tokens, golden[f"block_{number}"], atol=1e-5, rtol=0)  # measured 3.8e-6
    assert_close(outputs[-1].mean(1), golden_audiomosaic["mean"], atol=1e-6, rtol=0)
    features = authors.features(seen)
    assert_close(features.pooled, golden_audiomosaic["pooled"], atol=2e-6, rtol=0)  # measured 4.8e-7
    assert_close(features.cls[-1], golden["block_1"][:, 0], atol=1e-5, rtol=0)
    assert_close(features.patches[-1].flatten(1, 2), golden["block_1"][:, 1:], atol=1e-5, rtol=0)


def test_the_mean_counts_cls_too(authors: AudioMosaic, golden_audiomosaic: Golden) -> None:
    last = golden_audiomosaic["tokens.block_1"]
    without_cls = authors.fc_norm(last[:, 1:].mean(1))
    assert (without_cls - golden_audiomosaic["pooled"]).abs().max() > 1e-3


def test_a_linear_probe_on_pooled_is_the_authors_fine_tuned_head(
    authors: AudioMosaic, golden_audiomosaic: Golden
) -> None:
    probe = LinearProbe(authors, 5, "pooled", norm="none").eval()
    head = golden_audiomosaic.under("probe.finetune.head.")
    with torch.no_grad():
        for weight in probe.parameters():
            weight.copy_(head["weight" if weight.ndim > 1 else "bias"])
    logits = probe(authors.features(golden_audiomosaic["spectrogram"][:2], probe.needs.layers))
    assert_close(logits, golden_audiomosaic["probe.finetune.logits"], atol=5e-6, rtol=0)  # measured 9.5e-7


def test_the_authors_probe_of_a_layer_reads_our_raw_layer(authors: AudioMosaic, golden_audiomosaic: Golden) -> None:
    tokens = authors.encode(golden_audiomosaic["spectrogram"][:2], layers=[0])[0]
    head = golden_audiomosaic.under("probe.layer.head.")
    logits = nn.functional.linear(authors.fc_norm(tokens.mean(1)), head["weight"], head["bias"])
    assert_close(logits, golden_audiomosaic["probe.layer.logits"], atol=5e-6, rtol=0)


def test_positions_start_as_the_authors(golden_audiomosaic: Golden) -> None:
    encoder = AudioMosaic(48, 2, heads=3, seconds=2.5, frames=256)
    assert encoder.pos_embed.requires_grad
    assert_close(encoder.pos_embed[0].detach(), golden_audiomosaic["pos_embed_initial"], atol=1e-6, rtol=0)


def test_weights_start_as_the_authors() -> None:
    torch.manual_seed(0)
    encoder = AudioMosaic(192, 1, heads=3)
    for layer in encoder.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
            assert not layer.bias.any()
    assert 0 < encoder.cls_token.abs().max() < 1e-5


def test_it_is_timms_vision_transformer_but_for_the_bias_of_patches() -> None:
    encoder = shaken("AudioMosaic")
    twin = VisionTransformer(
        img_size=(112, 128), patch_size=16, in_chans=1, num_classes=0, embed_dim=DIM, depth=DEPTH, num_heads=4,
        pre_norm=True, embed_norm_layer=LayerNorm, global_pool="avg", fc_norm=True, pool_include_prefix=True,
    )  # fmt: skip
    twin.patch_embed.proj.bias = nn.Parameter(torch.zeros(DIM))
    twin.load_state_dict(encoder.state_dict())
    seen = encoder.prepare(noise(2, encoder.samples))
    assert_close(encoder.features(seen).pooled, twin.eval()(seen[:, None]), atol=1e-5, rtol=0)


def test_names_and_shapes_are_the_published_ones() -> None:
    with torch.device("meta"):
        state = create_model("audiomosaic_base").state_dict()
    shapes = json.loads(SHAPES.read_text())
    ours = {name: shape for name, shape in shapes.items() if not name.startswith("projector.")}
    assert {name: list(tensor.shape) for name, tensor in state.items()} == ours
    assert sum(tensor.numel() for tensor in state.values()) == 85_651_200


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


PROJECTOR = {"projector.0.weight": torch.ones(8, DIM), "projector.1.num_batches_tracked": torch.tensor(3)}
HEAD = {"head.weight": torch.ones(5, DIM), "head.bias": torch.ones(5)}
ATTENTION = {"attn_query": torch.ones(1), "attn_key.weight": torch.ones(1), "attn_value.weight": torch.ones(1)}
LAYOUTS: dict[str, Callable[[State], State]] = {
    "bare": lambda state: state,
    "pretrained": lambda state: state | PROJECTOR,
    "compiled": lambda state: under("_orig_mod.", state | PROJECTOR),
    "compiled, on several devices": lambda state: under("module._orig_mod.", state | PROJECTOR),
    "other options": lambda state: state | {"logit_scale": torch.ones(1), "online_classifier.weight": torch.ones(2)},
    "fine-tuned": lambda state: state | HEAD,
    "attentive probe": lambda state: state | HEAD | ATTENTION | {"layer_norms.12.weight": torch.ones(DIM)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_holds_the_same_encoder(layout: str, tmp_path: Path) -> None:
    state = shaken("AudioMosaic").state_dict()
    torch.save(LAYOUTS[layout](state), tmp_path / "model_state_dict.pt")
    encoder = TINY["AudioMosaic"]()
    load_weights(encoder, tmp_path / "model_state_dict.pt")
    assert all(torch.equal(encoder.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("layout", ["pretrained", "fine-tuned"])
@pytest.mark.parametrize("name", ["audiomosaic_tiny.as2m", "audiomosaic_tiny.esc50_1"])
def test_what_lies_on_the_hub_is_loaded_by_its_row(
    name: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {} if name.endswith("as2m") else ESC_50
    published = Published(name, "a garden", "model.safetensors", "MIT", LAYOUT, "wren/mosaic", settings=settings)
    monkeypatch.setattr(checkpoints, "PUBLISHED", (published,))
    made = create_model("audiomosaic_tiny", **settings)
    with serving(tmp_path, monkeypatch) as hub:
        hub.add("wren/mosaic", {"model.safetensors": save(LAYOUTS[layout](dict(made.state_dict())))})
        loaded = create_model(name, pretrained=True)
    assert loaded.config == made.config
    assert loaded.seconds == settings.get("seconds", 10.0)
    assert all(torch.equal(loaded.state_dict()[one], tensor) for one, tensor in made.state_dict().items())


def test_a_strange_tensor_and_the_names_of_another_encoder_are_named(tmp_path: Path) -> None:
    state = TINY["AudioMosaic"]().state_dict()
    with pytest.raises(OscineError, match=r"1 unexpected \(decoder\.weight\)"):
        load_strictly(TINY["AudioMosaic"](), audiomosaic_names(state | {"decoder.weight": torch.ones(1)}), "a file")
    with pytest.raises(OscineError, match=r"missing \(norm_pre\.bias, .*patch_embed\.norm\.bias.*norm\.bias"):
        load_strictly(TINY["AudioMosaic"](), audiomosaic_names(TINY["AudioMAE"]().state_dict()), "Audio-MAE's file")
    assert not any(name.startswith(AUDIOMOSAIC_DISCARDED) for name in state)


@pytest.mark.parametrize(
    ("name", "rows"), [("audiomosaic_base", 513), ("audiomosaic_base.esc50_5", 257), ("audiomosaic_base.speech_v1", 65)]
)
def test_rows_of_positions_tell_encoders_of_other_clips_apart(name: str, rows: int, tmp_path: Path) -> None:
    encoder = create_model(name, dim=16, depth=1, heads=2)
    path = tmp_path / "model_state_dict.pt"
    torch.save(encoder.state_dict(), path)
    create_model(name, checkpoint_path=path, dim=16, depth=1, heads=2)
    other = "audiomosaic_base.esc50_1" if rows != 257 else "audiomosaic_base"
    with pytest.raises(OscineError, match=rf"shape \(pos_embed \(1, {rows}, 16\) for \(1, \d+, 16\)\); choose"):
        create_model(other, checkpoint_path=path, dim=16, depth=1, heads=2)
