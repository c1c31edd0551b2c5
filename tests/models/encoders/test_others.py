"""EAT, BEATs and Audio-MAE are equal to their authors' code, and read every layout of their files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.testing import assert_close

from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.beats import BEATs, distance_bucket
from oscine.models.encoders.eat import EAT
from oscine.models.encoders.frontends.mel import AudioMAEFrontend, BEATsFrontend, EATFrontend, Frontend
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import BEATS_SHARED, audio_mae_names, beats_names, eat_names
from oscine.models.hub.weights import load_strictly
from tests.tiny_encoders import DEPTH, DIM, TINY, noise, shaken

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def golden() -> State:
    return load_file(GOLDEN / "others.safetensors")


def under(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def authors_patches(outputs: Tensor, freq: int = 8) -> Tensor:
    """[layer, batch, dim, time, freq]: the authors put dim before time and freq."""
    return outputs[:, :, 1:].unflatten(2, (-1, freq)).movedim(4, 2)


# Spectrograms

LIBRISPEECH = {  # frontend with the constants of the golden file, arguments to Kaldi, what comes before
    "EAT": (
        EATFrontend(16_000, -7.32925959, 4.06100490),
        {"window_type": "hanning", "htk_compat": True},
        lambda waveform: waveform - waveform.mean(),
    ),
    "BEATs": (
        BEATsFrontend(16_000, 13.30096596, 4.97074609),
        {"window_type": "povey", "htk_compat": False},
        lambda waveform: waveform * 2**15,
    ),
}


def kaldi(frontend: EATFrontend, prepared: Tensor, **arguments: object) -> Tensor:  # [frames, mel]
    fbank = torchaudio.compliance.kaldi.fbank(
        prepared[None], sample_frequency=16_000, num_mel_bins=128, frame_shift=10.0, dither=0.0, use_energy=False,
        **arguments,
    )  # fmt: skip
    return (fbank - frontend.mean) / (2 * frontend.std)


@pytest.mark.parametrize("name", LIBRISPEECH)
def test_spectrograms_equal_kaldis_and_are_padded_with_zero(golden, name):
    frontend, arguments, prepare = LIBRISPEECH[name]
    waveform = golden["frontend.waveform_7_3s_16k"]
    expected = kaldi(frontend, prepare(waveform), **arguments)
    made = frontend(waveform[None], frames=736)[0]
    assert_close(made[: len(expected)], expected, atol=1e-6, rtol=0)  # measured 2.4e-7
    assert torch.equal(made[len(expected) :], torch.zeros(736 - len(expected), 128))


@pytest.mark.parametrize("name", LIBRISPEECH)
def test_spectrograms_lie_within_rounding_of_the_authors(golden, name):
    # The golden tensors come from another processor. Where a band is all but silent beside its frame, rounding shows: the
    # largest differences are 1.1e-3 (EAT) and 3.2e-3 (BEATs), the mean ones 3.2e-6. Against Kaldi in float64, golden is
    # off by up to 7e-4 and 2.2e-3, and what is made here by up to 3e-4 and 1.2e-3.
    frontend, arguments, prepare = LIBRISPEECH[name]
    waveform, expected = golden["frontend.waveform_7_3s_16k"], golden[f"frontend.{name}.spectrogram"]
    made = frontend(waveform[None], frames=736)[0]
    exact = kaldi(frontend, prepare(waveform.double()), **arguments)
    assert made.shape == expected.shape
    assert (made - expected).abs().mean() < 5e-6
    assert ((made - expected).abs() > 1e-4).float().mean() < 0.005  # measured 0.0023 and 0.0033
    for spectrogram in (made, expected):
        assert (spectrogram[: len(exact)] - exact).abs().max() < 3e-3


def test_audio_maes_spectrogram_is_padded_with_zero_before_it_is_standardised():
    frontend = AudioMAEFrontend(16_000, 1024, -4.2677393, 4.5689974)
    waveform = noise(160_000) + 0.25
    expected = kaldi(frontend, waveform - waveform.mean(), window_type="hanning", htk_compat=True)
    made = frontend(waveform[None])[0]
    assert_close(made[:998], expected, atol=1e-5, rtol=0)
    assert made.shape == (1024, 128)
    assert_close(made[998:], torch.full((26, 128), 4.2677393 / 2 / 4.5689974))


FRONTENDS: dict[str, Callable[[], Frontend]] = {
    "EAT": lambda: EATFrontend(16_000, -4.6, 4.4),
    "BEATs": lambda: BEATsFrontend(16_000, 15.4, 6.6),
    "AudioMAE": lambda: AudioMAEFrontend(16_000, 32, -4.3, 4.6),
}


@pytest.mark.parametrize("name", FRONTENDS)
@pytest.mark.parametrize("samples", [1, 399, 400, 16_000, 31_999])
def test_spectrograms_of_any_length_come_in_whole_patches_each_on_its_own(name, samples):
    frontend = FRONTENDS[name]()
    quiet = noise(1, samples) * 1e-3
    made = frontend(quiet)
    assert made.shape[1] == frontend.frames(samples)
    assert made.shape[1] % 16 == 0
    assert made.isfinite().all()
    assert torch.equal(frontend(torch.cat([noise(1, samples, seed=1) * 9, quiet]))[1:], made)
    assert torch.equal(frontend(quiet, frames=16), made[:, :16])
    assert not frontend.state_dict()


def test_of_beats_frames_the_last_partial_patch_is_left_out_and_of_the_others_filled_up():
    # As the authors' convolution does: 10 s are 998 frames, 62 patches and 6 frames more.
    samples = 160_000
    beats, eat = FRONTENDS["BEATs"](), FRONTENDS["EAT"]()
    assert (beats.raw_frames(samples), beats.frames(samples), eat.frames(samples)) == (998, 992, 1008)
    made = beats(noise(1, samples))
    assert made.shape == (1, 992, 128)
    assert torch.equal(made, beats(noise(1, samples), frames=1008)[:, :992])
    assert beats.frames(400) == beats(noise(1, 400)).shape[1] == 16, "less than a patch is filled up"


# EAT and SSLAM


def fairseq_state(golden: State) -> State:
    return {name.removeprefix("eat.fairseq."): tensor for name, tensor in golden.items() if "eat.fairseq." in name}


def test_eat_features_equal_the_authors(golden):
    encoder = EAT(DIM, 2, heads=4)
    load_strictly(encoder, eat_names(fairseq_state(golden)), "golden")
    outputs = torch.stack(encoder.eval().requires_grad_(False).encode(golden["eat.x"][:, 0]))
    assert_close(outputs[:, :, 0], golden["eat.cls"], atol=1e-5, rtol=0)  # measured 4.8e-7
    assert_close(authors_patches(outputs), golden["eat.patch"], atol=1e-5, rtol=0)  # measured 1.1e-6


def test_eats_positions_are_frequency_then_time():
    table = EAT(DIM, 1, heads=4).position_table(DIM).double()
    quarter = DIM // 4
    speeds = 10000 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    for time, freq in [(0, 0), (0, 7), (1, 0), (63, 5)]:
        expected = torch.cat(
            [(freq * speeds).sin(), (freq * speeds).cos(), (time * speeds).sin(), (time * speeds).cos()]
        )
        assert_close(table[time * 8 + freq], expected, atol=1e-5, rtol=0)


def hub_names(state: State) -> State:
    """A fairseq state under the names of the files on the Hub."""
    fairseq = "modality_encoders.IMAGE."
    bare = {name.removeprefix(fairseq): tensor for name, tensor in state.items() if ".decoder." not in name}
    return {name.replace("context_encoder.norm", "pre_norm"): tensor for name, tensor in bare.items()}


EAT_LAYOUTS: dict[str, Callable[[State], State]] = {
    "fairseq": lambda state: state,
    "fine-tuned fairseq": lambda state: under("model.", state) | {"head.weight": torch.ones(5, DIM)},
    "hub": lambda state: under("model.", hub_names(state)),
    "fine-tuned hub": lambda state: under("model.", hub_names(state) | {"fc_norm.bias": torch.ones(DIM)}),
    "bare hub": hub_names,
    "short table": lambda state: (
        state | {name: tensor[:, :512] for name, tensor in state.items() if name.endswith("positions")}
    ),
    "ours": eat_names,
}


@pytest.mark.parametrize("layout", EAT_LAYOUTS)
def test_every_layout_of_eat_holds_the_same_encoder(golden, layout):
    state = fairseq_state(golden)
    read, expected = eat_names(EAT_LAYOUTS[layout](state)), eat_names(state)
    assert read.keys() == EAT(DIM, 2, heads=4).state_dict().keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())
    assert torch.equal(read["cls_token"], state["modality_encoders.IMAGE.extra_tokens"])
    assert read["pos_embed"].shape == (1, 512, DIM)


def test_a_strange_tensor_in_eats_file_is_named(golden):
    state = fairseq_state(golden) | {"modality_encoders.IMAGE.alibi_scale": torch.ones(1)}
    with pytest.raises(OscineError, match=r"1 unexpected \(alibi_scale\)"):
        load_strictly(EAT(DIM, 2, heads=4), eat_names(state), "strange.pt")


# BEATs


def drawn_weights() -> State:
    """BEATs' golden weights, as the golden file's page says that they are drawn."""
    shapes = json.loads((GOLDEN / "beats_shapes.json").read_text())
    generator = np.random.Generator(np.random.PCG64(7))
    state = {}
    for name in sorted(shapes):
        drawn = torch.from_numpy(generator.standard_normal(shapes[name]).astype(np.float32) * np.float32(0.02))
        scale = ("norm" in name and name.endswith("weight")) or name.endswith(("grep_a", "weight_g"))
        state[name] = drawn + 1 if scale else drawn
    return state


def test_beats_features_equal_the_authors(golden):
    with torch.device("meta"):  # 90 million random numbers that would be thrown away
        encoder = BEATs()
    encoder.load_state_dict(beats_names(drawn_weights()), strict=True, assign=True)
    outputs = torch.stack(encoder.eval().requires_grad_(False).encode(golden["beats.spectrogram"][:, 0]))
    assert_close(outputs[:, :, 0], golden["beats.cls"], atol=1e-5, rtol=0)  # measured 3.6e-7
    assert_close(authors_patches(outputs), golden["beats.patches"], atol=2e-5, rtol=0)  # measured 3.3e-6


def test_beats_on_ten_seconds_are_the_authors_patches_without_the_last_partial_one():
    # Their convolution, run on all 998 frames, gives 62 columns; what it drops changes no other token.
    encoder = shaken("BEATs")
    seen = encoder.frontend(noise(1, 160_000), frames=998)
    convolved = encoder.patch_embedding(seen[:, None])
    theirs = encoder.post_extract_proj(encoder.layer_norm(convolved.flatten(2).transpose(1, 2)))
    ours = encoder.embed(encoder.prepare(noise(1, 160_000)))
    assert ours.shape == (1, 62 * 8, DIM)
    assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert encoder(noise(1, 160_000)).patches.shape[2] == encoder.steps(160_000) == 62


def test_beats_has_the_published_names_and_shapes():
    with torch.device("meta"):
        state = BEATs().state_dict()
    shapes = json.loads((GOLDEN / "beats_shapes.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in state.items()} == shapes


def test_distances_share_buckets_the_more_the_longer_they_are():
    steps = torch.arange(-900, 901)
    bucket = distance_bucket(steps, 320, 800)
    before, after = bucket[:901].flip(0), bucket[900:]
    assert before[:81].tolist() == [*range(81)]
    assert after[1:80].tolist() == [*range(161, 240)]
    assert (after[1:] == before[1:] + 160).all()
    assert (before.diff() >= 0).all()
    assert before[800:].tolist() == [159] * 101
    assert before[250] == 80 + int(80 * math.log(250 / 80) / math.log(10))


def test_beats_cls_is_the_mean_token():
    encoder = shaken("BEATs")
    features = encoder(noise(2, encoder.samples))
    assert_close(features.cls, features.patches.mean((2, 3)), atol=1e-6, rtol=0)
    assert torch.equal(features.pooled, features.cls[-1])


def test_beats_positions_reach_every_layer():
    encoder = shaken("BEATs")
    seen = torch.rand(1, 112, 128)
    table = encoder.encoder.distances.weight
    before = encoder.block_outputs(encoder.embed(seen), None, range(DEPTH))
    table.add_(torch.randn_like(table))
    tokens = encoder.encoder.layer_norm(torch.rand(1, 56, DIM))
    with_bias, without = (
        encoder.encoder.layers[-1](tokens, bias) for bias in (encoder.attention_bias(56), torch.zeros(1, 4, 56, 56))
    )
    assert not torch.equal(before[0], encoder.block_outputs(encoder.embed(seen), None, [0])[0])
    assert (with_bias - without).abs().max() > 1e-3


def current_pytorch(state: State) -> State:
    """The same tensors, as a current PyTorch names those of a weight norm."""
    names = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    for ours, theirs in names.items():
        state = {name.replace(ours, theirs): tensor for name, tensor in state.items()}
    assert sum("original" in name for name in state) == 2
    return state


def of_espnet(state: State) -> State:
    """With a copy of the shared table in every layer, and the weights that tell which patches are padding."""
    masks = {"raw2fbank_pad.weight": torch.ones(1, 1, 400), "patch_embedding_pad.weight": torch.ones(1, 1, 16, 16)}
    copies = {
        f"encoder.layers.{layer}.{BEATS_SHARED}": state[f"encoder.layers.0.{BEATS_SHARED}"].clone() for layer in (1, 2)
    }
    return current_pytorch(state | masks | copies)


BEATS_LAYOUTS: dict[str, Callable[[State], State]] = {
    "bare": lambda state: state,
    "a current PyTorch's": current_pytorch,
    "ESPnet's": of_espnet,
    "inside NatureLM-audio": lambda state: under("beats.", state) | {"beats.predictor.bias": torch.ones(5)},
    "avex's": lambda state: under("backbone.", current_pytorch(state)) | {"classifier.weight": torch.ones(5, DIM)},
    "prefixed": lambda state: under("backbone.beats.", state) | {"backbone.other": torch.ones(1)},
    "fine-tuned": lambda state: state | {"predictor.weight": torch.ones(5, DIM), "predictor.bias": torch.ones(5)},
    "the shared table in every layer": lambda state: (
        state
        | {
            f"encoder.layers.{layer}.{BEATS_SHARED}": state[f"encoder.layers.0.{BEATS_SHARED}"].clone()
            for layer in (1, 2)
        }
    ),
}


@pytest.mark.parametrize("layout", BEATS_LAYOUTS)
def test_every_layout_of_beats_holds_the_same_encoder(layout):
    state = shaken("BEATs").state_dict()
    read = beats_names(BEATS_LAYOUTS[layout](state))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items())


def test_a_table_of_distances_that_is_not_shared_is_named():
    state = TINY["BEATs"]().state_dict()
    state[f"encoder.layers.2.{BEATS_SHARED}"] = state[f"encoder.layers.0.{BEATS_SHARED}"] + 1
    with pytest.raises(OscineError, match=r"1 unexpected \(encoder\.layers\.2\.self_attn\.relative"):
        load_strictly(TINY["BEATs"](), beats_names(state), "strange.pt")


def test_beats_refuses_a_width_that_its_convolution_cannot_divide():
    with pytest.raises(OscineError, match=r"dim=40, conv_groups=16"):
        BEATs(dim=40, heads=4, depth=1)


# Audio-MAE


def test_audio_mae_equals_the_authors():
    """Their classes, with seeded weights, on two clips of 2.375 s in a table of 256 frames."""
    kept = load_file(GOLDEN / "audio_mae.safetensors")
    state = {name.removeprefix("net."): tensor for name, tensor in kept.items() if name.startswith("net.")}
    encoder = AudioMAE(DIM, 2, heads=4, seconds=2.375, frames=256)
    assert_close(encoder.pos_embed.data, state["pos_embed"], atol=1e-6, rtol=0)  # measured 3.9e-7
    load_strictly(encoder, audio_mae_names(state), "golden")
    encoder.eval().requires_grad_(False)
    waveform = kept["waveform_int16"] / 32768
    assert_close(encoder.frontend(waveform), kept["spectrogram"], atol=1e-6, rtol=0)  # measured 1.2e-7
    outputs = encoder.encode(kept["spectrogram"])
    assert_close(torch.stack(outputs), kept["layers"], atol=1e-5, rtol=0)  # up to 15.7, on the same machine equal
    assert_close(encoder(waveform).pooled, kept["pooled"], atol=1e-5, rtol=0)


def timm_vit(**settings: object) -> VisionTransformer:
    return VisionTransformer(
        img_size=(112, 128),
        patch_size=16,
        in_chans=1,
        num_classes=0,
        embed_dim=DIM,
        depth=DEPTH,
        num_heads=4,
        **settings,
    )


def test_audio_mae_pools_as_timms_fine_tuned_model():
    # The port of the fine-tuned weights is timm's vit_base_patch16_224 with global_pool="avg".
    encoder = shaken("AudioMAE")
    reference = timm_vit(global_pool="avg").eval()
    reference.load_state_dict(
        {name: tensor for name, tensor in encoder.state_dict().items() if "norm." not in name[:5]}
    )
    seen = encoder.frontend(noise(2, encoder.samples))
    assert_close(encoder.pool(encoder.encode(seen)[-1]), reference(seen[:, None]), atol=1e-5, rtol=0)


def test_audio_mae_finishes_tokens_as_timms_pretrained_model():
    encoder = shaken("AudioMAE")
    reference = timm_vit(global_pool="token").eval()
    reference.load_state_dict({name: tensor for name, tensor in encoder.state_dict().items() if "fc_norm" not in name})
    seen = encoder.frontend(noise(2, encoder.samples))
    tokens = reference.forward_features(seen[:, None])
    assert_close(encoder.finish(encoder.encode(seen)[-1]), tokens, atol=1e-5, rtol=0)


AUDIO_MAE_LAYOUTS: dict[str, tuple[str, State]] = {  # which norm is missing, and what stands beside the encoder
    "pretrained": ("fc_norm", {"decoder_embed.weight": torch.ones(8, DIM), "mask_token": torch.ones(1, 1, 8)}),
    "fine-tuned": ("norm", {"head.weight": torch.ones(5, DIM), "head.bias": torch.ones(5)}),
}


@pytest.mark.parametrize("layout", AUDIO_MAE_LAYOUTS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_layout_of_audio_mae_holds_the_same_encoder(layout, prefix):
    missing, beside = AUDIO_MAE_LAYOUTS[layout]
    state = shaken("AudioMAE").state_dict()
    stored = {name: tensor for name, tensor in state.items() if not name.startswith(f"{missing}.")}
    read = audio_mae_names(under(prefix, stored | beside))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in stored.items())
    assert torch.equal(read[f"{missing}.weight"], torch.ones(DIM))
    assert torch.equal(read[f"{missing}.bias"], torch.zeros(DIM))


def test_audio_mae_says_how_to_cut_what_is_too_long():
    encoder = TINY["AudioMAE"]()
    with pytest.raises(
        OscineError, match=r"AudioMAE's positions fit 112 frames \(1 s\), not 208; split_clips\(waveform, 16000"
    ):
        encoder(torch.zeros(1, 2 * encoder.samples))


def test_audio_mae_fills_a_short_clip_up_to_its_frames():
    encoder = shaken("AudioMAE")
    assert encoder(noise(1, 5_000)).patches.shape == (DEPTH, 1, 7, 8, DIM)


def test_audio_mae_refuses_frames_that_are_no_whole_patches():
    with pytest.raises(OscineError, match=r"frames=1000, expected a multiple of 16"):
        AudioMAE(DIM, 1, heads=4, frames=1000)
