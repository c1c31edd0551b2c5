"""The figures of a run's health are what they say, cost the run nothing of its bits, and show a collapse."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning import Callback
from torch import Tensor

from oscine.models import create_model
from oscine.pretrain import AudioMosaicPretraining, BATPretraining, BirdMAEPretraining, Recipe
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.run.health import LEAST_RANK, LEAST_SHARE, Health, effective_rank, measure_health, std_over_clips
from oscine.pretrain.run.metrics import loss_curve
from oscine.pretrain.run.run import fit_recipe, make_trainer
from oscine.pretrain.schedule import teacher_decay

TINY = {"dim": 24, "depth": 2, "heads": 2}


def bat(**settings: float) -> Recipe:
    encoder = create_model("bat_tiny", seconds=1.0, drop_path=0.5, **TINY)
    return BATPretraining(encoder, views=2, decoder_depth=1, decoder_heads=2, **settings)  # type: ignore[arg-type]


def bird_mae(**settings: float) -> Recipe:
    encoder = create_model("bird_mae_tiny", drop_path=0.5, **TINY)
    return BirdMAEPretraining(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, **settings)  # type: ignore[arg-type]


def audiomosaic(**settings: float) -> Recipe:
    encoder = create_model("audiomosaic_tiny", seconds=1.0, frames=112, drop_path=0.5, **TINY)
    return AudioMosaicPretraining(encoder, projector_hidden=16, projector_dim=8, **settings)  # type: ignore[arg-type]


RECIPES = {"BAT": bat, "Bird-MAE": bird_mae, "AudioMosaic": audiomosaic}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(4):
        soundfile.write(folder / f"{number}.flac", rng.uniform(-0.3, 0.3, 16_000) * 4.0**-number, 16_000)
    return sorted(folder.iterdir())


def run(
    recipe: Recipe,
    recordings: list[Path],
    folder: Path,
    callbacks: Sequence[Callback],
    resume: bool = False,
    batch_size: int = 3,
    parts: int = 1,
) -> Recipe:
    trainer = make_trainer(
        recipe, folder, save_every=2, log_every=2, callbacks=callbacks, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", accumulate_grad_batches=parts, gradient_clip_val=0.01,
    )  # fmt: skip
    fit_recipe(trainer, recipe, PretrainingData(recordings, batch_size, workers=0), folder, resume)
    return recipe


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_has_the_same_bits_with_and_without_a_look_at_its_health(
    name: str, recordings: list[Path], tmp_path: Path
) -> None:
    runs = []
    for callbacks in ([], [Health(1)]):
        torch.manual_seed(0)
        recipe = RECIPES[name](steps=4, warmup=1)
        # Random numbers are drawn in every step: a look that drew some would be seen.
        recipe = run(recipe, recordings, tmp_path / str(len(callbacks)), callbacks)
        runs.append(recipe.state_dict() | {"random": torch.get_rng_state()})
        assert recipe.encoder.training
    assert all(torch.equal(tensor, runs[1][key]) for key, tensor in runs[0].items())


def test_every_figure_is_in_the_row_of_its_step(recordings: list[Path], tmp_path: Path) -> None:
    recipe = bat(steps=4, warmup=1, ema_start=0.9, ema_end=0.99, ema_steps=3)
    norms: list[float] = []
    recipe.on_before_optimizer_step = lambda optimizer: norms.append(  # type: ignore[method-assign]
        torch.cat([p.grad.flatten() for p in recipe.parameters() if p.grad is not None]).norm().item()
    )
    run(recipe, recordings, tmp_path, [Health(2)], parts=2)
    curve = loss_curve(tmp_path)
    figures = curve.filter(like="health/").dropna(how="all")
    assert list(figures.index) == [0, 1, 3], "the first step, and every second"
    assert not figures.isna().any(axis=None)
    assert not curve["loss"].loc[[1, 3]].isna().any()
    assert figures["health/grad_norm"].tolist() == pytest.approx([norms[step] for step in figures.index], rel=1e-5)
    assert figures["health/teacher_decay"].tolist() == pytest.approx(
        [teacher_decay(s, 0.9, 0.99, 3) for s in (0, 1, 3)]
    )
    assert figures["health/feature_rank"].between(1, 24).all()


def test_a_batch_of_one_clip_has_a_rank_and_no_spread(recordings: list[Path], tmp_path: Path) -> None:
    run(bird_mae(steps=2, warmup=1), recordings, tmp_path, [Health(1)], batch_size=1)
    assert loss_curve(tmp_path).filter(like="health/").columns.tolist() == ["health/feature_rank", "health/grad_norm"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_figures_are_of_the_encoder_that_is_kept(name: str) -> None:
    recipe = RECIPES[name]()
    waveform = torch.rand(3, recipe.encoder.samples, generator=torch.Generator().manual_seed(0)) - 0.5
    figures = measure_health(recipe, waveform)
    features = recipe.encoder.eval()(waveform, layers=[-1]).patches[0].flatten(1, 2)
    torch.testing.assert_close(figures["feature_std"], std_over_clips(features))
    torch.testing.assert_close(figures["feature_rank"], effective_rank(features.flatten(0, 1)), rtol=1e-4, atol=0)


def test_the_standard_deviation_is_over_clips_and_not_over_patches() -> None:
    values = torch.randn(1, 7, 5).expand(4, 7, 5)
    assert std_over_clips(values) == 0
    sign = torch.tensor([1.0, -1.0]).repeat(2)[:, None, None]
    assert std_over_clips(values + 3 * sign).item() == pytest.approx(3)


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_the_effective_rank_of_equal_directions_is_their_number(rank: int) -> None:
    basis = torch.linalg.qr(torch.randn(16, 16))[0][:rank]
    rows = basis.repeat(100, 1)
    assert effective_rank(rows).item() == pytest.approx(rank, rel=1e-3)
    assert effective_rank(rows, most=64).item() == pytest.approx(rank, rel=0.1)


def test_the_effective_rank_of_nothing_is_no_direction_and_of_no_number_none() -> None:
    assert effective_rank(torch.zeros(8, 4)) == 1
    assert effective_rank(torch.full((8, 4), torch.nan)).isnan()


class Collapsing(BirdMAEPretraining):
    """Minimises what its encoder tells clips apart by."""

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        tokens = self.encoder.finish(self.encoder.encode(spectrogram, layers=[-1])[0])
        return {"spread": tokens.var(0).mean() + 0 * super().losses(spectrogram, keep)["reconstruction"]}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "oscine.pretrain.run.health"]


def test_a_collapsing_run_is_said_so_once_also_when_it_is_resumed(
    recordings: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def recipe(steps: int) -> Recipe:
        torch.manual_seed(0)
        encoder = create_model("bird_mae_tiny", **TINY)
        return Collapsing(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, lr=0.02, warmup=1, steps=steps)

    with caplog.at_level(logging.WARNING):
        run(recipe(60), recordings, tmp_path, [Health(10)])
        (line,) = said(caplog)
        run(recipe(80), recordings, tmp_path, [Health(10)], resume=True)
    assert said(caplog) == [line]
    assert line.startswith("the encoder is collapsing: at step ")
    std = loss_curve(tmp_path)["health/feature_std"].dropna()
    assert std.iloc[-1] < LEAST_SHARE * std.iloc[0]


# The lowest share of the first spread and the lowest rank of real runs that did not collapse, see health.py; then what lies
# on either side of the thresholds.
SOUND = [(0.13, 3.8), (0.08, 1.7), (1.01 * LEAST_SHARE, 3.8), (0.13, 1.01 * LEAST_RANK)]
COLLAPSED = [(0.99 * LEAST_SHARE, 3.8), (0.13, 0.99 * LEAST_RANK), (1e-4, 1.0)]


@pytest.mark.parametrize(("share", "rank"), SOUND + COLLAPSED)
def test_runs_are_called_collapsing_by_what_real_ones_showed(
    share: float, rank: float, caplog: pytest.LogCaptureFixture
) -> None:
    health, first = Health(50), 0.7
    for step, (std, now) in enumerate([(first, 20.0), (share * first, rank), (share * first, rank)]):
        health.warn(50 * step, now, std)
    if (share, rank) in SOUND:
        assert said(caplog) == []
    else:
        (line,) = said(caplog)
        assert f"at step 50 its features vary over clips by {share:.2g} of what they did" in line
        assert f"effective rank is {rank:.1f}" in line


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_learns_is_not_called_collapsing(
    name: str, recordings: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    run(RECIPES[name](steps=20, warmup=5), recordings, tmp_path, [Health(5)])
    assert said(caplog) == []
