"""A recipe of one's own runs with what Recipe says it must give, and does without what may be left out."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from torch import Tensor, nn

from oscine.models import OscineError, create_model
from oscine.pretrain import (
    BirdMAEPretraining,
    Health,
    Pictures,
    PretrainingData,
    Recipe,
    adamw,
    fit_recipe,
    loss_curve,
    make_trainer,
    random_keep,
    warmup_cosine_schedule,
)
from oscine.pretrain.recipe import Batch, DrawKeep
from oscine.pretrain.run.pictures import panels_of


class Least(Recipe):
    """Predict the CLS token of the whole clip from a part of it: nothing but what a recipe must give."""

    def __init__(self, encoder: Any, lr: float = 1e-3, steps: int = 4, plain: bool = False) -> None:
        super().__init__(encoder, steps)
        self.head = nn.Linear(encoder.dim, encoder.dim)
        self.lr, self.plain = lr, plain

    @property
    def draw_keep(self) -> DrawKeep:
        return partial(random_keep, 1, self.encoder.grid, 0.5)

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        part = self.encoder.encode(spectrogram, keep, layers=[-1])[0][:, 0]
        return {"part": (self.head(part) - self.encoder.encode(spectrogram, layers=[-1])[0][:, 0]).square().mean()}

    def configure_optimizers(self) -> Any:
        optimizer = adamw([{"params": list(self.parameters()), "weight_decay": 0.0}], self.lr)
        return optimizer if self.plain else warmup_cosine_schedule(optimizer, 1, self.steps)


def least(**settings: Any) -> Least:
    torch.manual_seed(0)
    return Least(create_model("bird_mae_tiny", dim=24, depth=1, heads=2), **settings)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(3):
        sound = np.random.default_rng(number).uniform(-0.3, 0.3, 16_000) * 4.0**-number
        soundfile.write(folder / f"{number}.flac", sound, 16_000)
    return folder


def run(recipe: Recipe, data: Path, folder: Path, resume: bool = False, **more: Any) -> Path:
    trainer = make_trainer(
        recipe, folder, 2, 1, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, **more
    )
    return fit_recipe(trainer, recipe, PretrainingData(data, batch_size=2, workers=0), folder, resume)


def test_a_recipe_without_targets_and_pictures_of_its_own_is_looked_at_like_any(data: Path, tmp_path: Path) -> None:
    encoder = run(least(), data, tmp_path, callbacks=[Health(2), Pictures(tmp_path, 2), LearningRateMonitor("step")])
    assert create_model(f"local-dir:{encoder}").dim == 24
    curve = loss_curve(tmp_path)
    health = curve.filter(like="health/").dropna(how="all")
    assert list(health.columns) == ["health/feature_rank", "health/feature_std", "health/grad_norm"]
    assert list(health.index) == [0, 1, 3]
    assert len(list((tmp_path / "pictures").iterdir())) == 3


def test_of_a_recipe_that_predicts_nothing_to_draw_the_clip_and_what_is_seen_is_drawn() -> None:
    recipe = least()
    waveform = torch.rand(2, recipe.encoder.samples) - 0.5
    keep = torch.stack([recipe.draw_keep(torch.Generator()) for _ in range(2)])
    panels, losses = panels_of(recipe, Batch(waveform, torch.ones(2), keep, torch.zeros(2, dtype=torch.long)))
    assert list(panels) == ["the clip", "what the encoder sees"]
    assert list(losses) == ["part"]
    assert panels["what the encoder sees"].isnan().float().mean() == pytest.approx(0.5, abs=0.01)


def test_what_a_recipe_must_give_and_does_not_is_one_line() -> None:
    class Half(Recipe):
        @property
        def draw_keep(self) -> DrawKeep:
            raise AssertionError

    with pytest.raises(OscineError, match="Half has no losses and no configure_optimizers; a recipe gives draw_keep, "):
        Half(create_model("bird_mae_tiny", dim=24, depth=1, heads=2), 4)


@pytest.mark.parametrize(("old", "new"), [("takes", "encoder_class"), ("rolls_before_filling", "roll_before_pad")])
def test_a_name_of_0_1_in_a_recipe_is_not_passed_over(old: str, new: str) -> None:
    earlier = type("Earlier", (BirdMAEPretraining,), {old: True})
    with pytest.raises(OscineError, match=f"Earlier.{old} is called {new} now; rename it"):
        earlier(create_model("bird_mae_tiny", dim=24, depth=1, heads=2))


@pytest.mark.parametrize("plain", [False, True])
def test_a_run_that_goes_on_has_the_learning_rate_of_the_settings_with_and_without_a_schedule(
    plain: bool, data: Path, tmp_path: Path
) -> None:
    run(least(plain=plain, steps=2), data, tmp_path)
    recipe = least(plain=plain, lr=0.5, steps=4)
    run(recipe, data, tmp_path, resume=True)
    (group,) = recipe.trainer.optimizers[0].param_groups
    assert group["lr"] == (0.5 if plain else 0.0), "at the end of half a cosine it is zero"
    assert plain or recipe.trainer.lr_scheduler_configs[0].scheduler.base_lrs == [0.5]
