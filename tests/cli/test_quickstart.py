"""The main job, end to end, on a dozen recordings of the user's own: everything is there, and the same again next time."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch

from oscine.cli import config, dispatch
from oscine.cli.quickstart import gives_one_answer
from oscine.probe.fit import Judgement

RATE, SECONDS = 16_000, 2
PLAN = config.read(config.find_quickstart())
ENCODERS = [*(row for name in PLAN["recipes"] for row in (name, f"{name}, random")), PLAN["embedded"]]


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


def quickstart(table: Path, folder: Path) -> Run:
    said = io.StringIO()
    with redirect_stdout(said):
        assert dispatch(["quickstart", "--table", str(table), "--steps", "2", "--out", str(folder)]) == 0
    return Run(folder, said.getvalue())


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return quickstart(table, tmp_path_factory.mktemp("quickstart") / "first")


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
    # Loss curves, a reconstruction, layer gates.
    assert html.count('src="data:image/png;base64,') == html.count("<img") == 3
    assert "<script" not in html
    assert "http" not in html


def test_what_is_said_ends_with_three_lines_that_load_the_encoder(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Accuracy in %" in run.said
    for sentence in run.scores["conclusions"]:
        assert " ".join(sentence.split()) in " ".join(run.said.split())
    program = run.said.splitlines()[-3:]
    exec("\n".join(program), {})
    assert capsys.readouterr().out == "torch.Size([1, 192])\n"


def test_a_probe_with_one_answer_for_all_clips_is_said_so() -> None:
    same, others = torch.tensor([[0.0, 1.0], [0.1, 0.2]]), torch.tensor([[0.0, 1.0], [0.3, 0.2]])
    assert gives_one_answer(Judgement(["fold 1", "fold 2"], [], logits=[same, same]))
    assert not gives_one_answer(Judgement(["fold 1", "fold 2"], [], logits=[same, others]))


def test_scores_hold_the_settings_of_every_probe(run: Run) -> None:
    assert run.scores["probes"] == PLAN["probes"]


def test_the_encoder_that_was_made_elsewhere_is_said_to_be_and_is_not_among_the_best_made_here(run: Run) -> None:
    first, *_, last = run.scores["conclusions"]
    assert first.startswith(
        f"{PLAN['embedded']} comes with oscine and was pretrained elsewhere. Against random weights: "
    )
    rows = [line.split("  ")[0].strip() for line in run.said.splitlines()]
    assert rows.count(PLAN["embedded"]) == 1
    assert PLAN["embedded"] not in last
    here = [score["mean"]["accuracy"] for name in PLAN["recipes"] for score in run.scores["scores"][name].values()]
    assert f"pretrained here {max(here):.1%} (" in last


def test_every_encoder_can_be_loaded_and_every_loss_read(run: Run) -> None:
    for name in PLAN["recipes"]:
        assert {file.name for file in (run.folder / name / "encoder").iterdir()} >= {"config.json", "model.safetensors"}
        assert list((run.folder / name / "logs").glob("version_*/metrics.csv"))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table(run: Run, table: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)  # what happened before must not count
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


def test_several_labels_a_row_are_refused(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several = table.with_name("several.csv")
    several.write_text(table.read_text().replace("label", "labels").replace("owl,0", "owl;wren,0", 1))
    assert dispatch(["quickstart", "--table", str(several), "--out", str(tmp_path / "out")]) == 1
    *_, said = capsys.readouterr().err.strip().splitlines()
    assert said.endswith("quickstart takes one label a row")
    assert "several.csv has rows with" in said
