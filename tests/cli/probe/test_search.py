"""`oscine probe --search.trials N`: settings are chosen by clips that nobody is judged by, and then judged as any others."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import dispatch
from oscine.models.checkpoints import ARCHITECTURES
from oscine.models.encoders.base.patch_encoder import PatchEncoder
from oscine.probe import load_probe
from oscine.probe.fit.judge import Judgement, judge
from oscine.probe.fit.settings import FitSettings
from oscine.probe.results.runs import read_runs
from oscine.probe.run import searching
from oscine.probe.tasks.task import Task
from tests.forked import Program
from tests.task_layouts import write_birdset, write_dcase

RATE = 16_000
SMALL = "--random_weights --encoder bat_tiny --seconds 0.6 --workers 0 --fit.steps 20 --fit.warmup 2".split()
SEARCH = ["--search.trials", "5", "--search.sobol", "3", "--search.space.fit.lr", "[1e-6, 1e-1]"]


@pytest.fixture(scope="module", autouse=True)
def _shallow_encoder() -> Iterator[None]:
    """A bat_tiny of two blocks instead of six: what is encoded, silence and noise above all, takes longer than fits do."""
    full = ARCHITECTURES["bat_tiny"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(ARCHITECTURES, "bat_tiny", full._replace(config=full.config | {"depth": 2}))
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """High and low tones in noise, with a split that has rows to choose by."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    lines = ["path,label,split"]
    for row in range(24):
        tone = np.sin(2 * np.pi * (400, 4000)[row % 2] * rng.uniform(0.9, 1.1) * time)
        soundfile.write(folder / f"{row}.flac", 0.02 * tone + rng.normal(0, 0.02, len(time)), RATE)
        lines.append(f"{row}.flac,{('low', 'high')[row % 2]},{('train', 'train', 'valid', 'test')[row // 2 % 4]}")
    (folder / "split.csv").write_text("\n".join(lines))
    return folder / "split.csv"


@pytest.fixture(scope="module")
def searched(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `runs` of a search whose probe is linear."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.chdir(folder)
        assert dispatch(["probe", "linear", "--table", str(table), *SMALL, *SEARCH]) == 0
    return folder / "runs"


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def scores(name: str = "linear") -> dict[str, Any]:
    return json.loads(Path(f"runs/probe/{name}/scores.json").read_text())


def test_settings_are_chosen_and_then_judged(table: Path, searched: Path) -> None:
    shutil.copytree(searched, "runs")
    call = ["probe", "linear", "--table", str(table), *SMALL]
    written = scores()
    found = written["search"]["test"]
    assert found["metric"] == "accuracy"
    assert found["space"] == {"fit.lr": [1e-6, 1e-1]}
    assert [trial["state"] for trial in found["trials"]] == ["complete"] * 5
    assert found["trials"][0]["settings"] == {"fit.lr": 3e-4}, "the configuration's own"
    best = max(found["trials"], key=lambda trial: trial["value"])
    assert found["chosen"] == best["settings"]
    assert written["settings"]["fit"]["lr"] == found["chosen"]["fit.lr"]
    assert "Which settings" in Path("runs/probe/linear/report.html").read_text()
    chosen = ["--fit.lr", repr(found["chosen"]["fit.lr"]), "--name", "plain"]
    assert dispatch([*call, *chosen]) == 0
    assert scores("plain")["parts"] == written["parts"], "as if they had been given"
    searched, plain = read_runs("runs/probe/results.jsonl")
    assert searched.settings["fit"]["lr"] == 3e-4, "another seed may choose others, and is averaged with this one"
    assert searched.settings["search"]["trials"] == 5
    assert "search" not in plain.settings


def plant(table: Path, judged: str) -> Path:
    """The same table with other labels and sounds where the last column says so."""
    rows = [line.split(",") for line in table.read_text().split()]
    rng = np.random.default_rng(1)
    other = table.with_name("other")
    other.mkdir(exist_ok=True)
    for row in rows[1:]:
        if row[2] == judged:
            row[1] = {"low": "high", "high": "low"}[row[1]]
            soundfile.write(other / row[0], rng.normal(0, 0.3, RATE // 2), RATE)
            row[0] = f"other/{row[0]}"
    planted = table.with_name("planted.csv")
    planted.write_text("\n".join(map(",".join, rows)))
    return planted


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loud tones in three folds."""
    folder = tmp_path_factory.mktemp("folds")
    rng = np.random.default_rng(0)
    lines = ["path,label,fold"]
    for row in range(36):
        tone = np.sin(2 * np.pi * (400, 4000)[row % 2] * rng.uniform(0.9, 1.1) * np.arange(RATE // 2) / RATE)
        soundfile.write(folder / f"{row}.flac", 0.3 * tone + rng.normal(0, 0.02, len(tone)), RATE)
        lines.append(f"{row}.flac,{('low', 'high')[row % 2]},{1 + row // 2 % 3}")
    (folder / "folds.csv").write_text("\n".join(lines))
    return folder / "folds.csv"


def test_what_will_be_judged_does_not_change_what_is_chosen(table: Path, searched: Path) -> None:
    """Neither by its labels nor by its sound."""
    shutil.copytree(searched, "runs")
    call = ["probe", "linear", "--table", str(plant(table, "test")), "--name", "two", *SMALL, *SEARCH]
    assert dispatch(call) == 0
    one, two = scores(), scores("two")
    assert one["search"] == two["search"]
    assert one["parts"] != two["parts"]


def test_clips_are_encoded_once_for_all_trials(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    features = PatchEncoder.features
    monkeypatch.setattr(PatchEncoder, "features", lambda self, *given: encoded.append(1) or features(self, *given))
    call = ["probe", "linear", "--table", str(table), *SMALL]
    assert dispatch([*call, *SEARCH]) == 0
    searched = len(encoded)
    chosen = ["--fit.lr", repr(scores()["search"]["test"]["chosen"]["fit.lr"])]  # so that the page shows the same clips
    assert dispatch([*call, *chosen, "--store", "elsewhere", "--overwrite"]) == 0
    assert len(encoded) == 2 * searched
    assert not Path("runs/probe/linear/search").exists(), "a run in place of another leaves nothing of it"


def test_a_killed_search_goes_on_with_the_same_call(
    table: Path, searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched, "runs")
    call = ["probe", "linear", "--table", str(table), *SMALL, *SEARCH]
    fits: list[int] = []

    def counted(*given: Any, **how: Any) -> Any:
        if len(fits) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        fits.append(1)
        return judge(*given, **how)

    monkeypatch.setattr(searching, "judge", counted)
    kill_at: int | None = 4  # in a trial that TPE proposed
    assert Program([*call, "--name", "killed"]).end().code == -signal.SIGKILL
    assert not Path("runs/probe/killed/scores.json").exists()
    kill_at = None
    assert dispatch([*call, "--name", "killed"]) == 0
    assert len(fits) == 1, "the trial that was interrupted"
    killed, whole = scores("killed"), scores()
    assert killed["search"] == whole["search"]
    assert killed["parts"] == whole["parts"]


def test_a_search_of_other_settings_is_neither_gone_on_with_nor_lost(
    table: Path, searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(searched, "runs")
    call = ["probe", "linear", "--table", str(table), *SMALL, *SEARCH]
    Path("runs/probe/linear/scores.json").unlink()  # as after a kill
    capsys.readouterr()
    assert dispatch([*call, "--fit.beta2", "0.95", "--head.norm", "none"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "runs/probe/linear/search/0 is a search with fit.beta2 " in said
    assert ", not 0.95; head.norm 'batch', not 'none'; call it as then to go on" in said
    assert dispatch([*call, "--fit.beta2", "0.95", "--overwrite"]) == 0
    monkeypatch.setattr(searching, "judge", None)  # that is not called
    assert dispatch([*call, "--fit.beta2", "0.95", "--overwrite"]) == 0


def test_each_fold_chooses_for_itself_and_the_probe_to_keep_has_the_median(
    folds: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"fold 1": -5.0, "fold 2": -1.0, "fold 3": -3.5}  # orders of magnitude of the best learning rate

    def peaked(make_probe: Any, features: Any, task: Task, fit: FitSettings, **how: Any) -> Judgement:
        judgement = judge(make_probe, features, task, fit, **how)
        away = abs(math.log10(fit.lr) - wanted[task.parts[0].name])
        return replace(judgement, metrics=[replace(judgement.metrics[0], accuracy=-away)])

    monkeypatch.setattr(searching, "judge", peaked)
    assert dispatch(["probe", "linear", "--table", str(folds), *SMALL, *SEARCH]) == 0
    written = scores()
    chosen = {}
    for name in wanted:
        trials = written["search"][name]["trials"]
        assert len(trials) == 5
        chosen[name] = written["search"][name]["chosen"]["fit.lr"]
        assert chosen[name] == max(trials, key=lambda trial: trial["value"])["settings"]["fit.lr"]
    assert chosen["fold 1"] < chosen["fold 3"] < chosen["fold 2"]
    assert written["settings"]["fit"]["lr"] == chosen["fold 3"]
    assert "Each part has chosen by itself" in Path("runs/probe/linear/report.html").read_text()
    for name, lr in chosen.items():
        plain = ["--fit.lr", repr(lr), "--name", "plain", "--overwrite"]
        assert dispatch(["probe", "linear", "--table", str(folds), *SMALL, *plain]) == 0
        assert scores("plain")["parts"][name] == written["parts"][name]
    kept = [load_probe(f"runs/probe/{name}/probe").probe.state_dict() for name in ("linear", "plain")]
    assert all(torch.equal(tensor, kept[1][name]) for name, tensor in kept[0].items()), "plain's last one is fold 3's"


def test_a_leak_that_is_planted_in_a_fold_changes_nothing_of_what_it_chooses(folds: Path) -> None:
    better = ["--fit.steps", "60", "--search.space.fit.lr", "[1e-3, 1e-1]"]
    for name, own in (("one", folds), ("two", plant(folds, "2"))):
        assert dispatch(["probe", "linear", "--table", str(own), "--name", name, *SMALL, *SEARCH, *better]) == 0
    one, two = scores("one"), scores("two")
    assert one["search"]["fold 2"] == two["search"]["fold 2"]
    assert one["parts"]["fold 2"] != two["parts"]["fold 2"]
    assert one["search"]["fold 3"] != two["search"]["fold 3"], "which learns from it"


def test_events_are_searched_for_by_the_moment(tmp_path: Path) -> None:
    folder = str(write_dcase(tmp_path))
    call = ["probe", "dcase2016_cgp", "--encoder", "bat_tiny", "--data", folder, "--random_weights", "--workers", "0"]
    brief = ["--fit.steps", "6", "--fit.warmup", "1", "--fit.select_every", "2", "--head.prototypes", "8"]
    assert dispatch([*call, *brief, "--search.trials", "3", "--search.sobol", "1"]) == 0
    written = scores("dcase2016_cgp")
    assert written["search"]["test"]["metric"] == "micro_map"
    assert set(written["search"]["test"]["chosen"]) == {"fit.lr", "fit.weight_decay", "head.dropout"}
    assert written["steps"]["test"] in (2, 4, 6)
    assert "Which settings" in Path("runs/probe/dcase2016_cgp/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--search.trials", "-1"], 1, "search.trials is -1, expected 0 (none) or more"),
        (["--search.trials", "2", "--search.space.fit.lrr", "[0, 1]"], 1, "search.space.fit.lrr is no number"),
        (["--search.trials", "2", "--search.space.fit.lr", "[1]"], 2, "Expected a tuple with 2 elements"),
        (["--search.trials", "2", "--search.space.fot.lr", "[0, 1]"], 2, "unrecognized arguments"),
        (["--fit.select_every", "5", "--task.name", "hsn"], 1, "test has no rows to choose by"),
        (["--search.trials", "2", "--task.name", "hsn", "--task.shots", "[1]"], 2, "give either"),
    ],
)
def test_what_cannot_be_searched_is_told_so_before_anything_is_encoded(
    arguments: list[str], code: int, complaint: str, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = ["--data", str(write_birdset(tmp_path))] if "hsn" in arguments else ["--table", str(table)]
    capsys.readouterr()
    assert dispatch(["probe", "linear", *source, *SMALL, *arguments]) == code
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint in said
    assert not Path("runs").exists()


def test_without_optuna_nothing_is_begun(
    table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    call = ["probe", "linear", "--table", str(table), *SMALL]
    assert dispatch([*call, *SEARCH]) == 1
    assert 'pip install "oscine[search]"' in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_yaml_may_say_what_is_searched(table: Path) -> None:
    Path("mine.yaml").write_text(
        "search:\n  trials: 2\n  sobol: 1\n  space:\n    fit: {lr: [1.0e-4, 1.0e-2]}\n    head: {dropout: [0, 0.5]}\n"
    )
    assert dispatch(["probe", "linear", "--table", str(table), *SMALL, "--config", "mine.yaml"]) == 0
    assert scores()["search"]["test"]["space"] == {"fit.lr": [1e-4, 1e-2], "head.dropout": [0.0, 0.5]}
