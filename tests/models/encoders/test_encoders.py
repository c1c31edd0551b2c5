"""What every encoder promises, and each one's parity with its authors' code."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.testing import assert_close

from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.base.features import Features
from oscine.models.encoders.base.mae import MAE
from oscine.models.encoders.base.patch_encoder import ChunkedEncoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.eat import EAT
from oscine.models.errors import OscineError
from oscine.models.zoo import create_model
from tests.tiny_encoders import CHUNKED, DEPTH, DIM, TINY, TRAINED_POSITIONS, gradients, noise, shaken


@pytest.fixture(params=TINY)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return shaken(request.param)


def clips(encoder: Encoder, batch: int = 2) -> Tensor:
    return noise(batch, encoder.samples)


def spectrogram(encoder: Encoder, batch: int = 2, seed: int = 0) -> Tensor:
    frames = encoder.grid[0] * 16
    return torch.rand(batch, frames, 128, generator=torch.Generator().manual_seed(seed))


def some_patches(encoder: Encoder, views: int, kept: int = 12) -> Tensor:
    chance = torch.rand(views, math.prod(encoder.grid), generator=torch.Generator().manual_seed(0))
    return chance.argsort(1)[:, :kept].sort(1).values


def test_features_have_the_shapes_that_the_encoder_states(encoder):
    features = encoder(clips(encoder))
    time, freq = encoder.grid
    assert features.cls.shape == (encoder.depth, 2, encoder.dim)
    assert features.patches.shape == (encoder.depth, 2, time, freq, encoder.dim)
    assert features.pooled.shape == (2, encoder.dim)
    assert (encoder.dim, encoder.depth) == (DIM, DEPTH)
    assert encoder.samples == round(encoder.seconds * encoder.sample_rate)


def test_features_are_the_outputs_of_the_blocks_and_the_last_is_finished(encoder):
    features = encoder(clips(encoder))
    outputs = encoder.encode(encoder.frontend(clips(encoder)))
    outputs[-1], pooled = encoder.finish(outputs[-1]), encoder.pool(outputs[-1])
    assert torch.equal(features.cls, torch.stack(outputs)[:, :, 0])
    assert torch.equal(features.patches.flatten(2, 3), torch.stack(outputs)[:, :, 1:])
    assert torch.equal(features.pooled, pooled)


def test_features_may_be_made_of_a_spectrogram(encoder):
    of_waveform = encoder(clips(encoder), layers=[0])
    for one, other in zip(encoder.features(encoder.frontend(clips(encoder)), [0]), of_waveform, strict=True):
        assert torch.equal(one, other)


def test_the_contract_says_what_the_frontend_does(encoder):
    assert encoder.any_length == isinstance(encoder, ChunkedEncoder)
    assert (encoder.frontend_name, encoder.spectral) == (encoder.frontend.name, True)
    assert encoder.frontend.name.startswith(type(encoder.frontend).__name__)
    assert encoder.step_seconds == 16 * encoder.frontend.frame_seconds
    for samples in [700, encoder.samples, *[2 * encoder.samples] * encoder.any_length]:
        waveform = noise(1, samples)
        assert encoder(waveform).patches.shape[2] == encoder.steps(samples)
        assert torch.equal(encoder.prepare(waveform), encoder.frontend(waveform))
        assert torch.equal(encoder.picture(waveform[0]).spectrogram, encoder.frontend(waveform)[0])
    assert torch.equal(encoder.spectrogram([waveform[0]], samples), encoder.prepare_clips([waveform[0]], samples))


def test_a_clip_does_not_depend_on_its_batch(encoder):
    first, second, third = clips(encoder, 3).split(1)
    beside_second = encoder(torch.cat([first, second * 1e-4])).take(slice(1))
    beside_third = encoder(torch.cat([first, third * 9])).take(slice(1))
    for one, other, alone in zip(beside_second, beside_third, encoder(first), strict=True):
        assert torch.equal(one, other)
        assert_close(one, alone, atol=5e-5, rtol=0)  # a matrix of another size is summed in another order


def test_tokens_run_along_frequency_first(encoder):
    seen, changed = spectrogram(encoder, 1), spectrogram(encoder, 1)
    changed[0, 2 * 16 + 3, 5 * 16 + 9] += 1
    difference = (encoder.embed(seen) - encoder.embed(changed)).abs().amax(2).view(encoder.grid)
    assert difference.nonzero().tolist() == [[2, 5]]


def test_a_late_high_whistle_is_at_the_end_of_time_and_frequency(encoder):
    seconds = torch.arange(encoder.samples) / encoder.sample_rate
    whistle = torch.sin(2 * torch.pi * 0.45 * encoder.sample_rate * seconds) * (seconds > 0.6 * encoder.seconds)
    loudness = encoder.frontend(whistle[None]).unfold(1, 16, 16).unfold(2, 16, 16).mean((0, 3, 4))
    loudest = divmod(int(loudness.argmax()), encoder.grid[1])
    assert loudest[0] > encoder.grid[0] / 2
    assert loudest[1] == encoder.grid[1] - 1


def test_keeping_every_patch_changes_nothing(encoder):
    everything = torch.arange(math.prod(encoder.grid)).expand(2, -1)
    for kept, whole in zip(
        encoder.encode(spectrogram(encoder), everything), encoder.encode(spectrogram(encoder)), strict=True
    ):
        assert_close(kept, whole, atol=1e-5, rtol=0)


def test_dropped_patches_change_nothing(encoder):
    keep = some_patches(encoder, views=2)
    seen = spectrogram(encoder)
    hidden = torch.ones(2, math.prod(encoder.grid), dtype=torch.bool).scatter(1, keep, False).view(2, *encoder.grid)
    pixels = hidden.repeat_interleave(16, 1).repeat_interleave(16, 2)
    changed = torch.where(pixels, spectrogram(encoder, seed=1) * 50, seen)
    for before, after in zip(encoder.encode(seen, keep), encoder.encode(changed, keep), strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(encoder.encode(seen)[-1], encoder.encode(changed)[-1])


def test_views_of_a_clip_equal_the_clip_repeated(encoder):
    keep = some_patches(encoder, views=6)
    views = encoder.encode(spectrogram(encoder), keep)
    repeated = encoder.encode(spectrogram(encoder).repeat_interleave(3, 0), keep)
    for one, other in zip(views, repeated, strict=True):
        assert one.shape == (6, 1 + 12, DIM)
        assert_close(one, other, atol=1e-5, rtol=0)


def test_layers_come_in_the_order_that_was_asked_for(encoder):
    every, chosen = encoder(clips(encoder)), encoder(clips(encoder), layers=[-1, 0, 1, 1])
    order = [DEPTH - 1, 0, 1, 1]
    assert torch.equal(chosen.cls, every.cls[order])
    assert torch.equal(chosen.patches, every.patches[order])
    assert torch.equal(chosen.pooled, every.pooled)
    outputs = encoder.encode(spectrogram(encoder), layers=[-2])
    assert len(outputs) == 1
    assert torch.equal(outputs[0], encoder.encode(spectrogram(encoder))[DEPTH - 2])


@pytest.mark.parametrize("layer", [DEPTH, -DEPTH - 1])
def test_a_layer_that_is_not_there_is_named(encoder, layer):
    with pytest.raises(OscineError, match=rf"layer {layer} .* 0 to {DEPTH - 1}"):
        encoder(clips(encoder), layers=[0, layer])


@pytest.mark.parametrize("name", TINY)
def test_every_parameter_is_trained_but_a_table_of_positions(name):
    encoder = shaken(name).requires_grad_(True)
    fixed = [name for name, parameter in TINY[name]().named_parameters() if not parameter.requires_grad]
    table = [one for one, _ in encoder.named_parameters() if one == "pos_embed"]
    assert fixed == ([] if name in TRAINED_POSITIONS else table)
    features = encoder.train()(clips(encoder))
    sum((tensor * torch.randn_like(tensor)).sum() for tensor in features).backward()
    idle = [
        name
        for name, parameter in encoder.named_parameters()
        if parameter.grad is None or not 0 < parameter.grad.abs().sum() < math.inf
    ]
    assert [name for name in idle if name not in fixed] == []


def test_config_builds_the_same_architecture(encoder):
    twin = type(encoder)(**json.loads(json.dumps(encoder.config)))
    twin.load_state_dict(encoder.state_dict())
    with torch.inference_mode():
        assert torch.equal(twin.eval()(clips(encoder)).pooled, encoder(clips(encoder)).pooled)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda waveform: waveform[0], r"\[batch, samples\].*waveform\[None\]"),
        (lambda waveform: waveform[:, None], r"\[batch, samples\]; for .* waveform\.mean\(1\).*waveform\[:, 0\]"),
        (lambda waveform: waveform[0, 0], r"shape \(\), expected \[batch, samples\]; split_clips"),
        (lambda waveform: (waveform * 32768).to(torch.int16).numpy(), r"int16.*load_audio.*int16 / 32768"),
        (lambda waveform: "a.wav", r"is a path, 'a\.wav'; encoder\(\[load_audio\(path.*embed_file\(encoder, path\)"),
        (lambda waveform: Path("a.wav"), "is a path"),
        (lambda waveform: None, "waveform is of type NoneType, expected a tensor or an array"),
        (lambda waveform: [], r"list of clips is empty; expected tensors \[samples\]"),
        (lambda waveform: (waveform, 32000), r"clip 0 of the list has shape \(.*\), expected|clip 1 .* of type int"),
        (lambda waveform: ["a.wav", "b.wav"], "clip 0 of the list is a path"),
        (lambda waveform: [waveform[0], waveform[0, :0]], r"clip 1 of the list has shape \(0,\), expected \[samples\]"),
        (lambda waveform: [waveform[0], waveform[0].int()], r"clip 1 of the list is torch\.int32"),
        (
            lambda waveform: [waveform.flatten().repeat(2)],
            r"clip 0 of the list has \d+ samples, this encoder's clips have \d+; split_clips",
        ),
        (lambda waveform: (waveform * 32768).to(torch.int16), r"int16.*load_audio"),
        (lambda waveform: waveform[:, :0], "which holds no samples"),
    ],
)
def test_a_wrong_waveform_is_refused_with_a_remedy(encoder, wrong: Callable[[Tensor], Tensor], words):
    with pytest.raises(OscineError, match=words):
        encoder(wrong(clips(encoder)))


def test_a_list_of_clips_is_encoded_as_each_clip_by_itself(encoder):
    lengths = [encoder.samples, encoder.samples // 2, 700, encoder.samples // 2]
    waveforms = [noise(length, seed=number) for number, length in enumerate(lengths)]
    with torch.inference_mode():
        together, alone = encoder(waveforms), [encoder([waveform]) for waveform in waveforms]
        by_hand = encoder.features(encoder.spectrogram(waveforms))
        whole = encoder(waveforms[0][None])
    for name in ("cls", "patches", "pooled"):
        axis = 0 if name == "pooled" else 1
        joined = torch.cat([getattr(one, name) for one in alone], axis)
        torch.testing.assert_close(getattr(together, name), joined, rtol=0, atol=2e-5)
        assert torch.equal(getattr(together, name), getattr(by_hand, name))
    torch.testing.assert_close(together.pooled[0], whole.pooled[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", ["float32", "float64", ">f4", "reversed", "read-only"])
def test_an_array_is_taken_as_the_tensor_is(encoder, kind):
    waveform = clips(encoder)
    array = waveform.numpy()[:, ::-1] if kind == "reversed" else waveform.numpy().copy()
    array = array.astype(kind) if "f" in kind else array
    array.flags.writeable = kind != "read-only"
    expected = waveform.flip(1) if kind == "reversed" else waveform
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(encoder(array).pooled, encoder(expected).pooled)
        assert torch.equal(encoder(list(array)).pooled, encoder(list(expected)).pooled)


def test_one_layer_is_asked_for_in_a_list(encoder):
    with pytest.raises(OscineError, match=r"layers is 1, expected a list; layers=\[1\] asks for that layer alone"):
        encoder(clips(encoder), layers=1)


def test_the_width_goes_by_its_name_in_timm_too(encoder):
    assert encoder.num_features == encoder.dim == encoder(clips(encoder)).pooled.shape[1]


@pytest.mark.parametrize("layers", [None, [0]])
def test_of_no_clips_there_are_no_features_of_the_usual_shapes(encoder, layers):
    one, none = encoder(clips(encoder)[:1], layers=layers), encoder(clips(encoder)[:0], layers=layers)
    assert [part.shape for part in none] == [part.shape for part in one.take(slice(0))]
    assert none.pooled.shape == (0, encoder.dim)


def test_timms_optimizers_lower_the_rate_from_block_to_block(encoder):
    encoder.requires_grad_(True)
    groups = param_groups_layer_decay(encoder, 0.05, encoder.no_weight_decay(), layer_decay=0.5)
    found = {id(one): (group["lr_scale"], group["weight_decay"]) for group in groups for one in group["params"]}
    top = max(encoder.layer_of(name) for name, _ in encoder.named_parameters())  # timm counts down from there
    for name, one in encoder.named_parameters():
        scale, decay = found[id(one)]
        assert scale == pytest.approx(0.5 ** (top - encoder.layer_of(name))), name
        assert (decay == 0) == (one.ndim == 1 or name in encoder.no_weight_decay()), name
    assert {"cls_token", "pos_embed"} & {name for name, _ in encoder.named_parameters()} <= encoder.no_weight_decay()


def test_under_pooled_only_the_norm_of_masked_autoencoders_has_no_gradient(encoder):
    encoder.requires_grad_(True)
    encoder(clips(encoder)).pooled.square().mean().backward()
    without = {name for name, one in encoder.named_parameters() if one.grad is None}
    assert without == ({"norm.weight", "norm.bias"} if isinstance(encoder, MAE) else set())


def test_blocks_that_are_computed_again_give_the_same_gradients(encoder):
    found = gradients(encoder, clips(encoder), "patches")
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())


@pytest.mark.slow
def test_torch_export_gives_a_file_for_batches_of_any_size(encoder, tmp_path):
    waveform = clips(encoder)[:2]
    program = torch.export.export(encoder, (waveform,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    torch.export.save(program, tmp_path / "encoder.pt2")
    loaded = torch.export.load(tmp_path / "encoder.pt2").module()
    more = torch.cat([waveform, waveform.flip(0), waveform[:1]])
    with torch.no_grad():
        made = loaded(more)
        assert type(made) is Features
        for part, expected in zip(made, encoder(more), strict=True):
            torch.testing.assert_close(part, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_it_is_compiled_in_one_graph_for_batches_of_any_size(encoder):
    torch.compiler.reset()  # of what other encoders of this process have left
    compiled = torch.compile(encoder, fullgraph=True, dynamic=True, backend="eager")
    with torch.no_grad():
        for waveform in (clips(encoder)[:2], clips(encoder)[:1].repeat(3, 1)):
            torch.testing.assert_close(compiled(waveform).pooled, encoder(waveform).pooled)


def test_a_wrong_sample_rate_is_refused_with_both_rates(encoder):
    encoder(clips(encoder), sample_rate=encoder.sample_rate)
    with pytest.raises(OscineError, match=rf"44100 Hz.*{encoder.sample_rate} Hz.*load_audio"):
        encoder(clips(encoder), sample_rate=44_100)


@pytest.mark.parametrize("shape", [(128,), (16, 128), (1, 1, 112, 128), (1, 112, 64), (1, 100, 128), (1, 0, 128)])
def test_a_wrong_spectrogram_is_refused_with_its_shape(encoder, shape):
    with pytest.raises(OscineError, match=r"shape \(.*expected \[batch, frames, 128\].*frontend"):
        encoder.encode(torch.zeros(shape))


def test_no_layers_are_refused(encoder):
    with pytest.raises(OscineError, match="no layers asked for"):
        encoder(clips(encoder), layers=[])


@pytest.mark.parametrize(
    "sizes", [{"dim": 48, "heads": 5}, {"dim": 30, "heads": 3}, {"depth": 0}, {"seconds": -1.0}, {"seconds": 0.0}]
)
@pytest.mark.parametrize("architecture", [BAT, BirdMAE, EAT, BEATs, AudioMAE, AudioMosaic])
def test_sizes_that_cannot_be_are_refused(architecture, sizes):
    with pytest.raises(OscineError, match=r"expected|must be"):
        architecture(**{"dim": 48, "depth": 1, "heads": 4} | sizes)


def test_half_precision_weights_keep_the_spectrogram_exact(encoder):
    exact = encoder.frontend(clips(encoder))
    with torch.backends.mkldnn.flags(enabled=False):
        features = encoder.bfloat16()(clips(encoder))
    assert torch.equal(encoder.frontend(clips(encoder)), exact)
    assert features.pooled.dtype == torch.bfloat16
    assert features.pooled.isfinite().all()


def test_mixed_precision_keeps_features_close(encoder, bfloat16):
    mixed = encoder(clips(encoder))
    with torch.autocast("cpu", enabled=False):
        exact = encoder(clips(encoder))
    for one, other in zip(mixed, exact, strict=True):
        assert_close(one.float(), other, atol=0.15, rtol=0.1)


def block_names(number: int, gated: bool) -> set[str]:
    parts = ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"] + ["attn.gate"] * gated
    return {f"blocks.{number}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}


def around_blocks(*parts: str) -> set[str]:
    return {"cls_token", "pos_embed"} | {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("name", "outside", "gated", "tensors", "numbers"),
    [
        ("bat_base", around_blocks("patch_embed.proj", "pre_norm"), True, 174, 92_734_464),
        ("bird_mae_base", around_blocks("patch_embed.proj", "norm", "fc_norm"), False, 152, 85_453_056),
    ],
)
def test_the_state_dict_has_the_published_names_and_nothing_else(name, outside, gated, tensors, numbers):
    with torch.device("meta"):
        encoder = create_model(name)
    expected = outside.union(*(block_names(number, gated) for number in range(12)))
    assert set(encoder.state_dict()) == expected
    assert len(expected) == tensors
    assert sum(tensor.numel() for tensor in encoder.state_dict().values()) == numbers


def test_published_shapes():
    with torch.device("meta"):
        shapes = {
            name: {key: tuple(tensor.shape) for key, tensor in create_model(name).state_dict().items()}
            for name in ("bat_base", "bird_mae_base")
        }
    for state in shapes.values():
        assert state["cls_token"] == (1, 1, 768)
        assert state["patch_embed.proj.weight"] == (768, 1, 16, 16)
        assert state["blocks.11.attn.qkv.weight"] == (2304, 768)
        assert state["blocks.11.mlp.fc1.weight"] == (3072, 768)
    assert shapes["bat_base"]["pos_embed"] == (1, 512, 768)
    assert shapes["bat_base"]["blocks.0.attn.gate.weight"] == (768, 768)
    assert shapes["bird_mae_base"]["pos_embed"] == (1, 257, 768)


def test_every_norm_has_the_papers_epsilon(encoder):
    expected = 1e-5 if isinstance(encoder, BEATs) else 1e-6
    assert {module.eps for module in encoder.modules() if isinstance(module, nn.LayerNorm)} == {expected}


@pytest.mark.parametrize("name", ["BAT", "BirdMAE", "AudioMAE", "AudioMosaic"])
def test_positions_run_along_the_wrong_axes_as_published(name):
    encoder = TINY[name]()
    time, freq = encoder.grid if name != "BAT" else (64, 8)
    table = encoder.position_table(DIM)
    quarter = DIM // 4
    for token in (0, 1, time - 1, time, 3 * freq + 2, time * freq - 1):
        angles = [
            (token % time) / 10000 ** (k / quarter) if half == 0 else (token // time) / 10000 ** (k / quarter)
            for half in (0, 1)
            for k in range(quarter)
        ]
        column, row = torch.tensor(angles, dtype=torch.float64).split(quarter)
        expected = torch.cat([column.sin(), column.cos(), row.sin(), row.cos()]).float()
        assert_close(table[token], expected, atol=1e-5, rtol=0)
    assert len(table.unique(dim=0)) == time * freq, "every patch has a code of its own"


@pytest.mark.parametrize("name", CHUNKED)
@pytest.mark.parametrize("frames", [2048, 2048 + 112])
def test_a_long_clip_equals_its_chunks_and_cls_is_their_mean(name, frames):
    encoder = shaken(name)
    long = torch.rand(2, frames, 128, generator=torch.Generator().manual_seed(0))
    parts = [torch.stack(encoder.encode(chunk)) for chunk in long.split(1024, dim=1)]
    whole = torch.stack(encoder.encode(long))
    assert_close(whole[:, :, 0], torch.stack([part[:, :, 0] for part in parts]).mean(0), atol=1e-5, rtol=0)
    assert_close(whole[:, :, 1:], torch.cat([part[:, :, 1:] for part in parts], dim=2), atol=1e-5, rtol=0)
    assert torch.equal(encoder.encode(long, layers=[1])[0], whole[1])
    with pytest.raises(OscineError, match=rf"1024 frames.*{frames}"):
        encoder.encode(long, keep=torch.arange(5)[None])


@pytest.mark.parametrize(("name", "steps"), [("BAT", 76), ("EAT", 75), ("BEATs", 74)])  # 1201 frames, Kaldi's 1198
def test_a_long_waveform_gives_a_long_grid(name, steps):
    features = shaken(name)(noise(1, 12 * 16_000))
    assert features.patches.shape == (DEPTH, 1, steps, 8, DIM)
    assert torch.equal(features.pooled, features.cls[-1])


@pytest.mark.parametrize(
    ("name", "samples", "grid", "sample_rate"),
    [
        ("bat_base", 163_680, (64, 8), 16_000),
        ("bird_mae_base", 160_000, (32, 8), 32_000),
        ("eat_base", 163_680, (64, 8), 16_000),
        ("beats_base", 163_680, (63, 8), 16_000),
        ("audio_mae_base", 160_000, (64, 8), 16_000),
        ("audiomosaic_base", 160_000, (64, 8), 16_000),
        ("audiomosaic_base.esc50_1", 80_000, (32, 8), 16_000),
        ("audiomosaic_base.speech_v2", 16_000, (8, 8), 16_000),
    ],
)
def test_a_clip_has_the_published_length(name, samples, grid, sample_rate):
    with torch.device("meta"):
        encoder = create_model(name)
    assert (encoder.samples, encoder.grid, encoder.sample_rate) == (samples, grid, sample_rate)


# BAT


@pytest.fixture
def golden_encoder(golden_bat) -> BAT:
    encoder = BAT(DIM, DEPTH, heads=4)
    # Their sines come from another library: a float32 angle of up to 63 is known to 4e-6.
    assert_close(encoder.pos_embed.data, golden_bat["encoder.state.pos_embed"], atol=4e-6, rtol=0)
    encoder.load_state_dict(golden_bat.under("encoder.state."), strict=True)
    return encoder.eval().requires_grad_(False)


@pytest.mark.parametrize("case", ["short_112", "chunked_1232"])
def test_bat_features_equal_the_authors(golden_bat, golden_encoder, case):
    source = {"short_112": "frontend.speech_1s_16k", "chunked_1232": "encoder.chunked_1232"}[case]
    outputs = torch.stack(golden_encoder.encode(golden_bat[f"{source}.spectrogram"][:, 0]))
    patches = outputs[:, :, 1:].unflatten(2, (-1, 8)).movedim(4, 2)  # the authors put dim before time and freq
    assert_close(outputs[:, :, 0], golden_bat[f"encoder.{case}.cls"], atol=5e-5, rtol=0)
    assert_close(patches, golden_bat[f"encoder.{case}.patches"], atol=5e-5, rtol=0)


# Bird-MAE


def test_bird_mae_features_equal_the_authors(golden_bird_mae):
    encoder = BirdMAE(DIM, 2, heads=4)
    assert_close(encoder.pos_embed.data, golden_bird_mae["encoder.state.pos_embed"], atol=4e-6, rtol=0)
    encoder.load_state_dict(golden_bird_mae.under("encoder.state."), strict=True)
    encoder.eval().requires_grad_(False)
    last = encoder.encode(golden_bird_mae["input"][:, 0])[-1]
    assert_close(last, golden_bird_mae["out.tokens_prenorm"], atol=5e-5, rtol=0)
    assert_close(encoder.finish(last), golden_bird_mae["out.tokens_norm"], atol=5e-5, rtol=0)
    assert_close(encoder.finish(last)[:, 0], golden_bird_mae["out.cls_norm"], atol=5e-5, rtol=0)
    assert_close(encoder.pool(last), golden_bird_mae["out.pooled_fcnorm"], atol=1e-5, rtol=0)


def test_bird_mae_fills_a_short_clip_up_with_silence():
    encoder = shaken("BirdMAE")
    waveform = clips(encoder)[:, :20_000]
    filled = torch.cat([waveform, torch.zeros(2, encoder.samples - 20_000)], dim=1)
    assert torch.equal(encoder(waveform).patches, encoder(filled).patches)


def test_bird_mae_says_how_to_cut_what_is_too_long():
    encoder = TINY["BirdMAE"]()
    with pytest.raises(OscineError, match=rf"112 frames \(1 s\), not 208; split_clips\(waveform, {encoder.samples}\)"):
        encoder(torch.zeros(1, 2 * encoder.samples))


@pytest.mark.parametrize("name", TINY)
def test_an_encoder_says_whether_cls_is_a_token_of_its_own(name):
    encoder = shaken(name)
    features = encoder(noise(2, encoder.samples))
    means = features.patches.mean((2, 3))
    assert encoder.class_token == (not torch.allclose(features.cls, means, atol=1e-5))
