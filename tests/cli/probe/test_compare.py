from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from oscine.cli.probe.compare import main
from oscine.models.errors import Misuse, OscineError
from oscine.probe.fit.judge import Judgement
from oscine.probe.results.intervals import compare_predictions
from oscine.probe.results.predictions import predictions_of, read_predictions, write_predictions
from oscine.probe.results.run_files import PREDICTIONS
from oscine.probe.results.runs import Run, add_run, published_figures
from oscine.probe.tasks.task import Part, Task

RUN = Run("esc50", "my_encoder", "linear", 0, {"accuracy": 0.93, "map": 0.96}, {"accuracy": 0.02, "map": 0.01})


@pytest.fixture
def results(tmp_path: Path) -> Path:
    add_run(tmp_path / "results.jsonl", RUN)
    add_run(tmp_path / "results.jsonl", replace(RUN, task="my_birds", mean={"accuracy": 0.5}))
    return tmp_path / "results.jsonl"


def test_own_runs_stand_among_the_published_ones(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(results), "--task", "esc50", "--metric", "accuracy"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "±" in line]
    (own,) = (number for number, line in enumerate(lines) if "my_encoder" in line)
    assert "0.930 ± 0.020" in lines[own]
    assert "yours, 1 seed" in lines[own]
    assert "0.931 ± 0.018" in lines[own - 1]  # EAT with a convex gated probe
    assert "arXiv 2602.16305, table 5" in lines[own - 1]
    assert "0.925 ± 0.022" in lines[own + 1]
    assert len(lines) == 17


def test_names_in_the_results_of_others_steer_no_terminal_and_are_no_markup(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_run(results, replace(RUN, task="[red]task\x1b[2J", encoder="\x1b]0;title\x07[bold]evil", probe="[link=x]"))
    main([str(results), "--own"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b]0;title\\x07[bold]evil" in out
    assert "[link=x]" in out
    assert "[red]task\\x1b[2J" in out


def test_every_task_has_a_table_and_published_figures_may_be_left_out(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(results), "--own"])
    out = capsys.readouterr().out
    assert out.count("my_encoder") == 2
    assert "my_birds" in out
    assert "arXiv" not in out


def test_a_folder_of_runs_or_a_run_stands_for_its_results(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "linear").mkdir()
    (tmp_path / "more").mkdir()
    said = []
    for place in (results, tmp_path, tmp_path / "linear"):
        main([str(place), "--own"])
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    add_run(tmp_path / "more/results.jsonl", replace(RUN, encoder="another_encoder"))
    main([str(results), str(tmp_path / "more"), "--own", "--task", "esc50"])
    out = capsys.readouterr().out
    assert "my_encoder" in out
    assert "another_encoder" in out
    main([str(tmp_path), "--own", "--task", "esc50"])
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(out.splitlines())
    (tmp_path / "more/results.jsonl").unlink()
    results.unlink()
    with pytest.raises(OscineError, match=r"no results\.jsonl in .* or below it; oscine probe writes it"):
        main([str(tmp_path)])


def test_rows_without_the_metric_that_decides_stand_below_and_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--task", "HSN"])
    out = capsys.readouterr().out
    figures = [figure for figure in published_figures() if figure.task == "hsn"]
    without = len({(one.encoder, one.probe) for one in figures if one.source == "arXiv 2602.16305, table 5"})
    assert f"the best cmap first; {without} rows without it below, by the next score that there is" in out
    assert out.splitlines()[2].split()[:4] == ["encoder", "probe", "cmap", "map"]
    best = max((one for one in figures if one.metric == "cmap"), key=lambda one: one.value)
    assert f"{best.value:.3f}" in out.splitlines()[4]
    assert out.rindex("unverified") < out.index("table 5")
    main(["--task", "esc50", "--metric", "accuracy"])
    assert capsys.readouterr().out.rstrip().endswith("\nthe best accuracy first")


def test_of_metrics_that_all_rows_have_the_one_decides_by_which_settings_are_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = {"one": {"accuracy": 0.9, "cmap": 0.4}, "two": {"accuracy": 0.8, "cmap": 0.5}}
    for metric, order in (("", ["one", "two"]), ("cmap", ["two", "one"])):
        for encoder, mean in scores.items():
            run = Run("frogs", encoder, "linear", 0, mean, {}, metric=metric)
            add_run(tmp_path / f"runs_{metric}/results.jsonl", run)
        main([str(tmp_path / f"runs_{metric}"), "--own"])
        out = capsys.readouterr().out
        assert sorted(order, key=out.index) == order
        assert f"the best {metric or 'accuracy'} first" in out
    main(["--task", "esc50"])
    assert "the best accuracy first" in capsys.readouterr().out, "one row more has it than map"


def test_a_run_that_lies_in_two_files_is_one_seed(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "copy").mkdir()
    shutil.copy(results, tmp_path / "copy")
    with caplog.at_level("INFO"):
        main([str(tmp_path), "--own", "--task", "esc50"])
    assert "yours, 1 seed" in capsys.readouterr().out
    assert "2 runs are left out, since later ones have the same settings and seed" in caplog.text


def test_rows_that_would_look_alike_say_their_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, lr in (("linear", 1e-3), ("lr", 1e-2)):
        add_run(tmp_path / "results.jsonl", replace(RUN, settings={"fit": {"lr": lr, "steps": 9}}, name=name))
    add_run(tmp_path / "results.jsonl", replace(RUN, probe="mlp", name="mlp"))
    main([str(tmp_path), "--own"])
    own = [line.rstrip() for line in capsys.readouterr().out.splitlines() if "my_encoder" in line]
    assert [line.partition("yours, ")[2] for line in own] == ["1 seed: linear", "1 seed: lr", "1 seed"]


def test_one_runs_folder_shows_that_run_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, mean in (("one", 0.1), ("one", 0.2), ("two", 0.2)):  # replaced once; another is the same but for its name
        add_run(tmp_path / "results.jsonl", replace(RUN, name=name, mean={"accuracy": mean}))
    (tmp_path / "one").mkdir()
    main([str(tmp_path / "one"), "--own"])
    own = [line for line in capsys.readouterr().out.splitlines() if "my_encoder" in line]
    assert len(own) == 1
    assert "0.200" in own[0]


def test_a_misspelt_folder_is_told_which_one_is_near(tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    with pytest.raises(OscineError, match=r"no results .*prob; did you mean .*/probe\? oscine probe writes them"):
        main([str(tmp_path / "prob")])


def test_without_runs_the_published_figures_of_a_task_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--task", "hsn"])
    out = capsys.readouterr().out
    assert "Bird-MAE-L" in out
    assert "yours" not in out
    for wrong, complaint in (
        (["--task", "nests"], r"no published figures of 'nests'; name runs, .* one of audioset_2m, .*hsn"),
        ([], r"nothing to compare; name runs, such as runs/probe, or with --task one of"),
        (["--own", "--task", "hsn"], r"--own leaves the published figures out; name runs, such as runs/probe"),
    ):
        with pytest.raises(Misuse, match=complaint):
            main(wrong)


def test_a_pair_is_two_runs(tmp_path: Path) -> None:
    for runs in ([], ["a", "b"]):
        with pytest.raises(Misuse, match=rf"--paired compares two runs, {1 + len(runs)} were named"):
            main([*runs, "--paired", str(tmp_path)])


def test_an_unknown_task_is_told_so_in_one_line(results: Path) -> None:
    with pytest.raises(Misuse, match="has no runs of 'hsn'; it has esc50, my_birds"):
        main([str(results), "--task", "hsn"])


@pytest.fixture
def two_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Predictions of a good and of a poor probe, in the folders of their runs."""
    labels = torch.arange(60) % 2
    rows = pd.DataFrame({"path": [f"{row}.wav" for row in range(60)]})
    task = Task(rows, ["tit", "wren"], labels, [Part("test", torch.arange(0), torch.arange(60))])
    noise = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    folders = tmp_path / "good", tmp_path / "poor"
    for folder, signal in zip(folders, (2.0, 0.1), strict=True):
        folder.mkdir()
        judgement = Judgement(["test"], [], logits=[noise + signal * one_hot(labels)])
        write_predictions(folder / PREDICTIONS, predictions_of(judgement, task))
    return folders


def test_two_runs_are_compared_row_by_row(two_runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    good, poor = two_runs
    main(["--paired", str(good), str(poor)])
    said = capsys.readouterr().out
    found = compare_predictions(read_predictions(good / PREDICTIONS), read_predictions(poor / PREDICTIONS))
    for name, (difference, ahead) in found.items():
        (line,) = (line for line in said.splitlines() if f" {name} " in line)
        assert f"{difference.value:+.3f}" in line
        assert f"{difference.low:+.3f} to {difference.high:+.3f}" in line
        assert line.rstrip().endswith(f"{ahead:.1%}")
    assert found["accuracy"].difference.low > 0
    assert said.split()[:2] == ["good", "poor"]


def test_two_runs_that_find_events_are_compared_recording_by_recording(
    two_runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, matched in (("all", 4), ("some", 1)):
        (tmp_path / name).mkdir()
        scenes = [
            {
                "path": f"{row}.wav",
                "part": "test",
                "group": row,
                "onset_f1": [matched, 4, 4],
                "segment_f1": [2, 4, 5 - row % 2],
            }
            for row in range(8)
        ]
        (tmp_path / name / "scores.json").write_text(json.dumps({"recordings": scenes}))
    main(["--paired", str(tmp_path / "all"), str(tmp_path / "some")])
    onset, segment = (line.split() for line in capsys.readouterr().out.splitlines() if "_f1" in line)
    assert onset == "onset_f1 1.000 0.250 +0.750 +0.750 to +0.750 100.0%".split()
    assert segment == "segment_f1 0.471 0.471 +0.000 +0.000 to +0.000 50.0%".split()
    with pytest.raises(
        Misuse, match=r"one of .*all and .*good found events, the other judged clips; compare runs of one"
    ):
        main(["--paired", str(tmp_path / "all"), str(two_runs[0])])


def test_a_run_without_predictions_is_told_so_in_one_line(two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"no predictions .*nowhere/predictions.parquet; oscine probe writes them"):
        main(["--paired", str(two_runs[0]), str(tmp_path / "nowhere")])


def test_a_row_is_one_line_in_a_pipe_however_narrow_the_terminal(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    main([str(results), "--task", "esc50"])
    own = [line for line in capsys.readouterr().out.splitlines() if "my_encoder" in line]
    assert len(own) == 1
    assert "yours, 1 seed" in own[0]
