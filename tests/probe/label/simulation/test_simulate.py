"""A simulation is the same however it was stopped, added to, or spread over processes."""

from __future__ import annotations

import csv
import errno
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from oscine.models.errors import OscineError
from oscine.models.files import append_line
from oscine.probe.label.curves import area, paired_difference
from oscine.probe.label.simulation import simulate as simulating
from oscine.probe.label.simulation.page import simulation_page
from oscine.probe.label.simulation.replay import ALL_LABELS, Curve, Replay
from oscine.probe.label.simulation.settings import SimulationSettings
from oscine.probe.label.simulation.simulate import plan, read_runs, simulate
from oscine.probe.label.simulation.summary import REACHED
from oscine.probe.label.simulation.words import verdict

MADE = ["curves.csv", "initial_sets", "report.html", "runs.jsonl", "settings.json", "summary.json"]


def untimed(runs: dict[Replay, Curve]) -> dict[Replay, dict]:
    """Runs without the seconds that choosing took."""
    return {run: asdict(curve) | {"seconds": None} for run, curve in runs.items()}


def test_a_simulation_leaves_every_run_and_what_they_come_to(settings: SimulationSettings):
    found = simulate(settings)
    assert sorted(path.name for path in settings.out.iterdir()) == MADE
    runs = read_runs(settings.out / "runs.jsonl")
    assert [*found.runs] == plan(settings, ["sharp"])
    assert len(runs) == 2 * (1 + 2 * 2), "a seed has all labels, and two strategies from two initial sets"
    assert untimed(runs) == untimed(dict(found.runs))
    summary = json.loads((settings.out / "summary.json").read_text())
    assert [row["strategy"] for row in summary["encoders"]["sharp"]["strategies"]] == [
        one.strategy for one in found.standings["sharp"]
    ]
    assert len(list(settings.out.glob("initial_sets/sharp/*.json"))) == 4
    with (settings.out / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (1 + 4 * 4)
    assert rows[1]["labels"] == "3"


def test_gains_are_paired_with_random_clips_seed_by_seed(settings: SimulationSettings):
    found = simulate(replace(settings, seeds=3, strategies="margin"))
    theirs, ours = (
        area([3, 5, 7, 9], found.scores("sharp", *key)) for key in (("random", "random"), ("typiclust", "margin"))
    )
    assert found.standing("sharp", "typiclust", "margin").gain == paired_difference(ours, theirs)
    baseline = found.standing("sharp", "random", "random")
    assert baseline.gain[:3] == (0, 0, 0)
    levels = REACHED * found.all_labels("sharp")
    for seed, (level, reached) in enumerate(zip(levels, baseline.reached, strict=True)):
        above = [
            labels
            for labels, score in zip((3, 5, 7, 9), found.scores("sharp", "random", "random")[seed])
            if score >= level
        ]
        assert reached == (above[0] if above else np.inf)


def test_seeds_take_folds_in_turn(settings: SimulationSettings):
    found = simulate(replace(settings, seeds=3))
    chosen = [
        {row for batch in found.curves("sharp", "random", "random")[seed].chosen for row in batch} for seed in range(3)
    ]
    assert {row % 2 for row in chosen[0]} == {row % 2 for row in chosen[2]} == {1}, "fold 1 is judged"
    assert {row % 2 for row in chosen[1]} == {0}


def test_a_call_that_was_stopped_goes_on(settings: SimulationSettings, tmp_path: Path):
    whole = simulate(settings)
    other = replace(settings, out=tmp_path / "stopped")
    simulate(replace(other, seeds=1))
    runs = other.out / "runs.jsonl"
    kept = runs.read_bytes().splitlines(keepends=True)[:3]
    runs.write_bytes(b"".join(kept) + b'{"seed": 0, "encoder": "sh')  # killed while it wrote the fourth
    again = simulate(other)
    assert runs.read_bytes().startswith(b"".join(kept)), "what had ended is not run again"
    assert untimed(dict(again.runs)) == untimed(dict(whole.runs))
    assert len(read_runs(runs)) == len(whole.runs)


def test_several_processes_find_what_one_does(settings: SimulationSettings, tmp_path: Path):
    one = simulate(settings)
    two = simulate(replace(settings, workers=2, out=tmp_path / "two"))
    assert untimed(dict(one.runs)) == untimed(dict(two.runs))


def test_more_strategies_seeds_and_encoders_are_added(settings: SimulationSettings, place: Path):
    first = simulate(settings)
    more = replace(
        settings, seeds=3, strategies="margin, entropy", embeddings=[place / "sharp.parquet", place / "dull.parquet"]
    )
    found = simulate(more)
    assert len(found.runs) == 3 * 2 * (1 + 2 * 3)
    assert {run: curve for run, curve in found.runs.items() if run in first.runs} == dict(first.runs), "times included"
    assert found.all_labels("dull").mean() < found.all_labels("sharp").mean()
    first_again = simulate(settings)
    assert first_again.runs == first.runs, "what is not asked for is left out"


def test_what_would_mix_runs_that_differ_is_refused(settings: SimulationSettings, place: Path, tmp_path: Path):
    simulate(replace(settings, seeds=1, strategies="random"))
    with pytest.raises(OscineError, match=r"was begun with C 1.0, not 2.0; call it as then, or choose another --out"):
        simulate(replace(settings, C=2.0))
    with pytest.raises(OscineError, match="was begun with other clips, labels or folds"):
        simulate(replace(settings, table=place / "several.csv"))
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "sharp.parquet"
    other.write_bytes((place / "dull.parquet").read_bytes())
    with pytest.raises(OscineError, match="was begun with another table sharp; rename this one"):
        simulate(replace(settings, embeddings=[other]))
    (settings.out / "settings.json").unlink()
    with pytest.raises(OscineError, match=r"has results, and no settings.json that says of what"):
        simulate(settings)


def test_an_error_names_its_run(settings: SimulationSettings):
    with pytest.raises(OscineError, match=r"goal, seed 0: .*goal"):
        simulate(replace(settings, strategies="goal"))


def test_a_full_disk_is_one_line_and_what_has_ended_is_kept(settings: SimulationSettings, monkeypatch):
    written = []

    def full(path, text):
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(text)
        append_line(path, text)

    monkeypatch.setattr(simulating, "append_line", full)
    with pytest.raises(
        OscineError, match="out cannot be written: No space left on device; make room, and the same call"
    ):
        simulate(settings)
    assert len(read_runs(settings.out / "runs.jsonl")) == 3


def test_several_labels_a_clip_are_scored_by_their_mean_average_precision(settings: SimulationSettings, place: Path):
    found = simulate(replace(settings, table=place / "several.csv", strategies="half_coreset_half_entropy"))
    assert (found.metric, found.several, found.classes) == ("cmap", True, 4)
    curve = found.curves("sharp", "random", "half_coreset_half_entropy")[0]
    assert curve.positives != curve.labels, "a clip may have two labels"
    assert "balanced_accuracy" not in curve.scores


def test_wins_and_ranks_are_over_all_that_is_paired(settings: SimulationSettings, place: Path):
    found = simulate(replace(settings, embeddings=[place / "sharp.parquet", place / "dull.parquet"]))
    wins = found.wins("sharp")
    np.testing.assert_allclose(wins.shares + wins.shares.T, 1)
    assert wins.shares.shape == (2, 2)
    names = [
        "area of random",
        "gain of margin from random",
        "gain of random from typiclust",
        "gain of margin from typiclust",
    ]
    assert [*found.rank_correlations()] == names
    assert np.isnan([*found.rank_correlations().values()]).all(), "two encoders have no rank correlation"


def test_the_page_says_what_the_numbers_say_and_names_are_text(
    settings: SimulationSettings, place: Path, tmp_path: Path
):
    odd = tmp_path / "<b>sharp.parquet"
    odd.write_bytes((place / "sharp.parquet").read_bytes())
    found = simulate(replace(settings, embeddings=[odd]))
    page = simulation_page(found, "oscine label simulate '<b>sharp.parquet'").html()
    assert "<b>" not in page
    assert "&lt;b&gt;sharp" in page
    best = found.standings["<b>sharp"][0]
    assert f"{best.areas.mean():.3f}" in page
    assert (
        "no gain over random clips has an interval above 0, with 2 seeds" in verdict(found, "<b>sharp")
        or best.gain.low > 0
    )
    assert page.index("<h1>") < page.index("<figure") < page.index("<pre>")


def test_all_labels_are_no_strategy(settings: SimulationSettings):
    found = simulate(replace(settings, seeds=1))
    assert ALL_LABELS not in {one.strategy for one in found.standings["sharp"]}
    assert found.all_labels("sharp").shape == (1,)
