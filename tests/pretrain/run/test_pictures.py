"""Pictures of a run show its own clips, what is seen of them and what is predicted, and cost the run none of its bits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning import Callback
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from oscine.models import create_model
from oscine.models.encoders.frontends.mel import PATCH, MelScale
from oscine.pretrain import AudioMosaicPretraining, BATPretraining, BirdMAEPretraining, Recipe
from oscine.pretrain.bat import colours
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.recipe import Batch
from oscine.pretrain.run.pictures import CLIPS, Pictures, draw, first_clips, panels_of, pixels_of
from oscine.pretrain.run.run import fit_recipe, make_trainer

TINY = {"dim": 24, "depth": 2, "heads": 2}


def bat(steps: int = 4) -> Recipe:
    encoder = create_model("bat_tiny", seconds=1.0, drop_path=0.5, **TINY)
    return BATPretraining(encoder, views=2, decoder_depth=1, decoder_heads=2, warmup=1, steps=steps)


def bird_mae(steps: int = 4) -> Recipe:
    encoder = create_model("bird_mae_tiny", seconds=1.0, drop_path=0.5, **TINY)
    return BirdMAEPretraining(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, warmup=1, steps=steps)


def audiomosaic(steps: int = 4) -> Recipe:
    encoder = create_model("audiomosaic_tiny", seconds=1.0, frames=112, drop_path=0.5, **TINY)
    return AudioMosaicPretraining(encoder, projector_hidden=16, projector_dim=8, warmup=1, steps=steps)


RECIPES = {"BAT": bat, "Bird-MAE": bird_mae, "AudioMosaic": audiomosaic}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.flac", rng.uniform(-0.3, 0.3, 32_000) * 4.0**-number, 16_000)
    return sorted(folder.iterdir())


class Random(Callback):
    """Remembers the random state after every step."""

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []

    def on_train_batch_start(self, *args: object) -> None:
        self.states.append(torch.get_rng_state())


def run(recipe: Recipe, recordings: list[Path], folder: Path, callbacks: Sequence[Callback], parts: int = 1) -> Batch:
    """A whole run; the clips that its pictures would show."""
    trainer = make_trainer(
        recipe, folder, save_every=2, log_every=2, callbacks=callbacks, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", accumulate_grad_batches=parts,
    )  # fmt: skip
    fit_recipe(trainer, recipe, PretrainingData(recordings, batch_size=2, workers=0), folder)
    return first_clips(trainer)


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_has_the_same_bits_with_and_without_pictures(name: str, recordings: list[Path], tmp_path: Path) -> None:
    runs = []
    for more in ([], [Pictures(tmp_path / "1", 1)]):
        torch.manual_seed(0)
        recipe, random = RECIPES[name](), Random()
        run(recipe, recordings, tmp_path / str(len(more)), [*more, random])
        runs.append(recipe.state_dict() | {"random": torch.stack(random.states)})
        assert recipe.encoder.training
        assert not any(module.training for module in getattr(recipe, "teacher", torch.nn.Identity().eval()).modules())
    assert all(torch.equal(tensor, runs[1][key]) for key, tensor in runs[0].items())


@pytest.mark.parametrize("name", RECIPES)
def test_a_picture_is_drawn_at_the_first_step_and_at_every_second(
    name: str, recordings: list[Path], tmp_path: Path
) -> None:
    recipe = RECIPES[name]()
    clips = run(recipe, recordings, tmp_path, [Pictures(tmp_path, 2)], parts=2)
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in pictures] == ["step_0000001.png", "step_0000002.png", "step_0000004.png"]
    panels, losses = panels_of(recipe, clips)
    title = f"step 4: {', '.join(f'{name} {value:.3f}' for name, value in losses.items())}"
    last = pixels_of(draw(panels, title, recipe.encoder.frontend.mel_scale))
    assert np.array_equal(np.round(imread(pictures[-1])[..., :3] * 255), last), "of the run's first clips"
    (events,) = tmp_path.glob("logs/version_0/events*")
    logged = EventAccumulator(str(events)).Reload().Images("pictures")
    assert [image.step for image in logged] == [1, 2, 4]
    assert np.array_equal(np.round(imread(io.BytesIO(logged[-1].encoded_image_string))[..., :3] * 255), last)


def looked_at(recipe: Recipe) -> tuple[list[torch.Tensor], torch.Tensor, Batch]:
    """A recipe's panels, the patches that are kept as [clips, time, freq], and the clips."""
    generator = torch.Generator().manual_seed(0)
    waveform = torch.rand(CLIPS, recipe.encoder.samples, generator=generator) - 0.5
    keep = torch.stack([recipe.draw_keep(generator) for _ in range(CLIPS)])
    heard = torch.full((CLIPS,), waveform.shape[1])
    clips = Batch(waveform, heard, keep, seed=torch.zeros(CLIPS, dtype=torch.long))
    time, freq = recipe.encoder.grid
    kept = torch.zeros(CLIPS, time * freq).scatter(1, keep[:, 0], 1).bool().unflatten(1, (time, freq))
    return list(panels_of(recipe, clips)[0].values()), kept, clips


def pixels(patches: torch.Tensor) -> torch.Tensor:  # [clips, frames, mel]
    return patches.repeat_interleave(PATCH, 1).repeat_interleave(PATCH, 2)


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_dropped_is_not_shown_as_seen(name: str) -> None:
    recipe = RECIPES[name]()
    (clip, seen, *_), kept, clips = looked_at(recipe)
    assert torch.equal(clip, recipe.encoder.frontend(clips.waveform, clip.shape[1]))
    assert torch.equal(seen.isnan(), ~pixels(kept))
    assert torch.equal(seen[pixels(kept)], clip[pixels(kept)])


@pytest.mark.parametrize("name", RECIPES)
def test_mixed_precision_is_drawn_too(name: str, bfloat16: None) -> None:
    panels, _, _ = looked_at(RECIPES[name]())
    assert pixels_of(draw(dict(zip("abcd", panels)), "", MelScale(0.01, 50.0, 8000.0, 128))).ndim == 3


def test_a_reconstruction_is_the_clip_where_it_was_seen() -> None:
    (clip, _, drawn), kept, _ = looked_at(bird_mae())
    assert torch.equal(drawn[pixels(kept)], clip[pixels(kept)])
    assert not torch.isclose(drawn, clip)[~pixels(kept)].all()


def test_latents_are_drawn_for_every_patch_and_predictions_for_the_dropped_ones() -> None:
    (_, _, targets, predictions), kept, _ = looked_at(bat())
    assert targets.shape == predictions.shape == (*kept.shape, 3)
    assert not targets.isnan().any()
    assert torch.equal(predictions.isnan(), kept[..., None].expand_as(predictions))


def test_a_perfect_prediction_has_the_colours_of_its_target_and_another_has_others() -> None:
    targets = torch.randn(2, 40, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([9, 4, 2, *[1] * 5])
    drawn = colours(targets, targets)
    assert torch.equal(drawn.targets, drawn.predictions)
    assert drawn.share == pytest.approx((81 + 16 + 4) / (81 + 16 + 4 + 5), abs=0.05)
    assert not torch.equal(colours(targets, -targets).predictions, drawn.predictions)
    mean = targets.mean(1, keepdim=True).expand_as(targets)
    assert colours(targets, mean).predictions.std(1).max() < 1e-5, "a prediction of the mean is one colour"


def test_colours_are_the_first_three_components_each_from_its_least_to_its_most() -> None:
    waves = torch.cos(torch.arange(100)[:, None] * torch.tensor([1, 2, 3]) * torch.pi / 50)
    targets = torch.cat([waves * torch.tensor([9.0, 3.0, 1.0]), torch.zeros(100, 1)], dim=1)[None]
    drawn = colours(targets, targets)
    assert drawn.share == pytest.approx(1)
    correlation = np.corrcoef(drawn.targets[0].T, waves.T)[:3, 3:]
    assert np.abs(correlation - np.eye(3)).max() < 0.01
    assert (drawn.targets.amin(1), drawn.targets.amax(1)) == (pytest.approx(0), pytest.approx(1))


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_of_what_has_collapsed_or_diverged_nothing_is_drawn(value: float) -> None:
    drawn = colours(torch.full((1, 40, 8), value), torch.full((1, 40, 8), value))
    assert drawn.targets.isnan().all()
    panels = {"the clip": torch.rand(1, 64, 128), "nothing": drawn.targets.unflatten(1, (5, 8))}
    assert pixels_of(draw(panels, "", MelScale(0.01, 50.0, 8000.0, 128))).ndim == 3
