"""A run says what it is about to do before its first step, and where it goes on."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from oscine.cli import dispatch
from oscine.models import create_model
from oscine.models.encoders.base.devices import device_name
from oscine.pretrain import BirdMAEPretraining, PretrainingData, fit_recipe, make_trainer
from oscine.pretrain.run.plan import Plan, TellPlan
from tests.forked import two_processes

TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.workers 0 --data.batch_size 2 --pictures_every 0 --health_every 0
--trainer.accelerator cpu
""".split()
DECODER = "--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2".split()
BEGINNINGS = ("device: ", "recordings: ", r"\d+ steps? of", "going on", "no state", "step ", "a clip is told")


def command(config: str, folder: Path, runs: Path, steps: int, *more: str) -> list[str]:
    given = ["--name", "run", "--runs", str(runs), "--data.recordings", str(folder), f"--recipe.steps={steps}"]
    return ["pretrain", config, *TINY, *given, *(DECODER if config == "bird_mae_tiny" else []), *more]


def plan_in(err: str) -> list[str]:
    """What a run has said of its plan, line by line."""
    return [line for line in err.splitlines() if re.match("|".join(BEGINNINGS), line)]


def test_the_plan_is_told_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    encoder = create_model("bird_mae_tiny", dim=24, depth=1, heads=2)
    recipe = BirdMAEPretraining(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, steps=2, warmup=0)
    told: list[Plan] = []
    before = [weight.detach().clone() for weight in encoder.parameters()]
    unchanged: list[bool] = []

    def tell(plan: Plan) -> None:
        told.append(plan)
        unchanged.append(all(one.equal(other) for one, other in zip(before, encoder.parameters(), strict=True)))

    trainer = make_trainer(
        recipe, tmp_path / "run", callbacks=[TellPlan(tell)], accelerator="cpu", devices=1,
        accumulate_grad_batches=3, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    fit_recipe(trainer, recipe, PretrainingData(folder, batch_size=2, workers=0, seconds=1.0), tmp_path / "run")
    assert told == [
        Plan(
            device=device_name("cpu"), devices=1, precision="32-true", recordings=3, stretches=9, seconds=9.0,
            clip_seconds=1.0, clips=6, done=0, steps=2, warning="",
        )
    ]  # fmt: skip
    assert unchanged == [True]


def test_a_run_says_what_it_takes_and_where_it_goes_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(command("bird_mae_tiny", folder, tmp_path, 1)) == 0
    new = [
        f"device: {device_name('cpu')}, precision 32-true",
        "recordings: 3, 9 s, in 3 stretches that clips of 5 s are cut from",
        "1 step of 2 clips: 2 in all, 0.667 from every stretch",
    ]
    assert plan_in(capsys.readouterr().err) == new
    longer = command("bird_mae_tiny", folder, tmp_path, 2, "--resume", "--change", "recipe.steps")
    assert dispatch(longer) == 0
    two = "2 steps of 2 clips: 4 in all, 1.33 from every stretch"
    assert plan_in(capsys.readouterr().err) == [*new[:2], two, "going on after step 1"]
    kept = (tmp_path / "run/encoder/model.safetensors").read_bytes()
    assert dispatch(longer) == 0
    assert plan_in(capsys.readouterr().err) == ["step 2 of 2 is done: nothing is left to train"]
    assert (tmp_path / "run/encoder/model.safetensors").read_bytes() == kept
    shutil.rmtree(tmp_path / "run/states")
    assert dispatch(longer) == 0
    assert plan_in(capsys.readouterr().err) == [*new[:2], two, "no state was kept: it begins anew, at step 0"]


def test_the_clips_of_all_devices_and_parts_make_a_step_and_those_of_all_devices_are_told_apart(
    folder: Path, tmp_path: Path
) -> None:
    pair = "--trainer.devices=2 --trainer.strategy=ddp --trainer.accumulate_grad_batches=3".split()
    small = "--encoder.seconds 1.0 --encoder.frames 112 --recipe.projector_hidden 16 --recipe.projector_dim 8".split()
    done = [one.end() for one in two_processes(command("audiomosaic_tiny", folder, tmp_path, 1, *pair, *small))]
    assert [one.code for one in done] == [0, 0], done
    said = [line for one in done for line in plan_in(one.err)]
    assert said[0] == f"device: 2 x {device_name('cpu')}, precision 32-true"
    assert said[2] == "1 step of 12 clips: 12 in all, 1.33 from every stretch"
    assert said[3].startswith("a clip is told from 3 others, in the authors' run from 6143: ")
    assert len(said) == 4, "one process says it"
