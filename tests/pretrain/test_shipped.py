"""Every YAML for pretraining runs as it comes, on a clip a step; what is too large for that goes through without numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import config, dispatch, pretrain
from oscine.models import create_model
from oscine.pretrain import Recipe
from oscine.pretrain.run import loss_curve

YAMLS = config.shipped("pretrain")
HUGE = {"bird_mae_large", "bird_mae_huge"}
LIGHT = "--data.batch_size 1 --data.workers 0 --trainer.accelerator cpu --trainer.devices 1".split()
# One block each: the width is the YAML's. In float32: not every processor has bfloat16.
SHORT = (
    "--recipe.steps 2 --recipe.warmup 1 --encoder.depth 1 --recipe.decoder_depth 1 --trainer.precision 32-true".split()
)


@pytest.mark.parametrize("name", [name for name in YAMLS if name not in HUGE])
def test_a_yaml_runs_two_steps_on_one_clip(name: str, tmp_path: Path) -> None:
    sounds = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 12 * 32_000))
    for number, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{number}.flac", sound, 32_000)
    views = ["--recipe.views=2"] if name.startswith("bat") else []
    given = ["--runs", str(tmp_path), "--data.recordings", str(tmp_path), "--log_every=1"]
    assert dispatch(["pretrain", name, *given, *LIGHT, *SHORT, *views]) == 0
    assert loss_curve(tmp_path / name)["loss"].notna().sum() == 2
    made = create_model(f"local-dir:{tmp_path / name / 'encoder'}")
    assert made.dim == create_model(name, depth=1).dim


@pytest.mark.parametrize("name", YAMLS)
def test_a_step_of_every_size_fits_together(name: str) -> None:
    given = config.read(config.find("pretrain", name))
    with torch.device("meta"):
        recipe: Recipe = pretrain.METHODS[given["method"]](create_model(**given["encoder"]), **given["recipe"])
    keep = torch.cat([recipe.draw_keep(torch.Generator()) for _ in range(2)]).to("meta")
    spectrogram = torch.empty(2, 16 * recipe.encoder.grid[0], 128, device="meta")
    torch.stack(list(recipe.losses(spectrogram, keep).values())).sum().backward()
    assert recipe.configure_optimizers()["optimizer"].param_groups
    assert all(weight.grad is not None for weight in recipe.parameters() if weight.requires_grad)
