"""A run leaves its encoder every so many steps, whole, at no cost of its bits, also when it was stopped in between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning import Callback
from torch import Tensor

from oscine.models import create_model
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.publish.terms import Terms
from oscine.pretrain import BirdMAEPretraining, Recipe
from oscine.pretrain.data.datamodule import PretrainingData
from oscine.pretrain.run.checkpoint import write_folder
from oscine.pretrain.run.facts import gather_facts
from oscine.pretrain.run.files import OWN, find_encoder
from oscine.pretrain.run.metrics import loss_curve
from oscine.pretrain.run.record import step_of
from oscine.pretrain.run.run import fit_recipe, make_trainer


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(folder / f"{number}.flac", rng.uniform(-0.3, 0.3, 16_000), 16_000)
    return sorted(folder.iterdir())


class Weights(Callback):
    """Remembers the encoder's first weights after every step, and stops the run once at a step by raising."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.seen: dict[int, Tensor] = {}
        self.fail_at = fail_at

    def on_train_batch_start(self, trainer: object, pl_module: Recipe, batch: object, index: int) -> None:
        self.seen[index] = next(pl_module.encoder.parameters()).detach().clone()
        if index == self.fail_at:
            raise KeyError("killed")


def recipe() -> Recipe:
    torch.manual_seed(0)
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2, drop_path=0.5)
    return BirdMAEPretraining(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, steps=5, warmup=1, lr=0.01)


def run(
    folder: Path, recordings: list[Path], keep_every: int, resume: bool = False, fail_at: int | None = None
) -> Weights:
    trained, weights = recipe(), Weights(fail_at)
    trainer = make_trainer(
        trained, folder, 3, 1, callbacks=[weights], keep_every=keep_every, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    fit_recipe(trainer, trained, PretrainingData(recordings, batch_size=2, workers=0), folder, resume)
    return weights


def encoder(folder: Path) -> Encoder:
    return create_model(f"local-dir:{folder}")


def bits(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_encoder_stays_at_every_second_step_at_no_cost_of_the_runs_bits(
    recordings: list[Path], tmp_path: Path
) -> None:
    weights = run(tmp_path / "kept", recordings, keep_every=2)
    run(tmp_path / "plain", recordings, keep_every=0)
    assert bits(tmp_path / "kept/encoder") == bits(tmp_path / "plain/encoder")
    assert not (tmp_path / "plain/encoders").exists()
    folders = sorted((tmp_path / "kept/encoders").iterdir())
    assert [folder.name for folder in folders] == ["step_0000002", "step_0000004"]
    for step, folder in zip((2, 4), folders):
        assert torch.equal(next(encoder(folder).parameters()), weights.seen[step])
        assert step_of(folder) == step
        assert find_encoder(folder) == (tmp_path / "kept", folder)
    for name in ("encoder", "encoders"):  # a run may be called so, or lie in a folder that is
        (tmp_path / "kept").rename(named := tmp_path / name)
        assert find_encoder(named) == (named, named / "encoder")
        named.rename(tmp_path / "kept")
    for step, folder in zip((2, 4), folders):
        known = gather_facts(folder, Terms("wren/bird", licence="mit"))[1].run
        losses = loss_curve(tmp_path / "kept")["loss"]
        assert known
        assert known.steps == step
        assert known.losses["loss"] == (losses.iloc[0], losses.iloc[step - 1])
        assert {file.name for file in folder.iterdir()} == {file.name for file in (tmp_path / "kept/encoder").iterdir()}
        assert all(OWN.fullmatch(file.relative_to(tmp_path / "kept").as_posix()) for file in folder.iterdir())


def test_a_run_that_was_killed_and_goes_on_leaves_the_same_encoders(recordings: list[Path], tmp_path: Path) -> None:
    run(tmp_path / "whole", recordings, keep_every=1)
    with pytest.raises(KeyError):  # after step 4, whose encoder stands; the state is of step 3
        run(tmp_path / "killed", recordings, keep_every=1, fail_at=4)
    kept = tmp_path / "killed/encoders"
    (kept / "step_0000004/model.safetensors").write_bytes(b"of another try")
    (kept / ".step_0000005.77.part").mkdir()
    run(tmp_path / "killed", recordings, keep_every=1, resume=True)
    names = [folder.name for folder in sorted(kept.iterdir())]
    assert names == [f"step_{step:07d}" for step in range(1, 6)]
    for name in names:
        assert bits(kept / name) == bits(tmp_path / "whole/encoders" / name), name
    assert bits(kept / names[-1]) == bits(tmp_path / "killed/encoder")


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        part.mkdir()
        (part / "config.json").write_text("half")
        raise OSError("no space left")

    folder = tmp_path / "step_0000001"
    with pytest.raises(OSError, match="no space left"):
        write_folder(folder, fail)
    assert not list(tmp_path.iterdir())
    folder.mkdir()
    (folder / "earlier").touch()
    with pytest.raises(OSError, match="no space left"):
        write_folder(folder, fail)
    assert [path.name for path in folder.iterdir()] == ["earlier"]
    write_folder(folder, lambda part: (part.mkdir(), (part / "later").touch())[0])
    assert [path.name for path in tmp_path.rglob("*")] == ["step_0000001", "later"]
