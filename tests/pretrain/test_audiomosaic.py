"""AudioMosaic's recipe: masks, loss, and one step down to its gradients are the authors'."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.errors import OscineError
from oscine.models.hub.layouts import audiomosaic_names
from oscine.pretrain.audiomosaic import AudioMosaicPretraining, contrast
from oscine.pretrain.masking import line_keep, lines_at
from oscine.pretrain.recipe import Batch
from oscine.pretrain.run.health import measure_health
from oscine.pretrain.run.pictures import panels_of
from oscine.pretrain.schedule import warmup_cosine
from oscine.pretrain.settings import AudioMosaicSettings
from tests.conftest import Golden
from tests.tiny_encoders import noise


def tiny(**settings: float | str) -> AudioMosaicPretraining:
    torch.manual_seed(0)
    encoder = AudioMosaic(48, 1, heads=3, seconds=2.5, frames=256)
    return AudioMosaicPretraining(encoder, projector_dim=16, warmup=2, steps=10, **settings)  # type: ignore[arg-type]


@pytest.fixture
def authors(golden_audiomosaic: Golden) -> AudioMosaicPretraining:
    """The recipe with the golden file's weights."""
    recipe = AudioMosaicPretraining(AudioMosaic(48, 2, heads=3, seconds=2.5, frames=256), projector_dim=16)
    recipe.encoder.load_state_dict(audiomosaic_names(golden_audiomosaic.under("net.")), strict=True)
    counts = {name: count for name, count in recipe.projector.state_dict().items() if name.endswith("tracked")}
    recipe.projector.load_state_dict(golden_audiomosaic.under("net.projector.") | counts, strict=True)
    return recipe


def smallest(draws: Tensor, kept: int) -> Tensor:
    """The places of the smallest draws, as the authors keep them."""
    return draws.argsort(1)[:, :kept]


def both(first: Tensor, second: Tensor) -> Tensor:
    """The two views' patches, clip-major; the shorter list is filled up with what does not count."""
    filled = torch.cat([first, first[:, -1:].expand(-1, second.shape[1] - first.shape[1])], dim=1)
    return torch.stack([filled, second], dim=1).flatten(0, 1)


# Masks


@pytest.mark.parametrize(("name", "axis", "kept"), [("time", 0, 3), ("freq", 1, 38)])
def test_masks_are_the_authors_for_their_draws(golden_audiomosaic: Golden, name: str, axis: int, kept: int) -> None:
    keep = lines_at(smallest(golden_audiomosaic[f"mask.{name}.draw"], kept), (8, 64), axis)
    assert torch.equal(keep, golden_audiomosaic[f"mask.{name}.keep"].long().sort(1).values)


def drawn(masks: str) -> tuple[AudioMosaicPretraining, list[Tensor]]:
    """A full-size recipe and the masks of a clip: each view's grid, 1 where it sees."""
    with torch.device("meta"):
        recipe = AudioMosaicPretraining(AudioMosaic(), masks=masks)
    keep = recipe.draw_keep(torch.Generator().manual_seed(0))
    return recipe, [torch.zeros(512).index_fill(0, view, 1).view(64, 8) for view in keep]


def test_published_masks_hide_eighths_of_the_clip_and_a_tile_that_comes_again() -> None:
    recipe, (first, second) = drawn("published")
    assert recipe.kept == (192, 304)
    eighths = first.view(8, 64)
    assert eighths.sum() == 192
    assert torch.equal(eighths.amin(1), eighths.amax(1))
    tiles = second.view(8, 8, 8)
    assert tiles[0].sum() == 38
    assert torch.equal(tiles, tiles[:1].expand(8, -1, -1))


def test_masks_along_the_axes_hide_stretches_of_time_and_bands_of_frequency() -> None:
    recipe, (first, second) = drawn("axes")
    assert recipe.kept == (200, 256)
    assert torch.equal(first.amin(1), first.amax(1))
    assert first[:, 0].sum() == 25
    assert torch.equal(second.amin(0), second.amax(0))
    assert second[0].sum() == 4


def test_kept_patches_ascend_and_every_clip_has_masks_of_its_own() -> None:
    recipe = tiny()
    generator = torch.Generator().manual_seed(0)
    clips = torch.stack([recipe.draw_keep(generator) for _ in range(20)])
    for view, kept in enumerate(recipe.kept):
        assert (clips[:, view, :kept].diff() > 0).all()
        assert (clips[:, view, kept:] == clips[:, view, kept - 1 : kept]).all()
    assert len(clips.flatten(1).unique(dim=0)) == 20


def test_every_line_is_kept_as_often_as_another() -> None:
    keep = line_keep(4000, (4, 6), 1, 0.5, torch.Generator().manual_seed(0))
    share = torch.bincount(keep.flatten(), minlength=24) / 4000
    assert keep.shape == (4000, 12)
    assert_close(share, torch.full((24,), 0.5), atol=0.03, rtol=0)


def test_a_mask_that_keeps_no_line_is_refused() -> None:
    with pytest.raises(OscineError, match=r"a mask that drops 0\.9 keeps 0 of 8 lines; expected a share"):
        tiny(mask_time=0.9).draw_keep(torch.Generator())


# Loss


def test_the_loss_and_its_gradients_are_the_authors(golden_audiomosaic: Golden) -> None:
    one, other = (golden_audiomosaic[f"loss.z{view}"].clone().requires_grad_() for view in range(2))
    loss = contrast(one, other, temperature=0.1)
    assert_close(loss[None], golden_audiomosaic["loss.value"], atol=2e-6, rtol=0)  # measured 9.5e-7
    loss.backward()
    for view, vectors in enumerate((one, other)):
        expected = golden_audiomosaic[f"loss.grad_z{view}"]
        assert_close(vectors.grad, expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


def test_the_loss_is_the_papers_formula() -> None:
    one, other = (torch.randn(5, 7, generator=torch.Generator().manual_seed(view)) for view in range(2))
    vectors = normalize(torch.cat([one, other]), dim=1)
    terms = []
    for number in range(10):
        near = [math.exp(vectors[number] @ vectors[j] / 0.2) if j != number else 0.0 for j in range(10)]
        terms.append(-math.log(near[(number + 5) % 10] / sum(near)))
    assert contrast(one, other, temperature=0.2).item() == pytest.approx(sum(terms) / 10, rel=1e-5)
    assert contrast(one, 3 * one, temperature=0.01).item() < 1e-3, "views that are alike are found"


# A step


def test_the_projection_is_the_authors(authors: AudioMosaicPretraining, golden_audiomosaic: Golden) -> None:
    authors.eval()
    seen = golden_audiomosaic["spectrogram"][:2]
    made = authors.targets(seen)[:, 0]
    assert_close(made, normalize(golden_audiomosaic["projection"], dim=1), atol=2e-6, rtol=0)


def test_one_step_equals_the_authors_down_to_every_gradient(
    authors: AudioMosaicPretraining, golden_audiomosaic: Golden
) -> None:
    seen = golden_audiomosaic["spectrogram"]
    views = torch.stack([seen, 0.8 * seen.roll(40, 1) + 0.1], dim=1).flatten(0, 1)
    assert authors.lines == (8, 16)
    assert authors.kept == (48, 72)
    keep = both(
        lines_at(smallest(golden_audiomosaic["step.time_draw"], 3), authors.lines, 0),
        lines_at(smallest(golden_audiomosaic["step.freq_draw"], 9), authors.lines, 1),
    )
    projections = authors.project(views, keep)
    for made, name in zip(projections, ("time", "freq"), strict=True):
        assert_close(made, golden_audiomosaic[f"step.z_{name}"], atol=2e-5, rtol=0)  # measured 4.0e-6
    last = authors.projector[-1]
    assert_close(last.running_mean, golden_audiomosaic["step.projector_4_running_mean"], atol=1e-6, rtol=0)
    assert_close(last.running_var, golden_audiomosaic["step.projector_4_running_var"], atol=5e-6, rtol=0)
    loss = contrast(*projections, temperature=authors.temperature)
    assert_close(loss[None], golden_audiomosaic["step.loss"], atol=2e-6, rtol=0)  # measured 2.4e-7
    loss.backward()
    trained = {name.removeprefix("encoder."): weight.grad for name, weight in authors.named_parameters()}
    for name, expected in golden_audiomosaic.under("step.grad.").items():
        gradient = trained[name]
        assert gradient is not None
        assert (gradient - expected).norm() <= 2e-5 * expected.norm(), name  # measured 5.9e-6


def test_views_of_one_spectrogram_are_that_spectrogram_twice() -> None:
    recipe = tiny()
    seen = recipe.encoder.prepare(noise(3, recipe.encoder.samples))
    keep = torch.cat([recipe.draw_keep(torch.Generator().manual_seed(clip)) for clip in range(3)])
    losses = [recipe.losses(views, keep)["contrastive"] for views in (seen, seen.repeat_interleave(2, 0))]
    assert torch.equal(*losses)
    assert losses[0].isfinite()


def test_both_views_of_a_clip_hear_it_in_their_own_way() -> None:
    recipe = tiny()
    waveform = noise(2, recipe.encoder.samples)
    views = recipe.augment(waveform, torch.arange(2))
    assert views.shape == (4, recipe.encoder.samples)
    assert len(views.unique(dim=0)) == 4


def test_blocks_that_are_computed_again_give_the_same_gradients() -> None:
    gradients = []
    for again in (False, True):
        recipe = tiny(grad_checkpointing=again)
        assert recipe.encoder.grad_checkpointing == again
        seen = recipe.encoder.prepare(noise(3, recipe.encoder.samples))
        keep = torch.cat([recipe.draw_keep(torch.Generator().manual_seed(clip)) for clip in range(3)])
        recipe.losses(seen, keep)["contrastive"].backward()
        gradients.append([weight.grad for weight in recipe.parameters() if weight.grad is not None])
    assert len(gradients[0]) > 10
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_one_clip_has_nothing_to_differ_from() -> None:
    recipe = tiny()
    keep = recipe.draw_keep(torch.Generator())
    with pytest.raises(OscineError, match=r"one clip, with no others to differ from; data\.batch_size 2 at least"):
        recipe.losses(torch.rand(1, 256, 128), keep)


def test_a_batch_in_which_a_clip_has_few_others_is_remarked_on() -> None:
    recipe = tiny()
    assert recipe.warning_for(255).startswith("a clip is told from 254 others, in the authors' run from 6143: ")
    assert recipe.warning_for(256) == "", "the fewest that SimCLR's paper looks at"


def test_the_published_projector_is_the_default() -> None:
    with torch.device("meta"):
        recipe = AudioMosaicPretraining(AudioMosaic())
    weights = list(recipe.parameters())
    assert sum(weight.numel() for weight in weights) == 86_111_232
    assert sum(weight.numel() for weight in weights if weight.requires_grad) == 86_111_104
    assert len(recipe.encoder.state_dict()) + len(recipe.projector.state_dict()) == 166


# Optimiser


def test_biases_norms_and_tokens_do_not_decay() -> None:
    recipe = tiny()
    optimizer = recipe.configure_optimizers()["optimizer"]
    names = {id(parameter): name for name, parameter in recipe.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.0]
    assert optimizer.defaults["betas"] == (0.9, 0.999)
    assert {"encoder.cls_token", "encoder.pos_embed", "encoder.norm_pre.weight", "projector.1.bias"} < spared
    assert {"encoder.patch_embed.proj.weight", "projector.3.weight"} < decayed
    assert all(name.endswith(".weight") for name in decayed)


def test_the_rate_rises_from_0_over_an_epoch_and_falls_to_its_end() -> None:
    settings = AudioMosaicSettings()
    warmup, end = 311, settings.lr_end / settings.lr
    rate = [settings.lr * warmup_cosine(step, warmup, settings.steps, end=end) for step in range(settings.steps + 1)]
    assert rate[0] == 0
    assert rate[100] == pytest.approx(6e-4 * 100 / 311)
    assert rate[311] == settings.lr == max(rate)
    middle = (311 + settings.steps) / 2
    assert rate[math.floor(middle)] == pytest.approx((6e-4 + 1e-6) / 2, rel=1e-4)
    assert rate[-1] == pytest.approx(1e-6)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"masks": "rows"}, "recipe.masks is 'rows', expected published or axes"),
        ({"mask_freq": 1.0}, "recipe.mask_freq is 1, expected a share between 0"),
        ({"augmentation": 2.0}, "recipe.augmentation is 2.*a share from 0"),
        ({"temperature": 0.0}, "recipe.temperature 0.*more than 0"),
        ({"lr_end": 1.0}, r"recipe\.lr_end 1: .*0 to recipe\.lr"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, float | str], words: str) -> None:
    with pytest.raises(OscineError, match=words):
        AudioMosaicSettings(**wrong)  # type: ignore[arg-type]


# Health and pictures


def test_a_collapse_is_seen_in_what_views_are_to_find() -> None:
    recipe = tiny()
    waveform = noise(16, recipe.encoder.samples) * torch.logspace(-3, 0, 16)[:, None]
    before = [buffer.clone() for buffer in recipe.buffers()]
    sound = measure_health(recipe, waveform)["target_std"]
    assert all(torch.equal(one, other) for one, other in zip(before, recipe.buffers(), strict=True))
    assert recipe.training
    with torch.no_grad():
        recipe.encoder.fc_norm.weight.zero_()  # every clip gets the same vector
        recipe.encoder.fc_norm.bias.fill_(1)
    assert sound > 100 * measure_health(recipe, waveform)["target_std"]


def test_pictures_show_both_views_of_a_clip() -> None:
    recipe = tiny()
    keep = torch.stack([recipe.draw_keep(torch.Generator().manual_seed(clip)) for clip in range(2)])
    clips = Batch(noise(2, recipe.encoder.samples), torch.full((2,), 40_000), keep, torch.arange(2))
    panels, losses = panels_of(recipe, clips)
    assert list(panels) == ["the clip", "what the encoder sees, view 1", "what the encoder sees, view 2"]
    seen = [panel.isfinite().float().mean().item() for panel in panels.values()]
    assert seen == [1.0, *(kept / 128 for kept in recipe.kept)]
    assert set(losses) == {"contrastive"}
