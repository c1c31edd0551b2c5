"""All recipes: parity with one step of the authors' code, and what must hold whatever the sizes."""

from __future__ import annotations

import copy
import inspect
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import LightningModule
from torch import Tensor, nn
from torch._inductor import config as inductor
from torch.testing import assert_close

from oscine.cli import dispatch
from oscine.models.encoders.audiomosaic import AudioMosaic
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bat import BAT
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.errors import OscineError
from oscine.models.hub.checksummed import save_checksummed
from oscine.models.zoo import create_model
from oscine.pretrain.audiomosaic import AudioMosaicPretraining
from oscine.pretrain.bat import BATPretraining, standardised
from oscine.pretrain.bird_mae import BirdMAEPretraining, patches_of, spectrogram_of
from oscine.pretrain.masking import dropped_patches
from oscine.pretrain.recipe import Batch, Recipe
from oscine.pretrain.run.metrics import loss_curve

ROOT = Path(__file__).resolve().parents[2]
CLIPS = 2


def bat_recipe(decoder_dim: int | None = None, compile: str | None = None) -> BATPretraining:
    torch.manual_seed(0)
    encoder = BAT(48, 2, heads=4, seconds=1.27)
    return BATPretraining(
        encoder, views=3, decoder_depth=1, decoder_heads=4, decoder_dim=decoder_dim, warmup=2, steps=10, compile=compile
    )


def bird_mae_recipe(decoder_dim: int | None = None, compile: str | None = None) -> BirdMAEPretraining:
    torch.manual_seed(0)
    encoder = BirdMAE(48, 2, heads=4, seconds=1.0)
    return BirdMAEPretraining(
        encoder, decoder_dim=decoder_dim or 48, decoder_depth=1, decoder_heads=4, warmup=2, steps=10, compile=compile
    )


def audiomosaic_recipe(compile: str | None = None) -> AudioMosaicPretraining:
    torch.manual_seed(0)
    encoder = AudioMosaic(48, 2, heads=4, seconds=1.0, frames=112)
    torch.nn.init.normal_(encoder.cls_token, std=0.02)  # it begins so near 0 that its norm magnifies every rounding
    return AudioMosaicPretraining(encoder, projector_hidden=32, projector_dim=16, warmup=2, steps=10, compile=compile)


Build = Callable[..., LightningModule]
PREDICTING = [bat_recipe, bird_mae_recipe]  # what they do not see


@pytest.fixture(params=[*PREDICTING, audiomosaic_recipe])
def build(request: pytest.FixtureRequest) -> Build:
    return request.param


@pytest.fixture(params=PREDICTING)
def predicting(request: pytest.FixtureRequest) -> Build:
    return request.param


def sounds(encoder: Encoder) -> Tensor:
    """Spectrograms of rising whistles in noise: something to learn."""
    time = torch.arange(encoder.samples) / encoder.sample_rate
    pitch = torch.tensor([[1000.0], [2000.0]])[:CLIPS]
    noise = torch.randn(CLIPS, encoder.samples, generator=torch.Generator().manual_seed(0))
    return encoder.frontend(0.3 * torch.sin(2 * torch.pi * pitch * time * (1 + time)) + 0.01 * noise)


def masks(recipe: LightningModule, seed: int = 0) -> Tensor:
    """The masks of the clips, clip-major."""
    generator = torch.Generator().manual_seed(seed)
    return torch.cat([recipe.draw_keep(generator) for _ in range(CLIPS)])


def total(losses: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(losses.values())).sum()


# All recipes


def test_a_loss_falls_on_one_batch(build):
    recipe = build()
    spectrogram, keep = sounds(recipe.encoder), masks(recipe)
    optimizer = torch.optim.AdamW([p for p in recipe.parameters() if p.requires_grad], lr=3e-3)
    course = []
    for _ in range(40):
        loss = total(recipe.losses(spectrogram, keep))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.6 * course[0]


def test_a_recipe_is_loaded_from_the_state_of_its_run(build: Build, tmp_path: Path) -> None:
    recipe = build()
    state: dict[str, Any] = {"global_step": 3, "state_dict": recipe.state_dict()}
    recipe.on_save_checkpoint(state)
    save_checksummed(tmp_path / "last.ckpt", state)
    loaded = type(recipe).load_from_checkpoint(tmp_path / "last.ckpt")
    assert type(loaded) is type(recipe)
    assert dict(loaded.hparams) == dict(recipe.hparams)
    assert loaded.encoder.config == recipe.encoder.config
    assert all(torch.equal(one, loaded.state_dict()[name]) for name, one in recipe.state_dict().items())
    assert type(recipe).load_from_checkpoint(tmp_path / "last.ckpt", steps=99, warmup=1).steps == 99
    del state["hyper_parameters"]  # as 0.1 left it
    save_checksummed(tmp_path / "last.ckpt", state)
    with pytest.raises(OscineError, match=r"does not say its settings, being older; give steps=\.\.\. and the others"):
        type(recipe).load_from_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(OscineError, match=f"does not fit {type(recipe).__name__}: tensors "):
        type(recipe).load_from_checkpoint(tmp_path / "last.ckpt", steps=10)


def test_every_trained_parameter_gets_a_gradient(build):
    recipe = build()
    total(recipe.losses(sounds(recipe.encoder), masks(recipe))).backward()
    without = {
        name for name, p in recipe.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    }
    assert without == set(), "training on several devices raises on it"
    frozen = {name for name, p in recipe.named_parameters() if not p.requires_grad and not name.startswith("teacher.")}
    assert ("encoder.pos_embed" in frozen) == (not isinstance(recipe, AudioMosaicPretraining))
    # fc_norm belongs to the published model, masked autoencoding does not use it; a bias shifts all views alike.
    fixed = ("encoder.pos_embed", "decoder.decoder_pos_embed", "encoder.fc_norm.", "projector.4.bias")
    assert all(name.startswith(fixed) for name in frozen)


def test_what_is_dropped_is_not_seen_by_the_encoder(predicting):
    recipe = predicting()
    spectrogram, keep = sounds(recipe.encoder)[:1], masks(recipe)[:1]
    time, freq = recipe.encoder.grid
    hidden = torch.ones(1, time * freq, 1, dtype=torch.bool).scatter(1, keep[..., None], False)
    pixels = spectrogram_of(hidden.expand(-1, -1, 256), freq)
    changed = torch.where(pixels, torch.rand_like(spectrogram), spectrogram)
    assert_close(recipe.encoder.encode(changed, keep)[-1], recipe.encoder.encode(spectrogram, keep)[-1])
    assert total(recipe.losses(changed, keep)) != total(recipe.losses(spectrogram, keep)), "but it is what is predicted"


def test_views_of_a_clip_equal_the_clip_repeated_in_the_loss(build):
    recipe = build()
    spectrogram = sounds(recipe.encoder)
    keep = torch.cat([masks(recipe, seed) for seed in range(2)])
    views = len(keep) // CLIPS
    together = recipe.losses(spectrogram, keep)
    repeated = recipe.losses(spectrogram.repeat_interleave(views, dim=0), keep)
    for name, loss in together.items():
        assert_close(loss, repeated[name], atol=1e-6, rtol=1e-5)


def test_the_loss_is_the_mean_over_clips(predicting):
    recipe = predicting()
    spectrogram, keep = sounds(recipe.encoder), masks(recipe)
    views = len(keep) // CLIPS
    together = total(recipe.losses(spectrogram, keep))
    alone = [total(recipe.losses(spectrogram[c : c + 1], keep[c * views :][:views])) for c in range(CLIPS)]
    assert_close(together, torch.stack(alone).mean(), atol=1e-5, rtol=1e-5)


def test_a_decoder_of_another_width_works(predicting):
    recipe = predicting(decoder_dim=32)
    total(recipe.losses(sounds(recipe.encoder), masks(recipe))).backward()
    assert recipe.decoder.mask_token.shape == (1, 1, 32)
    assert recipe.decoder.mask_token.grad.any()


def narrow(build: Build) -> Build:
    return partial(build, decoder_dim=32)


@pytest.mark.parametrize("build", [*PREDICTING, *map(narrow, PREDICTING), audiomosaic_recipe])
def test_mixed_precision_gives_nearly_the_same_loss_in_float32(build, bfloat16):
    recipe = build()
    spectrogram, keep = sounds(recipe.encoder), masks(recipe)
    mixed = recipe.losses(spectrogram, keep)
    with torch.autocast("cpu", enabled=False):
        exact = recipe.losses(spectrogram, keep)
    for name, loss in mixed.items():
        assert loss.dtype is torch.float32
        assert_close(loss, exact[name], atol=0.02, rtol=0.02)
    total(mixed).backward()
    assert all(torch.isfinite(p.grad).all() for p in recipe.parameters() if p.grad is not None)


def test_the_encoder_trains_although_it_was_made_for_use(build):
    recipe = build()
    assert type(recipe)(recipe.encoder.eval()).encoder.training


def test_linear_layers_start_as_published(predicting):
    decoder = predicting().decoder
    for layer in decoder.modules():
        if isinstance(layer, nn.Linear):
            bound = (6 / sum(layer.weight.shape)) ** 0.5
            assert 0.9 * bound < layer.weight.abs().max() <= bound
            assert layer.bias is None or not layer.bias.any()
    assert 0.01 < decoder.mask_token.std() < 0.04


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_losses_and_gradients_are_the_same(
    build: Build, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("no C++ compiler for torch.compile")
    if backend == "inductor" and build is audiomosaic_recipe:
        pytest.skip("batch norm over two clips magnifies the order of sums, which Inductor changes")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend, fullgraph=True))
    plain, compiled = build(), build(compile="default")
    spectrogram, keep = sounds(plain.encoder), masks(plain)
    for recipe in (plain, compiled):
        total(recipe.compiled_losses(spectrogram, keep)).backward()
    assert plain.compiled is None
    assert compiled.compiled is not None
    largest = max(p.grad.norm() for p in plain.parameters() if p.grad is not None)
    for (name, one), other in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        if one.grad is not None:
            assert (one.grad - other.grad).norm() <= 1e-5 * one.grad.norm() + 1e-6 * largest, name


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="no C++ compiler for torch.compile")
def test_a_run_can_be_compiled(folder: Path, tmp_path: Path) -> None:
    tiny = """--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --recipe.decoder_dim 16 --recipe.decoder_depth 1
    --recipe.decoder_heads 2 --recipe.steps 2 --recipe.warmup 1 --data.batch_size 2 --data.workers 0 --log_every 1
    --health_every 0 --pictures_every 0 --trainer.accelerator cpu --trainer.devices 1""".split()
    losses = []
    for compile in ("null", "default"):
        given = ["--name", compile, "--runs", str(tmp_path), "--data.recordings", str(folder)]
        # Without vector units, whose kinds are tried out one by one, and whose kernels take longer to compile.
        with inductor.patch({"cpp.vec_isa_ok": False}):
            assert dispatch(["pretrain", "bird_mae_tiny", *given, "--recipe.compile", compile, *tiny]) == 0
        losses.append(loss_curve(tmp_path / compile)["loss"].tolist())
    assert len(losses[0]) == 2
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_only_modes_of_torch_compile_are_taken(build: Build) -> None:
    assert build(compile="reduce-overhead").compile_mode == "reduce-overhead"
    with pytest.raises(OscineError, match="compile is 'fast', expected null or one of default, reduce-overhead"):
        build(compile="fast")


def test_masks_are_drawn_elsewhere_without_the_recipe(build):
    recipe = build()
    sent = pickle.dumps(recipe.draw_keep)
    assert len(sent) < 1000
    drawn = [draw(torch.Generator().manual_seed(0)) for draw in (recipe.draw_keep, pickle.loads(sent))]
    assert torch.equal(*drawn)


@pytest.mark.parametrize(
    ("recipe", "config"),
    [
        (BATPretraining, "bat_base"),
        (BirdMAEPretraining, "bird_mae_base"),
        (AudioMosaicPretraining, "audiomosaic_base"),
    ],
)
def test_a_recipes_defaults_are_the_published_configuration(recipe, config):
    published = yaml.safe_load((ROOT / "configs" / "pretrain" / f"{config}.yaml").read_text())["recipe"]
    defaults = {name: p.default for name, p in inspect.signature(recipe).parameters.items() if name != "encoder"}
    if recipe is BATPretraining:
        assert defaults.pop("decoder_dim") is None, "the encoder's, which is the published one's width"
        assert published.pop("decoder_dim") == BAT().dim
    assert defaults == published


# BAT


@pytest.fixture
def golden_step(golden_bat) -> BATPretraining:
    recipe = BATPretraining(BAT(48, 2, heads=4), views=2, decoder_depth=1, decoder_heads=4)
    recipe.encoder.load_state_dict(golden_bat.under("step.student.encoder."), strict=True)
    recipe.decoder.load_state_dict(golden_bat.under("step.student.decoder."), strict=True)
    recipe.teacher.load_state_dict(golden_bat.under("step.teacher.encoder."), strict=True)
    return recipe


def test_bat_targets_equal_the_authors(golden_bat, golden_step):
    targets = golden_step.targets(golden_bat["step.spectrogram"][:, 0])
    assert_close(targets, golden_bat["step.targets"], atol=5e-5, rtol=0)


def test_one_bat_step_equals_the_authors_down_to_every_gradient(golden_bat, golden_step):
    losses = golden_step.losses(golden_bat["step.spectrogram"][:, 0], golden_bat["step.keep"])
    assert list(losses) == ["local", "global"]
    assert_close(losses["local"], golden_bat["step.local_loss"], atol=1e-6, rtol=0)
    assert_close(losses["global"], golden_bat["step.global_loss"], atol=1e-6, rtol=0)
    total(losses).backward()
    expected = golden_bat.under("step.grad.")
    trained = {name: p.grad for name, p in golden_step.named_parameters() if p.requires_grad}
    assert trained.keys() == expected.keys()
    for name, gradient in expected.items():
        assert (trained[name] - gradient).norm() <= 1e-5 * gradient.norm(), name


def test_the_masked_patches_of_the_golden_step_are_the_dropped_ones(golden_bat):
    dropped = dropped_patches(golden_bat["step.keep"], 512)
    assert torch.equal(torch.zeros(4, 512).scatter(1, dropped, 1.0), golden_bat["step.dropped"])


def test_bat_targets_have_no_mean_and_unit_variance():
    recipe = bat_recipe()
    targets = recipe.targets(sounds(recipe.encoder))
    assert_close(targets.mean(2), torch.zeros(targets.shape[:2]), atol=1e-5, rtol=0)
    assert_close(targets.var(2, correction=0), torch.ones(targets.shape[:2]), atol=1e-3, rtol=0)
    assert not targets.requires_grad


def test_tokens_are_standardised_over_the_patches_of_a_clip():
    tokens = torch.randn(2, 50, 8) * torch.tensor([[[3.0]], [[0.5]]]) + 7
    made = standardised(tokens)
    assert_close(made.mean(1), torch.zeros(2, 8), atol=1e-5, rtol=0)
    assert_close(made.var(1, correction=0), torch.ones(2, 8), atol=1e-4, rtol=0)
    assert_close(standardised(tokens[:1]), made[:1])


@pytest.mark.parametrize(
    "recipe",
    [
        lambda: AudioMosaicPretraining(AudioMosaic(24, 1, 2, seconds=1.0, frames=112), lr=0.0, lr_end=0.0),
        lambda: BATPretraining(BAT(24, 1, 2, seconds=1.27), decoder_depth=1, decoder_heads=2, lr=0.0),
        lambda: BirdMAEPretraining(BirdMAE(24, 1, 2, seconds=1.0), decoder_dim=16, decoder_heads=2, lr=0.0),
    ],
)
def test_a_peak_of_0_is_a_rate_of_0_throughout(recipe: Build):
    schedule = recipe().configure_optimizers()["lr_scheduler"]["scheduler"]
    assert schedule.get_last_lr() == [0.0] * len(schedule.optimizer.param_groups)


def test_clips_longer_than_a_chunk_are_refused_kindly():
    recipe = BATPretraining(BAT(24, 1, 2, seconds=12.0), views=1, decoder_depth=1, decoder_heads=2)
    keep = recipe.draw_keep(torch.Generator().manual_seed(0))
    with pytest.raises(OscineError, match="patches can be kept in up to 1024 frames, the spectrogram has 1216"):
        recipe.losses(torch.rand(1, 1216, 128), keep)


def test_targets_come_from_the_teacher_alone():
    recipe = bat_recipe()
    before = recipe.targets(sounds(recipe.encoder))
    with torch.no_grad():
        for parameter in recipe.encoder.parameters():
            parameter.add_(1.0)
    assert torch.equal(recipe.targets(sounds(recipe.encoder)), before)


def test_the_teacher_starts_as_the_student_and_gets_no_gradients():
    recipe = bat_recipe()
    for name, parameter in recipe.encoder.state_dict().items():
        assert torch.equal(recipe.teacher.state_dict()[name], parameter), name
    total(recipe.losses(sounds(recipe.encoder), masks(recipe))).backward()
    assert all(p.grad is None and not p.requires_grad for p in recipe.teacher.parameters())


def test_the_teacher_moves_towards_the_student():
    recipe = bat_recipe()
    with torch.no_grad():
        for parameter in recipe.encoder.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    teacher, student = copy.deepcopy(recipe.teacher.state_dict()), copy.deepcopy(recipe.encoder.state_dict())
    recipe.update_teacher(0.75)
    for name, tensor in recipe.teacher.state_dict().items():
        assert_close(tensor, 0.75 * teacher[name] + 0.25 * student[name], atol=1e-6, rtol=0)
    for name, tensor in recipe.encoder.state_dict().items():
        assert torch.equal(tensor, student[name]), "the student stays"


def test_bat_decays_everything_that_it_trains():
    recipe = bat_recipe()
    optimizer = recipe.configure_optimizers()["optimizer"]
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.05}
    assert optimizer.defaults["betas"] == (0.9, 0.95)
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    names = {name for name, parameter in recipe.named_parameters() if id(parameter) in trained}
    assert {"encoder.cls_token", "encoder.pre_norm.bias", "decoder.mask_token", "decoder.pos_embed"} < names
    assert "encoder.pos_embed" not in names
    assert not [name for name in names if name.startswith("teacher.")]
    assert names == {name for name, parameter in recipe.named_parameters() if parameter.requires_grad}


def test_bats_published_decoder_is_the_default():
    with torch.device("meta"):
        recipe = BATPretraining(BAT())
    assert len(recipe.decoder.state_dict()) == 87
    assert sum(parameter.numel() for parameter in recipe.decoder.parameters()) == 47_054_592
    assert recipe.views == 16
    assert recipe.draw_keep(torch.Generator().manual_seed(0)).shape == (16, 102)


# Bird-MAE


def test_bird_mae_predictions_and_loss_equal_the_authors(golden_bird_mae):
    recipe = BirdMAEPretraining(BirdMAE(48, 2, heads=4), decoder_dim=32, decoder_depth=1, decoder_heads=4)
    recipe.encoder.load_state_dict(golden_bird_mae.under("encoder.state."), strict=True)
    recipe.decoder.load_state_dict(golden_bird_mae.under("mae.state.decoder."), strict=True)
    keep = (golden_bird_mae["mae.mask"] == 0).nonzero()[:, 1].view(4, 64)
    spectrogram = golden_bird_mae["input"][:, 0]
    every = torch.arange(256).expand(4, -1)
    assert_close(recipe.predict(spectrogram, keep, every), golden_bird_mae["mae.pred"], atol=5e-5, rtol=0)
    losses = recipe.losses(spectrogram, keep)
    assert list(losses) == ["reconstruction"]
    # Of the difference, 8e-7, most is theirs: their sum lies 7e-7 from the value in float64, ours 1e-7.
    assert_close(losses["reconstruction"], golden_bird_mae["mae.loss"][0], atol=1e-6, rtol=0)


def test_noise_is_laid_over_the_share_of_clips_that_the_recipe_says():
    waveform, seed = torch.rand(40, 100), torch.arange(40)
    for share in (0.0, 0.5, 1.0):
        recipe = BirdMAEPretraining(BirdMAE(24, 1, 2, seconds=1.0), mix=0.0, noise=share, decoder_dim=16)
        touched = (recipe.augment(waveform, seed) != waveform).any(1).float().mean()
        assert abs(touched - share) <= (0.2 if share == 0.5 else 0)


def test_patches_are_time_major_and_so_are_their_pixels():
    spectrogram = torch.arange(48 * 128.0).view(1, 48, 128)
    patches = patches_of(spectrogram)
    assert patches.shape == (1, 24, 256)
    assert torch.equal(patches[0, 2 * 8 + 3], spectrogram[0, 32:48, 48:64].flatten())
    assert torch.equal(spectrogram_of(patches, 8), spectrogram)


def test_a_reconstruction_leaves_what_was_seen_as_it_was():
    recipe = bird_mae_recipe()
    spectrogram, keep = sounds(recipe.encoder), masks(recipe)
    dropped = dropped_patches(keep, 56)
    made, true = patches_of(recipe.predicted_spectrogram(spectrogram, keep)), patches_of(spectrogram)
    for clip in range(CLIPS):
        assert torch.equal(made[clip, keep[clip]], true[clip, keep[clip]])
        difference = made[clip, dropped[clip]] - true[clip, dropped[clip]]
        assert (difference.abs().amax(1) > 0).all()


def test_a_perfect_prediction_has_no_loss_and_reconstructs_the_spectrogram(monkeypatch):
    recipe = bird_mae_recipe()
    spectrogram, keep = sounds(recipe.encoder), masks(recipe)
    true = patches_of(spectrogram)
    variance, mean = torch.var_mean(true, dim=2, keepdim=True)
    perfect = (true - mean) / (variance + 1e-6).sqrt()
    monkeypatch.setattr(
        recipe, "predict", lambda *given: perfect.gather(1, given[-1][..., None].expand(-1, -1, perfect.shape[2]))
    )
    assert recipe.losses(spectrogram, keep)["reconstruction"] == 0
    assert_close(recipe.predicted_spectrogram(spectrogram, keep), spectrogram, atol=1e-5, rtol=0)


def test_bird_mae_decays_matrices_and_tokens_only():
    recipe = bird_mae_recipe()
    optimizer = recipe.configure_optimizers()["optimizer"]
    names = {id(parameter): name for name, parameter in recipe.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0]
    assert optimizer.defaults["betas"] == (0.9, 0.95)
    assert {"encoder.cls_token", "decoder.mask_token", "encoder.patch_embed.proj.weight"} < decayed
    assert all(name.endswith(".bias") or "norm" in name for name in spared)
    assert not [name for name in decayed | spared if "pos_embed" in name]
    assert decayed | spared == {name for name, parameter in recipe.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize(
    ("sizes", "parameters"),
    [((768, 12, 12), 25_877_248), ((1024, 24, 16), 26_008_320), ((1280, 32, 16), 26_139_392)],
)
def test_bird_maes_published_decoder_is_the_default(sizes, parameters):
    with torch.device("meta"):
        recipe = BirdMAEPretraining(BirdMAE(*sizes))
    assert sum(parameter.numel() for parameter in recipe.decoder.parameters()) == parameters
    assert recipe.draw_keep(torch.Generator().manual_seed(0)).shape == (1, 64)


def test_a_clip_that_is_cut_shorter_is_filled_up_in_the_spectrogram(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = BATPretraining(BAT(24, 1, 2, seconds=1.27), views=1, decoder_depth=1, decoder_heads=2)
    seen = []

    def losses(spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        seen.append(spectrogram)
        return {"local": spectrogram.mean()}

    monkeypatch.setattr(recipe, "losses", losses)
    monkeypatch.setattr(recipe, "log", lambda *_, **__: None)
    monkeypatch.setattr(recipe, "over_processes", lambda terms: terms)  # there is no run
    waveform = torch.rand(2, 16_000)
    keep = torch.stack([recipe.draw_keep(torch.Generator().manual_seed(clip)) for clip in range(2)])
    recipe.training_step(Batch(waveform, torch.full((2,), 16_000), keep, torch.zeros(2, dtype=torch.long)), 0)
    assert seen[0].shape == (2, 128, 128)
    assert torch.equal(seen[0][:, :101], recipe.encoder.frontend(waveform)[:, :101])
    assert (seen[0][:, 101:] == 0).all()


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (BATPretraining, "beats_base"),
        (BirdMAEPretraining, "eat_base"),
        (AudioMosaicPretraining, "audio_mae_base"),
    ],
)
def test_a_recipe_says_which_encoder_it_takes(recipe: type[Recipe], name: str) -> None:
    with torch.device("meta"), pytest.raises(OscineError, match=f"{recipe.__name__} takes a"):
        recipe(create_model(name))
