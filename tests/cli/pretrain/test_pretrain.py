"""resume, init and overwrite are three words; what differs from what was saved is refused until it is named."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch import Tensor

from oscine.cli import dispatch
from oscine.cli.console import config
from oscine.models import create_model
from oscine.models.encoders.base.encoder import Encoder
from oscine.models.encoders.bird_mae import BirdMAE
from oscine.models.hub.folder import save_pretrained
from oscine.models.locks import lock_output
from oscine.pretrain.bird_mae import BirdMAEPretraining
from oscine.pretrain.methods import METHODS
from oscine.pretrain.run.checkpoint import encoder_with_weights, read_state
from oscine.pretrain.run.files import replaced_run
from oscine.pretrain.run.metrics import loss_curve
from tests.forked import Ended, Program, two_processes, wait_for

TINY = """
--encoder.dim 24 --encoder.depth 1 --encoder.heads 2 --data.batch_size 2 --data.workers 0 --log_every 1 --save_every 2
--recipe.decoder_dim 16 --recipe.decoder_depth 1 --recipe.decoder_heads 2 --pictures_every 0
""".split()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with recordings."""
    monkeypatch.chdir(tmp_path)
    Path("sound").mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        soundfile.write(f"sound/{number}.flac", rng.uniform(-0.3, 0.3, 48_000), 16_000)
    return tmp_path


def pretrain(name: str, steps: int, *more: str) -> int | None:
    given = ["--name", name, "--data.recordings", "sound", f"--recipe.steps={steps}"]
    return dispatch(["pretrain", "bird_mae_tiny", *TINY, *given, *more])


def encoder(name: str) -> Encoder:
    return create_model(f"local-dir:runs/{name}/encoder")


def same(one: Encoder, other: Encoder) -> bool:
    tensors = other.state_dict()
    return all(torch.equal(tensor, tensors[name]) for name, tensor in one.state_dict().items())


def complaint(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize("source", ["runs/first", "runs/first/encoder", "local-dir:runs/first/encoder"])
def test_a_new_run_starts_from_the_weights_of_an_encoder(source: str) -> None:
    assert pretrain("first", 2) == 0
    assert pretrain("second", 1, "--init", source, "--recipe.lr=0") == 0
    assert same(encoder("second"), encoder("first"))
    assert read_state(Path("runs/second/states/last.ckpt"))["global_step"] == 1, "its steps are its own"
    assert yaml.safe_load(Path("runs/second/settings.yaml").read_text())["init"] == source
    assert pretrain("third", 1, "--recipe.lr=0") == 0
    assert not same(encoder("third"), encoder("first"))


def test_a_run_that_has_not_ended_gives_the_encoder_of_its_newest_state() -> None:
    assert pretrain("first", 2) == 0
    whole = encoder("first")
    shutil.rmtree("runs/first/encoder")
    assert same(encoder_with_weights("runs/first"), whole)


def test_a_run_that_has_gone_on_since_its_encoder_was_saved_gives_the_encoder_of_its_newest_state() -> None:
    assert pretrain("first", 2) == 0
    saved = encoder("first")
    shutil.copytree("runs/first/encoder", "before")
    assert pretrain("first", 4, "--resume", "--change", "recipe.steps") == 0
    shutil.rmtree("runs/first/encoder")
    Path("before").rename("runs/first/encoder")  # as if it had been stopped at its fourth step
    started = encoder_with_weights("runs/first")
    assert not same(started, saved)
    assert read_state(Path("runs/first/states/last.ckpt"))["global_step"] == 4


@pytest.mark.parametrize("setting", ["--save_every=0", "--log_every=0", "--health_every=-1", "--pictures_every=-1"])
def test_there_are_steps_from_one_look_to_the_next(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 1, setting) == 2
    assert setting.partition("=")[0].removeprefix("--") in complaint(capsys)
    assert not Path("runs").exists()


def test_a_run_can_start_anew_from_itself() -> None:
    assert pretrain("run", 2) == 0
    first = encoder("run")
    assert pretrain("run", 1, "--init", "runs/run", "--overwrite", "--recipe.lr=0") == 0
    assert same(encoder("run"), first)


def test_init_does_not_touch_an_existing_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 2) == 0
    capsys.readouterr()
    assert pretrain("run", 2, "--init", "runs/run") == 1
    assert "runs/run exists; --resume goes on with it, --overwrite deletes it" in complaint(capsys)


def test_a_run_that_goes_on_has_the_recordings_of_its_record_where_none_are_named(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO", logger="oscine")
    call = ["pretrain", "bird_mae_tiny", *TINY, "--name", "run", "--resume", "--recipe.steps=2"]
    assert dispatch(call) == 1
    assert "nothing to resume: no runs/run/settings.yaml; leave out --resume to start this run" in complaint(capsys)
    assert pretrain("run", 1) == 0
    assert dispatch([*call, "--change", "recipe.steps"]) == 0
    assert "recordings, as runs/run/settings.yaml has them: 'sound'" in caplog.messages
    assert read_state(Path("runs/run/states/last.ckpt"))["global_step"] == 2
    capsys.readouterr()
    assert dispatch([*call, "--data.recordings", "elsewhere"]) == 1
    assert "runs/run/settings.yaml says data.recordings 'sound', not 'elsewhere'" in complaint(capsys)


def test_a_run_with_init_is_resumed_as_the_same_run_without_its_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("first", 1) == 0
    assert pretrain("second", 2, "--init", "runs/first") == 0
    shutil.rmtree("runs/first")
    assert pretrain("second", 2, "--init", "runs/first", "--resume") == 0
    capsys.readouterr()
    assert pretrain("second", 2, "--resume") == 1
    assert "init 'runs/first', not None" in complaint(capsys)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--init", "nowhere"], "no model 'nowhere'"),
        (["--init", "bat_tiny"], "bat_tiny has no weights to fetch"),
        (["--init", "bird_mae_tiny"], "bird_mae_tiny says encoder.depth 6, not 1"),
        (["--init", "sound"], "no encoder in sound"),
        (["--init", "bat"], "bat is a BAT, the run's encoder a BirdMAE; use a recipe with that one"),
        (
            ["--init", "wide"],
            "wide says encoder.dim 48, not 24; encoder.heads 3, not 2; give what was, ",
        ),
        (["--init", "wide", "--change", "encoder"], "of another shape"),
    ],
)
def test_an_encoder_that_does_not_fit_is_refused_in_one_line(
    more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    save_pretrained(create_model("bat_tiny", dim=24, depth=1, heads=2), "bat")
    save_pretrained(create_model("bird_mae_tiny", dim=48, depth=1, heads=3), "wide")
    assert pretrain("run", 1, *more) == 1
    assert said in complaint(capsys)
    assert not Path("runs").exists()


def test_an_encoder_that_differs_is_taken_where_the_difference_is_named() -> None:
    other = create_model("bird_mae_tiny", dim=24, depth=1, heads=3)
    save_pretrained(other, "other")
    assert pretrain("run", 1, "--init", "other", "--recipe.lr=0") == 1
    assert pretrain("run", 1, "--init", "other", "--recipe.lr=0", "--change", "encoder.heads") == 0
    assert same(encoder("run"), other)


def test_settings_that_are_named_may_change_when_a_run_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 2) == 0
    capsys.readouterr()
    changed = ["--recipe.lr", "0.01", "--recipe.weight_decay", "0.5", "--resume"]
    assert pretrain("run", 4, *changed, "--change", "recipe.steps") == 1
    said = complaint(capsys)
    assert "settings.yaml says recipe.lr 0.0015, not 0.01; recipe.weight_decay 0.0001, not 0.5; " in said
    assert "recipe.steps" not in said.partition("--change")[0]
    assert "allow it with --change recipe.lr recipe.weight_decay" in said
    assert pretrain("run", 4, *changed, "--change", "recipe") == 0
    settings = yaml.safe_load(Path("runs/run/settings.yaml").read_text())
    assert (settings["recipe"]["steps"], settings["recipe"]["lr"]) == (4, 0.01)
    assert "change" not in settings
    groups = read_state(Path("runs/run/states/last.ckpt"))["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    rates = loss_curve(Path("runs/run"))["lr-AdamW/pg1"]
    assert rates.loc[2:3].tolist() == pytest.approx([0.005, 0.0014644660940672626]), (
        "the learning rate is the one that is used"
    )
    assert pretrain("run", 4, *changed) == 0, "from now on it is what was"


def test_a_run_goes_on_with_the_recordings_that_it_began_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 2) == 0
    shutil.copy("sound/0.flac", "sound/another.flac")
    capsys.readouterr()
    more = ["--resume", "--change", "recipe.steps"]
    assert pretrain("run", 4, *more) == 1
    assert "the recordings are not those that this run began with" in complaint(capsys)
    assert pretrain("run", 4, *more, "data.recordings") == 0
    Path("sound/another.flac").unlink()
    capsys.readouterr()
    assert pretrain("run", 6, *more) == 1, "from now on those are what was"


def test_a_run_goes_on_with_as_many_clips_a_step_on_other_devices_and_none_comes_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert [done.code for done in in_two_processes("run", "--data.batch_size=3")] == [0, 0]
    state = Path("runs/run/states/last.ckpt")
    assert read_state(state)["PretrainingData"]["clips"] == 12, "two steps of two processes"
    alone = ["--resume", "--recipe.lr=0", "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.strategy=auto"]
    capsys.readouterr()
    assert pretrain("run", 3, *alone, "--data.batch_size=3", "--change", "recipe.steps") == 1
    assert "a step of this run has 6 clips, not 3 (3 on each of 1 devices, in 1 parts)" in complaint(capsys)
    assert pretrain("run", 3, *alone, "--data.batch_size=4", "--change", "recipe.steps", "data.batch_size") == 0
    assert read_state(state)["PretrainingData"]["clips"] == 12 + 4


def test_under_slurm_the_run_itself_hears_that_its_time_is_up(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning would requeue the job and keep a state of its own; the job's script does the one, the run the other."""
    scontrol = here / "scontrol"
    scontrol.write_text("#!/bin/sh\ntouch scontrol.called\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")
    job = {"JOB_ID": "7", "JOB_NAME": "oscine", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1", "PROCID": "0"}
    for name, value in (job | {"LOCALID": "0", "NODEID": "0", "NODELIST": "localhost"}).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    given = ["--name", "run", "--data.recordings", "sound", "--recipe.steps=100000", "--save_every=100000"]
    cpu = ["--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.num_nodes=1"]
    process = Program(["pretrain", "bird_mae_tiny", *TINY, *given, *cpu])
    logs = here / "runs/run/logs"
    wait_for(lambda: process.has_ended() or any(path.stat().st_size > 200 for path in logs.glob("*/*.csv")))
    process.send(signal.SIGUSR1)
    code, _, said = process.end()
    assert code == 75, said
    assert "told to stop at step" in said
    assert not Path("scontrol.called").exists()
    assert not list(here.rglob("hpc_ckpt*"))
    assert [path.name for path in Path("runs/run/states").iterdir()] == ["last.ckpt"]


# Looks at a run


@pytest.fixture
def table(here: Path) -> str:
    """Labels of the recordings, and of more."""
    for number in range(3, 7):
        shutil.copy(f"sound/{number % 3}.flac", here / f"{number}.flac")
        shutil.copy(f"sound/{number % 3}.flac", here / f"{number}_again.flac")
    rows = [
        f"{number}{again}.flac,{'ab'[number % 2]},{int(not again)}"
        for number in range(3, 7)
        for again in ("", "_again")
    ]
    Path("labels.csv").write_text(
        "\n".join(["path,label,fold", *rows[:-1]])
    )  # seven: two processes have not as many each
    return "labels.csv"


def test_a_run_that_is_looked_at_and_resumed_ends_with_the_bits_of_one_that_is_not(table: str) -> None:
    assert pretrain("plain", 6, "--health_every", "0") == 0
    looks = ["--probe_table", table, "--probe_every=2", "--pictures_every=2", "--keep_every=2"]
    assert pretrain("run", 6, *looks) == 0
    curve = loss_curve(Path("runs/run"))
    state = Path("runs/run/states/last.ckpt")
    os.truncate(state, state.stat().st_size - 1000)  # so that it goes on from the state before
    shutil.rmtree("runs/run/encoder")
    Path("runs/run/pictures/step_0000006.png").unlink()
    assert pretrain("run", 6, *looks, "--resume") == 0
    assert same(encoder("run"), encoder("plain"))
    figures = curve.filter(like="probe/").dropna()
    assert list(figures.index) == [0, 1, 3, 5]
    assert list(figures.columns) == ["probe/accuracy_knn", "probe/accuracy_linear"]
    assert loss_curve(Path("runs/run")).filter(like="probe/").dropna().equals(figures)
    pictures = sorted(path.name for path in Path("runs/run/pictures").iterdir())
    assert pictures == ["curves.png", *(f"step_{step:07d}.png" for step in (1, 2, 4, 6))]
    kept = sorted(Path("runs/run/encoders").iterdir())
    assert [folder.name for folder in kept] == [f"step_{step:07d}" for step in (2, 4, 6)]
    assert same(create_model(f"local-dir:{kept[-1]}"), encoder("run"))


def test_looks_may_change_when_a_run_goes_on(table: str) -> None:
    assert pretrain("run", 2) == 0
    changed = ["--probe_table", table, "--probe_every=3", "--pictures_every=3", "--change", "recipe.steps"]
    assert pretrain("run", 4, "--resume", *changed) == 0
    assert list(loss_curve(Path("runs/run")).filter(like="probe/").dropna().index) == [2]
    assert sorted(path.name for path in Path("runs/run/pictures").iterdir()) == ["curves.png", "step_0000003.png"]


def test_a_run_says_where_its_curves_pictures_and_encoder_lie(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 1) == 0
    assert capsys.readouterr().out == (
        "curves: runs/run/logs (CSV, TensorBoard); encoder: create_model('local-dir:runs/run/encoder')\n"
    )
    assert pretrain("run", 1, "--overwrite", "--pictures_every=1", "--keep_every=1") == 0
    said = capsys.readouterr().out
    assert "; pictures: runs/run/pictures; encoders over time: runs/run/encoders; encoder: " in said
    assert sorted(path.name for path in Path("runs/run/pictures").iterdir()) == ["curves.png", "step_0000001.png"]
    assert same(create_model("local-dir:runs/run/encoders/step_0000001"), encoder("run"))
    assert pretrain("run", 1, "--overwrite") == 0, "what it has left is the run's own"
    assert not Path("runs/run/encoders").exists()


@pytest.mark.parametrize(
    "encoder", ["--encoder.name=local-dir:wide", "--encoder.name=hf-hub:a/b", "--encoder.pretrained=1"]
)
def test_weights_to_start_from_are_named_by_init_alone(encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 1, encoder) == 2
    assert "--init starts from weights" in complaint(capsys)
    assert not Path("runs/run").exists()


@pytest.mark.parametrize("content", ["path,label\nsound/0.flac,a\n", "path,label,fold\nnowhere.flac,a,1\n"])
def test_a_table_that_cannot_be_judged_on_is_refused_before_a_run_is_touched(
    content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain("run", 1) == 0
    Path("labels.csv").write_text(content)
    capsys.readouterr()
    assert pretrain("run", 1, "--overwrite", "--probe_table", "labels.csv") == 1
    assert "labels.csv" in complaint(capsys)
    assert Path("runs/run/encoder").exists()


def in_two_processes(name: str, *more: str) -> list[Ended]:
    pair = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp", "--pictures_every=1"]
    given = ["--name", name, "--data.recordings", "sound", "--recipe.steps=2", "--recipe.lr=0", *pair, *more]
    return [process.end() for process in two_processes(["pretrain", "bird_mae_tiny", *TINY, *given])]


def test_two_processes_judge_their_encoder_as_one_does(table: str) -> None:
    looks = ["--probe_table", table, "--probe_every=1"]
    for done in in_two_processes("pair", *looks):
        assert done.code == 0, done.err
    assert pretrain("alone", 2, "--recipe.lr=0", *looks) == 0
    pair, alone = (loss_curve(Path("runs", name)).filter(like="probe/") for name in ("pair", "alone"))
    assert len(pair) == 2
    assert pair.equals(alone)
    assert sorted(path.name for path in Path("runs/pair/pictures").iterdir()) == [
        "curves.png",
        "step_0000001.png",
        "step_0000002.png",
    ]


def test_what_one_of_two_processes_cannot_judge_stops_both(table: str) -> None:
    Path("3_again.flac").write_bytes(b"no sound")  # the second row, which the second process has
    for done in in_two_processes("pair", "--probe_table", table, "--probe_every=1"):
        assert done.code == 1
        assert "3_again.flac" in done.err.strip().splitlines()[-1]
        assert "Traceback" not in done.err


class LouderPretraining(BirdMAEPretraining):
    """Masked autoencoding with a heavier loss.

    Args:
        encoder: what is trained.
        weight: of the loss.
        steps: of the run.
    """

    def __init__(self, encoder: BirdMAE, weight: float = 2.0, steps: int = 2) -> None:
        super().__init__(encoder, decoder_dim=16, decoder_depth=1, decoder_heads=2, steps=steps)
        self.weight = weight

    def losses(self, spectrogram: Tensor, keep: Tensor) -> dict[str, Tensor]:
        return {name: self.weight * loss for name, loss in super().losses(spectrogram, keep).items()}


def test_a_recipe_of_ones_own_is_run_by_its_name_with_the_settings_of_its_constructor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(METHODS, "LouderPretraining", LouderPretraining)
    Path("louder.yaml").write_text(
        "name: louder\nmethod: LouderPretraining\nencoder: {name: bird_mae_tiny, dim: 24, depth: 1, heads: 2}\n"
    )
    with pytest.raises(SystemExit):
        dispatch(["pretrain", "louder.yaml", "--help"])
    assert "--recipe.weight NUMBER of the loss (default: 2.0)" in " ".join(capsys.readouterr().out.split())
    call = ["--data.recordings", "sound", "--data.batch_size", "2", "--data.workers", "0", "--recipe.weight", "3"]
    assert dispatch(["pretrain", "louder.yaml", *call, "--pictures_every", "0"]) == 0
    assert yaml.safe_load(Path("runs/louder/settings.yaml").read_text())["recipe"] == {"weight": 3.0, "steps": 2}
    assert encoder("louder").dim == 24
    assert dispatch(["pretrain", "louder.yaml", *call, "--recipe.wait", "3"]) == 2
    assert "unrecognized arguments: --recipe.wait 3" in capsys.readouterr().err


# What is replaced, and what a YAML may say


def thesis(place: str) -> Path:
    path = Path(place, "thesis.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("years of work")
    return path


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../precious", "a\\b", "/tmp"])
def test_the_name_of_a_run_is_one_part_of_a_path(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    kept = [thesis(place) for place in ("runs/other", "precious", "runs/a/b")]
    assert pretrain(name, 1, "--overwrite") == 1
    assert "is a path, expected the name of one folder" in complaint(capsys)
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize("place", ["", "states", "logs", "encoder", "settings.yaml.d"])
def test_overwriting_never_deletes_what_no_run_has_written(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    mine = thesis(f"runs/run/{place}")
    assert pretrain("run", 1, "--overwrite") == 1
    assert "runs/run holds no settings.yaml of a run, and is not replaced" in complaint(capsys)
    mine.unlink()
    shutil.rmtree("runs/run")
    assert pretrain("run", 1) == 0
    mine = thesis(f"runs/run/{place}")
    capsys.readouterr()
    assert pretrain("run", 1, "--overwrite") == 1
    assert f"{mine} is none of the files that a pretraining run writes" in complaint(capsys)
    assert mine.exists()
    assert Path("runs/run/encoder/config.json").exists()


def test_of_a_link_to_a_run_on_another_disk_the_run_is_replaced_and_the_link_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain("run", 1) == 0
    first = encoder("run")
    Path("runs/run").rename(tmp_path / "large")
    Path("runs/link").symlink_to(tmp_path / "large")
    assert pretrain("link", 1, "--overwrite", "--seed=1") == 0
    assert not same(encoder("link"), first)
    assert Path("runs/link").is_symlink()
    assert not list((tmp_path / "large").glob(".oscine*"))
    Path("runs/gone").symlink_to(tmp_path / "nowhere")
    capsys.readouterr()
    assert pretrain("gone", 1, "--overwrite") == 1
    assert "runs/gone is no folder, or a link to none, and runs alone are replaced" in complaint(capsys)


def test_an_empty_folder_and_a_run_are_replaced() -> None:
    Path("runs/run").mkdir(parents=True)
    Path("runs/run/.DS_Store").touch()
    assert pretrain("run", 1, "--overwrite", "--recipe.lr=0") == 0
    first = encoder("run")
    assert pretrain("run", 1, "--overwrite", "--recipe.lr=0", "--seed=1") == 0
    assert not same(encoder("run"), first)
    assert [path.name for path in Path("runs").iterdir()] == ["run"]
    assert not list(Path("runs/run").glob(".oscine*"))


def test_a_run_stays_until_the_one_that_replaces_it_has_kept_a_state(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert pretrain("run", 2) == 0
    first = encoder("run")
    with monkeypatch.context() as broken:
        broken.setattr(BirdMAEPretraining, "losses", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain("run", 2, "--overwrite", "--seed=1")
    assert same(encoder("run"), first)
    assert read_state(Path("runs/run/states/last.ckpt"))["global_step"] == 2
    assert "runs/run holds again what was there before" in caplog.text
    assert pretrain("run", 2, "--resume") == 0, "it is whole"


def test_a_run_that_was_killed_before_it_stood_has_cost_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert pretrain("run", 1) == 0
    first, run = encoder("run"), Path("runs/run")

    def replaced_by_half_a_run() -> None:
        replaced_run(run).take()
        (run / "logs/version_0").mkdir(parents=True)
        (run / "settings.yaml").write_text("method: half")

    for more in ([], ["--overwrite", "--resume"], ["--overwrite", "--recipe.lr=-1"]):
        replaced_by_half_a_run()
        caplog.clear()
        assert pretrain("run", 1, *more)
        assert "runs/run holds again what was there before" in caplog.text
        assert same(encoder("run"), first)
    replaced_by_half_a_run()
    assert pretrain("run", 1, "--overwrite", "--seed=1") == 0
    assert not same(encoder("run"), first)
    assert sorted(path.name for path in Path("runs").iterdir()) == ["run"]


def test_nothing_is_put_back_while_another_process_writes_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain("run", 1) == 0
    replaced_run(Path("runs/run")).take()
    capsys.readouterr()
    with lock_output(Path("runs/run"), "choose another --name"):
        assert pretrain("run", 1, "--overwrite") == 1
        assert "is writing" in complaint(capsys)
    assert not Path("runs/run/settings.yaml").exists()


@pytest.mark.parametrize("order", ["overwrite: true", "resume: true", "change: [encoder]"])
def test_a_yaml_orders_nothing(order: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A stranger's CONFIG with a name and `overwrite` would delete a folder of the user's."""
    mine = thesis("precious")
    Path("more.yaml").write_text(order)
    Path("bring.yaml").write_text(config.find("pretrain", "bird_mae_tiny").read_text() + "\nconfig: more.yaml\n")
    for more in (["--config", "more.yaml"], ["--config=more.yaml"], ["--config", f"{{{order}}}"]):
        assert pretrain("precious", 1, "--runs", ".", *more) == 2
        assert f"{order.partition(':')[0]}: " in complaint(capsys)
    assert dispatch(["pretrain", "bring.yaml", *TINY, "--data.recordings", "sound"]) == 2
    assert "names another YAML, 'more.yaml'" in complaint(capsys)
    assert mine.exists()


def test_a_yaml_that_asks_for_nothing_is_read_and_none_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """As older versions have printed them."""
    Path("more.yaml").write_text("overwrite: false\nresume: false\nchange: []\nname: mine\nruns: here\n")
    with pytest.raises(SystemExit):
        pretrain("run", 1, "--config", "more.yaml", "--overwrite", "--print_config")
    printed = yaml.safe_load(capsys.readouterr().out)
    assert not {"overwrite", "resume", "change"} & printed.keys()
    assert printed["name"] == "mine"
    assert printed["runs"] == "here"


@pytest.mark.parametrize(
    "content",
    [
        "trainer: {strategy: {class_path: evil.S}}", "trainer: {class_path: evil.S}", "data: {class_path: evil.S}",
        "recipe: {class_path: evil.S}", "trainer: evil.S", "data: evil.S", "trainer.class_path: evil.S",
        "encoder: {name: {class_path: evil.S}}", "trainer: trainer.yaml", "trainer: {strategy: evil.S}",
    ],
)  # fmt: skip
def test_a_yaml_imports_nothing(
    content: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "evil.py").write_text("raise SystemExit('a stranger was let in')")
    Path("trainer.yaml").write_text("class_path: evil.S")
    monkeypatch.syspath_prepend(here)
    Path("more.yaml").write_text(content)
    assert pretrain("run", 1, "--config", "more.yaml") in (1, 2)
    complaint(capsys)
    assert "evil" not in sys.modules


DEEP = {
    "brackets": "[" * 5000,
    "braces": "{a: " * 5000,
    "lines": "".join(f"{' ' * depth}a:\n" for depth in range(2000)),
    "itself": "a: &a [*a]",
    "laughs": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)),
    "day": "seed: 2024-02-31",
    "digits": f"seed: {'9' * 5000}",
    "empty": "seed: !!int",
    "tag": "seed: !!python/object/apply:os.system [ls]",
    "bytes": "\x00\x01",
    "text": "just words",
}


@pytest.mark.parametrize("kind", DEEP)
def test_a_yaml_that_cannot_be_read_is_one_line(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("more.yaml").write_text(DEEP[kind])
    assert pretrain("run", 1, "--config", "more.yaml") == 2
    assert "more.yaml " in complaint(capsys)
    assert not Path("runs").exists()
