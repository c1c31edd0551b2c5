"""`forward_intermediates`: code that was written for timm's models runs on every encoder."""

from __future__ import annotations

import inspect
from itertools import product

import pytest
import torch
from timm.models._features import FeatureGetterNet  # timm exports it under no public name
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.testing import assert_close

from oscine.models.encoders.audio_mae import AudioMAE
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.beats import BEATs
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.encoders.convnext import ConvNeXt
from oscine.models.encoders.eat import EAT
from oscine.models.errors import OscineError
from oscine.models.timm_parts import ConvNeXt as Network

DIM, DEPTH, FRAMES = 48, 3, 112
ENCODERS = {
    "BAT": lambda: BAT(DIM, DEPTH, heads=4, seconds=1.1),
    "BirdMAE": lambda: BirdMAE(DIM, DEPTH, heads=4, seconds=1.0),
    "EAT": lambda: EAT(DIM, DEPTH, heads=4, seconds=1.1),
    "BEATs": lambda: BEATs(DIM, DEPTH, heads=4, seconds=1.1, patch_dim=24),
    "AudioMAE": lambda: AudioMAE(DIM, DEPTH, heads=4, seconds=1.0, frames=FRAMES),
    "AudioMosaic": lambda: AudioMosaic(DIM, DEPTH, heads=4, seconds=1.0, frames=FRAMES),
}


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> PatchEncoder:
    torch.manual_seed(0)
    return ENCODERS[request.param]().eval().requires_grad_(False)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 1, FRAMES, 128, generator=torch.Generator().manual_seed(0))


def timms_twin(encoder: PatchEncoder) -> VisionTransformer:
    """timm's vision transformer with Audio-MAE's weights; there is no place for the norm after pooling."""
    twin = VisionTransformer(
        img_size=(FRAMES, 128), patch_size=16, in_chans=1, num_classes=0, embed_dim=DIM, depth=DEPTH, num_heads=4
    )
    twin.load_state_dict({name: tensor for name, tensor in encoder.state_dict().items() if "fc_norm" not in name})
    return twin.eval().requires_grad_(False)


def test_the_signature_is_timms():
    ours, theirs = (
        {
            name: parameter.default
            for name, parameter in inspect.signature(model.forward_intermediates).parameters.items()
        }
        for model in (PatchEncoder, VisionTransformer)
    )
    assert ours == theirs


@pytest.mark.parametrize("indices", [None, 2, [1], [-1, 0], (2, 2)])
@pytest.mark.parametrize("output_fmt", ["NCHW", "NLC"])
def test_results_equal_timms_for_every_setting(image, indices, output_fmt):
    torch.manual_seed(0)
    encoder = ENCODERS["AudioMAE"]().eval().requires_grad_(False)
    encoder.norm.weight.add_(torch.rand(DIM))
    twin = timms_twin(encoder)
    names = ("return_prefix_tokens", "norm", "stop_early", "intermediates_only", "output_dict")
    for switches in product([False, True], repeat=len(names)):
        settings = dict(zip(names, switches, strict=True)) | {"indices": indices, "output_fmt": output_fmt}
        ours = encoder.forward_intermediates(image, **settings)
        theirs = twin.forward_intermediates(image, **settings)
        assert_close(ours, theirs, atol=1e-5, rtol=0, msg=lambda text, settings=settings: f"{settings}: {text}")


def test_intermediates_are_the_features_of_the_layers(encoder, image):
    outputs = encoder.encode(image[:, 0])
    final, pairs = encoder.forward_intermediates(image, [0, -1], return_prefix_tokens=True)
    assert torch.equal(final, encoder.finish(outputs[-1]))
    for (patches, prefix), output in zip(pairs, (outputs[0], outputs[-1]), strict=True):
        assert patches.shape == (2, DIM, FRAMES // 16, 8)
        assert torch.equal(patches.permute(0, 2, 3, 1).flatten(1, 2), output[:, 1:])
        assert torch.equal(prefix, output[:, :1])


def test_an_image_and_its_spectrogram_are_the_same(encoder, image):
    for one, other in zip(
        encoder.forward_intermediates(image, intermediates_only=True),
        encoder.forward_intermediates(image[:, 0], intermediates_only=True),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_a_batch_without_clips_has_features_without_clips(encoder, image):
    for frames in (FRAMES, 1024 + FRAMES) if encoder.any_length else (FRAMES,):
        for made in encoder.forward_intermediates(torch.zeros(0, frames, 128), intermediates_only=True):
            assert made.shape == (0, DIM, frames // 16, 8)
    ours, _ = convnext_and_timms()
    [stage] = ours.forward_intermediates(image[:0], 1, intermediates_only=True)
    assert stage.shape[0] == 0


def test_blocks_after_the_last_wanted_one_are_not_run_when_stopping_early(encoder, image):
    blocks = encoder.encoder.layers if isinstance(encoder, BEATs) else encoder.blocks
    ran: list[int] = []
    for number, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    encoder.forward_intermediates(image, [0, 1], stop_early=True)
    encoder.forward_intermediates(image, [0, 1])
    encoder.encode(image[:, 0], layers=[0])
    assert ran == [0, 1, 0, 1, 2, 0]


def test_feature_info_names_the_blocks(encoder):
    blocks = [encoder.get_submodule(info["module"]) for info in encoder.feature_info]
    assert len(blocks) == DEPTH
    assert all(any("mlp" in name or "fc1" in name for name, _ in block.named_modules()) for block in blocks)


def test_timms_feature_wrapper_takes_every_encoder(encoder, image):
    wrapped = FeatureGetterNet(encoder, out_indices=[0, 2])
    assert wrapped.feature_info.channels() == [DIM, DIM]
    assert wrapped.feature_info.reduction() == [16, 16]
    assert [tuple(patches.shape) for patches in wrapped(image)] == [(2, DIM, FRAMES // 16, 8)] * 2


@pytest.mark.parametrize("name", ["BAT", "EAT", "BEATs"])
def test_a_long_image_gives_a_long_grid(name):
    [patches] = ENCODERS[name]().forward_intermediates(torch.rand(1, 1, 1136, 128), 1, intermediates_only=True)
    assert patches.shape == (1, DIM, 71, 8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"output_fmt": "NHWC"}, r"'NHWC', expected NCHW or NLC"),
        ({"indices": [3]}, r"layer 3 of an encoder with 3: choose from 0 to 2"),
        ({"indices": 4}, r"last 4 of 3 layers.*from 1 to 3"),
        ({"indices": 0}, r"last 0 of 3 layers"),
        ({"indices": []}, r"no layers asked for"),
        ({"is_causal": True}, r"leave out attn_mask"),
        ({"attn_mask": torch.ones(1)}, r"leave out attn_mask"),
    ],
)
def test_what_cannot_be_done_is_refused(encoder, image, settings, words):
    with pytest.raises(OscineError, match=words):
        encoder.forward_intermediates(image, **settings)


def convnext_and_timms() -> tuple[ConvNeXt, Network]:
    """A ConvNeXt of ours and timm's, with the same weights."""
    torch.manual_seed(0)
    ours = ConvNeXt(depths=[1, 2, 1, 2], widths=[8, 12, 16, 24], seconds=1.0).eval().requires_grad_(False)
    twin = Network(1, 0, depths=(1, 2, 1, 2), dims=(8, 12, 16, 24)).eval().requires_grad_(False)
    twin.load_state_dict(ours.state_dict())
    return ours, twin


@pytest.mark.parametrize("indices", [None, 2, [1], [-1, 0], (2, 2)])
@pytest.mark.parametrize("stop_early", [False, True])
def test_stages_of_convnext_equal_timms(image, indices, stop_early):
    ours, twin = convnext_and_timms()
    final, maps = ours.forward_intermediates(image, indices, norm=True, stop_early=stop_early)
    theirs, their_maps = twin.forward_intermediates(image.mT, indices, norm=True, stop_early=stop_early)
    assert_close([one.mT for one in (final, *maps)], [theirs, *their_maps], atol=1e-5, rtol=0)
    assert_close(ours.forward_intermediates(image[:, 0], indices, intermediates_only=True), maps, atol=0, rtol=0)


def test_the_last_stage_of_convnext_has_the_last_layers_patches(image):
    ours, _ = convnext_and_timms()
    [stage] = ours.forward_intermediates(image, 1, intermediates_only=True)
    assert torch.equal(stage.permute(0, 2, 3, 1), ours.features(image[:, 0]).patches[-1])
    with pytest.raises(OscineError, match="stage 5 of an encoder with 4: choose from 0 to 3, or back from -1"):
        ours.forward_intermediates(image, [5])
    with pytest.raises(OscineError, match="the last 5 of 4 stages were asked for"):
        ours.forward_intermediates(image, 5)
    with pytest.raises(OscineError, match=r"output_fmt is 'NLC', expected NCHW"):
        ours.forward_intermediates(image, output_fmt="NLC")


def test_timms_feature_wrapper_takes_convnext(image):
    ours, twin = convnext_and_timms()
    assert [dict(info, module=None) for info in ours.feature_info] == [dict(i, module=None) for i in twin.feature_info]
    wrapped = FeatureGetterNet(ours, out_indices=[0, 3])
    assert wrapped.feature_info.channels() == [8, 24]
    assert [tuple(made.shape) for made in wrapped(image)] == [(2, 8, FRAMES // 4, 32), (2, 24, FRAMES // 32, 4)]


def test_the_signature_is_that_of_timms_convnext():
    ours, theirs = (inspect.signature(kind.forward_intermediates).parameters for kind in (ConvNeXt, Network))
    assert [(one.name, one.default) for one in ours.values()] == [(one.name, one.default) for one in theirs.values()]


def test_an_image_of_three_colours_is_refused(encoder):
    with pytest.raises(OscineError, match=r"shape \(1, 3, 112, 128\), expected \[batch, frames, 128\]"):
        encoder.forward_intermediates(torch.rand(1, 3, FRAMES, 128))
