"""A search: what is tried depends on the seed and the values alone, a kill costs one trial, and judged rows say nothing."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oscine.models.audio.load import AudioError
from oscine.models.encoders.bat import BAT
from oscine.models.errors import OscineError
from oscine.probe.fit.search import JOURNAL, Search, SearchPlan, Settings, Trial, search, validation_view
from oscine.probe.fit.search_space import Range, search_space
from oscine.probe.fit.settings import FitSettings
from oscine.probe.heads.convex_gated import ConvexGatedProbe
from oscine.probe.heads.linear import Head2ToeProbe, LinearProbe, MLPProbe
from oscine.probe.heads.prototypical import PrototypicalProbe
from oscine.probe.heads.registry import PROBES
from oscine.probe.report.html import Report
from oscine.probe.report.score_sections import show_search
from oscine.probe.tasks.task import Part

FORK = multiprocessing.get_context("fork")  # a process of its own at once: importing torch anew takes seconds
SPACE = {"fit.lr": Range(1e-4, 1e-1), "head.dropout": Range(0.0, 0.5), "head.hidden": Range(8, 512, whole=True)}
RECORD = {"encoder": "one", "fit.lr": 1e-3}


def hill(settings: Settings) -> float:
    """Highest at a learning rate of 0.01, without dropout."""
    return 1 - (math.log10(settings["fit.lr"]) + 2) ** 2 / 4 - settings["head.dropout"]


def searched(folder: Path, trials: int = 12, evaluate: Callable[[Settings], float] = hill, **how: Any) -> Search:
    progress = {"progress": how.pop("progress")} if "progress" in how else {}
    plan = SearchPlan(SPACE, "accuracy", how.pop("record", RECORD), trials, **{"sobol": 6, **how})
    return search(evaluate, plan, folder, **progress)


def test_the_first_points_are_spread_evenly_and_those_after_them_climb(tmp_path: Path) -> None:
    tried = searched(tmp_path, trials=40, sobol=16).tried
    places = np.array([math.log10(one.settings["fit.lr"]) for one in tried])
    strata = np.floor((places[:16] + 4) / 3 * 16).astype(int)
    assert sorted(strata) == list(range(16)), "one in each sixteenth of three orders of magnitude"
    widths = np.array([one.settings["head.dropout"] for one in tried[:16]])
    assert sorted(np.floor(widths / 0.5 * 16).astype(int)) == list(range(16))
    assert all(isinstance(one.settings["head.hidden"], int) for one in tried)
    values = [one.value or 0.0 for one in tried]
    assert np.mean(values[16:]) > np.mean(values[:16]) + 0.1
    assert abs(places[np.argmax(values)] + 2) < 0.5


def test_given_settings_are_the_first_to_be_tried_where_the_space_has_them(tmp_path: Path) -> None:
    given = {"fit.lr": 1e-3, "head.dropout": 0.2, "head.hidden": 64, "fit.loss": None}
    with_them = searched(tmp_path / "with", given=given)
    assert with_them.tried[0].settings == {name: given[name] for name in SPACE}
    without = searched(tmp_path / "without", given=given | {"fit.lr": 1.0})
    assert without.tried[0].settings == with_them.tried[1].settings, "Sobol's first point"
    assert with_them.tried[with_them.best].value >= hill(with_them.tried[0].settings)  # type: ignore[operator]


def test_the_same_seed_tries_the_same(tmp_path: Path) -> None:
    one, two, other = (searched(tmp_path / name, seed=seed) for name, seed in (("one", 3), ("two", 3), ("other", 4)))
    assert one == two
    assert not any(mine.settings == its.settings for mine, its in zip(one.tried, other.tried, strict=True))


@pytest.mark.parametrize("last", [0, 3, 8])
def test_killed_in_a_trial_a_search_goes_on_as_if_it_had_not_been(tmp_path: Path, last: int) -> None:
    whole = searched(tmp_path / "whole")
    asked: list[Settings] = []

    def until_killed(settings: Settings) -> float:
        if len(asked) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        asked.append(settings)
        return hill(settings)

    process = FORK.Process(target=searched, args=(tmp_path / "killed", 12, until_killed))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    after = searched(tmp_path / "killed", evaluate=lambda settings: asked.append(settings) or hill(settings))
    assert len(asked) == 12 - last, "no finished trial is tried again"
    assert after == whole


def test_a_crash_while_a_trial_is_written_leaves_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = searched(tmp_path / "whole")
    searched(tmp_path / "cut", trials=5)
    before = (tmp_path / "cut" / JOURNAL).read_bytes()

    def crash(descriptor: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="no space"):
        searched(tmp_path / "cut")
    monkeypatch.undo()
    assert (tmp_path / "cut" / JOURNAL).read_bytes() == before
    assert searched(tmp_path / "cut") == whole


def test_whole_numbers_are_all_as_likely_and_no_share_leaves_a_range() -> None:
    whole = Range(9, 12, whole=True)
    assert [whole.at(share) for share in (0.0, 0.24, 0.26, 0.49, 0.51, 0.74, 0.76, 0.999)] == [
        9,
        9,
        10,
        10,
        11,
        11,
        12,
        12,
    ]
    for ends in (whole, Range(1, 1000, whole=True), Range(1e-4, 1e-1), Range(0.0, 0.5)):
        assert all(ends.holds(ends.at(share)) for share in (0.0, 0.5, 1 - 1e-12))
    assert Range(1e-4, 1e-1).at(2 / 3) == pytest.approx(1e-2)


def test_more_trials_go_on_from_fewer(tmp_path: Path) -> None:
    few = searched(tmp_path, trials=5)
    asked: list[Settings] = []
    more = searched(tmp_path, trials=9, evaluate=lambda settings: asked.append(settings) or hill(settings))
    assert len(asked) == 4
    assert more.tried[:5] == few.tried
    assert searched(tmp_path, trials=5) == few, "of a longer search the first are a shorter one"


def test_a_search_with_other_settings_is_refused_until_it_may_start_anew(tmp_path: Path) -> None:
    searched(tmp_path)
    other = RECORD | {"fit.lr": 0.5}
    with pytest.raises(
        OscineError, match=r"is a search with fit\.lr .*, not 0\.5; call it as then to go on, --overwrite .*\Z"
    ):
        searched(tmp_path, record=other)
    asked: list[Settings] = []
    searched(
        tmp_path,
        evaluate=lambda settings: asked.append(settings) or hill(settings),
        record=other,
        overwrite=True,
    )
    assert len(asked) == 12
    searched(tmp_path, record=other)


def test_two_processes_do_not_search_in_one_place(tmp_path: Path) -> None:
    def while_another_does(settings: Settings) -> float:
        process = FORK.Process(target=refused, args=(tmp_path,))
        process.start()
        process.join()
        assert process.exitcode == 0
        return hill(settings)

    searched(tmp_path, trials=1, evaluate=while_another_does)


def refused(folder: Path) -> None:
    with pytest.raises(OscineError, match=r"process \d+ on .* is searching in"):
        searched(folder, trials=1)


def test_a_trial_that_fails_is_recorded_and_learnt_from_no_further(tmp_path: Path) -> None:
    def steep(settings: Settings) -> float:
        if settings["fit.lr"] > 0.02:
            raise OscineError("logits of 3 of 3 rows are not finite; the fit diverged")
        if settings["head.dropout"] > 0.4:
            raise ValueError("dropout probability has to be between 0 and 1, but got 2")
        return math.nan if settings["fit.lr"] < 3e-4 else hill(settings)

    found = searched(tmp_path, trials=20, sobol=16, evaluate=steep)
    failures = [one.failure for one in found.tried if one.value is None and one.failure]
    assert {failure[:7] for failure in failures} == {"logits ", "its val", "dropout"}
    assert 3e-4 <= found.chosen["fit.lr"] <= 0.02
    written = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert {trial["state"] for trial in written["trials"]} == {"complete", "failed"}
    assert written["chosen"] == found.chosen
    assert written["space"]["head.hidden"] == [8, 512]
    assert searched(tmp_path, trials=20, sobol=16) == found, "the journal has the failures, too"


def test_where_all_trials_fail_one_line_says_why(tmp_path: Path) -> None:
    def never(settings: Settings) -> float:
        raise OscineError("nothing works")

    with pytest.raises(OscineError, match=r"\Aall 4 trials failed, the last one since nothing works\Z"):
        searched(tmp_path, trials=4, evaluate=never)


def test_an_error_in_the_code_is_no_failed_trial(tmp_path: Path) -> None:
    def wrong(settings: Settings) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        searched(tmp_path, evaluate=wrong)


def test_a_recording_that_cannot_be_read_ends_a_search_which_goes_on_when_it_can(tmp_path: Path) -> None:
    calls = 0

    def gone(settings: Settings) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise AudioError("a.wav", "could not be opened (Input/output error); check the disk")
        return hill(settings)

    with pytest.raises(AudioError, match=r"a\.wav"):
        searched(tmp_path, trials=4, sobol=4, evaluate=gone)
    found = searched(tmp_path, trials=4, sobol=4)
    assert [one.value is None for one in found.tried] == [False] * 4
    assert found == searched(tmp_path / "whole", trials=4, sobol=4)


def test_without_optuna_a_line_says_what_brings_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(OscineError, match=r'optuna is not installed; pip install "oscine\[search\]" brings it'):
        searched(tmp_path)
    assert not (tmp_path / JOURNAL).exists()


def test_progress_says_how_many_trials_are_done_and_the_best_value(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    found = searched(tmp_path, trials=3, progress=lambda done, total, note: told.append((done, total, note)))
    assert [done for done, *_ in told] == [0, 1, 2, 3]
    best = max(one.value for one in found.tried if one.value is not None)
    assert told[0] == (0, 3, "")
    assert told[-1] == (3, 3, f"best {best:.3f}")


def test_parts_show_a_search_nothing_of_what_will_be_judged() -> None:
    rows = torch.arange(12)
    part = validation_view(Part("test", rows[:6], rows[6:9], rows[9:]))
    assert part.test.tolist() == part.valid.tolist() == [9, 10, 11]
    assert part.train.tolist() == list(range(6))


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_every_probe_has_a_usual_space_of_numbers_that_it_takes(probe: Any) -> None:
    encoder = BAT(dim=24, depth=2, heads=2, seconds=1.0)
    space = search_space(probe)
    assert {"fit.lr", "fit.weight_decay"} <= set(space)
    for end in (0, 1):
        chosen = {name: ends[end] for name, ends in space.items()}
        fit: dict[str, Any] = {name[4:]: value for name, value in chosen.items() if name.startswith("fit.")}
        assert FitSettings(**fit).lr == chosen["fit.lr"]
        head = {name[5:]: value for name, value in chosen.items() if name.startswith("head.")}
        small = {"prototypes": 4, "queries": 4}
        takes = probe.__init__.__code__.co_varnames
        probe(encoder, 3, **head, **{name: number for name, number in small.items() if name in takes})


def test_the_usual_space_is_that_of_the_probes_own_numbers() -> None:
    assert "head.dropout" in search_space(ConvexGatedProbe)
    assert "head.lasso" in search_space(Head2ToeProbe)
    assert "head.prototype_lr" in search_space(PrototypicalProbe)
    assert "head.dropout" not in search_space(PrototypicalProbe)


def test_given_ranges_replace_the_usual_ones_and_whole_numbers_stay_whole() -> None:
    space = search_space(MLPProbe, {"lr": (1e-4, 1e-2), "steps": (100, 400)}, {"hidden": (64.0, 1024.0)})
    assert space == {
        "fit.lr": Range(1e-4, 1e-2),
        "fit.steps": Range(100, 400, whole=True),
        "head.hidden": Range(64, 1024, whole=True),
    }
    assert [ends.log for ends in space.values()] == [True, False, True]
    assert not Range(0.0, 0.5).log


@pytest.mark.parametrize(
    ("fit", "head", "complaint"),
    [
        (
            {"lrr": (0, 1)},
            {},
            r"search\.space\.fit\.lrr is no number of this probe's; choose from fit\.steps, .*head\.dropout",
        ),
        ({"seed": (0, 9)}, {}, r"search\.space\.fit\.seed is no number"),
        ({"loss": (0, 9)}, {}, r"search\.space\.fit\.loss is no number"),
        ({"balanced": (0, 1)}, {}, r"search\.space\.fit\.balanced is no number"),
        ({}, {"classes": (2, 9)}, r"search\.space\.head\.classes is no number"),
        ({}, {"pool": (0, 1)}, r"search\.space\.head\.pool is no number"),
        (
            {"lr": (0.1, 0.01)},
            {},
            r"search\.space\.fit\.lr goes from 0\.1 to 0\.01, expected a number and a larger one",
        ),
        ({"lr": (math.nan, 1)}, {}, "goes from nan to 1"),
        ({"steps": (10.5, 20)}, {}, r"fit\.steps goes from 10\.5 to 20, expected whole numbers"),
    ],
)
def test_a_space_that_cannot_be_is_told_so(fit: dict[str, Any], head: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OscineError, match=complaint):
        search_space(LinearProbe, fit, head)


def test_a_page_shows_the_best_settings_first_and_those_of_every_fold() -> None:
    lr = {"fit.lr": Range(1e-4, 1e-1)}
    tried = [Trial({"fit.lr": 0.001}, 0.5), Trial({"fit.lr": 0.1}, None, "it diverged"), Trial({"fit.lr": 0.01}, 0.75)]
    page = Report("a run")
    show_search(page, {"test": Search("accuracy", lr, tried)})
    html = page.html()
    assert "1 of 3 failed" in html
    assert html.index("<td>0.750</td>") < html.index("<td>0.500</td>") < html.index("<td>–</td>")
    assert "Each part has chosen by itself" not in html
    assert Search("accuracy", lr, tried).best == 2
    folds = Report("a run")
    show_search(folds, {f"fold {number}": Search("accuracy", lr, tried[::2]) for number in range(5)})
    assert "Each part has chosen by itself" in folds.html()
    assert "<td>fold 4</td>" in folds.html()
