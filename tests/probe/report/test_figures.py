"""A picture shows the numbers it was given, and a table every class that can be scored."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch.nn.functional import one_hot

from oscine.models.encoders.frontends.mel import MelScale
from oscine.probe.metrics.bootstrap import Interval
from oscine.probe.metrics.calibration import calibration
from oscine.probe.report.cutouts import Box, Cutout, LogitBreakdown, breakdown_figure, cutout_figure
from oscine.probe.report.figures import Mark, gain_figure, layer_figure
from oscine.probe.report.score_sections import (
    class_rows,
    confused_pairs,
    confusion,
    confusion_figure,
    few_shot_figure,
    interval_rows,
    reliability_figure,
)

SCALE = MelScale(0.01, 20.0, 16_000.0, 128)


def drawn(figure: Figure) -> list[Axes]:
    """The axes of a figure, after it has been drawn into a picture once."""
    figure.savefig(io.BytesIO(), format="png")
    return figure.axes


def close_to(found: Any, expected: Any, atol: float = 1e-9) -> None:
    np.testing.assert_allclose(np.asarray(found, dtype=float), expected, atol=atol)


def widths(axes: Axes) -> list[float]:
    return [patch.get_width() for patch in axes.patches]  # type: ignore[attr-defined]


def test_every_layer_has_its_mean_over_parts() -> None:
    scores = {"CLS": np.array([[0.2, 0.4], [0.4, 0.8]]), "mean patch": np.array([[0.1, 0.1], [0.1, np.nan]])}
    (axes,) = drawn(layer_figure(scores, "accuracy"))
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    close_to(lines["CLS"], [0.3, 0.6])
    close_to(lines["mean patch"], [0.1, 0.1])
    assert axes.get_ylabel() == "accuracy"


def test_few_shot_curves_run_over_the_numbers_of_clips_in_order() -> None:
    (axes,) = drawn(few_shot_figure({"cgp": {10: (0.7, 0.1), 1: (0.3, 0.2), 5: (0.6, 0.1)}}, "cmap"))
    close_to(axes.lines[0].get_xydata(), [[1, 0.3], [5, 0.6], [10, 0.7]])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "5", "10"]


def test_a_reliability_diagram_has_a_point_and_a_count_for_every_bin_that_is_met() -> None:
    probabilities = torch.tensor([[0.05, 0.95], [0.15, 1.0], [0.12, 0.91]])
    targets = torch.tensor([[0, 1], [1, 1], [0, 0]])
    found = calibration(probabilities, targets)
    curves, counts = drawn(reliability_figure({"plain": found, "platt": found}))
    for line in curves.lines[1:]:
        close_to(line.get_xydata(), [[0.05, 0], [0.135, 0.5], [0.93, 0.5], [1, 1]], atol=1e-6)
    heights = [patch.get_height() for patch in counts.patches]  # type: ignore[attr-defined]
    assert heights == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2, 1] * 2


def test_confusion_counts_what_each_class_was_taken_for() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 2, 2, 1, 0, 2])
    counts = confusion(predicted, labels, 4)
    assert counts.tolist() == [[1, 0, 2, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    names = ["a", "b", "c", "d"]
    axes, _ = drawn(confusion_figure(counts, names))
    close_to(axes.images[0].get_array(), [[1 / 3, 0, 2 / 3, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0] * 4])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "1", "1", "2"]
    assert confused_pairs(counts, names) == [["a", "c", "2", "67%"], ["c", "a", "1", "50%"]]
    assert confused_pairs(counts, names, most=1) == [["a", "c", "2", "67%"]]


@pytest.mark.parametrize("classes", [2, 60])
def test_a_confusion_matrix_of_any_number_of_classes_can_be_drawn(classes: int) -> None:
    labels = torch.arange(classes)
    axes, _ = drawn(
        confusion_figure(confusion(labels.flip(0), labels, classes), [f"class {c}" for c in labels.tolist()])
    )
    assert len(axes.get_xticklabels()) == classes


def test_classes_are_listed_from_the_worst_with_their_support_and_those_without_clips_left_out() -> None:
    targets = one_hot(torch.tensor([0, 0, 1, 3]), 4)
    probabilities = torch.tensor(
        [[0.9, 0.1, 0.1, 0.5], [0.8, 0.2, 0, 0], [0.1, 0.1, 0, 0.6], [0, 0.3, 0, 0.7]]
    ).double()
    rows = class_rows(probabilities, targets, probabilities > 0.5, ["a", "b", "c", "d"])
    assert rows == [
        ["b", "1", "0.250", "0.167", "0.000"],
        ["a", "2", "1.000", "1.000", "1.000"],
        ["d", "1", "1.000", "1.000", "0.667"],
    ]


def test_a_score_that_is_not_defined_is_a_dash() -> None:
    intervals = {"cmap": Interval(0.5, 0.41, 0.6), "auroc": Interval(math.nan, math.nan, math.nan)}
    assert interval_rows(intervals) == [["cmap", "0.500", "0.410 to 0.600"], ["auroc", "–", "– to –"]]


def test_bars_of_a_sum_follow_one_another_from_the_constant_to_the_logit() -> None:
    bars = [("constant", -2.0), ("1: prototype 3", 1.5), ("2: prototype 0", -0.25), ("9 others", 1.0)]
    heat = torch.zeros(10, 16, dtype=torch.float64)
    heat[3, 4] = -2.0
    account = LogitBreakdown(bars, heat, {Box(16, 32, 32, 48): "1, 3", Box(0, 112, 16, 128): "2"})
    clip, warm, bar, _ = drawn(breakdown_figure(torch.randn(80, 128), account, SCALE))
    lefts = [patch.get_x() for patch in bar.patches]  # type: ignore[attr-defined]
    close_to(lefts, [0, -2, -0.5, -0.75, 0])
    close_to(widths(bar), [-2, 1.5, -0.25, 1, 0.25])
    assert [label.get_text() for label in bar.get_yticklabels()] == [*(name for name, _ in bars), "= logit"]
    first, second = clip.patches
    assert [text.get_text() for text in clip.texts] == ["1, 3", "2"]
    assert [first.get_x(), first.get_y(), first.get_width(), first.get_height()] == pytest.approx([0.16, 32, 0.16, 16])  # type: ignore[attr-defined]
    assert [second.get_x(), second.get_y()] == [0, 112]  # type: ignore[attr-defined]
    assert warm.images[0].get_clim() == (-2, 2)
    assert tuple(warm.images[0].get_extent()) == pytest.approx((0, 0.8, 0, 128))


def test_a_sum_without_places_has_no_map() -> None:
    account = LogitBreakdown([("constant", 1.0), ("layer 0", 0.5)], None, {})
    assert len(drawn(breakdown_figure(torch.randn(80, 128), account, SCALE))) == 2


def test_cut_outs_show_the_box_in_the_clip_and_enlarged() -> None:
    clip, box = torch.randn(80, 128), Box(16, 0, 32, 16)
    shown = {
        "prototype 1": [Cutout(clip, box, "one"), Cutout(clip, box, "two", True)],
        "prototype 2": [Cutout(clip, box, "x")],
    }
    axes = drawn(cutout_figure(shown, SCALE))
    assert len(axes) == 8
    wide, close = axes[:2]
    assert tuple(wide.images[0].get_extent()) == pytest.approx((0, 0.8, 0, 128))
    assert close.get_xlim() == pytest.approx((0, 0.48))
    assert close.get_ylim() == pytest.approx((0, 32))
    for panel in (wide, close):
        (edge,) = panel.patches
        assert [edge.get_x(), edge.get_y(), edge.get_width(), edge.get_height()] == pytest.approx([0.16, 0, 0.16, 16])  # type: ignore[attr-defined]
    assert close.get_title() == "0.16–0.32 s\n0.0–0.4 kHz"
    assert axes[0].title is not axes[2].title
    assert wide.get_title(loc="left") == "one"
    assert [bool(panel.axison) for panel in axes] == [True] * 6 + [False] * 2


def test_gains_are_drawn_by_steps_with_full_marks_for_this_run_and_a_line_for_one_setting() -> None:
    marks = [
        Mark("mae", "ESC", "old", 600, -1.7, 3.1, paired=False),
        Mark("mae", "ESC", "old", 1500, -1.0, 4.5, paired=False),
        Mark("mae", "ESC", "new", 4000, 12.2, 3.1, paired=True),
        Mark("mae", "own", "new", 150, -21.0, 9.0, paired=True, here=True),
    ]
    figure = gain_figure(marks)
    (axes,), (legend,) = figure.axes, figure.legends
    drawn = [container.lines[0] for container in axes.containers]  # type: ignore[attr-defined]
    assert [line.get_xydata().tolist() for line in drawn] == [
        [[600, -1.7], [1500, -1.0]],
        [[4000, 12.2]],
        [[150, -21.0]],
    ]
    assert [line.get_linestyle() for line in drawn] == ["-", "None", "None"]
    assert [line.get_markerfacecolor() == line.get_color() for line in drawn] == [False, False, True]
    assert len({line.get_marker() for line in drawn}) == 3, "told apart without colours"
    assert [text.get_text() for text in legend.get_texts()][-1] == "this run: mae, own, new"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["150", "600", "1,500", "4,000"]
