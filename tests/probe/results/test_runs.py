"""Runs accumulate whatever crashes; seeds are averaged; published figures are those of the papers."""

from __future__ import annotations

import json
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.probe.metrics.metrics import Metrics
from oscine.probe.results.runs import (
    Row,
    Run,
    Score,
    add_run,
    own_rows,
    published_figures,
    published_rows,
    ranked,
    read_runs,
)

RUN = Run(
    "esc50",
    "bat_base.as2m",
    "linear",
    0,
    {"accuracy": 0.9, "auroc": None},
    {"accuracy": 0.02, "auroc": None},
    {"lr": 1},
)


def add_many(path: Path, encoder: str) -> None:
    for seed in range(20):
        add_run(path, replace(RUN, encoder=encoder, seed=seed))


def test_runs_accumulate_and_come_back(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "results.jsonl"
    runs = [RUN, replace(RUN, seed=1), replace(RUN, task="hsn")]
    for run in runs:
        add_run(path, run)
    assert read_runs(path) == runs


def test_alike_rows_without_names_say_the_settings_that_differ(tmp_path: Path) -> None:
    runs = [replace(RUN, settings={"rows": "a", "fit": {"lr": lr}}) for lr in (1e-3, 1e-2)]
    assert [row.source for row in own_rows(runs, "esc50")] == [
        "yours, 1 seed: fit.lr 0.001",
        "yours, 1 seed: fit.lr 0.01",
    ]


def test_a_line_without_a_name_still_reads(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields = asdict(RUN)
    del fields["name"]
    (tmp_path / "results.jsonl").write_text(json.dumps(fields) + "\n")
    assert read_runs(tmp_path / "results.jsonl", "mine") == [RUN]
    assert "does not say which of its runs is mine" in caplog.text


def test_the_same_run_counts_once_and_the_last_time_which_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "results.jsonl"
    again = replace(RUN, mean={"accuracy": 0.95})
    for run in (RUN, replace(RUN, seed=1), replace(RUN, settings={"lr": 2}), again):
        add_run(path, run)
    with caplog.at_level(logging.INFO):
        assert read_runs(path) == [replace(RUN, seed=1), replace(RUN, settings={"lr": 2}), again]
        add_run(path, replace(RUN, name="linear"))
        add_run(path, replace(RUN, name="other"))
        read_runs(path)
    assert caplog.messages == [
        "1 run is left out, since later ones have the same settings and seed: such as an earlier one",
        "3 runs are left out, since later ones have the same settings and seed: such as one, for linear",
    ]


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_that_a_crash_cut_short_is_lost_alone(
    tmp_path: Path, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "results.jsonl"
    add_run(path, RUN)
    add_run(path, replace(RUN, seed=1))
    os.truncate(path, path.stat().st_size - cut)
    add_run(path, replace(RUN, seed=2))
    with caplog.at_level(logging.WARNING):
        seeds = [run.seed for run in read_runs(path)]
    whole = cut == 1  # only the line's end was missing
    assert seeds == ([0, 1, 2] if whole else [0, 2])
    assert whole or "line 2 is no run, or was cut short by a crash" in caplog.text


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with ProcessPoolExecutor(3) as pool:
        list(pool.map(add_many, [path] * 3, "abc"))
    assert len(read_runs(path)) == 60


def test_seeds_are_averaged_and_a_single_one_has_the_spread_of_its_folds() -> None:
    runs = [replace(RUN, seed=seed, mean={"accuracy": value}) for seed, value in enumerate((0.8, 0.9, 0.7))]
    other = replace(RUN, probe="attentive")
    averaged, single = own_rows([*runs, other, replace(RUN, task="hsn")], "esc50")
    assert averaged.source == "yours, 3 seeds"
    assert averaged.scores["accuracy"] == pytest.approx((0.8, np.std([0.8, 0.9, 0.7])))
    assert single[:3] == ("bat_base.as2m", "attentive", {"accuracy": Score(0.9, 0.02)})
    assert single.source == "yours, 1 seed"


def test_settings_that_differ_are_not_averaged() -> None:
    assert len(own_rows([RUN, replace(RUN, seed=1, settings={"lr": 2})], "esc50")) == 2


def test_a_row_says_what_the_probe_pools() -> None:
    pools = [replace(RUN, settings={"head": {"pool": pool}}) for pool in ("bands", "mean")]
    assert [row.probe for row in own_rows(pools, "esc50")] == [f"{RUN.probe} on bands", f"{RUN.probe} on mean"]


def test_a_published_row_holds_all_metrics_of_its_source() -> None:
    rows = {(row.encoder, row.probe): row for row in published_rows(published_figures(), "esc50")}
    assert len(rows) == 17
    scores = rows["BAT", "cgp"].scores
    assert scores["accuracy"] == pytest.approx((0.9455, 0.017))
    assert scores["map"] == pytest.approx((0.9813, 0.012))


def test_the_mean_over_the_sets_of_a_benchmark_is_the_published_one() -> None:
    """Which a figure in a wrong row, or a digit, would miss."""
    birdset = {"per", "nes", "uhh", "hsn", "nbp", "ssw", "sne"}  # without POW, which is for tuning
    beans = {"watkins", "bats", "cbi", "dogs", "humbugdb"}
    figures = [figure for figure in published_figures() if figure.source.startswith("arXiv 2508.01277")]
    published = {
        ("linear", "Bird-MAE-L", "cmap"): 20.52, ("attentive", "Bird-MAE-L", "cmap"): 38.17,
        ("linear", "Bird-MAE-L", "auroc"): 72.81, ("attentive", "Bird-MAE-L", "auroc"): 84.50,
        ("linear", "Audio-MAE", "cmap"): 13.27, ("attentive", "Audio-MAE", "cmap"): 25.10,
        ("linear", "BEATs", "cmap"): 11.21, ("attentive", "BEATs", "cmap"): 25.08,
        ("attentive", "BEATs-NLM", "cmap"): 37.74, ("linear", "ConvNeXt-BS", "cmap"): 39.07,
        ("linear", "Perch", "cmap"): 37.14,
        ("linear", "Audio-MAE", "accuracy"): 45.05, ("attentive", "Audio-MAE", "accuracy"): 72.75,
        ("linear", "BEATs", "accuracy"): 62.87, ("attentive", "BEATs", "accuracy"): 77.24,
        ("attentive", "BEATs-NLM", "accuracy"): 83.65, ("linear", "Bird-MAE-L", "accuracy"): 62.46,
        ("attentive", "Bird-MAE-L", "accuracy"): 80.01, ("linear", "ConvNeXt-BS", "accuracy"): 78.16,
        ("linear", "Perch", "accuracy"): 75.47,
    }  # fmt: skip
    for (probe, encoder, metric), mean in published.items():
        values = [
            figure.value for figure in figures
            if (figure.probe, figure.encoder, figure.metric) == (probe, encoder, metric)
            and figure.task in birdset | beans
        ]  # fmt: skip
        assert len(values) == (len(beans) if metric == "accuracy" else len(birdset))
        assert 100 * np.mean(values) == pytest.approx(mean, abs=0.006)


def test_published_metrics_are_known_and_no_figure_is_given_twice() -> None:
    figures = list(published_figures())
    frames = {"frame_map", "onset_f1"}
    assert {figure.metric for figure in figures} <= {*Metrics.__dataclass_fields__, *frames}
    assert len({figure[:4] + figure[6:] for figure in figures}) == len(figures)
    assert all(0 < figure.value < 1 for figure in figures)


def test_the_best_comes_first_and_who_has_no_such_score_last() -> None:
    rows = published_rows(published_figures(), "hsn")
    order = ranked(rows, ["cmap", "map"])
    assert (order[0].encoder, order[0].probe) == ("Bird-MAE-L", "fine-tuned-prototypical")
    assert [("cmap" in row.scores) for row in order] == sorted((("cmap" in row.scores) for row in rows), reverse=True)
    for metric, some in (("cmap", order), ("map", [row for row in order if "cmap" not in row.scores])):
        values = [row.scores[metric].value for row in some if metric in row.scores]
        assert values == sorted(values, reverse=True)
        assert len(values) > 10
    lost = Row("none", "linear", {"auroc": Score(0.9, None)}, "yours")
    assert ranked([lost, *rows], ["cmap", "map"])[-1] == lost


def test_a_results_file_that_is_not_there_gets_a_clear_line(tmp_path: Path) -> None:
    with pytest.raises(OscineError, match=r"no results .*results.jsonl; oscine probe writes them"):
        read_runs(tmp_path / "results.jsonl")


def test_a_line_is_json_that_others_can_read(tmp_path: Path) -> None:
    add_run(tmp_path / "results.jsonl", RUN)
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["mean"] == {"accuracy": 0.9, "auroc": None}
