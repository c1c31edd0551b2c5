"""The main job, end to end, on a dozen recordings of the user's own: everything is there, and the same again next time."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
import yaml

from oscine.cli import dispatch, quickstart_stages
from oscine.cli.console import config
from oscine.models.locks import lock_output
from oscine.pretrain import BirdMAEPretraining
from oscine.pretrain.run.checkpoint import read_state
from oscine.pretrain.run.run import STATE
from tests.forked import ended, started
from tests.undrawn import leave_figures_undrawn

RATE, SECONDS = 16_000, 2
PLAN = config.read(config.find_quickstart())
FIRST = [PLAN["embedded"], "bird_mae_tiny, random"]
SHORT = {"steps": 4, "warmup": 1}  # .ci/run has a run with fits as long as a user's
SMALL = {name: {"batch_size": 2} for name in PLAN["recipes"]}
ENCODERS = [*FIRST, "bat_tiny", "bat_tiny, random", "bird_mae_tiny"]


class Run(NamedTuple):
    """What a quickstart left: its folder, and what it printed."""

    folder: Path
    said: str

    @property
    def scores(self) -> dict[str, Any]:
        return json.loads((self.folder / "scores.json").read_text())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high whistles in noise, two recordists; one of each recordist's rows is labelled wrongly, so scores differ."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    time = np.arange(RATE * SECONDS) / RATE
    lines = ["path,label,fold"]
    for row in range(12):
        low = row % 2 == 0
        whistle = np.sin(2 * np.pi * (600 if low else 3000) * rng.uniform(0.9, 1.1) * time) * (time % 0.5 < 0.3)
        soundfile.write(folder / f"{row}.flac", 0.2 * whistle + rng.normal(0, 0.02, len(time)), RATE)
        lines.append(f"{row}.flac,{'owl' if low ^ (row > 9) else 'wren'},{row // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


def call(table: Path, folder: Path, *more: str, steps: str = "2") -> list[str]:
    return ["quickstart", "--table", str(table), "--steps", steps, "--out", str(folder), *more]


def quickstart(table: Path, folder: Path, *more: str) -> Run:
    said = io.StringIO()
    with redirect_stdout(said):
        assert dispatch(call(table, folder, *more)) == 0
    return Run(folder, said.getvalue())


@pytest.fixture
def small_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan_small(tmp_path, monkeypatch)


def plan_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One probe with a short fit, and no figures, so that a whole run takes seconds."""
    plan(folder, monkeypatch, [PLAN["shown"]])
    leave_figures_undrawn(monkeypatch)


def plan(folder: Path, monkeypatch: pytest.MonkeyPatch, names: Iterable[str]) -> None:
    """These probes with short fits, and pretraining on small batches."""
    probes = {name: PLAN["probes"][name] | {"fit": PLAN["probes"][name]["fit"] | SHORT} for name in names}
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN | {"probes": probes, "recipes": SMALL}, sort_keys=False))
    monkeypatch.setattr(config, "find_quickstart", lambda: path)


def written(folder: Path) -> dict[str, int]:
    """When each row of the table was judged."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "judged").iterdir()}


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("quickstart")
    with pytest.MonkeyPatch.context() as patched:
        plan(folder, patched, PLAN["probes"])
        return quickstart(table, folder / "first")


def test_every_encoder_is_scored_with_every_probe_and_the_floor_with_logistic_regression(run: Run) -> None:
    assert list(run.scores["scores"]) == ["log-mel statistics", *ENCODERS]
    columns = ["logistic regression", *PLAN["probes"]]
    for features, judgements in run.scores["scores"].items():
        assert list(judgements) == (columns if features in ENCODERS else columns[:1])
        for judgement in judgements.values():
            assert list(judgement["parts"]) == ["fold 0", "fold 1"]
            accuracies = [part["accuracy"] for part in judgement["parts"].values()]
            assert judgement["mean"]["accuracy"] == np.mean(accuracies)
            assert judgement["std"]["accuracy"] == np.std(accuracies)
    assert run.scores["classes"] == ["owl", "wren"]
    assert run.scores["rows"] == 12


def test_the_report_shows_every_score_and_needs_nothing_else(run: Run) -> None:
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    for features, judgements in run.scores["scores"].items():
        assert f"<td>{features}</td>" in html
        for judgement in judgements.values():
            mean, std = (100 * judgement[name]["accuracy"] for name in ("mean", "std"))
            assert f"<td>{mean:.1f} ± {std:.1f}</td>" in html
    assert "<td>chance</td><td>50.0</td>" in html
    # A confusion, loss curves, health, layer gates, the steps of pretraining; two pictures of each recipe.
    assert html.count("<img") == html.count('src="data:image/')
    for shown in (
        "Confusion",
        "Clips that it got wrong",
        "The loss by steps",
        "How the encoders fare",
        "How many steps it takes",
    ):
        assert shown in html
    for recipe in PLAN["recipes"]:
        assert f"{recipe} at step 2: two clips" in html
    assert html.count("<audio") == html.count('<audio controls preload="none"') > 0, (
        "one of each recordist's labels is wrong"
    )
    assert "<script" not in html
    assert "http" not in html


def test_the_page_ends_with_the_command_that_made_it(run: Run, table: Path) -> None:
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    made_by = html.partition("<h2>Made by</h2>")[2]
    assert f"oscine {' '.join(call(table, run.folder))[:10]}" in made_by
    assert f"--table {table} --out {run.folder} --steps 2" in made_by


def test_the_first_page_stands_before_anything_is_pretrained_and_the_same_call_goes_on(
    table: Path, tmp_path: Path, small_plan: None, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    first = quickstart(table, folder, "--no-recipes")
    assert list(first.scores["scores"]) == ["log-mel statistics", *FIRST]
    assert not any((folder / name).exists() for name in PLAN["recipes"])
    html, judged = (folder / "report.html").read_text(encoding="utf-8"), written(folder)
    assert "Clips that it got wrong" in html
    assert "How many steps it takes" not in html
    assert "report.html stands" in capsys.readouterr().err
    assert 'create_model("bird_mae_tiny", pretrained=True)' in first.said
    whole = quickstart(table, folder)
    assert list(whole.scores["scores"]) == ["log-mel statistics", *ENCODERS]
    assert {name: written(folder)[name] for name in judged} == judged, "what was judged is not judged again"
    assert "How many steps it takes" in (folder / "report.html").read_text(encoding="utf-8")


def test_the_first_page_says_that_more_comes(
    table: Path, tmp_path: Path, small_plan: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*anything: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quickstart_stages.Stages, "pretrain", interrupted)
    assert dispatch(call(table, tmp_path / "run")) == 130
    assert "this page grows when that is done" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


ROWS = [pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow), 4]


@pytest.mark.parametrize("rows", ROWS)  # judged before the kill: some of the first page, all; one of the second
def test_a_killed_run_goes_on_where_it_was_and_comes_to_the_same(
    rows: int, table: Path, tmp_path: Path, run: Run, small_plan: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, folder = quickstart_stages.write_encoder_scores, tmp_path / "run"

    def writes_and_dies(path: Path, made: Any) -> None:
        write(path, made)
        if len(list(path.parent.iterdir())) == rows:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(quickstart_stages, "write_encoder_scores", writes_and_dies)
        process = started(dispatch, call(table, folder))
        ended(process)
        assert process.exitcode == -signal.SIGKILL
    judged = written(folder)
    assert len(judged) == rows
    again = quickstart(table, folder).scores["scores"]
    assert {name: written(folder)[name] for name in judged} == judged
    unbroken = run.scores["scores"]  # with more probes, which change nothing of this one
    assert list(again) == list(unbroken)
    for features, judgements in again.items():
        assert PLAN["shown"] in judgements or features not in ENCODERS
        assert judgements == {name: unbroken[features][name] for name in judgements}


ORDERS = [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGUSR1, 75)]


@pytest.mark.parametrize(("order", "code"), ORDERS)
def test_a_recipe_that_is_told_to_stop_says_what_quickstart_takes_and_goes_on(
    order: signal.Signals,
    code: int,
    table: Path,
    tmp_path: Path,
    small_plan: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    losses, folder = BirdMAEPretraining.losses, tmp_path / "run"
    orders = [order]  # a second one would end the run at once

    def told(recipe: BirdMAEPretraining, *batch: torch.Tensor) -> dict[str, torch.Tensor]:
        if orders:
            os.kill(os.getpid(), orders.pop())
        return losses(recipe, *batch)

    with monkeypatch.context() as patched:
        patched.setattr(BirdMAEPretraining, "losses", told)
        assert dispatch(call(table, folder)) == code
    state = folder / "bird_mae_tiny" / STATE
    said = capsys.readouterr().err
    assert said.endswith(
        f"oscine quickstart: told to stop at step 1; the state is kept in {state}; the same call goes on from there\n"
    )
    assert "--resume" not in said
    assert read_state(state)["global_step"] == 1
    assert list(quickstart(table, folder).scores["scores"]) == ["log-mel statistics", *ENCODERS]


def stop(*_: object) -> None:
    raise ZeroDivisionError


def test_what_a_run_with_other_settings_has_left_is_refused_or_overwritten_by_name(
    table: Path,
    tmp_path: Path,
    small_plan: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    quickstart(table, folder, "--no-recipes")
    judged = written(folder)
    assert dispatch(call(table, folder, "--no-recipes", "--seed", "1")) == 1
    assert "is of a run with seed 0, not 1; call it as then to go on" in capsys.readouterr().err
    assert written(folder) == judged
    assert dispatch(call(table, folder, "--no-recipes", steps="3")) == 0, "the first page does not depend on steps"
    assert written(folder) == judged
    mine = folder / "judged/thesis.txt"
    mine.write_text("years of work")
    assert dispatch(call(table, folder, "--no-recipes", "--overwrite")) == 1
    assert "judged/thesis.txt is none of the files that quickstart writes" in capsys.readouterr().err
    mine.rename(folder / "thesis.txt")
    assert written(folder) == judged
    with lock_output(folder, "wait"):
        assert dispatch(call(table, folder, "--no-recipes", "--overwrite")) == 1
    assert f"is writing {folder}; wait for it, or name another folder with --out" in capsys.readouterr().err
    with monkeypatch.context() as killed:
        killed.setattr(quickstart_stages, "judge_vectors", stop)
        with pytest.raises(ZeroDivisionError):
            dispatch(call(table, folder, "--no-recipes", "--overwrite"))
    (aside,) = folder.glob(".oscine-replaced-*")
    assert written(aside) == judged, "what was there is kept until the first page of the new run stands"
    assert (aside / "report.html").exists()
    assert dispatch(call(table, folder, "--no-recipes")) == 0
    assert not list(folder.glob(".oscine-replaced-*"))
    assert (folder / "thesis.txt").exists()
    assert min(written(folder).values()) > max(judged.values())


def test_an_edited_table_is_another(
    table: Path, tmp_path: Path, small_plan: None, capsys: pytest.CaptureFixture[str]
) -> None:
    own = table.with_name("own.csv")
    own.write_text(table.read_text())
    quickstart(own, tmp_path / "run", "--no-recipes")
    own.write_text(table.read_text().replace("owl", "eagle owl"))
    assert dispatch(call(own, tmp_path / "run", "--no-recipes")) == 1
    assert "is of a run with rows " in capsys.readouterr().err


def test_what_is_said_ends_with_three_lines_that_load_the_encoder(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Accuracy in %" in run.said
    for sentence in run.scores["conclusions"]:
        assert " ".join(sentence.split()) in " ".join(run.said.split())
    assert "oscine probe linear --encoder bird_mae_tiny --table FILE.csv" in run.said
    assert "They are unfinished" in " ".join(run.said.split()), "wherever the lines end"
    program = run.said.splitlines()[-3:]
    exec("\n".join(program), {})
    assert capsys.readouterr().out == "torch.Size([1, 192])\n"


def test_scores_hold_the_settings_of_every_probe(run: Run) -> None:
    assert run.scores["probes"].keys() == PLAN["probes"].keys()
    for name, probe in PLAN["probes"].items():
        assert run.scores["probes"][name] == probe | {"fit": probe["fit"] | SHORT}


def test_the_encoder_that_was_made_elsewhere_is_said_to_be_and_is_not_among_the_best_made_here(run: Run) -> None:
    first, *_, best, last = run.scores["conclusions"]
    assert first.startswith(
        f"{PLAN['embedded']} comes with oscine and was pretrained elsewhere. Against random weights: "
    )
    rows = [line.split("  ")[0].strip() for line in run.said.splitlines()]
    assert rows.count(PLAN["embedded"]) == 1
    assert PLAN["embedded"] not in last
    assert last.startswith("Pretraining of 2 steps ")
    here = [score["mean"]["accuracy"] for name in PLAN["recipes"] for score in run.scores["scores"][name].values()]
    assert f"pretrained here {max(here):.1%} (" in best


def test_every_encoder_can_be_loaded_and_every_loss_read(run: Run) -> None:
    for name in PLAN["recipes"]:
        assert {file.name for file in (run.folder / name / "encoder").iterdir()} >= {"config.json", "model.safetensors"}
        assert list((run.folder / name / "logs").glob("version_*/metrics.csv"))
        assert (run.folder / name / "pictures/curves.png").is_file()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(5)  # what happened before must not count
    plan(tmp_path, monkeypatch, PLAN["probes"])
    again = quickstart(table, tmp_path / "second")
    assert again.scores["scores"] == run.scores["scores"]
    assert again.scores["conclusions"] == run.scores["conclusions"]
    for name in PLAN["recipes"]:
        weights = Path(name, "encoder", "model.safetensors")
        assert (again.folder / weights).read_bytes() == (run.folder / weights).read_bytes()


def test_a_folder_that_is_not_quickstarts_is_left_alone(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert dispatch(["quickstart", "--table", str(table), "--out", str(tmp_path)]) == 1
    assert "is not empty and no quickstart made it; name another folder with --out" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "quickstart.json").write_text('{"somebody": "else"}')
    assert dispatch(["quickstart", "--table", str(table), "--out", str(tmp_path), "--overwrite"]) == 1
    assert "no quickstart made it" in capsys.readouterr().err


def test_what_no_run_can_take_is_refused_before_a_folder_is_made_and_torch_is_loaded(
    table: Path, tmp_path: Path
) -> None:
    alike = table.with_name("alike.csv")
    alike.write_text(table.read_text().replace("owl", "wren"))
    calls = [call(alike, tmp_path / "run"), *(call(table, tmp_path / "run", steps=steps) for steps in ("0", "-3"))]
    code = f"""
import sys
from oscine.cli import dispatch
assert [dispatch(call) for call in {calls}] == [1, 2, 2]
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.PIPE, text=True)
    first, *others = done.stderr.splitlines()
    assert "knows one label only, 'wren'" in first
    assert others == [
        f"oscine quickstart: --steps is {steps}, expected at least 1; --no-recipes ends before pretraining"
        for steps in (0, -3)
    ]
    assert not (tmp_path / "run").exists()


def test_several_labels_a_row_are_refused(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several = table.with_name("several.csv")
    several.write_text(table.read_text().replace("label", "labels").replace("owl,0", "owl;wren,0", 1))
    assert dispatch(["quickstart", "--table", str(several), "--out", str(tmp_path / "out")]) == 1
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert said.endswith("quickstart takes one label a row")
    assert "several.csv has rows with" in said
