"""Every YAML for pretraining runs as it comes on a stand-in of its data set, and costs what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from step_flop import flop

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.cli.pretrain import pretrain
from oscine.models import create_model
from oscine.pretrain import Recipe
from oscine.pretrain.run.metrics import loss_curve
from tests.birdset_layout import ogg, train_rows, write_split
from tests.task_layouts import write, write_audioset

YAMLS = config.shipped("pretrain")
PUBLISHED = [name for name in YAMLS if not name.endswith("_tiny")]
LIGHT = "--data.batch_size 1 --data.workers 0 --trainer.accelerator cpu --trainer.devices 1".split()
# One block of the encoder. In float32: not every processor has bfloat16.
SHORT = "--recipe.steps 2 --recipe.warmup 1 --encoder.depth 1 --encoder.dim 192 --trainer.precision 32-true".split()
# Both kinds of a decoder's block, the last of which is asked for hidden patches alone; two clips, which differ.
OWN = {
    "bat": ["--recipe.decoder_depth=2", "--recipe.views=2"],
    "bird_mae": ["--recipe.decoder_depth=2"],
    "audiomosaic": ["--data.batch_size=2"],
}
GPUS = {"bat": 4, "bird_mae": 4, "audiomosaic": 12}  # of the papers' runs
H100 = 989e12  # FLOP a second, dense, bfloat16


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """XCL as its files lie on the Hub, AudioSet's folders beside its lists; by the recipes that are made for them."""
    rows = {f"XC{number}.ogg": ("amerob", [[2, 3], [5, 6]], [0, 0]) for number in range(3)}
    recordings = {name: ogg(8, number, (2, 3)) for number, name in enumerate(rows)}
    xcl = write_split(tmp_path_factory.mktemp("hub"), "XCL", "XCL_metadata.parquet", train_rows(rows), recordings)
    audioset = write_audioset(tmp_path_factory.mktemp("audioset"))
    for path in audioset.glob("*/*.wav"):
        write(path, 10.0)
    return {"bird_mae": xcl, "bat": audioset, "audiomosaic": audioset}


@pytest.mark.parametrize("name", YAMLS)
def test_a_yaml_runs_two_steps_on_a_clip_of_its_data_set(name: str, data_sets: dict[str, Path], tmp_path: Path) -> None:
    recipe = name.rpartition("_")[0]
    given = ["--runs", str(tmp_path), "--data.recordings", str(data_sets[recipe]), "--log_every=1"]
    assert dispatch(["pretrain", name, *given, *LIGHT, *SHORT, *OWN[recipe]]) == 0
    assert loss_curve(tmp_path / name)["loss"].notna().sum() == 2
    made, full = create_model(f"local-dir:{tmp_path / name / 'encoder'}"), on_meta(name).encoder
    assert made.config == full.config | {"depth": 1, "dim": 192}


def on_meta(name: str) -> Recipe:
    """The recipe of a YAML in its full size, without memory for its weights."""
    given = config.read(config.find("pretrain", name))
    with torch.device("meta"):
        return pretrain.METHODS[given["method"]](create_model(**given["encoder"]), **given["recipe"])


@pytest.mark.parametrize("name", YAMLS)
def test_a_step_of_every_size_fits_together(name: str) -> None:
    recipe = on_meta(name)
    keep = torch.cat([recipe.draw_keep(torch.Generator()) for _ in range(2)]).to("meta")
    spectrogram = torch.empty(2, 16 * recipe.encoder.grid[0], 128, device="meta")
    torch.stack(list(recipe.losses(spectrogram, keep).values())).sum().backward()
    assert recipe.configure_optimizers()["optimizer"].param_groups
    assert all(weight.grad is not None for weight in recipe.parameters() if weight.requires_grad)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_cost_that_a_yaml_states_is_what_its_formula_gives(name: str) -> None:
    path = config.find("pretrain", name)
    given, text = config.read(path), " ".join(path.read_text().replace("\n#", " ").split())
    found = re.search(
        r"Cost: (\S+) ([GT])FLOP a clip, (\S+) FLOP the run: (\d+) GPU-hours at (\d+) % of an H100's", text
    )
    assert found
    clip, unit, run, hours, percent = found.groups()
    per_clip = flop(on_meta(name), 1)
    devices = GPUS[name.rpartition("_")[0]]
    clips = (
        given["recipe"]["steps"] * devices * given["data"]["batch_size"] * given["trainer"]["accumulate_grad_batches"]
    )
    assert float(clip) * {"G": 1e9, "T": 1e12}[unit] == float(f"{per_clip:.3g}")
    assert float(run) == float(f"{per_clip * clips:.2g}")
    assert int(hours) == round(per_clip * clips / (int(percent) / 100 * H100) / 3600)
